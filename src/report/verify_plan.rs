//! What a check of tenants would do, for people.

use anstyle::Style;

use super::escape::{Plain, message};
use super::page::Page;
use super::style::{FAINT, STRONG, Table, UNSURE, count, paint, thousands};
use super::verify::{self, label_leaks};
use crate::document::{AddedPod, NeededRights, NeededRole, VerifyPlanDocument};

/// Returns the plan of a check. `everything` shows all probe pods.
pub fn verify_plan(document: &VerifyPlanDocument, everything: bool) -> String {
    let VerifyPlanDocument { coverage, tenants, co_owned, pods, entered, outside, questions, .. } = document;
    let mut page = Page::new(everything);
    page.line(format!(
        "{}  {} would be checked by {} that stand for {}: {} between {}",
        paint(STRONG, "PLAN"),
        count(tenants.len(), "tenant", "tenants"),
        count(coverage.twins, "probe pod", "probe pods"),
        count(coverage.pods, "running pod", "running pods"),
        count(coverage.asked, "question", "questions"),
        count(coverage.pairs, "pair of pods", "pairs of pods"),
    ));
    let wishes = questions.iter().map(|(wish, number)| format!("{} {wish}", thousands(*number)));
    page.line(paint(FAINT, wishes.collect::<Vec<_>>().join(", ")));
    if coverage.left_out > 0 {
        let text = format!("left out by --max-probes: {} questions", thousands(coverage.left_out));
        page.line(paint(UNSURE, text));
    }
    for warning in &document.warnings {
        page.line(paint(UNSURE, Plain(format!("warning: {warning}"))));
    }
    let mut table = Table::new(["tenant", "namespaces", "ingress", "egress", "mode"]);
    for tenant in tenants {
        let namespaces = tenant.namespaces.join(", ");
        let cells = [&tenant.name, &namespaces, &tenant.ingress, &tenant.egress, &tenant.mode];
        table.row(cells.map(|text| Plain(text).to_string()));
    }
    page.block(&table.lines([]));
    if !co_owned.is_empty() {
        page.line(paint(FAINT, Plain(format!("co-owned: {}", co_owned.join(", ")))));
    }
    page.title(
        STRONG,
        "Probe pods",
        paint(FAINT, "what the check would create, beside one ConfigMap in each namespace"),
    );
    page.list(Style::new(), &pods.iter().map(pod).collect::<Vec<_>>(), "    ");
    if !entered.is_empty() {
        page.title(STRONG, "Running pods", paint(FAINT, "agents would use the networks of these"));
        page.list(Style::new(), &indented(entered), "    ");
    }
    if !outside.is_empty() {
        page.title(STRONG, "Other destinations", paint(FAINT, "asked only to accept a TCP connection"));
        page.list(Style::new(), &indented(outside), "    ");
    }
    label_leaks(&mut page, &document.label_leaks);
    if let Some(NeededRights { cluster, roles }) = &document.rights {
        page.title(STRONG, "Rights", paint(FAINT, "rules of a ClusterRole"));
        page.line(message(cluster.trim_end()));
        for NeededRole { namespaces, rules } in roles {
            let namespaces: Vec<&str> = namespaces.iter().map(String::as_str).collect();
            page.line(paint(FAINT, Plain(format!("and of a Role in each of: {}", namespaces.join(", ")))));
            page.line(message(rules.trim_end()));
        }
    }
    page.text
}

fn indented<'a>(texts: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    texts.into_iter().map(|text| format!("    {text}")).collect()
}

fn pod(AddedPod { namespace, name, labels, stands_for, is_stranger, .. }: &AddedPod) -> String {
    let members = match stands_for.as_slice() {
        [] if *is_stranger => "all pods of no tenant".to_owned(),
        [] => "a pod that may be created".to_owned(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} and {} more", thousands(rest.len())),
    };
    let labels = if labels.is_empty() { "no labels".to_owned() } else { verify::labels(labels) };
    format!("    {namespace}/{name}  {labels}: stands for {members}")
}

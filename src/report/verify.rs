//! The report of a check of tenants.

use anstyle::Style;

use super::escape::{Plain, lines, shown};
use super::page::{LINES, Page, Row};
use super::style::{BAD, FAINT, GOOD, STRONG, Table, UNSURE, count, duration, join, paint, thousands};
use super::view;
use crate::document::{
    Blame, ClosedBySender, Decision, Gap, LabelLeak, Labels, Outcome, PairState as State, Problem,
    TenantDifference as Difference, TenantPair, VerifyDocument,
};

/// Returns the report of a check. `everything` shows all differences, and every matrix.
pub fn verify(document: &VerifyDocument, everything: bool) -> String {
    let mut report = Report { page: Page::new(everything), document };
    report.verdict();
    report.matrix();
    report.differences();
    report.gaps();
    label_leaks(&mut report.page, &document.label_leaks);
    report.closed_by_sender();
    report.rest();
    report.page.text
}

struct Report<'a> {
    page: Page,
    document: &'a VerifyDocument,
}

/// A kind of differences.
struct Section {
    title: &'static str,
    explanation: &'static str,
    has: fn(&Difference) -> bool,
}

const SECTIONS: [Section; 4] = [
    Section {
        title: "Leaks",
        explanation: "enforcement gap: denied by the policies, delivered anyway. Fix the network, at the nodes shown",
        has: |it| it.blame == Blame::EnforcementGap && it.is_open(),
    },
    Section {
        title: "Blocked",
        explanation: "enforcement gap: allowed by the policies, not delivered. Fix the network, at the nodes shown",
        has: |it| it.blame == Blame::EnforcementGap && !it.is_open(),
    },
    Section {
        title: "Open by policy",
        explanation: "policy gap: must not be reached, and the policies allow it. Fix the policies",
        has: |it| it.blame == Blame::PolicyGap && it.is_open(),
    },
    Section {
        title: "Closed by policy",
        explanation: "policy gap: must be reached, and the policies deny it. Fix the policies",
        has: |it| it.blame == Blame::PolicyGap && !it.is_open(),
    },
];

impl Report<'_> {
    fn verdict(&mut self) {
        let VerifyDocument { outcome, coverage, differences, tenants, co_owned, run, .. } = self.document;
        let enforced = || differences.iter().filter(|it| !it.monitored);
        let is_open_gap = |gap: &Gap| gap.monitored && gap.wanted == Decision::Deny;
        let is_only_monitored = differences.iter().any(|it| it.monitored && it.is_open())
            || self.document.gaps.iter().any(is_open_gap);
        let (word, style) = match outcome {
            Outcome::Pass if is_only_monitored => ("MONITORED", UNSURE),
            Outcome::Pass => ("ISOLATED", GOOD),
            Outcome::Inconclusive | Outcome::Skipped => ("INCONCLUSIVE", UNSURE),
            Outcome::Fail if enforced().any(Difference::is_open) || self.document.has_open_gap() => {
                ("NOT ISOLATED", BAD)
            }
            Outcome::Fail => ("BLOCKED", BAD),
        };
        let what = match outcome {
            Outcome::Pass if is_only_monitored => "no difference counts".to_owned(),
            Outcome::Pass => "what is forbidden is denied, and what is required is delivered".to_owned(),
            Outcome::Fail => {
                let number = |section: &Section| enforced().filter(|it| (section.has)(it)).count();
                let [leaks, blocked, open, closed] = SECTIONS.each_ref().map(number);
                let unprobed = self.document.unprobed_gaps().filter(|gap| !gap.monitored).count();
                join([
                    (leaks, "leak", "leaks"),
                    (blocked, "blocked", "blocked"),
                    (open, "connection open by policy", "connections open by policy"),
                    (closed, "connection closed by policy", "connections closed by policy"),
                    (unprobed, "policy gap that was not probed", "policy gaps that were not probed"),
                ])
            }
            Outcome::Inconclusive | Outcome::Skipped => self.unsure(),
        };
        let counts = &run.counts;
        let judged = counts.matches + counts.leaks + counts.blocked;
        let entered = match coverage.entered {
            0 => String::new(),
            some => format!(" and {}", count(some, "running pod", "running pods")),
        };
        let scope = format!(
            "{} as {}{entered}, {} in {} ({})",
            count(tenants.len(), "tenant", "tenants"),
            count(coverage.twins, "probe pod", "probe pods"),
            count(judged, "connection judged", "connections judged"),
            duration(run.took_ms),
            Plain(&run.backend),
        );
        self.page.line(format!("{}  {}: {scope}", paint(style, word), paint(STRONG, what)));
        if let Some(text) = view::only_leaking_node(run) {
            self.page.line(paint(BAD, Plain(text)));
        }
        if *outcome == Outcome::Fail {
            // Otherwise, it is in the first line.
            for failure in run.scenarios.iter().filter_map(|check| check.failure.as_ref()) {
                self.page.line(paint(UNSURE, lines(failure)));
            }
        }
        self.page.proof(run);
        if !co_owned.is_empty() {
            let text = format!("co-owned: {}", co_owned.join(", "));
            self.page.line(paint(FAINT, Plain(text)));
        }
        let monitored = differences.iter().filter(|it| it.monitored).count();
        if monitored > 0 {
            let text = count(monitored, "difference", "differences");
            self.page.line(paint(UNSURE, format!("{text} at tenants that are only monitored: not counted")));
        }
        if coverage.left_out > 0 {
            let (out, all) = (coverage.left_out, coverage.left_out + coverage.asked);
            self.page.line(paint(
                UNSURE,
                format!("left out by --max-probes: {} of {} probes", thousands(out), thousands(all)),
            ));
        }
        let silent = &self.document.silent;
        if !silent.is_empty() {
            let text = format!(
                "not asked, because no pod that may connect there got an answer: {}",
                silent.join(", ")
            );
            self.page.line(paint(FAINT, Plain(text)));
        }
        for note in &self.document.notes {
            self.page.line(paint(FAINT, Plain(format!("not asked: {note}"))));
        }
        self.page.surroundings(run);
    }

    /// Returns why the check proves too little.
    fn unsure(&self) -> String {
        let run = &self.document.run;
        let failure = run.scenarios.iter().find_map(|scenario| scenario.failure.clone());
        let what = join([
            (run.counts.inconclusive, "connection not measured", "connections not measured"),
            (run.counts.flaky, "flaky connection", "flaky connections"),
            (run.unaccepted().count(), "kind of objects not modelled", "kinds of objects not modelled"),
        ]);
        let lacks = &self.document.lacks;
        match failure {
            Some(failure) => lines(&failure),
            None if run.interrupted => "interrupted".to_owned(),
            None if !what.is_empty() => what,
            None if !lacks.is_empty() => Plain(lacks.join("; ")).to_string(),
            None => view::less_proved(&run.proof).unwrap_or_else(|| view::NO_DENIAL.to_owned()),
        }
    }

    /// Shows what tenants can do to each other.
    fn matrix(&mut self) {
        let VerifyDocument { tenants, matrix, .. } = self.document;
        let mut parties: Vec<Option<&str>> = tenants.iter().map(|it| Some(it.name.as_str())).collect();
        if matrix.iter().any(|pair| pair.from.is_none() || pair.to.is_none()) {
            parties.push(None);
        }
        let name = |party: &Option<&str>| party.map_or_else(|| "others".to_owned(), shown);
        let state = |from: Option<&str>, to: Option<&str>| {
            let is_it = |pair: &&TenantPair| pair.from.as_deref() == from && pair.to.as_deref() == to;
            matrix.iter().find(is_it).map_or(State::NotAsked, |pair| pair.state)
        };
        let mut table = Table::of(std::iter::once("from ↓  to →".to_owned()).chain(parties.iter().map(name)));
        for from in &parties {
            let row = parties.iter().map(|to| word(state(*from, *to)));
            table.row(std::iter::once(name(from)).chain(row));
        }
        self.page.block(&table.lines([]));
    }

    fn differences(&mut self) {
        for section in &SECTIONS {
            let all: Vec<_> = self.document.differences.iter().filter(|it| (section.has)(it)).collect();
            if all.is_empty() {
                continue;
            }
            let style = if all.iter().all(|it| it.monitored) { UNSURE } else { BAD };
            self.page.title(style, section.title, paint(FAINT, section.explanation));
            self.page.cells(all.into_iter().map(row), true, LINES);
        }
    }

    /// Shows the policy gaps that no probe has shown.
    fn gaps(&mut self) {
        let unprobed: Vec<&Gap> = self.document.unprobed_gaps().collect();
        if unprobed.is_empty() {
            return;
        }
        let style = if unprobed.iter().all(|gap| gap.monitored) { UNSURE } else { BAD };
        let explanation = "policy gap: the policies say something else than what is wanted; no packet was sent. Fix the policies";
        self.page.title(style, "By policy", paint(FAINT, explanation));
        let lines: Vec<String> = unprobed.into_iter().flat_map(gap).collect();
        self.page.list(Style::new(), &lines, "    ");
    }

    /// Shows where the isolation of a tenant depends on the policies of another one.
    fn closed_by_sender(&mut self) {
        let all = &self.document.closed_by_sender;
        if all.is_empty() {
            return;
        }
        let explanation = "only policies of the sending tenant deny this; the receiving tenant would let it in; no packet was sent";
        self.page.title(UNSURE, "Closed by the sender", paint(FAINT, explanation));
        let lines = all.iter().flat_map(|ClosedBySender { tenant, into, from, to, port, reasons }| {
            [format!("    {tenant} → {into}  {from} → {to} {port}"), format!("      {}", reasons.join("; "))]
        });
        self.page.list(Style::new(), &lines.collect::<Vec<_>>(), "    ");
    }

    fn rest(&mut self) {
        let run = &self.document.run;
        let unmeasured = run.cells().filter(|cell| cell.has(Problem::Inconclusive));
        let rows: Vec<_> = unmeasured
            .map(|cell| Row::new(cell, String::new(), view::reason(Problem::Inconclusive, cell)))
            .collect();
        if !rows.is_empty() {
            self.page.title(UNSURE, "Not measured", paint(FAINT, "inconclusive"));
            self.page.cells(rows, true, LINES);
        }
        if self.page.everything {
            for (_, step) in run.steps() {
                self.page.text.push('\n');
                self.page.text.push_str(&super::matrix::matrices(step));
            }
            self.page.line(paint(FAINT, super::matrix::LEGEND));
        }
    }
}

fn row(difference: &Difference) -> Row<'_> {
    let Difference { cell, blame, why, monitored, .. } = difference;
    let problem = match blame {
        Blame::EnforcementGap if difference.is_open() => Problem::Leak,
        Blame::EnforcementGap => Problem::Blocked,
        Blame::PolicyGap => Problem::PolicyGap,
    };
    let nodes = match (&cell.from_node, &cell.to_node) {
        (Some(from), Some(to)) if *blame == Blame::EnforcementGap => format!(" ({from} → {to})"),
        _ => String::new(),
    };
    let monitored = if *monitored { " (only monitored)" } else { "" };
    let what = format!("{}{nodes}{monitored}", view::finding(problem, cell));
    let intent = why.as_ref().map(|why| format!("; wanted: {why}")).unwrap_or_default();
    Row::new(cell, what, format!("{}{intent}", view::reasons(cell)))
}

/// Returns the lines about a gap: the connection, and what says so.
fn gap(Gap { from, to, ports, wanted, why, reasons, monitored, more, .. }: &Gap) -> [String; 2] {
    let policies = match wanted {
        Decision::Deny => "the policies allow it",
        Decision::Allow => "the policies deny it",
        Decision::Undefined => "the policies leave it open",
    };
    let more = match more {
        0 => String::new(),
        more => format!(" and {} like it", count(*more, "pair", "pairs")),
    };
    let monitored = if *monitored { " (only monitored)" } else { "" };
    [
        format!("    {from} → {to}{more}  {ports}  wanted {wanted}, {policies}{monitored}"),
        format!("      {}; wanted: {why}", reasons.join("; ")),
    ]
}

/// Shows the labels by which tenants would enter each other.
pub(super) fn label_leaks(page: &mut Page, leaks: &[LabelLeak]) {
    if leaks.is_empty() {
        return;
    }
    let explanation = "a label that a tenant may set would let it into another tenant; no packet was sent";
    page.title(UNSURE, "Open by a label", paint(FAINT, explanation));
    let text: Vec<String> = leaks.iter().map(label_leak).collect();
    page.list(Style::new(), &text, "    ");
}

fn label_leak(LabelLeak { tenant, into, pod_labels, namespace_labels, policy, rule }: &LabelLeak) -> String {
    let (pods, namespace) = (labels(pod_labels), labels(namespace_labels));
    let needs = match (pod_labels.is_empty(), namespace_labels.is_empty()) {
        (false, true) => format!("pods with {pods}"),
        (true, _) => format!("pods, in a namespace with {namespace}"),
        (false, false) => format!("pods with {pods}, in a namespace with {namespace}"),
    };
    format!("    {tenant} → {into}  {needs}: NetworkPolicy {policy} ingress[{rule}] lets them in")
}

/// Returns labels as one word, as `kubectl` writes them.
pub(super) fn labels(labels: &Labels) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// Returns the word for a state, painted.
fn word(state: State) -> String {
    let (word, style): (_, Style) = match state {
        State::NotAsked => ("·", FAINT),
        State::Isolated => ("isolated", GOOD),
        State::Open => ("open", GOOD),
        State::Undefined => ("undefined", UNSURE),
        State::Inconclusive => ("?", UNSURE),
        State::PolicyGap => ("POLICY GAP", BAD),
        State::Blocked => ("BLOCKED", BAD),
        State::Leak => ("LEAK", BAD),
    };
    paint(style, word)
}

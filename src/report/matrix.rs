//! A step as a matrix: sources down, destinations across, one letter a probe.

use std::collections::BTreeMap;
use std::fmt::Write;

use tabled::builder::Builder;
use tabled::settings::Style as TableStyle;

use super::style::{BAD, FAINT, GOOD, UNSURE, paint};
use crate::policy::{Decision, IpFamily};
use crate::scenario::{EndpointName, Probe};
use crate::verdict::{CellResult, StepResult, Verdict};

/// What the letters mean.
pub(super) const LEGEND: &str = "+ connected   - denied   both as promised;   L leak   B blocked   ~ flaky   u undefined   ? not measured";

/// The matrices of a step, one for each family.
pub(super) fn matrices(step: &StepResult) -> String {
    let mut text = String::new();
    for family in IpFamily::ALL {
        let cells: Vec<_> = step.cells.iter().filter(|cell| cell.cell.family == family).collect();
        if !cells.is_empty() {
            let _ = writeln!(text, "{}", matrix(&cells, family));
        }
    }
    text
}

fn matrix(cells: &[&CellResult], family: IpFamily) -> String {
    let (mut sources, mut destinations, mut probes) = (Vec::new(), Vec::new(), Vec::new());
    let mut letters: BTreeMap<(&EndpointName, &EndpointName), String> = BTreeMap::new();
    for CellResult { cell, expected, verdict, .. } in cells {
        add(&mut sources, &cell.from);
        add(&mut destinations, &cell.to);
        add(&mut probes, &cell.probe);
        letters.entry((&cell.from, &cell.to)).or_default().push_str(&letter(verdict, expected.decision));
    }
    let mut table = Builder::new();
    table.push_record(
        std::iter::once(format!("{family}")).chain(destinations.iter().map(|to| to.to_string())),
    );
    for from in sources {
        let row = destinations.iter().map(|to| letters.get(&(from, to)).cloned().unwrap_or_default());
        table.push_record(std::iter::once(from.to_string()).chain(row));
    }
    let probes: Vec<_> = probes.into_iter().map(Probe::to_string).collect();
    let explained = paint(FAINT, format!("letters in this order: {}", probes.join(", ")));
    format!("{}\n{explained}", table.build().with(TableStyle::sharp()))
}

fn add<'a, T: PartialEq>(items: &mut Vec<&'a T>, item: &'a T) {
    if !items.contains(&item) {
        items.push(item);
    }
}

fn letter(verdict: &Verdict, decision: Decision) -> String {
    match (verdict, decision) {
        (Verdict::Match, Decision::Allow) => paint(GOOD, '+'),
        (Verdict::Match, Decision::Deny | Decision::Undefined) => paint(FAINT, '-'),
        (Verdict::Leak, _) => paint(BAD, 'L'),
        (Verdict::Blocked, _) => paint(BAD, 'B'),
        (Verdict::Flaky, _) => paint(UNSURE, '~'),
        (Verdict::Undefined, _) => paint(FAINT, 'u'),
        (Verdict::Inconclusive(_), _) => paint(UNSURE, '?'),
    }
}

//! A step as a matrix: a row for each source, a column for each destination, a letter for each probe.

use std::collections::BTreeMap;
use std::fmt::Write;

use tabled::builder::Builder;
use tabled::settings::Style as TableStyle;

use super::escape::{Plain, shown};
use super::style::{BAD, FAINT, GOOD, UNSURE, paint};
use crate::document::{Cell, Decision, IpFamily, Step, Verdict};

/// Meaning of the letters.
pub(super) const LEGEND: &str = "+ connected   - denied   both as promised;   L leak   B blocked   ~ flaky   u undefined   s skipped   ? not measured";

/// Returns the matrices of a step, one for each family.
pub(super) fn matrices(step: &Step) -> String {
    let mut text = String::new();
    for family in IpFamily::ALL {
        let cells: Vec<_> = step.cells.iter().filter(|cell| cell.family == family).collect();
        if !cells.is_empty() {
            let _ = writeln!(text, "{}", matrix(&cells, family));
        }
    }
    text
}

fn matrix(cells: &[&Cell], family: IpFamily) -> String {
    let (mut sources, mut destinations, mut probes) = (Vec::new(), Vec::new(), Vec::new());
    let mut letters: BTreeMap<(&str, &str), String> = BTreeMap::new();
    for cell in cells {
        add(&mut sources, cell.from.as_str());
        add(&mut destinations, cell.to.as_str());
        add(&mut probes, cell.probe.as_str());
        letters.entry((&cell.from, &cell.to)).or_default().push_str(&letter(cell.verdict, cell.promised()));
    }
    let headings = Headings::new(&sources, &destinations);
    let mut table = Builder::new();
    let columns = destinations.iter().map(|to| headings.column(to));
    table.push_record(std::iter::once(family.to_string()).chain(columns));
    for from in sources {
        let row = destinations.iter().map(|to| letters.get(&(from, to)).cloned().unwrap_or_default());
        table.push_record(std::iter::once(headings.row(from)).chain(row));
    }
    let mut text = table.build().with(TableStyle::sharp()).to_string();
    if let Some(rest) = headings.without_row() {
        let _ = write!(text, "\n{}", paint(FAINT, rest));
    }
    let probes: Vec<_> = probes.into_iter().map(shown).collect();
    let _ = write!(text, "\n{}", paint(FAINT, format!("letters in this order: {}", probes.join(", "))));
    text
}

/// Greatest width of a matrix with names at the top of its columns.
const WIDEST: usize = 110;

/// Headings of rows and columns. Columns have numbers if names would make the matrix too wide.
struct Headings<'a> {
    numbered: Option<Vec<&'a str>>,
    rows: usize,
}

impl<'a> Headings<'a> {
    fn new(sources: &[&'a str], destinations: &[&'a str]) -> Self {
        let width = |names: &[&str]| names.iter().map(|name| shown(name).len() + 3).sum::<usize>();
        let first = sources.iter().map(|name| shown(name).len()).max().unwrap_or_default();
        let numbered = (first + width(destinations) > WIDEST).then(|| {
            let mut all = sources.to_vec();
            all.extend(destinations.iter().filter(|name| !sources.contains(name)));
            all
        });
        Self { numbered, rows: sources.len() }
    }

    fn number(&self, name: &str) -> Option<usize> {
        self.numbered.as_ref()?.iter().position(|other| *other == name).map(|at| at + 1)
    }

    fn column(&self, name: &str) -> String {
        self.number(name).map_or_else(|| shown(name), |number| number.to_string())
    }

    fn row(&self, name: &str) -> String {
        self.number(name).map_or_else(|| shown(name), |number| format!("{number:>2} {}", Plain(name)))
    }

    /// Returns the numbers of destinations that are not sources, too.
    fn without_row(&self) -> Option<String> {
        let rest = self.numbered.as_ref()?.iter().enumerate().skip(self.rows);
        let rest: Vec<_> = rest.map(|(at, name)| format!("{} {}", at + 1, Plain(name))).collect();
        (!rest.is_empty()).then(|| rest.join(", "))
    }
}

fn add<'a>(items: &mut Vec<&'a str>, item: &'a str) {
    if !items.contains(&item) {
        items.push(item);
    }
}

fn letter(verdict: Verdict, decision: Decision) -> String {
    match (verdict, decision) {
        (Verdict::Match, Decision::Allow) => paint(GOOD, '+'),
        (Verdict::Match, Decision::Deny | Decision::Undefined) => paint(FAINT, '-'),
        (Verdict::Leak, _) => paint(BAD, 'L'),
        (Verdict::Blocked, _) => paint(BAD, 'B'),
        (Verdict::Flaky, _) => paint(UNSURE, '~'),
        (Verdict::Undefined, _) => paint(FAINT, 'u'),
        (Verdict::Skipped, _) => paint(FAINT, 's'),
        (Verdict::Inconclusive, _) => paint(UNSURE, '?'),
    }
}

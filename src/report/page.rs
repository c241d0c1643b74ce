//! A report for people while it is written: lines, titles, and lists that are cut.

use std::fmt::{Display, Write};

use anstyle::Style;

use super::escape::{Plain, shown};
use super::style::{FAINT, UNSURE, count, paint, thousands};
use super::view;
use crate::document::{Cell, IpFamily, RunDocument};

/// Greatest count of lines of a list, unless everything is shown.
pub(super) const LINES: usize = 12;

/// Greatest width that long names can give to a column.
const WIDEST: usize = 64;

/// The text of a report.
pub(super) struct Page {
    pub(super) text: String,
    pub(super) everything: bool,
}

/// A cell of a list.
pub(super) struct Row<'a> {
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) family: IpFamily,
    pub(super) probe: &'a str,
    /// What is remarkable about the cell.
    pub(super) what: String,
    /// Why it is so.
    pub(super) why: String,
}

impl<'a> Row<'a> {
    pub(super) fn new(cell: &'a Cell, what: String, why: String) -> Self {
        let Cell { from, to, family, probe, .. } = cell;
        Self { from, to, family: *family, probe, what, why }
    }
}

/// Cells with the same ends and the same text.
struct Line<'a> {
    first: Row<'a>,
    probes: Vec<String>,
}

impl Line<'_> {
    fn ends(&self, show_family: bool) -> String {
        let Row { from, to, family, .. } = &self.first;
        let family = if show_family { format!(" {family}") } else { String::new() };
        shown(format!("{from} → {to}{family}"))
    }
}

impl Page {
    pub(super) fn new(everything: bool) -> Self {
        Self { text: String::new(), everything }
    }

    pub(super) fn line(&mut self, line: impl Display) {
        let _ = writeln!(self.text, "{line}");
    }

    /// Adds an empty line, and a title with what it is about.
    pub(super) fn title(&mut self, style: Style, title: &str, about: impl Display) {
        self.line(format!("\n{}  {about}", paint(style, title)));
    }

    /// Adds an empty line and a text of whole lines.
    pub(super) fn block(&mut self, text: &str) {
        let _ = write!(self.text, "\n{text}");
    }

    /// Shows how much the proved denials prove.
    pub(super) fn proof(&mut self, run: &RunDocument) {
        let proof = &run.proof;
        let Some(share) = proof.detectable_share else { return };
        let mut text = format!(
            "each denial rests on at least {}, each node, set of policies and direction on at least {}: a leak of {} of \
             the connections would have shown with 95 %",
            count(proof.fewest_per_denial as usize, "dropped probe", "dropped probes"),
            thousands(proof.fewest_per_enforcement_point as usize),
            view::percent(share)
        );
        if proof.untold_enforcement_points > 0 {
            let untold = thousands(proof.untold_enforcement_points);
            let points = thousands(proof.enforcement_points);
            text.push_str(&format!(
                "; {untold} of these {points} deny nothing alone, and are proved together with the other direction"
            ));
        }
        self.line(paint(FAINT, text));
    }

    /// Shows the facts of the environment, and what speaks against trust in the result.
    pub(super) fn surroundings(&mut self, run: &RunDocument) {
        for (name, value) in &run.facts {
            self.line(paint(FAINT, Plain(format!("{name}: {value}"))));
        }
        for kind in &run.unmodelled {
            self.line(paint(UNSURE, Plain(view::unmodelled(kind))));
        }
        let warnings = run.warnings.iter().cloned().chain(view::scenario_warnings(run));
        for warning in warnings.chain(view::profile_warnings(run)) {
            self.line(paint(UNSURE, Plain(format!("warning: {warning}"))));
        }
    }

    fn most(&self, lines: usize) -> usize {
        if self.everything { usize::MAX } else { lines }
    }

    /// Lists texts, one on a line. `indentation` is that of the line that says how many are hidden.
    pub(super) fn list(&mut self, style: Style, lines: &[String], indentation: &str) {
        let most = self.most(LINES);
        for line in lines.iter().take(most) {
            self.line(paint(style, Plain(line)));
        }
        self.hidden(indentation, lines.len().saturating_sub(most));
    }

    /// Lists cells. Cells with the same ends are on one line. Cells with the same reason are together, above
    /// the reason.
    pub(super) fn cells<'a>(
        &mut self,
        rows: impl IntoIterator<Item = Row<'a>>,
        show_family: bool,
        most: usize,
    ) {
        let mut groups: Vec<(String, Vec<Line<'a>>)> = Vec::new();
        let mut total = 0;
        for row in rows {
            total += 1;
            let why = shown(&row.why);
            let index = groups.iter().position(|(other, _)| *other == why).unwrap_or_else(|| {
                groups.push((why, Vec::new()));
                groups.len() - 1
            });
            let Some((_, lines)) = groups.get_mut(index) else { continue };
            let same = |Line { first, .. }: &&mut Line<'_>| {
                (first.from, first.to, first.family, &first.what) == (row.from, row.to, row.family, &row.what)
            };
            match lines.iter_mut().rev().find(same) {
                Some(line) => line.probes.push(shown(row.probe)),
                None => lines.push(Line { probes: vec![shown(row.probe)], first: row }),
            }
        }
        let most = self.most(most);
        let lines = groups.iter().flat_map(|(_, lines)| lines).take(most);
        let widths = lines.map(|line| (line.ends(show_family).chars().count(), line.probes.join(", ").len()));
        let (ends, probes) = widths.fold((0, 0), |(a, b), (c, d)| (a.max(c), b.max(d)));
        let (ends, probes) = (ends.min(WIDEST), probes.min(WIDEST));
        let (mut room, mut listed) = (most, 0);
        for (why, lines) in groups {
            if room == 0 {
                break;
            }
            for line in lines.iter().take(room) {
                let (from_to, probe) = (line.ends(show_family), line.probes.join(", "));
                let columns = format!("    {from_to:<ends$}  {probe:<probes$}  {}", shown(&line.first.what));
                self.line(columns.trim_end());
                listed += line.probes.len();
            }
            room = room.saturating_sub(lines.len());
            if !why.is_empty() {
                self.line(format!("      {}", paint(FAINT, why)));
            }
        }
        self.hidden("    ", total - listed);
    }

    /// Says how many entries of a list are hidden.
    fn hidden(&mut self, indentation: &str, hidden: usize) {
        if hidden > 0 {
            self.line(paint(FAINT, format!("{indentation}… and {hidden} more (--verbose shows all)")));
        }
    }
}

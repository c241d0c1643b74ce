//! A report for people while it is written: lines, titles, and lists that are cut.

use std::fmt::{Display, Write};

use anstyle::Style;

use super::escape::{Plain, shown};
use super::style::{FAINT, paint};
use crate::document::{Cell, IpFamily};

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

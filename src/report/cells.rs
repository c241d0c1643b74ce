//! Lists of cells. Cells with the same ends are on one line, and cells with the same reason are together.

use std::fmt::Write;

use super::escape::shown;
use super::style::{FAINT, paint};
use crate::document::{Cell, IpFamily};

/// Greatest width that long names can give to a column.
const WIDEST: usize = 64;

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

/// Lists cells, and their reason once below the cells that have it. Shows at most `most` lines of cells.
pub(super) fn list<'a>(
    text: &mut String,
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
            let _ = writeln!(text, "{}", columns.trim_end());
            listed += line.probes.len();
        }
        room = room.saturating_sub(lines.len());
        if !why.is_empty() {
            let _ = writeln!(text, "      {}", paint(FAINT, why));
        }
    }
    more(text, "    ", total - listed);
}

/// Says how many entries of a list are hidden.
pub(super) fn more(text: &mut String, indentation: &str, hidden: usize) {
    if hidden > 0 {
        let _ = writeln!(
            text,
            "{}",
            paint(FAINT, format!("{indentation}… and {hidden} more (--verbose shows all)"))
        );
    }
}

//! Lists of cells: those with the same ends on one line, those with the same reason together.

use std::fmt::Write;

use super::style::{FAINT, paint};
use crate::policy::IpFamily;
use crate::verdict::CellResult;

/// How many lines a list may have unless everything is asked for.
const LINES: usize = 12;

/// Cells with the same ends and the same text.
struct Line<'a> {
    first: &'a CellResult,
    probes: Vec<String>,
    seen: String,
}

/// Lists cells under an indentation. `seen` says what is remarkable about one, `reason` why it is
/// so; the cells of one reason are listed together, with the reason below them.
pub(super) fn list<'a>(
    text: &mut String,
    cells: impl IntoIterator<Item = &'a CellResult>,
    show_family: bool,
    everything: bool,
    seen: impl Fn(&CellResult) -> String,
    reason: impl Fn(&CellResult) -> String,
) {
    let mut groups: Vec<(String, Vec<Line<'a>>)> = Vec::new();
    let mut total = 0;
    for cell in cells {
        total += 1;
        let (why, what) = (reason(cell), seen(cell));
        let at = match groups.iter().position(|(other, _)| *other == why) {
            Some(at) => at,
            None => {
                groups.push((why, Vec::new()));
                groups.len() - 1
            }
        };
        let Some((_, lines)) = groups.get_mut(at) else { continue };
        let same = |line: &&mut Line<'_>| {
            let (a, b) = (&line.first.cell, &cell.cell);
            a.from == b.from && a.to == b.to && a.family == b.family && line.seen == what
        };
        match lines.iter_mut().rev().find(same) {
            Some(line) => line.probes.push(cell.cell.probe.to_string()),
            None => lines.push(Line { first: cell, probes: vec![cell.cell.probe.to_string()], seen: what }),
        }
    }
    let mut room = if everything { usize::MAX } else { LINES };
    let mut shown = 0;
    for (why, lines) in groups {
        if room == 0 {
            break;
        }
        for line in lines.iter().take(room) {
            write_line(text, line, show_family);
            shown += line.probes.len();
        }
        room = room.saturating_sub(lines.len());
        if !why.is_empty() {
            let _ = writeln!(text, "      {}", paint(FAINT, why));
        }
    }
    if shown < total {
        let more = format!("… and {} more (--verbose shows all)", total - shown);
        let _ = writeln!(text, "    {}", paint(FAINT, more));
    }
}

fn write_line(text: &mut String, line: &Line<'_>, show_family: bool) {
    let cell = &line.first.cell;
    let family = match cell.family {
        IpFamily::V6 if show_family => " IPv6",
        IpFamily::V4 if show_family => " IPv4",
        IpFamily::V4 | IpFamily::V6 => "",
    };
    let ends = format!("{} → {}{family}", cell.from, cell.to);
    let columns = format!("    {ends:<32} {:<28} {}", line.probes.join(", "), line.seen);
    let _ = writeln!(text, "{}", columns.trim_end());
}

/// The reasons of an expectation, in one line.
pub(super) fn reasons(cell: &CellResult) -> String {
    let reasons: Vec<_> = cell.expected.reasons.iter().map(ToString::to_string).collect();
    reasons.join("; ")
}

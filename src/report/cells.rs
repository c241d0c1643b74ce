//! Lists of cells: those with the same ends on one line, those with the same reason together.

use std::fmt::Write;

use super::escape::shown;
use super::style::{FAINT, duration, paint};
use crate::policy::IpFamily;
use crate::verdict::{CellResult, DeliveredUntil};

/// How wide the longest names may make the column of the ends.
const WIDEST: usize = 64;

/// Cells with the same ends and the same text.
struct Line<'a> {
    first: &'a CellResult,
    probes: Vec<String>,
    seen: String,
}

/// Lists cells under an indentation. `seen` says what is remarkable about one, `reason` why it is
/// so; the cells of one reason are listed together, with the reason below them. At most `most`
/// lines of cells are shown.
pub(super) fn list<'a>(
    text: &mut String,
    cells: impl IntoIterator<Item = &'a CellResult>,
    show_family: bool,
    most: usize,
    seen: impl Fn(&CellResult) -> String,
    reason: impl Fn(&CellResult) -> String,
) {
    let mut groups: Vec<(String, Vec<Line<'a>>)> = Vec::new();
    let mut total = 0;
    for cell in cells {
        total += 1;
        let (why, what) = (shown(reason(cell)), shown(seen(cell)));
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
            Some(line) => line.probes.push(shown(cell.cell.probe)),
            None => lines.push(Line { first: cell, probes: vec![shown(cell.cell.probe)], seen: what }),
        }
    }
    let mut room = most;
    let mut shown = 0;
    let lines = groups.iter().flat_map(|(_, lines)| lines).take(most);
    let widths = lines.map(|line| (ends(line, show_family).chars().count(), line.probes.join(", ").len()));
    let (widest_ends, widest_probes) = widths.fold((0, 0), |(a, b), (c, d)| (a.max(c), b.max(d)));
    let widths = (widest_ends.min(WIDEST), widest_probes.min(WIDEST));
    for (why, lines) in groups {
        if room == 0 {
            break;
        }
        for line in lines.iter().take(room) {
            write_line(text, line, show_family, widths);
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

fn ends(line: &Line<'_>, show_family: bool) -> String {
    let cell = &line.first.cell;
    let family = match cell.family {
        IpFamily::V6 if show_family => " IPv6",
        IpFamily::V4 if show_family => " IPv4",
        IpFamily::V4 | IpFamily::V6 => "",
    };
    shown(format!("{} → {}{family}", cell.from, cell.to))
}

fn write_line(text: &mut String, line: &Line<'_>, show_family: bool, (first, second): (usize, usize)) {
    let (ends, probes) = (ends(line, show_family), line.probes.join(", "));
    let columns = format!("    {ends:<first$}  {probes:<second$}  {}", line.seen);
    let _ = writeln!(text, "{}", columns.trim_end());
}

/// What was seen of a cell.
pub(super) fn seen(cell: &CellResult) -> String {
    let observed = cell.observed.as_ref().map(ToString::to_string).unwrap_or_default();
    match cell.delivered_until {
        Some(DeliveredUntil::AfterNewPod(until)) => {
            format!("{observed} until {} after the new pod's first answer", duration(until))
        }
        Some(DeliveredUntil::AfterChange(until)) => {
            format!("{observed} until {} after a change that leaves it denied", duration(until))
        }
        None => match repeated(cell) {
            Some(repeated) => format!("{observed} ({repeated})"),
            None => observed,
        },
    }
}

/// The reasons of an expectation, in one line.
pub(super) fn reasons(cell: &CellResult) -> String {
    let reasons: Vec<_> = cell.expected.reasons.iter().map(ToString::to_string).collect();
    reasons.join("; ")
}

/// How often repetitions had which verdict, if that differs: `match 19 times, leak once`.
pub(super) fn repeated(cell: &CellResult) -> Option<String> {
    let times = |number: usize| if number == 1 { "once".to_owned() } else { format!("{number} times") };
    let verdicts: Vec<_> =
        cell.repeated.iter().map(|(verdict, number)| format!("{verdict} {}", times(*number))).collect();
    (!verdicts.is_empty()).then(|| verdicts.join(", "))
}

//! What the terminal says of how long changes took to be in force.

use std::time::Duration;

use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Modify, Style};

use super::escape::Plain;
use super::style::{FAINT, duration, paint, thousands};
use crate::verdict::{CellResult, Change, Latency, Quantiles, RunResult, Settling, StepResult};

/// How many nodes are shown for a change unless everything is asked for.
const NODES: usize = 4;

/// The times of one kind of change.
type Of = fn(&Latency) -> Option<Quantiles>;

/// A line for new denials and one for new allowances, each with a line for the slowest nodes; `None` if
/// nothing changed.
pub(super) fn table(result: &RunResult, everything: bool) -> Option<String> {
    let (run, machines) = (result.latency(), result.latency_by_machine());
    let mut table = Builder::new();
    table.push_record(["time", "steps", "p50", "p95", "max"]);
    let mut is_cut = false;
    let kinds: [(&str, Of); 2] =
        [("to enforce", |latency| latency.enforce), ("to admit", |latency| latency.admit)];
    for (name, quantiles) in kinds {
        let Some(total) = quantiles(&run) else { continue };
        table.push_record(row(name.to_owned(), total));
        let mut nodes: Vec<(&str, Quantiles)> = machines
            .iter()
            .filter_map(|(machine, latency)| Some((*machine, quantiles(latency)?)))
            .filter(|_| machines.len() > 1)
            .collect();
        nodes.sort_by_key(|(_, quantiles)| std::cmp::Reverse((quantiles.max, quantiles.p95)));
        let most = if everything { usize::MAX } else { NODES };
        is_cut |= nodes.len() > most;
        nodes.truncate(most);
        // Times differ from run to run, and lines should not change places for that.
        nodes.sort_by_key(|(machine, _)| *machine);
        for (machine, quantiles) in nodes {
            table.push_record(row(format!("  at {}", Plain(machine)), quantiles));
        }
    }
    if run == Latency::default() {
        return None;
    }
    let mut table = table.build();
    table.with(Style::blank());
    table.with(Modify::new(Columns::new(1..)).with(Alignment::right()));
    let mut text: String = table.to_string().lines().map(|line| format!("{}\n", line.trim_end())).collect();
    if is_cut {
        let more = format!("   … of the nodes, the {NODES} slowest (--verbose shows all)");
        text.push_str(&format!("{}\n", paint(FAINT, more)));
    }
    text.push_str(&paint(FAINT, format!(" {}", exactness(result))));
    Some(text)
}

fn row(name: String, quantiles: Quantiles) -> Vec<String> {
    let Quantiles { number, p50, p95, max } = quantiles;
    let times = [p50, p95, max].map(duration);
    [name, thousands(number)].into_iter().chain(times).collect()
}

/// What a time has in it, and how exact it is.
fn exactness(result: &RunResult) -> String {
    let most = |of: fn(&StepResult) -> Duration| {
        let changing = result.steps().filter(|step| step.time() != Default::default());
        duration(changing.map(of).max().unwrap_or_default())
    };
    let (handed_over, sooner) = (most(|step| step.handed_over), most(StepResult::uncertainty));
    let counts = result.counts();
    let never = if counts.leaks + counts.blocked > 0 { "; leaks and blocked cells have no time" } else { "" };
    format!(
        "from the change, with at most {handed_over} to hand it over, to the first probe that agreed;\n \
         in force at most {sooner} sooner{never}"
    )
}

/// When the change was in force at a late cell.
pub(super) fn lateness(cell: &CellResult) -> String {
    let Some(Settling { change, took, opposed, machine, limit }) = &cell.settled else {
        return String::new();
    };
    let (done, still) = match change {
        Change::Enforce => ("denied", "delivered"),
        Change::Admit => ("admitted", "not delivered"),
        Change::Appear => ("as promised", "otherwise"),
    };
    let place = machine.as_ref().map(|machine| format!(" at {machine}")).unwrap_or_default();
    let limit = limit.map(|limit| format!(", not {}", duration(limit))).unwrap_or_default();
    let opposed = opposed.map(|at| format!("; still {still} after {}", duration(at))).unwrap_or_default();
    format!("{done} after {}{limit}{place}{opposed}", duration(*took))
}

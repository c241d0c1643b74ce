//! The table of times until changes were in force.

use super::escape::Plain;
use super::style::{FAINT, Table, duration, paint, thousands};
use crate::document::{Change, Latency, Millis, Quantiles, RunDocument, RunLatency, Step, StepTimes};

/// Greatest count of nodes for each kind of change, unless everything is shown.
const NODES: usize = 4;

/// Returns a line for new denials and one for new allowances, each with a line for each of the slowest nodes.
/// `None` if nothing changed.
pub(super) fn table(run: &RunDocument, everything: bool) -> Option<String> {
    let RunLatency { total, nodes: by_node } = &run.latency;
    if *total == Latency::default() {
        return None;
    }
    let mut table = Table::new(["time", "steps", "p50", "p95", "max"]);
    let most = if everything { usize::MAX } else { NODES };
    let mut is_cut = false;
    for change in [Change::Enforce, Change::Admit] {
        let Some(total) = total.get(change) else { continue };
        table.row(row(format!("to {}", change.name()), total));
        let nodes = by_node.iter().filter(|_| by_node.len() > 1);
        let mut nodes: Vec<_> =
            nodes.filter_map(|(node, latency)| Some((node.as_str(), latency.get(change)?))).collect();
        nodes.sort_by_key(|(_, quantiles)| std::cmp::Reverse((quantiles.max_ms, quantiles.p95_ms)));
        is_cut |= nodes.len() > most;
        nodes.truncate(most);
        // Times differ from run to run. The order of the lines should not.
        nodes.sort_by_key(|(node, _)| *node);
        for (node, quantiles) in nodes {
            table.row(row(format!("  at {}", Plain(node)), quantiles));
        }
    }
    let mut text = table.lines(1..5);
    if is_cut {
        let more = format!("   … of the nodes, the {NODES} slowest (--verbose shows all)");
        text.push_str(&format!("{}\n", paint(FAINT, more)));
    }
    text.push_str(&paint(FAINT, format!(" {}", exactness(run))));
    Some(text)
}

fn row(name: String, quantiles: Quantiles) -> Vec<String> {
    let Quantiles { steps, p50_ms, p95_ms, max_ms } = quantiles;
    let times = [p50_ms, p95_ms, max_ms].map(duration);
    [name, thousands(steps)].into_iter().chain(times).collect()
}

/// Returns what a time contains, and how exact it is.
fn exactness(run: &RunDocument) -> String {
    let most = |of: fn(&Step) -> Millis| {
        let changing = run.steps().map(|(_, step)| step).filter(|step| step.times != StepTimes::default());
        duration(changing.map(of).max().unwrap_or_default())
    };
    let (handed_over, sooner) = (most(|step| step.handed_over_ms), most(Step::uncertainty));
    let is_any_untimed = run.counts.leaks + run.counts.blocked > 0;
    let never = if is_any_untimed { "; leaks and blocked cells have no time" } else { "" };
    format!(
        "from the change, with at most {handed_over} to hand it over, to the first probe that agreed;\n \
         in force at most {sooner} sooner{never}"
    )
}

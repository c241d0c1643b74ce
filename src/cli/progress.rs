//! What a run shows while it goes on, on standard error: a line that changes on a terminal, plain
//! lines elsewhere.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::report::escape::{lines, shown};
use crate::report::style::{duration, thousands};
use crate::runner::Event;
use crate::verdict::{Outcome, ScenarioResult};

/// Shows events until there are no more.
pub(super) async fn progress(mut events: UnboundedReceiver<Event>) {
    let mut view = View::new();
    while let Some(event) = events.recv().await {
        view.show(&event);
    }
    view.finish();
}

enum View {
    Terminal { bar: ProgressBar, running: BTreeMap<usize, String>, finished: usize },
    Lines { asked: usize },
}

impl View {
    fn new() -> Self {
        // Diagnostics would be written into the line that changes.
        if !std::io::stderr().is_terminal() || tracing::enabled!(tracing::Level::DEBUG) {
            return Self::Lines { asked: 0 };
        }
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {bar:24} {pos}/{len}  {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self::Terminal { bar, running: BTreeMap::new(), finished: 0 }
    }

    fn show(&mut self, event: &Event) {
        match self {
            Self::Terminal { bar, running, finished } => show_on_bar(bar, running, finished, event),
            Self::Lines { asked } => match event {
                Event::ScenarioStarted { asked: number, .. } => *asked = *number,
                Event::Baseline { .. } | Event::StepFinished { .. } => {}
                // The error ends the run and is told by itself.
                Event::ScenarioFinished { result, .. }
                    if result.failure.as_ref().is_some_and(|f| f.everywhere) => {}
                Event::ScenarioFinished { index, result } => {
                    // Without standard error there is nobody to show it to.
                    let _ = writeln!(std::io::stderr(), "[{}/{asked}] {}", index + 1, lines(&line(result)));
                }
            },
        }
    }

    fn finish(self) {
        match self {
            Self::Terminal { bar, .. } => bar.finish_and_clear(),
            Self::Lines { .. } => {}
        }
    }
}

fn show_on_bar(
    bar: &ProgressBar,
    running: &mut BTreeMap<usize, String>,
    finished: &mut usize,
    event: &Event,
) {
    match event {
        Event::ScenarioStarted { index, asked, name } => {
            bar.set_length(*asked as u64);
            running.insert(*index, name.clone());
        }
        Event::Baseline { index, cells, .. } => {
            if let Some(text) = running.get_mut(index) {
                text.push_str(&format!(": {} cells", thousands(*cells)));
            }
        }
        Event::StepFinished { index, result } => {
            let name = running.get(index).and_then(|text| text.split(": ").next()).unwrap_or_default();
            let text = format!("{name}: {}", result.name);
            running.insert(*index, text);
        }
        Event::ScenarioFinished { index, .. } => {
            running.remove(index);
            *finished += 1;
            bar.set_position(*finished as u64);
        }
    }
    bar.set_message(shown(running.values().cloned().collect::<Vec<_>>().join(" · ")));
}

fn line(result: &ScenarioResult) -> String {
    let counts = result.counts();
    let word = match result.outcome() {
        Outcome::Pass => "ok".to_owned(),
        Outcome::Skipped => "skipped".to_owned(),
        Outcome::Inconclusive => "inconclusive".to_owned(),
        Outcome::Fail => {
            let late = if counts.late > 0 { format!(", {} late", counts.late) } else { String::new() };
            format!("failed: {} leaks, {} blocked{late}", counts.leaks, counts.blocked)
        }
    };
    format!("{} {word} ({} cells, {})", result.name, thousands(counts.cells()), duration(result.took))
}

//! The progress of a run on standard error: a line that changes on a terminal, and plain lines elsewhere.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::report::escape::{lines, shown};
use crate::report::problems;
use crate::report::style::{duration, thousands};
use crate::runner::{Event, Events};
use crate::verdict::{Outcome, ScenarioResult};

/// Runs `work`, and shows the events that it emits.
pub(super) async fn with_progress<T>(work: impl AsyncFnOnce(&Events) -> T) -> anyhow::Result<T> {
    let (events, mut received) = Events::channel();
    let progress = tokio::spawn(async move {
        let mut view = View::new();
        while let Some(event) = received.recv().await {
            view.show(&event);
        }
        view.finish();
    });
    let result = work(&events).await;
    drop(events);
    progress.await?;
    Ok(result)
}

/// Returns a bar that moves by itself.
pub(super) fn bar(length: Option<usize>, template: &str) -> ProgressBar {
    let bar = length.map_or_else(ProgressBar::no_length, |length| ProgressBar::new(length as u64));
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// A scenario that is running.
struct Running {
    name: String,
    /// The last thing that it finished.
    now: Option<String>,
}

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.now.iter().try_for_each(|now| write!(f, ": {now}"))
    }
}

enum View {
    Terminal { bar: ProgressBar, running: BTreeMap<usize, Running>, finished: usize },
    Lines { asked: usize },
}

impl View {
    fn new() -> Self {
        // Diagnostics would break the line that changes.
        if !std::io::stderr().is_terminal() || tracing::enabled!(tracing::Level::DEBUG) {
            return Self::Lines { asked: 0 };
        }
        let bar = bar(Some(0), "{spinner} {bar:24} {pos}/{len}  {wide_msg}");
        Self::Terminal { bar, running: BTreeMap::new(), finished: 0 }
    }

    fn show(&mut self, event: &Event) {
        match self {
            Self::Terminal { bar, running, finished } => show_on_bar(bar, running, finished, event),
            Self::Lines { asked } => match event {
                Event::ScenarioStarted { asked: number, .. } => *asked = *number,
                Event::Baseline { .. } | Event::StepFinished { .. } => {}
                // The error ends the run, and the command prints it.
                Event::ScenarioFinished { result, .. }
                    if result.failure.as_ref().is_some_and(|f| f.everywhere) => {}
                Event::ScenarioFinished { index, result } => {
                    // An error means that standard error is closed: no user reads it.
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
    running: &mut BTreeMap<usize, Running>,
    finished: &mut usize,
    event: &Event,
) {
    match event {
        Event::ScenarioStarted { index, asked, name } => {
            bar.set_length(*asked as u64);
            running.insert(*index, Running { name: name.clone(), now: None });
        }
        Event::Baseline { index, cells, .. } => {
            if let Some(scenario) = running.get_mut(index) {
                scenario.now = Some(format!("{} cells", thousands(*cells)));
            }
        }
        Event::StepFinished { index, result } => {
            if let Some(scenario) = running.get_mut(index) {
                scenario.now = Some(result.name.clone());
            }
        }
        Event::ScenarioFinished { index, .. } => {
            running.remove(index);
            *finished += 1;
            bar.set_position(*finished as u64);
        }
    }
    let texts: Vec<_> = running.values().map(Running::to_string).collect();
    bar.set_message(shown(texts.join(" · ")));
}

fn line(result: &ScenarioResult) -> String {
    let counts = result.counts();
    let word = match result.outcome() {
        Outcome::Pass => "ok".to_owned(),
        Outcome::Skipped => "skipped".to_owned(),
        Outcome::Inconclusive => "inconclusive".to_owned(),
        Outcome::Fail => format!("failed: {}", problems(&counts)),
    };
    format!("{} {word} ({} cells, {})", result.name, thousands(counts.cells()), duration(result.took))
}

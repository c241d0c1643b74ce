//! The progress of a run on standard error: a line that changes on a terminal, and plain lines elsewhere.

use std::collections::BTreeMap;
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
        if let Some(bar) = view.bar {
            bar.finish_and_clear();
        }
    });
    let result = work(&events).await;
    drop(events);
    progress.await?;
    Ok(result)
}

/// Returns whether a line that changes can be shown. Diagnostics would break it.
pub(super) fn has_bar() -> bool {
    std::io::stderr().is_terminal() && !tracing::enabled!(tracing::Level::DEBUG)
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

/// The state of a run, and where it is shown.
#[derive(Default)]
struct View {
    /// The line that changes. `None` if standard error is no terminal.
    bar: Option<ProgressBar>,
    requested: usize,
    finished: usize,
    /// What precedes the names of scenarios. It says whether they are run again, alone.
    prefix: &'static str,
    /// The name of each running scenario, and the last thing that it finished.
    running: BTreeMap<usize, (String, String)>,
}

impl View {
    fn new() -> Self {
        let bar = has_bar().then(|| bar(Some(0), "{spinner} {bar:24} {pos}/{len}  {wide_msg}"));
        Self { bar, ..Self::default() }
    }

    fn show(&mut self, event: &Event) {
        match event {
            Event::ScenarioStarted { index, requested, name } => {
                self.requested = *requested;
                self.running.insert(*index, (name.clone(), String::new()));
            }
            Event::AloneStarted { requested } => {
                (self.requested, self.finished, self.prefix) = (*requested, 0, "alone: ");
            }
            Event::Baseline { index, cells, .. } => {
                self.has_finished(*index, &format!("{} cells", thousands(*cells)));
            }
            Event::StepFinished { index, result } => self.has_finished(*index, &result.name),
            Event::AttemptEnded { index, is_repeated: true, .. } => {
                self.has_finished(*index, "a pod was lost, begins again");
            }
            // The end of the scenario follows.
            Event::AttemptEnded { is_repeated: false, .. } => {}
            Event::ScenarioFinished { index, result } => {
                self.running.remove(index);
                self.finished += 1;
                // The error ends the run, and the command prints it.
                let is_printed_later = result.failure.as_ref().is_some_and(|failure| failure.everywhere);
                if self.bar.is_none() && !is_printed_later {
                    let (line, prefix) = (lines(&line(result)), self.prefix);
                    // An error means that standard error is closed: no user reads it.
                    let _ = writeln!(std::io::stderr(), "[{}/{}] {prefix}{line}", index + 1, self.requested);
                }
            }
        }
        if let Some(bar) = &self.bar {
            bar.set_length(self.requested as u64);
            bar.set_position(self.finished as u64);
            let prefix = self.prefix;
            let running = self.running.values().map(|(name, now)| format!("{prefix}{name}{now}"));
            let running: Vec<_> = running.collect();
            bar.set_message(shown(running.join(" · ")));
        }
    }

    fn has_finished(&mut self, index: usize, what: &str) {
        if let Some((_, now)) = self.running.get_mut(&index) {
            *now = format!(": {what}");
        }
    }
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

//! What `netproof fuzz` shows while it goes on, on standard error: a line that changes on a terminal,
//! plain lines from time to time elsewhere.

use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::fuzz::Progress;
use crate::report::style::{count, thousands};

/// How often a line is written where lines stay.
const PAUSE: Duration = Duration::from_secs(10);

/// Shows how far it is, until it ends with this value.
pub(super) struct FuzzProgress {
    bar: Option<ProgressBar>,
    last: Cell<Instant>,
}

impl FuzzProgress {
    /// Progress towards so many cases, or until somebody looks at the clock.
    pub(super) fn new(cases: Option<usize>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = cases.map_or_else(ProgressBar::no_length, |cases| ProgressBar::new(cases as u64));
            let template = match cases {
                Some(_) => "{spinner} {bar:24} {pos}/{len} cases  {wide_msg}",
                None => "{spinner} {pos} cases  {wide_msg}",
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { bar, last: Cell::new(Instant::now()) }
    }

    /// Shows how far it is.
    pub(super) fn show(&self, progress: Progress) {
        let (done, message) = match progress {
            Progress::Cases { done, disagreeing: 0 } => (Some(done), String::new()),
            Progress::Cases { done, disagreeing } => {
                (Some(done), count(disagreeing, "disagreement", "disagreements"))
            }
            Progress::Following { number, of } => (None, format!("shrinking {number} of {of}")),
        };
        match &self.bar {
            Some(bar) => {
                if let Some(done) = done {
                    bar.set_position(done as u64);
                }
                bar.set_message(message);
            }
            None if done.is_none() || self.last.get().elapsed() >= PAUSE => {
                self.last.set(Instant::now());
                let cases = done.map(|done| format!("{} cases", thousands(done))).unwrap_or_default();
                let parts: Vec<_> = [cases, message].into_iter().filter(|part| !part.is_empty()).collect();
                // Without standard error there is nobody to show it to.
                let _ = writeln!(std::io::stderr(), "{}", parts.join(", "));
            }
            None => {}
        }
    }
}

impl Drop for FuzzProgress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

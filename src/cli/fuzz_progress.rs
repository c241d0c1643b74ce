//! The progress of `netproof fuzz` on standard error: a line that changes on a terminal, and plain lines from time
//! to time elsewhere.

use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use super::progress::bar;
use crate::fuzz::Progress;
use crate::report::style::{count, thousands};

/// Time between two plain lines.
const PAUSE: Duration = Duration::from_secs(10);

/// Display of the progress, until it is dropped.
pub(super) struct FuzzProgress {
    bar: Option<ProgressBar>,
    last: Cell<Instant>,
}

impl FuzzProgress {
    /// Creates a display for a number of cases, or without an end.
    pub(super) fn new(cases: Option<usize>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let template = match cases {
                Some(_) => "{spinner} {bar:24} {pos}/{len} cases  {wide_msg}",
                None => "{spinner} {pos} cases  {wide_msg}",
            };
            bar(cases, template)
        });
        Self { bar, last: Cell::new(Instant::now()) }
    }

    /// Shows the current progress.
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
                // An error means that standard error is closed: no user reads it.
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

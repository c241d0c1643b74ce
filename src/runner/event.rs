//! What a run tells while it goes on.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::verdict::{ScenarioResult, StepResult};

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A scenario begins.
    ScenarioStarted {
        /// Its place in the run, counted from 0.
        index: usize,
        /// How many scenarios the run has.
        asked: usize,
        /// Its name.
        name: String,
    },
    /// A scenario's pods run and have been probed without policies.
    Baseline {
        /// The scenario's place in the run.
        index: usize,
        /// How many cells there are.
        cells: usize,
        /// How many of them did not get through.
        failed: usize,
        /// How long to wait for an answer from now on.
        timeout: Duration,
    },
    /// A step has been carried out.
    StepFinished {
        /// The scenario's place in the run.
        index: usize,
        /// What it found out.
        result: Box<StepResult>,
    },
    /// A scenario has ended.
    ScenarioFinished {
        /// Its place in the run.
        index: usize,
        /// What it found out.
        result: Box<ScenarioResult>,
    },
}

/// Where events go.
#[derive(Debug, Clone)]
pub struct Events {
    sender: mpsc::UnboundedSender<Event>,
}

impl Events {
    /// A way for events, and its end.
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { sender }, receiver)
    }

    pub(super) fn send(&self, event: Event) {
        // Nobody has to listen.
        let _ = self.sender.send(event);
    }
}

//! Events of a run, for progress.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::verdict::{Attempt, ScenarioResult, StepResult};

/// Something that happened in a run.
#[derive(Debug, Clone)]
pub enum Event {
    /// A scenario begins.
    ScenarioStarted {
        /// The scenario's index in the run.
        index: usize,
        /// Number of scenarios in the run.
        requested: usize,
        /// The scenario's name.
        name: String,
    },
    /// Scenarios that failed beside others are run again, alone. Their indices begin with 0.
    AloneStarted {
        /// Number of these scenarios.
        requested: usize,
    },
    /// The pods of a scenario run, and have been probed without policies.
    Baseline {
        /// The scenario's index in the run.
        index: usize,
        /// Number of cells.
        cells: usize,
        /// Number of cells that were not delivered.
        failed: usize,
        /// How long the scenario waits for an answer from now on.
        timeout: Duration,
    },
    /// A step has ended.
    StepFinished {
        /// The scenario's index in the run.
        index: usize,
        /// The step's result.
        result: Box<StepResult>,
    },
    /// An attempt at a scenario has ended.
    AttemptEnded {
        /// The scenario's index in the run.
        index: usize,
        /// The attempt.
        attempt: Box<Attempt>,
        /// Whether the scenario has lost a pod, and begins again.
        is_repeated: bool,
    },
    /// A scenario has ended.
    ScenarioFinished {
        /// The scenario's index in the run.
        index: usize,
        /// The scenario's result.
        result: Box<ScenarioResult>,
    },
}

/// The sender of events.
#[derive(Debug, Clone)]
pub struct Events {
    sender: mpsc::UnboundedSender<Event>,
}

impl Events {
    /// Returns a sender and its receiver.
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { sender }, receiver)
    }

    pub(super) fn send(&self, event: Event) {
        // A caller without progress drops the receiver.
        let _ = self.sender.send(event);
    }
}

//! Signals that end a run early.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::output;
use crate::verdict::INTERRUPTED;

/// Maximum time between signals that are one request. `timeout` sends one signal to its child, and another one to the
/// whole process group.
const ONE_REQUEST: Duration = Duration::from_millis(500);

/// Signals that end a run: SIGINT, SIGTERM and SIGHUP.
pub(super) struct Interruption {
    requested: watch::Receiver<bool>,
    stage: Arc<Mutex<Stage>>,
}

/// What a signal interrupts.
#[derive(Debug, Clone)]
enum Stage {
    /// The run. Its verdict is not known yet.
    Run,
    /// The removal of what the run created. Its verdict was printed.
    CleanUp {
        /// The exit code of the verdict.
        code: u8,
        /// The command that removes the rest.
        command: String,
    },
}

impl Interruption {
    /// Starts to listen. A request during the run asks it to end early. A second request ends the process.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let (stop, requested) = watch::channel(false);
        let interrupts = signal(SignalKind::interrupt())?;
        let others = [signal(SignalKind::terminate())?, signal(SignalKind::hangup())?];
        let stage = Arc::new(Mutex::new(Stage::Run));
        tokio::spawn(end_process(interrupts, others, stop, Arc::clone(&stage)));
        Ok(Self { requested, stage })
    }

    /// Returns a flag that becomes true when the run should end.
    pub(super) fn requested(&self) -> watch::Receiver<bool> {
        self.requested.clone()
    }

    /// Says that the verdict was printed, and that `command` removes what is not removed yet. From now on, Ctrl-C ends
    /// the process at once, with the exit code of the verdict.
    pub(super) fn start_clean_up(&self, code: u8, command: String) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = Stage::CleanUp { code, command };
    }
}

/// Waits for the request that ends the process, and ends it.
async fn end_process(
    mut interrupts: Signal,
    [mut terminations, mut hangups]: [Signal; 2],
    stop: watch::Sender<bool>,
    stage: Arc<Mutex<Stage>>,
) {
    let mut first = None;
    let stage = loop {
        let is_interrupt = tokio::select! {
            _ = interrupts.recv() => true,
            _ = terminations.recv() => false,
            _ = hangups.recv() => false,
        };
        let stage = stage.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if ends_at_once(first.map(|first: Instant| first.elapsed()), &stage, is_interrupt) {
            break stage;
        }
        first.get_or_insert_with(Instant::now);
        // The run may already have ended.
        let _ = stop.send(true);
    };
    let (message, code) = match stage {
        Stage::Run => (
            "ended at once: if this was a run on a cluster, remove what it left with: netproof cleanup"
                .to_owned(),
            INTERRUPTED,
        ),
        Stage::CleanUp { code, command } => {
            (format!("ended before everything was removed: remove the rest with: {command}"), code)
        }
    };
    output::note(&message);
    std::process::exit(code.into());
}

/// Returns whether a signal ends the process. `since_first` is the time since the first signal.
fn ends_at_once(since_first: Option<Duration>, stage: &Stage, is_interrupt: bool) -> bool {
    match (since_first, stage) {
        (Some(passed), Stage::Run | Stage::CleanUp { .. }) => passed >= ONE_REQUEST,
        (None, Stage::Run) => false,
        // SIGTERM and SIGHUP come from programs, and the process ends soon anyway. A user who presses Ctrl-C has read
        // what it does.
        (None, Stage::CleanUp { .. }) => is_interrupt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ctrl_c_ends_a_clean_up_at_the_first_request() {
        let clean_up = Stage::CleanUp { code: 0, command: String::new() };
        let (soon, later) = (Some(Duration::from_millis(100)), Some(Duration::from_secs(1)));
        for (since_first, stage, is_interrupt, ends) in [
            (None, &Stage::Run, true, false),
            (None, &Stage::Run, false, false),
            (None, &clean_up, true, true),
            (None, &clean_up, false, false),
            // `timeout` sends two signals, and the run may end between them.
            (soon, &Stage::Run, true, false),
            (soon, &clean_up, true, false),
            (later, &Stage::Run, false, true),
            (later, &clean_up, false, true),
        ] {
            let ended = ends_at_once(since_first, stage, is_interrupt);
            assert_eq!(ended, ends, "{since_first:?} {stage:?} {is_interrupt}");
        }
    }
}

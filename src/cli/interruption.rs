//! Signals that end a run early.

use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::output;
use crate::verdict::INTERRUPTED;

/// Maximum time between signals that are one request. `timeout` sends one signal to its child, and another one to the
/// whole process group.
const ONE_REQUEST: Duration = Duration::from_millis(500);

/// Returns a flag that becomes true at SIGINT, SIGTERM or SIGHUP. A signal more than [`ONE_REQUEST`] after the first one
/// ends the process.
pub(super) fn interruption() -> anyhow::Result<watch::Receiver<bool>> {
    let (stop, interrupted) = watch::channel(false);
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let mut hangups = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        let mut first = None;
        loop {
            tokio::select! {
                _ = interrupts.recv() => {}
                _ = terminations.recv() => {}
                _ = hangups.recv() => {}
            }
            match first {
                None => {
                    first = Some(Instant::now());
                    // The run may already have ended.
                    let _ = stop.send(true);
                }
                Some(first) if first.elapsed() < ONE_REQUEST => {}
                Some(_) => break,
            }
        }
        output::note(
            "ended at once: if this was a run on a cluster, remove what it left with: netproof cleanup",
        );
        std::process::exit(INTERRUPTED.into());
    });
    Ok(interrupted)
}

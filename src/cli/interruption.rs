//! Ending early, when somebody asks for it.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::output;

/// Becomes true when somebody presses Ctrl-C or asks the process to end.
pub(super) fn interruption() -> anyhow::Result<watch::Receiver<bool>> {
    let (stop, interrupted) = watch::channel(false);
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let mut hangups = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        for is_first in [true, false] {
            tokio::select! {
                _ = interrupts.recv() => {}
                _ = terminations.recv() => {}
                _ = hangups.recv() => {}
            }
            if is_first {
                // The run may have ended meanwhile.
                let _ = stop.send(true);
            }
        }
        output::note(
            "ended at once: if this was a run on a cluster, remove what it left with: netproof cleanup",
        );
        std::process::exit(130);
    });
    Ok(interrupted)
}

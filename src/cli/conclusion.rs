//! The end of a command that runs scenarios: the result is printed first, and then what the run created on a cluster is
//! removed.

use std::process::ExitCode;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::interruption::Interruption;
use super::output;
use crate::backend::Error;
use crate::backend::cluster::{Cluster, Live};
use crate::verdict::INTERRUPTED;

/// Time for which the removal waits until a result is printed. A pager reads only as much as it shows, and the run must
/// not occupy the cluster meanwhile.
const PRINTING: Duration = Duration::from_secs(1);

/// A result, ready to be printed.
pub(super) struct Conclusion {
    pub(super) text: String,
    pub(super) code: u8,
}

impl Conclusion {
    /// Prints the result. Returns the exit code.
    pub(super) fn print(self) -> anyhow::Result<ExitCode> {
        output::result(&self.text)?;
        Ok(ExitCode::from(self.code))
    }
}

/// What a command created on a cluster, to be removed.
pub(super) trait Removal {
    /// Returns the command that removes everything.
    fn command(&self) -> String;

    /// Returns what stays, because the user wants that. `None` if everything is removed.
    fn kept(&self) -> Option<String>;

    /// Returns whether anything may have been created.
    fn was_used(&self) -> bool;

    /// Removes everything.
    async fn remove(self) -> Result<(), Error>;
}

impl Removal for Cluster {
    fn command(&self) -> String {
        self.cleanup_command()
    }

    fn kept(&self) -> Option<String> {
        self.is_kept().then(|| format!("namespaces {}-*", self.prefix()))
    }

    fn was_used(&self) -> bool {
        self.was_used()
    }

    async fn remove(self) -> Result<(), Error> {
        self.finish().await
    }
}

impl Removal for Live {
    fn command(&self) -> String {
        self.cleanup_command()
    }

    fn kept(&self) -> Option<String> {
        self.is_kept().then(|| "probe pods".to_owned())
    }

    fn was_used(&self) -> bool {
        self.was_used()
    }

    async fn remove(self) -> Result<(), Error> {
        self.finish().await
    }
}

/// A result that is printed, or is being printed.
pub(super) struct Printing {
    code: u8,
    /// `None` if everything is printed.
    rest: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Printing {
    /// Prints a result or an error, and waits for that, unless the reader is slow.
    pub(super) async fn start(result: anyhow::Result<Conclusion>) -> Self {
        let Conclusion { text, code } = match result {
            Ok(conclusion) => conclusion,
            Err(error) => return Self::failed(&error),
        };
        let mut task = tokio::task::spawn_blocking(move || output::result(&text));
        match timeout(PRINTING, &mut task).await {
            Ok(printed) => match printed.map_err(anyhow::Error::from).flatten() {
                Ok(()) => Self { code, rest: None },
                Err(error) => Self::failed(&error),
            },
            Err(_) => Self { code, rest: Some(task) },
        }
    }

    /// Returns the exit code of the result.
    pub(super) fn code(&self) -> u8 {
        self.code
    }

    fn failed(error: &anyhow::Error) -> Self {
        output::error(error);
        Self { code: 2, rest: None }
    }

    /// Removes what the run created on the cluster, or says how to remove it. Waits until the result is printed. Returns
    /// the exit code. It is that of the result, even if something remains.
    pub(super) async fn clean_up(
        self,
        cluster: impl Removal,
        interruption: &Interruption,
    ) -> anyhow::Result<ExitCode> {
        let command = cluster.command();
        if let Some(what) = cluster.kept() {
            output::note(&format!("{what} stay: remove them with: {command}"));
        } else if cluster.was_used() {
            // Ctrl-C must not make a result that nobody has read a pass.
            let code = if self.rest.is_some() { INTERRUPTED } else { self.code };
            interruption.start_clean_up(code, command.clone());
            output::note(&format!("cleaning up … (Ctrl-C leaves the rest to: {command})"));
        }
        complain(cluster.remove().await.map_err(anyhow::Error::from));
        if let Some(rest) = self.rest {
            rest.await??;
        }
        Ok(ExitCode::from(self.code))
    }
}

/// Prints an error that does not make the result useless.
pub(super) fn complain(result: anyhow::Result<()>) {
    if let Err(error) = result {
        output::error(&error);
    }
}

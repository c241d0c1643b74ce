//! Execution of `nft`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::netns::Netns;
use crate::backend::Error;

/// Maximum number of commands per transaction. A whole transaction must fit into the send buffer of a netlink
/// socket, which an unprivileged user cannot enlarge. About 3,000 plain rules did not fit.
const TRANSACTION: usize = 600;

/// The `nft` program.
#[derive(Debug, Clone)]
pub(super) struct Nft {
    path: Arc<Path>,
}

impl Nft {
    /// Searches for the program, also in directories that are not in an unprivileged user's `PATH`.
    pub(super) fn find() -> Result<Self, Error> {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&paths).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
        let found = folders.map(|folder| folder.join("nft")).find(|path| path.is_file());
        let path = found.ok_or_else(|| {
            Error::Unavailable(
                "the lab needs the program nft, and there is none: install it (on Debian and Ubuntu: sudo apt-get install nftables)"
                    .to_owned(),
            )
        })?;
        Ok(Self { path: path.into() })
    }

    /// Executes a program inside a namespace: its preparation in as many transactions as needed, its switch
    /// in one transaction.
    pub(super) async fn run(&self, netns: &Netns, program: &Program, generation: u64) -> io::Result<()> {
        let nft = self.clone();
        let program = program.of_generation(generation);
        netns
            .run(move || {
                for transaction in program.preparation.chunks(TRANSACTION) {
                    nft.transaction(transaction)?;
                }
                nft.transaction(&program.switch)
            })
            .await
    }

    /// Executes commands inside a namespace, in one transaction.
    pub(super) async fn apply(&self, netns: &Netns, commands: Vec<String>) -> io::Result<()> {
        let nft = self.clone();
        netns.run(move || nft.transaction(&commands)).await
    }

    fn transaction(&self, commands: &[String]) -> io::Result<()> {
        let mut child = Command::new(&*self.path)
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(commands.join("\n").as_bytes())?;
            stdin.write_all(b"\n")?;
        }
        let output = child.wait_with_output()?;
        if output.status.success() {
            return Ok(());
        }
        let message = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("nft: {}", message.trim_end())))
    }
}

/// Name of the table in commands, with a placeholder for the generation.
pub(super) const TABLE: &str = "inet netproof_@";

/// `nft` commands for a table, with a placeholder for the table's generation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Program {
    /// Commands that do not change how packets are handled.
    pub(super) preparation: Vec<String>,
    /// Commands that bring everything into force at once.
    pub(super) switch: Vec<String>,
}

impl Program {
    /// Returns the commands for a generation. Generations start at 1, and each replaces the one before.
    fn of_generation(&self, generation: u64) -> Self {
        let name = format!("inet netproof_{generation}");
        let named = |commands: &[String]| -> Vec<String> {
            // The name follows the verb and the kind, and occurs nowhere else.
            commands.iter().map(|command| command.replacen(TABLE, &name, 1)).collect()
        };
        let mut switch = named(&self.switch);
        if generation > 1 {
            switch.push(format!("delete table inet netproof_{}", generation - 1));
        }
        Self { preparation: named(&self.preparation), switch }
    }
}

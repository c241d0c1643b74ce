//! Running `nft`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::netns::Netns;
use crate::backend::Error;

/// How many commands one transaction may have. All of it has to fit the send buffer of a netlink
/// socket, which an ordinary user cannot enlarge: some 3,000 plain rules did not.
const TRANSACTION: usize = 600;

/// The `nft` program.
#[derive(Debug, Clone)]
pub(super) struct Nft {
    path: Arc<Path>,
}

impl Nft {
    /// Looks for the program, also where an ordinary user's `PATH` does not lead.
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

    /// Carries out a program inside a namespace: its preparations in as many transactions as they
    /// need, its switch in one.
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

    /// Runs commands inside a namespace, in one transaction.
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

/// The name of the table in commands whose generation is still open.
pub(super) const TABLE: &str = "inet netproof_@";

/// Commands for `nft`, in its own language, for a table whose generation is open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Program {
    /// What changes nothing yet.
    pub(super) preparation: Vec<String>,
    /// What brings all of it into force at once.
    pub(super) switch: Vec<String>,
}

impl Program {
    /// The commands of a generation, counted from 1. Each takes the place of the one before.
    fn of_generation(&self, generation: u64) -> Self {
        let name = format!("inet netproof_{generation}");
        let named = |commands: &[String]| -> Vec<String> {
            // The name stands after the verb and the kind, and nowhere else.
            commands.iter().map(|command| command.replacen(TABLE, &name, 1)).collect()
        };
        let mut switch = named(&self.switch);
        if generation > 1 {
            switch.push(format!("delete table inet netproof_{}", generation - 1));
        }
        Self { preparation: named(&self.preparation), switch }
    }
}

//! Why there is no image.

use std::io;
use std::path::PathBuf;

/// Why an image could not be made or loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name cannot be that of an image.
    #[error("{0}")]
    Name(String),
    /// No agent was named, and there is none where it usually is.
    #[error(
        "there is no agent at {}: build it with probe-image/build.sh, and give the path that this prints by --agent",
        .0.display()
    )]
    NoAgent(PathBuf),
    /// The file of the agent could not be read.
    #[error(
        "could not read the agent {}: {problem}: give the path that probe-image/build.sh prints",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        problem: io::Error,
    },
    /// The file could be read, but cannot be the agent of an image.
    #[error(
        "{} {problem}: for the agent, give the path that probe-image/build.sh prints",
        path.display()
    )]
    Unfit {
        /// The file.
        path: PathBuf,
        /// Why not.
        problem: Unfit,
    },
    /// The archive could not be put together.
    #[error("could not put the image together: {0}")]
    Archive(io::Error),
    /// The archive could not be given to a tool.
    #[error("could not write the image to a temporary file: {0}: set TMPDIR to a folder with space")]
    Temporary(io::Error),
    /// What should be the socket of a containerd is none.
    #[error("{}: {problem}: give the socket on which containerd serves, as in /run/containerd/containerd.sock", path.display())]
    Socket {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A tool is not installed.
    #[error(
        "the program {tool} is not on the PATH: install it, or write the image to a file with `netproof image save` and load that where it is"
    )]
    NoTool {
        /// Its name.
        tool: &'static str,
    },
    /// A tool did not do what it should.
    #[error("{command}: {message}")]
    Tool {
        /// What was run.
        command: String,
        /// What it said.
        message: String,
    },
}

/// Why a file cannot be the agent in an image from scratch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Something else altogether.
    #[error("is not an ELF executable")]
    NotElf,
    /// Begins as an ELF file, and then does not go on as one.
    #[error("is a damaged or incomplete ELF executable ({0})")]
    Damaged(&'static str),
    /// An object file, a library, a core dump.
    #[error("is an ELF file, but none that can be started")]
    NotAProgram,
    /// Nothing in an image from scratch could load it.
    #[error("is dynamically linked, and an image from scratch has nothing that could load it")]
    Dynamic,
    /// Not one of the machines that images are for.
    #[error("is built for a machine that no image can be named for (ELF machine {0})")]
    UnknownMachine(u16),
}

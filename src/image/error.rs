//! Errors from making and loading the image.

use std::io;
use std::path::PathBuf;

/// Default name of the probe image.
pub const DEFAULT_IMAGE: &str = concat!("netproof-probe:", env!("CARGO_PKG_VERSION"));

/// Why an image could not be made or loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is not valid for an image.
    #[error("{0}: write it as {DEFAULT_IMAGE}")]
    Name(&'static str),
    /// No agent was named, and there is none at the usual path.
    #[error(
        "there is no agent at {}: take a release of netproof, which carries one, or build it with probe-image/build.sh, and \
         give the path that this prints by --agent",
        .0.display()
    )]
    NoAgent(PathBuf),
    /// This program does not have the agent for an architecture.
    #[error(
        "this netproof has no agent for nodes of the architecture {architecture}, neither in itself nor at {}: take a \
         release of netproof, or build it on Linux with `cargo build --release`, or copy the files that \
         probe-image/build.sh and probe-loader/build.sh print there, or name an image of the agent with --image",
        path.display()
    )]
    NoPackedAgent {
        /// The architecture, as Kubernetes names it.
        architecture: String,
        /// The file beside the program.
        path: PathBuf,
    },
    /// The agent beside the program is not packed, and there is nothing to pack it with.
    #[error("there is no loader at {}: copy the file that probe-loader/build.sh prints there", .0.display())]
    NoLoader(PathBuf),
    /// The file of the agent could not be read.
    #[error(
        "could not read the agent {}: {problem}: give the path that probe-image/build.sh prints",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
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
        /// The reason.
        #[source]
        problem: Unfit,
    },
    /// The archive could not be built.
    #[error("could not put the image together: {0}")]
    Archive(#[source] io::Error),
    /// The archive could not be written to a file for a tool.
    #[error("could not write the image to a temporary file: {0}: set TMPDIR to a folder with space")]
    Temporary(#[source] io::Error),
    /// There is no socket of containerd at the path.
    #[error("{}: {problem}: give the socket on which containerd serves, as in /run/containerd/containerd.sock", path.display())]
    Socket {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        problem: io::Error,
    },
    /// A tool is not installed.
    #[error(
        "the program {tool} is not on the PATH: install it, or write the image to a file with `netproof image save` and load that where it is"
    )]
    NoTool {
        /// Its name.
        tool: &'static str,
    },
    /// A tool could not be run to its end.
    #[error("{command}: {what}{problem}")]
    Run {
        /// The command.
        command: String,
        /// What failed, before the reason. Empty for the start of the tool.
        what: &'static str,
        /// The reason.
        #[source]
        problem: io::Error,
    },
    /// A tool failed.
    #[error("{command}: {message}")]
    Tool {
        /// The command that was run.
        command: String,
        /// The output of the command.
        message: String,
    },
}

/// Why a file cannot be the agent in an image from scratch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is not an ELF file.
    #[error("is not an ELF executable")]
    NotElf,
    /// It begins as an ELF file, but is damaged or incomplete.
    #[error("is a damaged or incomplete ELF executable ({0})")]
    Damaged(&'static str),
    /// It is an object file, a library or a core dump.
    #[error("is an ELF file, but none that can be started")]
    NotAProgram,
    /// It needs a loader, and an image from scratch has none.
    #[error("is dynamically linked, and an image from scratch has nothing that could load it")]
    Dynamic,
    /// It is for a machine that no image can be built for.
    #[error("is built for a machine that no image can be named for (ELF machine {0})")]
    UnknownMachine(u16),
}

//! Runs the tools that load the image to where Kubernetes finds it.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use super::error::Error;

/// Namespace in which containerd keeps the images that the kubelet uses.
const NAMESPACE: &str = "k8s.io";

/// The place that an image is loaded to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Every node of a kind cluster.
    Kind {
        /// The name of the cluster.
        cluster: String,
    },
    /// The containerd of a node.
    Containerd {
        /// The socket on which it serves.
        socket: PathBuf,
    },
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind { cluster } => write!(f, "the kind cluster {cluster}"),
            Self::Containerd { socket } => write!(f, "{}", socket.display()),
        }
    }
}

impl Destination {
    /// Returns the containerd behind a socket. The socket may be written as a `unix://` address.
    ///
    /// # Errors
    /// If there is no socket: `ctr` would wait for one.
    pub fn containerd(address: &str) -> Result<Self, Error> {
        let socket = PathBuf::from(address.strip_prefix("unix://").unwrap_or(address));
        let problem = match fs::metadata(&socket) {
            Ok(metadata) if metadata.file_type().is_socket() => return Ok(Self::Containerd { socket }),
            Ok(_) => io::Error::other("not a socket"),
            Err(error) => error,
        };
        Err(Error::Socket { path: socket, problem })
    }

    /// Loads an archive.
    ///
    /// # Errors
    /// If the tool is missing or fails. The error contains the output of the tool.
    pub fn load(&self, archive: &[u8]) -> Result<(), Error> {
        match self {
            Self::Kind { cluster } => kind(cluster, archive),
            Self::Containerd { socket } => ctr(socket, archive),
        }
    }
}

/// Loads an archive with kind. It reads the archive once for every node, so the archive has to be a file.
fn kind(cluster: &str, archive: &[u8]) -> Result<(), Error> {
    let file = temporary(archive).map_err(Error::Temporary)?;
    let mut command = Command::new("kind");
    command.args(["load", "image-archive"]).arg(file.path()).args(["--name", cluster]);
    run("kind", command, b"")
}

fn temporary(content: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix("netproof-probe-").suffix(".tar").tempfile()?;
    file.write_all(content)?;
    Ok(file)
}

fn ctr(socket: &Path, archive: &[u8]) -> Result<(), Error> {
    let mut command = Command::new("ctr");
    command.arg("-a").arg(socket).args(["-n", NAMESPACE, "images", "import", "-"]);
    // Warnings about containerd's configuration would hide why it failed.
    command.env("CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS", "1");
    run("ctr", command, archive)
}

/// Runs a tool until it ends, with `input` on its standard input.
fn run(tool: &'static str, mut command: Command, input: &[u8]) -> Result<(), Error> {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let command = words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ");
    let failed = |what, problem| Error::Run { command: command.clone(), what, problem };
    let mut child = child.map_err(|problem| match problem.kind() == io::ErrorKind::NotFound {
        true => Error::NoTool { tool },
        false => failed("", problem),
    })?;
    let stdin = child.stdin.take();
    let (output, written) = thread::scope(|scope| {
        // Its output is read at the same time. If it writes much output that is not read, it stops reading its input.
        let writer = scope.spawn(|| stdin.map_or(Ok(()), |mut stdin| stdin.write_all(input)));
        (child.wait_with_output(), writer.join())
    });
    let output = output.map_err(|problem| failed("", problem))?;
    if !output.status.success() {
        return Err(Error::Tool { message: said(&output), command });
    }
    // A tool that succeeds without having read everything has loaded something else.
    match written {
        Ok(Ok(())) => Ok(()),
        Ok(Err(problem)) => Err(failed("it did not read the image: ", problem)),
        Err(_) => Err(Error::Tool { command, message: "it could not be given the image".to_owned() }),
    }
}

/// Returns what a tool said about its failure.
fn said(output: &Output) -> String {
    let texts = [&output.stderr, &output.stdout].map(|text| String::from_utf8_lossy(text));
    let said = texts.iter().map(|text| text.trim()).find(|text| !text.is_empty());
    said.map_or_else(|| format!("it failed and said nothing ({})", output.status), str::to_owned)
}

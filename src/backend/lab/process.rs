//! Agents of the lab. Each is this program, started again inside a network namespace.

use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};

use netproof_probe::agent::{self, Options};
use netproof_probe::wire::{Ready, TOKEN_VARIABLE};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// First argument that turns the program into an agent. It is not a command for users.
const ARGUMENT: &str = "--lab-agent";

/// Runs an agent if this process was started as one, and returns its exit code.
pub fn run_agent() -> Option<u8> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some(ARGUMENT) {
        return None;
    }
    let name = arguments.next().unwrap_or_default();
    let token = std::env::var(TOKEN_VARIABLE).unwrap_or_default();
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let options = Options { name, listen, is_open: false, open: None, token, entry: None, deadline: None };
    match agent::run(options) {
        Ok(()) => Some(0),
        Err(error) => {
            tracing::error!("the agent ended: {error}");
            Some(2)
        }
    }
}

/// An agent that has been started. It ends when this value is dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    output: Option<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts an agent in the calling thread's network namespace.
    pub(super) fn start(name: &str, token: &str) -> io::Result<Self> {
        let mut child = Command::new("/proc/self/exe")
            .args([ARGUMENT, name])
            .env_clear()
            .env(TOKEN_VARIABLE, token)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().map(BufReader::new);
        Ok(Self { child, output })
    }

    /// Suspends the agent until the returned value is dropped.
    pub(super) fn stop(&self) -> io::Result<Stopped> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).map_err(io::Error::other)?);
        kill(pid, Signal::SIGSTOP)?;
        Ok(Stopped(pid))
    }

    /// Waits until the agent's API is available, and connects to it. The calling thread must be in the
    /// agent's network namespace.
    pub(super) fn connect(&mut self) -> io::Result<TcpStream> {
        let ended = || io::Error::other("the agent ended before it was ready");
        let mut line = String::new();
        self.output.take().ok_or_else(ended)?.read_line(&mut line)?;
        if line.is_empty() {
            return Err(ended());
        }
        let Ready { listening } = serde_json::from_str(&line)?;
        let stream = TcpStream::connect(listening)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    }
}

/// A suspended agent.
#[derive(Debug)]
pub(super) struct Stopped(Pid);

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have been killed in the meantime.
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The agent has nothing to clean up, and may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

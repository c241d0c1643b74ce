//! Namespaces in which a lab lives.
//!
//! The program starts itself again inside new user, process and network namespaces, and waits. The inner
//! process is the first one of its process namespace. When it ends, the kernel ends everything that it
//! started. When the outer process ends, for whatever reason, the kernel ends the inner one. Network
//! namespaces end with their last process. So nothing can be left behind.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};

use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, getegid, geteuid};

use crate::backend::Error;

/// Environment variable that tells the inner process that it is one, and which process is its parent.
const VARIABLE: &str = "NETPROOF_SANDBOX";

/// Location of this process after [`enter`].
#[derive(Debug)]
pub enum Entered {
    /// Inside the sandbox. The program should continue.
    Inside,
    /// Outside the sandbox. The inner process has ended with this exit code.
    Outside(u8),
}

/// Continues this program inside a sandbox. Must be called before any thread is started.
///
/// # Errors
/// If the system does not allow the namespaces.
pub fn enter() -> Result<Entered, Error> {
    if let Some(parent) = std::env::var_os(VARIABLE) {
        tie_to_parent(&parent)?;
        // The signals are blocked because the outer process waits for them, and the inner one inherits this.
        awaited_signals().thread_unblock().map_err(|error| Error::failed("receive signals", error))?;
        return Ok(Entered::Inside);
    }
    create_namespaces()?;
    wait_for_inner()
        .map(Entered::Outside)
        .map_err(|error| Error::failed("run inside the lab's namespaces", error))
}

fn tie_to_parent(parent: &OsString) -> Result<(), Error> {
    let failed = |error: &dyn std::fmt::Display| Error::failed("tie the lab to its parent process", error);
    set_pdeathsig(Signal::SIGKILL).map_err(|error| failed(&error))?;
    // The parent may have ended just before. `/proc` still belongs to the outer process namespace, and so
    // does the number.
    let status = std::fs::read_to_string("/proc/self/status").map_err(|error| failed(&error))?;
    let current = status.lines().find_map(|line| line.strip_prefix("PPid:")).map(str::trim);
    if current.map(OsString::from).as_ref() == Some(parent) { Ok(()) } else { Err(failed(&"it has ended")) }
}

const INNER: CloneFlags =
    CloneFlags::CLONE_NEWNET.union(CloneFlags::CLONE_NEWPID).union(CloneFlags::CLONE_NEWIPC);

fn create_namespaces() -> Result<(), Error> {
    // Root needs no user namespace. Without one, some limits of the kernel are higher.
    if geteuid().is_root() && unshare(INNER).is_ok() {
        return Ok(());
    }
    let (user, group) = (geteuid(), getegid());
    unshare(INNER | CloneFlags::CLONE_NEWUSER).map_err(|errno| forbidden(&errno.to_string()))?;
    let map = |file: &str, content: String| {
        std::fs::write(file, content).map_err(|error| forbidden(&format!("{file}: {error}")))
    };
    map("/proc/self/setgroups", "deny".to_owned())?;
    map("/proc/self/uid_map", format!("0 {user} 1"))?;
    map("/proc/self/gid_map", format!("0 {group} 1"))
}

/// Returns an error with the likely reason of the kernel's refusal, and with two solutions.
fn forbidden(reason: &str) -> Error {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default();
    let setting = if read("user/max_user_namespaces").trim() == "0" {
        Some("user.max_user_namespaces=15000")
    } else if read("kernel/unprivileged_userns_clone").trim() == "0" {
        Some("kernel.unprivileged_userns_clone=1")
    } else if read("kernel/apparmor_restrict_unprivileged_userns").trim() == "1" {
        Some("kernel.apparmor_restrict_unprivileged_userns=0")
    } else {
        None
    };
    let allow = match setting {
        Some(setting) => format!("allow them (sudo sysctl {setting})"),
        None => "allow them (inside a container: start it with more privileges)".to_owned(),
    };
    Error::Unavailable(format!(
        "the lab needs namespaces, and this system does not let this user create them ({reason}): run the same command as root (sudo), or {allow}"
    ))
}

/// Returns the signals that the outer process waits for.
fn awaited_signals() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD].into_iter().collect()
}

fn wait_for_inner() -> io::Result<u8> {
    let signals = awaited_signals();
    // Block the signals before the child exists, so that none is missed.
    signals.thread_block()?;
    let incoming = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)?;
    let mut child = Command::new("/proc/self/exe")
        .args(std::env::args_os().skip(1))
        .env(VARIABLE, std::process::id().to_string())
        .spawn()?;
    let mut interrupts = 0;
    loop {
        if let Some(status) = child.try_wait()? {
            // Shells report a signal in the same way.
            let by_signal = status.signal().map(|signal| 128 + signal);
            let code = status.code().or(by_signal).unwrap_or(2);
            return Ok(u8::try_from(code).unwrap_or(2));
        }
        let Some(received) = incoming.read_signal()? else { continue };
        let number = i32::try_from(received.ssi_signo).unwrap_or_default();
        let Ok(signal) = Signal::try_from(number) else { continue };
        if signal == Signal::SIGCHLD {
            continue;
        }
        interrupts += 1;
        // Ctrl-C in a terminal has already reached the child. A second signal means that the user insists.
        let from_terminal = received.ssi_code == SI_KERNEL;
        if interrupts > 1 {
            end(&mut child);
        } else if !from_terminal {
            forward(&child, signal);
        }
    }
}

/// The `si_code` of a signal that the kernel sent, not a process.
const SI_KERNEL: i32 = 0x80;

fn forward(child: &Child, signal: Signal) {
    if let Ok(pid) = i32::try_from(child.id()) {
        // The child may have ended in the meantime. The loop notices that.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

fn end(child: &mut Child) {
    // The child may have ended in the meantime. The loop notices that.
    let _ = child.kill();
}

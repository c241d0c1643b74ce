//! The loader: the first part of a packed agent. It unpacks the agent into memory and becomes it.
//!
//! A node may refuse to run programs from memory (`vm.memfd_noexec=2`, or a security module). The loader then uses an
//! unnamed file in the folder that `TMPDIR` names, or in `/tmp`. A pod with a read-only root has to mount an
//! `emptyDir` with medium `Memory` there. Arguments and environment reach the agent as they are.
//!
//! If it cannot run the agent, it prints one line to standard error and exits with one of the codes of [`Exit`].
#![no_std]
#![no_main]

mod memory;
mod place;
mod system;

use core::panic::PanicInfo;

use netproof_loader::{Failure, Message, unpack};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, fstat, open};
use rustix::io::{Errno, pread, retry_on_intr};

use place::{Place, Refusal, write_all};
use system::Start;

/// Exit codes, as in `sysexits.h`.
#[derive(Clone, Copy)]
enum Exit {
    /// The packed agent is damaged.
    Damaged = 65,
    /// The packed agent could not be read.
    Unreadable = 66,
    /// The loader has a bug.
    Bug = 70,
    /// The agent could not be created, written or executed, neither in memory nor in a folder.
    NoPlace = 73,
}

/// Becomes the agent. Returns only if that fails.
fn run(start: Start) -> Exit {
    match become_agent(start) {
        Failure::Damaged(damage) => {
            complain(
                Message::default().add(b"the packed agent is damaged: ").add(damage.reason().as_bytes()),
            );
            Exit::Damaged
        }
        Failure::Read(error) => {
            complain(
                Message::default().add(b"cannot read the packed agent: ").add_error(error.raw_os_error()),
            );
            Exit::Unreadable
        }
        Failure::Write([memory, folder]) => {
            let mut message = Message::default();
            message
                .add(b"cannot run the agent from memory (")
                .add(memory.step)
                .add(b": ")
                .add_error(memory.error.raw_os_error());
            message.add(b") nor from ").add(start.folder().to_bytes());
            message.add(b" (").add(folder.step).add(b": ").add_error(folder.error.raw_os_error());
            message.add(b"): mount an emptyDir with medium Memory there, or name another folder in TMPDIR");
            complain(&message);
            Exit::NoPlace
        }
    }
}

/// Tries one place after the other. The failure of writing is that of both.
fn become_agent(start: Start) -> Failure<Errno, [Refusal; 2]> {
    let packed = match Packed::open() {
        Ok(packed) => packed,
        Err(error) => return Failure::Read(error),
    };
    let memory = match packed.run_from(Place::Memory, start) {
        Failure::Write(refusal) => refusal,
        Failure::Read(error) => return Failure::Read(error),
        Failure::Damaged(damage) => return Failure::Damaged(damage),
    };
    match packed.run_from(Place::Folder(start.folder()), start) {
        Failure::Write(folder) => Failure::Write([memory, folder]),
        Failure::Read(error) => Failure::Read(error),
        Failure::Damaged(damage) => Failure::Damaged(damage),
    }
}

/// The file of this program.
struct Packed {
    file: OwnedFd,
    size: u64,
}

impl Packed {
    fn open() -> Result<Self, Errno> {
        let file = open(c"/proc/self/exe", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let size = fstat(&file)?.st_size;
        Ok(Self { file, size: u64::try_from(size).unwrap_or_default() })
    }

    /// Unpacks the agent and becomes it. Returns only if that fails.
    fn run_from(&self, place: Place, start: Start) -> Failure<Errno, Refusal> {
        let agent = match place.create() {
            Ok(agent) => agent,
            Err(refusal) => return Failure::Write(refusal),
        };
        let read = |offset, buffer: &mut [u8]| retry_on_intr(|| pread(&self.file, &mut *buffer, offset));
        let write =
            |bytes: &[u8]| write_all(&agent, bytes).map_err(|error| Refusal { step: b"write", error });
        if let Err(failure) = unpack(self.size, read, write) {
            return failure;
        }
        match place.finish(agent) {
            Ok(agent) => Failure::Write(Refusal { step: b"execute", error: system::execute(&agent, start) }),
            Err(refusal) => Failure::Write(refusal),
        }
    }
}

/// Prints a line to standard error.
fn complain(text: &Message) {
    let mut line = Message::default();
    line.add(b"netproof-loader: ").add(text.as_bytes()).add(b"\n");
    // Without standard error, the exit code has to do.
    let _ = write_all(system::stderr(), line.as_bytes());
}

#[panic_handler]
fn bug(_: &PanicInfo<'_>) -> ! {
    complain(Message::default().add(b"internal error"));
    system::exit(Exit::Bug)
}

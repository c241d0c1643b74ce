//! Where the agent is unpacked to.

use core::ffi::CStr;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create, open, openat};
use rustix::io::{Errno, retry_on_intr, write};
use rustix::path::DecInt;

/// A place for the agent. It has no name there, so it needs no cleanup.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    /// A file that exists only in memory.
    Memory,
    /// A file in this folder.
    Folder(&'a CStr),
}

/// Why the agent could not run from a place.
#[derive(Clone, Copy)]
pub(crate) struct Refusal {
    /// What failed, for the message.
    pub(crate) step: &'static [u8],
    /// The reason.
    pub(crate) error: Errno,
}

impl Place<'_> {
    /// Creates the file.
    pub(crate) fn create(self) -> Result<OwnedFd, Refusal> {
        let file = match self {
            Self::Memory => match create_in_memory(MemfdFlags::EXEC) {
                // Kernels before 6.3 do not know the flag, and allow the execution without it.
                Err(Errno::INVAL) => create_in_memory(MemfdFlags::empty()),
                other => other,
            },
            Self::Folder(folder) => {
                let flags = OFlags::TMPFILE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                open(folder, flags, Mode::RUSR | Mode::XUSR)
            }
        };
        file.map_err(|error| Refusal { step: b"create", error })
    }

    /// Makes the file executable after its last byte was written.
    pub(crate) fn finish(self, file: OwnedFd) -> Result<OwnedFd, Refusal> {
        match self {
            Self::Memory => Ok(file),
            // A file on a file system cannot be executed while it is open for writing.
            Self::Folder(_) => reopen(file).map_err(|error| Refusal { step: b"reopen", error }),
        }
    }
}

fn create_in_memory(executable: MemfdFlags) -> Result<OwnedFd, Errno> {
    memfd_create(c"netproof-probe", MemfdFlags::CLOEXEC | executable)
}

fn reopen(file: OwnedFd) -> Result<OwnedFd, Errno> {
    let own_files = open(c"/proc/self/fd", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let reopened = openat(own_files, DecInt::from_fd(&file), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    drop(file);
    reopened
}

/// Writes all bytes.
pub(crate) fn write_all(file: impl AsFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let count = retry_on_intr(|| write(&file, bytes))?;
        bytes = bytes.get(count..).filter(|_| count > 0).ok_or(Errno::IO)?;
    }
    Ok(())
}

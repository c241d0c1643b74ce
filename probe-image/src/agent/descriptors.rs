//! Limits how many files the agent may have open, and for what.

use std::cell::Cell;
use std::rc::Rc;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Files that neither probes nor strangers get, because the control API must always answer.
const RESERVED: usize = 64;

/// Maximum number of connections that have not yet proved that they belong to the run.
const STRANGERS: usize = 512;

/// Maximum number of attempts to connect that continue after their result has been reported.
const LATE: usize = 1_024;

/// A limit on open files, split by purpose.
#[derive(Debug, Clone)]
pub(super) struct Descriptors {
    /// Maximum number of connections of strangers.
    pub(super) strangers: usize,
    /// Maximum number of attempts that continue after their result has been reported.
    pub(super) late: usize,
    /// Number of additional probes that may be in flight.
    probes: Rc<Cell<usize>>,
}

impl Descriptors {
    /// Raises the limit as far as the system allows, and splits it. Every probe in flight is an open file, and the
    /// usual limit of 1,024 is far too low.
    pub(super) fn of_system() -> Self {
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        // If this fails, large batches report the probes that could not be sent.
        let _ = setrlimit(Resource::Nofile, limit);
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Self::of(usize::try_from(files).unwrap_or(usize::MAX))
    }

    fn of(files: usize) -> Self {
        let (strangers, late) = (STRANGERS.min(files / 4), LATE.min(files / 8));
        let probes = files.saturating_sub(strangers + late + RESERVED);
        Self { strangers, late, probes: Rc::new(Cell::new(probes)) }
    }

    /// Takes a file for a probe. Returns `None` if no file is left.
    pub(super) fn for_probe(&self) -> Option<Permit> {
        let left = self.probes.get().checked_sub(1)?;
        self.probes.set(left);
        Some(Permit(Rc::clone(&self.probes)))
    }
}

/// The permission to have one file open for a probe. Dropping it makes the file available again.
#[derive(Debug)]
pub(super) struct Permit(Rc<Cell<usize>>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_api_has_files_of_its_own() {
        let few = Descriptors::of(1_024);
        let taken: Vec<Permit> = std::iter::from_fn(|| few.for_probe()).collect();
        assert_eq!(taken.len() + few.strangers + few.late, 1_024 - RESERVED);
        drop(taken);
        assert!(few.for_probe().is_some());
        assert!(Descriptors::of(10).for_probe().is_none());
    }
}

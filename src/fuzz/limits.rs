//! Options of the fuzzer.

use std::time::Duration;

use crate::generate::Ground;

/// Options for the random cases.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Seed of the first scenario. Each next scenario has the next seed.
    pub seed: u64,
    /// Maximum number of cases.
    pub cases: Option<usize>,
    /// Time limit. No scenario is started that would end after it, if it takes as long as the longest one so far.
    pub time: Option<Duration>,
    /// Whether no more scenarios are started after the first disagreement.
    pub fail_fast: bool,
    /// The backend.
    pub ground: Ground,
    /// Command-line options that select the backend, each after a space.
    pub place: String,
}

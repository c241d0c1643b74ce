//! Compares two runs: what regressed, what was fixed, what became slower, and what cannot be compared.
//!
//! The comparison is pure: it takes two results of `netproof run -o json` and returns a [`Comparison`].

mod comparison;
mod record;
mod times;

pub use comparison::{Comparison, Coverage, Difference, EnvironmentChange, Kind, compare};
pub use record::{Cell, Decision, Error, Problem, Profile, Record, Scenario, Step, Verdict};
pub use times::{Slower, Thresholds, TimeComparison};

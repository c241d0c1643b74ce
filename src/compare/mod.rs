//! Comparing two runs: what broke, what was mended, what became slower, and what cannot be compared.
//! Pure: two results of `netproof run -o json` in, a [`Comparison`] out.

mod comparison;
mod record;
mod times;

pub use comparison::{Altered, Comparison, Coverage, Difference, Kind, compare};
pub use record::{Cell, Decision, Error, Problem, Profile, Record, Scenario, Step, Verdict};
pub use times::{Slower, Thresholds, TimeComparison};

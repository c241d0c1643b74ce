//! What people and machines read: progress from a run's events, and reports from its result.

mod cells;
mod expected;
mod fuzz;
mod fuzz_progress;
mod json;
mod junit;
mod list;
mod machines;
mod matrix;
mod progress;
mod selftest;
mod style;
mod terminal;

pub use expected::{expected_json, expected_table};
pub use fuzz::{fuzz, fuzz_exit_code, fuzz_json};
pub use fuzz_progress::FuzzProgress;
pub use json::{exit_code, json};
pub use junit::junit;
pub use list::list;
pub use progress::progress;
pub use selftest::{selftest, selftest_json, selftest_markdown};
pub use terminal::terminal;

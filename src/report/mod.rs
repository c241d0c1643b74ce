//! What people and machines read: progress from a run's events, and reports from its result.

mod cells;
mod compare;
mod compare_json;
mod disturbed;
mod expected;
mod fuzz;
mod fuzz_progress;
mod json;
mod junit;
mod latency;
mod list;
mod machines;
mod matrix;
mod open;
mod profiles;
mod progress;
mod scenarios;
mod selftest;
mod style;
mod terminal;

pub use compare::comparison;
pub use compare_json::{comparison_exit_code, comparison_json};
pub use disturbed::disturbed;
pub use expected::{expected_json, expected_table};
pub use fuzz::{fuzz, fuzz_exit_code, fuzz_json};
pub use fuzz_progress::FuzzProgress;
pub use json::{exit_code, json};
pub use junit::junit;
pub use list::list;
pub use profiles::profiles;
pub use progress::progress;
pub use scenarios::{scenarios_json, scenarios_table};
pub use selftest::{selftest, selftest_json, selftest_markdown};
pub use terminal::terminal;

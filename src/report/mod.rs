//! What people and machines read: progress from a run's events, and reports from its result.

mod cells;
mod compare;
mod compare_json;
mod disturbed;
pub(crate) mod escape;
mod expected;
mod fuzz;

mod json;
mod junit;
mod latency;
mod list;
mod machines;
mod matrix;
mod open;
mod profiles;

mod proof;
mod scenarios;
mod selftest;
pub(crate) mod style;
mod terminal;
mod unmodelled;

pub use compare::comparison;
pub use compare_json::comparison_json;
pub use disturbed::disturbed;
pub use escape::{guard, message, one_line};
pub use expected::{About, expected_json, expected_table};
pub use fuzz::{fuzz, fuzz_json};
pub use json::json;
pub use junit::junit;
pub use list::list;
pub use profiles::profiles;
pub use scenarios::{scenarios_json, scenarios_table};
pub use selftest::{selftest, selftest_json, selftest_markdown};
pub use terminal::terminal;

//! Reports: documents as text for people, JSON for programs, and JUnit XML for CI.
//!
//! `view` decides what reports of a run say. The writers decide only where it stands.

mod compare;
mod disturbed;
pub(crate) mod escape;
mod expected;
mod fuzz;
mod junit;
mod latency;
mod lists;
mod matrix;
mod page;
mod selftest;
pub(crate) mod style;
mod tenants;
mod terminal;
mod verify;
mod verify_plan;
mod view;

pub use compare::comparison;
pub use disturbed::disturbed;
pub use escape::{guard, json, message, plain};
pub use expected::{expected_json, expected_table};
pub use fuzz::fuzz;
pub use junit::junit;
pub use lists::{list, profiles, scenarios_table};
pub use selftest::{selftest, selftest_markdown};
pub use tenants::tenants_table;
pub use terminal::terminal;
pub use verify::verify;
pub use verify_plan::verify_plan;
pub(crate) use view::all_problems as problems;
pub use view::profile_warnings;

//! Checks tenants of a cluster as it is: plans twins and questions, asks them with packets, and compares intent,
//! expectation and observation.

mod class;
mod label_leak;
mod matrix;
mod outside;
mod place;
mod plan;
mod ports;
mod question;
mod run;
mod workload;

pub use label_leak::LabelLeak;
pub use matrix::{Matrix, Party, State};
pub use place::place;
pub use plan::{Coverage, Error, Options, Plan};
pub use question::Question;
pub use run::{Checked, Progress, Settings, check};

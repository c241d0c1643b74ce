//! Checks tenants of a cluster as it is: plans twins and questions, asks them with packets, and compares intent,
//! expectation and observation.

mod address;
mod class;
mod closed_by_sender;
mod end;
mod gap;
mod label_leak;
mod lack;
mod matrix;
mod note;
mod options;
mod outside;
mod place;
mod plan;
mod ports;
mod question;
mod run;
mod stranger;
mod workload;

pub use address::families;
pub use closed_by_sender::ClosedBySender;
pub use gap::Gap;
pub use label_leak::LabelLeak;
pub use matrix::{Matrix, Party, State};
pub use options::Options;
pub use place::place;
pub use plan::{Coverage, Error, Plan};
pub use question::Question;
pub use run::{Checked, Progress, Settings, check};
pub use stranger::add_namespace;

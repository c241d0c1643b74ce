//! Generates random clusters, policies and changes from a seed, to find cases that the developers did not think of.
//!
//! Everything is generated as manifests and scenario files. So each case can be kept as it is, and reading it is
//! tested, too.

mod change;
mod cluster_policy;
mod labels;
mod policy;
mod scenario;
mod topology;
mod universe;

pub use cluster_policy::cluster_policy;
pub use policy::policy;
pub use scenario::scenario;
pub use universe::{Ground, Universe};

//! Random clusters, policies and changes from a seed, to find what nobody thought of.
//!
//! Everything is made as manifests and scenario files, so that what is found can be kept as it is,
//! and so that reading it is tested, too.

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

//! Random policies and scenarios from a seed, to find what nobody thought of.
//!
//! Everything is made as manifests and scenario files, so that what is found can be kept as it is,
//! and so that reading it is tested, too.

mod cluster_policy;
mod policy;
mod scenario;
mod universe;

pub use cluster_policy::cluster_policy;
pub use policy::policy;
pub use scenario::scenario;
pub use universe::Universe;

//! map later
pub mod policy;
pub mod snapshot;
pub mod source;

//! Which of the scenarios that were read are carried out: by tag, item and name, and by shard.
//!
//! A value that fits no scenario is an error: a misspelt tag must not look like a run in which
//! everything matches.

mod selection;
mod shard;

pub use selection::{Nothing, Selection, choose_names};
pub use shard::Shard;

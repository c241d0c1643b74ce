//! Selects the scenarios to run: by tag, spec rule and name, and by shard.
//!
//! A value that matches no scenario is an error, because a misspelt tag must not look like a run in which every
//! packet does what it should.

mod selection;
mod shard;

pub(crate) use selection::{Nothing, Selection, choose_names};
pub(crate) use shard::Shard;

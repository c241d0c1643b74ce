//! The scenario format: a topology, probes, and steps that make changes and say what must hold.
//!
//! A file is decoded strictly, checked as a whole, and becomes a [`Scenario`]. Its topology becomes the first
//! [`World`](crate::world::World), and every [`Step`] changes it.

mod assertion;
mod coverage;
mod file;
mod keep_open;
mod load;
mod model;
mod reader;
mod size;
mod spec_rule;
mod step;
mod topology;

pub use assertion::{Assertion, Claim, DestinationPattern, ProbePattern};
pub use coverage::check_coverage;
pub use keep_open::KeepOpen;
pub use load::{from_document, load};
pub use model::{Demonstrates, Scenario};
pub(crate) use reader::Reader;
pub use size::{Size, size};
pub use spec_rule::SpecRule;
pub use step::Step;
pub use topology::standard_world;

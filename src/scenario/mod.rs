//! The scenario format: a topology, probes, and steps that make changes and say what must hold.
//!
//! A file is decoded strictly, checked as a whole, and becomes a [`Scenario`]. Its topology becomes the first
//! [`State`], and every [`Step`] changes the state.

mod addresses;
mod assertion;
mod capability;
mod check;
mod endpoint;
mod ever;
mod file;
mod keep_open;
mod load;
mod model;
mod pattern;
mod probe;
mod spec_rule;
mod state;
mod step;
mod topology;

pub use assertion::{Assertion, Claim, DestinationPattern, ProbePattern};
pub use capability::{Absence, Capability};
pub use endpoint::EndpointName;
pub use keep_open::KeepOpen;
pub use load::{from_document, load};
pub use model::{Demonstrates, Scenario};
pub use pattern::{EndpointPattern, wildcard};
pub use probe::Probe;
pub use spec_rule::SpecRule;
pub use state::{DnsServer, External, State};
pub use step::{Action, PodChange, Step};
pub use topology::{DNS_SERVICE, Topology};

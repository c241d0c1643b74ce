//! The network under test: endpoints, addresses, policies, and the changes that lead from one state to the next.
//!
//! Scenarios produce a [`World`]. A backend creates it, and probes are sent between its endpoints.

mod action;
mod addresses;
mod capability;
mod deployed;
mod endpoint;
mod error;
mod model;
mod pattern;
mod probe;

pub use action::{Action, PodChange};
pub use capability::{Absence, Capability};
pub use deployed::Deployed;
pub use endpoint::EndpointName;
pub use error::{Error, ParseError};
pub use model::{DnsServer, External, World};
pub use pattern::EndpointPattern;
pub use probe::{BY_NAME, Probe, parse_port};

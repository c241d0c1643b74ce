//! Which probes to send: the cells of a state's matrix, and the route of each probe.

mod cell;
mod route;

pub use cell::{Cell, cells};
pub use route::{Listeners, Lookup, Promises, Route, Router, listeners, service_host};

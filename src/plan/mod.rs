//! Which probes to send: the cells of a state's matrix, and the route of each probe.

mod cell;
mod coverage;
mod route;
mod size;

pub use cell::{Cell, cells};
pub use coverage::check;
pub use route::{Listeners, Lookup, Promises, Route, Router, listeners, service_host};
pub use size::{Size, size};

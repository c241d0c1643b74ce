//! Which probes to send: the cells of a state's matrix, and the route of each probe.

mod cell;
mod questions;
mod route;

pub use cell::{Cell, cells};
pub use questions::Questions;
pub use route::{Listeners, Lookup, Promises, Route, Router, service_host};

//! Profiles: known deviations of network plugins from the policies.
//!
//! A [`Profile`] makes the expectation of some cells undefined, with a reason and a reference. It never turns a
//! denial into an allowance, or an allowance into a denial. A cell that it makes undefined is probed and recorded,
//! and neither passes nor fails.

mod apply;
mod bounds;
mod file;
mod load;
mod model;
mod parts;
mod promised;
mod reading;
mod service_port;
mod unenforced;

pub use apply::Excuser;
pub use load::{from_document, load};
pub use model::{KnownDeviation, Profile};
pub(crate) use parts::mixed;
pub use promised::Promised;
pub(crate) use reading::Readings;
pub(crate) use unenforced::one_direction;

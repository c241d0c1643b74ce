//! Profiles: what network plugins are known to do differently from the policies.
//!
//! A [`Profile`] says of some cells that what they should show is left undefined, with a reason and a
//! reference. It never makes an allowance of a denial, nor a denial of an allowance: a cell that it leaves
//! undefined is probed and recorded, and neither passes nor fails.

mod apply;
mod arrival;
mod bounds;
mod file;
mod load;
mod model;
mod parts;
mod quirk;
mod reading;
mod rewrite;
mod service_port;
mod unenforced;

pub use apply::{View, excused, judged_endpoints, open_at_first, open_while_replaced};
pub use load::{from_document, load};
pub use model::{KnownDeviation, Profile};
pub use quirk::Quirk;

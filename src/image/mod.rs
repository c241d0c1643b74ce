//! The probe image: one file from scratch, the agent.
//!
//! It is made without a container engine, as an archive that container tools load: [`Binary`] and
//! [`ImageName`] go into [`archive`], and [`Destination`] takes what comes out.

mod agent;
mod archive;
mod error;
mod load;
mod name;

pub use agent::{Architecture, Binary, find};
pub use archive::archive;
pub use error::{Error, Unfit};
pub use load::Destination;
pub use name::{DEFAULT_IMAGE, ImageName};

//! The probe image: an image from scratch with one file, the agent.
//!
//! It is built without a container engine, as an archive that container tools load. [`archive`] builds it from a
//! [`Binary`] and an [`ImageName`]. [`Destination`] loads it.

mod agent;
mod archive;
mod error;
mod load;
mod name;

pub use agent::{Binary, find};
pub use archive::archive;
pub use error::{DEFAULT_IMAGE, Error, Unfit};
pub use load::Destination;
pub use name::ImageName;

//! The agent that netproof brings to a cluster, and the probe image: an image from scratch with one file, the
//! agent.
//!
//! [`packed`] returns the agent for nodes that need no image. The image is built without a container engine,
//! as an archive that container tools load. [`archive`] builds it from a [`Binary`] and an [`ImageName`].
//! [`Destination`] loads it.

mod agent;
mod archive;
mod carried;
mod error;
mod load;
mod name;

pub use agent::Binary;
pub use archive::archive;
pub use carried::{own, packed};
pub use error::{DEFAULT_IMAGE, Error, Unfit};
pub use load::Destination;
pub use name::ImageName;

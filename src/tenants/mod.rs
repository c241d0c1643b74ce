//! What the owners of a cluster want: its tenants, and who may reach whom.
//!
//! [`Tenants`] is what a tenants file says, or what the labels of namespaces say. [`Tenants::resolve`] compares it with
//! a cluster: the result, [`Tenancy`], knows the namespaces of each tenant. [`Tenancy::intent`] says whether a
//! connection is wanted. No packets are sent, and policies are not looked at.

mod aks;
mod ask;
mod draft;
mod facts;
mod file;
mod intent;
mod label;
mod read;
mod resolve;
mod rule;
mod standing;
mod tenancy;
mod written;

pub use aks::aks;
pub use draft::first_file;
pub use intent::{Intent, Mode, Party, Wish};
pub use label::well_known_key;
pub use tenancy::{Access, Target, Tenancy, Tenant, Zone};
pub use written::Tenants;

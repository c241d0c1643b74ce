//! The state of a cluster, read from manifests.
//!
//! The only place that knows Kubernetes' own types: objects are decoded strictly, checked as the
//! API server checks them, and converted once to the types of [`policy`](crate::policy).

pub mod cluster_policy;
mod field;
mod manifests;
mod named;
mod network_policy;
mod object;
mod pod;
pub(crate) mod rules;
mod service;
mod workload;

pub use field::{Field, Problem};
pub use manifests::{Snapshot, Workload};
pub use named::{AddressName, Lookup, WrittenPolicy};
pub use object::{Identity, Item, Object, WrittenClusterPolicy, WrittenService, objects, objects_by_name};
pub use service::Unshown;
pub use workload::{Owner, Template, WorkloadKind};

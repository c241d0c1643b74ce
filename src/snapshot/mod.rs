//! The state of a cluster, read from manifests.
//!
//! The only place that knows Kubernetes' own types: objects are decoded strictly, checked as the
//! API server checks them, and converted once to the types of [`policy`](crate::policy).

pub mod cluster_policy;
mod controller_labels;
mod field;
mod manifests;
mod named;
mod network_policy;
mod node;
mod object;
mod pod;
mod ranges;
pub(crate) mod rules;
mod service;
mod workload;

pub use field::{Field, Problem};
pub use manifests::{Snapshot, Workload};
pub use named::{AddressName, Lookup, WrittenPolicy};
pub use node::ReadNode;
pub use object::{Identity, Item, Object, WrittenClusterPolicy, objects, objects_by_name};
pub use ranges::AddressRanges;
pub use workload::{Owner, Template, WorkloadKind};

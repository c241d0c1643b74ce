//! The state of a cluster, read from manifests.
//!
//! The only place that knows Kubernetes' own types: objects are decoded strictly, checked as the
//! API server checks them, and converted once to the types of [`policy`](crate::policy).

mod field;
mod manifests;
mod network_policy;
mod object;
mod pod;
pub(crate) mod rules;
mod service;
mod workload;

pub use field::{Field, Problem};
pub use manifests::{Snapshot, Workload};
pub use object::{Identity, Item, Object, WrittenPolicy, objects};
pub use workload::{Owner, Template, WorkloadKind};

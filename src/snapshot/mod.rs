//! The state of a cluster, read from manifests or from the cluster itself.
//!
//! This module alone converts Kubernetes' own types. It decodes objects, checks them as the API server does, and
//! converts them once to the types of [`policy`](crate::policy). Manifests are read strictly. Objects of a live cluster
//! ([`saved`]) are read tolerantly.

mod attach;
pub mod cluster_policy;
mod controller_labels;
mod distinction;
mod endpoint_slice;
mod field;
mod group;
mod identity;
mod info;
mod kind;
mod list;
mod manifests;
mod named;
mod network_policy;
mod node;
mod notice;
mod object;
mod other;
mod plain;
mod pod;
mod ranges;
mod replicas;
pub(crate) mod rules;
pub mod saved;
mod scaler;
mod service;
mod unread;
mod workload;
mod workload_kind;

pub use attach::Workload;
pub use endpoint_slice::EndpointSlice;
pub use field::{Field, Problem};
pub use identity::Identity;
pub use info::{NotEnforced, SnapshotInfo, Unseen};
pub use kind::is_closed as is_closed_group;
pub use manifests::Snapshot;
pub use named::{AddressName, Lookup, WrittenPolicy};
pub(crate) use network_policy::{read_selector, selector};
pub use node::ReadNode;
pub use object::{Item, Object, Reading, WrittenClusterPolicy, WrittenService, objects};
pub(crate) use other::STAGED;
pub use other::{
    ForeignPolicy, OtherKinds, OtherObject, Part, Unmodelled, foreign_part, foreign_policies, foreign_policy,
};
pub use plain::is_plain_group;
pub use ranges::{AddressRanges, OutOfRange};
pub use replicas::Replicas;
pub use scaler::Scaler;
pub use service::Unshown;
pub use workload::{Owner, Template};
pub use workload_kind::WorkloadKind;

/// Returns whether a namespace may have this name.
pub fn is_namespace(name: &str) -> bool {
    rules::dns_label(name, &Field::ROOT).is_ok()
}

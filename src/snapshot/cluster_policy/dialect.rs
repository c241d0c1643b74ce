//! The differences between the kinds of cluster-scoped policies.

use crate::policy::{Action, ClusterPolicyKind, ClusterPolicyName};
use crate::snapshot::field::{Field, Problem};
use crate::snapshot::identity::required_name;
use crate::snapshot::rules;

/// The properties in which the kinds differ.
#[derive(Clone, Copy)]
pub(super) struct Dialect {
    pub(super) kind: ClusterPolicyKind,
    /// Actions of rules, by name.
    pub(super) actions: &'static [(&'static str, Action)],
    /// Maximum number of rules, peers or ports in one list.
    longest: usize,
    /// Whether `pods` needs a `namespaceSelector`.
    pub(super) needs_namespaces: bool,
    /// Field of a rule that lists its ports.
    pub(super) ports: &'static str,
    /// Fields of an egress peer.
    pub(super) egress_peers: &'static str,
}

pub(super) const ADMIN: Dialect = Dialect {
    kind: ClusterPolicyKind::AdminNetworkPolicy,
    actions: &[("Allow", Action::Accept), ("Deny", Action::Deny), ("Pass", Action::Pass)],
    longest: 100,
    needs_namespaces: true,
    ports: "ports",
    egress_peers: "namespaces, pods, nodes, networks and domainNames",
};

pub(super) const BASELINE: Dialect = Dialect {
    kind: ClusterPolicyKind::BaselineAdminNetworkPolicy,
    actions: &[("Allow", Action::Accept), ("Deny", Action::Deny)],
    egress_peers: "namespaces, pods, nodes and networks",
    ..ADMIN
};

pub(super) const CLUSTER: Dialect = Dialect {
    kind: ClusterPolicyKind::ClusterNetworkPolicy,
    actions: &[("Accept", Action::Accept), ("Deny", Action::Deny), ("Pass", Action::Pass)],
    longest: 25,
    needs_namespaces: false,
    ports: "protocols",
    ..ADMIN
};

impl Dialect {
    pub(super) fn name(self, name: Option<&str>) -> Result<ClusterPolicyName, Problem> {
        let name = required_name(name)?;
        rules::subdomain(name, &Field::ROOT.field("metadata").field("name"))?;
        Ok(ClusterPolicyName { kind: self.kind, name: name.to_owned() })
    }

    /// Converts the elements of a list that must not be too long.
    pub(super) fn each<'a, T, U>(
        self,
        items: &'a [T],
        at: &Field<'_>,
        convert: impl Fn(&'a T, &Field<'_>) -> Result<U, Problem>,
    ) -> Result<Vec<U>, Problem> {
        if items.len() > self.longest {
            let message = format!("must have at most {} entries, found {}", self.longest, items.len());
            return Err(at.problem(message));
        }
        at.each(items, convert)
    }
}

//! The differences between the kinds of cluster-scoped policies.

use crate::policy::{Action, ClusterPolicyKind, ClusterPolicyName};
use crate::snapshot::field::{Field, Problem};
use crate::snapshot::rules;

/// The properties in which the kinds differ.
#[derive(Clone, Copy)]
pub(super) struct Dialect {
    pub(super) kind: ClusterPolicyKind,
    /// Actions of rules, by name.
    pub(super) actions: &'static [(&'static str, Action)],
    /// Maximum number of rules, peers or ports in one list.
    pub(super) longest: usize,
    /// Whether `pods` needs a `namespaceSelector`.
    pub(super) needs_namespaces: bool,
}

pub(super) const ADMIN: Dialect = Dialect {
    kind: ClusterPolicyKind::AdminNetworkPolicy,
    actions: &[("Allow", Action::Accept), ("Deny", Action::Deny), ("Pass", Action::Pass)],
    longest: 100,
    needs_namespaces: true,
};

pub(super) const BASELINE: Dialect = Dialect {
    kind: ClusterPolicyKind::BaselineAdminNetworkPolicy,
    actions: &[("Allow", Action::Accept), ("Deny", Action::Deny)],
    longest: 100,
    needs_namespaces: true,
};

pub(super) const CLUSTER: Dialect = Dialect {
    kind: ClusterPolicyKind::ClusterNetworkPolicy,
    actions: &[("Accept", Action::Accept), ("Deny", Action::Deny), ("Pass", Action::Pass)],
    longest: 25,
    needs_namespaces: false,
};

impl Dialect {
    pub(super) fn name(self, name: Option<&str>) -> Result<ClusterPolicyName, Problem> {
        let root = Field::ROOT;
        let metadata = root.field("metadata");
        let at = metadata.field("name");
        let Some(name) = name.filter(|name| !name.is_empty()) else { return Err(at.problem("is missing")) };
        rules::subdomain(name, &at)?;
        Ok(ClusterPolicyName { kind: self.kind, name: name.to_owned() })
    }

    /// Returns a list if it is not too long.
    pub(super) fn list<'a, T>(self, items: &'a [T], at: &Field<'_>) -> Result<&'a [T], Problem> {
        if items.len() > self.longest {
            return Err(at.problem(format!(
                "must have at most {} entries, found {}",
                self.longest,
                items.len()
            )));
        }
        Ok(items)
    }
}

//! Faults in the subjects of policies.

use super::super::rewrite::{each, in_namespaces, peers};
use crate::policy::{
    Cluster, LabelSelector, NAMESPACE_NAME_LABEL, NamespaceScope, NetworkPolicy, Peer, Requirement,
};

pub(super) fn subjects_ignored(cluster: &mut Cluster) {
    each(cluster, |policy| policy.subjects = LabelSelector::everything());
}

pub(super) fn subjects_everywhere(cluster: &mut Cluster) {
    let names: Vec<_> = cluster.namespaces.iter().map(|namespace| namespace.name.clone()).collect();
    let everywhere = cluster.policies.iter().flat_map(|policy| in_all(policy, &names));
    cluster.policies = everywhere.collect();
}

pub(super) fn same_name_collides(cluster: &mut Cluster) {
    let names: Vec<_> = cluster.policies.iter().map(|policy| policy.name.clone()).collect();
    let mut later = names.iter();
    cluster.policies.retain(|policy| {
        later.next();
        !later.as_slice().contains(&policy.name)
    });
}

/// Copies a policy to every namespace. The copies keep the peers of the original.
fn in_all(policy: &NetworkPolicy, namespaces: &[String]) -> Vec<NetworkPolicy> {
    let name = Requirement::In(NAMESPACE_NAME_LABEL.to_owned(), [policy.namespace.clone()].into());
    let own: LabelSelector = [name].into_iter().collect();
    let mut single = Cluster { policies: vec![policy.clone()], ..Cluster::default() };
    peers(&mut single, |peer| match peer {
        Peer::Pods { namespaces: NamespaceScope::Own, pods } => vec![in_namespaces(own.clone(), pods)],
        Peer::Pods { .. } | Peer::IpBlock(_) => vec![peer],
    });
    let copy = |namespace: &String| {
        let policy = single.policies.first()?;
        // The name contains the original namespace, because two policies with the same name would be one
        // policy.
        let name = format!("{}.{}", policy.namespace, policy.name);
        Some(NetworkPolicy { namespace: namespace.clone(), name, ..policy.clone() })
    };
    namespaces.iter().filter_map(copy).collect()
}

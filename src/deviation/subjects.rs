//! Deviations in the subjects of policies, and in which policies exist.

use std::collections::BTreeSet;

use super::Effect::Meaning;
use super::peers::change_scopes;
use super::rewrite::each;
use super::{Deviation, misread, wrong};
use crate::policy::{
    Cluster, LabelSelector, NAMESPACE_NAME_LABEL, NamespaceScope, NetworkPolicy, Requirement,
};

pub(super) const TABLE: &[Deviation] = &[
    wrong("subjects-ignored", &[1, 13])
        .says("a policy isolates every pod of its namespace")
        .by(Meaning(|cluster| each(cluster, |policy| policy.subjects = LabelSelector::everything()))),
    wrong("subjects-everywhere", &[1, 10])
        .says("a policy isolates the pods that it selects in every namespace")
        .by(Meaning(|cluster| {
            let names: Vec<_> = cluster.namespaces.iter().map(|namespace| namespace.name.clone()).collect();
            let everywhere = cluster.policies.iter().flat_map(|policy| in_all(policy, &names));
            cluster.policies = everywhere.collect();
        })),
    wrong("same-name-collides", &[11])
        .says(
            "policies are stored by name without namespace: of two policies with one name, only one is \
             in force",
        )
        .by(Meaning(|cluster| {
            let names: Vec<_> = cluster.policies.iter().map(|policy| policy.name.clone()).collect();
            let mut later = names.iter();
            cluster.policies.retain(|policy| {
                later.next();
                !later.as_slice().contains(&policy.name)
            });
        })),
    misread("one-policy-of-a-namespace", &[11])
        .says("of the policies of a namespace, only the first one by name is in force")
        .by(Meaning(|cluster| {
            let mut seen = BTreeSet::new();
            cluster.policies.sort_by(|a, b| a.name.cmp(&b.name));
            cluster.policies.retain(|policy| seen.insert(policy.namespace.clone()));
        })),
];

/// Copies a policy to every namespace. The copies keep the peers of the original.
fn in_all(policy: &NetworkPolicy, namespaces: &[String]) -> Vec<NetworkPolicy> {
    let name = Requirement::In(NAMESPACE_NAME_LABEL.to_owned(), [policy.namespace.clone()].into());
    let own = NamespaceScope::Selected([name].into_iter().collect());
    // The name contains the original namespace, because two policies with the same name would be one policy.
    let name = format!("{}.{}", policy.namespace, policy.name);
    let copy = |namespace: &String| NetworkPolicy {
        namespace: namespace.clone(),
        name: name.clone(),
        ..policy.clone()
    };
    let mut copies = Cluster { policies: namespaces.iter().map(copy).collect(), ..Cluster::default() };
    change_scopes(&mut copies, &NamespaceScope::Own, &own);
    copies.policies
}

//! Strangers: twins that stand for pods of no tenant, in a namespace that the check makes. Nothing but policies of the
//! tenants denies what they send and receive, so they show each direction by itself.

use std::collections::BTreeSet;

use super::class::Class;
use super::end::End;
use crate::policy::{Cluster, Labels, Namespace, Pod};

/// Name of the namespace.
const NAMESPACE: &str = "no-tenant";

/// First part of the names of strangers, and name of the imaginary pod of no tenant.
pub(super) const NAME: &str = "any-pod";

/// Least count of strangers. They show for each other that their networks work.
const LEAST: usize = 2;

/// Adds the namespace of strangers, which has these labels, to a cluster. Returns its name, which no other namespace has.
pub fn add_namespace(cluster: &mut Cluster, labels: Labels) -> String {
    let mut name = NAMESPACE.to_owned();
    let mut number = 2;
    while cluster.namespaces.iter().any(|namespace| namespace.name == name) {
        name = format!("{NAMESPACE}-{number}");
        number += 1;
    }
    let mut namespace = Namespace::new(&name, Labels::new());
    namespace.labels.extend(labels);
    cluster.namespaces.push(namespace);
    name
}

/// Returns a stranger on each node of these ends, and adds them to the cluster. If it is only one node, there is another
/// stranger on one that is not `unusable`.
pub(super) fn strangers(
    namespace: &str,
    ends: &[End],
    unusable: &BTreeSet<String>,
    cluster: &mut Cluster,
) -> Vec<End> {
    if ends.is_empty() {
        return Vec::new();
    }
    let mut nodes: BTreeSet<String> = ends.iter().map(|end| end.class.node.clone()).collect();
    let others = cluster.nodes.iter().map(|node| &node.name).filter(|node| !unusable.contains(*node));
    let missing = LEAST.saturating_sub(nodes.len());
    let new: Vec<String> = others.filter(|node| !nodes.contains(*node)).take(missing).cloned().collect();
    nodes.extend(new);
    let names = nodes.iter().map(|node| (node, format!("{NAME}@{node}")));
    let twice = nodes.iter().map(|node| (node, format!("{NAME}~2@{node}")));
    let wanted = nodes.len().max(LEAST);
    let stranger = |(node, name): (&String, String)| {
        let pod = Pod { namespace: namespace.to_owned(), name, node: Some(node.clone()), ..Pod::default() };
        let class = Class {
            name: NAME.to_owned(),
            namespace: namespace.to_owned(),
            node: node.clone(),
            labels: Labels::new(),
            members: Vec::new(),
        };
        let index = cluster.pods.len();
        cluster.pods.push(pod.clone());
        End { class, pod, served: BTreeSet::new(), taken: BTreeSet::new(), is_stranger: true, index }
    };
    names.chain(twice).take(wanted).map(stranger).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_other_namespace_has_the_name() {
        let mut cluster = Cluster::default();
        let labels = Labels::from([("a".to_owned(), "b".to_owned())]);
        assert_eq!(add_namespace(&mut cluster, labels), "no-tenant");
        assert_eq!(add_namespace(&mut cluster, Labels::new()), "no-tenant-2");
        assert_eq!(cluster.namespaces[0].labels["a"], "b");
    }
}

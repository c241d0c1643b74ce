//! Strangers: twins that stand for pods of no tenant, in a namespace that the check makes. Nothing but policies of the
//! tenants denies what they send and receive, so they show each direction by itself.

use std::collections::BTreeSet;

use super::class::Class;
use super::end::End;
use crate::policy::{Cluster, Labels, Namespace, Pod};
use crate::source::Error;
use crate::tenants::{Tenancy, Tenants};

/// Name of the namespace.
pub(super) const NAMESPACE: &str = "no-tenant";

/// First part of the names of strangers, and name of the imaginary pod of no tenant.
pub(super) const NAME: &str = "any-pod";

/// Adds the namespace of strangers, which has these labels, to a cluster, and finds the tenants. Returns its name. `None` if
/// some tenant would own it because of its labels. Then the cluster stays as it is.
///
/// # Errors
/// If the tenants do not fit the cluster.
pub fn resolve(
    tenants: &Tenants,
    cluster: &mut Cluster,
    labels: Labels,
) -> Result<(Tenancy, Option<String>), Error> {
    // What does not fit is said about the cluster alone.
    let alone = tenants.resolve(cluster)?;
    let is_taken = |name: &String| cluster.namespaces.iter().any(|namespace| namespace.name == *name);
    let numbered = (2..).map(|number| format!("{NAMESPACE}-{number}"));
    let mut names = std::iter::once(NAMESPACE.to_owned()).chain(numbered);
    let Some(name) = names.find(|name| !is_taken(name)) else { return Ok((alone, None)) };
    let mut namespace = Namespace::new(&name, Labels::new());
    namespace.labels.extend(labels);
    cluster.namespaces.push(namespace);
    match tenants.resolve(cluster) {
        Ok(tenancy) if tenancy.tenants_of(&name).next().is_none() => Ok((tenancy, Some(name))),
        Ok(_) | Err(_) => {
            cluster.namespaces.pop();
            Ok((alone, None))
        }
    }
}

/// Returns a stranger on each node of these ends, and adds them to the cluster.
pub(super) fn strangers(namespace: &str, ends: &[End], cluster: &mut Cluster) -> Vec<End> {
    let nodes: BTreeSet<&String> = ends.iter().map(|end| &end.class.node).collect();
    let stranger = |node: &String| {
        let pod = Pod {
            namespace: namespace.to_owned(),
            name: format!("{NAME}@{node}"),
            node: Some(node.clone()),
            ..Pod::default()
        };
        let class = Class {
            name: NAME.to_owned(),
            namespace: namespace.to_owned(),
            node: node.clone(),
            labels: Labels::new(),
            members: Vec::new(),
        };
        let index = cluster.pods.len();
        cluster.pods.push(pod.clone());
        End { class, pod, served: BTreeSet::new(), taken: BTreeSet::new(), index }
    };
    nodes.into_iter().map(stranger).collect()
}

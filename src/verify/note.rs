//! What a check does not ask, and why.

use std::collections::BTreeSet;

use super::options::Options;
use crate::backend::cluster::{MANAGED_BY, RUN};
use crate::policy::{Cluster, Pod};
use crate::snapshot::Identity;
use crate::tenants::Tenancy;

/// Greatest count of names in a note.
const MOST: usize = 5;

/// Returns what is not asked about the tenants of a cluster.
pub(super) fn notes(cluster: &Cluster, tenancy: &Tenancy, options: &Options) -> Vec<String> {
    let own: BTreeSet<&String> = tenancy.tenants().iter().flat_map(|tenant| &tenant.namespaces).collect();
    let pods = || cluster.pods.iter().filter(|pod| own.contains(&pod.namespace) && !pod.ended);
    let mut notes = Vec::new();
    let mut add = |pods: Vec<&Pod>, why: &str| {
        if !pods.is_empty() {
            let pods: Vec<Identity> = pods.into_iter().map(Identity::of_pod).collect();
            notes.push(format!("{}: {why}", names(&pods, ["pod", "pods"])));
        }
    };
    add(pods().filter(|pod| pod.host_network).collect(), "hostNetwork, so no NetworkPolicy applies to them");
    add(
        pods().filter(|pod| !pod.host_ports.is_empty()).collect(),
        "their hostPorts are open at their nodes' addresses, and are not asked about",
    );
    add(
        pods().filter(|pod| pod.node.is_none()).collect(),
        "they have no node yet, so nothing stands for them",
    );
    add(
        pods().filter(|pod| pod.node.as_ref().is_some_and(|node| options.unusable.contains(node))).collect(),
        "no probe pod can run on their nodes, so nothing stands for them",
    );
    add(
        pods().filter(|pod| pod.labels.contains_key(RUN)).collect(),
        &format!("they have the label {RUN}, as probe pods of other checks, and nothing stands for them"),
    );
    let keys: BTreeSet<String> = cluster
        .pod_selectors()
        .iter()
        .chain(tenancy.pod_selectors())
        .flat_map(|selector| selector.requirements().map(|requirement| requirement.key().clone()))
        .collect();
    let (managed_by, _) = MANAGED_BY;
    if keys.contains(managed_by) {
        notes.push(format!(
            "what depends on the label {managed_by}, which a selector reads: probe pods have their own value"
        ));
    }
    let services = cluster.services.iter().filter(|service| own.contains(&service.namespace));
    let services: Vec<_> = services.map(Identity::of_service).collect();
    if !services.is_empty() && !options.to_workloads {
        let names = names(&services, ["Service", "Services"]);
        notes.push(format!("{names}: addresses of Services are asked about only with --to-workloads"));
    }
    notes
}

/// Returns the count of objects with their names. `nouns` are those for one object and for several.
fn names(objects: &[Identity], [one, many]: [&str; 2]) -> String {
    let shown: Vec<String> = objects.iter().take(MOST).map(ToString::to_string).collect();
    let more = match objects.len().saturating_sub(MOST) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let noun = if objects.len() == 1 { one } else { many };
    format!("{} {noun} ({}{more})", objects.len(), shown.join(", "))
}

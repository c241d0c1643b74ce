//! Choosing the nodes on which pods run.

use super::survey::Machine;
use crate::backend::Error;
use crate::policy::Cluster;
use crate::scenario::{Absence, Capability, EndpointName};

/// Which nodes were requested.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// Those that usual pods can run on.
    Usual,
    /// Every node on which a probe pod can run, with or without a toleration.
    Every,
    /// Those with these names.
    Named(&'a [String]),
}

/// The nodes to use, each of which has to be source and destination.
pub(super) fn choose(machines: &[Machine], wanted: Wanted<'_>) -> Result<Vec<String>, Error> {
    if let Wanted::Named(named) = wanted {
        return check(machines, named).map(|()| named.to_vec());
    }
    let open = |machine: &&Machine| reason_against(machine).is_none();
    let usual: Vec<_> = machines.iter().filter(open).filter(|machine| !machine.is_tainted).collect();
    let fitting = match wanted {
        Wanted::Usual | Wanted::Named(_) if !usual.is_empty() => usual,
        // A cluster that is nothing but a control plane still has a data path.
        Wanted::Usual | Wanted::Every | Wanted::Named(_) => machines.iter().filter(open).collect(),
    };
    if fitting.is_empty() {
        let message = "no node fits: none is ready and open for new pods; or name some with --nodes";
        return Err(Error::Unavailable(message.to_owned()));
    }
    Ok(fitting.into_iter().map(|machine| machine.name.clone()).collect())
}

/// Makes sure that pods can run on all nodes that were named.
fn check(machines: &[Machine], named: &[String]) -> Result<(), Error> {
    for name in named {
        let Some(machine) = machines.iter().find(|machine| machine.name == *name) else {
            let known: Vec<&str> = machines.iter().map(|machine| machine.name.as_str()).collect();
            let known = known.join(", ");
            let message = format!("--nodes {name}: the cluster has no such node, only {known}");
            return Err(Error::Unavailable(message));
        };
        if let Some(why) = reason_against(machine) {
            return Err(Error::Unavailable(format!("--nodes {name}: the node {why}")));
        }
    }
    Ok(())
}

/// Why no probe pod can run on a node, if none can.
pub(super) fn reason_against(machine: &Machine) -> Option<String> {
    match machine {
        Machine { is_cordoned: true, .. } => Some("is cordoned".to_owned()),
        Machine { is_ready: false, .. } => Some("is not ready".to_owned()),
        Machine { obstacle, .. } => obstacle.clone(),
    }
}

/// The Services that lead to the sender's node only, where a run has fewer nodes than the scenario: nodes of the
/// scenario share one, and its endpoints are those of all of them.
pub(super) fn without_own_nodes(cluster: &Cluster, found: usize) -> Vec<(EndpointName, Absence)> {
    let wanted = cluster.nodes.len();
    if wanted <= found {
        return Vec::new();
    }
    let absence = Absence {
        capability: Some(Capability::Nodes),
        why: format!("the scenario has {wanted} nodes, and the run {found}"),
    };
    let services = cluster.services.iter().filter(|service| service.only_local);
    let names = services.map(|service| EndpointName::service(&service.namespace, &service.name));
    names.map(|name| (name, absence.clone())).collect()
}

/// Groups of at most `size` nodes: one group, or as many as it takes until every node is in one.
/// Within a group, every node is source and destination, alone and across nodes; so the number of
/// groups grows with the nodes, and not with their pairs.
pub(super) fn groups(nodes: &[String], size: usize, all: bool) -> Vec<Vec<String>> {
    let size = size.clamp(1, nodes.len().max(1));
    let group = |begin: usize| nodes.iter().cycle().skip(begin).take(size).cloned().collect();
    let begins = (0..nodes.len()).step_by(size);
    begins.take(if all { usize::MAX } else { 1 }).map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Backends, Service};
    use crate::scenario::{State, Topology};

    fn machine(name: &str) -> Machine {
        Machine {
            name: name.to_owned(),
            kubelet: String::new(),
            addresses: Vec::new(),
            is_ready: true,
            is_cordoned: false,
            is_tainted: false,
            obstacle: None,
        }
    }

    fn machines() -> [Machine; 5] {
        [
            Machine { is_tainted: true, ..machine("control") },
            machine("a"),
            Machine { is_ready: false, ..machine("off") },
            Machine { is_cordoned: true, ..machine("closed") },
            Machine { is_tainted: true, obstacle: Some("has the taint x".to_owned()), ..machine("full") },
        ]
    }

    #[test]
    fn only_nodes_that_take_pods_are_chosen() {
        let machines = machines();
        let named = |name: &str| choose(&machines, Wanted::Named(&[name.to_owned()]));
        assert_eq!(choose(&machines, Wanted::Usual).unwrap(), ["a"]);
        assert_eq!(choose(&machines[..1], Wanted::Usual).unwrap(), ["control"]);
        assert_eq!(named("control").unwrap(), ["control"]);
        let refused = |name: &str| named(name).unwrap_err().to_string();
        assert_eq!(refused("closed"), "--nodes closed: the node is cordoned");
        assert_eq!(refused("off"), "--nodes off: the node is not ready");
        assert_eq!(refused("full"), "--nodes full: the node has the taint x");
        assert_eq!(
            refused("b"),
            "--nodes b: the cluster has no such node, only control, a, off, closed, full"
        );
        let none = choose(&machines[2..], Wanted::Usual).unwrap_err();
        assert!(none.to_string().starts_with("no node fits"));
    }

    /// Tainted nodes run pods, too: those that tolerate it, such as the tenants for whom they are.
    #[test]
    fn every_node_means_tainted_nodes_too() {
        assert_eq!(choose(&machines(), Wanted::Every).unwrap(), ["control", "a"]);
    }

    #[test]
    fn every_node_is_in_a_group_and_groups_grow_with_the_nodes() {
        for count in 1..20_usize {
            let nodes: Vec<String> = (0..count).map(|i| format!("n{i}")).collect();
            let groups = groups(&nodes, 2, true);
            assert!(nodes.iter().all(|node| groups.iter().any(|group| group.contains(node))));
            assert_eq!(groups.len(), count.div_ceil(2));
            assert!(groups.iter().all(|group| group.len() == 2.min(count)));
        }
        let nodes = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(groups(&nodes, 2, false), [["a", "b"]]);
    }

    /// Seen: on a cluster with one node, a correct network was accused.
    #[test]
    fn services_of_the_senders_node_need_as_many_nodes_as_the_scenario() {
        let service = |name: &str, only_local| Service {
            namespace: "x".to_owned(),
            name: name.to_owned(),
            addresses: Vec::new(),
            ports: Vec::new(),
            backends: Backends::Unknown,
            exposure: None,
            headless: false,
            only_local,
            chooses_node_ports: false,
        };
        let mut cluster = State::new(&Topology::standard(false)).cluster;
        cluster.services = vec![service("local", true), service("usual", false)];
        assert_eq!(without_own_nodes(&cluster, 2), []);
        let absent = without_own_nodes(&cluster, 1);
        let told: Vec<_> = absent.into_iter().map(|(name, absence)| (name, absence.capability)).collect();
        assert_eq!(told, [(EndpointName::service("x", "local"), Some(Capability::Nodes))]);
    }
}

//! Choosing the nodes on which pods run.

use super::survey::Machine;
use crate::backend::Error;

/// The nodes to use, each of which has to be source and destination.
pub(super) fn choose(machines: &[Machine], named: &[String]) -> Result<Vec<String>, Error> {
    if let Some(unknown) = named.iter().find(|name| machines.iter().all(|m| m.name != **name)) {
        let known: Vec<&str> = machines.iter().map(|machine| machine.name.as_str()).collect();
        let message = format!("--nodes {unknown}: the cluster has no such node, only {}", known.join(", "));
        return Err(Error::Unavailable(message));
    }
    if let Some(lost) = machines.iter().find(|m| named.contains(&m.name) && (!m.is_ready || m.is_cordoned)) {
        let why = if lost.is_cordoned { "is cordoned" } else { "is not ready" };
        return Err(Error::Unavailable(format!("--nodes {}: the node {why}", lost.name)));
    }
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    let open = |machine: &&Machine| machine.is_ready && !machine.is_cordoned;
    let usual: Vec<_> = machines.iter().filter(open).filter(|machine| !machine.is_tainted).collect();
    // A cluster that is nothing but a control plane still has a data path.
    let fitting = if usual.is_empty() { machines.iter().filter(open).collect() } else { usual };
    if fitting.is_empty() {
        let message = "no node fits: none is ready and open for new pods; or name some with --nodes";
        return Err(Error::Unavailable(message.to_owned()));
    }
    Ok(fitting.into_iter().map(|machine| machine.name.clone()).collect())
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

    fn machine(name: &str, is_ready: bool, is_cordoned: bool, is_tainted: bool) -> Machine {
        let (kubelet, addresses) = (String::new(), Vec::new());
        Machine { name: name.to_owned(), kubelet, addresses, is_ready, is_cordoned, is_tainted }
    }

    #[test]
    fn only_nodes_that_take_pods_are_chosen() {
        let machines = [
            machine("control", true, false, true),
            machine("a", true, false, false),
            machine("off", false, false, false),
            machine("closed", true, true, false),
        ];
        assert_eq!(choose(&machines, &[]).unwrap(), ["a"]);
        assert_eq!(choose(&machines[..1], &[]).unwrap(), ["control"]);
        assert_eq!(choose(&machines, &["control".to_owned()]).unwrap(), ["control"]);
        let refused = |name: &str| choose(&machines, &[name.to_owned()]).unwrap_err().to_string();
        assert_eq!(refused("closed"), "--nodes closed: the node is cordoned");
        assert_eq!(refused("off"), "--nodes off: the node is not ready");
        assert_eq!(refused("b"), "--nodes b: the cluster has no such node, only control, a, off, closed");
        assert!(choose(&machines[2..], &[]).unwrap_err().to_string().starts_with("no node fits"));
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
}

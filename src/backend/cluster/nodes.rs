//! Choice of the nodes on which pods run.

use std::collections::BTreeSet;

use super::site::{self, Site};
use super::survey::SurveyedNode;
use crate::backend::Error;
use crate::policy::Cluster;
use crate::scenario::Scenario;
use crate::world::{Absence, Action, Capability, EndpointName, PodChange};

/// The nodes that the user requested.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// Nodes without taints, and those whose taints the site's tolerations name. All usable nodes, if every
    /// usable node has another taint.
    Usual,
    /// Every node on which a probe pod can run, also if that needs a toleration.
    Every,
    /// The nodes with these names.
    Named(&'a [String]),
}

/// Returns the nodes to use. Each of them must be source and destination.
pub(super) fn choose(nodes: &[SurveyedNode], wanted: Wanted<'_>, site: &Site) -> Result<Vec<String>, Error> {
    if let Wanted::Named(named) = wanted {
        return check(nodes, named, site).map(|()| named.to_vec());
    }
    let selected: Vec<_> = nodes.iter().filter(|node| site.selects_node(&node.labels)).collect();
    let open = || selected.iter().copied().filter(|node| reason_against(node, site).is_none());
    // If the site names tolerations, open nodes have no other taints.
    let is_usual = |node: &&SurveyedNode| node.taints.is_empty() || !site.tolerations.is_empty();
    let usual: Vec<_> = open().filter(is_usual).collect();
    let fitting = match wanted {
        Wanted::Usual | Wanted::Named(_) if !usual.is_empty() => usual,
        // A cluster that has only control plane nodes still has a data path.
        Wanted::Usual | Wanted::Every | Wanted::Named(_) => open().collect(),
    };
    if fitting.is_empty() {
        return Err(Error::Unavailable(none_fits(&selected, site)));
    }
    Ok(fitting.into_iter().map(|node| node.name.clone()).collect())
}

/// Says why none of the selected nodes can be used.
fn none_fits(selected: &[&SurveyedNode], site: &Site) -> String {
    let reasons =
        selected.iter().filter_map(|node| Some(format!("{} {}", node.name, reason_against(node, site)?)));
    let reasons = reasons.collect::<Vec<_>>().join(", ");
    let why = if selected.is_empty() { "there is none" } else { &reasons };
    if site.node_selector.is_empty() {
        return format!("no node fits: {why}");
    }
    format!("--node-selector {}: no node with these labels fits: {why}", site::joined(&site.node_selector))
}

/// Checks that pods can run on all named nodes.
fn check(nodes: &[SurveyedNode], named: &[String], site: &Site) -> Result<(), Error> {
    for name in named {
        let Some(node) = nodes.iter().find(|node| node.name == *name) else {
            let known: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
            let known = known.join(", ");
            let message = format!("--nodes {name}: the cluster has no such node, only {known}");
            return Err(Error::Unavailable(message));
        };
        if let Some(why) = reason_against(node, site) {
            return Err(Error::Unavailable(format!("--nodes {name}: the node {why}")));
        }
    }
    Ok(())
}

/// Returns why no probe pod can run on a node. `None` if one can.
pub(super) fn reason_against(node: &SurveyedNode, site: &Site) -> Option<String> {
    match node {
        SurveyedNode { is_cordoned: true, .. } => Some("is cordoned".to_owned()),
        SurveyedNode { is_ready: false, .. } => Some("is not ready".to_owned()),
        SurveyedNode { obstacle: Some(why), .. } => Some(why.clone()),
        SurveyedNode { taints, .. } => {
            let taint = site.untolerated(taints)?;
            Some(format!("has the taint {taint}: add --toleration {taint}"))
        }
    }
}

/// Returns the Services with `internalTrafficPolicy: Local`, if the run has fewer nodes than the scenario has
/// logical nodes. Several logical nodes then share one node, and the Service uses the endpoints of all of
/// them.
pub(super) fn without_own_nodes(cluster: &Cluster, group: &[String]) -> Vec<(EndpointName, Absence)> {
    let (wanted, found) = (cluster.nodes.len(), group.iter().collect::<BTreeSet<_>>().len());
    if wanted <= found {
        return Vec::new();
    }
    let absence = Absence {
        capability: Some(Capability::Nodes),
        why: format!("the scenario has {wanted} nodes, and the run {found}"),
    };
    let services = cluster.services.iter().filter(|service| service.only_local);
    let names = services.map(EndpointName::of_service);
    names.map(|name| (name, absence.clone())).collect()
}

/// Returns for each logical node of a scenario whether it ever has a probe pod.
pub(super) fn have_pods(scenario: &Scenario) -> Vec<bool> {
    let cluster = &scenario.world.cluster;
    let changes = scenario.steps.iter().flat_map(|step| &step.actions).filter_map(Action::pod_change);
    let added = changes.filter_map(|change| match change {
        PodChange::Added(pod) => Some(pod),
        PodChange::Ended(_) | PodChange::Removed(_) => None,
    });
    // Pods with `hostNetwork` are not measured on a cluster.
    let pods = cluster.pods.iter().chain(added).filter(|pod| !pod.host_network);
    let with_pods: BTreeSet<&str> = pods.filter_map(|pod| pod.node.as_deref()).collect();
    cluster.nodes.iter().map(|node| with_pods.contains(node.name.as_str())).collect()
}

/// Returns the nodes that stand for the logical nodes of a scenario, in its order.
///
/// Returns one group, or with `all` as many groups as are needed until every node has stood for a logical
/// node with pods. A logical node without pods gets a node that is not in the group yet, if there is one.
///
/// Within a group, every node with pods is source and destination, for its own pods and for other nodes. So
/// the number of groups grows with the number of nodes, not with the number of pairs.
pub(super) fn groups(nodes: &[String], have_pods: &[bool], all: bool) -> Vec<Vec<String>> {
    let size = have_pods.iter().filter(|has_pods| **has_pods).count().clamp(1, nodes.len().max(1));
    let group = |begin: usize| {
        let mut with_pods = nodes.iter().cycle().skip(begin);
        let mut others = nodes.iter().cycle().skip(begin + size);
        let next = |has_pods: &bool| if *has_pods { with_pods.next() } else { others.next() };
        have_pods.iter().filter_map(next).cloned().collect()
    };
    let begins = (0..nodes.len()).step_by(size);
    begins.take(if all { usize::MAX } else { 1 }).map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cluster::mocked::scenario;
    use crate::backend::cluster::site::{Taint, Toleration};
    use crate::policy::{Backends, Labels, Service};
    use crate::scenario::standard_world;

    fn taint(key: &str, value: &str) -> Taint {
        Taint { key: key.to_owned(), value: value.to_owned(), effect: "NoSchedule".to_owned() }
    }

    /// Chooses nodes for a site without requirements.
    fn choose(nodes: &[SurveyedNode], wanted: Wanted<'_>) -> Result<Vec<String>, Error> {
        super::choose(nodes, wanted, &Site::default())
    }

    fn nodes() -> [SurveyedNode; 5] {
        [
            SurveyedNode { taints: vec![taint("role", "control")], ..SurveyedNode::ready("control") },
            SurveyedNode::ready("a"),
            SurveyedNode { is_ready: false, ..SurveyedNode::ready("off") },
            SurveyedNode { is_cordoned: true, ..SurveyedNode::ready("closed") },
            SurveyedNode {
                taints: vec![taint("x", "")],
                obstacle: Some("has the taint x".to_owned()),
                ..SurveyedNode::ready("full")
            },
        ]
    }

    #[test]
    fn only_nodes_that_take_pods_are_chosen() {
        let nodes = nodes();
        let named = |name: &str| choose(&nodes, Wanted::Named(&[name.to_owned()]));
        assert_eq!(choose(&nodes, Wanted::Usual).unwrap(), ["a"]);
        assert_eq!(choose(&nodes[..1], Wanted::Usual).unwrap(), ["control"]);
        assert_eq!(named("control").unwrap(), ["control"]);
        let refused = |name: &str| named(name).unwrap_err().to_string();
        assert_eq!(refused("closed"), "--nodes closed: the node is cordoned");
        assert_eq!(refused("off"), "--nodes off: the node is not ready");
        assert_eq!(refused("full"), "--nodes full: the node has the taint x");
        assert_eq!(
            refused("b"),
            "--nodes b: the cluster has no such node, only control, a, off, closed, full"
        );
        let none = choose(&nodes[2..], Wanted::Usual).unwrap_err();
        let expected = "no node fits: off is not ready, closed is cordoned, full has the taint x";
        assert_eq!(none.to_string(), expected);
    }

    /// Pods that tolerate a taint run on tainted nodes, such as the pods of a tenant to whom the nodes are
    /// dedicated.
    #[test]
    fn every_node_means_tainted_nodes_too() {
        assert_eq!(choose(&nodes(), Wanted::Every).unwrap(), ["control", "a"]);
    }

    #[test]
    fn a_site_chooses_nodes_by_labels_and_tolerations() {
        let labels = |pool: &str| Labels::from([("pool".to_owned(), pool.to_owned())]);
        let node = |name: &str, pool: &str, taints: &[Taint]| SurveyedNode {
            labels: labels(pool),
            taints: taints.to_vec(),
            ..SurveyedNode::ready(name)
        };
        let (gpu, other) = (taint("gpu", "a"), taint("other", ""));
        let nodes = [
            node("a", "plain", &[]),
            node("b", "gpu", std::slice::from_ref(&gpu)),
            node("c", "gpu", &[gpu, other]),
        ];
        let in_pool = |pool: &str| Site { node_selector: labels(pool), ..Site::default() };
        let toleration = Toleration { key: "gpu".to_owned(), value: None, effect: None };
        let tolerant = |site: Site| Site { tolerations: vec![toleration.clone()], ..site };
        let chosen =
            |wanted, site: &Site| super::choose(&nodes, wanted, site).map_err(|error| error.to_string());
        assert_eq!(chosen(Wanted::Usual, &in_pool("gpu")).unwrap(), ["b", "c"], "pods tolerate every taint");
        assert_eq!(chosen(Wanted::Usual, &tolerant(Site::default())).unwrap(), ["a", "b"]);
        assert_eq!(chosen(Wanted::Every, &tolerant(in_pool("gpu"))).unwrap(), ["b"]);
        let refusals = [
            chosen(Wanted::Usual, &in_pool("none")),
            chosen(Wanted::Named(&["c".to_owned()]), &tolerant(Site::default())),
            super::choose(&nodes[2..], Wanted::Usual, &tolerant(in_pool("gpu")))
                .map_err(|error| error.to_string()),
        ];
        let refusals = refusals.map(Result::unwrap_err).join("\n");
        insta::assert_snapshot!(refusals, @r"
        --node-selector pool=none: no node with these labels fits: there is none
        --nodes c: the node has the taint other:NoSchedule: add --toleration other:NoSchedule
        --node-selector pool=gpu: no node with these labels fits: c has the taint other:NoSchedule: add --toleration other:NoSchedule
        ");
    }

    #[test]
    fn every_node_stands_for_one_with_pods_and_groups_grow_with_the_nodes() {
        let scenarios: [&[bool]; 5] =
            [&[true], &[true, true], &[true, false], &[false, true, true], &[true, false, false, true, true]];
        for (count, have_pods) in (1..20_usize).flat_map(|count| scenarios.map(|scenario| (count, scenario)))
        {
            let nodes: Vec<String> = (0..count).map(|i| format!("n{i}")).collect();
            let groups = groups(&nodes, have_pods, true);
            let with_pods = |group: &[String]| -> BTreeSet<String> {
                let places = group.iter().zip(have_pods).filter(|(_, has_pods)| **has_pods);
                places.map(|(node, _)| node.clone()).collect()
            };
            let size = have_pods.iter().filter(|has_pods| **has_pods).count().min(count);
            let covered: BTreeSet<String> = groups.iter().flat_map(|group| with_pods(group)).collect();
            assert_eq!((covered.len(), groups.len()), (count, count.div_ceil(size)), "{have_pods:?}");
            for group in &groups {
                assert_eq!((group.len(), with_pods(group).len()), (have_pods.len(), size), "{have_pods:?}");
            }
        }
        let nodes = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(groups(&nodes, &[true, true], false), [["a", "b"]]);
        assert_eq!(groups(&nodes, &[false, true], true), [["b", "a"], ["c", "b"], ["a", "c"]]);
        assert_eq!(groups(&nodes[..1], &[true, true], true), [["a", "a"]]);
    }

    /// A scenario has two logical nodes by default, even if only one of them has pods.
    #[test]
    fn nodes_with_pods_are_those_that_ever_have_a_probe_pod() {
        let have_pods = |pods: &str, steps: &str| {
            let topology = format!("topology: {{namespaces: [{{name: x, pods: [{pods}]}}]}}\n");
            have_pods(&scenario(&format!("{topology}steps: [{steps}]\n")))
        };
        let two = "{name: a, node: 1}, {name: b, node: 1}";
        assert_eq!(have_pods(two, "{name: s}"), [true, false]);
        let added = "{name: s, addPod: [{namespace: x, name: c, node: 2}]}";
        assert_eq!(have_pods(two, added), [true, true]);
        let on_host = "{name: a, node: 2}, {name: b, node: 1, hostNetwork: true}";
        assert_eq!(have_pods(on_host, "{name: s}"), [false, true]);
    }

    /// Regression: on a cluster with one node, netproof reported failures of a correct network.
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
        let mut cluster = standard_world(false).cluster;
        cluster.services = vec![service("local", true), service("usual", false)];
        let nodes = |names: [&str; 2]| names.map(str::to_owned);
        assert_eq!(without_own_nodes(&cluster, &nodes(["a", "b"])), []);
        let absent = without_own_nodes(&cluster, &nodes(["a", "a"]));
        let told: Vec<_> = absent.into_iter().map(|(name, absence)| (name, absence.capability)).collect();
        assert_eq!(told, [(EndpointName::service("x", "local"), Some(Capability::Nodes))]);
    }
}

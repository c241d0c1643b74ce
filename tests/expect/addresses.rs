//! `netproof expect` where addresses, or their families, are not in the input.

use serde_json::Value;

use super::{namespace, row, rows};
use crate::support::{cluster_policy, object, pod_in, policy};

const PODS: &str = "unknown: the addresses of pods";
const NODES: &str = "unknown: the addresses of nodes";

/// Returns what a row says about all connections: `allowed`, `denied`, `undefined`, or `unknown` with the first fact.
fn all_connections(rows: &[Value], from: &str, to: &str) -> String {
    let row = row(rows, from, to);
    if row.is_null() {
        return "denied".to_owned();
    }
    if row["connections"] == "all" {
        return "allowed".to_owned();
    }
    assert_eq!(row["undefined"], "all", "{row}");
    match row["assumptions"].as_array().and_then(|facts| facts.first()).and_then(Value::as_str) {
        Some(fact) => format!("unknown: {}", fact.trim_end_matches(" are not in the input")),
        None => "undefined".to_owned(),
    }
}

/// Returns the pod `NAME` of the namespace `x`.
fn pod(name: &str, spec: &str, addresses: &[&str]) -> String {
    pod_in("x", name, spec, addresses)
}

fn node(name: &str, ranges: &str, addresses: &[(&str, &str)]) -> String {
    let address = |(kind, address): &(&str, &str)| format!("{{type: {kind}, address: '{address}'}}");
    let addresses = addresses.iter().map(address).collect::<Vec<_>>().join(", ");
    let fields = format!("spec: {{podCIDRs: [{ranges}]}}\nstatus: {{addresses: [{addresses}]}}\n");
    object("v1", "Node", &format!("name: {name}"), &fields)
}

/// Returns a policy that allows `web` to send to these blocks only.
fn egress(blocks: &[&str]) -> String {
    let to: Vec<_> = blocks.iter().map(|block| format!("{{ipBlock: {{cidr: '{block}'}}}}")).collect();
    let rule = format!("{{to: [{}]}}", to.join(", "));
    let spec = format!("podSelector: {{matchLabels: {{app: web}}}}, policyTypes: [Egress], egress: [{rule}]");
    policy("name: out, namespace: x", &spec)
}

/// Returns an AdminNetworkPolicy with these egress rules for all pods.
fn admin(rules: &str) -> String {
    let spec = format!("priority: 1, subject: {{namespaces: {{}}}}, egress: [{rules}]");
    cluster_policy("v1alpha1", "AdminNetworkPolicy", "admin", &spec)
}

/// Regression: pods without addresses were taken to have one address of each family. What a block of one family allows
/// was shown as allowed, also in clusters that do not use this family.
#[test]
fn pods_of_unknown_families_may_lack_the_family_of_a_block() {
    let pods = [namespace("x", ""), pod("web", "", &[]), pod("db", "", &[])].concat();
    let v6_node = node("node-1", "'fd00:10:244::/64'", &[("InternalIP", "fd00:172::2")]);
    let dual = &["--pod-cidr", "10.244.0.0/16", "--pod-cidr", "fd00::/64"][..];
    for (blocks, more, arguments, answer) in [
        (&["::/0"][..], "", &[][..], PODS),
        (&["0.0.0.0/0"], "", &[], PODS),
        (&["0.0.0.0/0"], v6_node.as_str(), &[], PODS),
        (&["0.0.0.0/0", "::/0"], "", &[], "allowed"),
        (&["::/0"], "", &["--pod-cidr", "10.244.0.0/16"], "denied"),
        (&["::/0"], "", &["--pod-cidr", "fd00::/64"], "allowed"),
        (&["::/0"], "", dual, "allowed"),
    ] {
        let rows = rows(&[pods.as_str(), more, &egress(blocks)].concat(), arguments);
        let answers = [
            all_connections(&rows, "x/web[Pod]", "x/db[Pod]"),
            all_connections(&rows, "x/db[Pod]", "x/web[Pod]"),
        ];
        assert_eq!(answers, [answer, "allowed"], "{blocks:?} {arguments:?} {more}");
    }
    // The only family that both can have is that of the pod whose addresses are known.
    let known = [namespace("x", ""), pod("web", "", &["10.244.0.5"]), pod("db", "", &[])].concat();
    for (block, answer) in [("0.0.0.0/0", "allowed"), ("::/0", "denied"), ("10.0.0.0/8", PODS)] {
        let rows = rows(&(known.clone() + &egress(&[block])), &[]);
        assert_eq!(all_connections(&rows, "x/web[Pod]", "x/db[Pod]"), answer, "{block}");
    }
}

/// Regression: a flow that is denied over the only family of a pod was taken to be open over the other family.
#[test]
fn a_pod_reaches_its_own_node_over_a_family_that_both_have() {
    let deny = admin("{action: Deny, to: [{networks: [0.0.0.0/0]}]}");
    let v4_node = node("node-1", "", &[("InternalIP", "172.18.0.2")]);
    let dual_node = node("node-1", "", &[("InternalIP", "172.18.0.2"), ("InternalIP", "fd00:172::2")]);
    let (v4, dual) = (&["10.244.0.5"][..], &["10.244.0.5", "fd00:10::5"][..]);
    for (addresses, node, answer) in [
        (v4, "", "undefined"),
        (v4, dual_node.as_str(), "undefined"),
        (&["fd00:10::5"][..], "", "allowed"),
        (dual, "", NODES),
        (dual, &v4_node, "undefined"),
        (dual, &dual_node, "allowed"),
        (&[], "", PODS),
        (&[], &v4_node, "undefined"),
    ] {
        let web = pod("web", "nodeName: node-1", addresses);
        let rows = rows(&[namespace("x", "").as_str(), &web, node, &deny].concat(), &[]);
        assert_eq!(all_connections(&rows, "x/web[Pod]", "own node"), answer, "{addresses:?} {node}");
    }
}

/// Regression: the Nodes of the input were taken for all nodes, so a pod on another node got their addresses.
#[test]
fn a_pod_on_a_node_that_is_not_listed_has_unknown_addresses() {
    let listed = node("node-1", "10.244.1.0/24", &[("InternalIP", "172.18.0.2")]);
    let web = pod("web", "nodeName: node-1", &["10.244.1.5"]);
    let host = |node: &str| pod("agent", format!("hostNetwork: true, {node}").trim_end_matches(", "), &[]);
    let (here, there) = ("nodeName: node-1", "nodeName: node-2");
    let [web_, db_, agent_] = ["web", "db", "agent"].map(|name| format!("x/{name}[Pod]"));
    for (db, agent, blocks, to_db, to_agent) in [
        (there, there, &["10.244.2.0/24", "172.18.0.2/32"][..], PODS, NODES),
        (there, here, &["10.244.2.0/24", "172.18.0.2/32"], PODS, "allowed"),
        (here, here, &["10.244.2.0/24", "172.18.0.2/32"], "denied", "allowed"),
        // A pod without a node can get one that is not in the input.
        ("", "", &["10.244.1.0/24", "172.18.0.2/32"], PODS, "allowed"),
        // One pod is on a node that is not listed, so the list is not complete for the other pod either.
        ("", there, &["10.244.1.0/24", "172.18.0.2/32"], PODS, NODES),
        (there, "", &["10.244.1.0/24", "172.18.0.2/32"], PODS, NODES),
        (here, there, &["10.244.1.0/24", "172.18.0.2/32"], "allowed", NODES),
    ] {
        let pods =
            [namespace("x", ""), listed.clone(), web.clone(), pod("db", db, &[]), host(agent)].concat();
        let rows = rows(&(pods + &egress(blocks)), &[]);
        let answers = [all_connections(&rows, &web_, &db_), all_connections(&rows, &web_, &agent_)];
        assert_eq!(answers, [to_db, to_agent], "db: {db:?}, agent: {agent:?}, {blocks:?}");
    }
}

/// A pod has an address from the `podCIDRs` of another node, so the plugin does not use them.
#[test]
fn a_pod_outside_of_the_range_of_its_node_shows_that_ranges_mean_nothing() {
    let nodes = node("node-1", "10.244.1.0/24", &[]) + &node("node-2", "10.244.2.0/24", &[]);
    for (address, answer) in [("10.244.1.5", "allowed"), ("10.244.2.5", PODS)] {
        let web = pod("web", "nodeName: node-1", &[address]);
        let pods = [namespace("x", ""), nodes.clone(), web, pod("db", "nodeName: node-2", &[])].concat();
        let rows = rows(&(pods + &egress(&["10.244.2.0/24"])), &[]);
        assert_eq!(all_connections(&rows, "x/web[Pod]", "x/db[Pod]"), answer, "{address}");
    }
}

/// Regression: the address that a cloud translates to a node's counted as the address of the pod.
#[test]
fn a_pod_with_host_network_has_the_internal_addresses_of_its_node() {
    let (internal, external) = (("InternalIP", "10.0.0.2"), ("ExternalIP", "203.0.113.7"));
    let pods = [namespace("x", ""), pod("web", "", &["10.244.0.5"])].concat()
        + &pod("agent", "nodeName: node-1, hostNetwork: true", &[]);
    for (addresses, block, answer) in [
        (&[external, internal][..], "203.0.113.0/24", "unknown: the nodes of pods"),
        (&[external, internal], "10.0.0.0/8", "allowed"),
        (&[external], "203.0.113.0/24", NODES),
        (&[internal, ("ExternalIP", "2001:db8::7")], "10.0.0.0/8", NODES),
    ] {
        let rows = rows(&[pods.clone(), node("node-1", "", addresses), egress(&[block])].concat(), &[]);
        assert_eq!(all_connections(&rows, "x/web[Pod]", "x/agent[Pod]"), answer, "{addresses:?} {block}");
    }
}

/// Regression: rows of addresses ignored rules about nodes, although the addresses of nodes are among them.
#[test]
fn rules_about_nodes_are_about_the_addresses_of_nodes() {
    let web = [namespace("x", ""), pod("web", "nodeName: node-1", &["10.244.0.5"])].concat();
    let one = node("node-1", "", &[("InternalIP", "172.18.0.2")]);
    let two = node("node-2", "", &[("InternalIP", "172.18.0.3"), ("ExternalIP", "203.0.113.7")]);
    let no_nodes = admin("{action: Deny, to: [{nodes: {}}]}");
    let only_nodes =
        admin("{action: Allow, to: [{nodes: {}}]}, {action: Deny, to: [{networks: [0.0.0.0/0]}]}");
    let no_workers = admin("{action: Deny, to: [{nodes: {matchLabels: {role: worker}}}]}");
    let both = one.clone() + &two;
    let cidr = &["--node-cidr", "172.18.0.0/16"][..];
    let unknown = |range: &str| format!("{range} {NODES}");
    let allowed = |range: &str| format!("{range} allowed");
    for (nodes, policy, arguments, expected) in [
        (
            both.as_str(),
            &no_nodes,
            &[][..],
            vec![
                allowed("0.0.0.0-172.18.0.1"),
                allowed("172.18.0.4-203.0.113.6"),
                // It is not specified whether rules about nodes apply to external addresses.
                unknown("203.0.113.7/32"),
                allowed("203.0.113.8-255.255.255.255"),
            ],
        ),
        (&both, &only_nodes, &[], vec![allowed("172.18.0.2/31"), unknown("203.0.113.7/32")]),
        (
            &one,
            &no_workers,
            &[],
            vec![
                allowed("0.0.0.0-172.18.0.1"),
                "172.18.0.2/32 unknown: the labels of nodes".to_owned(),
                allowed("172.18.0.3-255.255.255.255"),
            ],
        ),
        // The list of nodes is not complete, or there is none.
        (
            &two,
            &only_nodes,
            &[],
            vec![
                unknown("0.0.0.0-172.18.0.2"),
                allowed("172.18.0.3/32"),
                unknown("172.18.0.4-255.255.255.255"),
            ],
        ),
        ("", &only_nodes, &[], vec![unknown("0.0.0.0/0")]),
        ("", &no_nodes, &[], vec![unknown("0.0.0.0/0")]),
        // Not every address of a range is that of a node.
        (
            &one,
            &no_nodes,
            cidr,
            vec![
                allowed("0.0.0.0-172.17.255.255"),
                unknown("172.18.0.0/31"),
                unknown("172.18.0.3-172.18.255.255"),
                allowed("172.19.0.0-255.255.255.255"),
            ],
        ),
        ("", &only_nodes, cidr, vec![unknown("172.18.0.0/16")]),
    ] {
        let rows = rows(&[web.as_str(), nodes, policy].concat(), arguments);
        let to = rows.iter().filter(|row| row["from"] == "x/web[Pod]" && row["to"] != "own node");
        let to = to.map(|row| row["to"].as_str().unwrap());
        let found: Vec<_> =
            to.map(|to| format!("{to} {}", all_connections(&rows, "x/web[Pod]", to))).collect();
        assert_eq!(found, expected, "{nodes} {policy} {arguments:?}");
    }
}

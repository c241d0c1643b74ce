//! `netproof expect` where addresses, or their families, are not in the input.

use serde_json::Value;

use crate::expect::{row, rows};

const PODS: &str = "unknown: the addresses of pods";
const NODES: &str = "unknown: the addresses of nodes";

/// What a row says of all connections: `allowed`, `denied`, `undefined`, or `unknown` with the first fact.
fn said(rows: &[Value], from: &str, to: &str) -> String {
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

fn joined(manifests: &[&str]) -> String {
    manifests.concat()
}

fn namespace() -> String {
    "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n---\n".to_owned()
}

/// A pod with a label `app`, with its name. `addresses` are those of its status.
fn pod(name: &str, spec: &str, addresses: &[&str]) -> String {
    let addresses: Vec<_> = addresses.iter().map(|address| format!("{{ip: '{address}'}}")).collect();
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: x, labels: {{app: {name}}}}}\nspec: {{{spec}containers: [{{name: c, image: c}}]}}\nstatus: {{podIPs: [{}]}}\n---\n",
        addresses.join(", ")
    )
}

fn node(name: &str, ranges: &str, addresses: &[(&str, &str)]) -> String {
    let address = |(kind, address): &(&str, &str)| format!("{{type: {kind}, address: '{address}'}}");
    let addresses: Vec<_> = addresses.iter().map(address).collect();
    format!(
        "apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\nspec: {{podCIDRs: [{ranges}]}}\nstatus: {{addresses: [{}]}}\n---\n",
        addresses.join(", ")
    )
}

/// A policy that allows `web` to send to these blocks only.
fn egress(blocks: &[&str]) -> String {
    let to: Vec<_> = blocks.iter().map(|block| format!("{{ipBlock: {{cidr: '{block}'}}}}")).collect();
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: out, namespace: x}}\nspec: {{podSelector: {{matchLabels: {{app: web}}}}, policyTypes: [Egress], egress: [{{to: [{}]}}]}}\n---\n",
        to.join(", ")
    )
}

/// An AdminNetworkPolicy with these egress rules for all pods.
fn admin(rules: &str) -> String {
    format!(
        "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\nmetadata: {{name: admin}}\nspec: {{priority: 1, subject: {{namespaces: {{}}}}, egress: [{rules}]}}\n---\n"
    )
}

/// Pods without addresses were taken to have one of each family, so that what a block of one family allows was
/// shown as allowed, in clusters that do not use this family, too.
#[test]
fn pods_of_unknown_families_may_lack_the_family_of_a_block() {
    let pods = [namespace(), pod("web", "", &[]), pod("db", "", &[])].concat();
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
        let rows = rows("families.yaml", &joined(&[&pods, more, &egress(blocks)]), arguments);
        let answers = [said(&rows, "x/web[Pod]", "x/db[Pod]"), said(&rows, "x/db[Pod]", "x/web[Pod]")];
        assert_eq!(answers, [answer, "allowed"], "{blocks:?} {arguments:?} {more}");
    }
    // The only family that both can have is that of the pod whose addresses are known.
    let known = [namespace(), pod("web", "", &["10.244.0.5"]), pod("db", "", &[])].concat();
    for (block, answer) in [("0.0.0.0/0", "allowed"), ("::/0", "denied"), ("10.0.0.0/8", PODS)] {
        let rows = rows("one-family.yaml", &(known.clone() + &egress(&[block])), &[]);
        assert_eq!(said(&rows, "x/web[Pod]", "x/db[Pod]"), answer, "{block}");
    }
}

/// What is denied over the only family of a pod was taken to be open over the other one.
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
        let web = pod("web", "nodeName: node-1, ", addresses);
        let rows = rows("own-node.yaml", &joined(&[&namespace(), &web, node, &deny]), &[]);
        assert_eq!(said(&rows, "x/web[Pod]", "own node"), answer, "{addresses:?} {node}");
    }
}

/// The Nodes of an input were taken for all nodes, so that a pod on another one had their addresses.
#[test]
fn a_pod_on_a_node_that_is_not_listed_has_unknown_addresses() {
    let listed = node("node-1", "10.244.1.0/24", &[("InternalIP", "172.18.0.2")]);
    let web = pod("web", "nodeName: node-1, ", &["10.244.1.5"]);
    let host = |node: &str| pod("agent", &format!("{node}hostNetwork: true, "), &[]);
    let (here, there) = ("nodeName: node-1, ", "nodeName: node-2, ");
    let [web_, db_, agent_] = ["web", "db", "agent"].map(|name| format!("x/{name}[Pod]"));
    for (db, agent, blocks, to_db, to_agent) in [
        (there, there, &["10.244.2.0/24", "172.18.0.2/32"][..], PODS, NODES),
        (there, here, &["10.244.2.0/24", "172.18.0.2/32"], PODS, "allowed"),
        (here, here, &["10.244.2.0/24", "172.18.0.2/32"], "denied", "allowed"),
        // A pod that has no node yet may get one that is not in the input.
        ("", "", &["10.244.1.0/24", "172.18.0.2/32"], PODS, "allowed"),
        // That the one is on another node shows that the list is not complete for the other.
        ("", there, &["10.244.1.0/24", "172.18.0.2/32"], PODS, NODES),
        (there, "", &["10.244.1.0/24", "172.18.0.2/32"], PODS, NODES),
        (here, there, &["10.244.1.0/24", "172.18.0.2/32"], "allowed", NODES),
    ] {
        let pods = [namespace(), listed.clone(), web.clone(), pod("db", db, &[]), host(agent)].concat();
        let rows = rows("not-listed.yaml", &(pods + &egress(blocks)), &[]);
        let answers = [said(&rows, &web_, &db_), said(&rows, &web_, &agent_)];
        assert_eq!(answers, [to_db, to_agent], "db: {db:?}, agent: {agent:?}, {blocks:?}");
    }
}

/// `podCIDRs` of another node: the plugin does not keep to them.
#[test]
fn a_pod_outside_of_the_range_of_its_node_shows_that_ranges_mean_nothing() {
    let nodes = node("node-1", "10.244.1.0/24", &[]) + &node("node-2", "10.244.2.0/24", &[]);
    for (address, answer) in [("10.244.1.5", "allowed"), ("10.244.2.5", PODS)] {
        let web = pod("web", "nodeName: node-1, ", &[address]);
        let pods = [namespace(), nodes.clone(), web, pod("db", "nodeName: node-2, ", &[])].concat();
        let rows = rows("ranges.yaml", &(pods + &egress(&["10.244.2.0/24"])), &[]);
        assert_eq!(said(&rows, "x/web[Pod]", "x/db[Pod]"), answer, "{address}");
    }
}

/// The address under which a cloud translates packets to a node counted as the pod's.
#[test]
fn a_pod_with_host_network_has_the_internal_addresses_of_its_node() {
    let (internal, external) = (("InternalIP", "10.0.0.2"), ("ExternalIP", "203.0.113.7"));
    let pods = [namespace(), pod("web", "", &["10.244.0.5"])].concat()
        + &pod("agent", "nodeName: node-1, hostNetwork: true, ", &[]);
    for (addresses, block, answer) in [
        (&[external, internal][..], "203.0.113.0/24", "unknown: the nodes of pods"),
        (&[external, internal], "10.0.0.0/8", "allowed"),
        (&[external], "203.0.113.0/24", NODES),
        (&[internal, ("ExternalIP", "2001:db8::7")], "10.0.0.0/8", NODES),
    ] {
        let manifests = joined(&[&pods, &node("node-1", "", addresses), &egress(&[block])]);
        let rows = rows("host-address.yaml", &manifests, &[]);
        assert_eq!(said(&rows, "x/web[Pod]", "x/agent[Pod]"), answer, "{addresses:?} {block}");
    }
}

/// Rows of addresses said nothing of rules about nodes, whose addresses are among them.
#[test]
fn rules_about_nodes_are_about_the_addresses_of_nodes() {
    let web = [namespace(), pod("web", "nodeName: node-1, ", &["10.244.0.5"])].concat();
    let one = node("node-1", "", &[("InternalIP", "172.18.0.2")]);
    let two = node("node-2", "", &[("InternalIP", "172.18.0.3"), ("ExternalIP", "203.0.113.7")]);
    let no_nodes = admin("{action: Deny, to: [{nodes: {}}]}");
    let only_nodes =
        admin("{action: Allow, to: [{nodes: {}}]}, {action: Deny, to: [{networks: [0.0.0.0/0]}]}");
    let no_workers = admin("{action: Deny, to: [{nodes: {matchLabels: {role: worker}}}]}");
    let said_of = |nodes: &str, policy: &str, arguments: &[&str]| {
        let rows = rows("to-nodes.yaml", &joined(&[&web, nodes, policy]), arguments);
        let to = rows.iter().filter(|row| row["from"] == "x/web[Pod]" && row["to"] != "own node");
        to.map(|row| {
            format!(
                "{} {}",
                row["to"].as_str().unwrap(),
                said(&rows, "x/web[Pod]", row["to"].as_str().unwrap())
            )
        })
        .collect::<Vec<_>>()
    };
    let both = one.clone() + &two;
    let before = "0.0.0.0-172.18.0.1 allowed";
    assert_eq!(
        said_of(&both, &no_nodes, &[]),
        [
            before,
            "172.18.0.4-203.0.113.6 allowed",
            // Whether rules about nodes mean it is not specified.
            &format!("203.0.113.7/32 {NODES}"),
            "203.0.113.8-255.255.255.255 allowed",
        ]
    );
    assert_eq!(
        said_of(&both, &only_nodes, &[]),
        ["172.18.0.2/31 allowed", &format!("203.0.113.7/32 {NODES}")]
    );
    assert_eq!(
        said_of(&one, &no_workers, &[]),
        [before, "172.18.0.2/32 unknown: the labels of nodes", "172.18.0.3-255.255.255.255 allowed",]
    );
    // The list is not complete, or there is none.
    let rest = format!("172.18.0.4-255.255.255.255 {NODES}");
    assert_eq!(
        said_of(&two, &only_nodes, &[]),
        [format!("0.0.0.0-172.18.0.2 {NODES}"), "172.18.0.3/32 allowed".to_owned(), rest]
    );
    assert_eq!(said_of("", &only_nodes, &[]), [format!("0.0.0.0/0 {NODES}")]);
    assert_eq!(said_of("", &no_nodes, &[]), [format!("0.0.0.0/0 {NODES}")]);
    // Not every address of a range is that of a node.
    assert_eq!(
        said_of(&one, &no_nodes, &["--node-cidr", "172.18.0.0/16"]),
        [
            "0.0.0.0-172.17.255.255 allowed",
            &format!("172.18.0.0/31 {NODES}"),
            &format!("172.18.0.3-172.18.255.255 {NODES}"),
            "172.19.0.0-255.255.255.255 allowed",
        ]
    );
    assert_eq!(
        said_of("", &only_nodes, &["--node-cidr", "172.18.0.0/16"]),
        [format!("172.18.0.0/16 {NODES}")]
    );
}

//! Tenants files: the examples, compared with the policy engine, and files that are refused.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use netproof::policy::{
    Cluster, Decision, Destination, Endpoint, Engine, Flow, IpFamily, Node, NodeId, Pod, PodId, Port,
    Protocol,
};
use netproof::snapshot::Snapshot;
use netproof::source::{self, Text};
use netproof::tenants::{Intent, Party, Tenancy, Tenants, Wish};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tenants");

/// An address outside the cluster that no file names.
const ELSEWHERE: &str = "198.51.100.1";

fn examples() -> Vec<PathBuf> {
    let mut folders: Vec<_> = fs::read_dir(EXAMPLES).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

fn text(path: &Path) -> Text {
    source::read_file(path).unwrap()
}

/// Reads manifests. Each pod gets an address and a sibling with the same labels, so that connections within a workload
/// are looked at, too. All pods are on one of two nodes.
fn cluster(manifests: &Text) -> Cluster {
    let mut cluster = Snapshot::read(&manifests.manifests().unwrap(), None).unwrap().cluster;
    let siblings: Vec<_> =
        cluster.pods.iter().map(|pod| Pod { name: format!("{}-sibling", pod.name), ..pod.clone() }).collect();
    cluster.pods.extend(siblings);
    for (i, pod) in cluster.pods.iter_mut().enumerate() {
        pod.addresses = vec![format!("10.244.0.{}", i + 1).parse().unwrap()];
        pod.node = Some("node-1".to_owned());
    }
    cluster.nodes = [1, 2].map(|i| node(&format!("node-{i}"), &format!("192.168.0.{i}"))).into();
    cluster
}

fn node(name: &str, address: &str) -> Node {
    Node { name: name.to_owned(), addresses: vec![address.parse().unwrap()], external_addresses: Vec::new() }
}

/// An end of a connection, as the tenants and as the engine know it.
#[derive(Clone, Copy)]
struct End<'a> {
    party: Party<'a>,
    endpoint: Endpoint,
}

/// A connection, the intent, and what the engine says.
struct Cell {
    what: String,
    intent: Option<Intent>,
    decision: Decision,
}

/// Returns all connections between two ends of a cluster, and from and to addresses outside.
fn cells(tenancy: &Tenancy, cluster: &Cluster) -> Vec<Cell> {
    let engine = Engine::new(cluster.clone());
    let pods: Vec<(PodId, &Pod)> = engine.pods().collect();
    let nodes: Vec<(NodeId, &Node)> = engine.nodes().collect();
    let inside = pods.iter().map(|(id, pod)| End { party: Party::of_pod(pod), endpoint: Endpoint::Pod(*id) });
    let inside: Vec<_> = inside.collect();
    let targets = tenancy.targets().into_iter().flat_map(|target| target.addresses).map(|net| net.addr());
    let addresses = targets.chain([ELSEWHERE.parse().unwrap()]).filter(IpAddr::is_ipv4);
    let outside = addresses.map(|ip| End { party: Party::Address(ip), endpoint: Endpoint::External(ip) });
    let of_nodes = nodes
        .iter()
        .map(|(id, node)| End { party: Party::Node(Some(&node.name)), endpoint: Endpoint::Node(*id) });
    let outside: Vec<_> = outside.chain(of_nodes).collect();
    let pairs = inside.iter().flat_map(|from| inside.iter().chain(&outside).map(move |to| (from, to)));
    let pairs = pairs.chain(outside.iter().flat_map(|from| inside.iter().map(move |to| (from, to))));
    let pairs: Vec<_> = pairs.filter(|(from, to)| from.endpoint != to.endpoint).collect();

    let of_pods = pods.iter().flat_map(|(_, pod)| pod.ports.iter().map(|port| (port.protocol, port.port)));
    let of_targets = tenancy.targets().into_iter().flat_map(|target| target.ports);
    let named =
        tenancy.ports().into_iter().chain(of_targets).map(|(protocol, range)| (protocol, range.first()));
    // The last port is one that nothing names.
    let others = [80, 10_250, 1].map(|port| (Protocol::Tcp, Port::new(port).unwrap()));
    let ports: BTreeSet<_> = of_pods.chain(named).chain(tenancy.node_ports()).chain(others).collect();
    let mut cells = Vec::new();
    for (from, to) in pairs {
        for (protocol, port) in &ports {
            let flow = Flow {
                source: from.endpoint,
                destination: Destination::Endpoint(to.endpoint),
                family: IpFamily::V4,
                protocol: *protocol,
                port: *port,
            };
            cells.push(Cell {
                what: format!("{:?} -> {:?} {port}/{protocol}", from.party, to.party),
                intent: tenancy.intent(from.party, to.party, *port, *protocol),
                decision: engine.evaluate(&flow).decision,
            });
        }
    }
    cells
}

/// Returns the cells whose intent the policies do not meet.
fn gaps(cells: &[Cell]) -> Vec<&Cell> {
    let is_gap = |cell: &&Cell| match cell.intent.as_ref().map(|intent| intent.wish) {
        Some(Wish::Forbidden) => cell.decision != Decision::Deny,
        Some(Wish::Required) => cell.decision != Decision::Allow,
        Some(Wish::Permitted) | None => false,
    };
    cells.iter().filter(is_gap).collect()
}

#[test]
fn the_policies_of_every_example_say_what_its_tenants_want() {
    assert_eq!(examples().len(), 6, "a new example is checked, too");
    for folder in examples() {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let cluster = cluster(&text(&folder.join("manifests.yaml")));
        let tenancy = Tenants::read(&text(&folder.join("tenants.yaml"))).unwrap().resolve(&cluster).unwrap();
        let cells = cells(&tenancy, &cluster);
        for Cell { what, intent, decision } in gaps(&cells) {
            let intent = intent.as_ref().unwrap();
            panic!("{name}: {what}: {} by {}, and the policies say {decision}", intent.wish, intent.why);
        }
        let has = |cell: &Cell, wish| cell.intent.as_ref().is_some_and(|intent| intent.wish == wish);
        let count = |wish| cells.iter().filter(|cell| has(cell, wish)).count();
        assert!(count(Wish::Forbidden) > 50, "{name}");
        assert!(count(Wish::Permitted) > 3, "{name}");
        let has_rules = !matches!(name.as_str(), "aks-modes" | "dispatch");
        assert_eq!(count(Wish::Required) > 0, has_rules, "{name}");
        // What the policies allow is never more than what is wanted, so nothing is left unsaid between tenants.
        let unsaid = cells.iter().filter(|cell| cell.intent.is_none() && cell.what.starts_with("Pod"));
        let is_of_node = |cell: &&Cell| cell.what.contains("Node(Some(\"node-1\"))");
        let is_foreign = |cell: &&Cell| {
            ["kube-system", "ingress-shared"]
                .iter()
                .any(|name| cell.what.starts_with(&format!("Pod {{ namespace: {name:?}")))
        };
        assert_eq!(unsaid.filter(|cell| !is_of_node(cell) && !is_foreign(cell)).count(), 0, "{name}");
    }
}

/// The mistakes that the guide warns of are gaps between intent and policies, and only they.
#[test]
fn mistakes_in_the_policies_of_the_guide_are_gaps() {
    let folder = Path::new(EXAMPLES).join("guide");
    let tenants = Tenants::read(&text(&folder.join("tenants.yaml"))).unwrap();
    let Text { name, content } = text(&folder.join("manifests.yaml"));
    let gaps_after = |before: &str, after: &str| {
        assert!(content.contains(before), "{before}");
        let manifests = Text { name: name.clone(), content: content.replacen(before, after, 1) };
        let cluster = cluster(&manifests);
        let cells = cells(&tenants.resolve(&cluster).unwrap(), &cluster);
        let gaps = gaps(&cells);
        let wished = |wish| gaps.iter().filter(|cell| cell.intent.as_ref().unwrap().wish == wish).count();
        (wished(Wish::Forbidden), wished(Wish::Required))
    };
    let own = "ingress:\n  - from:\n    - podSelector: {}\n";
    let (leaks, blocked) = gaps_after(own, "ingress:\n  - from:\n    - namespaceSelector: {}\n");
    assert!(leaks > 0 && blocked == 0, "an empty namespaceSelector: {leaks} {blocked}");
    let (leaks, blocked) = gaps_after("k8s-app: kube-dns}}\n    ports", "k8s-app: dns}}\n    ports");
    assert!(leaks == 0 && blocked > 0, "a DNS label that does not match: {leaks} {blocked}");
    let dns = "    ports:\n    - {protocol: UDP, port: 53}\n    - {protocol: TCP, port: 53}\n";
    let (leaks, blocked) = gaps_after(dns, "");
    assert!(leaks > 0 && blocked == 0, "more ports than intended: {leaks} {blocked}");
    let everywhere = "  egress:\n  - {}\n";
    let (leaks, blocked) = gaps_after("  egress:\n", everywhere);
    assert!(leaks > 0 && blocked == 0, "egress to everywhere: {leaks} {blocked}");
}

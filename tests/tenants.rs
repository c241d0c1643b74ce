//! Tenants files: the examples, compared with the policy engine, and files that are refused.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use netproof::policy::{
    Cluster, Decision, Destination, Endpoint, Engine, Flow, IpFamily, Node, NodeId, Pod, PodId, Port,
    Protocol,
};
use netproof::snapshot::Snapshot;
use netproof::source::{self, Text};
use netproof::tenants::{Intent, Party, Tenancy, Tenants, Wish, aks, first_file};

use crate::support::{User, file, run};

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
        let unmet = gaps(&cells).into_iter().map(|Cell { what, intent, decision }| {
            let intent = intent.as_ref().unwrap();
            format!("{what}: {} by {}, and the policies say {decision}", intent.wish, intent.why)
        });
        assert_eq!(unmet.collect::<Vec<_>>(), [""; 0], "{name}");
        let has = |cell: &Cell, wish| cell.intent.as_ref().is_some_and(|intent| intent.wish == wish);
        let count = |wish| cells.iter().filter(|cell| has(cell, wish)).count();
        assert!(count(Wish::Forbidden) > 50, "{name}");
        assert!(count(Wish::Permitted) > 3, "{name}");
        let has_rules = !matches!(name.as_str(), "aks-modes" | "dispatch");
        assert_eq!(count(Wish::Required) > 0, has_rules, "{name}");
        // Something is said about every connection of a tenant, except to the node of the pod.
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

const HEAD: &str = "apiVersion: netproof.dev/v1alpha1\nkind: Tenants\n";

/// Returns the message with which `tenants check` refuses a file. In `\n` of `content`, a line ends.
fn refused(case: &str, manifests: &str) -> String {
    let (name, content) = case.trim().split_once(' ').unwrap();
    let path =
        file(&format!("tenants/{name}.yaml"), format!("{HEAD}{}\n", content.trim().replace(r"\n", "\n")));
    let message = run(User::Root, ["tenants", "check", &path, manifests]).refusal();
    assert_eq!(message.lines().count(), 1, "one message: {message}");
    message
}

#[test]
fn the_example_of_the_documentation_is_valid() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tenants.md")).unwrap();
    let content =
        page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap().to_owned();
    Tenants::read(&Text { name: "tenants.md".into(), content }).unwrap();
}

#[test]
fn tenants_files_with_mistakes() {
    let manifests =
        file("tenants/guide.yaml", text(&Path::new(EXAMPLES).join("guide/manifests.yaml")).content);
    let a = r"tenants:\n- {name: a, namespaces: [tenant-a-prod]}\n- {name: b, namespaces: [tenant-b-prod]}\n";
    let cases = r"
        kind        tenant: []
        none        tenants: []
        field       tenants: [{name: a, namespace: [tenant-a-prod]}]
        selector    tenants: [{name: a, namespaceSelector: {matchLabel: {a: b}}}]
        operator    tenants:\n- name: a\n  namespaceSelector: {matchExpressions: [{key: a, operator: Has}]}
        empty       tenants: [{name: a}]
        list        tenants: [{name: a, namespaces: []}]
        entry       tenants: [{name: a, namespaces: [{name: tenant-a-prod, share: true}]}]
        pattern     tenants: [{name: a, namespaces: [Tenant-*]}]
        again       tenants: [{name: a, namespaces: [tenant-a-prod, tenant-a-prod]}]
        mode        tenants: [{name: a, namespaces: [tenant-a-prod], ingress: AllowSamenamespace}]
        enforce     tenants: [{name: a, namespaces: [tenant-a-prod], mode: enforced}]
        twice       tenants: [{name: a, namespaces: [tenant-a-prod]}, {name: a, namespaces: [tenant-b-prod]}]
        missing     tenants: [{name: a, namespaces: [tenant-a-prd]}]
        nothing     tenants: [{name: a, namespaces: [customer-*]}]
        labels      tenants: [{name: a, namespaceSelector: {matchLabels: {team: a}}}]
        overlap     tenants: [{name: a, namespaces: [tenant-a-prod]}, {name: b, namespaces: [tenant-*]}]
        half        tenants: [{name: a, namespaces: [{name: tenant-a-prod, shared: true}]}, {name: b, namespaces: [tenant-*]}]
        contrary    tenants:\n- {name: a, namespaces: [{name: tenant-a-prod, shared: true}], egress: DenyAll}\n- {name: b, namespaces: [{name: tenant-a-prod, shared: true}]}
        zone        TWO zones: [{name: z, podSelector: {matchLabels: {app: wep}}}]
        anything    TWO zones: [{name: z}]
        hash        TWO zones: [{name: z, podSelector: {matchLabels: {pod-template-hash: abc}}}]
        who         TWO sharedServices: [{name: s, ports: [53]}]
        both        TWO sharedServices: [{name: s, namespaces: kube-system, apiServer: true}]
        from-api    TWO sharedServices: [{name: s, apiServer: true, direction: ToTenants}]
        service     TWO sharedServices: [{name: s, namespaces: kube-system, podSelector: {matchLabels: {k8s-app: dns}}}]
        tenants     TWO sharedServices: [{name: s, namespaces: kube-system, tenants: [c]}]
        refuse      TWO sharedServices: [{name: s, namespaces: kube-system, action: deny}]
        port        TWO sharedServices: [{name: s, namespaces: kube-system, ports: [dns]}]
        ports       TWO sharedServices: [{name: s, namespaces: kube-system, ports: []}]
        range       TWO sharedServices: [{name: s, namespaces: kube-system, ports: [90-80/TCP]}]
        end         TWO flows: [{from: {}, to: {tenant: b}, action: allow}]
        action      TWO flows: [{from: {tenant: a}, to: {tenant: b}, action: alow}]
        no-action   TWO flows: [{from: {tenant: a}, to: {tenant: b}}]
        who-is-it   TWO flows: [{from: {tenant: tenant-a}, to: {tenant: b}, action: allow}]
        no-zone     TWO flows: [{from: {zone: z}, to: {tenant: b}, action: allow}]
        apart       TWO zones: [{name: z, namespaces: kube-system}]\nflows: [{from: {tenant: a, zone: z}, to: {tenant: b}, action: allow}]
        same        TWO flows: [{from: {tenant: a}, to: {tenant: b}, sameTenant: true, action: allow}]
        address     TWO outside: [{name: o, addresses: [example.com], action: deny}]
        standing    TWO standing: {kubelet: false}
        documents   TWO ---\nkind: Tenants";
    let cases = cases.lines().map(str::trim).filter(|line| !line.is_empty());
    let messages: String = cases.map(|case| refused(&case.replacen("TWO ", a, 1), &manifests)).collect();
    assert_snapshot!(messages);
}

/// Regression: without manifests, a file was valid that named a zone or tenant that it does not have.
#[test]
fn names_in_a_file_are_checked_without_manifests() {
    let tenants = "tenants: [{name: shop, namespaces: [shop]}]\nzones: [{name: edge, namespaces: edge}]\n";
    let rules = [
        (
            "flows: [{from: {zone: egde}, to: {tenant: shop}, action: allow}]",
            "there is no zone `egde`; did you mean edge?",
        ),
        (
            "flows: [{from: {zone: edge}, to: {tenant: shops}, action: allow}]",
            "there is no tenant `shops`; did you mean",
        ),
        (
            "outside: [{name: x, addresses: 203.0.113.1, action: deny, tenants: shops}]",
            "there is no tenant `shops`",
        ),
    ];
    for (index, (rule, expected)) in rules.into_iter().enumerate() {
        let path = file(&format!("tenants/names-{index}.yaml"), format!("{HEAD}{tenants}{rule}\n"));
        let message = run(User::Root, ["tenants", "check", &path]).refusal();
        assert!(message.contains(expected) && message.contains(".yaml:5:"), "{message}");
    }
}

#[test]
fn the_tenants_of_a_file_are_shown() {
    let shown = |example: &str, arguments: &[&str]| {
        let [tenants, manifests] = ["tenants.yaml", "manifests.yaml"].map(|name| {
            file(
                &format!("tenants-{example}/{name}"),
                text(&Path::new(EXAMPLES).join(example).join(name)).content,
            )
        });
        let finished = run(User::Root, [&["tenants", "check", &tenants, &manifests], arguments].concat());
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        finished.stdout
    };
    assert_snapshot!("tenants, guide", shown("guide", &[]));
    assert_snapshot!("tenants, dispatch", shown("dispatch", &[]));
    assert_snapshot!("tenants, json", shown("dispatch", &["-o", "json"]));
}

/// A first file is valid, and its tenants are those of the example.
#[test]
fn a_first_file_fits_the_manifests_that_it_comes_from() {
    for folder in examples() {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let cluster = cluster(&text(&folder.join("manifests.yaml")));
        let content = first_file(&cluster, None).unwrap();
        let tenants = Tenants::read(&Text { name: "first.yaml".into(), content: content.clone() }).unwrap();
        let tenancy = tenants.resolve(&cluster).unwrap();
        assert!(tenancy.tenants().len() > 1, "{name}");
        if name == "guide" {
            assert_snapshot!("first file", content);
            let gaps = cells(&tenancy, &cluster);
            // What the file leaves out: the ingress controller must reach the tenants.
            let gaps = self::gaps(&gaps);
            assert!(!gaps.is_empty() && gaps.iter().all(|cell| cell.what.contains("ingress-shared")));
        }
    }
    let teams = cluster(&text(&Path::new(EXAMPLES).join("teams/manifests.yaml")));
    let content = first_file(&teams, Some("team")).unwrap();
    assert!(
        content.contains("- name: web\n  namespaces: [web-blog, web-shop]\n  ingress: AllowSameTenant\n"),
        "{content}"
    );
    let error = first_file(&teams, Some("owner")).unwrap_err();
    assert_eq!(error.to_string(), "tenants: there is no namespace with the label owner");
}

#[test]
fn managed_namespaces_of_aks_become_tenants() {
    let list = |content: &str| Text { name: "list.json".into(), content: content.to_owned() };
    let namespaces = r#"[
  {"name": "finance", "location": "westeurope", "properties": {
    "defaultNetworkPolicy": {"ingress": "DenyAll", "egress": "AllowSameNamespace"}, "adoptionPolicy": "Never"}},
  {"name": "cluster/123", "properties": {"defaultNetworkPolicy": null, "labels": {"a": "b"}}}
]"#;
    let file = aks(&list(namespaces)).unwrap();
    assert_snapshot!("aks", file);
    Tenants::read(&Text { name: "t.yaml".into(), content: file }).unwrap();
    let bad = ["{}", "[]", "[{\"id\": 1}]", "[{\"name\": \"a\"}]", &namespaces.replace("DenyAll", "Deny")];
    let messages: Vec<_> = bad.iter().map(|text| aks(&list(text)).unwrap_err().to_string()).collect();
    assert_snapshot!("aks, refused", messages.join("\n"));
}

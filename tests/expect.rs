//! `netproof expect`: the matrix as it is printed.

mod addresses;
mod input;
mod services;
mod workloads;

use std::io::Write;
use std::process::Stdio;

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::{
    Finished, User, cluster_policy, command, file, netproof, object, pod, pod_in, policy, service, workload,
};

/// Runs `netproof expect` on a file with these manifests.
fn expect(name: &str, manifests: &str, arguments: &[&str]) -> Finished {
    netproof(&["expect", &file(&format!("expect/{name}"), manifests)], arguments)
}

/// Returns what is printed on standard output.
fn printed(name: &str, manifests: &str, arguments: &[&str]) -> String {
    expect(name, manifests, arguments).exits(0).stdout
}

/// Returns the rows of the matrix.
fn rows(manifests: &str, arguments: &[&str]) -> Vec<Value> {
    // Several tests run at the same time.
    let name = format!("rows-{:x}.yaml", fastrand::u64(..));
    let document = expect(&name, manifests, &[arguments, &["-o", "json"]].concat()).exits(0).json();
    document["pairs"].as_array().unwrap().clone()
}

/// Returns the row between two ends. There is none if everything is denied.
fn row<'a>(rows: &'a [Value], from: &str, to: &str) -> &'a Value {
    rows.iter().find(|row| row["from"] == from && row["to"] == to).unwrap_or(&Value::Null)
}

/// Returns a Deployment whose pods have the label `app`, with its name.
fn deployment(namespace: &str, name: &str) -> String {
    workload("Deployment", &format!("name: {name}, namespace: {namespace}"), "", &format!("app: {name}"))
}

fn namespace(name: &str, labels: &str) -> String {
    object("v1", "Namespace", &format!("name: {name}, labels: {{{labels}}}"), "")
}

const SHOP: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {env: prod}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web, ports: [{name: http, containerPort: 8080}], resources: {limits: {cpu: 1}}}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: db, ports: [{name: sql, containerPort: 5432}]}]}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: backup, namespace: tools}
spec:
  schedule: '@daily'
  jobTemplate: {spec: {template: {metadata: {labels: {app: backup}}, spec: {restartPolicy: Never, containers: [{name: backup, image: backup}]}}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress, Egress]
  ingress:
  - {from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: sql}]}
  - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: tools}}}]
    ports: [{port: 5432, endPort: 5440}, {protocol: UDP}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.128/25]}}], ports: [{port: http}]}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
data: {a: b}
";

#[test]
fn workloads_and_address_ranges() {
    assert_snapshot!("table", printed("shop.yaml", SHOP, &[]));
    assert_snapshot!("json", printed("shop.yaml", SHOP, &["-o", "json"]));
}

#[test]
fn pods_of_workloads_are_numbered() {
    assert_snapshot!("pods", printed("shop.yaml", SHOP, &["--pods"]));
}

#[test]
fn kinds_that_do_not_affect_network_policies_are_counted_and_named() {
    assert_snapshot!("notes", expect("shop.yaml", SHOP, &[]).stderr);
}

#[test]
fn yaml_json_lists_folders_and_standard_input_give_the_same_matrix() {
    let documents: Vec<Value> = SHOP
        .split("---\n")
        .map(|document| {
            let text = netproof::source::Text { name: "shop".into(), content: document.to_owned() };
            to_json(&text.documents().unwrap()[0].node)
        })
        .collect();
    let yaml = printed("shop.yaml", SHOP, &["-o", "json"]);
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": documents }).to_string();
    assert_eq!(printed("list.json", &list, &["-o", "json"]), yaml);

    for (i, document) in documents.iter().enumerate() {
        file(&format!("expect/folder/deep/{i}.json"), document.to_string());
    }
    file("expect/folder/README.md", "not a manifest");
    file("expect/folder/.git/hidden.yaml", "not: [a manifest");
    file("expect/folder/separator.yaml", "--- # nothing\n");
    file("expect/folder/null.yml", "null\n");
    assert_eq!(netproof(&["expect", "expect/folder", "-o", "json"], &[]).exits(0).stdout, yaml);

    let mut command = command(User::Ordinary);
    command.args(["expect", "-", "-o", "json"]).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(SHOP.as_bytes()).unwrap();
    assert_eq!(Finished::from(child.wait_with_output().unwrap()).exits(0).stdout, yaml);
}

fn to_json(node: &netproof::source::Node) -> Value {
    use netproof::source::Value as Source;
    match &node.value {
        Source::Null => Value::Null,
        Source::Bool(value) => (*value).into(),
        Source::Integer(value) => (*value).into(),
        Source::Float(value) => (*value).into(),
        Source::String(text) => text.clone().into(),
        Source::Sequence(items) => items.iter().map(to_json).collect(),
        Source::Mapping(entries) => {
            entries.iter().map(|(key, node)| (key.value.clone(), to_json(node))).collect()
        }
    }
}

/// A flow that the specification does not define is neither allowed nor silently denied.
#[test]
fn undefined_flows_are_shown_with_their_reasons() {
    let egress = "podSelector: {matchLabels: {app: a}}, policyTypes: [Egress], egress: [
        {to: [{ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: 443}]},
        {to: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: 80}]}]";
    let manifests = [
        pod("name: host, namespace: x", "hostNetwork: true", ""),
        pod("name: a, namespace: x, labels: {app: a}", "", ""),
        pod("name: b, namespace: x", "", ""),
        policy("name: a, namespace: x", egress),
    ];
    assert_snapshot!("undefined", printed("undefined.yaml", &manifests.concat(), &[]));
}

/// Regression: with the usual rule against the metadata server of a cloud, `web` could reach `db`, and was shown as
/// denied.
#[test]
fn a_block_with_exceptions_is_undefined_for_pods_without_addresses() {
    let egress = "podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], \
        egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [169.254.169.254/32]}}]}]";
    let manifests = [
        deployment("shop", "web"),
        deployment("shop", "db"),
        namespace("shop", ""),
        policy("name: no-metadata, namespace: shop", egress),
    ]
    .concat();
    assert_snapshot!("hole", printed("hole.yaml", &manifests, &[]));
    let (web, db) = ("shop/web[Deployment]", "shop/db[Deployment]");
    let unknown = rows(&manifests, &[]);
    assert_eq!(row(&unknown, web, db)["undefined"], "all");
    assert_eq!(row(&unknown, web, db)["assumptions"][0], "the addresses of pods are not in the input");
    // The whole range is inside the block, or outside of it, or has parts of both.
    for (ranges, answer) in [
        (&["--pod-cidr", "10.0.0.0/8"][..], Some("connections")),
        (&["--pod-cidr", "169.254.169.254/32"], None),
        (&["--pod-cidr", "fd00::/64"], None),
        (&["--pod-cidr", "10.0.0.0/8", "--pod-cidr", "fd00::/64"], Some("connections")),
        (&["--pod-cidr", "169.254.0.0/16"], Some("undefined")),
    ] {
        let rows = rows(&manifests, ranges);
        let row = row(&rows, web, db);
        let found = ["undefined", "connections"].into_iter().find(|field| row[*field] == "all");
        assert_eq!(found, answer, "{ranges:?}: {row}");
    }
    // The ranges of pods and Services are not outside of the cluster.
    let rows = rows(&manifests, &["--pod-cidr", "10.0.0.0/9", "--service-cidr", "10.128.0.0/9"]);
    assert_eq!(row(&rows, db, "11.0.0.0-255.255.255.255")["connections"], "all");
    expect("hole.yaml", &manifests, &["--pod-cidr", "10.0.0.0"]).exits(2);
}

/// Regression: a namespace that was only mentioned was taken to have no labels, and an allowed pair was shown as
/// isolated.
#[test]
fn a_namespace_that_is_only_mentioned_may_have_any_labels() {
    let ingress = "podSelector: {}, ingress: [
        {from: [{namespaceSelector: {matchLabels: {team: tools}}}], ports: [{port: 80}]},
        {from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: tools}}}], ports: [{port: 443}]}]";
    let manifests = [
        deployment("shop", "web"),
        deployment("tools", "backup"),
        namespace("shop", "team: shop"),
        policy("name: web, namespace: shop", ingress),
    ]
    .concat();
    assert_snapshot!("mentioned", printed("mentioned.yaml", &manifests, &[]));
    let rows = rows(&manifests, &[]);
    let row = row(&rows, "tools/backup[Deployment]", "shop/web[Deployment]");
    assert_eq!(row["connections"]["TCP"][0], "443");
    assert_eq!(row["undefined"]["TCP"][0], "80");
    assert_eq!(row["assumptions"][0], "the labels of namespace tools are not in the input");
}

/// A pod's own node is always allowed. Node ports and load balancers of a Service are allowed as far as every source
/// is.
#[test]
fn own_nodes_and_services_of_nodes_have_rows() {
    let service = |name: &str, fields: &str| {
        let spec = "selector: {app: web}, ports: [{port: 80, targetPort: 8080}, {name: b, port: 81}]";
        service(&format!("name: {name}, namespace: shop"), &format!("{spec}, {fields}"), "")
    };
    let web = "podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress, Egress], \
        ingress: [{ports: [{port: 8080}]}]";
    let no_nodes = "tier: Admin, priority: 0, \
        subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: open}}}}, \
        egress: [{action: Deny, to: [{nodes: {}}], protocols: [{tcp: {destinationPort: {number: 10250}}}]}]";
    let manifests = [
        deployment("shop", "web"),
        deployment("shop", "open"),
        service("inside", "type: ClusterIP"),
        service("outside", "type: NodePort"),
        service("balanced", "type: LoadBalancer"),
        service("local", "type: LoadBalancer, externalTrafficPolicy: Local"),
        namespace("shop", ""),
        policy("name: web, namespace: shop", web),
        cluster_policy("v1alpha2", "ClusterNetworkPolicy", "no-nodes", no_nodes),
    ];
    assert_snapshot!("nodes", printed("nodes.yaml", &manifests.concat(), &[]));
}

/// `docs/expect.md` shows what the program prints.
#[test]
fn the_documentation_shows_what_is_printed() {
    let documentation = include_str!("../docs/expect.md");
    let (_, after) = documentation.split_once("```yaml\n").unwrap();
    let (manifests, mut rest) = after.split_once("```").unwrap();
    file("shop.yaml", manifests);
    let mut commands = 0;
    while let Some((_, after)) = rest.split_once("\n    netproof expect ") {
        let (arguments, after) = after.split_once('\n').unwrap();
        let (shown, after) = after.split_once("```text\n").unwrap().1.split_once("```").unwrap();
        let finished = netproof(&["expect"], &arguments.split(' ').collect::<Vec<_>>()).exits(0);
        assert_eq!(finished.stdout, shown, "netproof expect {arguments}");
        commands += 1;
        rest = after;
    }
    assert_eq!(commands, 2);
}

/// Nobody can allow what an admin denies. The namespace decides what is passed. The baseline decides what the
/// namespace does not mention.
#[test]
fn cluster_scoped_policies_come_before_and_after_those_of_namespaces() {
    let from_front = "podSelector: {}, policyTypes: [Ingress],
        ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: front}}}]}]";
    let no_telnet = "priority: 10, subject: {namespaces: {}}, ingress: [
        {name: telnet, action: Deny, from: [{namespaces: {}}], ports: [{portNumber: {port: 23}}]},
        {action: Pass, from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: front}}}}]},
        {action: Allow, from: [{namespaces: {}}], ports: [{portRange: {protocol: UDP, start: 8000, end: 8999}}]}]";
    let baseline = "subject: {pods: {namespaceSelector: {}, podSelector: {
        matchExpressions: [{key: app, operator: In, values: [back, other]}]}}},
        ingress: [{action: Deny, from: [{namespaces: {}}]}]";
    let no_internet = "tier: Baseline, priority: 0,
        subject: {namespaces: {matchLabels: {kubernetes.io/metadata.name: front}}}, egress: [
        {action: Pass, to: [{namespaces: {}}]},
        {action: Accept, to: [{networks: [203.0.113.0/24]}], protocols: [{tcp: {destinationPort: {number: 443}}}]},
        {action: Deny, to: [{networks: [0.0.0.0/0, '::/0']}]}]";
    let manifests = [
        ["front", "back", "other"].map(|name| pod_in(name, name, "", &[])).concat(),
        policy("name: from-front, namespace: back", from_front),
        cluster_policy("v1alpha1", "AdminNetworkPolicy", "no-telnet", no_telnet),
        cluster_policy("v1alpha1", "BaselineAdminNetworkPolicy", "default", baseline),
        cluster_policy("v1alpha2", "ClusterNetworkPolicy", "no-internet", no_internet),
    ];
    assert_snapshot!(printed("tiers.yaml", &manifests.concat(), &[]));
}

#[test]
fn nothing_allowed_is_an_empty_list() {
    let matrix = expect("nothing.yaml", &namespace("empty", ""), &["-o", "json"]).exits(0).json();
    for field in ["pairs", "warnings", "unmodelled"] {
        assert_eq!(matrix[field], json!([]), "{field}");
    }
}

//! `netproof expect` over manifests as people have them.

use std::io::Write;
use std::process::Stdio;

use insta::assert_snapshot;
use serde_json::Value;

use crate::machine::{Finished, User, command, file, folder, run};

/// What the command prints about a file with these manifests; it has to succeed.
fn expect(name: &str, manifests: &str, arguments: &[&str]) -> String {
    let path = file(&format!("expect/{name}"), manifests);
    succeeded(&run(User::Ordinary, ["expect", path.to_str().unwrap()].iter().chain(arguments)))
}

fn succeeded(finished: &Finished) -> String {
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    finished.stdout.clone()
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
    spec:
      containers:
      - {name: web, image: web, ports: [{name: http, containerPort: 8080}], resources: {limits: {cpu: 1}}}
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
  jobTemplate:
    spec:
      template:
        metadata: {labels: {app: backup}}
        spec: {restartPolicy: Never, containers: [{name: backup, image: backup}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}]
    ports: [{port: sql}]
  - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: tools}}}]
    ports: [{port: 5432, endPort: 5440}, {protocol: UDP}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.128/25]}}]
    ports: [{port: http}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
data: {a: b}
";

#[test]
fn workloads_and_address_ranges() {
    assert_snapshot!("table", expect("shop.yaml", SHOP, &[]));
    assert_snapshot!("json", expect("shop.yaml", SHOP, &["-o", "json"]));
}

#[test]
fn pods_of_workloads_are_numbered() {
    assert_snapshot!("pods", expect("shop.yaml", SHOP, &["--pods"]));
}

#[test]
fn kinds_without_a_part_in_network_policy_are_counted_and_named() {
    let path = file("expect/shop.yaml", SHOP);
    let finished = run(User::Ordinary, ["expect", path.to_str().unwrap()]);
    assert_snapshot!("notes", finished.stderr);
    // Policies of another kind are not skipped in silence either.
    let calico =
        "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: a}\nspec: {tier: x}\n";
    let path = file("expect/calico.yaml", calico);
    let finished = run(User::Ordinary, ["expect", path.to_str().unwrap()]);
    assert!(finished.stderr.contains("NetworkPolicy.projectcalico.org (1)"), "{}", finished.stderr);
}

#[test]
fn yaml_json_lists_folders_and_standard_input_are_one() {
    let documents: Vec<Value> = SHOP
        .split("---\n")
        .map(|document| {
            let text = netproof::source::Text { name: "shop".into(), content: document.to_owned() };
            to_json(&text.documents().unwrap()[0].node)
        })
        .collect();
    let yaml = expect("shop.yaml", SHOP, &["-o", "json"]);
    let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": documents }).to_string();
    assert_eq!(expect("list.json", &list, &["-o", "json"]), yaml);

    for (i, document) in documents.iter().enumerate() {
        file(&format!("expect/folder/deep/{i}.json"), document.to_string());
    }
    file("expect/folder/README.md", "not a manifest");
    file("expect/folder/.hidden.yaml", "not: [a manifest");
    assert_eq!(succeeded(&run(User::Ordinary, ["expect", "expect/folder", "-o", "json"])), yaml);

    let mut child = command(User::Ordinary)
        .args(["expect", "-", "-o", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(SHOP.as_bytes()).unwrap();
    assert_eq!(succeeded(&child.wait_with_output().unwrap().into()), yaml);
    assert!(folder().exists());
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
            entries.iter().map(|(key, node)| (key.name.clone(), to_json(node))).collect()
        }
    }
}

/// A dump of a cluster has the pods beside what made them: each counts once, under its workload.
#[test]
fn pods_of_a_cluster_belong_to_their_workloads() {
    let pod = |name: &str, owner: &str, labels: &str, phase: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: shop\n  labels: {{{labels}}}\n{owner}spec: {{containers: [{{name: c, image: c}}]}}\nstatus: {{phase: {phase}, newField: 1}}\n"
        )
    };
    let owned_by = |kind: &str, name: &str| {
        format!(
            "  ownerReferences: [{{apiVersion: apps/v1, kind: {kind}, name: {name}, uid: u, controller: true}}]\n"
        )
    };
    let manifests = SHOP.to_owned()
        + &pod(
            "web-5d9f-a",
            &owned_by("ReplicaSet", "web-5d9f"),
            "app: web, pod-template-hash: 5d9f",
            "Running",
        )
        + &pod(
            "web-5d9f-b",
            &owned_by("ReplicaSet", "web-5d9f"),
            "app: web, pod-template-hash: 5d9f",
            "Failed",
        )
        + &pod("alone", "", "app: other", "Running")
        + &pod("static", &owned_by("Node", "node-1"), "app: other", "Running")
        + &pod("done", "", "app: web", "Succeeded");
    let names = |arguments: &[&str]| {
        let rows: Vec<Value> = serde_json::from_str(&expect("dump.yaml", &manifests, arguments)).unwrap();
        let names =
            rows.iter().map(|row| row["from"].as_str().unwrap().to_owned()).filter(|name| name.contains('['));
        names.collect::<std::collections::BTreeSet<_>>()
    };
    let expected = ["shop/alone[Pod]", "shop/static[Pod]", "shop/web[Deployment]", "tools/backup[CronJob]"];
    // The database sends nothing, so it has no row of its own.
    assert_eq!(names(&["-o", "json"]).into_iter().collect::<Vec<_>>(), expected);
    assert!(names(&["-o", "json", "--pods"]).contains("shop/web-5d9f-a[Pod]"));
}

/// What the specification leaves open is neither allowed nor silently denied.
#[test]
fn what_is_not_known_is_said() {
    let manifests = "\
apiVersion: v1
kind: Pod
metadata: {name: host, namespace: x}
spec: {hostNetwork: true, containers: [{name: c, image: c}]}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: x, labels: {app: a}}
spec: {containers: [{name: c, image: c}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: x}
spec: {containers: [{name: c, image: c}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: a, namespace: x}
spec:
  podSelector: {matchLabels: {app: a}}
  policyTypes: [Egress]
  egress:
  - {to: [{ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: 443}]}
  - {to: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: 80}]}
";
    assert_snapshot!("undefined", expect("undefined.yaml", manifests, &[]));
}

/// The tiers: what an admin denies nobody can allow, what is passed on the namespace decides, and
/// the baseline holds where it says nothing.
#[test]
fn cluster_scoped_policies_come_before_and_after_those_of_namespaces() {
    let pods = ["front", "back", "other"].map(|name| {
        format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {name}, labels: {{app: {name}}}}}\n---\n")
    });
    let policies = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: from-front, namespace: back}
spec:
  podSelector: {}
  policyTypes: [Ingress]
  ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: front}}}]}]
---
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: {name: no-telnet}
spec:
  priority: 10
  subject: {namespaces: {}}
  ingress:
  - {name: telnet, action: Deny, from: [{namespaces: {}}], ports: [{portNumber: {port: 23}}]}
  - action: Pass
    from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: front}}}}]
  - {action: Allow, from: [{namespaces: {}}], ports: [{portRange: {protocol: UDP, start: 8000, end: 8999}}]}
---
apiVersion: policy.networking.k8s.io/v1alpha1
kind: BaselineAdminNetworkPolicy
metadata: {name: default}
spec:
  subject: {pods: {namespaceSelector: {}, podSelector: {matchExpressions: [{key: app, operator: In, values: [back, other]}]}}}
  ingress: [{action: Deny, from: [{namespaces: {}}]}]
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: no-internet}
spec:
  tier: Baseline
  priority: 0
  subject: {namespaces: {matchLabels: {kubernetes.io/metadata.name: front}}}
  egress:
  - {action: Pass, to: [{namespaces: {}}]}
  - {action: Accept, to: [{networks: [203.0.113.0/24]}], protocols: [{tcp: {destinationPort: {number: 443}}}]}
  - {action: Deny, to: [{networks: [0.0.0.0/0, '::/0']}]}
";
    assert_snapshot!(expect("tiers.yaml", &format!("{}{policies}", pods.concat()), &[]));
}

#[test]
fn nothing_allowed_is_an_empty_list() {
    let manifests = "apiVersion: v1\nkind: Namespace\nmetadata: {name: empty}\n";
    assert_eq!(expect("nothing.yaml", manifests, &["-o", "json"]), "[]\n");
}

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
    file("expect/folder/.git/hidden.yaml", "not: [a manifest");
    file("expect/folder/separator.yaml", "--- # nothing\n");
    file("expect/folder/null.yml", "null\n");
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

/// `kubectl` reads them, so a policy in one is in force.
#[test]
fn files_whose_names_begin_with_a_dot_are_read() {
    file("expect/dots/pods.yaml", pods(&["a", "b"]));
    let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny}\nspec: {podSelector: {}}\n";
    file("expect/dots/.policy.yaml", policy);
    let table = succeeded(&run(User::Ordinary, ["expect", "expect/dots"]));
    assert!(!table.contains("default/a[Pod]  default/b[Pod]"), "{table}");
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
        let matrix: Value = serde_json::from_str(&expect("dump.yaml", &manifests, arguments)).unwrap();
        let rows = matrix["pairs"].as_array().unwrap();
        let names =
            rows.iter().map(|row| row["from"].as_str().unwrap().to_owned()).filter(|name| name.contains('['));
        names.collect::<std::collections::BTreeSet<_>>()
    };
    // The database sends nothing but to its own node.
    let expected = [
        "shop/alone[Pod]",
        "shop/db[StatefulSet]",
        "shop/static[Pod]",
        "shop/web[Deployment]",
        "tools/backup[CronJob]",
    ];
    assert_eq!(names(&["-o", "json"]).into_iter().collect::<Vec<_>>(), expected);
    assert!(names(&["-o", "json", "--pods"]).contains("shop/web-5d9f-a[Pod]"));
}

/// A ReplicaSet whose Deployment is not in the input is all that is known of its pods.
#[test]
fn only_what_is_in_the_input_stands_for_a_template() {
    let owned = |api_version: &str, kind: &str, name: &str| {
        format!(
            "ownerReferences: [{{apiVersion: {api_version}, kind: {kind}, name: {name}, uid: u, controller: true}}]"
        )
    };
    let template = |kind: &str, name: &str, owner: &str| {
        format!(
            "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {name}, {owner}}}\nspec:\n  selector: {{matchLabels: {{app: a}}}}\n  template:\n    metadata: {{labels: {{app: a}}}}\n    spec: {{containers: [{{name: c, image: c}}]}}\n---\n"
        )
    };
    let job = |owner: &str| {
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: night-1, {owner}}}\nspec:\n  template:\n    spec: {{restartPolicy: Never, containers: [{{name: c, image: c}}]}}\n---\n"
        )
    };
    let pod = |name: &str, owner: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, {owner}}}\nspec: {{containers: [{{name: c, image: c}}]}}\n---\n"
        )
    };
    let check = |manifests: &[String], workloads: &[&str]| {
        let text = expect("owners.yaml", &manifests.concat(), &["-o", "json"]);
        let matrix: Value = serde_json::from_str(&text).unwrap();
        let names = matrix["pairs"].as_array().unwrap().iter().map(|row| row["from"].as_str().unwrap());
        let names: std::collections::BTreeSet<_> =
            names.filter_map(|name| name.strip_prefix("default/")).collect();
        assert_eq!(names.into_iter().collect::<Vec<_>>(), workloads);
    };
    let of_web = owned("apps/v1", "Deployment", "web");
    let of_cron_job = owned("batch/v1", "CronJob", "night");
    let (replica_set, job) = (template("ReplicaSet", "web-1", &of_web), job(&of_cron_job));
    check(&[replica_set.clone(), job.clone()], &["night-1[Job]", "web-1[ReplicaSet]"]);
    let deployment = template("Deployment", "web", "");
    check(&[replica_set.clone(), deployment], &["web[Deployment]"]);
    // Live pods stand for all above them.
    let of_replica_set = pod("web-1-x", &owned("apps/v1", "ReplicaSet", "web-1"));
    let of_job = pod("night-1-x", &owned("batch/v1", "Job", "night-1"));
    check(&[replica_set, job, of_replica_set, of_job], &["night[CronJob]", "web[Deployment]"]);
    // Other controllers of the same name, and operators that own what they have installed.
    let set = template("StatefulSet", "db", "");
    let of_other_set = pod("db-x", &owned("apps.kruise.io/v1beta1", "StatefulSet", "db"));
    check(&[set, of_other_set], &["db-x[Pod]", "db[StatefulSet]"]);
    let operator = template("Deployment", "web", "");
    let installed = template("Deployment", "installed", &of_web);
    let helper = pod("helper", &of_web);
    check(&[operator, installed, helper], &["helper[Pod]", "installed[Deployment]", "web[Deployment]"]);
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

/// Parses the rows of a matrix.
pub(crate) fn rows(name: &str, manifests: &str, arguments: &[&str]) -> Vec<Value> {
    let printed = expect(name, manifests, &[arguments, &["-o", "json"]].concat());
    let document: Value = serde_json::from_str(&printed).unwrap();
    document["pairs"].as_array().unwrap().clone()
}

/// The row between two ends.
pub(crate) fn row<'a>(rows: &'a [Value], from: &str, to: &str) -> &'a Value {
    rows.iter().find(|row| row["from"] == from && row["to"] == to).unwrap_or(&Value::Null)
}

/// A Deployment whose pods have the label `app`, with its name.
fn deployment(namespace: &str, name: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec: {{containers: [{{name: c, image: c}}]}}\n---\n"
    )
}

/// The usual rule against the metadata server of a cloud: `web` could reach `db`, and was shown as denied.
#[test]
fn a_block_with_a_hole_says_nothing_about_pods_without_addresses() {
    let manifests = deployment("shop", "web")
        + &deployment("shop", "db")
        + "\
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: no-metadata, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Egress]
  egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [169.254.169.254/32]}}]}]
";
    assert_snapshot!("hole", expect("hole.yaml", &manifests, &[]));
    let (web, db) = ("shop/web[Deployment]", "shop/db[Deployment]");
    let unknown = rows("hole.yaml", &manifests, &[]);
    assert_eq!(row(&unknown, web, db)["undefined"], "all");
    assert_eq!(row(&unknown, web, db)["assumptions"][0], "the addresses of pods are not in the input");
    // The whole range is inside the block, or outside, or has parts of both.
    for (ranges, answer) in [
        (&["--pod-cidr", "10.0.0.0/8"][..], Some("connections")),
        (&["--pod-cidr", "169.254.169.254/32"], None),
        (&["--pod-cidr", "fd00::/64"], None),
        (&["--pod-cidr", "10.0.0.0/8", "--pod-cidr", "fd00::/64"], Some("connections")),
        (&["--pod-cidr", "169.254.0.0/16"], Some("undefined")),
    ] {
        let rows = rows("hole.yaml", &manifests, ranges);
        let row = row(&rows, web, db);
        let found = ["undefined", "connections"].into_iter().find(|field| row[*field] == "all");
        assert_eq!(found, answer, "{ranges:?}: {row}");
    }
    // Ranges of pods and Services are not outside the cluster.
    let rows = rows("hole.yaml", &manifests, &["--pod-cidr", "10.0.0.0/9", "--service-cidr", "10.128.0.0/9"]);
    assert_eq!(row(&rows, db, "11.0.0.0-255.255.255.255")["connections"], "all");
    let path = file("expect/hole.yaml", &manifests);
    let wrong = run(User::Ordinary, ["expect", path.to_str().unwrap(), "--pod-cidr", "10.0.0.0"]);
    assert_eq!(wrong.code, Some(2));
}

/// An address of the input shows that an option is wrong.
#[test]
fn ranges_that_the_input_contradicts_are_refused() {
    let manifests = "\
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: x}
spec: {containers: [{name: c, image: c}]}
status: {podIPs: [{ip: 10.244.1.7}]}
";
    let path = file("expect/contradicted.yaml", manifests);
    let finished = run(User::Ordinary, ["expect", path.to_str().unwrap(), "--pod-cidr", "10.96.0.0/16"]);
    assert_eq!(finished.code, Some(2));
    assert_snapshot!("contradicted", finished.stderr);
}

/// Manifests may not have such a range, and no address was in it.
#[test]
fn an_option_with_an_ipv4_range_in_ipv6_is_refused() {
    let path = file("expect/mapped.yaml", pods(&["a"]));
    let finished =
        run(User::Ordinary, ["expect", path.to_str().unwrap(), "--pod-cidr", "::ffff:10.0.0.0/104"]);
    assert_eq!(finished.code, Some(2));
    assert!(finished.stderr.contains("hides an IPv4 range in IPv6: write it as IPv4"), "{}", finished.stderr);
}

/// Only mentioned, it was taken to have no labels: an allowed pair was shown as isolated.
#[test]
fn a_namespace_that_is_only_mentioned_may_have_any_labels() {
    let manifests = deployment("shop", "web")
        + &deployment("tools", "backup")
        + "\
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: shop}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {}
  ingress:
  - from: [{namespaceSelector: {matchLabels: {team: tools}}}]
    ports: [{port: 80}]
  - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: tools}}}]
    ports: [{port: 443}]
";
    assert_snapshot!("mentioned", expect("mentioned.yaml", &manifests, &[]));
    let rows = rows("mentioned.yaml", &manifests, &[]);
    let row = row(&rows, "tools/backup[Deployment]", "shop/web[Deployment]");
    assert_eq!(row["connections"]["TCP"][0], "443");
    assert_eq!(row["undefined"]["TCP"][0], "80");
    assert_eq!(row["assumptions"][0], "the labels of namespace tools are not in the input");
}

/// Labels that controllers add decide about policies like any others.
#[test]
fn pods_of_templates_have_the_labels_that_controllers_add() {
    let job = |name: &str, spec: &str| {
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}, namespace: x}}\nspec:\n  {spec}template:\n    spec: {{restartPolicy: Never, containers: [{{name: c, image: c}}]}}\n---\n"
        )
    };
    let workload = |kind: &str, spec: &str| {
        format!(
            "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {}, namespace: x}}\nspec:\n  {spec}selector: {{matchLabels: {{app: a}}}}\n  template:\n    metadata: {{labels: {{app: a}}}}\n    spec: {{containers: [{{name: c, image: c}}]}}\n---\n",
            kind.to_lowercase()
        )
    };
    let pods = [
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n---\n".to_owned(),
        "apiVersion: v1\nkind: Pod\nmetadata: {name: target, namespace: x}\nspec: {containers: [{name: c, image: c}]}\n---\n".to_owned(),
        job("load", ""),
        job("indexed", "completionMode: Indexed\n  completions: 3\n  "),
        job("manual", "manualSelector: true\n  selector: {}\n  "),
        "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: cron, namespace: x}\nspec:\n  schedule: '@daily'\n  jobTemplate:\n    spec:\n      template:\n        spec: {restartPolicy: Never, containers: [{name: c, image: c}]}\n---\n".to_owned(),
        workload("Deployment", ""),
        workload("ReplicaSet", ""),
        workload("DaemonSet", ""),
        workload("StatefulSet", "replicas: 2\n  ordinals: {start: 5}\n  serviceName: s\n  "),
    ]
    .concat();
    // Which workloads an ingress rule with this label surely matches, and which perhaps.
    let matched = |label: &str, arguments: &[&str]| -> (Vec<String>, Vec<String>) {
        let policy = format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: x}}\nspec:\n  podSelector: {{matchExpressions: [{{key: app, operator: DoesNotExist}}, {{key: controller-uid, operator: DoesNotExist}}]}}\n  ingress: [{{from: [{{podSelector: {{matchExpressions: [{{{label}}}]}}}}]}}]\n"
        );
        let rows = rows("controllers.yaml", &format!("{pods}{policy}"), arguments);
        let with = |field: &str| {
            let to_target = rows.iter().filter(|row| row["to"] == "x/target[Pod]" && row[field] == "all");
            let from = to_target.map(|row| row["from"].as_str().unwrap().to_owned());
            from.filter(|from| from.contains('[')).collect()
        };
        (with("connections"), with("undefined"))
    };
    let is = |key: &str, value: &str| format!("key: {key}, operator: In, values: ['{value}']");
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for key in ["job-name", "batch.kubernetes.io/job-name"] {
        assert_eq!(matched(&is(key, "load"), &[]), (names(&["x/load[Job]"]), names(&["x/cron[CronJob]"])));
    }
    for key in ["controller-uid", "batch.kubernetes.io/controller-uid"] {
        let jobs = names(&["x/cron[CronJob]", "x/indexed[Job]", "x/load[Job]"]);
        assert_eq!(matched(&format!("key: {key}, operator: Exists"), &[]), (jobs.clone(), names(&[])));
        assert_eq!(matched(&is(key, "0"), &[]), (names(&[]), jobs));
    }
    let index = "batch.kubernetes.io/job-completion-index";
    assert_eq!(matched(&is(index, "0"), &[]), (names(&[]), names(&["x/indexed[Job]"])));
    assert_eq!(
        matched(&is("pod-template-hash", "0"), &[]),
        (names(&[]), names(&["x/deployment[Deployment]"]))
    );
    let revisions = names(&["x/daemonset[DaemonSet]", "x/statefulset[StatefulSet]"]);
    assert_eq!(matched(&is("controller-revision-hash", "0"), &[]), (names(&[]), revisions));
    assert_eq!(
        matched(&is("pod-template-generation", "1"), &[]),
        (names(&[]), names(&["x/daemonset[DaemonSet]"]))
    );
    for label in
        [is("statefulset.kubernetes.io/pod-name", "statefulset-6"), is("apps.kubernetes.io/pod-index", "6")]
    {
        assert_eq!(matched(&label, &[]), (names(&["x/statefulset[StatefulSet]"]), names(&[])));
        assert_eq!(matched(&label, &["--pods"]), (names(&["x/statefulset-6[Pod]"]), names(&[])));
    }
}

/// Pods of a cluster, and what owns them.
fn live(kind: &str, owner: &str, name: &str, labels: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: shop\n  labels: {{{labels}}}\n  ownerReferences: [{{apiVersion: apps/v1, kind: {kind}, name: {owner}, uid: u, controller: true}}]\nspec: {{containers: [{{name: c, image: c}}]}}\nstatus: {{phase: Running, podIPs: [{{ip: 10.244.0.5}}]}}\n---\n"
    )
}

/// A workload `web` of the namespace `shop` with these replicas and these labels of its pods.
fn sized(kind: &str, name: &str, metadata: &str, replicas: u32, labels: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: shop{metadata}}}\nspec:\n  replicas: {replicas}\n  selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{{labels}}}}}\n    spec: {{containers: [{{name: c, image: c}}]}}\n---\n"
    )
}

/// A database of which only pods with this label may be clients.
fn database(label: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: db, namespace: shop, labels: {{app: db}}}}\nspec: {{containers: [{{name: c, image: c}}]}}\n---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: shop}}\nspec:\n  podSelector: {{matchLabels: {{app: db}}}}\n  ingress: [{{from: [{{podSelector: {{matchLabels: {{{label}}}}}}}]}}]\n---\n"
    )
}

/// The pods that may send everything to the database, and the workloads that may.
fn clients(manifests: &[String]) -> (Vec<String>, Vec<String>) {
    // Several tests ask at the same time.
    let name = format!("live-{:x}.yaml", fastrand::u64(..));
    let from = |arguments: &[&str]| {
        let rows = rows(&name, &manifests.concat(), arguments);
        let to_db = rows.iter().filter(|row| row["to"] == "shop/db[Pod]" && row["connections"] == "all");
        let from = to_db.filter_map(|row| row["from"].as_str()?.strip_prefix("shop/").map(str::to_owned));
        from.collect()
    };
    (from(&["--pods"]), from(&[]))
}

/// One live pod of a StatefulSet hid the others: what they may send was denied.
#[test]
fn pods_of_a_stateful_set_that_are_not_in_the_input_are_made() {
    let pod = |number: u32| {
        let labels = format!(
            "app: web, apps.kubernetes.io/pod-index: '{number}', statefulset.kubernetes.io/pod-name: web-{number}, controller-revision-hash: a"
        );
        live("StatefulSet", "web", &format!("web-{number}"), &labels)
    };
    let set = sized("StatefulSet", "web", "", 3, "app: web");
    let index = |number: u32| database(&format!("apps.kubernetes.io/pod-index: '{number}'"));
    let workload = || vec!["web[StatefulSet]".to_owned()];
    assert_eq!(clients(&[set.clone(), pod(0), index(2)]), (vec!["web-2[Pod]".to_owned()], workload()));
    let all = ["web-0[Pod]", "web-1[Pod]", "web-2[Pod]"].map(str::to_owned).to_vec();
    assert_eq!(clients(&[set.clone(), pod(0), database("app: web")]), (all.clone(), workload()));
    assert_eq!(clients(&[set, pod(0), pod(1), pod(2), database("app: web")]), (all, workload()));
    // A pod that was made from an older template does not stand for the next one.
    let renewed = sized("StatefulSet", "web", "", 1, "app: web, role: client");
    assert_eq!(
        clients(&[renewed, pod(0), database("role: client")]),
        (vec!["web-*[Pod]".to_owned()], workload())
    );
}

/// A live pod hid the template of its Deployment: what the next pod may send was denied.
#[test]
fn a_template_that_differs_from_its_live_pods_is_a_pod_too() {
    let pod = live("ReplicaSet", "web-5d4", "web-5d4-a", "app: web, pod-template-hash: 5d4");
    let deployment =
        |replicas, labels: &str| sized("Deployment", "web", "", replicas, &format!("app: web{labels}"));
    let web = || vec!["web[Deployment]".to_owned()];
    let next = || vec!["web-*[Pod]".to_owned()];
    let client = database("role: client");
    assert_eq!(clients(&[deployment(1, ", role: client"), pod.clone(), client.clone()]), (next(), web()));
    assert_eq!(clients(&[deployment(1, ""), pod.clone(), client]), (vec![], vec![]));
    // Where no policy tells them apart, live pods stand for the template as far as there are enough of them.
    let everyone = database("app: web");
    let only = vec!["web-5d4-a[Pod]".to_owned()];
    for labels in ["", ", role: client"] {
        let one = [deployment(1, labels), pod.clone(), everyone.clone()];
        assert_eq!(clients(&one), (only.clone(), web()), "{labels}");
        let two = [deployment(2, labels), pod.clone(), everyone.clone()];
        assert_eq!(clients(&two), ([only.clone(), next()].concat(), web()), "{labels}");
    }
    let hash = database("pod-template-hash: 5d4");
    assert_eq!(clients(&[deployment(1, ""), pod, hash]), (only, web()));
}

/// The ReplicaSet of a Deployment was left out although it still has pods.
#[test]
fn replica_sets_and_jobs_with_pods_belong_to_what_has_made_them() {
    let owned = |kind: &str, name: &str| {
        format!(", ownerReferences: [{{apiVersion: {kind}, name: {name}, uid: u, controller: true}}]")
    };
    let of_web = owned("apps/v1, kind: Deployment", "web");
    let deployment = sized("Deployment", "web", "", 2, "app: web");
    let replica_set = |replicas| sized("ReplicaSet", "web-5d4", &of_web, replicas, "app: web, role: client");
    let web = || vec!["web[Deployment]".to_owned()];
    let made = ["web-5d4-0[Pod]", "web-5d4-1[Pod]"].map(str::to_owned).to_vec();
    let client = database("role: client");
    assert_eq!(clients(&[deployment.clone(), replica_set(2), client.clone()]), (made.clone(), web()));
    assert_eq!(clients(&[deployment.clone(), replica_set(0), client.clone()]), (vec![], vec![]));
    let scaled_down = replica_set(0).replace("\n---", "\nstatus: {replicas: 2}\n---");
    assert_eq!(clients(&[deployment.clone(), scaled_down, client]), (made.clone(), web()));
    // Its pods stand for those of the Deployment where no policy tells them apart.
    assert_eq!(clients(&[deployment, replica_set(2), database("app: web")]), (made, web()));
    let job = |status: &str| {
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: night-1, namespace: shop{}}}\nspec:\n  template:\n    metadata: {{labels: {{role: client}}}}\n    spec: {{restartPolicy: Never, containers: [{{name: c, image: c}}]}}\n{status}---\n",
            owned("batch/v1, kind: CronJob", "night")
        )
    };
    let cron_job = "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: night, namespace: shop}\nspec:\n  schedule: '@daily'\n  jobTemplate:\n    spec:\n      template:\n        spec: {restartPolicy: Never, containers: [{name: c, image: c}]}\n---\n";
    let found = |status: &str| clients(&[cron_job.to_owned(), job(status), database("role: client")]).1;
    assert_eq!(found(""), ["night[CronJob]"]);
    assert!(found("status: {conditions: [{type: Complete, status: 'True'}]}\n").is_empty());
    // The Job of the next night has another name.
    let named = clients(&[cron_job.to_owned(), job(""), database("job-name: night-1")]);
    assert_eq!(named, (vec!["night-1-0[Pod]".to_owned()], vec!["night[CronJob]".to_owned()]));
}

/// The API server copies two labels of its node to a pod. A selector that names them was taken to match no pod.
#[test]
fn labels_of_the_node_may_be_added_to_a_pod_that_has_none_yet() {
    let policy = |requirement: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: shop}}\nspec:\n  podSelector: {{matchLabels: {{app: db}}}}\n  ingress: [{{from: [{{podSelector: {{matchExpressions: [{{{requirement}}}]}}}}]}}]\n---\n"
        )
    };
    let db = "apiVersion: v1\nkind: Pod\nmetadata: {name: db, namespace: shop, labels: {app: db}}\nspec: {containers: [{name: c, image: c}]}\n---\n";
    let web = |labels: &str| {
        let name = "web[Deployment]";
        (sized("Deployment", "web", "", 1, &format!("app: web{labels}")), name)
    };
    let pod = |labels: &str, bound: &str| {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: web, namespace: shop, labels: {{app: web{labels}}}}}\nspec: {{containers: [{{name: c, image: c}}]}}\n{bound}---\n"
        );
        (text, "web[Pod]")
    };
    let bound = "status: {podIPs: [{ip: 10.244.0.5}]}\n";
    let (zone, other) = (", topology.kubernetes.io/zone: a", ", topology.kubernetes.io/zone: b");
    let is_in = "key: topology.kubernetes.io/zone, operator: In, values: [a]";
    let lacks = "key: topology.kubernetes.io/zone, operator: DoesNotExist";
    for (requirement, (web, name), answer) in [
        (is_in, web(""), "undefined"),
        (lacks, web(""), "undefined"),
        (lacks.replace("zone", "region").as_str(), web(""), "undefined"),
        (is_in, web(zone), "undefined"),
        (is_in, web(other), "undefined"),
        (lacks, web(zone), "denied"),
        (is_in, pod("", ""), "undefined"),
        (is_in, pod("", bound), "denied"),
        (is_in, pod(zone, bound), "allowed"),
        (lacks, pod("", bound), "allowed"),
        ("key: topology.kubernetes.io/rack, operator: DoesNotExist", web(""), "allowed"),
    ] {
        let rows = rows("topology.yaml", &format!("{web}{db}{}", policy(requirement)), &[]);
        let row =
            rows.iter().find(|row| row["from"] == format!("shop/{name}") && row["to"] == "shop/db[Pod]");
        let found = match row {
            None => "denied",
            Some(row) if row["connections"] == "all" => "allowed",
            Some(_) => "undefined",
        };
        assert_eq!(found, answer, "{requirement} {web}");
    }
    // Where pods in the input stand for a template, they show what the node adds.
    let live = live("ReplicaSet", "web-1", "web-1-a", &format!("app: web, pod-template-hash: '1'{zone}"));
    let manifests = [web("").0, live, db.to_owned(), policy(is_in)];
    assert_eq!(clients(&manifests).0, ["web-1-a[Pod]"]);
}

/// Only the first of two ports with one name was allowed, and the other one denied for certain.
#[test]
fn the_second_port_of_a_name_is_undefined() {
    let manifests = "\
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec:
  containers:
  - {name: a, image: a, ports: [{name: http, containerPort: 80}]}
  - {name: b, image: a, ports: [{name: http, containerPort: 8080}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: shop}
spec: {podSelector: {}, ingress: [{ports: [{port: http}]}]}
";
    let rows = rows("two-ports.yaml", manifests, &[]);
    let row = row(&rows, "0.0.0.0/0", "shop/web[Pod]");
    assert_eq!((&row["connections"]["TCP"][0], &row["undefined"]["TCP"][0]), (&"80".into(), &"8080".into()));
}

/// A pod that may send to its node reaches another pod there, whatever isolates that.
#[test]
fn host_ports_are_ports_of_nodes_that_are_left_open() {
    let pod = |name: &str, fields: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{{fields}containers: [{{name: a, image: a, ports: [{{containerPort: 80, hostPort: 8080}}]}}]}}\n---\n"
        )
    };
    let to_node = |db: String| {
        let rows = rows("host-port.yaml", &(pods(&["web"]) + &db), &[]);
        row(&rows, "default/web[Pod]", "own node").clone()
    };
    assert_eq!(to_node(pod("db", ""))["undefined"]["TCP"][0], "8080");
    // It has its node's network, and its own rows.
    assert_eq!(to_node(pod("db", "hostNetwork: true, "))["undefined"], Value::Null);
}

/// An address of a Service was a row of its own, as if nothing translated it, and the way through it was denied.
#[test]
fn what_is_sent_to_an_address_of_a_service_may_reach_its_pods() {
    let pod = |name: &str, number: u8| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}}}\nspec: {{containers: [{{name: c, image: c}}]}}\nstatus: {{phase: Running, podIPs: [{{ip: 10.244.0.{number}}}]}}\n---\n"
        )
    };
    let service = |spec: &str, status: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: db, namespace: shop}}\nspec: {{selector: {{app: db}}, ports: [{{port: 80, targetPort: 8080}}]{spec}}}\n{status}---\n"
        )
    };
    let egress = |rule: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: shop}}\nspec: {{podSelector: {{matchLabels: {{app: web}}}}, policyTypes: [Egress], egress: [{rule}]}}\n---\n"
        )
    };
    let isolated = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: q, namespace: shop}\nspec: {podSelector: {matchLabels: {app: db}}}\n---\n";
    let known = service(", clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10]", "");
    let external = service(", clusterIP: 10.97.0.1, externalIPs: [198.51.100.7]", "");
    let balanced = service(
        ", clusterIP: 10.97.0.1, type: LoadBalancer",
        "status: {loadBalancer: {ingress: [{ip: 203.0.113.7}, {hostname: a.example}]}}\n",
    );
    let cidr = &["--service-cidr", "10.96.0.0/12"][..];
    let block = |net: &str| egress(&format!("{{to: [{{ipBlock: {{cidr: {net}}}}}]}}"));
    let on_port = |port: u16| {
        egress(&format!("{{to: [{{ipBlock: {{cidr: 10.96.0.0/12}}}}], ports: [{{port: {port}}}]}}"))
    };
    for (service, policies, arguments, answer) in [
        (&known, block("10.96.0.0/12"), &[][..], "8080"),
        (&known, block("10.96.0.11/32"), &[], ""),
        (&known, on_port(80), &[], "8080"),
        (&known, on_port(8080), &[], "8080"),
        (&known, on_port(443), &[], ""),
        // What the pod itself may not receive stays denied.
        (&known, block("10.96.0.0/12") + isolated, &[], ""),
        (&external, block("198.51.100.0/24"), &[], "8080"),
        (&balanced, block("203.0.113.7/32"), &[], "8080"),
        (&service("", ""), block("10.96.0.0/12"), cidr, "8080"),
        (&service("", ""), block("10.112.0.0/12"), cidr, ""),
        (&service(", clusterIP: None", ""), block("10.96.0.0/12"), cidr, ""),
    ] {
        let manifests = [pod("web", 5), pod("db", 6), service.clone(), policies.clone()].concat();
        let rows = rows("translated.yaml", &manifests, arguments);
        let to_db = rows.iter().find(|row| row["from"] == "shop/web[Pod]" && row["to"] == "shop/db[Pod]");
        let found = to_db.map_or("", |row| row["undefined"]["TCP"][0].as_str().unwrap());
        assert_eq!(found, answer, "{service}{policies}{arguments:?}");
        let named = "network plugins compare an ipBlock with a Service's address, or with its endpoint's";
        assert!(to_db.is_none_or(|row| row["assumptions"] == serde_json::json!([named])), "{to_db:?}");
        // No row is about the address itself.
        let is_address = |row: &&Value| {
            ["10.96.0.10", "198.51.100.7", "203.0.113.7"].iter().any(|address| {
                [format!("{address}/32"), (*address).to_owned()]
                    .contains(&row["to"].as_str().unwrap().to_owned())
            })
        };
        assert!(!rows.iter().any(|row| is_address(&row)), "{service}{policies}");
    }
}

/// As its node, a pod with hostNetwork is no subject of policies, so that whoever may send to its Service reaches it.
#[test]
fn what_is_sent_through_a_service_to_a_pod_with_host_network_may_reach_it() {
    let manifests = "\
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {nodeName: node-1, containers: [{name: c, image: c}]}
status: {phase: Running, podIPs: [{ip: 10.244.0.5}]}
---
apiVersion: v1
kind: Pod
metadata: {name: host, labels: {app: host}}
spec: {nodeName: node-2, hostNetwork: true, containers: [{name: c, image: c}]}
status: {phase: Running, podIPs: [{ip: 172.18.0.3}]}
---
apiVersion: v1
kind: Service
metadata: {name: host}
spec: {selector: {app: host}, clusterIP: 10.96.0.7, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: isolated}
spec: {podSelector: {matchLabels: {app: host}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: CIDR}}]}]}
";
    for (block, undefined) in [("10.96.0.0/12", "8080"), ("10.112.0.0/12", "")] {
        let rows = rows(&format!("host-service-{undefined}.yaml"), &manifests.replace("CIDR", block), &[]);
        let row = row(&rows, "default/web[Pod]", "default/host[Pod]");
        assert_eq!(row["undefined"]["TCP"][0].as_str().unwrap_or_default(), undefined, "{block}: {row}");
    }
}

/// A row of a node's address said that its node ports were allowed, whatever isolates the pods behind them.
#[test]
fn node_ports_are_left_open_at_addresses_of_nodes() {
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: node-1}\nstatus: {addresses: [{type: InternalIP, address: 172.18.0.3}]}\n---\n";
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: db}\nspec: {type: NodePort, selector: {app: db}, ports: [{port: 80, nodePort: 30080}]}\n---\n";
    let policy = |net: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p}}\nspec: {{podSelector: {{}}, policyTypes: [Egress], egress: [{{to: [{{ipBlock: {{cidr: {net}}}}}]}}]}}\n---\n"
        )
    };
    for (net, arguments, answer) in [
        ("172.18.0.3/32", &[][..], Value::from("30080")),
        ("172.18.0.0/24", &[], Value::from("30080")),
        ("172.18.1.0/24", &[], Value::Null),
        ("172.18.1.0/24", &["--node-cidr", "172.18.0.0/16"], Value::from("30080")),
    ] {
        let rows =
            rows("node-ports.yaml", &[&pods(&["web"]), node, service, &policy(net)].concat(), arguments);
        let row = row(&rows, "default/web[Pod]", net);
        assert_eq!(row["undefined"]["TCP"][0], answer, "{net} {arguments:?}");
    }
}

/// Replicas of one workload are a pair, too: a pod of `web` and another one.
#[test]
fn pods_of_one_workload_are_a_pair() {
    let manifests = deployment("shop", "web")
        + "\
apiVersion: v1
kind: Pod
metadata: {name: alone, namespace: shop}
spec: {containers: [{name: c, image: c}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: one, namespace: shop}
spec:
  serviceName: one
  selector: {matchLabels: {app: one}}
  template:
    metadata: {labels: {app: one}}
    spec: {containers: [{name: c, image: c}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: two, namespace: shop}
spec:
  replicas: 2
  serviceName: two
  selector: {matchLabels: {app: two}}
  template:
    metadata: {labels: {app: two}}
    spec: {containers: [{name: c, image: c}]}
";
    let rows = rows("pairs.yaml", &manifests, &[]);
    let paired = rows.iter().filter(|row| row["from"] == row["to"]).map(|row| row["from"].as_str().unwrap());
    assert_eq!(paired.collect::<Vec<_>>(), ["shop/two[StatefulSet]", "shop/web[Deployment]"]);
}

/// With an autoscaler a StatefulSet without `replicas` was taken to have a single pod.
#[test]
fn a_workload_that_an_autoscaler_names_has_several_pods() {
    let set = |replicas: &str| {
        format!(
            "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{name: db, namespace: shop}}\nspec:\n  {replicas}\n  serviceName: db\n  selector: {{matchLabels: {{app: db}}}}\n  template:\n    metadata: {{labels: {{app: db}}}}\n    spec: {{containers: [{{name: c, image: c}}]}}\n---\n"
        )
    };
    let horizontal = |target: &str| {
        format!(
            "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: h, namespace: shop}}\nspec: {{scaleTargetRef: {{{target}}}, maxReplicas: 9}}\n---\n"
        )
    };
    let keda = "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: h, namespace: shop}\nspec: {scaleTargetRef: {kind: StatefulSet, name: db}}\n---\n";
    let db = "shop/db[StatefulSet]";
    let is_paired = |manifests: &str| {
        let rows = rows("scaled.yaml", manifests, &[]);
        rows.iter().any(|row| row["from"] == db && row["to"] == db)
    };
    let (own, foreign) = (
        "apiVersion: apps/v1, kind: StatefulSet, name: db",
        "apiVersion: apps.kruise.io/v1, kind: StatefulSet, name: db",
    );
    for replicas in ["", "replicas: 0", "replicas: 1"] {
        let set = set(replicas);
        assert!(!is_paired(&set), "{replicas}");
        assert!(is_paired(&(set.clone() + &horizontal(own))), "{replicas}");
        assert!(is_paired(&(set.clone() + &horizontal("kind: StatefulSet, name: db"))), "{replicas}");
        assert!(is_paired(&(keda.to_owned() + &set)), "{replicas}");
        for other in [foreign, "kind: StatefulSet, name: other", "kind: Deployment, name: db"] {
            assert!(!is_paired(&(set.clone() + &horizontal(other))), "{replicas} {other}");
        }
    }
    // It is looked at, so that it is not among the kinds that have no part in the answer.
    assert_eq!(told("scaled.yaml", &(set("") + &horizontal(own)), &[]), "");
    let wrong = told("scaled.yaml", &(set("") + &horizontal("kind: StatefulSet, name: [db]")), &[]);
    assert!(
        wrong.contains("expect/scaled.yaml:15:50: HorizontalPodAutoscaler `h`: spec.scaleTargetRef.name: expected a string, found a list"),
        "{wrong}"
    );
}

/// A pod that an autoscaler adds has a number that is not known.
#[test]
fn pods_that_an_autoscaler_adds_have_a_row_and_an_unknown_number() {
    let manifests = pods(&["a"])
        + "\
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 2
  selector: {matchLabels: {app: db}}
  template: {metadata: {labels: {app: db}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: h}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: StatefulSet, name: db}, maxReplicas: 9}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p}
spec: {podSelector: {matchLabels: {apps.kubernetes.io/pod-index: '1'}}}
";
    let rows = rows("scaled-pods.yaml", &manifests, &["--pods"]);
    let to = |to: &str| {
        let row = row(&rows, "default/a[Pod]", to);
        ["connections", "undefined"].map(|field| row[field] == "all")
    };
    assert_eq!(to("default/db-0[Pod]"), [true, false]);
    assert_eq!(to("default/db-1[Pod]"), [false, false]);
    assert_eq!(to("default/db-*[Pod]"), [false, true]);
    assert_eq!(row(&rows, "default/db-*[Pod]", "default/db-*[Pod]")["undefined"], "all");
}

/// What comes from nodes: a pod's own node is always allowed, and a Service's node ports and load balancers are
/// only as far as everybody is.
#[test]
fn own_nodes_and_services_of_nodes_have_rows() {
    let service = |name: &str, fields: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}, {{name: b, port: 81}}], {fields}}}\n---\n"
        )
    };
    let manifests = [
        deployment("shop", "web"),
        deployment("shop", "open"),
        service("inside", "type: ClusterIP"),
        service("outside", "type: NodePort"),
        service("balanced", "type: LoadBalancer"),
        service("local", "type: LoadBalancer, externalTrafficPolicy: Local"),
        "\
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress, Egress]
  ingress: [{ports: [{port: 8080}]}]
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: no-nodes}
spec:
  tier: Admin
  priority: 0
  subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: open}}}}
  egress: [{action: Deny, to: [{nodes: {}}], protocols: [{tcp: {destinationPort: {number: 10250}}}]}]
"
        .to_owned(),
    ]
    .concat();
    assert_snapshot!("nodes", expect("nodes.yaml", &manifests, &[]));
}

#[test]
fn services_lead_to_pods_of_their_own_namespace() {
    let of = |namespace: &str| {
        format!(
            "{}apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: {namespace}}}\nspec: {{type: NodePort, selector: {{app: web}}, ports: [{{port: 80}}]}}\n---\n",
            deployment(namespace, "web")
        )
    };
    let manifests = [of("shop-2"), of("a"), of("shop"), deployment("other", "web")].concat();
    let rows = rows("namespaces.yaml", &manifests, &[]);
    let exposed = rows.iter().filter(|row| row["from"].as_str().unwrap().ends_with("[NodePort]"));
    let ways: Vec<_> =
        exposed.map(|row| ["from", "to"].map(|end| row[end].as_str().unwrap().to_owned())).collect();
    let expected = ["a", "shop-2", "shop"]
        .map(|name| [format!("{name}/web[NodePort]"), format!("{name}/web[Deployment]")]);
    assert_eq!(ways, expected);
}

/// The ranges that nodes have for pods count only where pods have their addresses from there.
#[test]
fn nodes_say_where_addresses_are() {
    let policy = "\
apiVersion: v1
kind: Node
metadata: {name: node-1}
spec: {podCIDRs: [10.244.1.0/24]}
status: {addresses: [{type: InternalIP, address: 172.18.0.2}, {type: Hostname, address: node-1}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: x}
---
apiVersion: v1
kind: Pod
metadata: {name: host, namespace: x}
spec: {hostNetwork: true, nodeName: node-1, containers: [{name: c, image: c}]}
---
apiVersion: v1
kind: Pod
metadata: {name: here, namespace: x}
spec: {nodeName: node-1, containers: [{name: c, image: c}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: out, namespace: x}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Egress]
  egress:
  - {to: [{ipBlock: {cidr: 10.244.0.0/16}}], ports: [{port: 80}]}
  - {to: [{ipBlock: {cidr: 172.18.0.0/16}}], ports: [{port: 443}]}
---
";
    let pod = |address: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: seen, namespace: x}}\nspec: {{nodeName: node-1, containers: [{{name: c, image: c}}]}}\nstatus: {{podIPs: [{{ip: {address}}}]}}\n"
        )
    };
    let with = |pod: &str| {
        let manifests = [deployment("x", "web"), deployment("x", "db"), policy.to_owned(), pod.to_owned()];
        rows("nodes-cidr.yaml", &manifests.concat(), &[])
    };
    let (web, db, here) = ("x/web[Deployment]", "x/db[Deployment]", "x/here[Pod]");
    let from_there = with(&pod("10.244.1.7"));
    assert_eq!(row(&from_there, web, here)["connections"]["TCP"][0], "80");
    assert_eq!(row(&from_there, web, here)["undefined"], Value::Null);
    // A pod without a node may get one that is not in the input.
    assert_eq!(row(&from_there, web, db)["undefined"]["TCP"][0], "80");
    // As of plugins that have ranges of their own.
    let from_elsewhere = with(&pod("10.0.0.7"));
    assert_eq!(row(&from_elsewhere, web, here)["undefined"]["TCP"][0], "80");
    let without_evidence = with("");
    assert_eq!(row(&without_evidence, web, here)["undefined"]["TCP"][0], "80");
    // The address of a pod with hostNetwork is its node's.
    assert_eq!(row(&from_there, web, "x/host[Pod]")["connections"]["TCP"][0], "443");
}

/// What `docs/expect.md` shows is what the program prints.
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
        let finished = run(User::Ordinary, ["expect"].into_iter().chain(arguments.split(' ')));
        assert_eq!(succeeded(&finished), shown, "netproof expect {arguments}");
        commands += 1;
        rest = after;
    }
    assert_eq!(commands, 2);
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
    let matrix: Value = serde_json::from_str(&expect("nothing.yaml", manifests, &["-o", "json"])).unwrap();
    let empty = serde_json::json!([]);
    assert_eq!((&matrix["pairs"], &matrix["warnings"], &matrix["unmodelled"]), (&empty, &empty, &empty));
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: NAME, labels: {app: NAME}}\nspec: {containers: [{name: c, image: c}]}\n---\n";
const DENY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny}\nspec: {podSelector: {}}\n---\n";

fn pods(names: &[&str]) -> String {
    names.iter().map(|name| POD.replace("NAME", name)).collect()
}

/// What goes to standard error.
fn told(name: &str, manifests: &str, arguments: &[&str]) -> String {
    let path = file(&format!("expect/{name}"), manifests);
    let finished = run(User::Ordinary, ["expect", path.to_str().unwrap()].iter().chain(arguments));
    finished.stderr.replace(&format!("{}/", folder().display()), "")
}

#[test]
fn objects_without_a_namespace_are_in_the_one_that_is_given() {
    let elsewhere = "apiVersion: v1\nkind: Pod\nmetadata: {name: c, namespace: other}\n---\n";
    let manifests = pods(&["a", "b"]) + DENY + elsewhere;
    let table = expect("namespace.yaml", &manifests, &["-n", "shop"]);
    assert!(table.contains("shop/a[Pod]") && table.contains("other/c[Pod]"), "{table}");
    assert!(!table.contains("default/"), "{table}");
    // The policy is in the same namespace as its pods.
    assert!(
        !table.lines().any(|line| line.contains("shop/b[Pod]  ") && line.starts_with("shop/a")),
        "{table}"
    );
    assert!(expect("namespace.yaml", &manifests, &[]).contains("default/a[Pod]"));
    let finished = run(User::Ordinary, ["expect", "expect/namespace.yaml", "--namespace", "No Name"]);
    assert_eq!(finished.code, Some(2));
}

#[test]
fn files_without_objects_are_skipped_in_a_folder() {
    file("expect/blank/a.yaml", "# Nothing here.\n---\n\n# nor here\n");
    file("expect/blank/b.json", "\n");
    file("expect/blank/c.yaml", "---\n# a comment\n---\n".to_owned() + &pods(&["a", "b"]));
    let table = succeeded(&run(User::Ordinary, ["expect", "expect/blank"]));
    assert!(table.contains("default/a[Pod]"), "{table}");
}

#[test]
fn an_object_may_be_there_twice_if_both_say_the_same() {
    let same = "kind: Pod\napiVersion: v1\nspec:\n  containers:\n  - {image: c, name: c}\nmetadata: {labels: {app: a}, name: a}\n---\n";
    let table = expect("same.yaml", &(pods(&["a", "b"]) + same), &["-o", "json"]);
    assert_eq!(table, expect("same.yaml", &pods(&["a", "b"]), &["-o", "json"]));
}

#[test]
fn jobs_and_pods_may_leave_their_name_to_the_api_server() {
    let job = "apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: migrate-}\nspec:\n  template:\n    spec: {restartPolicy: Never, containers: [{name: c, image: c}]}\n---\n";
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {generateName: shell-}\n---\n";
    let table = expect("generated.yaml", &[job, pod, job, pod, pod].concat(), &[]);
    for name in ["migrate-xxxxx[Job]", "migrate-xxxxx-2[Job]", "shell-xxxxx[Pod]", "shell-xxxxx-3[Pod]"] {
        assert!(table.contains(&format!("default/{name}")), "{name}: {table}");
    }
}

/// A newer API server has fields that this version does not know; a user's file has only misspelt ones.
#[test]
fn unknown_fields_are_tolerated_in_a_dump_and_refused_in_a_file() {
    let pod = |metadata: &str| {
        format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: a{metadata}}}\nspec: {{newField: 1}}\n---\n")
    };
    let manifests = pods(&["x"]) + &pod(LIVE) + &pod(LIVE).replace("name: a", "name: b");
    assert_snapshot!(told("live.yaml", &manifests, &[]), @"warning: expect/live.yaml:9:8: Pod: unknown field `spec.newField`: a newer server has written it, and netproof does not know what it means, and in 1 more object");
    let matrix: Value = serde_json::from_str(&expect("live.yaml", &manifests, &["-o", "json"])).unwrap();
    assert_eq!(matrix["warnings"].as_array().unwrap().len(), 1);
    let path = file("expect/written.yaml", pod(""));
    let finished = run(User::Ordinary, ["expect", path.to_str().unwrap()]);
    assert_eq!(finished.code, Some(2));
    assert!(finished.stderr.contains("unknown field `spec.newField`"), "{}", finished.stderr);
}

/// What only a server writes.
const LIVE: &str = ", uid: u, resourceVersion: '1', creationTimestamp: '2026-01-01T00:00:00Z'";

/// Without the field, the policy may select or allow everything.
#[test]
fn a_policy_of_a_dump_with_an_unknown_field_is_refused_or_not_modelled() {
    let policies = |field: &str| {
        let policy = format!(
            "kind: NetworkPolicy\nmetadata: {{name: a{LIVE}}}\nspec: {{podSelector: {{}}, {field}}}\n---\n"
        );
        let policy = format!("apiVersion: networking.k8s.io/v1\n{policy}");
        let admin = format!(
            "kind: AdminNetworkPolicy\nmetadata: {{name: a{LIVE}}}\nspec: {{priority: 1, subject: {{namespaces: {{}}}}, {field}}}\n"
        );
        let admin = format!("apiVersion: policy.networking.k8s.io/v1alpha1\n{admin}");
        pods(&["x"]) + &policy + &policy.replace("name: a", "name: b") + &admin
    };
    let path = file("expect/new-field.yaml", policies("newField: 1"));
    let expect =
        |arguments: &[&str]| run(User::Ordinary, ["expect", path.to_str().unwrap()].iter().chain(arguments));
    let finished = expect(&[]);
    assert_eq!(finished.code, Some(3));
    assert_eq!(finished.stderr, "");
    let told: Vec<_> = finished.stdout.lines().filter(|line| line.starts_with("not modelled")).collect();
    let told = told.join("\n").replace(&format!("{}/", folder().display()), "");
    assert_snapshot!(told, @"
    not modelled: AdminNetworkPolicy.policy.networking.k8s.io (1): netproof does not know what a newer server means by `spec.newField` (expect/new-field.yaml:19:48); --accept-unmodelled AdminNetworkPolicy.policy.networking.k8s.io accepts that
    not modelled: NetworkPolicy.networking.k8s.io (2): netproof does not know what a newer server means by `spec.newField` (expect/new-field.yaml:9:25); --accept-unmodelled NetworkPolicy.networking.k8s.io accepts that
    ");
    assert_eq!(expect(&["--accept-unmodelled", "NetworkPolicy,AdminNetworkPolicy"]).code, Some(0));

    let refused = |field: &str| {
        let path = file("expect/misspelt.yaml", policies(field));
        let finished = run(User::Ordinary, ["expect", path.to_str().unwrap()]);
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""));
        finished.stderr.replace(&format!("{}/", folder().display()), "")
    };
    assert_snapshot!(refused("ingress: [{form: []}]"), @"error: expect/misspelt.yaml:9:36: NetworkPolicy `a`: unknown field `spec.ingress.form`: did you mean from?");
    assert_snapshot!(refused("Egress: []"), @"error: expect/misspelt.yaml:9:25: NetworkPolicy `a`: unknown field `spec.Egress`: did you mean egress?");
    let selector = policies("ingress: []").replace("namespaces: {}", "namespaces: {matchLabel: {a: b}}");
    let path = file("expect/subject.yaml", selector);
    let finished = run(User::Ordinary, ["expect", path.to_str().unwrap()]);
    let message = finished.stderr.replace(&format!("{}/", folder().display()), "");
    assert_snapshot!(message, @"error: expect/subject.yaml:19:44: AdminNetworkPolicy `a`: unknown field `spec.subject.namespaces.matchLabel`: did you mean matchLabels?");
}

#[test]
fn policies_that_select_nothing_and_rules_that_are_empty_by_accident_are_warned_of() {
    let manifests = pods(&["carts", "front-end"])
        + "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: cart-access}
spec:
  podSelector: {matchLabels: {app: cart}}
  ingress:
  - from:
    - podSelector: {matchLabels: {app: frontend}}
  - from:
    ports: []
  - from:
    - namespaceSelector: {}
      podSelector:
";
    assert_snapshot!(told("nothing-selected.yaml", &manifests, &[]), @"
    warning: expect/nothing-selected.yaml:19:5: NetworkPolicy default/cart-access: spec.ingress[1].from is empty: the rule allows every source, as if the field were left out
    warning: expect/nothing-selected.yaml:20:5: NetworkPolicy default/cart-access: spec.ingress[1].ports is empty: the rule allows every port, as if the field were left out
    warning: expect/nothing-selected.yaml:23:7: NetworkPolicy default/cart-access: spec.ingress[2].from[0].podSelector has no value: it counts as left out
    warning: NetworkPolicy default/cart-access selects no pod (app=cart); did you mean app=carts?
    warning: NetworkPolicy default/cart-access: spec.ingress[0].from[0] selects no pod (app=frontend); did you mean app=front-end?
    ");
}

#[test]
fn a_spec_that_is_empty_and_fields_of_cluster_scoped_policies_are_warned_of() {
    let manifests = pods(&["carts"])
        + "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: nothing}
spec:
---
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: {name: for-all}
spec:
  priority: 1
  subject: {namespaces: {matchLabels: }}
  ingress: [{action: Allow, from: [{namespaces: {}}], ports: }]
";
    assert_snapshot!(told("empty-fields.yaml", &manifests, &[]), @"
    warning: expect/empty-fields.yaml:9:5: NetworkPolicy default/nothing: spec is empty: it selects every pod of the namespace and lets nothing in
    warning: expect/empty-fields.yaml:16:26: AdminNetworkPolicy for-all: spec.subject.namespaces.matchLabels has no value: it asks for no label
    warning: expect/empty-fields.yaml:17:55: AdminNetworkPolicy for-all: spec.ingress[0].ports is empty: the rule allows every port, as if the field were left out
    ");
}

#[test]
fn policies_without_pods_give_a_message_and_no_table() {
    let path = file("expect/policies.yaml", DENY);
    let finished = run(User::Ordinary, ["expect", path.to_str().unwrap()]);
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""));
    assert_snapshot!(finished.stderr, @"error: there are policies and no pods, so nothing can be said: add the manifests of the workloads, or pipe a dump of the cluster (kubectl get ns,nodes,pods,svc,netpol,deploy -A -o json | netproof expect -)");
}

/// Everything in one file that kubectl reads and a stricter reader would refuse.
#[test]
fn what_kubectl_reads_is_read() {
    let manifests = "\
apiVersion: v1
kind: Pod
metadata:
  name: a
  annotations:
    text: \"a text over
several lines\"
spec: {
\tcontainers: [
\t\t{name: c, image: c},
\t],
}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {1: one, 2.5: two, yes: three}
binaryData: {key: !!binary aGVsbG8=}
---
apiVersion: example.com/v1
kind: Custom
metadata: {name: c}
spec: {8080: !local x}
---
";
    let path = file("expect/kubectl.yaml", manifests.to_owned() + &pods(&["b"]));
    let json = file(
        "expect/stream.json",
        "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"c\"}}\n{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"Pod\",\n\t\"metadata\": {\"name\": \"d\"}\n}\n",
    );
    let table = succeeded(&run(User::Ordinary, ["expect", path.to_str().unwrap(), json.to_str().unwrap()]));
    for name in ["a", "b", "c", "d"] {
        assert!(table.contains(&format!("default/{name}[Pod]")), "{table}");
    }
}

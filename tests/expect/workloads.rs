//! Pods and the workloads that create them: which pods the matrix has, and with which labels.

use std::collections::BTreeSet;

use super::{deployment, expect, namespace, printed, row, rows};
use crate::support::{object, pod, pods, policy, workload};

const JOB_POD: &str = "spec: {restartPolicy: Never, containers: [{name: c, image: c}]}";

/// Returns a Job. `spec` ends with a comma, and `status` is a whole line; both can be empty.
fn job(metadata: &str, spec: &str, labels: &str, status: &str) -> String {
    let template = format!("{{metadata: {{labels: {{{labels}}}}}, {JOB_POD}}}");
    object("batch/v1", "Job", metadata, &format!("spec: {{{spec}template: {template}}}\n{status}"))
}

fn cron_job(metadata: &str) -> String {
    let template = format!("jobTemplate: {{spec: {{template: {{{JOB_POD}}}}}}}");
    object("batch/v1", "CronJob", metadata, &format!("spec: {{schedule: '@daily', {template}}}\n"))
}

fn owned_by(api_version: &str, kind: &str, name: &str) -> String {
    let owner = format!("apiVersion: {api_version}, kind: {kind}, name: {name}, uid: u, controller: true");
    format!("ownerReferences: [{{{owner}}}]")
}

/// Returns the pods and workloads that send in some row.
fn senders(manifests: &str, arguments: &[&str]) -> Vec<String> {
    let rows = rows(manifests, arguments);
    let names = rows.iter().map(|row| row["from"].as_str().unwrap()).filter(|name| name.contains('['));
    names.collect::<BTreeSet<_>>().into_iter().map(str::to_owned).collect()
}

/// A dump of a cluster has pods and the workloads that created them. Each pod counts once, under its workload.
#[test]
fn pods_of_a_cluster_belong_to_their_workloads() {
    let pod = |name: &str, owner: &str, labels: &str, phase: &str| {
        let metadata = format!("name: {name}, namespace: shop, labels: {{{labels}}}, {owner}");
        pod(&metadata, "", &format!("phase: {phase}, newField: 1"))
    };
    let web = owned_by("apps/v1", "ReplicaSet", "web-5d9f");
    let manifests = [
        super::SHOP.to_owned() + "---\n",
        pod("web-5d9f-a", &web, "app: web, pod-template-hash: 5d9f", "Running"),
        pod("web-5d9f-b", &web, "app: web, pod-template-hash: 5d9f", "Failed"),
        pod("alone", "", "app: other", "Running"),
        pod("static", &owned_by("apps/v1", "Node", "node-1"), "app: other", "Running"),
        pod("done", "", "app: web", "Succeeded"),
    ]
    .concat();
    let expected = [
        "shop/alone[Pod]",
        "shop/db[StatefulSet]",
        "shop/static[Pod]",
        "shop/web[Deployment]",
        "tools/backup[CronJob]",
    ];
    assert_eq!(senders(&manifests, &[]), expected);
    assert!(senders(&manifests, &["--pods"]).contains(&"shop/web-5d9f-a[Pod]".to_owned()));
}

/// If the Deployment of a ReplicaSet is not in the input, the ReplicaSet has the row.
#[test]
fn only_what_is_in_the_input_stands_for_a_template() {
    let template =
        |kind: &str, name: &str, owner: &str| workload(kind, &format!("name: {name}, {owner}"), "", "app: a");
    let pod = |name: &str, owner: &str| pod(&format!("name: {name}, {owner}"), "", "");
    let of_web = owned_by("apps/v1", "Deployment", "web");
    let replica_set = template("ReplicaSet", "web-1", &of_web);
    let job = job(&format!("name: night-1, {}", owned_by("batch/v1", "CronJob", "night")), "", "", "");
    let web = template("Deployment", "web", "");
    for (manifests, workloads) in [
        ([&replica_set, &job].map(String::clone).to_vec(), &["night-1[Job]", "web-1[ReplicaSet]"][..]),
        (vec![replica_set.clone(), web.clone()], &["web[Deployment]"]),
        // Live pods stand for all that own them.
        (
            vec![
                replica_set,
                job.clone(),
                pod("web-1-x", &owned_by("apps/v1", "ReplicaSet", "web-1")),
                pod("night-1-x", &owned_by("batch/v1", "Job", "night-1")),
            ],
            &["night[CronJob]", "web[Deployment]"],
        ),
        // A controller of another API with the same kind and name.
        (
            vec![
                template("StatefulSet", "db", ""),
                pod("db-x", &owned_by("apps.kruise.io/v1beta1", "StatefulSet", "db")),
            ],
            &["db-x[Pod]", "db[StatefulSet]"],
        ),
        // An operator owns what it has installed.
        (
            vec![web, template("Deployment", "installed", &of_web), pod("helper", &of_web)],
            &["helper[Pod]", "installed[Deployment]", "web[Deployment]"],
        ),
    ] {
        let expected: Vec<_> = workloads.iter().map(|name| format!("default/{name}")).collect();
        assert_eq!(senders(&manifests.concat(), &[]), expected);
    }
}

/// Policies can select pods by the labels that controllers add.
#[test]
fn pods_of_templates_have_the_labels_that_controllers_add() {
    let job = |name: &str, spec: &str| job(&format!("name: {name}, namespace: x"), spec, "", "");
    let workload = |kind: &str, spec: &str| {
        workload(kind, &format!("name: {}, namespace: x", kind.to_lowercase()), spec, "app: a")
    };
    let pods = [
        namespace("x", ""),
        pod("name: target, namespace: x", "", ""),
        job("load", ""),
        job("indexed", "completionMode: Indexed, completions: 3, "),
        job("manual", "manualSelector: true, selector: {}, "),
        cron_job("name: cron, namespace: x"),
        workload("Deployment", ""),
        workload("ReplicaSet", ""),
        workload("DaemonSet", ""),
        workload("StatefulSet", "replicas: 2, ordinals: {start: 5}, serviceName: s"),
    ]
    .concat();
    // The workloads that an ingress rule with this requirement certainly matches, and those that it perhaps matches.
    let matched = |requirement: &str, arguments: &[&str]| -> [Vec<String>; 2] {
        let no_controller = "matchExpressions: [{key: app, operator: DoesNotExist}, {key: controller-uid, operator: DoesNotExist}]";
        let from = format!("[{{podSelector: {{matchExpressions: [{{{requirement}}}]}}}}]");
        let spec = format!("podSelector: {{{no_controller}}}, ingress: [{{from: {from}}}]");
        let rows = rows(&(pods.clone() + &policy("name: p, namespace: x", &spec)), arguments);
        ["connections", "undefined"].map(|field| {
            let to_target = rows.iter().filter(|row| row["to"] == "x/target[Pod]" && row[field] == "all");
            let from = to_target.filter_map(|row| row["from"].as_str()?.strip_prefix("x/"));
            from.map(str::to_owned).collect()
        })
    };
    let is = |key: &str, value: &str| format!("key: {key}, operator: In, values: ['{value}']");
    let exists = |key: &str| format!("key: {key}, operator: Exists");
    let jobs = &["cron[CronJob]", "indexed[Job]", "load[Job]"][..];
    let (set, first) = (&["statefulset[StatefulSet]"][..], &["statefulset-6[Pod]"][..]);
    let (set_name, pod_index) = ("statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index");
    for (requirement, arguments, certain, perhaps) in [
        (is("job-name", "load"), &[][..], &["load[Job]"][..], &["cron[CronJob]"][..]),
        (is("batch.kubernetes.io/job-name", "load"), &[], &["load[Job]"], &["cron[CronJob]"]),
        (exists("controller-uid"), &[], jobs, &[]),
        (exists("batch.kubernetes.io/controller-uid"), &[], jobs, &[]),
        (is("controller-uid", "0"), &[], &[], jobs),
        (is("batch.kubernetes.io/controller-uid", "0"), &[], &[], jobs),
        (is("batch.kubernetes.io/job-completion-index", "0"), &[], &[], &["indexed[Job]"]),
        (is("pod-template-hash", "0"), &[], &[], &["deployment[Deployment]"]),
        (is("controller-revision-hash", "0"), &[], &[], &["daemonset[DaemonSet]", set[0]]),
        (is("pod-template-generation", "1"), &[], &[], &["daemonset[DaemonSet]"]),
        (is(set_name, "statefulset-6"), &[], set, &[]),
        (is(set_name, "statefulset-6"), &["--pods"], first, &[]),
        (is(pod_index, "6"), &[], set, &[]),
        (is(pod_index, "6"), &["--pods"], first, &[]),
    ] {
        assert_eq!(matched(&requirement, arguments), [certain, perhaps], "{requirement} {arguments:?}");
    }
}

/// Returns a running pod of the namespace `shop`, and its owner.
fn live(kind: &str, owner: &str, name: &str, labels: &str) -> String {
    let owner = owned_by("apps/v1", kind, owner);
    let metadata = format!("name: {name}, namespace: shop, labels: {{{labels}}}, {owner}");
    pod(&metadata, "", "phase: Running, podIPs: [{ip: 10.244.0.5}]")
}

/// Returns a workload of the namespace `shop` with these replicas, whose pods have these labels.
fn sized(kind: &str, name: &str, metadata: &str, replicas: u32, labels: &str) -> String {
    let metadata = format!("name: {name}, namespace: shop, {metadata}");
    workload(kind, &metadata, &format!("replicas: {replicas}"), labels)
}

/// Returns the pod of a database and the policy that admits only pods that this selector matches.
fn database(selector: &str) -> String {
    let from = format!("[{{podSelector: {{{selector}}}}}]");
    let spec = format!("podSelector: {{matchLabels: {{app: db}}}}, ingress: [{{from: {from}}}]");
    pod("name: db, namespace: shop, labels: {app: db}", "", "") + &policy("name: p, namespace: shop", &spec)
}

/// Returns a database that admits only pods with this label.
fn database_for(label: &str) -> String {
    database(&format!("matchLabels: {{{label}}}"))
}

/// Checks which pods can send everything to the database, and which workloads can.
#[track_caller]
fn check_clients(manifests: &[&str], pods: &[&str], workloads: &[&str]) {
    for (arguments, expected) in [(&["--pods"][..], pods), (&[], workloads)] {
        let rows = rows(&manifests.concat(), arguments);
        let to_db = rows.iter().filter(|row| row["to"] == "shop/db[Pod]" && row["connections"] == "all");
        let from: Vec<_> = to_db.filter_map(|row| row["from"].as_str()?.strip_prefix("shop/")).collect();
        assert_eq!(from, expected, "{arguments:?} {manifests:?}");
    }
}

/// Regression: one live pod of a StatefulSet hid the others, and what they may send was denied.
#[test]
fn pods_of_a_stateful_set_that_are_not_in_the_input_are_added() {
    let pod = |index: u32| {
        let name = format!("web-{index}");
        let own =
            format!("apps.kubernetes.io/pod-index: '{index}', statefulset.kubernetes.io/pod-name: {name}");
        live("StatefulSet", "web", &name, &format!("app: web, {own}, controller-revision-hash: a"))
    };
    let set = sized("StatefulSet", "web", "", 3, "app: web");
    let (second, web) = (database_for("apps.kubernetes.io/pod-index: '2'"), database_for("app: web"));
    let (workload, all) = (&["web[StatefulSet]"], &["web-0[Pod]", "web-1[Pod]", "web-2[Pod]"]);
    check_clients(&[&set, &pod(0), &second], &["web-2[Pod]"], workload);
    check_clients(&[&set, &pod(0), &web], all, workload);
    check_clients(&[&set, &pod(0), &pod(1), &pod(2), &web], all, workload);
    // A pod that was created from an older template does not stand for the next one.
    let renewed = sized("StatefulSet", "web", "", 1, "app: web, role: client");
    check_clients(&[&renewed, &pod(0), &database_for("role: client")], &["web-*[Pod]"], workload);
}

/// Regression: a live pod hid the template of its Deployment, and what the next pod may send was denied.
#[test]
fn a_template_that_differs_from_its_live_pods_is_a_pod_too() {
    let pod = &live("ReplicaSet", "web-5d4", "web-5d4-a", "app: web, pod-template-hash: 5d4");
    let deployment =
        |replicas, labels: &str| sized("Deployment", "web", "", replicas, &format!("app: web{labels}"));
    let (web, client) = (&["web[Deployment]"], database_for("role: client"));
    check_clients(&[&deployment(1, ", role: client"), pod, &client], &["web-*[Pod]"], web);
    check_clients(&[&deployment(1, ""), pod, &client], &[], &[]);
    // If no policy tells them apart, live pods stand for the template, as far as there are enough of them.
    let everyone = database_for("app: web");
    for labels in ["", ", role: client"] {
        check_clients(&[&deployment(1, labels), pod, &everyone], &["web-5d4-a[Pod]"], web);
        check_clients(&[&deployment(2, labels), pod, &everyone], &["web-5d4-a[Pod]", "web-*[Pod]"], web);
    }
    let hash = database_for("pod-template-hash: 5d4");
    check_clients(&[&deployment(1, ""), pod, &hash], &["web-5d4-a[Pod]"], web);
}

/// Regression: the ReplicaSet of a Deployment was left out, although it still had pods.
#[test]
fn replica_sets_and_jobs_with_pods_belong_to_their_owners() {
    let of_web = owned_by("apps/v1", "Deployment", "web");
    let deployment = sized("Deployment", "web", "", 2, "app: web");
    let replica_set = |replicas| sized("ReplicaSet", "web-5d4", &of_web, replicas, "app: web, role: client");
    let (web, created) = (&["web[Deployment]"], &["web-5d4-0[Pod]", "web-5d4-1[Pod]"]);
    let client = database_for("role: client");
    check_clients(&[&deployment, &replica_set(2), &client], created, web);
    check_clients(&[&deployment, &replica_set(0), &client], &[], &[]);
    let scaled_down = replica_set(0).replace("\n---", "\nstatus: {replicas: 2}\n---");
    check_clients(&[&deployment, &scaled_down, &client], created, web);
    // Its pods stand for those of the Deployment if no policy tells them apart.
    check_clients(&[&deployment, &replica_set(2), &database_for("app: web")], created, web);

    let cron = cron_job("name: night, namespace: shop");
    let metadata = format!("name: night-1, namespace: shop, {}", owned_by("batch/v1", "CronJob", "night"));
    let job = |status: &str| job(&metadata, "", "role: client", status);
    let completed = job("status: {conditions: [{type: Complete, status: 'True'}]}\n");
    check_clients(&[&cron, &job(""), &client], &["night-1-0[Pod]"], &["night[CronJob]"]);
    check_clients(&[&cron, &completed, &client], &[], &[]);
    // The Job of the next night has another name.
    check_clients(
        &[&cron, &job(""), &database_for("job-name: night-1")],
        &["night-1-0[Pod]"],
        &["night[CronJob]"],
    );
}

/// Regression: the API server copies two labels of its node to a pod. A selector that names them was taken to match
/// no pod.
#[test]
fn labels_of_the_node_may_be_added_to_a_pod_that_has_none_yet() {
    let database = |requirement: &str| database(&format!("matchExpressions: [{{{requirement}}}]"));
    let web = |labels: &str| sized("Deployment", "web", "", 1, &format!("app: web{labels}"));
    let pod = |labels: &str, status: &str| {
        pod(&format!("name: web, namespace: shop, labels: {{app: web{labels}}}"), "", status)
    };
    let bound = "podIPs: [{ip: 10.244.0.5}]";
    let (zone, other) = (", topology.kubernetes.io/zone: a", ", topology.kubernetes.io/zone: b");
    let is_in = "key: topology.kubernetes.io/zone, operator: In, values: [a]";
    let lacks = "key: topology.kubernetes.io/zone, operator: DoesNotExist";
    for (requirement, web, answer) in [
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
        let rows = rows(&(web.clone() + &database(requirement)), &[]);
        let from_web = |row: &&serde_json::Value| {
            row["from"].as_str().unwrap().starts_with("shop/web[") && row["to"] == "shop/db[Pod]"
        };
        let found = match rows.iter().find(from_web) {
            None => "denied",
            Some(row) if row["connections"] == "all" => "allowed",
            Some(_) => "undefined",
        };
        assert_eq!(found, answer, "{requirement} {web}");
    }
    // If pods of the input stand for a template, they show what the node adds.
    let live = live("ReplicaSet", "web-1", "web-1-a", &format!("app: web, pod-template-hash: '1'{zone}"));
    check_clients(&[&web(""), &live, &database(is_in)], &["web-1-a[Pod]"], &["web[Deployment]"]);
}

/// Replicas of one workload are a pair, too: a pod of `web` and another pod of `web`.
#[test]
fn pods_of_one_workload_are_a_pair() {
    let set = |name: &str, spec: &str| {
        let metadata = format!("name: {name}, namespace: shop");
        workload("StatefulSet", &metadata, &format!("{spec}serviceName: {name}"), &format!("app: {name}"))
    };
    let alone = pod("name: alone, namespace: shop", "", "");
    let manifests = [deployment("shop", "web"), alone, set("one", ""), set("two", "replicas: 2, ")].concat();
    let rows = rows(&manifests, &[]);
    let paired = rows.iter().filter(|row| row["from"] == row["to"]).map(|row| row["from"].as_str().unwrap());
    assert_eq!(paired.collect::<Vec<_>>(), ["shop/two[StatefulSet]", "shop/web[Deployment]"]);
}

fn autoscaler(namespace: &str, target: &str) -> String {
    let spec = format!("spec: {{scaleTargetRef: {{{target}}}, maxReplicas: 9}}\n");
    object("autoscaling/v2", "HorizontalPodAutoscaler", &format!("name: h, namespace: {namespace}"), &spec)
}

/// Regression: a StatefulSet without `replicas` was taken to have a single pod, although it has an autoscaler.
#[test]
fn a_workload_that_an_autoscaler_names_has_several_pods() {
    let set = |replicas: &str| {
        let metadata = "name: db, namespace: shop";
        workload("StatefulSet", metadata, &format!("{replicas}serviceName: db"), "app: db")
    };
    let horizontal = |target: &str| autoscaler("shop", target);
    let keda = object(
        "keda.sh/v1alpha1",
        "ScaledObject",
        "name: h, namespace: shop",
        "spec: {scaleTargetRef: {kind: StatefulSet, name: db}}\n",
    );
    let db = "shop/db[StatefulSet]";
    let is_paired = |manifests: &str| !row(&rows(manifests, &[]), db, db).is_null();
    let own = "apiVersion: apps/v1, kind: StatefulSet, name: db";
    for replicas in ["", "replicas: 0, ", "replicas: 1, "] {
        let set = set(replicas);
        assert!(!is_paired(&set), "{replicas}");
        assert!(is_paired(&(set.clone() + &horizontal(own))), "{replicas}");
        assert!(is_paired(&(set.clone() + &horizontal("kind: StatefulSet, name: db"))), "{replicas}");
        assert!(is_paired(&(keda.clone() + &set)), "{replicas}");
        for other in [
            "apiVersion: apps.kruise.io/v1, kind: StatefulSet, name: db",
            "kind: StatefulSet, name: other",
            "kind: Deployment, name: db",
        ] {
            assert!(!is_paired(&(set.clone() + &horizontal(other))), "{replicas} {other}");
        }
    }
    // Autoscalers are read, so they are not among the kinds that have no part in the answer.
    assert_eq!(expect("scaled.yaml", &(set("") + &horizontal(own)), &[]).stderr, "");
    let wrong = set("") + &horizontal("kind: StatefulSet, name: [db]");
    let message = expect("scaled-wrong.yaml", &wrong, &[]).stderr;
    let place = "expect/scaled-wrong.yaml:9:50: HorizontalPodAutoscaler `h`: spec.scaleTargetRef.name: ";
    assert!(message.contains(&format!("{place}expected a string, found a list")), "{message}");
}

/// The index of a pod that an autoscaler adds is unknown.
#[test]
fn pods_that_an_autoscaler_adds_have_a_row_and_an_unknown_index() {
    let manifests = [
        pods(&["a"]),
        workload("StatefulSet", "name: db", "replicas: 2", "app: db"),
        autoscaler("default", "apiVersion: apps/v1, kind: StatefulSet, name: db"),
        policy("name: p", "podSelector: {matchLabels: {apps.kubernetes.io/pod-index: '1'}}"),
    ];
    let rows = rows(&manifests.concat(), &["--pods"]);
    for (to, expected) in [
        ("default/db-0[Pod]", [true, false]),
        ("default/db-1[Pod]", [false, false]),
        ("default/db-*[Pod]", [false, true]),
    ] {
        let row = row(&rows, "default/a[Pod]", to);
        assert_eq!(["connections", "undefined"].map(|field| row[field] == "all"), expected, "{to}");
    }
    assert_eq!(row(&rows, "default/db-*[Pod]", "default/db-*[Pod]")["undefined"], "all");
}

#[test]
fn jobs_and_pods_may_have_a_generated_name() {
    let (job, pod) = (&job("generateName: migrate-", "", "", ""), &pod("generateName: shell-", "", ""));
    let table = printed("generated.yaml", &[job, pod, job, pod, pod].map(String::as_str).concat(), &[]);
    for name in ["migrate-xxxxx[Job]", "migrate-xxxxx-2[Job]", "shell-xxxxx[Pod]", "shell-xxxxx-3[Pod]"] {
        assert!(table.contains(&format!("default/{name}")), "{name}: {table}");
    }
}

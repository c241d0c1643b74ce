//! `netproof verify` beside running workloads: what it finds, and that the workloads notice nothing.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::access::{Applied, kubeconfig_of};
use super::guide::{Clients, Guide, Server, most_in_a_second};
use super::workloads::Terminating;
use super::{Cluster, execute, on_node, up, wait_for};
use crate::support::{Finished, User, file, run, signal};
use crate::verify::{blames, both_directions, cells, differences, guide, mistakes, pair, pairs};

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn the_tenants_are_isolated_and_the_workloads_notice_nothing() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let guide = Guide::start(&cluster);
    let clients = Clients::start(&guide);
    let before = cluster.foreign_objects();

    let plan = guide.verify(&["--dry-run"]).exits(0).stdout;
    assert!(plan.contains("tenant-b-prod"), "{plan}");
    assert_eq!(cluster.foreign_objects(), before);
    let report = guide.verify(&[]).exits(0).stdout;
    assert!(report.starts_with("ISOLATED  "), "{report}");
    assert_eq!(guide.left(), "");
    let document = guide.verify(&["-o", "json"]).exits(0).json();
    check_isolated(&document);
    assert_eq!(pairs(&document, "isolated"), both_directions());
    assert_eq!(guide.left(), "");

    assert_eq!(cluster.foreign_objects(), before);
    clients.check_served();
    cluster.check_clean();
}

/// Checks that everything was measured, and that nothing is wrong.
#[track_caller]
pub(super) fn check_isolated(document: &Value) {
    assert_eq!((&document["outcome"], &document["exitCode"]), (&json!("pass"), &json!(0)), "{document}");
    assert_eq!(differences(document), [] as [Value; 0]);
    let counts = &document["run"]["counts"];
    assert!(counts["judgedDenials"].as_u64() > Some(100) && counts["inconclusive"] == 0, "{counts}");
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn checks_at_the_same_time_do_not_see_each_other() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let guide = Guide::start(&cluster);
    let before = cluster.foreign_objects();
    let running = [guide.start_verify(&["-o", "json"]), guide.start_verify(&["-o", "json"])];
    for child in running {
        check_isolated(&Finished::from(child.wait_with_output().unwrap()).exits(0).json());
    }
    assert_eq!(guide.left(), "");
    assert_eq!(cluster.foreign_objects(), before);
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_check_that_ends_early_leaves_nothing_and_the_workloads_notice_nothing() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let guide = Guide::start(&cluster);
    let clients = Clients::start(&guide);
    let before = cluster.foreign_objects();
    let is_probing = || {
        let path = "jsonpath={range .items[*]}{.status.phase}{\"\\n\"}{end}";
        let pods = cluster.kubectl(&["get", "pods", "-A", "-l", "netproof.dev/run", "-o", path]);
        pods.lines().count() > 10 && pods.lines().all(|phase| phase == "Running")
    };

    let interrupted = guide.start_verify(&[]);
    wait_for(is_probing);
    signal(interrupted.id(), Signal::SIGINT);
    let finished = Finished::from(interrupted.wait_with_output().unwrap()).exits(130);
    assert!(!finished.stdout.contains("ISOLATED"), "{finished:?}");
    assert_eq!(guide.left(), "");
    // Before anything exists, too.
    let early = guide.start_verify(&[]);
    sleep(Duration::from_millis(150));
    signal(early.id(), Signal::SIGINT);
    let message = Finished::from(early.wait_with_output().unwrap()).refusal();
    assert!(message.contains("interrupted before anything was made"), "{message}");
    assert_eq!(guide.left(), "");

    let mut killed = guide.start_verify(&[]);
    wait_for(is_probing);
    sleep(Duration::from_secs(1));
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(guide.left().contains("pod/netproof-"));
    run(User::Root, ["cleanup", "--context", &cluster.context, "--yes"]).exits(0);
    assert_eq!(guide.left(), "");

    assert_eq!(cluster.foreign_objects(), before);
    clients.check_served();
    cluster.check_clean();
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn each_mistake_in_a_policy_is_found_and_blamed_on_the_policies() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let workloads = Guide::start(&cluster);
    for mistake in mistakes() {
        workloads.apply(&mistake.example);
        let metadata = (mistake.name == "metadata").then(Metadata::start);
        mistake.check(&workloads.verify(&["-o", "json"]).json());
        drop(metadata);
        workloads.apply(&guide());
    }
    // The address alone is no mistake, and it counts as denied, because canaries reach it.
    let _metadata = Metadata::start();
    let document = workloads.verify(&["-o", "json"]).exits(0).json();
    check_isolated(&document);
    let is_denied = |cell: &&Value| {
        cell["to"] == "external:cloud metadata 169.254.169.254"
            && cell["expected"] == "deny"
            && cell["verdict"] == "match"
    };
    assert!(cells(&document).iter().filter(is_denied).count() > 5, "{document}");
}

/// The metadata service of a cloud, in the network of the cluster, until the value is dropped.
struct Metadata {
    _server: Server,
}

impl Metadata {
    fn start() -> Self {
        Self::address("add");
        let network = Path::new("/run/netns/np-control");
        Self { _server: Server::start(network, "169.254.169.254:80", "credentials".to_owned()) }
    }

    fn address(action: &str) {
        // The nodes send there what they have no other route for.
        execute(&["ip", "-n", "np-control", "addr", action, "169.254.169.254/32", "dev", "lo"]);
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        Self::address("del");
    }
}

/// Node 2 without its enforcer and the enforcer's rules, until the value is dropped.
struct Unenforced;

impl Unenforced {
    fn iptables(arguments: &[&str]) -> String {
        on_node("np-node2", &[&["iptables", "-w"], arguments].concat())
    }

    fn start() -> Self {
        up(&["stop-enforcer", "2"]);
        for chain in ["FORWARD", "INPUT", "OUTPUT"] {
            let rules = Self::iptables(&["-S", chain]);
            for rule in rules.lines().filter(|rule| rule.starts_with("-A") && rule.contains("KUBE-ROUTER-")) {
                let words = shlex::split(&rule.replacen("-A", "-D", 1)).unwrap();
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                Self::iptables(&words);
            }
        }
        Self
    }
}

impl Drop for Unenforced {
    fn drop(&mut self) {
        up(&["enforce", &std::env::var("NETPROOF_ENFORCER").unwrap()]);
        wait_for(|| Self::iptables(&["-S", "FORWARD"]).contains("KUBE-ROUTER-"));
        // It writes its rules again in parts.
        sleep(Duration::from_secs(3));
    }
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn an_enforcer_that_is_gone_on_one_node_is_found_and_blamed_on_that_node() {
    let Some(cluster) = Cluster::with_kube_router() else { return };
    let guide = Guide::start(&cluster);
    let servers = guide.serve("tenant-b-prod", "web", 8080);
    let unenforced = Unenforced::start();
    let document = guide.verify(&["-o", "json", "--to-workloads"]).exits(1).json();
    assert_eq!(blames(&document), ["enforcementGap"].into());
    let leaks = differences(&document);
    assert!(leaks.iter().all(|leak| leak["verdict"] == "leak"), "{leaks:?}");
    let is_at = |leak: &Value| [&leak["fromNode"], &leak["toNode"]].iter().any(|node| **node == "np-node2");
    assert!(leaks.iter().all(is_at), "{leaks:?}");
    // Within the node, from and to it, between tenants, and to a running pod.
    let has =
        |from: &str, to: &str| leaks.iter().any(|leak| leak["fromNode"] == from && leak["toNode"] == to);
    assert!(
        has("np-node2", "np-node2") && has("np-node1", "np-node2") && has("np-node2", "np-node1"),
        "{leaks:?}"
    );
    assert!(pairs(&document, "leak").contains(&pair("tenant-a", "tenant-b")), "{}", document["matrix"]);
    let to_workloads = leaks.iter().filter(|leak| is_running_pod(leak, "tenant-b-prod/web-")).count();
    assert!(to_workloads > 0, "{leaks:?}");
    drop(unenforced);
    drop(servers);
    check_isolated(&guide.verify(&["-o", "json"]).exits(0).json());
}

/// Returns whether a cell is about a running pod, and not its twin.
fn is_running_pod(cell: &Value, name: &str) -> bool {
    cell["to"].as_str().is_some_and(|to| to.starts_with(name) && !to.contains(['@', ':']))
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn running_workloads_get_handshakes_and_nothing_else() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let guide = Guide::start(&cluster);
    let tenants = ["tenant-a-prod", "tenant-b-prod"];
    let dns = ("kube-system", "coredns", 53);
    let served = tenants.map(|tenant| (tenant, "web", 8080)).into_iter().chain([dns]);
    let servers: Vec<_> = served.map(|(namespace, app, port)| guide.serve(namespace, app, port)).collect();
    let document = guide.verify(&["-o", "json", "--to-workloads"]).exits(0).json();
    check_isolated(&document);
    // An enforcer drops or rejects what is denied.
    for expected in ["allow", "deny"] {
        let is_it = |cell: &&Value| {
            cell["expected"] == expected
                && (cell["observed"] == "connected") == (expected == "allow")
                && cell["verdict"] == "match"
                && (is_running_pod(cell, "tenant-a-prod/web-") || is_running_pod(cell, "tenant-b-prod/web-"))
        };
        let found = cells(&document).iter().filter(is_it).count();
        let to_pods = cells(&document).iter().filter(|it| is_running_pod(it, "tenant-"));
        assert!(found >= 2, "{expected}: {:?}", to_pods.collect::<Vec<_>>());
    }

    // Without its policies, the second tenant is open for the shared services.
    cluster.kubectl(&["delete", "networkpolicies", "--all", "-n", "tenant-b-prod"]);
    sleep(Duration::from_secs(2));
    let document = guide.verify(&["-o", "json", "--to-workloads"]).exits(1).json();
    assert_eq!(blames(&document), ["policyGap"].into());
    let is_open = |it: &Value| is_running_pod(it, "tenant-b-prod/web-") && it["observed"] == "connected";
    assert!(differences(&document).iter().any(is_open), "{}", json!(differences(&document)));

    for server in servers.into_iter().flatten() {
        let accepted = server.end();
        assert!(!accepted.is_empty());
        assert_eq!(accepted.iter().filter(|it| it.bytes > 0).count(), 0, "{accepted:?}");
        assert_eq!(most_in_a_second(&accepted), 1, "{accepted:?}");
    }
}

/// Gives a service account the rules that a message names. Returns the manifests with them, none if the message names none.
fn grant<'a>(cluster: &'a Cluster, account: &str, message: &str, number: usize) -> Vec<Applied<'a>> {
    let mut granted = Vec::new();
    for (part, text) in message.split("add these rules to ").skip(1).enumerate() {
        let (role, rest) = text.split_once(":\n").unwrap();
        let rules = rest.lines().take_while(|line| line.starts_with("    "));
        let rules = rules.collect::<Vec<_>>().join("\n");
        let name = format!("netproof-test-{number}-{part}");
        let subjects = format!("subjects: [{{kind: ServiceAccount, name: {account}, namespace: netproof}}]");
        let manifest = |kind: &str, namespace: &str| {
            let group = "rbac.authorization.k8s.io";
            format!(
                "apiVersion: {group}/v1\nkind: {kind}\nmetadata: {{name: {name}{namespace}}}\nrules:\n{rules}\n---\n\
                 apiVersion: {group}/v1\nkind: {kind}Binding\nmetadata: {{name: {name}{namespace}}}\n\
                 roleRef: {{apiGroup: {group}, kind: {kind}, name: {name}}}\n{subjects}\n"
            )
        };
        let manifests: Vec<String> = match role.split_once(" of theirs in ") {
            None => vec![manifest("ClusterRole", "")],
            Some((_, namespaces)) => {
                let names = namespaces.trim_start_matches("namespace ");
                let names = names.trim_start_matches("each of the namespaces ").split(", ");
                names.map(|name| manifest("Role", &format!(", namespace: {name}"))).collect()
            }
        };
        for (index, manifest) in manifests.iter().enumerate() {
            granted.push(Applied::new(cluster, file(&format!("grant/{name}-{index}.yaml"), manifest)));
        }
    }
    granted
}

/// Runs a check as a user, and gives the user what the message says is missing, until nothing is missing.
fn with_what_is_missing<'a>(cluster: &'a Cluster, arguments: &[&str]) -> (Finished, Vec<Applied<'a>>) {
    let config = kubeconfig_of(cluster, "default");
    let first = ["verify", "--kubeconfig", &config];
    let before = cluster.foreign_objects();
    let mut granted = Vec::new();
    for number in 0..6 {
        let finished = run(User::Root, [&first[..], arguments].concat());
        if !finished.stderr.contains("add these rules to ") || finished.code != Some(2) {
            return (finished, granted);
        }
        if number == 0 {
            assert_eq!(finished.stdout, "");
            assert_eq!(cluster.foreign_objects(), before);
        }
        granted.extend(grant(cluster, "default", &finished.stderr, number));
        // The API server learns of it a moment later.
        sleep(Duration::from_millis(500));
    }
    unreachable!("there is always something missing")
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn the_rights_that_a_message_names_are_enough() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    // Its namespace is removed last.
    let _account = Applied::deploy(&cluster, ["account"]);
    let guide = Guide::start(&cluster);
    let tenants = guide.tenants().to_owned();
    let (finished, granted) = with_what_is_missing(&cluster, &["--tenants", &tenants, "-o", "json"]);
    assert!(!granted.is_empty());
    check_isolated(&finished.exits(0).json());
    assert_eq!(guide.left(), "");
}

/// The user may use one namespace of a tenant, and one for canaries.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn rights_in_one_namespace_are_enough_for_an_answer_about_it() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let _account = Applied::deploy(&cluster, ["account"]);
    let guide = Guide::start(&cluster);
    let canaries = "{apiVersion: v1, kind: Namespace, metadata: {name: netproof-canaries,
        labels: {pod-security.kubernetes.io/enforce: restricted}}}";
    let _canaries = Applied::new(&cluster, file("grant/canaries.yaml", canaries));
    let tenants = file(
        "guide/one.yaml",
        "{apiVersion: netproof.dev/v1alpha1, kind: Tenants, tenants: [{name: tenant-a, namespaces: [tenant-a-prod],
        ingress: AllowSameNamespace, egress: AllowSameNamespace}]}",
    );
    let options = [
        "--visible-namespaces",
        "tenant-a-prod",
        "--prepared-namespaces",
        "netproof-canaries",
        "--tenants",
        &tenants,
    ];
    let (finished, granted) = with_what_is_missing(&cluster, &options);
    assert!(!granted.is_empty());
    // What others do is not known, so this is no proof that nothing reaches the tenant.
    assert_eq!(finished.code, Some(3), "{finished:?}");
    assert!(finished.stdout.contains("tenant-a"), "{finished:?}");
    let all = format!("{}{}", finished.stdout, finished.stderr);
    assert!(all.contains("outside namespace tenant-a-prod"), "{finished:?}");
    assert_eq!(guide.left(), "");
}

/// Regression: netproof took the labels that it had set itself for a change of the cluster, so no such check passed.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_prepared_namespace_is_as_good_as_a_new_one() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let guide = Guide::start(&cluster);
    let canaries = "{apiVersion: v1, kind: Namespace, metadata: {name: netproof-canaries,
        labels: {pod-security.kubernetes.io/enforce: restricted}}}";
    let _canaries = Applied::new(&cluster, file("prepared/canaries.yaml", canaries));
    let prepared = ["--prepared-namespaces", "netproof-canaries", "-o", "json"];
    check_isolated(&guide.verify(&prepared).exits(0).json());
    {
        let _unenforced = Unenforced::start();
        guide.verify(&prepared).exits(1);
    }
    assert_eq!(guide.left(), "");
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn what_cannot_be_checked_is_refused_and_nothing_is_created() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let guide = Guide::start(&cluster);
    let quota = "{apiVersion: v1, kind: ResourceQuota, metadata: {name: full, namespace: tenant-a-prod}, spec: {hard: {pods: '6'}}}";
    let quota = Applied::new(&cluster, file("full.yaml", quota));
    cluster.wait_for_quota("tenant-a-prod", "full", "5");
    let before = cluster.foreign_objects();
    let message = guide.verify(&[]).refusal();
    assert!(message.contains("ResourceQuota tenant-a-prod/full has no room for "), "{message}");
    assert!(message.contains(" needed, 5 used, 6 allowed"), "{message}");
    assert_eq!(cluster.foreign_objects(), before);
    assert_eq!(guide.left(), "");
    drop(quota);

    let _terminating = Terminating::start(&cluster, "tenant-b-prod");
    let message = guide.verify(&[]).refusal();
    assert!(message.contains("namespace tenant-b-prod is being deleted"), "{message}");
    assert_eq!(guide.left(), "");
}

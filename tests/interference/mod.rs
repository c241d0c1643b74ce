//! Interference with a running lab, from outside of netproof: whatever happens to the network or to the agents while
//! netproof measures, what it could not measure is never a pass, and what was delivered is a leak.

mod inside;
mod lab;

use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use self::lab::{RunningLab, make_writable};
use crate::machine::{Finished, User, file, folder};

/// Two pods on two nodes, and two steps after each of which nobody reaches anybody else.
fn denied(probes: &str) -> String {
    format!(
        "\
apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {{name: denied}}
topology: {{namespaces: [{{name: x, pods: [{{name: a, node: 1}}, {{name: b, node: 2}}]}}]}}
probes: {probes}
steps:
- name: nobody may receive
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {{name: closed, namespace: x}}
    spec: {{podSelector: {{}}, policyTypes: [Ingress]}}
  expect: [{{from: '*', to: '*', deny: [all]}}]
- name: nobody may send, either
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {{name: silent, namespace: x}}
    spec: {{podSelector: {{}}, policyTypes: [Egress]}}
  expect: [{{from: '*', to: '*', deny: [all]}}]
"
    )
}

/// A client that finds a Service by its name, and one step that applies a policy with this specification.
pub(crate) fn found_by_name(policy: &str) -> String {
    format!(
        "\
apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {{name: found-by-name}}
topology:
  servicesByName: true
  namespaces:
  - name: y
    pods: [{{name: client, node: 1}}, {{name: db, labels: {{app: db}}, node: 2}}]
    services: [{{name: web, selector: {{app: db}}, ports: [{{port: 80}}]}}]
probes: [81/TCP]
steps:
- name: the policy
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {{name: policy, namespace: y}}
    spec: {policy}
"
    )
}

/// The cells of a step in which an endpoint finds a Service by its name.
pub(crate) fn by_name(finished: &Finished, step: usize, from: &str) -> Vec<Value> {
    let report = finished.json();
    let cells = report["scenarios"][0]["steps"][step]["cells"].as_array().unwrap();
    let is_by_name =
        |cell: &&Value| cell["from"] == from && cell["probe"].as_str().unwrap().ends_with("by name");
    let by_name: Vec<_> = cells.iter().filter(is_by_name).cloned().collect();
    assert!(!by_name.is_empty(), "{finished:?}");
    by_name
}

/// So long that everything can be done while a step still waits for answers.
const SLOW: [&str; 6] = ["-o", "json", "--min-timeout", "1s", "--max-timeout", "1s"];

/// The cells of a step that are between two pods of the scenario.
fn crossing(finished: &Finished, step: usize) -> Vec<Value> {
    let report = finished.json();
    let cells = report["scenarios"][0]["steps"][step]["cells"].as_array().unwrap_or_else(|| {
        unreachable!("there is no step {step}: {finished:?}");
    });
    let crossing: Vec<_> = cells.iter().filter(|cell| cell["from"] != cell["to"]).cloned().collect();
    assert!(!crossing.is_empty(), "{finished:?}");
    crossing
}

/// Checks that a run is inconclusive, and every cell of its last step with it.
fn assert_inconclusive(finished: &Finished) {
    for cell in crossing(finished, 1) {
        assert_eq!(cell["verdict"], "inconclusive", "{cell}");
    }
    assert_eq!(finished.code, Some(3), "{finished:?}");
}

/// The harness itself must not change any verdict.
#[test]
fn a_lab_that_is_stopped_and_left_alone_passes() {
    for user in User::ALL {
        let mut lab = RunningLab::start(user, "alone", &denied("[80/TCP, 80/UDP]"), &SLOW);
        let stopped = lab.stop_at_generation(1);
        // Without a share, nothing takes the detour.
        lab.detour(0, Duration::ZERO);
        drop(stopped);
        drop(lab.stop_at_generation(2));
        let finished = lab.finish();
        assert_eq!(finished.code, Some(0), "as {user:?}: {finished:?}");
    }
}

/// The controls of the pods still answer: each asks itself.
#[test]
fn denials_without_any_live_path_are_no_pass() {
    for user in User::ALL {
        let lab = RunningLab::start(user, "no-input", &denied("[80/TCP, 80/UDP]"), &SLOW);
        let stopped = lab.stop_at_generation(2);
        lab.drop_input_of_all_pods();
        drop(stopped);
        assert_inconclusive(&lab.finish());
    }
}

#[test]
fn denials_over_a_path_that_died_are_no_pass() {
    let lab = RunningLab::start(User::Ordinary, "no-path", &denied("[80/TCP, 80/UDP]"), &SLOW);
    let stopped = lab.stop_at_generation(2);
    lab.cut_off("node-2");
    drop(stopped);
    assert_inconclusive(&lab.finish());
}

#[test]
fn an_agent_that_was_killed_leaves_no_pass() {
    let lab = RunningLab::start(User::Ordinary, "killed", &denied("[80/TCP, 80/UDP]"), &SLOW);
    let stopped = lab.stop_at_generation(2);
    lab.kill_agent("x/b");
    drop(stopped);
    assert_inconclusive(&lab.finish());
}

/// A tenth of the connections leaks: of 240 probes at least, so that a run without a leak would be a miracle.
#[test]
fn a_share_of_connections_that_leaks_is_a_leak() {
    let pods: Vec<_> = (0..6).map(|i| format!("{{name: p{i}, node: {}}}", i % 2 + 1)).collect();
    let scenario =
        denied("[80/TCP, 80/UDP]").replace("{name: a, node: 1}, {name: b, node: 2}", &pods.join(", "));
    // Nothing may be delivered once the rules have been handed over.
    let options = ["-o", "json", "--settle", "0ms"];
    let mut lab = RunningLab::start(User::Ordinary, "share", &scenario, &options);
    let stopped = lab.stop_at_generation(1);
    lab.detour(100, Duration::ZERO);
    drop(stopped);
    let finished = lab.finish();
    let leaks = (0..2).flat_map(|step| crossing(&finished, step)).filter(|cell| cell["verdict"] == "leak");
    assert!(leaks.count() > 0, "{finished:?}");
    assert_eq!(finished.code, Some(1), "{finished:?}");
}

/// An application waits for longer than a probe.
#[test]
fn a_connection_that_comes_about_after_its_timeout_is_a_leak() {
    let options = [
        "-o",
        "json",
        "--settle",
        "0ms",
        "--min-timeout",
        "200ms",
        "--max-timeout",
        "200ms",
        "--linger",
        "4s",
    ];
    let mut lab = RunningLab::start(User::Ordinary, "late-connection", &denied("[80/TCP]"), &options);
    let stopped = lab.stop_at_generation(1);
    lab.detour(1000, Duration::from_millis(300));
    drop(stopped);
    let finished = lab.finish();
    for cell in crossing(&finished, 1) {
        assert_eq!(cell["verdict"], "leak", "{cell}");
    }
    assert_eq!(finished.code, Some(1), "{finished:?}");
}

/// Whatever the timeout, what arrives was delivered.
#[test]
fn a_datagram_that_is_delivered_after_its_timeout_is_a_leak() {
    let options =
        ["-o", "json", "--settle", "0ms", "--min-timeout", "3s", "--max-timeout", "3s", "--linger", "6s"];
    let mut lab = RunningLab::start(User::Ordinary, "late", &denied("[80/UDP]"), &options);
    let stopped = lab.stop_at_generation(1);
    lab.detour(1000, Duration::from_secs(4));
    drop(stopped);
    let finished = lab.finish();
    for step in 0..2 {
        for cell in crossing(&finished, step) {
            assert_eq!(cell["verdict"], "leak", "{cell}");
        }
    }
    assert_eq!(finished.code, Some(1), "{finished:?}");
}

/// A Service is answered by an endpoint that is allowed, and reaches one that is denied after the probe's time.
#[test]
fn a_datagram_that_reaches_a_denied_endpoint_of_a_service_after_its_timeout_is_a_leak() {
    let scenario = "\
apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {name: endpoints}
topology:
  namespaces:
  - name: x
    pods:
    - {name: a, node: 1}
    - {name: open, labels: {app: s}, node: 2}
    - {name: closed, labels: {app: s, is: closed}, node: 2}
    services: [{name: s, selector: {app: s}, ports: [{port: 80, protocol: UDP}]}]
probes: [80/UDP]
steps:
- name: one endpoint may not receive
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: closed, namespace: x}
    spec: {podSelector: {matchLabels: {is: closed}}, policyTypes: [Ingress]}
";
    let options =
        ["-o", "json", "--settle", "0ms", "--min-timeout", "3s", "--max-timeout", "3s", "--linger", "6s"];
    let mut lab = RunningLab::start(User::Ordinary, "late-endpoint", scenario, &options);
    let stopped = lab.stop_at_generation(1);
    lab.detour(1000, Duration::from_secs(4));
    drop(stopped);
    let finished = lab.finish();
    let cells = crossing(&finished, 0);
    let mut of_service = cells.iter().filter(|cell| cell["from"] == "x/a" && cell["to"] == "service:x/s");
    let cell = of_service.next().unwrap_or_else(|| unreachable!("{cells:?}"));
    assert_eq!((&cell["verdict"], &cell["expected"]), (&"leak".into(), &"deny".into()), "{cell}");
    assert!(cell["reasons"].to_string().contains("x/closed"), "{cell}");
    assert_eq!(finished.code, Some(1), "{finished:?}");
}

/// Clears the screen, sets the window's title, rings, writes over the line, turns the text around, and lies.
const HOSTILE: &str = "x/b\u{1b}[2J\u{1b}[H\u{1b}]0;owned\u{7}\r\u{202e}\u{9b}31m\u{1b}[32mPASS\u{1b}[0m every packet did what the policies promise";

#[test]
fn a_stranger_who_answers_with_escape_sequences_paints_nothing() {
    let scenario =
        denied("[80/TCP, 80/UDP]").replace("policyTypes: [Ingress]", "policyTypes: [Ingress], ingress: [{}]");
    let scenario = scenario.replacen("deny", "allow", 1);
    let report = folder().join("interference/hostile.xml");
    file("interference/hostile.xml", "");
    // netproof runs as another user.
    make_writable(&report);
    for format in [&["-v", "--report", report.to_str().unwrap()][..], &["-o", "json"]] {
        // What the kernel's users see of it is a terminal's business: everything is shown as on one.
        let mut lab = RunningLab::start_on_terminal("hostile", &scenario, &[format, &SLOW[2..]].concat());
        let stopped = lab.stop_at_generation(2);
        lab.answer("x/b", 80, HOSTILE);
        drop(stopped);
        let finished = lab.finish();
        let written = std::fs::read_to_string(&report).unwrap();
        for text in [&finished.stdout, &finished.stderr, &written] {
            for raw in ["\u{1b}[2J", "\u{1b}[H", "\u{1b}]", "\u{7}", "\r", "\u{202e}", "\u{9b}", "mPASS"] {
                assert!(!text.contains(raw), "{raw:?} is in {text:?}");
            }
        }
        assert_eq!(finished.code, Some(3), "{finished:?}");
    }
}

/// The lookup is allowed, and what is denied was never sent.
#[test]
fn a_lookup_whose_answer_is_lost_makes_no_leak_of_the_connection_after_it() {
    let scenario = "\
apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {name: by-name}
topology:
  servicesByName: true
  namespaces:
  - {name: kube-system, pods: [{name: dns, labels: {k8s-app: dns}, node: 1, dns: {}}]}
  - name: x
    pods: [{name: a, node: 1}, {name: b, labels: {app: b}, node: 2}]
    services: [{name: s, selector: {app: b}, ports: [{port: 80}]}]
probes: [80/TCP]
steps:
- name: deny
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: deny, namespace: x}
    spec: {podSelector: {matchLabels: {app: b}}, policyTypes: [Ingress]}
- name: deny once more
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: deny-too, namespace: x}
    spec: {podSelector: {matchLabels: {app: b}}, policyTypes: [Ingress]}
";
    let lab = RunningLab::start(User::Ordinary, "lookups", scenario, &SLOW);
    let stopped = lab.stop_at_generation(2);
    lab.lose_answers_to_lookups("kube-system/dns", 53);
    drop(stopped);
    let finished = lab.finish();
    for cell in by_name(&finished, 1, "x/a") {
        assert_eq!(cell["verdict"], "inconclusive", "{cell}");
    }
}

/// Cells that answered before a change was in force, and never again, are blocked: no reason to wait for longer.
#[test]
fn outages_that_begin_late_do_not_make_a_step_slow() {
    let scenario = "\
apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {name: range}
topology:
  namespaces: [{name: x, pods: [{name: a, node: 1}, {name: b, labels: {app: b}, node: 2}]}]
probes: [80/TCP, 81/TCP, 82/TCP, 83/TCP, 84/TCP, 85/TCP, 79/TCP, 80/UDP]
steps:
- name: a range of ports
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: range, namespace: x}
    spec: {podSelector: {matchLabels: {app: b}}, ingress: [{ports: [{port: 80, endPort: 85}]}]}
";
    // Of a range, only the first port is allowed, from a second after the change on.
    let options = ["-o", "json", "--fault", "endport-first-only", "--settle", "2s", "--max-timeout", "200ms"];
    let mut lab = RunningLab::start(User::Ordinary, "late-outage", scenario, &options);
    let stopped = lab.stop_at_generation(1);
    lab.detour(1000, Duration::ZERO);
    drop(stopped);
    drop(lab.stop_at_generation(2));
    sleep(Duration::from_secs(1));
    lab.end_helpers();
    let finished = lab.finish();
    let blocked = crossing(&finished, 0).iter().filter(|cell| cell["verdict"] == "blocked").count();
    assert_eq!((finished.code, blocked), (Some(1), 5), "{finished:?}");
    let report = finished.json();
    let step = &report["scenarios"][0]["steps"][0];
    // Loss that is none would ask for 88 silences, a second each.
    let took = step["tookMs"].as_u64().unwrap();
    assert!(took < 2_000 + 2_000 + 1_000, "{took} ms");
}

/// The rules are there, and packets pass by them for a second.
#[test]
fn a_denial_that_is_seen_not_to_be_in_force_after_its_limit_is_late() {
    let options = ["-o", "json", "--settle", "3s", "--max-timeout", "200ms", "--enforce-within", "500ms"];
    let mut lab = RunningLab::start(User::Ordinary, "late-denial", &denied("[80/TCP]"), &options);
    let stopped = lab.stop_at_generation(1);
    lab.detour(1000, Duration::ZERO);
    drop(stopped);
    drop(lab.stop_at_generation(2));
    sleep(Duration::from_secs(1));
    lab.end_helpers();
    let finished = lab.finish();
    let cells = crossing(&finished, 0);
    for cell in &cells {
        assert_eq!(cell["verdict"], "match", "{cell}");
        assert!(cell["opposedMs"].as_u64() > Some(500), "{cell}");
    }
    let counts = &finished.json()["scenarios"][0]["steps"][0]["counts"];
    assert_eq!((&counts["late"], finished.code), (&cells.len().into(), Some(1)), "{finished:?}");
}

/// A delivery at another pod says nothing about the one that the Service led to.
#[test]
fn a_service_that_leads_elsewhere_later_does_not_vouch_for_its_closed_pod() {
    let scenario = "\
apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {name: leads-elsewhere}
topology:
  namespaces:
  - name: y
    pods:
    - {name: client, node: 1}
    - {name: bad, labels: {app: bad}, node: 2}
    - {name: good, labels: {app: good}, node: 2}
    services: [{name: web, selector: {app: good}, ports: [{port: 80, targetPort: 8080}]}]
probes: [81/TCP]
steps:
- name: the Service leads to a closed pod
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: bad, namespace: y}
    spec: {podSelector: {matchLabels: {app: bad}}, policyTypes: [Ingress], ingress: [{ports: [{port: 81}]}]}
  - apiVersion: v1
    kind: Service
    metadata: {name: web, namespace: y}
    spec: {selector: {app: bad}, ports: [{port: 80, targetPort: 8080}]}
- name: the Service leads back to the open pod
  apply:
  - apiVersion: v1
    kind: Service
    metadata: {name: web, namespace: y}
    spec: {selector: {app: good}, ports: [{port: 80, targetPort: 8080}]}
";
    let options = [&SLOW[..], &["--fault", "no-enforcement"]].concat();
    let lab = RunningLab::start(User::Ordinary, "leads-elsewhere", scenario, &options);
    let stopped = lab.stop_at_generation(1);
    // No direct probe goes there.
    lab.close_port("y/bad", "tcp", 8080);
    drop(stopped);
    let finished = lab.finish();
    assert_eq!(finished.code, Some(3), "{finished:?}");
    let cells = crossing(&finished, 0);
    let mut of_service =
        cells.iter().filter(|cell| cell["from"] == "y/client" && cell["to"] == "service:y/web");
    assert_eq!(of_service.next().unwrap()["verdict"], "inconclusive", "{cells:?}");
}

/// Where the lookup is allowed and lost, the connection that is denied was never tried.
#[test]
fn a_lookup_that_is_lost_proves_nothing_about_the_connection_after_it() {
    let policy =
        "{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress], ingress: [{ports: [{port: 81}]}]}";
    let lab = RunningLab::start(User::Ordinary, "lost-lookups", &found_by_name(policy), &SLOW);
    let stopped = lab.stop_at_generation(2);
    lab.close_port("kube-system/dns", "udp", 53);
    drop(stopped);
    let finished = lab.finish();
    for cell in by_name(&finished, 0, "y/client") {
        assert_eq!(cell["verdict"], "inconclusive", "{cell}");
    }
}

//! Interference with a running lab, from outside of netproof: the network or the agents change while netproof measures.
//! A cell that could not be measured is never a pass, and a packet that was delivered is a leak.

mod inside;
mod lab;

use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use self::lab::RunningLab;
use crate::support::{Finished, User, policy_step, scenario, step_cells, writable_file};

const TCP_AND_UDP: &str = "80/TCP, 80/UDP";

/// Two pods on two nodes, and two steps. After each of them, no pod reaches another one.
fn denied(probes: &str) -> String {
    let topology = "namespaces: [{name: x, pods: [{name: a, node: 1}, {name: b, node: 2}]}]";
    let expect = "  expect: [{from: '*', to: '*', deny: [all]}]\n";
    let ingress = "podSelector: {}, policyTypes: [Ingress]";
    let egress = "podSelector: {}, policyTypes: [Egress]";
    let steps = [
        policy_step("nobody may receive", "x", "closed", ingress),
        policy_step("nobody may send, either", "x", "silent", egress),
    ];
    scenario("denied", topology, probes, &steps.map(|step| step + expect).concat())
}

/// A client that finds a Service by its name, and one step that applies a policy.
pub(crate) fn found_by_name(policy: &str) -> String {
    let topology = "servicesByName: true, namespaces: [{
        name: y,
        pods: [{name: client, node: 1}, {name: db, labels: {app: db}, node: 2}],
        services: [{name: web, selector: {app: db}, ports: [{port: 80}]}]}]";
    scenario("found-by-name", topology, "81/TCP", &policy_step("the policy", "y", "policy", policy))
}

/// Returns the cells of a step in which an endpoint finds a Service by its name.
pub(crate) fn by_name(finished: &Finished, step: usize, from: &str) -> Vec<Value> {
    let is_by_name =
        |cell: &Value| cell["from"] == from && cell["probe"].as_str().unwrap().ends_with("by name");
    cells(finished, step, is_by_name)
}

/// Returns the cells of a step between two different endpoints.
fn crossing(finished: &Finished, step: usize) -> Vec<Value> {
    cells(finished, step, |cell| cell["from"] != cell["to"])
}

fn cells(finished: &Finished, step: usize, is_wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let report = finished.json();
    let cells: Vec<_> = step_cells(&report, step).iter().filter(|cell| is_wanted(cell)).cloned().collect();
    assert!(!cells.is_empty(), "{finished:?}");
    cells
}

/// Checks that all these cells have this verdict.
#[track_caller]
fn check_verdicts(cells: &[Value], verdict: &str) {
    for cell in cells {
        assert_eq!(cell["verdict"], verdict, "{cell}");
    }
}

/// Timeouts that are so long that the test can act while a step still waits for answers.
const SLOW: [&str; 6] = ["-o", "json", "--min-timeout", "1s", "--max-timeout", "1s"];

/// Nothing may be delivered as soon as the rules have been handed over, and every probe waits for 3 s.
const LATE: [&str; 10] =
    ["-o", "json", "--settle", "0ms", "--min-timeout", "3s", "--max-timeout", "3s", "--linger", "6s"];

/// Runs a scenario, and acts while netproof is stopped at a generation of the rules.
fn disturb(
    user: User,
    scenario: &str,
    options: &[&str],
    generation: u64,
    act: impl FnOnce(&mut RunningLab),
) -> Finished {
    let mut lab = RunningLab::start(user, scenario, options);
    let stopped = lab.stop_at_generation(generation);
    act(&mut lab);
    drop(stopped);
    lab.finish()
}

/// Checks that a run is inconclusive, with every cell of its last step.
fn check_inconclusive(finished: Finished) {
    check_verdicts(&crossing(&finished, 1), "inconclusive");
    finished.exits(3);
}

/// The test's own tools must not change any verdict.
#[test]
fn a_lab_that_is_stopped_and_left_alone_passes() {
    for user in User::ALL {
        let mut lab = RunningLab::start(user, &denied(TCP_AND_UDP), &SLOW);
        let stopped = lab.stop_at_generation(1);
        // No packet takes a detour with a share of 0.
        lab.detour(0, Duration::ZERO);
        drop(stopped);
        drop(lab.stop_at_generation(2));
        lab.finish().exits(0);
    }
}

/// The control probes of the pods are still answered, because each pod asks itself.
#[test]
fn denials_without_any_live_path_are_no_pass() {
    for user in User::ALL {
        check_inconclusive(disturb(user, &denied(TCP_AND_UDP), &SLOW, 2, |lab| lab.drop_input_of_all_pods()));
    }
}

#[test]
fn denials_over_a_path_that_died_are_no_pass() {
    check_inconclusive(disturb(User::Ordinary, &denied(TCP_AND_UDP), &SLOW, 2, |lab| lab.cut_off("node-2")));
}

#[test]
fn an_agent_that_was_killed_leaves_no_pass() {
    check_inconclusive(disturb(User::Ordinary, &denied(TCP_AND_UDP), &SLOW, 2, |lab| lab.kill_agent("x/b")));
}

/// A tenth of the connections leaks. There are at least 240 probes, so that a run without a leak is almost impossible.
#[test]
fn a_share_of_connections_that_leaks_is_a_leak() {
    let pods: Vec<_> = (0..6).map(|i| format!("{{name: p{i}, node: {}}}", i % 2 + 1)).collect();
    let scenario = denied(TCP_AND_UDP).replace("{name: a, node: 1}, {name: b, node: 2}", &pods.join(", "));
    // Nothing may be delivered as soon as the rules have been handed over.
    let options = ["-o", "json", "--settle", "0ms"];
    let finished = disturb(User::Ordinary, &scenario, &options, 1, |lab| lab.detour(100, Duration::ZERO));
    let leaks = (0..2).flat_map(|step| crossing(&finished, step)).filter(|cell| cell["verdict"] == "leak");
    assert!(leaks.count() > 0, "{finished:?}");
    finished.exits(1);
}

/// An application waits longer than a probe.
#[test]
fn a_connection_that_comes_about_after_its_timeout_is_a_leak() {
    let timeouts = ["--min-timeout", "200ms", "--max-timeout", "200ms", "--linger", "4s"];
    let options = [&LATE[..4], &timeouts].concat();
    let finished = disturb(User::Ordinary, &denied("80/TCP"), &options, 1, |lab| {
        lab.detour(1000, Duration::from_millis(300));
    });
    check_verdicts(&crossing(&finished, 1), "leak");
    finished.exits(1);
}

/// A packet that arrives was delivered, even after the timeout.
#[test]
fn a_datagram_that_is_delivered_after_its_timeout_is_a_leak() {
    let finished = disturb(User::Ordinary, &denied("80/UDP"), &LATE, 1, |lab| {
        lab.detour(1000, Duration::from_secs(4));
    });
    for step in 0..2 {
        check_verdicts(&crossing(&finished, step), "leak");
    }
    finished.exits(1);
}

/// An endpoint that is allowed answers for the Service. The endpoint that is denied gets the probe after the timeout.
#[test]
fn a_datagram_that_reaches_a_denied_endpoint_of_a_service_after_its_timeout_is_a_leak() {
    let topology = "namespaces: [{
        name: x,
        pods: [
          {name: a, node: 1},
          {name: open, labels: {app: s}, node: 2},
          {name: closed, labels: {app: s, is: closed}, node: 2}],
        services: [{name: s, selector: {app: s}, ports: [{port: 80, protocol: UDP}]}]}]";
    let closed = "podSelector: {matchLabels: {is: closed}}, policyTypes: [Ingress]";
    let step = policy_step("one endpoint may not receive", "x", "closed", closed);
    let scenario = scenario("endpoints", topology, "80/UDP", &step);
    let finished =
        disturb(User::Ordinary, &scenario, &LATE, 1, |lab| lab.detour(1000, Duration::from_secs(4)));
    let cell = &cells(&finished, 0, |cell| cell["from"] == "x/a" && cell["to"] == "service:x/s")[0];
    assert_eq!((&cell["verdict"], &cell["expected"]), (&"leak".into(), &"deny".into()), "{cell}");
    assert!(cell["reasons"].to_string().contains("x/closed"), "{cell}");
    finished.exits(1);
}

/// Clears the screen, sets the window's title, rings, overwrites the line, reverses the text, and shows a false result.
const HOSTILE: &str = "x/b\u{1b}[2J\u{1b}[H\u{1b}]0;owned\u{7}\r\u{202e}\u{9b}31m\u{1b}[32mPASS\u{1b}[0m every packet did what the policies promise";

#[test]
fn escape_sequences_in_answers_do_not_reach_the_terminal() {
    let scenario = denied(TCP_AND_UDP)
        .replace("policyTypes: [Ingress]", "policyTypes: [Ingress], ingress: [{}]")
        .replacen("deny", "allow", 1);
    // netproof runs as another user.
    let report = writable_file("interference/hostile.xml");
    for format in [&["-v", "--report", report.to_str().unwrap()][..], &["-o", "json"]] {
        // Reports on a terminal have colours, so escape sequences are not removed as a whole.
        let mut lab = RunningLab::start_on_terminal(&scenario, &[format, &SLOW[2..]].concat());
        let stopped = lab.stop_at_generation(2);
        lab.answer("x/b", 80, HOSTILE);
        drop(stopped);
        let finished = lab.finish().exits(3);
        let written = std::fs::read_to_string(&report).unwrap();
        for text in [&finished.stdout, &finished.stderr, &written] {
            for raw in ["\u{1b}[2J", "\u{1b}[H", "\u{1b}]", "\u{7}", "\r", "\u{202e}", "\u{9b}", "mPASS"] {
                assert!(!text.contains(raw), "{raw:?} is in {text:?}");
            }
        }
    }
}

/// The lookup is allowed, and the connection that is denied was never tried.
#[test]
fn a_lookup_whose_answer_is_lost_makes_no_leak_of_the_connection_after_it() {
    let topology = "servicesByName: true, namespaces: [
        {name: kube-system, pods: [{name: dns, labels: {k8s-app: dns}, node: 1, dns: {}}]},
        {name: x,
         pods: [{name: a, node: 1}, {name: b, labels: {app: b}, node: 2}],
         services: [{name: s, selector: {app: b}, ports: [{port: 80}]}]}]";
    let closed = "podSelector: {matchLabels: {app: b}}, policyTypes: [Ingress]";
    let steps =
        policy_step("deny", "x", "deny", closed) + &policy_step("deny once more", "x", "deny-too", closed);
    let scenario = scenario("by-name", topology, "80/TCP", &steps);
    let lose_answers = |lab: &mut RunningLab| lab.lose_answers_to_lookups("kube-system/dns", 53);
    let finished = disturb(User::Ordinary, &scenario, &SLOW, 2, lose_answers);
    check_verdicts(&by_name(&finished, 1, "x/a"), "inconclusive");
}

/// Runs a scenario in which packets pass by the new rules for a second after they are in force.
fn in_force_after_a_second(scenario: &str, options: &[&str]) -> Finished {
    let mut lab = RunningLab::start(User::Ordinary, scenario, options);
    let stopped = lab.stop_at_generation(1);
    lab.detour(1000, Duration::ZERO);
    drop(stopped);
    drop(lab.stop_at_generation(2));
    sleep(Duration::from_secs(1));
    lab.end_helpers();
    lab.finish()
}

/// A cell that answered before a change was in force, and never again, is blocked. The step does not wait longer for it.
#[test]
fn outages_that_begin_late_do_not_make_a_step_slow() {
    let topology =
        "namespaces: [{name: x, pods: [{name: a, node: 1}, {name: b, labels: {app: b}, node: 2}]}]";
    let probes = "80/TCP, 81/TCP, 82/TCP, 83/TCP, 84/TCP, 85/TCP, 79/TCP, 80/UDP";
    let range = "podSelector: {matchLabels: {app: b}}, ingress: [{ports: [{port: 80, endPort: 85}]}]";
    let scenario = scenario("range", topology, probes, &policy_step("a range of ports", "x", "range", range));
    // Only the first port of the range is allowed, from a second after the change on.
    let options = ["-o", "json", "--fault", "endport-first-only", "--settle", "2s", "--max-timeout", "200ms"];
    let finished = in_force_after_a_second(&scenario, &options);
    let blocked = crossing(&finished, 0).iter().filter(|cell| cell["verdict"] == "blocked").count();
    assert_eq!((finished.code, blocked), (Some(1), 5), "{finished:?}");
    // If these cells were taken for lost packets, each of them would need 88 silences of a second each.
    let took = finished.json()["scenarios"][0]["steps"][0]["tookMs"].as_u64().unwrap();
    assert!(took < 2_000 + 2_000 + 1_000, "{took} ms");
}

#[test]
fn a_denial_that_is_seen_not_to_be_in_force_after_its_limit_is_late() {
    let options = ["-o", "json", "--settle", "3s", "--max-timeout", "200ms", "--enforce-within", "500ms"];
    // On a busy machine, a second may pass without any probe. The run says so, and some of its cells are inconclusive.
    let mut runs = std::iter::repeat_with(|| in_force_after_a_second(&denied("80/TCP"), &options)).take(5);
    let is_measured = |run: &Finished| crossing(run, 0).iter().all(|cell| cell["verdict"] != "inconclusive");
    let finished = runs.find(is_measured).unwrap_or_else(|| unreachable!("five runs were inconclusive"));
    let cells = crossing(&finished, 0);
    check_verdicts(&cells, "match");
    for cell in &cells {
        assert!(cell["opposedMs"].as_u64() > Some(500), "{cell}");
    }
    let counts = &finished.json()["scenarios"][0]["steps"][0]["counts"];
    assert_eq!((&counts["late"], finished.code), (&cells.len().into(), Some(1)), "{finished:?}");
}

/// A delivery at another pod is no evidence about the pod that the Service led to.
#[test]
fn a_service_that_leads_elsewhere_later_is_no_evidence_about_its_closed_pod() {
    let topology = "namespaces: [{
        name: y,
        pods: [
          {name: client, node: 1},
          {name: bad, labels: {app: bad}, node: 2},
          {name: good, labels: {app: good}, node: 2}],
        services: [{name: web, selector: {app: good}, ports: [{port: 80, targetPort: 8080}]}]}]";
    let service = |app: &str| {
        let spec = format!("selector: {{app: {app}}}, ports: [{{port: 80, targetPort: 8080}}]");
        let metadata = "metadata: {name: web, namespace: y}";
        format!("  - {{apiVersion: v1, kind: Service, {metadata}, spec: {{{spec}}}}}\n")
    };
    let bad =
        "podSelector: {matchLabels: {app: bad}}, policyTypes: [Ingress], ingress: [{ports: [{port: 81}]}]";
    let steps = [
        policy_step("the Service leads to a closed pod", "y", "bad", bad),
        service("bad"),
        "- name: the Service leads back to the open pod\n  apply:\n".to_owned(),
        service("good"),
    ];
    let scenario = scenario("leads-elsewhere", topology, "81/TCP", &steps.concat());
    let options = [&SLOW[..], &["--fault", "no-enforcement"]].concat();
    // No direct probe goes to this port.
    let close_port = |lab: &mut RunningLab| lab.close_port("y/bad", "tcp", 8080);
    let finished = disturb(User::Ordinary, &scenario, &options, 1, close_port).exits(3);
    let of_service = cells(&finished, 0, |cell| cell["from"] == "y/client" && cell["to"] == "service:y/web");
    assert_eq!(of_service[0]["verdict"], "inconclusive", "{of_service:?}");
}

/// The lookup is allowed and lost, so the connection that is denied was never tried.
#[test]
fn a_lookup_that_is_lost_proves_nothing_about_the_connection_after_it() {
    let policy =
        "podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress], ingress: [{ports: [{port: 81}]}]";
    let close_port = |lab: &mut RunningLab| lab.close_port("kube-system/dns", "udp", 53);
    let finished = disturb(User::Ordinary, &found_by_name(policy), &SLOW, 2, close_port);
    check_verdicts(&by_name(&finished, 0, "y/client"), "inconclusive");
}

//! Profiles: a deviation that they excuse neither passes nor fails.

use std::collections::BTreeMap;

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::{
    Finished, cells, file, netproof, policy_step, run_json, scenario, scenario_file, writable_file,
};

/// Writes a profile with one deviation.
fn profile(name: &str, cells: &str) -> String {
    let content = format!(
        "apiVersion: netproof.dev/v1alpha1
kind: Profile
metadata: {{name: {name}, description: a network plugin}}
deviations:
- reason: {name} does it differently
  references: https://plugin.example/{name}
  cells: {{{cells}}}
"
    );
    file(&format!("profiles/{name}.yaml"), content)
}

/// No pod may receive. A lab that ignores UDP lets UDP pass.
fn deny() -> String {
    let topology = "namespaces: [{name: x, pods: [{name: a}, {name: b}]}]";
    let expect = "
  expect:
  - {from: \"*\", to: self, allow: [all]}
  - {from: \"*\", to: \"*\", deny: [all]}
  intent:
  - {from: \"*\", to: \"*\", deny: [all]}
";
    let step = policy_step("nothing comes in", "x", "deny", "podSelector: {}");
    scenario("deny", topology, "80/TCP, 80/UDP", &(step + expect.trim_start_matches('\n')))
}

/// A deviation that covers the denials of UDP, and no others.
const NO_UDP: &str = "policies: x/deny, probes: UDP, direction: ingress, expected: deny";

fn without_udp(arguments: &[&str]) -> Finished {
    let scenario = file("profiles/deny/deny.yaml", deny());
    netproof(&["run", &scenario, "--fault", "ignore-udp"], arguments)
}

/// Returns the cells that a profile excuses, each with `SCENARIO › STEP`.
fn excused(document: &Value) -> Vec<(String, Value)> {
    cells(document).into_iter().filter(|(_, cell)| !cell["deviation"].is_null()).collect()
}

#[test]
fn a_leak_that_is_known_is_recorded_and_not_judged() {
    without_udp(&[]).exits(1);
    let known = profile("no-udp", NO_UDP);
    let document = without_udp(&["--profile", &known, "-o", "json"]).exits(0).json();
    let counts = &document["counts"];
    assert_eq!(counts["undefinedByProfile"], 2);
    assert_eq!((&counts["assertionErrors"], &counts["policyGaps"]), (&0.into(), &0.into()));
    for (_, cell) in excused(&document) {
        assert_eq!(cell["deviation"]["promised"], "deny");
        assert_eq!((&cell["verdict"], &cell["expected"]), (&"undefined".into(), &"undefined".into()));
        assert_eq!((&cell["asserted"], &cell["observed"]), (&"deny".into(), &"connected".into()));
        assert_eq!(cell["attempts"], 1, "the run does not wait");
    }
    let deviation = &document["profiles"][0]["deviations"][0];
    assert_eq!(deviation["observed"], json!({"connected": 2}));
    assert_eq!((&deviation["cells"], &deviation["asPromised"]), (&2.into(), &0.into()));
    // A deviation of another protocol does not excuse the leak.
    let other = profile("no-sctp", "policies: x/deny, probes: SCTP, direction: ingress");
    without_udp(&["--profile", &other]).exits(1);
}

/// Only the first moment of a new pod is excused. A deviation that lasts longer is a leak.
#[test]
fn a_new_pod_that_is_isolated_late_is_left_undefined() {
    let scenario = scenario_file("pods-come-and-go");
    let known = profile("late", "quirk: new-pods-open-at-first");
    let with = |fault: &str| run_json(&scenario, &["--settle", "5s", "--profile", &known, "--fault", fault]);
    let excused = excused(&with("new-pods-open").exits(0).json());
    assert!(excused.len() > 4, "{excused:?}");
    assert!(excused.iter().all(|(_, cell)| cell["verdict"] == "undefined"));
    assert!(excused.iter().all(|(_, cell)| cell["deliveredUntilMs"].is_u64()));
    // If the pods are isolated at once, nothing is excused.
    let sound = run_json(&scenario, &["--profile", &known]);
    assert_eq!(sound.json()["counts"]["undefinedByProfile"], 0, "{}", sound.stderr);
    assert!(!sound.stdout.contains("no cell of this run is decided"), "{}", sound.stdout);
    with("no-enforcement").exits(1);
}

/// A Service has an open pod and a closed pod. The policy that closes the pod also lets the client send. All pods are on
/// one node, because only the sender's node knows that an address was a Service's.
fn half_closed() -> String {
    let topology = "namespaces: [{
        name: x,
        pods: [
          {name: client, node: 1, labels: {role: isolated}},
          {name: open, node: 1, labels: {app: web}},
          {name: closed, node: 1, labels: {app: web, role: isolated}}],
        services: [{name: web, selector: {app: web}, ports: [{port: 80}]}]}]";
    let isolated =
        "podSelector: {matchLabels: {role: isolated}}, policyTypes: [Ingress, Egress], egress: [{}]";
    let step = policy_step("one of two pods is closed", "x", "p", isolated);
    scenario("half-closed", topology, "80/TCP", &step)
}

/// Regression: a profile could not name single endpoints, so every profile hid what reached the closed one.
#[test]
fn a_closed_endpoint_stays_judged_unless_a_profile_covers_it() {
    let scenario = file("profiles/half-closed/half-closed.yaml", half_closed());
    // Shared chains explain what the policy's own pods send, and nothing else.
    for (fault, profiles, leaks) in [
        ("services-open", &[][..], &["x/client", "x/open"][..]),
        ("services-open", &["cilium"], &["x/client", "x/open"]),
        ("services-open", &["aws-vpc-cni", "ovn-kubernetes"], &["x/client", "x/open"]),
        ("services-open", &["kube-router"], &["x/open"]),
        ("shared-chains", &["cilium"], &["x/client"]),
        ("shared-chains", &["kube-router"], &[]),
    ] {
        let options: Vec<&str> = profiles.iter().flat_map(|profile| ["--profile", *profile]).collect();
        let cells = cells(&run_json(&scenario, &[&["--fault", fault], &options[..]].concat()).json());
        let leaking =
            cells.iter().filter(|(_, cell)| cell["to"] == "service:x/web" && cell["verdict"] == "leak");
        let from: Vec<_> = leaking.map(|(_, cell)| cell["from"].as_str().unwrap()).collect();
        assert_eq!(from, leaks, "{fault} {profiles:?}");
    }
}

/// While rules are replaced, only a moment is excused, and only what peers and ports of the policy's rules explain.
#[test]
fn what_passes_while_rules_are_replaced_is_left_undefined() {
    let step = |name: &str, peer: &str, port: u16| {
        let from = format!("[{{podSelector: {{matchLabels: {{app: {peer}}}}}}}]");
        let rule = format!("{{from: {from}, ports: [{{port: {port}}}]}}");
        policy_step(name, "x", "p", &format!("podSelector: {{matchLabels: {{app: a}}}}, ingress: [{rule}]"))
    };
    let pods = ["a", "b", "c"].map(|name| format!("{{name: {name}, labels: {{app: {name}}}}}")).join(", ");
    let topology = format!("namespaces: [{{name: x, pods: [{pods}]}}]");
    let steps = [step("one", "b", 80), step("other", "c", 81), step("back", "b", 80)].concat();
    let scenario = |name: &str, probes: &str| file(name, scenario("replaced", &topology, probes, &steps));
    let mixed = scenario("replaced.yaml", "80/TCP, 81/TCP");
    let known = profile("in-parts", "quirk: rules-replaced-in-parts");
    let counts = |scenario: &str, options: &[&str]| {
        let finished = run_json(scenario, options);
        let counts = &finished.json()["counts"];
        (finished.code, counts["leak"].as_u64(), counts["undefinedByProfile"].as_u64())
    };
    // On a busy machine, a brief opening can take as long as a change usually takes.
    let brief = &["--fault", "update-opens-briefly", "--settle", "3s"][..];
    let excused_brief = [brief, &["--profile", &known]].concat();
    assert_eq!(counts(&mixed, brief), (Some(1), Some(2), Some(0)));
    // A cell that was excused still counts as denied, so the next step may not open it either.
    assert_eq!(counts(&mixed, &excused_brief), (Some(0), Some(0), Some(4)));
    // If nothing passes, nothing is excused. What stays open is a leak, and so is what no rule mentions.
    assert_eq!(counts(&mixed, &["--profile", &known]), (Some(0), Some(0), Some(0)));
    run_json(&mixed, &["--fault", "no-enforcement", "--profile", &known]).exits(1);
    let other = scenario("replaced-other.yaml", "82/TCP");
    assert_eq!(counts(&other, &excused_brief), (Some(1), Some(2), Some(0)));
}

#[test]
fn a_wrong_assertion_stays_an_assertion_error() {
    let wrong = deny().replace("deny: [all]}\n  intent", "allow: [UDP]}\n  intent");
    let scenario = file("profiles/wrong/wrong.yaml", wrong);
    let finished = run_json(&scenario, &["--profile", &profile("no-udp-again", NO_UDP)]).exits(1);
    assert_eq!(finished.json()["counts"]["assertionErrors"], 2);
}

#[test]
fn a_deviation_that_decides_no_cell_is_reported() {
    let known = profile("no-udp", NO_UDP);
    let stale = profile("old-times", "quirk: pod-address-in-ip-block");
    let finished = without_udp(&["--profile", &known, "--profile", &stale]).exits(0);
    let warning = finished.stdout.lines().find(|line| line.starts_with("warning: profile ")).unwrap();
    assert_snapshot!(warning, @"warning: profile old-times: no cell of this run is decided by this deviation: old-times does it differently (profiles/old-times.yaml:5:3)");
    let document = without_udp(&["--profile", &known, "--profile", &stale, "-o", "json"]).json();
    let is_stale = |i: usize| document["profiles"][i]["deviations"][0]["stale"].clone();
    assert_eq!((is_stale(0), is_stale(1)), (Value::Bool(false), Value::Bool(true)));
}

/// No pod can reach `b`: one denial, and one allowed flow in the other direction. The profile covers the one denial.
#[test]
fn a_profile_that_covers_every_denial_leaves_no_pass() {
    let step = policy_step("nothing comes in", "x", "deny", "podSelector: {matchLabels: {app: b}}");
    let expect = "  expect: [{from: x/a, to: x/b, deny: [all]}, {from: x/b, to: x/a, allow: [all]}]\n";
    let topology = "namespaces: [{name: x, pods: [{name: a}, {name: b, labels: {app: b}}]}]";
    let one_denial = scenario("one-denial", topology, "80/UDP", &(step + expect));
    let scenario = file("profiles/one/one-denial.yaml", one_denial);
    let known = profile("covers-all", NO_UDP);
    let with = |more: &[&str]| netproof(&["run", &scenario, "--profile", &known], more);
    let document = with(&["-o", "json"]).json();
    assert_eq!((&document["outcome"], &document["exitCode"]), (&"inconclusive".into(), &3.into()));
    assert_eq!(document["scenarios"][0]["outcome"], "skipped");
    let counts = &document["counts"];
    assert_eq!((&counts["judgedDenials"], &counts["excusedClaims"]), (&0.into(), &1.into()));
    assert!(counts["judged"].as_u64() > Some(0), "what is allowed was judged: {counts}");
    let own = &document["profiles"][0];
    assert_eq!((&own["excusedDenials"], &own["denials"]), (&1.into(), &1.into()));

    let finished = with(&["--verbose"]).exits(3);
    let lines = |start: &str| -> Vec<_> {
        finished.stdout.lines().filter(|line| line.trim_start().starts_with(start)).collect()
    };
    assert_snapshot!(lines("warning: ").concat(), @"warning: profile covers-all excuses 1 of 1 denial");
    assert!(lines("one-denial ").concat().contains("skipped, 1 undefined by profile"), "{}", finished.stdout);
    assert!(lines("nothing comes in ").concat().contains("skipped"), "{}", finished.stdout);
    assert!(!finished.stdout.contains(" ok"), "{}", finished.stdout);

    let report = writable_file("profiles/one/junit.xml");
    with(&["--report", report.to_str().unwrap()]).exits(3);
    let junit = std::fs::read_to_string(report).unwrap();
    assert!(junit.contains(r#"<skipped message="1 claim excused by a profile"/>"#), "{junit}");
}

/// Quirks cover only what they explain. With all of them, denials of every scenario are still judged.
#[test]
fn a_profile_of_all_quirks_leaves_denials_judged() {
    let names = [
        "pod-address-in-ip-block",
        "unresolved-port-name",
        "port-name-is-protocol",
        "port-name-of-own-namespace",
        "port-names-mixed",
        "other-direction-of-same-policy",
        "service-port-differs",
        "new-pods-open-at-first",
        "rules-replaced-in-parts",
    ];
    let quirks = names.map(|name| format!("quirk: {name}"));
    let all = profile("all-quirks", &quirks.join("}\n- reason: another\n  references: u\n  cells: {"));
    let finished = netproof(&["run", "--tag", "seeds", "--profile", &all, "-o", "json"], &[]);
    assert_ne!(finished.code, Some(1), "{}", finished.stderr);
    let document = finished.json();
    let own = &document["profiles"][0];
    let (excused, denials) = (own["excusedDenials"].as_u64().unwrap(), own["denials"].as_u64().unwrap());
    assert!(excused > 0 && excused < denials / 10, "{excused} of {denials}");
    let mut denied = BTreeMap::<String, bool>::new();
    for (place, cell) in cells(&document) {
        let scenario = place.split(" › ").next().unwrap().to_owned();
        if cell["expected"] == "deny" || cell["deviation"]["promised"] == "deny" {
            *denied.entry(scenario).or_default() |= cell["verdict"] == "match";
        }
    }
    assert!(denied.len() > 5 && denied.values().all(|is_judged| *is_judged), "{denied:?}");
}

/// The profile covers what was seen of kube-router on a real cluster, cell by cell.
#[test]
fn the_profile_of_kube_router_covers_what_was_seen() {
    let names = ["policy-types", "named-ports", "security-zones", "two-customers"];
    let document = netproof(&["run", "--profile", "kube-router", "-o", "json"], &names).exits(0).json();
    let mut counts = BTreeMap::<String, usize>::new();
    for (place, cell) in excused(&document) {
        assert_eq!(cell["deviation"]["promised"], "deny", "{place}: {cell}");
        *counts.entry(place).or_default() += 1;
    }
    let seen = [
        ("policy-types › an empty list of peers is everybody", 2),
        ("named-ports › a name that nobody has", 12),
        // These cells are open for a moment after each change of other rules. Five of them were seen so.
        ("named-ports › egress by name", 6),
        ("named-ports › ingress by name", 24),
        ("security-zones › the zones", 2),
        ("two-customers › inside, databases only for those who need them", 32),
    ];
    assert_eq!(counts, seen.map(|(place, count)| (place.to_owned(), count)).into());
}

/// The lab has faults that model what profiles describe. Each deviation covers what its fault changes, and nothing else.
#[test]
fn a_profile_covers_what_the_fault_like_it_changes() {
    let cases = [
        ("shared-chains", "kube-router", 0, ["two-customers", "security-zones", "both-sides"]),
        ("unknown-name-is-any-port", "kube-router", 1, ["named-ports", "two-customers", "policy-types"]),
        ("ipblock-without-pods", "ipblock-pods", 0, ["conformance-ip-block", "named-ports", "ip-block"]),
    ];
    for (fault, profile, deviation, names) in cases {
        let with =
            |more: &[&str]| netproof(&["run", "--fault", fault, "-o", "json"], &[&names[..], more].concat());
        assert_eq!(with(&[]).code, Some(1), "{fault} is detected without the profile");
        let finished = with(&["--profile", profile]);
        let document = finished.json();
        assert_eq!(finished.code, Some(0), "{fault}: {} {}", document["counts"], finished.stderr);
        let known = &document["profiles"][0]["deviations"][deviation];
        assert!(known["cells"].as_u64() > Some(0), "{fault}: {known}");
        assert_eq!(known["asPromised"], 0, "{fault}: {known}");
    }
}

#[test]
fn built_in_profiles_are_listed_with_their_differences() {
    let finished = netproof(&["run", "--list-profiles"], &[]).exits(0);
    assert_eq!(finished.stderr, "");
    assert_snapshot!("list", finished.stdout);
}

#[test]
fn invalid_profiles_are_refused() {
    let mut messages = String::new();
    let mut refused = |argument: &str| {
        let message = without_udp(&["--profile", argument]).refusal();
        assert_eq!(message.lines().count(), 1, "{message}");
        messages += &message;
    };
    refused("kube-ruter");
    refused("nothing-like-it");
    refused("missing.yaml");
    refused(&file("profiles/scenario.yaml", deny()));
    let cells = [
        "",
        "quirk: magic",
        "quirks: [unresolved-port-name]",
        "expected: deny",
        "from: nobody",
        "to: []",
        "probes: 80",
        "family: IPv5",
        "expected: undefined",
        "expected: deny, from: \"*\"",
        "expected: allow, from: \"*\"",
        "policies: \"*\", probes: UDP, direction: ingress",
        "policies: x/deny, probes: all, direction: ingress",
        "policies: x/deny, probes: UDP, direction: all",
        "policies: deny, probes: UDP, direction: ingress",
    ];
    for (i, cells) in cells.iter().enumerate() {
        refused(&profile(&format!("bad-{i}"), cells));
    }
    let head = "apiVersion: netproof.dev/v1alpha1\nkind: Profile\nmetadata: {name: bad, description: d}\n";
    let deviations = [
        "deviations: []\n",
        "deviations: [{reason: r, cells: {quirk: port-names-mixed}}]\n",
        "deviations: [{reason: \" \", references: u, cells: {quirk: port-names-mixed}}]\n",
        "deviations: [{reason: r, references: [], cells: {quirk: port-names-mixed}}]\n",
        "deviation: []\n",
    ];
    for (i, deviations) in deviations.iter().enumerate() {
        refused(&file(&format!("profiles/worse-{i}.yaml"), head.to_owned() + deviations));
    }
    assert_snapshot!("refused", messages);
}

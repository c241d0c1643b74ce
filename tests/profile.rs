//! Profiles: what they leave undefined neither passes nor fails, by the program itself.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use insta::assert_snapshot;
use serde_json::Value;

use crate::machine::{Finished, User, file, folder, run, scenario_file};

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
    file(&format!("profiles/{name}.yaml"), content).to_str().unwrap().to_owned()
}

/// Nothing may come in, which a lab that ignores UDP lets pass.
const DENY: &str = "\
apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {name: deny}
topology: {namespaces: [{name: x, pods: [{name: a}, {name: b}]}]}
probes: [80/TCP, 80/UDP]
steps:
- name: nothing comes in
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: deny, namespace: x}
    spec: {podSelector: {}}
  expect:
  - {from: \"*\", to: self, allow: [all]}
  - {from: \"*\", to: \"*\", deny: [all]}
  intent:
  - {from: \"*\", to: \"*\", deny: [all]}
";

/// What covers the denials of UDP, and no others.
const NO_UDP: &str = "policies: x/deny, probes: UDP, direction: ingress, expected: deny";

fn without_udp(arguments: &[&str]) -> Finished {
    let scenario = file("profiles/deny/deny.yaml", DENY);
    let first = ["run", scenario.to_str().unwrap(), "--fault", "ignore-udp"];
    run(User::Ordinary, first.iter().chain(arguments))
}

fn cells(document: &Value) -> Vec<(String, Value)> {
    let mut cells = Vec::new();
    for scenario in document["scenarios"].as_array().unwrap() {
        for step in scenario["steps"].as_array().unwrap() {
            let names = [&scenario["name"], &step["name"]].map(|name| name.as_str().unwrap());
            let own = step["cells"].as_array().unwrap().iter();
            cells.extend(own.map(|cell| (names.join(" › "), cell.clone())));
        }
    }
    cells
}

#[test]
fn a_leak_that_is_known_is_recorded_and_not_judged() {
    assert_eq!(without_udp(&[]).code, Some(1));
    let known = profile("no-udp", NO_UDP);
    let finished = without_udp(&["--profile", &known, "-o", "json"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let document = finished.json();
    assert_eq!(document["counts"]["undefinedByProfile"], 2);
    assert_eq!(
        (&document["counts"]["assertionErrors"], &document["counts"]["policyGaps"]),
        (&0.into(), &0.into())
    );
    let excused = cells(&document).into_iter().filter(|(_, cell)| !cell["deviation"].is_null());
    for (_, cell) in excused {
        assert_eq!(cell["deviation"]["promised"], "deny");
        assert_eq!((&cell["verdict"], &cell["expected"]), (&"undefined".into(), &"undefined".into()));
        assert_eq!((&cell["asserted"], &cell["observed"]), (&"deny".into(), &"connected".into()));
        assert_eq!(cell["attempts"], 1, "nothing is waited for");
    }
    let deviation = &document["profiles"][0]["deviations"][0];
    assert_eq!(deviation["observed"], serde_json::json!({"connected": 2}));
    assert_eq!((&deviation["cells"], &deviation["asPromised"]), (&2.into(), &0.into()));
    // The same leak by another protocol is one.
    let other = profile("no-sctp", "policies: x/deny, probes: SCTP, direction: ingress");
    assert_eq!(without_udp(&["--profile", &other]).code, Some(1));
}

/// Of a new pod only the first moment is left open; what lasts is a leak all the same.
#[test]
fn a_new_pod_that_is_isolated_late_is_left_undefined() {
    let scenario = scenario_file("pods-come-and-go");
    let known = profile("late", "quirk: new-pods-open-at-first");
    let with = |fault: &str| {
        let options = ["-o", "json", "--settle", "5s", "--profile", &known, "--fault", fault];
        run(User::Ordinary, ["run", scenario.to_str().unwrap()].iter().chain(&options))
    };
    let late = with("new-pods-open");
    assert_eq!(late.code, Some(0), "{}", late.stderr);
    let document = late.json();
    let excused: Vec<_> =
        cells(&document).into_iter().filter(|(_, cell)| !cell["deviation"].is_null()).collect();
    assert!(excused.len() > 4, "{excused:?}");
    assert!(excused.iter().all(|(_, cell)| cell["verdict"] == "undefined"));
    assert!(excused.iter().all(|(_, cell)| cell["deliveredUntilMs"].is_u64()));
    // Where the pods are isolated at once, nothing is excused.
    let sound = run(User::Ordinary, ["run", scenario.to_str().unwrap(), "-o", "json", "--profile", &known]);
    assert_eq!(sound.json()["counts"]["undefinedByProfile"], 0, "{}", sound.stderr);
    assert!(!sound.stdout.contains("no cell of this run is decided"), "{}", sound.stdout);
    assert_eq!(with("no-enforcement").code, Some(1));
}

/// One of a Service's pods is open, and the other is closed by a policy that also lets the client send. All are on one
/// node, as only a sender's node knows that an address was a Service's.
const HALF_CLOSED: &str = "\
apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {name: half-closed}
topology:
  namespaces:
  - name: x
    pods:
    - {name: client, node: 1, labels: {role: isolated}}
    - {name: open, node: 1, labels: {app: web}}
    - {name: closed, node: 1, labels: {app: web, role: isolated}}
    services: [{name: web, selector: {app: web}, ports: [{port: 80}]}]
probes: [80/TCP]
steps:
- name: one of two pods is closed
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: p, namespace: x}
    spec: {podSelector: {matchLabels: {role: isolated}}, policyTypes: [Ingress, Egress], egress: [{}]}
";

/// A profile said nothing of single endpoints, and so every profile hid what reached the closed one.
#[test]
fn a_closed_endpoint_stays_judged_unless_a_profile_covers_it() {
    let scenario = file("profiles/half-closed/half-closed.yaml", HALF_CLOSED);
    let leaks = |fault: &str, profiles: &[&str]| -> Vec<String> {
        let options = ["run", scenario.to_str().unwrap(), "-o", "json", "--fault", fault];
        let profiles = profiles.iter().flat_map(|profile| ["--profile", profile]);
        let finished = run(User::Ordinary, options.into_iter().chain(profiles));
        let cells = cells(&finished.json()).into_iter().map(|(_, cell)| cell);
        let leaks = cells.filter(|cell| cell["to"] == "service:x/web" && cell["verdict"] == "leak");
        leaks.map(|cell| cell["from"].as_str().unwrap().to_owned()).collect()
    };
    for profiles in [&[][..], &["cilium"], &["aws-vpc-cni", "ovn-kubernetes"]] {
        assert_eq!(leaks("services-open", profiles), ["x/client", "x/open"], "{profiles:?}");
    }
    // Chains that are shared explain what the policy's own pods send, and no more.
    assert_eq!(leaks("services-open", &["kube-router"]), ["x/open"]);
    assert_eq!(leaks("shared-chains", &["cilium"]), ["x/client"]);
    assert_eq!(leaks("shared-chains", &["kube-router"]), [""; 0]);
}

/// While rules are replaced, only a moment is left open, and only what peers and ports of the policy's rules explain.
#[test]
fn what_passes_while_rules_are_replaced_is_left_undefined() {
    let policy = |peer: &str, port: u16| {
        let rule = format!(
            "{{from: [{{podSelector: {{matchLabels: {{app: {peer}}}}}}}], ports: [{{port: {port}}}]}}"
        );
        let spec = format!("{{podSelector: {{matchLabels: {{app: a}}}}, ingress: [{rule}]}}");
        let metadata = "{name: p, namespace: x}";
        format!(
            "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {metadata}, spec: {spec}}}"
        )
    };
    let head = "apiVersion: netproof.dev/v1alpha1\nkind: Scenario\nmetadata: {name: replaced}\n";
    let pods = ["a", "b", "c"].map(|name| format!("{{name: {name}, labels: {{app: {name}}}}}")).join(", ");
    let topology = format!("topology: {{namespaces: [{{name: x, pods: [{pods}]}}]}}\n");
    let (first, second) = (policy("b", 80), policy("c", 81));
    let steps = [("one", &first), ("other", &second), ("back", &first)]
        .map(|(name, policy)| format!("- {{name: {name}, apply: [{policy}]}}\n"))
        .concat();
    let scenario =
        |name: &str, probes: &str| file(name, format!("{head}{topology}probes: [{probes}]\nsteps:\n{steps}"));
    let mixed = scenario("replaced.yaml", "80/TCP, 81/TCP");
    let known = profile("in-parts", "quirk: rules-replaced-in-parts");
    let with = |scenario: &Path, options: &[&str]| {
        run(User::Ordinary, ["run", scenario.to_str().unwrap(), "-o", "json"].iter().chain(options))
    };
    let counts = |result: &Finished| {
        let json = result.json();
        (result.code, json["counts"]["leak"].as_u64(), json["counts"]["undefinedByProfile"].as_u64())
    };
    // On a busy machine, what is brief may take as long as a change usually may.
    let brief = ["--fault", "update-opens-briefly", "--settle", "3s"];
    let leak = with(&mixed, &brief);
    assert_eq!(counts(&leak), (Some(1), Some(2), Some(0)), "{}", leak.stdout);
    // What was excused was denied all the same, so that the next step may not open it either.
    let excused = with(&mixed, &[&brief[..], &["--profile", &known]].concat());
    assert_eq!(counts(&excused), (Some(0), Some(0), Some(4)), "{}", excused.stdout);
    // Where nothing passes, nothing is left open; what stays open is a leak, and so is what no rule has a part of.
    assert_eq!(counts(&with(&mixed, &["--profile", &known])), (Some(0), Some(0), Some(0)));
    assert_eq!(with(&mixed, &["--fault", "no-enforcement", "--profile", &known]).code, Some(1));
    let other = scenario("replaced-other.yaml", "82/TCP");
    let leak = with(&other, &[&brief[..], &["--profile", &known]].concat());
    assert_eq!(counts(&leak), (Some(1), Some(2), Some(0)), "{}", leak.stdout);
}

#[test]
fn what_the_author_got_wrong_stays_an_assertion_error() {
    let scenario =
        file("profiles/wrong/wrong.yaml", DENY.replace("deny: [all]}\n  intent", "allow: [UDP]}\n  intent"));
    let known = profile("no-udp-again", NO_UDP);
    let finished =
        run(User::Ordinary, ["run", scenario.to_str().unwrap(), "--profile", &known, "-o", "json"]);
    assert_eq!(finished.code, Some(1));
    assert_eq!(finished.json()["counts"]["assertionErrors"], 2);
}

#[test]
fn a_difference_that_decides_nothing_is_told() {
    let known = profile("no-udp", NO_UDP);
    let stale = profile("old-times", "quirk: pod-address-in-ip-block");
    let finished = without_udp(&["--profile", &known, "--profile", &stale]);
    assert_eq!(finished.code, Some(0));
    let warning = finished.stdout.lines().find(|line| line.starts_with("warning: ")).unwrap();
    assert_snapshot!(warning.replace(&format!("{}/", folder().display()), ""), @"warning: profile old-times: no cell of this run is decided by this deviation: old-times does it differently (profiles/old-times.yaml:5:3)");
    let document = without_udp(&["--profile", &known, "--profile", &stale, "-o", "json"]).json();
    let is_stale = |i: usize| document["profiles"][i]["deviations"][0]["stale"].clone();
    assert_eq!((is_stale(0), is_stale(1)), (Value::Bool(false), Value::Bool(true)));
}

/// One pod can be reached by nobody: a denial, and an allowance the other way.
const ONE_DENIAL: &str = "\
apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {name: one-denial}
topology: {namespaces: [{name: x, pods: [{name: a}, {name: b, labels: {app: b}}]}]}
probes: [80/UDP]
steps:
- name: nothing comes in
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: deny, namespace: x}
    spec: {podSelector: {matchLabels: {app: b}}}
  expect:
  - {from: x/a, to: x/b, deny: [all]}
  - {from: x/b, to: x/a, allow: [all]}
";

/// A profile with every bound that it needs, which covers the one denial that there is.
#[test]
fn a_profile_that_covers_every_denial_leaves_no_pass() {
    let scenario = file("profiles/one/one-denial.yaml", ONE_DENIAL);
    let known = profile("covers-all", NO_UDP);
    let with = |more: &[&str]| {
        let first = ["run", scenario.to_str().unwrap(), "--profile", &known];
        run(User::Ordinary, first.iter().chain(more))
    };
    let document = with(&["-o", "json"]).json();
    assert_eq!((&document["outcome"], &document["exitCode"]), (&"inconclusive".into(), &3.into()));
    assert_eq!(document["scenarios"][0]["outcome"], "skipped");
    let counts = &document["counts"];
    assert_eq!((&counts["judgedDenials"], &counts["excusedClaims"]), (&0.into(), &1.into()));
    assert!(counts["judged"].as_u64() > Some(0), "what is allowed was judged: {counts}");
    let own = &document["profiles"][0];
    assert_eq!((&own["excusedDenials"], &own["denials"]), (&1.into(), &1.into()));

    let finished = with(&["--verbose"]);
    assert_eq!(finished.code, Some(3), "{}", finished.stdout);
    let lines = |start: &str| -> Vec<_> {
        finished.stdout.lines().filter(|line| line.trim_start().starts_with(start)).collect()
    };
    assert_snapshot!(lines("warning: ").concat(), @"warning: profile covers-all excuses 1 of 1 denial");
    assert!(lines("one-denial ").concat().contains("skipped, 1 undefined by profile"), "{}", finished.stdout);
    assert!(lines("nothing comes in ").concat().contains("skipped"), "{}", finished.stdout);
    assert!(!finished.stdout.contains(" ok"), "{}", finished.stdout);

    let report = file("profiles/one/junit.xml", "");
    std::fs::set_permissions(&report, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(with(&["--report", report.to_str().unwrap()]).code, Some(3));
    let junit = std::fs::read_to_string(report).unwrap();
    assert!(junit.contains(r#"<skipped message="1 claim excused by a profile"/>"#), "{junit}");
}

/// Quirks cover what they explain: all of them together leave denials of every scenario judged.
#[test]
fn a_profile_of_all_mechanisms_leaves_denials_judged() {
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
    let finished = run(User::Ordinary, ["run", "--tag", "seeds", "--profile", &all, "-o", "json"]);
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

/// What was found out about kube-router on a real cluster, cell by cell.
#[test]
fn the_profile_of_kube_router_covers_what_was_seen() {
    let files = ["policy-types", "named-ports", "security-zones", "two-customers"].map(scenario_file);
    let files = files.each_ref().map(|path| path.to_str().unwrap());
    let options = ["run", "--profile", "kube-router", "-o", "json"];
    let finished = run(User::Ordinary, options.iter().chain(&files));
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let mut numbers = BTreeMap::<String, usize>::new();
    for (place, cell) in cells(&finished.json()) {
        if !cell["deviation"].is_null() {
            assert_eq!(cell["deviation"]["promised"], "deny", "{place}: {cell}");
            *numbers.entry(place).or_default() += 1;
        }
    }
    let seen = [
        ("policy-types › an empty list of peers is everybody", 2),
        ("named-ports › a name that nobody has", 12),
        // Open for moments, as often as anything else changes; five of them were seen so.
        ("named-ports › egress by name", 6),
        ("named-ports › ingress by name", 24),
        ("security-zones › the zones", 2),
        ("two-customers › inside, databases only for those who need them", 32),
    ];
    assert_eq!(numbers, seen.map(|(place, number)| (place.to_owned(), number)).into());
}

/// The lab has faults that are modelled on what profiles describe, by other code: each covers what its fault
/// changes, and nothing else.
#[test]
fn a_profile_covers_what_the_fault_like_it_changes() {
    let cases = [
        ("shared-chains", "kube-router", 0, ["two-customers", "security-zones", "both-sides"]),
        ("unknown-name-is-any-port", "kube-router", 1, ["named-ports", "two-customers", "policy-types"]),
        ("ipblock-without-pods", "ipblock-pods", 0, ["conformance-ip-block", "named-ports", "ip-block"]),
    ];
    for (fault, profile, deviation, names) in cases {
        let with = |more: &[&str]| {
            let options = ["run", "--fault", fault, "-o", "json"];
            run(User::Ordinary, options.iter().chain(&names).chain(more))
        };
        assert_eq!(with(&[]).code, Some(1), "{fault} is found without the profile");
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
    let finished = run(User::Ordinary, ["run", "--list-profiles"]);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    assert_snapshot!("list", finished.stdout);
}

#[test]
fn profiles_that_are_none_are_refused() {
    let mut told = String::new();
    let mut refused = |argument: &str| {
        let finished = without_udp(&["--profile", argument]);
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{argument}");
        assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
        told.push_str(&finished.stderr.replace(&format!("{}/", folder().display()), ""));
    };
    refused("kube-ruter");
    refused("nothing-like-it");
    refused("missing.yaml");
    let scenario = file("profiles/scenario.yaml", DENY);
    refused(scenario.to_str().unwrap());
    for (i, cells) in [
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
    ]
    .iter()
    .enumerate()
    {
        refused(&profile(&format!("bad-{i}"), cells));
    }
    let head = "apiVersion: netproof.dev/v1alpha1\nkind: Profile\nmetadata: {name: bad, description: d}\n";
    for (i, rest) in [
        "deviations: []\n",
        "deviations: [{reason: r, cells: {quirk: port-names-mixed}}]\n",
        "deviations: [{reason: \" \", references: u, cells: {quirk: port-names-mixed}}]\n",
        "deviations: [{reason: r, references: [], cells: {quirk: port-names-mixed}}]\n",
        "deviation: []\n",
    ]
    .iter()
    .enumerate()
    {
        let path = file(&format!("profiles/worse-{i}.yaml"), head.to_owned() + rest);
        refused(path.to_str().unwrap());
    }
    assert_snapshot!("refused", told);
}

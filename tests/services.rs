//! The fields of Services: each is modelled, refused by name, or noted by name.

use std::sync::Arc;

use netproof::policy::{Decision, Engine};
use netproof::scenario;
use netproof::snapshot::Snapshot;
use netproof::source::Text;

use crate::readings::{engine, evaluate, flow, pod, policy};
use crate::support::{self, cells, run_json, scenario_file};

/// Two nodes with a client each. The first node also has two servers behind a Service.
fn cluster(spec: &str, policies: &str) -> Engine {
    let pods = [("web-1", 1, 1), ("web-2", 1, 2), ("near", 1, 3), ("far", 2, 4)]
        .map(|(name, node, number)| pod(name, node, number, false))
        .concat()
        .replace("app: web-1", "app: web, track: a")
        .replace("app: web-2", "app: web, track: b");
    let spec = format!("selector: {{app: web}}, ports: [{{port: 8080, targetPort: 80}}], {spec}");
    let service = support::service("name: web, namespace: x", &spec, "");
    engine(&format!("{pods}{service}{policies}"))
}

/// Regression: the result was "allow, match".
#[test]
fn internal_traffic_policy_local_without_a_local_endpoint_promises_nothing() {
    let engine = cluster("clusterIP: 10.96.0.1, internalTrafficPolicy: Local", "");
    assert_eq!(evaluate(&engine, "near", "service:web", 8080).decision, Decision::Allow);
    let far = evaluate(&engine, "far", "service:web", 8080);
    assert_eq!(far.decision, Decision::Undefined);
    assert_eq!(far.reasons[0].to_string(), "undefined: Service x/web has no endpoints");
}

/// Regression: it got a virtual address, and its ports were translated.
#[test]
fn a_headless_service_translates_nothing() {
    let only_80 = policy("podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 80}]}]");
    let engine = cluster("clusterIP: None", &only_80);
    assert_eq!(evaluate(&engine, "far", "service:web", 80).decision, Decision::Allow);
    assert_eq!(evaluate(&engine, "far", "service:web", 8080).decision, Decision::Deny);
    // By the name of the Service, a pod calls its own address.
    assert!(engine.evaluate_arrivals(&flow(&engine, "web-1", "service:web", 81)).iter().any(|(end, at)| {
        *end == flow(&engine, "web-1", "near", 81).source && at.decision == Decision::Allow
    }));
}

#[test]
fn each_backend_of_a_service_has_its_own_promise() {
    let second_closed = policy("podSelector: {matchLabels: {track: b}}, policyTypes: [Ingress]");
    let engine = cluster("clusterIP: 10.96.0.1", &second_closed);
    let arrivals = engine.evaluate_arrivals(&flow(&engine, "far", "service:web", 8080));
    let decisions: Vec<_> = arrivals.iter().map(|(_, expectation)| expectation.decision).collect();
    assert_eq!(decisions, [Decision::Allow, Decision::Deny]);
    let reasons = evaluate(&engine, "far", "service:web", 8080).reasons;
    let reasons: Vec<_> = reasons.iter().map(ToString::to_string).collect();
    assert_eq!(
        reasons,
        [
            "undefined: the policies treat the endpoints of Service x/web differently",
            "if at x/web-1: allow",
            "if at x/web-2: deny",
        ]
    );
}

/// Regression: an ExternalName Service was not mentioned.
#[test]
fn what_the_expected_matrix_does_not_show_of_a_service_is_noted() {
    let notes = |spec: &str| {
        let content = support::service("name: s, namespace: x", spec, "");
        let text = Text { name: Arc::from("s.yaml"), content };
        let snapshot = Snapshot::read(&text.documents().unwrap(), None).unwrap();
        snapshot.unshown.keys().map(ToString::to_string).collect::<Vec<_>>()
    };
    for (spec, beginning) in [
        ("type: ExternalName, externalName: example.com", "type ExternalName"),
        ("selector: {a: b}, ports: [{port: 80}], externalIPs: [203.0.113.1]", "externalIPs"),
        ("type: NodePort, selector: {a: b}, ports: [{port: 80}], externalIPs: [203.0.113.1]", "externalIPs"),
        ("type: NodePort, ports: [{port: 80}]", "no selector"),
        ("type: LoadBalancer, ports: [{port: 80}]", "no selector"),
    ] {
        let notes = notes(spec);
        assert!(notes.len() == 1 && notes[0].starts_with(beginning), "{spec}: {notes:?}");
    }
    for spec in [
        // These Services have rows.
        "type: ClusterIP, selector: {a: b}, ports: [{port: 80}]",
        "type: NodePort, selector: {a: b}, ports: [{port: 80}]",
        "type: LoadBalancer, selector: {a: b}, ports: [{port: 80}]",
        // With `Local`, nodes keep the client's address, so the rows of external addresses apply.
        "type: LoadBalancer, externalTrafficPolicy: Local, ports: [{port: 80}]",
        "ports: [{port: 80}]",
    ] {
        assert!(notes(spec).is_empty(), "{spec}");
    }
    let both = notes("type: NodePort, ports: [{port: 80}], externalIPs: [203.0.113.1]");
    assert_eq!(both.len(), 2, "{both:?}");
}

#[test]
fn scenarios_refuse_the_fields_of_services_that_they_cannot_test() {
    for (spec, message) in [
        ("clusterIP: None", "spec.clusterIP: a headless Service"),
        ("clusterIPs: [None]", "spec.clusterIPs: a headless Service"),
        ("type: ExternalName, externalName: example.com", "spec.type: ExternalName is not supported"),
        ("type: LoadBalancer", "spec.type: LoadBalancer is not supported"),
        ("type: Clusterip", "spec.type: `Clusterip` is none of"),
        ("type: NodePort, externalTrafficPolicy: Local", "spec.externalTrafficPolicy: not supported"),
        ("internalTrafficPolicy: Near", "spec.internalTrafficPolicy: `Near` is none of Cluster, Local"),
        ("sessionAffinity: ClientIP", "spec.sessionAffinity: not supported"),
        ("externalTrafficPolicy: local", "spec.externalTrafficPolicy: `local` is none of"),
        ("sessionAffinity: clientip", "spec.sessionAffinity: `clientip` is none of"),
        ("ipFamilies: [ipv4]", "spec.ipFamilies[0]: `ipv4` is none of"),
        ("ipFamilyPolicy: Dual", "spec.ipFamilyPolicy: `Dual` is none of"),
        ("publishNotReadyAddresses: true", "spec.publishNotReadyAddresses: not supported"),
        ("ipFamilies: [IPv4]", "spec.ipFamilies: not supported"),
        ("ipFamilyPolicy: SingleStack", "spec.ipFamilyPolicy: not supported"),
        ("externalIPs: [203.0.113.1]", "spec.externalIPs: not supported"),
    ] {
        let error = load(spec).unwrap_err();
        assert!(error.contains(message) && error.starts_with("scenario.yaml:12:"), "{spec}: {error}");
    }
    for spec in ["internalTrafficPolicy: Local", "type: NodePort", "sessionAffinity: None"] {
        load(spec).unwrap();
    }
}

fn load(spec: &str) -> Result<(), String> {
    let service = format!("spec: {{selector: {{app: a}}, ports: [{{port: 80}}], {spec}}}");
    let steps = format!(
        "- name: a Service
  apply:
  - apiVersion: v1
    kind: Service
    metadata: {{name: s, namespace: x}}
    {service}
"
    );
    let topology = "namespaces: [{name: x, pods: [{name: a, labels: {app: a}}]}]";
    let content = support::scenario("a", topology, "80/TCP", &steps);
    let text = Text { name: Arc::from("scenario.yaml"), content };
    scenario::load(&[text]).map(|_| ()).map_err(|error| error.to_string())
}

/// Returns the verdict, the expectation and the reached node of each cell of a Service with an open pod and a closed one.
fn half_closed(options: &[&str]) -> Vec<[String; 3]> {
    let cells = cells(&run_json(&scenario_file("backends"), options).json());
    let of_service = cells.iter().filter(|(place, cell)| {
        place.ends_with("› one of two pods is closed") && cell["to"] == "service:y/web"
    });
    let text = |cell: &serde_json::Value, field: &str| cell[field].as_str().unwrap_or("-").to_owned();
    of_service.map(|(_, cell)| ["verdict", "expected", "toNode"].map(|field| text(cell, field))).collect()
}

/// Regression: such a cell was undefined, whatever the packets did.
#[test]
fn a_closed_endpoint_that_answers_for_its_service_is_a_leak() {
    let as_promised = half_closed(&[]);
    assert!(!as_promised.is_empty());
    assert!(as_promised.iter().all(|[verdict, ..]| verdict == "undefined"), "{as_promised:?}");
    let open = half_closed(&["--fault", "no-enforcement"]);
    assert_eq!(open.len(), as_promised.len());
    let is_leak = |cell: &&[String; 3]| cell[..2] == ["leak", "deny"] && cell[2] != "-";
    // A pod of the Service may reach itself, and this is not filtered. Such a cell can be no leak.
    assert!(open.iter().filter(is_leak).count() * 2 > open.len(), "{open:?}");
}

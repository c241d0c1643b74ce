//! The fields of Services: each is modelled, or refused or noted by name.

use std::sync::Arc;

use netproof::policy::{Decision, Engine};
use netproof::scenario;
use netproof::snapshot::Snapshot;
use netproof::source::Text;

use crate::machine::{User, run, scenario_file};
use crate::readings::{engine, evaluate, flow, pod, policy};

/// A client on each node, two servers on the first, and a Service before these.
fn cluster(spec: &str, policies: &str) -> Engine {
    let pods = [
        pod("web-1", 1, 1, false),
        pod("web-2", 1, 2, false),
        pod("near", 1, 3, false),
        pod("far", 2, 4, false),
    ];
    let pods =
        pods.concat().replace("app: web-1", "app: web, track: a").replace("app: web-2", "app: web, track: b");
    let service = format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: x}}\nspec: {{selector: {{app: web}}, ports: [{{port: 8080, targetPort: 80}}], {spec}}}\n"
    );
    engine(&format!("{pods}{service}{policies}"))
}

/// It was "allow, match".
#[test]
fn internal_traffic_policy_local_without_a_local_endpoint_promises_nothing() {
    let engine = cluster("clusterIP: 10.96.0.1, internalTrafficPolicy: Local", "");
    assert_eq!(evaluate(&engine, "near", "service:web", 8080).decision, Decision::Allow);
    let far = evaluate(&engine, "far", "service:web", 8080);
    assert_eq!(far.decision, Decision::Undefined);
    assert_eq!(far.reasons[0].to_string(), "undefined: Service x/web has no endpoints");
}

/// It got a virtual address, and its ports were translated.
#[test]
fn a_headless_service_translates_nothing() {
    let only_80 = policy("podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 80}]}]");
    let engine = cluster("clusterIP: None", &only_80);
    assert_eq!(evaluate(&engine, "far", "service:web", 80).decision, Decision::Allow);
    assert_eq!(evaluate(&engine, "far", "service:web", 8080).decision, Decision::Deny);
    // By its name a pod calls its own address.
    assert!(engine.evaluate_arrivals(&flow(&engine, "web-1", "service:web", 81)).iter().any(|(end, at)| {
        *end == flow(&engine, "web-1", "near", 81).source && at.decision == Decision::Allow
    }));
}

#[test]
fn each_backend_of_a_service_has_its_own_promise() {
    let engine = cluster(
        "clusterIP: 10.96.0.1",
        &policy("podSelector: {matchLabels: {track: b}}, policyTypes: [Ingress]"),
    );
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

/// ExternalName disappeared.
#[test]
fn what_the_expected_matrix_does_not_show_of_a_service_is_noted() {
    let service = |spec: &str| {
        let content =
            format!("apiVersion: v1\nkind: Service\nmetadata: {{name: s, namespace: x}}\nspec: {{{spec}}}\n");
        let text = Text { name: Arc::from("s.yaml"), content };
        let snapshot = Snapshot::from_documents(&text.documents().unwrap()).unwrap();
        snapshot.unshown.keys().map(ToString::to_string).collect::<Vec<_>>()
    };
    for (spec, beginning) in [
        ("type: ExternalName, externalName: example.com", "type ExternalName"),
        ("selector: {a: b}, ports: [{port: 80}], externalIPs: [203.0.113.1]", "externalIPs"),
        ("type: NodePort, selector: {a: b}, ports: [{port: 80}], externalIPs: [203.0.113.1]", "externalIPs"),
        ("type: NodePort, ports: [{port: 80}]", "no selector"),
        ("type: LoadBalancer, ports: [{port: 80}]", "no selector"),
    ] {
        let notes = service(spec);
        assert!(notes.len() == 1 && notes[0].starts_with(beginning), "{spec}: {notes:?}");
    }
    // These have rows of their own.
    for kind in ["ClusterIP", "NodePort", "LoadBalancer"] {
        assert!(service(&format!("type: {kind}, selector: {{a: b}}, ports: [{{port: 80}}]")).is_empty());
    }
    // With `Local` nodes keep the client's address: the rows of addresses outside are the answer.
    for spec in
        ["type: LoadBalancer, externalTrafficPolicy: Local, ports: [{port: 80}]", "ports: [{port: 80}]"]
    {
        assert!(service(spec).is_empty(), "{spec}");
    }
    let both = service("type: NodePort, ports: [{port: 80}], externalIPs: [203.0.113.1]");
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
        assert!(error.contains(message) && error.starts_with("scenario.yaml:11:"), "{spec}: {error}");
    }
    for spec in ["internalTrafficPolicy: Local", "type: NodePort", "sessionAffinity: None"] {
        load(spec).unwrap();
    }
}

fn load(spec: &str) -> Result<(), String> {
    let content = format!(
        "\
apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {{name: a}}
topology: {{namespaces: [{{name: x, pods: [{{name: a, labels: {{app: a}}}}]}}]}}
steps:
- name: a Service
  apply:
  - apiVersion: v1
    kind: Service
    metadata: {{name: s, namespace: x}}
    spec: {{selector: {{app: a}}, ports: [{{port: 80}}], {spec}}}
"
    );
    let text = Text { name: Arc::from("scenario.yaml"), content };
    scenario::load(&[text]).map(|_| ()).map_err(|error| error.to_string())
}

/// Each cell of a Service of which one pod is closed: its verdict, what is expected, and the node that was reached.
fn half_closed(arguments: &[&str]) -> Vec<[String; 3]> {
    let path = scenario_file("backends");
    let all = [&["run", path.to_str().unwrap(), "-o", "json"], arguments].concat();
    let report = run(User::Ordinary, all).json();
    let mut steps = report["scenarios"][0]["steps"].as_array().unwrap().iter();
    let step = steps.find(|step| step["name"] == "one of two pods is closed").unwrap();
    let cells = step["cells"].as_array().unwrap().iter().filter(|cell| cell["to"] == "service:y/web");
    let text = |cell: &serde_json::Value, field: &str| cell[field].as_str().unwrap_or("-").to_owned();
    cells.map(|cell| ["verdict", "expected", "toNode"].map(|field| text(cell, field))).collect()
}

/// Such a cell was undefined, whatever the packets did.
#[test]
fn a_closed_endpoint_that_answers_for_its_service_is_a_leak() {
    let as_promised = half_closed(&[]);
    assert!(!as_promised.is_empty());
    assert!(as_promised.iter().all(|[verdict, ..]| verdict == "undefined"), "{as_promised:?}");
    let open = half_closed(&["--fault", "no-enforcement"]);
    assert_eq!(open.len(), as_promised.len());
    let is_leak = |cell: &&[String; 3]| cell[..2] == ["leak", "deny"] && cell[2] != "-";
    // A pod of the Service may reach itself, which is not filtered: such a cell need not be a leak.
    assert!(open.iter().filter(is_leak).count() * 2 > open.len(), "{open:?}");
}

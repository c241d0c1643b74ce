//! Flows for which the specification has several readings. They are undefined only if the readings disagree.

use std::sync::Arc;

use netproof::policy::{Destination, Endpoint, Engine, Expectation, Flow, IpFamily, Node, Port, Protocol};
use netproof::snapshot::Snapshot;
use netproof::source::Text;

use crate::support::{self, object};

/// Returns the engine of these manifests, with two nodes.
pub(crate) fn engine(manifests: &str) -> Engine {
    let text = Text { name: Arc::from("cluster.yaml"), content: manifests.to_owned() };
    let mut cluster = Snapshot::read(&text.documents().unwrap(), None).unwrap().cluster;
    cluster.nodes = [1, 2]
        .map(|number| Node {
            name: format!("node-{number}"),
            addresses: vec![format!("172.18.0.{number}").parse().unwrap()],
            external_addresses: Vec::new(),
        })
        .into();
    Engine::new(cluster)
}

/// Returns the destination of a name: a pod, an external address, or `service:` and the name of a Service.
fn destination(engine: &Engine, name: &str) -> Destination {
    match name.strip_prefix("service:") {
        Some(name) => {
            let mut services = engine.services();
            Destination::Service(services.find(|(_, service)| service.name == name).unwrap().0)
        }
        None => Destination::Endpoint(end(engine, name)),
    }
}

fn end(engine: &Engine, name: &str) -> Endpoint {
    let pod = engine.pods().find(|(_, pod)| pod.name == name);
    pod.map_or_else(|| Endpoint::External(name.parse().unwrap()), |(id, _)| Endpoint::Pod(id))
}

pub(crate) fn evaluate(engine: &Engine, from: &str, to: &str, port: u16) -> Expectation {
    engine.evaluate(&flow(engine, from, to, port))
}

pub(crate) fn flow(engine: &Engine, from: &str, to: &str, port: u16) -> Flow {
    Flow {
        source: end(engine, from),
        destination: destination(engine, to),
        family: IpFamily::V4,
        protocol: Protocol::Tcp,
        port: Port::new(port).unwrap(),
    }
}

/// Returns the decision and the reasons, each on its own line.
fn explained(engine: &Engine, from: &str, to: &str, port: u16) -> String {
    let Expectation { decision, reasons } = evaluate(engine, from, to, port);
    let reasons = reasons.iter().map(|reason| format!("\n{reason}")).collect::<String>();
    format!("{decision}{reasons}")
}

pub(crate) fn pod(name: &str, node: u8, number: u8, host_network: bool) -> String {
    let address = if host_network { format!("172.18.0.{node}") } else { format!("10.0.{node}.{number}") };
    let containers = "containers: [{name: c, ports: [{name: http, containerPort: 80}]}]";
    let spec = format!("spec: {{nodeName: node-{node}, hostNetwork: {host_network}, {containers}}}");
    let status = format!("status: {{phase: Running, podIPs: [{{ip: {address}}}]}}");
    let metadata = format!("name: {name}, namespace: x, labels: {{app: {name}}}");
    object("v1", "Pod", &metadata, &format!("{spec}\n{status}\n"))
}

pub(crate) fn policy(spec: &str) -> String {
    support::policy("name: p, namespace: x", spec)
}

fn hosts(spec: &str) -> Engine {
    let pods = [pod("web", 1, 1, false), pod("near", 1, 2, true), pod("far", 2, 3, true)].concat();
    engine(&format!("{pods}{}", policy(spec)))
}

/// Regression: it was undefined, so an enforcer that did nothing passed.
#[test]
fn a_host_network_peer_behind_a_default_deny_is_denied_in_both_readings() {
    let engine = hosts("podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress, Egress]");
    for (from, to) in [("web", "far"), ("far", "web")] {
        assert!(explained(&engine, from, to, 80).starts_with("deny\nisolated for"), "{from} {to}");
    }
    for (from, to) in [("web", "near"), ("near", "web")] {
        assert_eq!(
            explained(&engine, from, to, 80),
            "undefined\nundefined: x/near uses its node's network\n\
             if a pod with hostNetwork counts as its node: allow\n\
             if a pod with hostNetwork counts as a pod: deny",
            "traffic from the pod's own node is never denied"
        );
    }
}

#[test]
fn a_selector_matches_a_host_network_peer_in_one_reading_and_a_block_in_both() {
    let by_selector = "podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: far}}}]}]";
    assert_eq!(
        explained(&hosts(by_selector), "web", "far", 80),
        "undefined\nundefined: x/far uses its node's network\n\
         if a pod with hostNetwork counts as its node: deny\n\
         if a pod with hostNetwork counts as a pod: allow"
    );
    let by_block = "podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 172.18.0.2/32}}]}]";
    assert!(explained(&hosts(by_block), "web", "far", 80).starts_with("allow"));
}

/// Regression: `expect` said undefined for pods, and everything for external addresses.
#[test]
fn a_host_network_subject_has_one_answer_for_pods_and_for_addresses_outside() {
    let engine = hosts("podSelector: {matchLabels: {app: far}}, policyTypes: [Egress]");
    let mut reach = engine.reach();
    let external = reach.external()[0].0;
    let pod = |name| match end(&engine, name) {
        Endpoint::Pod(id) => id,
        Endpoint::Node(_) | Endpoint::External(_) => unreachable!(),
    };
    let [far, web] = [pod("far"), pod("web")].map(|id| reach.pod(id).unwrap());
    for to in [web, external] {
        let id = reach.between(&[far], &[to]);
        let connections = reach.connections(id);
        assert!(connections.allowed.is_empty() && connections.undefined.is_all(), "{connections:?}");
    }
    for to in ["web", "203.0.113.1", "near"] {
        assert!(explained(&engine, "far", to, 80).starts_with("undefined\n"), "{to}");
    }
}

fn service(spec: &str) -> String {
    let pods = [pod("web", 1, 1, false), pod("client", 2, 2, false)].concat();
    let ports = "clusterIP: 10.96.0.1, selector: {app: web}, ports: [{port: 8080, targetPort: 80}]";
    let service = support::service("name: web, namespace: x", ports, "");
    format!("{pods}{service}{}", policy(spec))
}

#[test]
fn a_hairpin_that_the_rules_allow_is_allowed_in_both_readings() {
    let closed = engine(&service("podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]"));
    assert_eq!(
        explained(&closed, "web", "service:web", 8080),
        "undefined\nundefined: the pod may reach itself through Service x/web\n\
         if a pod always reaches itself: allow\n\
         if a pod is filtered on its way to itself: deny"
    );
    let open =
        engine(&service("podSelector: {}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {}}]}]"));
    assert!(explained(&open, "web", "service:web", 8080).starts_with("allow"));
}

#[test]
fn a_block_with_the_address_of_a_service_or_of_its_endpoint_decides_in_one_reading() {
    for (address, before, after) in [("10.96.0.1", "allow", "deny"), ("10.0.1.1", "deny", "allow")] {
        let spec = format!(
            "podSelector: {{matchLabels: {{app: client}}}}, policyTypes: [Egress], egress: [{{to: [{{ipBlock: {{cidr: {address}/32}}}}]}}]"
        );
        assert_eq!(
            explained(&engine(&service(&spec)), "client", "service:web", 8080),
            format!(
                "undefined\nundefined: x/p egress[0] compares an ipBlock with a Service's virtual address\n\
                 if blocks see the endpoint's address: {after}\n\
                 if blocks see the Service's address: {before}"
            )
        );
    }
    let both = "podSelector: {matchLabels: {app: client}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}}]}]";
    assert!(explained(&engine(&service(both)), "client", "service:web", 8080).starts_with("allow"));
}

//! Compares the policy engine with other implementations of the same rules.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use fastrand::Rng;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube_core::{Selector, SelectorExt};
use netproof::generate::{Universe, cluster_policy, policy};
use netproof::naive::{self, Answer, End, Objects, Question, Target};
use netproof::policy::{
    Decision, Destination, Endpoint, Engine, Flow, IpFamily, Labels, Node, PolicyName, Port, Protocol,
    Reason, UndefinedCause,
};
use netproof::snapshot::Snapshot;
use netproof::source::{self, Document, Text};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::unknown_facts::over_families;

/// Number of random sets of policies, if the environment does not name another one.
const SETS: u64 = 10_000;
/// Variable with the number of random sets of policies.
const NUMBER_OF_SETS: &str = "NETPROOF_SETS";
/// Number of questions about each set.
const QUESTIONS: usize = 12;

/// A random cluster: manifests, and the nodes, which have no manifests.
#[derive(Default)]
pub(crate) struct Manifests {
    pub(crate) namespaces: Vec<Value>,
    pub(crate) pods: Vec<Value>,
    services: Vec<Value>,
    pub(crate) policies: Vec<Value>,
    pub(crate) cluster_policies: Vec<Value>,
    nodes: Vec<(String, Vec<IpAddr>)>,
}

pub(crate) const EXTERNAL: [&str; 5] =
    ["203.0.113.10", "203.0.113.200", "198.51.100.1", "2001:db8::10", "2001:db9::1"];
/// The ranges of node addresses.
const NODES: [&str; 2] = ["172.18.0.0/24", "fd00:ffff::/64"];
pub(crate) const PORTS: [u16; 6] = [53, 80, 81, 90, 8080, 30080];

fn universe() -> Universe {
    let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
    let block = |cidr: &str, inside: &[&str]| (cidr.to_owned(), owned(inside));
    Universe {
        namespaces: owned(&["x", "y", "z"]),
        namespace_labels: vec![("team", owned(&["red", "blue"])), ("env", owned(&["prod", ""]))],
        pod_labels: vec![("app", owned(&["web", "db"])), ("tier", owned(&["front", "back", ""]))],
        ports: PORTS.to_vec(),
        port_names: vec!["http", "admin"],
        protocols: vec!["TCP", "UDP", "SCTP"],
        addresses: Vec::new(),
        blocks: vec![
            block("0.0.0.0/0", &["203.0.113.0/24", "10.0.0.0/8"]),
            block("::/0", &["2001:db8::/32", "fd00::/16"]),
            block("10.0.0.0/8", &["10.0.1.0/24", "10.96.0.0/16", "10.0.0.1/32"]),
            // Host bits are ignored.
            block("10.0.1.77/24", &["10.0.1.2/32"]),
            block("10.96.0.0/16", &[]),
            block("172.18.0.0/24", &["172.18.0.1/32"]),
            block("203.0.113.0/24", &["203.0.113.10/32", "203.0.113.128/25"]),
            block("fd00::/16", &["fd00:0:0:1::/64"]),
            block("2001:db8::/32", &[]),
        ],
    }
}

pub(crate) fn manifests(rng: &mut Rng) -> Manifests {
    let universe = universe();
    let mut manifests = Manifests::default();
    for number in 1..=2 {
        let addresses = match rng.u8(..6) {
            0 => vec![],
            1 => vec![format!("172.18.0.{number}")],
            _ => vec![format!("172.18.0.{number}"), format!("fd00:ffff::{number}")],
        };
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        manifests.nodes.push((format!("node-{number}"), addresses));
    }
    for name in &universe.namespaces {
        // The naive evaluator has to know all labels, so every namespace is in the input.
        let has_labels = rng.u8(..6) > 0;
        let labels = if has_labels { labels(rng, &universe.namespace_labels) } else { json!({}) };
        manifests.namespaces.push(json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels },
        }));
        for i in 0..rng.usize(1..4) {
            manifests.pods.push(pod(rng, &universe, name, i));
        }
        if rng.bool() {
            manifests.services.push(service(rng, &universe, name));
        }
    }
    // Some clusters have policies of one kind only.
    let (count, most_for_cluster) = match rng.u8(..6) {
        0 | 1 => (rng.usize(1..5), 1),
        2 => (0, 8),
        _ => (rng.usize(1..5), 8),
    };
    for i in 0..count {
        manifests.policies.push(policy(rng, &universe, &format!("policy-{i}")));
    }
    // Random port names for random address ranges would hardly ever match.
    if rng.u8(..3) == 0 {
        manifests.policies.push(names_for_blocks(rng, &universe));
    }
    for i in 0..rng.usize(..most_for_cluster) {
        let is_first = manifests.cluster_policies.iter().all(|p| p["kind"] != "BaselineAdminNetworkPolicy");
        let policy = cluster_policy(rng, &universe, &format!("for-all-{i}"), is_first);
        manifests.cluster_policies.push(policy);
    }
    manifests
}

/// Returns an egress policy with port names for address ranges, and sometimes with other peers and ports.
fn names_for_blocks(rng: &mut Rng, universe: &Universe) -> Value {
    let blocks: Vec<_> = universe.blocks.iter().map(|(cidr, _)| cidr).collect();
    let mut to: Vec<_> = (0..2).map(|_| json!({ "ipBlock": { "cidr": rng.choice(&blocks) } })).collect();
    if rng.u8(..4) == 0 {
        to.push(json!({ "podSelector": { "matchLabels": labels(rng, &universe.pod_labels) } }));
    }
    let protocols = ["TCP", "UDP", "SCTP"];
    let names =
        protocols.map(|protocol| json!({ "protocol": protocol, "port": rng.choice(&universe.port_names) }));
    let mut ports = names.to_vec();
    if rng.u8(..4) == 0 {
        ports.push(json!({ "protocol": rng.choice(protocols), "port": rng.choice(PORTS) }));
    }
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": { "name": "names-for-blocks", "namespace": rng.choice(&universe.namespaces) },
        "spec": { "podSelector": {}, "policyTypes": ["Egress"], "egress": [{ "to": to, "ports": ports }] },
    })
}

fn labels(rng: &mut Rng, keys: &[(&'static str, Vec<String>)]) -> Value {
    let chosen = keys.iter().filter(|_| rng.u8(..4) > 0).collect::<Vec<_>>();
    let chosen = chosen.into_iter().map(|(key, values)| ((*key).to_owned(), json!(rng.choice(values))));
    Value::Object(chosen.collect())
}

fn pod(rng: &mut Rng, universe: &Universe, namespace: &str, i: usize) -> Value {
    let number = rng.u8(1..4);
    let (v4, v6) = (
        json!({ "ip": format!("10.0.{number}.{}", i + 1) }),
        json!({ "ip": format!("fd00:0:0:{number}::{}", i + 1) }),
    );
    let addresses = match rng.u8(..8) {
        0 => vec![],
        1 => vec![v4],
        2 => vec![v6],
        _ => vec![v4, v6],
    };
    let ports: Vec<_> = (0..rng.usize(..4))
        .map(|_| {
            let mut port = json!({
                "name": rng.choice(&universe.port_names),
                "containerPort": rng.choice(PORTS),
                "protocol": rng.choice(["TCP", "UDP", "SCTP"]),
            });
            if rng.u8(..20) == 0 {
                port["hostPort"] = json!(rng.choice(PORTS));
            }
            port
        })
        .collect();
    let containers: Vec<_> = ports
        .iter()
        .enumerate()
        .map(|(i, port)| json!({ "name": format!("c{i}"), "ports": [port] }))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": format!("pod-{i}"), "namespace": namespace, "labels": labels(rng, &universe.pod_labels) },
        "spec": {
            "nodeName": rng.choice(["node-1", "node-2"]),
            "hostNetwork": rng.u8(..8) == 0,
            "containers": containers,
        },
        "status": { "podIPs": addresses, "phase": if rng.u8(..10) == 0 { "Succeeded" } else { "Running" } },
    })
}

fn service(rng: &mut Rng, universe: &Universe, namespace: &str) -> Value {
    let (key, values) = &universe.pod_labels[0];
    let selector = if rng.u8(..6) == 0 { json!({}) } else { json!({ *key: rng.choice(values) }) };
    let target = match rng.u8(..3) {
        0 => json!(80),
        1 => json!("http"),
        _ => Value::Null,
    };
    let cluster_ips: &[&str] = match rng.u8(..4) {
        0 => &["None"],
        1 => &["10.96.0.7"],
        _ => &["10.96.0.7", "fd00:96::7"],
    };
    let mut port = json!({ "port": rng.choice(PORTS), "protocol": rng.choice(["TCP", "UDP"]) });
    let local = rng.u8(..4) == 0;
    if !target.is_null() {
        port["targetPort"] = target;
    }
    if rng.u8(..4) == 0 {
        port["nodePort"] = json!(8080);
    }
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "service", "namespace": namespace },
        "spec": {
            "selector": selector, "clusterIPs": cluster_ips, "ports": [port],
            "internalTrafficPolicy": if local { "Local" } else { "Cluster" },
            "type": if rng.u8(..8) == 0 && cluster_ips != ["None"] { "LoadBalancer" } else { "ClusterIP" },
        },
    })
}

impl Manifests {
    fn documents(&self) -> Vec<Document> {
        let name = Arc::from("random");
        let document = |object| Document { name: Arc::clone(&name), node: source::from_json(object) };
        self.objects().map(document).collect()
    }

    /// Returns all objects. Nodes are not among them.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &Value> {
        let all = self.namespaces.iter().chain(&self.pods).chain(&self.services).chain(&self.policies);
        all.chain(&self.cluster_policies)
    }

    pub(crate) fn engine(&self) -> Engine {
        let mut cluster = Snapshot::read(&self.documents(), None).unwrap().cluster;
        let node = |(name, addresses): &(String, Vec<IpAddr>)| Node {
            name: name.clone(),
            addresses: addresses.clone(),
            external_addresses: Vec::new(),
        };
        cluster.nodes = self.nodes.iter().map(node).collect();
        cluster.node_ranges = NODES.map(|net| net.parse().unwrap()).to_vec();
        Engine::new(cluster)
    }

    fn world(&self) -> Objects {
        fn typed<T: DeserializeOwned>(values: &[Value]) -> Vec<T> {
            values.iter().map(|value| serde_json::from_value(value.clone()).unwrap()).collect()
        }
        Objects {
            namespaces: typed(&self.namespaces),
            nodes: self.nodes.clone(),
            pods: typed(&self.pods),
            services: typed(&self.services),
            policies: typed(&self.policies),
            cluster_policies: self.cluster_policies.clone(),
        }
    }

    fn is_alive(&self, pod: usize) -> bool {
        self.pods[pod]["status"]["phase"] != "Succeeded"
    }

    fn end(&self, rng: &mut Rng) -> End {
        match rng.u8(..8) {
            0 => End::Node(rng.usize(..self.nodes.len())),
            1 | 2 => End::External(rng.choice(EXTERNAL).unwrap().parse().unwrap()),
            _ => {
                let alive: Vec<_> = (0..self.pods.len()).filter(|pod| self.is_alive(*pod)).collect();
                rng.choice(alive).map_or(End::Node(0), End::Pod)
            }
        }
    }

    pub(crate) fn question(&self, rng: &mut Rng) -> Question {
        let source = self.end(rng);
        let mut question = Question {
            source,
            target: Target::End(self.end(rng)),
            ipv6: rng.bool(),
            protocol: rng.choice(["TCP", "UDP", "SCTP"]).unwrap(),
            port: rng.choice(PORTS).unwrap(),
        };
        // Half of the ports are declared by the pod, because names only match declared ports.
        if let Target::End(End::Pod(pod)) = question.target
            && rng.bool()
            && let Some(container) = rng.choice(self.pods[pod]["spec"]["containers"].as_array().unwrap())
        {
            let port = &container["ports"][0];
            question.port = u16::try_from(port["containerPort"].as_u64().unwrap()).unwrap();
            question.protocol = match port["protocol"].as_str().unwrap() {
                "UDP" => "UDP",
                "SCTP" => "SCTP",
                _ => "TCP",
            };
        }
        if !self.services.is_empty() && rng.u8(..4) == 0 {
            let service = rng.usize(..self.services.len());
            question.target = Target::Service(service);
            // Most of the ports are those of the Service.
            if rng.u8(..8) > 0 {
                let port = &self.services[service]["spec"]["ports"][0];
                question.port = u16::try_from(port["port"].as_u64().unwrap()).unwrap();
                question.protocol = if port["protocol"] == "UDP" { "UDP" } else { "TCP" };
            }
        }
        question
    }
}

pub(crate) fn flow(engine: &Engine, question: Question) -> Flow {
    let end = |end| match end {
        End::Pod(at) => Endpoint::Pod(engine.pods().nth(at).unwrap().0),
        End::Node(at) => Endpoint::Node(engine.nodes().nth(at).unwrap().0),
        End::External(address) => Endpoint::External(address),
    };
    Flow {
        source: end(question.source),
        destination: match question.target {
            Target::End(target) => Destination::Endpoint(end(target)),
            Target::Service(at) => Destination::Service(engine.services().nth(at).unwrap().0),
        },
        family: if question.ipv6 { IpFamily::V6 } else { IpFamily::V4 },
        protocol: question.protocol.parse().unwrap(),
        port: Port::new(question.port).unwrap(),
    }
}

/// Returns a name for a rare reason, such as a cluster-scoped policy or a port name for an ipBlock.
fn rare_reason(reason: &Reason) -> Option<&'static str> {
    match reason {
        Reason::DeniedBy(_) => Some("denied by a rule"),
        Reason::PassedBy(_) => Some("passed by a rule"),
        Reason::AllowedBy { rule, .. } if matches!(rule.policy, PolicyName::Cluster(_)) => {
            Some("accepted by a rule")
        }
        Reason::Undefined(UndefinedCause::Unordered { .. }) => Some("unordered"),
        Reason::Undefined(UndefinedCause::OwnNodeDenied(_)) => Some("own node denied"),
        Reason::Undefined(UndefinedCause::NodeLabelsUnknown(_)) => Some("node labels"),
        Reason::Undefined(UndefinedCause::DomainNames(_)) => Some("domain names"),
        Reason::Undefined(UndefinedCause::PortNameForIpBlock(_)) => Some("port name for an ipBlock"),
        Reason::Undefined(UndefinedCause::PortNameRepeated(_)) => Some("port name of two ports"),
        Reason::Undefined(UndefinedCause::HostPort { .. }) => Some("host port"),
        Reason::NotIsolated(_)
        | Reason::AllowedBy { .. }
        | Reason::Isolated { .. }
        | Reason::OwnAddress
        | Reason::OwnNode
        | Reason::NoPodNetwork
        | Reason::Undefined(_)
        | Reason::Reading { .. } => None,
    }
}

fn compare(seed: u64, answers: &mut BTreeMap<&'static str, usize>) {
    let mut rng = Rng::with_seed(seed);
    let manifests = manifests(&mut rng);
    let (engine, world) = (manifests.engine(), manifests.world());
    for _ in 0..QUESTIONS {
        let question = manifests.question(&mut rng);
        let computed = engine.evaluate(&flow(&engine, question));
        let decision = match naive::evaluate(&world, question) {
            Answer::Allow => Decision::Allow,
            Answer::Deny => Decision::Deny,
            Answer::Undefined => Decision::Undefined,
        };
        *answers.entry(decision.name()).or_default() += 1;
        for reason in computed.reasons.iter().filter_map(rare_reason) {
            *answers.entry(reason).or_default() += 1;
        }
        assert!(!computed.reasons.is_empty());
        assert_eq!(
            computed.decision,
            decision,
            "seed {seed}, {question:?}: the engine says {computed:?}, the naive evaluator {decision}; {:#}",
            json!({ "pods": manifests.pods, "services": manifests.services, "policies": manifests.policies, "cluster_policies": manifests.cluster_policies, "namespaces": manifests.namespaces, "nodes": manifests.nodes })
        );
    }
}

#[test]
fn the_engine_agrees_with_a_naive_evaluator_over_10_000_random_policy_sets() {
    let sets = std::env::var(NUMBER_OF_SETS).map_or(SETS, |number| number.parse().unwrap());
    let threads: Vec<_> = (0..2)
        .map(|thread| {
            std::thread::spawn(move || {
                let mut answers = BTreeMap::new();
                for seed in (0..sets).filter(|seed| seed % 2 == thread) {
                    compare(seed, &mut answers);
                }
                answers
            })
        })
        .collect();
    let mut answers = BTreeMap::<_, usize>::new();
    for thread in threads {
        for (decision, count) in thread.join().unwrap() {
            *answers.entry(decision).or_default() += count;
        }
    }
    // Every answer has to occur often enough.
    for decision in ["allow", "deny", "undefined"] {
        let share = answers[decision] as f64 / (sets as f64 * QUESTIONS as f64);
        assert!(share > 0.1, "only {share:.2} of the answers are `{decision}`: {answers:?}");
    }
    for (reason, least) in [
        ("accepted by a rule", 2_500),
        ("denied by a rule", 2_500),
        ("passed by a rule", 1_000),
        ("unordered", 250),
        ("own node denied", 10),
        ("node labels", 50),
        ("domain names", 50),
        ("port name for an ipBlock", 50),
        ("port name of two ports", 15),
        ("host port", 50),
    ] {
        let count = answers.get(reason).copied().unwrap_or_default() as u64;
        assert!(count * SETS >= least * sets, "{reason}: {answers:?}");
    }
}

/// The sets of flows between two ends contain the same flows as single evaluations.
#[test]
fn the_sets_of_allowed_ports_agree_with_single_flows() {
    // Counts of denied flows for which the sets say denied, and undefined.
    let mut denied_to_hosts = (0, 0);
    for seed in 0..1_500 {
        let mut rng = Rng::with_seed(seed);
        let manifests = manifests(&mut rng);
        let engine = manifests.engine();
        let mut reach = engine.reach();
        let pods: Vec<_> = engine.pods().filter(|(_, pod)| !pod.ended).collect();
        let external = reach.external();
        let group = |reach: &netproof::policy::Reach<'_>, end| match end {
            Endpoint::Pod(id) => reach.pod(id).unwrap(),
            Endpoint::External(address) => {
                external
                    .iter()
                    .find(|(_, range)| range.first() <= address && address <= range.last())
                    .unwrap()
                    .0
            }
            Endpoint::Node(_) => unreachable!(),
        };
        for _ in 0..6 {
            let end = |rng: &mut Rng| match rng.u8(..4) {
                0 => Endpoint::External(rng.choice(EXTERNAL).unwrap().parse().unwrap()),
                _ => rng
                    .choice(&pods)
                    .map_or(Endpoint::External([192, 0, 2, 1].into()), |(id, _)| Endpoint::Pod(*id)),
            };
            let (source, destination) = (end(&mut rng), end(&mut rng));
            if source == destination
                || !matches!((source, destination), (Endpoint::Pod(_), _) | (_, Endpoint::Pod(_)))
            {
                continue;
            }
            let pod = |end| pods.iter().find(|(id, _)| end == Endpoint::Pod(*id)).map(|(_, pod)| pod);
            let (mut is_host_pair, mut has_host) = (false, false);
            if let (Some(from), Some(to)) = (pod(source), pod(destination)) {
                // A group has pods of several nodes, so some pods of the two groups may share a node.
                let nodes = |id| {
                    let alike = pods.iter().filter(|(other, _)| reach.pod(*other) == reach.pod(id));
                    alike.map(|(_, pod)| pod.node.clone()).collect::<BTreeSet<_>>()
                };
                let (Endpoint::Pod(source), Endpoint::Pod(destination)) = (source, destination) else {
                    unreachable!()
                };
                let share_node = !nodes(source).is_disjoint(&nodes(destination));
                is_host_pair = from.host_network || to.host_network;
                has_host = is_host_pair && share_node;
                // Traffic between a pod and its own node has another rule.
                if has_host && from.node == to.node {
                    continue;
                }
            }
            let (from, to) = (group(&reach, source), group(&reach, destination));
            // A range of addresses is not split at the addresses of nodes.
            let part = external.iter().find(|(group, _)| *group == to).map(|(_, range)| *range);
            let is_node = |net: &&str| {
                let net: ipnet::IpNet = net.parse().unwrap();
                part.is_some_and(|part| part.first() <= net.broadcast() && net.network() <= part.last())
            };
            let is_at_node = NODES.iter().any(is_node);
            let is_node_port = |protocol: Protocol, port: Port| {
                let mut of_services = engine.services().flat_map(|(_, service)| service.node_ports());
                of_services.any(|(of, ports)| of == protocol && ports.contains(port))
                    || pods.iter().any(|(_, pod)| pod.host_ports.contains(&(protocol, port)))
            };
            let id = reach.between(&[from], &[to]);
            let connections = reach.connections(id).clone();
            for protocol in Protocol::ALL {
                for port in PORTS.iter().chain(&[1, 65535]) {
                    let port = Port::new(*port).unwrap();
                    let decisions = IpFamily::ALL.map(|family| {
                        let destination = Destination::Endpoint(destination);
                        let flow = Flow { source, destination, family, protocol, port };
                        let expectation = engine.evaluate(&flow);
                        let is_real = !matches!(
                            expectation.reasons[0],
                            Reason::Undefined(UndefinedCause::NoAddress { .. })
                        );
                        is_real.then_some(expectation.decision)
                    });
                    let decisions: Vec<_> = decisions.into_iter().flatten().collect();
                    let has_families = [source, destination]
                        .into_iter()
                        .filter_map(pod)
                        .all(|pod| !pod.addresses.is_empty());
                    let expected = match is_at_node && !decisions.is_empty() && is_node_port(protocol, port) {
                        true => (false, true),
                        false => over_families(&decisions, has_families, has_host),
                    };
                    let found = (
                        connections.allowed.contains(protocol, port),
                        connections.undefined.contains(protocol, port),
                    );
                    // If the two readings allow the flow at different ends, the set is wider: undefined.
                    if is_host_pair && expected == (false, false) {
                        let is_wider = found == (false, true);
                        denied_to_hosts.0 += usize::from(!is_wider);
                        denied_to_hosts.1 += usize::from(is_wider);
                        if is_wider {
                            continue;
                        }
                    }
                    assert_eq!(found, expected, "seed {seed}: {source:?} {destination:?} {protocol} {port}");
                }
            }
        }
    }
    let (exactly, wider) = denied_to_hosts;
    assert!(exactly > 4 * wider && exactly > 1_000, "{denied_to_hosts:?}");
}

/// Compares our label selectors with those of the Kubernetes client library.
#[test]
fn label_selectors_agree_with_kubes_own() {
    let universe = universe();
    let mut rng = Rng::with_seed(1);
    let mut matched = 0;
    for _ in 0..20_000 {
        let manifest = policy(&mut rng, &universe, "p");
        let own = &Snapshot::read(
            &Text { name: Arc::from("random"), content: manifest.to_string() }.documents().unwrap(),
            None,
        )
        .unwrap()
        .cluster
        .policies[0]
            .subjects;
        let selector: LabelSelector =
            serde_json::from_value(manifest["spec"]["podSelector"].clone()).unwrap_or_default();
        let kubes: Selector = selector.try_into().unwrap();
        let labels: Labels = serde_json::from_value(labels(&mut rng, &universe.pod_labels)).unwrap();
        assert_eq!(own.matches(&labels), kubes.matches(&labels), "{own} {labels:?}");
        matched += usize::from(own.matches(&labels));
    }
    assert!((5_000..15_000).contains(&matched), "{matched} of 20,000 match");
}

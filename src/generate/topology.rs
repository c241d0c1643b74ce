//! A random cluster, and its state while it changes.

use std::ops::Not;

use fastrand::Rng;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::labels::{labels, set};
use super::universe::{Ground, NODE_PORT, PORTS, Universe};

/// Maximum number of pods in a cluster. Each additional pod makes the matrix much larger.
pub(super) const MOST_PODS: usize = 6;

/// A cluster, serialized as a scenario describes it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Topology {
    #[serde(skip)]
    pub(super) ground: Ground,
    nodes: usize,
    families: Vec<&'static str>,
    #[serde(skip_serializing_if = "Not::not")]
    pub(super) node_endpoints: bool,
    /// Whether clients look up Services by name.
    #[serde(skip_serializing_if = "Not::not")]
    services_by_name: bool,
    /// Whether it has cluster-scoped policies.
    #[serde(skip)]
    pub(super) has_tiers: bool,
    pub(super) namespaces: Vec<Namespace>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    externals: Vec<Value>,
    #[serde(skip)]
    pub(super) probes: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Namespace {
    pub(super) name: String,
    pub(super) labels: Map<String, Value>,
    pub(super) pods: Vec<Pod>,
    pub(super) services: Vec<Service>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pod {
    pub(super) name: String,
    pub(super) labels: Map<String, Value>,
    pub(super) node: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ports: Vec<Value>,
    #[serde(skip_serializing_if = "Not::not")]
    host_network: bool,
    /// The port on which it answers lookups, if it is the DNS server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dns: Option<Value>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) selector: Map<String, Value>,
    pub(super) ports: Vec<Value>,
}

const NAMES: [&str; 3] = ["x", "y", "z"];

/// Names of pods. The name of a removed pod may be used again.
pub(super) const POD_NAMES: [&str; 4] = ["a", "b", "c", "d"];

impl Topology {
    /// Returns the capabilities that the environment must have, as scenarios write them.
    pub(super) fn capabilities(&self) -> Vec<&'static str> {
        let is_needed = [
            ("sctp", self.probes.iter().any(|probe| probe.ends_with("SCTP"))),
            ("ipv4", self.families == ["IPv4", "IPv6"]),
            ("ipv6", self.families.contains(&"IPv6")),
            ("externals", !self.externals.is_empty()),
            ("nodeEndpoints", self.node_endpoints),
            ("hostNetwork", self.pods().any(|(_, pod)| pod.host_network)),
            ("cluster-policies", self.has_tiers),
        ];
        is_needed.into_iter().filter(|(_, is_needed)| *is_needed).map(|(name, _)| name).collect()
    }

    /// Returns a random cluster with one to three nodes and three to six pods.
    pub(super) fn random(rng: &mut Rng, ground: Ground) -> Self {
        let in_lab = ground == Ground::Lab;
        let nodes = *rng.choice(&[1, 2, 2, 2, 3]).unwrap_or(&2);
        let families = match rng.u8(..6) {
            0 if in_lab => vec!["IPv6"],
            1 | 2 if in_lab => vec!["IPv4", "IPv6"],
            3 => vec!["IPv4", "IPv6"],
            _ => vec!["IPv4"],
        };
        let namespaces: Vec<_> = NAMES.iter().take(rng.usize(1..4)).map(|name| (*name).to_owned()).collect();
        let universe = Universe::of_scenarios(ground, &families, namespaces.clone());
        let mut topology = Self {
            ground,
            nodes,
            families,
            node_endpoints: in_lab && rng.u8(..5) == 0,
            services_by_name: rng.u8(..5) == 0,
            // Few clusters have the definitions of cluster-scoped policies.
            has_tiers: in_lab && rng.u8(..3) == 0,
            namespaces: Vec::new(),
            externals: Vec::new(),
            probes: Vec::new(),
        };
        for name in namespaces {
            let labels = labels(rng, &universe.namespace_labels);
            topology.namespaces.push(Namespace { name, labels, pods: Vec::new(), services: Vec::new() });
        }
        for at in 0..rng.usize(3..6) {
            topology.add_pod(rng, &universe, at);
        }
        if in_lab && rng.u8(..5) == 0 {
            topology.use_host_network(rng);
        }
        if in_lab && rng.bool() {
            topology.externals = externals(rng);
        }
        topology.probes = probes(rng);
        if topology.node_endpoints && rng.u8(..4) > 0 {
            topology.probes.push(format!("{NODE_PORT}/TCP"));
        }
        if topology.services_by_name || topology.probes.iter().any(|probe| probe.starts_with("DNS")) {
            topology.add_dns(rng);
        }
        for at in 0..topology.namespaces.len() {
            if rng.u8(..3) == 0
                && let Some(service) = topology.service(rng, &universe)
                && let Some(namespace) = topology.namespaces.get_mut(at)
            {
                namespace.services.push(service);
            }
        }
        topology
    }

    /// Returns what policies may refer to, including the addresses of the pods.
    pub(super) fn universe(&self) -> Universe {
        let names = self.namespaces.iter().map(|namespace| namespace.name.clone()).collect();
        let mut universe = Universe::of_scenarios(self.ground, &self.families, names);
        for (namespace, pod) in self.pods() {
            universe.add_addresses(&self.families, &format!("{}/{}", namespace.name, pod.name));
        }
        universe
    }

    /// Returns all pods, each with its namespace.
    pub(super) fn pods(&self) -> impl Iterator<Item = (&Namespace, &Pod)> {
        self.namespaces.iter().flat_map(|namespace| namespace.pods.iter().map(move |pod| (namespace, pod)))
    }

    pub(super) fn namespace_mut(&mut self, name: &str) -> Option<&mut Namespace> {
        self.namespaces.iter_mut().find(|namespace| namespace.name == name)
    }

    fn add_pod(&mut self, rng: &mut Rng, universe: &Universe, at: usize) {
        let count = self.namespaces.len();
        // The first pods are in different namespaces.
        let place = if at < count { at } else { rng.usize(..count) };
        let pod = self.pod(rng, universe);
        if let Some(namespace) = self.namespaces.get_mut(place)
            && let Some(name) = POD_NAMES.get(namespace.pods.len())
        {
            namespace.pods.push(Pod { name: (*name).to_owned(), ..pod });
        }
    }

    /// Returns a random pod that has no name yet.
    pub(super) fn pod(&self, rng: &mut Rng, universe: &Universe) -> Pod {
        Pod {
            name: String::new(),
            labels: labels(rng, &universe.pod_labels),
            node: rng.usize(1..=self.nodes),
            ports: container_ports(rng),
            host_network: false,
            dns: None,
        }
    }

    /// Makes a pod use its node's network. Sometimes adds a Service that leads to this pod.
    fn use_host_network(&mut self, rng: &mut Rng) {
        let place = rng.usize(..self.namespaces.len());
        let Some(namespace) = self.namespaces.get_mut(place) else { return };
        let Some(pod) = namespace.pods.last_mut() else { return };
        pod.host_network = true;
        if rng.bool() {
            // No other pod has this label, so the Service has one endpoint and one answer.
            pod.labels.insert("app".to_owned(), json!("host"));
            let selector = [("app".to_owned(), json!("host"))].into_iter().collect();
            let (name, ports) = ("host".to_owned(), service_ports(rng));
            namespace.services.push(Service { name, selector, ports });
        }
    }

    /// Adds the DNS server. Its namespace is its own, as usual, or one of the others. Its port is the usual one, or
    /// another.
    fn add_dns(&mut self, rng: &mut Rng) {
        let labels: Map<_, _> = [("k8s-app".to_owned(), json!("kube-dns"))].into_iter().collect();
        let dns = Some(json!({ "port": if rng.bool() { 53 } else { 5353 } }));
        let node = rng.usize(1..=self.nodes);
        let pod = Pod { name: "dns".to_owned(), labels, node, ports: Vec::new(), host_network: false, dns };
        match self.namespaces.last_mut() {
            Some(last) if rng.u8(..3) == 0 => last.pods.push(pod),
            Some(_) | None => self.namespaces.push(Namespace {
                name: "kube-system".to_owned(),
                labels: Map::new(),
                pods: vec![pod],
                services: Vec::new(),
            }),
        }
    }

    /// Returns a Service for the pods with a random label.
    pub(super) fn service(&self, rng: &mut Rng, universe: &Universe) -> Option<Service> {
        let (key, values) = rng.choice(&universe.pod_labels)?;
        let selector = [((*key).to_owned(), json!(rng.choice(values)?))].into_iter().collect();
        Some(Service { name: "service".to_owned(), selector, ports: service_ports(rng) })
    }
}

/// Returns one to four kinds of probes.
fn probes(rng: &mut Rng) -> Vec<String> {
    let mut kinds =
        vec!["80/TCP", "80/TCP", "81/TCP", "82/TCP", "80/UDP", "80/UDP", "81/UDP", "DNS", "DNS", "80/SCTP"];
    rng.shuffle(&mut kinds);
    kinds.truncate(rng.usize(2..5));
    kinds.sort_unstable();
    kinds.dedup();
    kinds.into_iter().map(str::to_owned).collect()
}

fn externals(rng: &mut Rng) -> Vec<Value> {
    let all = [
        json!({ "name": "internet", "ip": ["203.0.113.10", "2001:db8::10"] }),
        json!({ "name": "partner", "ip": ["203.0.113.200"] }),
        json!({ "name": "office", "ip": ["198.51.100.1"] }),
    ];
    let count = if rng.u8(..3) == 0 { 2 } else { 1 };
    let first = rng.usize(..all.len());
    all.iter().cycle().skip(first).take(count).cloned().collect()
}

/// Returns named ports. Their numbers and protocols differ between pods. Each name occurs once, as in every
/// container.
fn container_ports(rng: &mut Rng) -> Vec<Value> {
    let mut ports: Vec<Value> = Vec::new();
    for name in ["http", "admin"] {
        for protocol in ["TCP", "UDP"] {
            let number = rng.choice(PORTS);
            let is_taken = |port: &Value| {
                port["name"] == name || (port["port"] == json!(number) && port["protocol"] == protocol)
            };
            let is_taken = ports.iter().any(is_taken);
            if rng.bool() && !is_taken {
                ports.push(json!({ "name": name, "port": number, "protocol": protocol }));
            }
        }
    }
    // The protocol may be omitted if it is TCP, and so may the name.
    for port in ports.iter_mut().filter_map(Value::as_object_mut) {
        if port.get("protocol") == Some(&json!("TCP")) && rng.u8(..3) == 0 {
            port.remove("protocol");
        }
        if rng.u8(..8) == 0 {
            port.remove("name");
        }
    }
    ports
}

/// Returns one or two ports of a Service.
fn service_ports(rng: &mut Rng) -> Vec<Value> {
    let mut ports = Vec::new();
    for (name, number) in [("main", 8080), ("other", 81)].into_iter().take(rng.usize(1..3)) {
        let mut port = json!({ "name": name, "port": number });
        match rng.u8(..3) {
            0 => {}
            1 => set(&mut port, "targetPort", json!("http")),
            _ => set(&mut port, "targetPort", json!(rng.choice(PORTS))),
        }
        if rng.bool() {
            set(&mut port, "protocol", json!(rng.choice(["TCP", "UDP"])));
        }
        ports.push(port);
    }
    ports
}

//! A random cluster, and its state while it changes.

use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::labels::labels;
use super::universe::{Ground, NODE_PORT, PORTS, Universe};

/// Maximum number of pods in a cluster. Each additional pod makes the matrix much larger.
pub(super) const MOST_PODS: usize = 6;

/// A cluster as a scenario describes it.
#[derive(Debug, Clone)]
pub(super) struct Topology {
    pub(super) ground: Ground,
    pub(super) nodes: usize,
    families: Vec<&'static str>,
    pub(super) node_endpoints: bool,
    /// Whether clients look up Services by name.
    services_by_name: bool,
    /// Whether it has cluster-scoped policies.
    pub(super) has_tiers: bool,
    pub(super) namespaces: Vec<Namespace>,
    externals: Vec<Value>,
    pub(super) probes: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Namespace {
    pub(super) name: String,
    pub(super) labels: Map<String, Value>,
    pub(super) pods: Vec<Pod>,
    pub(super) services: Vec<Service>,
}

#[derive(Debug, Clone)]
pub(super) struct Pod {
    pub(super) name: String,
    pub(super) labels: Map<String, Value>,
    pub(super) node: usize,
    pub(super) ports: Vec<Value>,
    host_network: bool,
    /// The port on which it answers lookups, if it is the DNS server.
    pub(super) dns: Option<u16>,
}

#[derive(Debug, Clone)]
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
        let pods = || self.namespaces.iter().flat_map(|namespace| &namespace.pods);
        let is_needed = [
            ("sctp", self.probes.iter().any(|probe| probe.ends_with("SCTP"))),
            ("ipv4", self.families == ["IPv4", "IPv6"]),
            ("ipv6", self.families.contains(&"IPv6")),
            ("externals", !self.externals.is_empty()),
            ("nodeEndpoints", self.node_endpoints),
            ("hostNetwork", pods().any(|pod| pod.host_network)),
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
                && let Some(service) = topology.service(rng, &universe, "service")
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

    fn add_pod(&mut self, rng: &mut Rng, universe: &Universe, at: usize) {
        let count = self.namespaces.len();
        // The first pods are in different namespaces.
        let place = if at < count { at } else { rng.usize(..count) };
        let pod = self.pod(rng, universe);
        if let Some(namespace) = self.namespaces.get_mut(place) {
            let name =
                POD_NAMES.get(namespace.pods.len()).map_or_else(String::new, |name| (*name).to_owned());
            if !name.is_empty() {
                namespace.pods.push(Pod { name, ..pod });
            }
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
        let port = if rng.bool() { 53 } else { 5353 };
        let node = rng.usize(1..=self.nodes);
        let ports = Vec::new();
        let pod = Pod { name: "dns".to_owned(), labels, node, ports, host_network: false, dns: Some(port) };
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
    pub(super) fn service(&self, rng: &mut Rng, universe: &Universe, name: &str) -> Option<Service> {
        let (key, values) = rng.choice(&universe.pod_labels)?;
        let selector = [((*key).to_owned(), json!(rng.choice(values)?))].into_iter().collect();
        Some(Service { name: name.to_owned(), selector, ports: service_ports(rng) })
    }

    /// Returns the topology as a scenario writes it.
    pub(super) fn to_value(&self) -> Value {
        let mut value = Map::new();
        value.insert("nodes".to_owned(), json!(self.nodes));
        value.insert("families".to_owned(), json!(self.families));
        if self.node_endpoints {
            value.insert("nodeEndpoints".to_owned(), json!(true));
        }
        if self.services_by_name {
            value.insert("servicesByName".to_owned(), json!(true));
        }
        value.insert("namespaces".to_owned(), self.namespaces.iter().map(Namespace::to_value).collect());
        if !self.externals.is_empty() {
            value.insert("externals".to_owned(), json!(self.externals));
        }
        Value::Object(value)
    }
}

impl Namespace {
    fn to_value(&self) -> Value {
        let services = self.services.iter().map(
            |service| json!({ "name": service.name, "selector": service.selector, "ports": service.ports }),
        );
        json!({
            "name": self.name,
            "labels": self.labels,
            "pods": self.pods.iter().map(|pod| Value::Object(pod.to_value())).collect::<Vec<_>>(),
            "services": services.collect::<Vec<_>>(),
        })
    }
}

impl Pod {
    /// Returns the pod as a scenario writes it in its namespace.
    pub(super) fn to_value(&self) -> Map<String, Value> {
        let mut value = Map::new();
        value.insert("name".to_owned(), json!(self.name));
        value.insert("labels".to_owned(), json!(self.labels));
        value.insert("node".to_owned(), json!(self.node));
        if !self.ports.is_empty() {
            value.insert("ports".to_owned(), json!(self.ports));
        }
        if self.host_network {
            value.insert("hostNetwork".to_owned(), json!(true));
        }
        if let Some(port) = self.dns {
            value.insert("dns".to_owned(), json!({ "port": port }));
        }
        value
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
            let is_taken =
                |field: &str, value: &Value| ports.iter().any(|port| port.get(field) == Some(value));
            let number_is_taken =
                ports.iter().any(|port| port["port"] == json!(number) && port["protocol"] == protocol);
            let name_is_taken = is_taken("name", &json!(name));
            if rng.bool() && !number_is_taken && !name_is_taken {
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
        let mut port = Map::new();
        port.insert("name".to_owned(), json!(name));
        port.insert("port".to_owned(), json!(number));
        match rng.u8(..3) {
            0 => {}
            1 => drop(port.insert("targetPort".to_owned(), json!("http"))),
            _ => drop(port.insert("targetPort".to_owned(), json!(rng.choice(PORTS)))),
        }
        if rng.bool() {
            port.insert("protocol".to_owned(), json!(rng.choice(["TCP", "UDP"])));
        }
        ports.push(Value::Object(port));
    }
    ports
}

//! Random changes to a cluster, step by step.

use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::cluster_policy::cluster_policy;
use super::labels::Keys;
use super::policy::policy_in;
use super::topology::{MOST_PODS, POD_NAMES, Topology};
use super::universe::{Ground, NODE_PORT, Universe};

/// Maximum number of policies at the same time.
const MOST_POLICIES: usize = 6;

/// A cluster that changes.
pub(super) struct Changing {
    topology: Topology,
    universe: Universe,
    /// The namespaces and names of the policies in force.
    policies: Vec<(String, String)>,
    /// The kinds and names of the cluster-scoped policies in force.
    cluster_policies: Vec<(String, String)>,
    /// Number of policies that have been created.
    made: usize,
    /// Namespaces and names of the pods that have ended and stay as records.
    ended: Vec<(String, String)>,
}

/// The changes of one step, as a scenario writes them. A step changes nothing twice.
#[derive(Default)]
struct Step {
    apply: Vec<Value>,
    delete: Vec<Value>,
    label: Vec<Value>,
    remove_pod: Vec<Value>,
    end_pod: Vec<Value>,
    add_pod: Vec<Value>,
    keep_open: Vec<Value>,
    touched: Vec<String>,
}

impl Step {
    /// Marks an object as changed. Returns whether this is its first change in this step.
    fn touch(&mut self, object: String) -> bool {
        let is_first = !self.touched.contains(&object);
        self.touched.push(object);
        is_first
    }

    fn into_value(self, name: &str) -> Value {
        let mut value = Map::new();
        value.insert("name".to_owned(), json!(name));
        let Self { apply, delete, label, remove_pod, end_pod, add_pod, keep_open, touched: _ } = self;
        let lists = [
            ("apply", apply),
            ("delete", delete),
            ("label", label),
            ("removePod", remove_pod),
            ("endPod", end_pod),
            ("addPod", add_pod),
            ("keepOpen", keep_open),
        ];
        for (field, list) in lists {
            if !list.is_empty() {
                value.insert(field.to_owned(), Value::Array(list));
            }
        }
        Value::Object(value)
    }
}

impl Changing {
    pub(super) fn new(topology: Topology) -> Self {
        let universe = topology.universe();
        Self {
            topology,
            universe,
            policies: Vec::new(),
            cluster_policies: Vec::new(),
            made: 0,
            ended: Vec::new(),
        }
    }

    /// Returns the next step, with some random changes.
    pub(super) fn step(&mut self, rng: &mut Rng, name: &str) -> Value {
        let mut step = Step::default();
        // Policies may name the addresses of the current pods.
        self.universe = self.topology.universe();
        self.keep_open(rng, &mut step);
        // Without policies, there is nothing to test.
        while self.policies.len() < 2 {
            self.create_policy(rng, &mut step);
        }
        if self.topology.has_tiers && rng.u8(..3) > 0 {
            self.change_cluster_policy(rng, &mut step);
        }
        for _ in 0..rng.usize(1..5) {
            match rng.u8(..18) {
                0..=3 => self.create_policy(rng, &mut step),
                4..=6 => self.update_policy(rng, &mut step),
                7 => self.delete_policy(rng, &mut step),
                8 | 9 => self.label_pod(rng, &mut step),
                10 | 11 => self.label_namespace(rng, &mut step),
                12 => self.remove_pod(rng, &mut step),
                13 => self.replace_pod(rng, &mut step),
                14 => self.add_pod(rng, &mut step),
                15 => self.end_pod(rng, &mut step),
                _ => self.change_service(rng, &mut step),
            }
        }
        step.into_value(name)
    }

    /// Keeps connections open in some steps. This is rare, because waiting for connections takes longer than
    /// everything else.
    fn keep_open(&self, rng: &mut Rng, step: &mut Step) {
        let of_tcp = self.topology.probes.iter().filter(|probe| probe.ends_with("/TCP"));
        let Some(probe) = rng.choice(of_tcp.collect::<Vec<_>>()) else { return };
        if rng.u8(..30) == 0 {
            step.keep_open.push(json!({ "from": "*", "to": "*", "probe": probe }));
        }
    }

    fn create_policy(&mut self, rng: &mut Rng, step: &mut Step) {
        if self.policies.len() >= MOST_POLICIES {
            return self.delete_policy(rng, step);
        }
        self.made += 1;
        let name = format!("policy-{}", self.made);
        let Some(namespace) = rng.choice(&self.universe.namespaces).cloned() else { return };
        step.touch(format!("policy {namespace}/{name}"));
        step.apply.push(policy_in(rng, &self.universe, &namespace, &name));
        self.policies.push((namespace, name));
    }

    fn update_policy(&mut self, rng: &mut Rng, step: &mut Step) {
        let Some((namespace, name)) = rng.choice(&self.policies).cloned() else { return };
        if step.touch(format!("policy {namespace}/{name}")) {
            step.apply.push(policy_in(rng, &self.universe, &namespace, &name));
        }
    }

    fn delete_policy(&mut self, rng: &mut Rng, step: &mut Step) {
        if self.policies.is_empty() {
            return;
        }
        let at = rng.usize(..self.policies.len());
        let Some((namespace, name)) = self.policies.get(at).cloned() else { return };
        if step.touch(format!("policy {namespace}/{name}")) {
            self.policies.remove(at);
            step.delete.push(json!({ "kind": "NetworkPolicy", "namespace": namespace, "name": name }));
        }
    }

    /// Creates a cluster-scoped policy, or changes or deletes one.
    fn change_cluster_policy(&mut self, rng: &mut Rng, step: &mut Step) {
        const MOST: usize = 3;
        if self.cluster_policies.len() >= MOST {
            let (kind, name) = self.cluster_policies.swap_remove(rng.usize(..MOST));
            step.delete.push(json!({ "kind": kind, "name": name }));
            return;
        }
        self.made += 1;
        let made = cluster_policy(rng, &self.universe, &format!("cluster-{}", self.made), true);
        let text =
            |pointer: &str| made.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let own = (text("/kind"), text("/metadata/name"));
        // A second policy with the same name changes the first.
        if !self.cluster_policies.contains(&own) {
            self.cluster_policies.push(own);
        }
        step.apply.push(made);
    }

    fn label_pod(&mut self, rng: &mut Rng, step: &mut Step) {
        let pods = self.topology.namespaces.iter_mut().flat_map(|namespace| {
            let name = namespace.name.clone();
            namespace.pods.iter_mut().map(move |pod| (format!("{name}/{}", pod.name), pod))
        });
        let Some((name, pod)) = rng.choice(pods.collect::<Vec<_>>()) else { return };
        if step.touch(format!("pod {name}")) {
            let changes = relabel(rng, &self.universe.pod_labels, &mut pod.labels);
            step.label.push(json!({ "pod": name, "labels": changes }));
        }
    }

    fn label_namespace(&mut self, rng: &mut Rng, step: &mut Step) {
        let Some(namespace) = rng.choice(&mut self.topology.namespaces) else { return };
        if !step.touch(format!("namespace {}", namespace.name)) {
            return;
        }
        let changes = relabel(rng, &self.universe.namespace_labels, &mut namespace.labels);
        let takes_away = changes.values().any(Value::is_null);
        // A manifest can change labels, too, but cannot remove any.
        if takes_away || rng.u8(..3) > 0 {
            step.label.push(json!({ "namespace": namespace.name, "labels": changes }));
        } else {
            step.apply.push(json!({
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": { "name": namespace.name, "labels": changes },
            }));
        }
    }

    fn remove_pod(&mut self, rng: &mut Rng, step: &mut Step) {
        if self.topology.pods().count() <= 3 {
            return;
        }
        if let Some((namespace, name)) = self.removable(rng, step) {
            self.take_pod(&namespace, &name);
            step.remove_pod.push(json!(format!("{namespace}/{name}")));
        }
    }

    /// Ends a pod, which then stays as a record. A later step removes the record.
    fn end_pod(&mut self, rng: &mut Rng, step: &mut Step) {
        if let Some((namespace, name)) = self.ended.first().cloned() {
            if !step.touch(format!("pod {namespace}/{name}")) {
                return;
            }
            self.ended.clear();
            step.remove_pod.push(json!(format!("{namespace}/{name}")));
            return;
        }
        if self.topology.pods().count() > 3
            && let Some((namespace, name)) = self.removable(rng, step)
        {
            self.take_pod(&namespace, &name);
            step.end_pod.push(json!(format!("{namespace}/{name}")));
            self.ended.push((namespace, name));
        }
    }

    /// Replaces a pod with another one, which may have the same name, the same address, or both.
    fn replace_pod(&mut self, rng: &mut Rng, step: &mut Step) {
        let Some((namespace, name)) = self.removable(rng, step) else { return };
        let Some(node) = self.take_pod(&namespace, &name) else { return };
        step.remove_pod.push(json!(format!("{namespace}/{name}")));
        let place = if rng.bool() { Some(namespace) } else { rng.choice(&self.universe.namespaces).cloned() };
        let place = place.unwrap_or_default();
        let node = if rng.u8(..3) > 0 { Some(node) } else { None };
        self.start_pod(rng, step, &place, node);
    }

    fn add_pod(&mut self, rng: &mut Rng, step: &mut Step) {
        if self.topology.pods().count() < MOST_PODS {
            let place = rng.choice(&self.universe.namespaces).cloned().unwrap_or_default();
            self.start_pod(rng, step, &place, None);
        }
    }

    /// Returns a random pod that this step may remove. It is never the DNS server.
    fn removable(&self, rng: &mut Rng, step: &mut Step) -> Option<(String, String)> {
        let pods = self.topology.pods().filter(|(_, pod)| pod.dns.is_none());
        let names = pods.map(|(namespace, pod)| (namespace.name.clone(), pod.name.clone()));
        let (namespace, name) = rng.choice(names.collect::<Vec<_>>())?;
        step.touch(format!("pod {namespace}/{name}")).then_some((namespace, name))
    }

    /// Removes a pod from the topology. Returns its node.
    fn take_pod(&mut self, namespace: &str, name: &str) -> Option<usize> {
        let namespace = self.topology.namespaces.iter_mut().find(|other| other.name == namespace)?;
        let at = namespace.pods.iter().position(|pod| pod.name == name)?;
        Some(namespace.pods.remove(at).node)
    }

    fn start_pod(&mut self, rng: &mut Rng, step: &mut Step, place: &str, node: Option<usize>) {
        let mut pod = self.topology.pod(rng, &self.universe);
        let Some(namespace) = self.topology.namespaces.iter_mut().find(|n| n.name == place) else { return };
        let has_ended = |name: &str| self.ended.iter().any(|(its, own)| its == place && own == name);
        let is_free = |name: &&str| namespace.pods.iter().all(|pod| pod.name != **name) && !has_ended(name);
        let Some(name) = POD_NAMES.into_iter().find(is_free) else { return };
        pod.name = name.to_owned();
        pod.node = node.unwrap_or(pod.node);
        let mut value = pod.to_value();
        value.insert("namespace".to_owned(), json!(place));
        step.touch(format!("pod {place}/{name}"));
        step.add_pod.push(Value::Object(value));
        namespace.pods.push(pod);
    }

    /// Creates a Service, or changes or deletes it.
    fn change_service(&mut self, rng: &mut Rng, step: &mut Step) {
        let Some(place) = rng.choice(&self.universe.namespaces).cloned() else { return };
        let in_lab = self.topology.ground == Ground::Lab;
        let chance = if self.topology.node_endpoints { 12 } else { 2 };
        let is_free = |own: &str| {
            let others = self.topology.namespaces.iter().filter(|namespace| namespace.name != own);
            let mut ports = others.flat_map(|other| &other.services).flat_map(|service| &service.ports);
            ports.all(|port| port.get("nodePort").is_none())
        };
        let has_node_port = in_lab && rng.u8(..16) < chance && is_free(&place);
        let service = self.topology.service(rng, &self.universe, "service");
        let Some(namespace) = self.topology.namespaces.iter_mut().find(|n| n.name == place) else { return };
        if !step.touch(format!("service {place}")) {
            return;
        }
        let had = namespace.services.len();
        namespace.services.retain(|service| service.name != "service");
        if namespace.services.len() < had && rng.u8(..3) == 0 {
            step.delete.push(json!({ "kind": "Service", "namespace": place, "name": "service" }));
        } else if let Some(mut service) = service {
            let mut spec = Map::new();
            if has_node_port {
                spec.insert("type".to_owned(), json!("NodePort"));
                if let Some(port) = service.ports.first_mut().and_then(Value::as_object_mut) {
                    port.insert("nodePort".to_owned(), json!(NODE_PORT));
                }
            }
            spec.insert("selector".to_owned(), json!(service.selector));
            spec.insert("ports".to_owned(), json!(service.ports));
            step.apply.push(json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": { "name": "service", "namespace": place },
                "spec": spec,
            }));
            namespace.services.push(service);
        }
    }
}

/// Changes or removes one or two labels. Returns the changes.
fn relabel(rng: &mut Rng, keys: &Keys, labels: &mut Map<String, Value>) -> Map<String, Value> {
    let mut changes = Map::new();
    for _ in 0..rng.usize(1..3) {
        let Some((key, values)) = rng.choice(keys) else { continue };
        let value = if rng.u8(..4) == 0 { Value::Null } else { json!(rng.choice(values)) };
        changes.insert((*key).to_owned(), value);
    }
    for (key, value) in &changes {
        match value {
            Value::Null => drop(labels.remove(key)),
            Value::String(_) | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                labels.insert(key.clone(), value.clone());
            }
        }
    }
    changes
}

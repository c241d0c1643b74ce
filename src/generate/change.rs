//! Random changes to a cluster, step by step.

use std::collections::BTreeMap;

use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::cluster_policy::cluster_policy;
use super::labels::{Keys, set};
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
    /// `namespace/name` of a pod that has ended and stays as a record.
    ended: Option<String>,
}

/// The changes of one step. A step changes nothing twice.
#[derive(Default)]
struct Step {
    /// The lists of changes, by the fields of a scenario's step.
    changes: BTreeMap<&'static str, Vec<Value>>,
    touched: Vec<String>,
}

impl Step {
    /// Marks an object as changed. Returns whether this is its first change in this step.
    fn touch(&mut self, object: String) -> bool {
        let is_first = !self.touched.contains(&object);
        self.touched.push(object);
        is_first
    }

    fn push(&mut self, field: &'static str, change: Value) {
        self.changes.entry(field).or_default().push(change);
    }
}

impl Changing {
    pub(super) fn new(topology: Topology) -> Self {
        let universe = topology.universe();
        let (policies, cluster_policies) = (Vec::new(), Vec::new());
        Self { topology, universe, policies, cluster_policies, made: 0, ended: None }
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
        let mut value = json!(step.changes);
        set(&mut value, "name", json!(name));
        value
    }

    /// Keeps connections open in some steps. This is rare, because waiting for connections takes longer than
    /// everything else.
    fn keep_open(&self, rng: &mut Rng, step: &mut Step) {
        let of_tcp = self.topology.probes.iter().filter(|probe| probe.ends_with("/TCP"));
        let Some(probe) = rng.choice(of_tcp.collect::<Vec<_>>()) else { return };
        if rng.u8(..30) == 0 {
            step.push("keepOpen", json!({ "from": "*", "to": "*", "probe": probe }));
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
        step.push("apply", policy_in(rng, &self.universe, &namespace, &name));
        self.policies.push((namespace, name));
    }

    fn update_policy(&mut self, rng: &mut Rng, step: &mut Step) {
        let Some((namespace, name)) = rng.choice(&self.policies).cloned() else { return };
        if step.touch(format!("policy {namespace}/{name}")) {
            step.push("apply", policy_in(rng, &self.universe, &namespace, &name));
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
            step.push("delete", json!({ "kind": "NetworkPolicy", "namespace": namespace, "name": name }));
        }
    }

    /// Creates a cluster-scoped policy, or changes or deletes one.
    fn change_cluster_policy(&mut self, rng: &mut Rng, step: &mut Step) {
        const MOST: usize = 3;
        if self.cluster_policies.len() >= MOST {
            let (kind, name) = self.cluster_policies.swap_remove(rng.usize(..MOST));
            step.push("delete", json!({ "kind": kind, "name": name }));
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
        step.push("apply", made);
    }

    fn label_pod(&mut self, rng: &mut Rng, step: &mut Step) {
        let pods = self.topology.namespaces.iter_mut().flat_map(|namespace| {
            let name = namespace.name.clone();
            namespace.pods.iter_mut().map(move |pod| (format!("{name}/{}", pod.name), pod))
        });
        let Some((name, pod)) = rng.choice(pods.collect::<Vec<_>>()) else { return };
        if step.touch(format!("pod {name}")) {
            let changes = relabel(rng, &self.universe.pod_labels, &mut pod.labels);
            step.push("label", json!({ "pod": name, "labels": changes }));
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
            step.push("label", json!({ "namespace": namespace.name, "labels": changes }));
        } else {
            let metadata = json!({ "name": namespace.name, "labels": changes });
            step.push("apply", json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata }));
        }
    }

    fn remove_pod(&mut self, rng: &mut Rng, step: &mut Step) {
        if self.topology.pods().count() > 3
            && let Some((_, pod, _)) = self.take_pod(rng, step)
        {
            step.push("removePod", json!(pod));
        }
    }

    /// Ends a pod, which then stays as a record. A later step removes the record.
    fn end_pod(&mut self, rng: &mut Rng, step: &mut Step) {
        if let Some(pod) = &self.ended {
            if step.touch(format!("pod {pod}")) {
                step.push("removePod", json!(self.ended.take()));
            }
        } else if self.topology.pods().count() > 3
            && let Some((_, pod, _)) = self.take_pod(rng, step)
        {
            step.push("endPod", json!(pod));
            self.ended = Some(pod);
        }
    }

    /// Replaces a pod with another one, which may have the same name, the same address, or both.
    fn replace_pod(&mut self, rng: &mut Rng, step: &mut Step) {
        let Some((namespace, pod, node)) = self.take_pod(rng, step) else { return };
        step.push("removePod", json!(pod));
        let place = if rng.bool() { Some(namespace) } else { rng.choice(&self.universe.namespaces).cloned() };
        let node = if rng.u8(..3) > 0 { Some(node) } else { None };
        self.start_pod(rng, step, &place.unwrap_or_default(), node);
    }

    fn add_pod(&mut self, rng: &mut Rng, step: &mut Step) {
        if self.topology.pods().count() < MOST_PODS {
            let place = rng.choice(&self.universe.namespaces).cloned().unwrap_or_default();
            self.start_pod(rng, step, &place, None);
        }
    }

    /// Removes a random pod that this step may remove. It is never the DNS server. Returns its namespace, its
    /// `namespace/name` and its node.
    fn take_pod(&mut self, rng: &mut Rng, step: &mut Step) -> Option<(String, String, usize)> {
        let pods = self.topology.pods().filter(|(_, pod)| pod.dns.is_none());
        let names = pods.map(|(namespace, pod)| (namespace.name.clone(), pod.name.clone()));
        let (namespace, name) = rng.choice(names.collect::<Vec<_>>())?;
        let full = format!("{namespace}/{name}");
        if !step.touch(format!("pod {full}")) {
            return None;
        }
        let pods = &mut self.topology.namespace_mut(&namespace)?.pods;
        let at = pods.iter().position(|pod| pod.name == name)?;
        Some((namespace, full, pods.remove(at).node))
    }

    fn start_pod(&mut self, rng: &mut Rng, step: &mut Step, place: &str, node: Option<usize>) {
        let mut pod = self.topology.pod(rng, &self.universe);
        let Some(namespace) = self.topology.namespace_mut(place) else { return };
        let has_ended = |name: &str| self.ended.as_ref().is_some_and(|pod| *pod == format!("{place}/{name}"));
        let is_free = |name: &&str| namespace.pods.iter().all(|pod| pod.name != **name) && !has_ended(name);
        let Some(name) = POD_NAMES.into_iter().find(is_free) else { return };
        pod.name = name.to_owned();
        pod.node = node.unwrap_or(pod.node);
        let mut value = json!(pod);
        set(&mut value, "namespace", json!(place));
        step.touch(format!("pod {place}/{name}"));
        step.push("addPod", value);
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
        let service = self.topology.service(rng, &self.universe);
        let Some(namespace) = self.topology.namespace_mut(&place) else { return };
        if !step.touch(format!("service {place}")) {
            return;
        }
        let had = namespace.services.len();
        namespace.services.retain(|service| service.name != "service");
        if namespace.services.len() < had && rng.u8(..3) == 0 {
            step.push("delete", json!({ "kind": "Service", "namespace": place, "name": "service" }));
        } else if let Some(mut service) = service {
            let mut spec = json!({ "selector": service.selector });
            if has_node_port {
                set(&mut spec, "type", json!("NodePort"));
                if let Some(port) = service.ports.first_mut() {
                    set(port, "nodePort", json!(NODE_PORT));
                }
            }
            set(&mut spec, "ports", json!(service.ports));
            step.push(
                "apply",
                json!({
                    "apiVersion": "v1",
                    "kind": "Service",
                    "metadata": { "name": "service", "namespace": place },
                    "spec": spec,
                }),
            );
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
        if value.is_null() {
            labels.remove(key);
        } else {
            labels.insert(key.clone(), value.clone());
        }
    }
    changes
}

//! A cluster that changes: each change is compiled by itself.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use ipnet::IpNet;

use super::changed::{Changed, Edited, Ends};
use super::cluster::Cluster;
use super::cluster_policy::ClusterPolicy;
use super::compile::Compiler;
use super::ends::Group;
use super::engine::{Engine, PodId};
use super::map::{HashMap, Hashes};
use super::matched::PolicyId;
use super::model::{Namespace, Node, Pod, Service};
use super::name::PolicyName;
use super::network_policy::NetworkPolicy;
use super::ordered::{OrderedPolicy, PeerId, PeerSpec, cluster_scoped, namespaced};
use super::settle::Settled;

/// A change of a cluster. An object that is set is created, or replaces the one of the same name.
#[derive(Debug, Clone)]
pub enum Change {
    /// Sets a pod.
    SetPod(Box<Pod>),
    /// Deletes a pod.
    DeletePod {
        /// `metadata.namespace`
        namespace: String,
        /// `metadata.name`
        name: String,
    },
    /// Sets a namespace, with its labels.
    SetNamespace(Namespace),
    /// Deletes a namespace, by name. Pods that still name it stay.
    DeleteNamespace(String),
    /// Sets a NetworkPolicy.
    SetPolicy(NetworkPolicy),
    /// Sets a cluster-scoped policy.
    SetClusterPolicy(ClusterPolicy),
    /// Deletes a policy of any kind.
    DeletePolicy(PolicyName),
    /// Sets a Service.
    SetService(Box<Service>),
    /// Deletes a Service.
    DeleteService {
        /// `metadata.namespace`
        namespace: String,
        /// `metadata.name`
        name: String,
    },
    /// Sets all nodes, and the ranges that contain all addresses of nodes.
    SetNodes {
        /// All known nodes.
        nodes: Vec<Node>,
        /// Empty if no ranges are known.
        ranges: Vec<IpNet>,
    },
}

/// An [`Engine`] that follows the changes of its cluster.
///
/// The engine answers as one that was compiled from the changed cluster. Names of pods, Services and policies must be
/// unique. If a pod or a Service is deleted, the last one of the list takes its place.
#[derive(Debug)]
pub struct Live {
    compiler: Compiler,
    /// Ids of the pods, by the hashes of their names.
    pods: HashTable<PodId>,
    hashes: Hashes,
    policies: HashMap<PolicyName, PolicyId>,
}

impl Live {
    /// Compiles a cluster.
    pub fn new(cluster: Cluster) -> Self {
        let compiler = Compiler::new(cluster);
        let policies = compiler.policies().map(|(id, policy)| (policy.name.clone(), id)).collect();
        let mut live = Self { compiler, pods: HashTable::new(), hashes: Hashes::default(), policies };
        for at in live.engine().pods.ids() {
            live.enter(at);
        }
        live
    }

    /// Returns the engine for the cluster as it is now.
    pub fn engine(&self) -> &Engine {
        &self.compiler.engine
    }

    /// Applies a change. Deleting an object that does not exist changes nothing.
    pub fn apply(&mut self, change: Change) -> Changed {
        match change {
            Change::SetPod(pod) => self.set_pod(*pod),
            Change::DeletePod { namespace, name } => self.delete_pod(&namespace, &name),
            Change::SetNamespace(namespace) => self.set_namespace(namespace),
            Change::DeleteNamespace(name) => self.set_namespace(Namespace::mentioned(name)),
            Change::SetPolicy(policy) => {
                let name = PolicyName::from(&policy);
                self.set_policy(name, |intern| namespaced(&policy, &mut |peer| intern(peer)))
            }
            Change::SetClusterPolicy(policy) => {
                let name = PolicyName::from(&policy);
                self.set_policy(name, |intern| cluster_scoped(&policy, &mut |peer| intern(peer)))
            }
            Change::DeletePolicy(name) => self.delete_policy(&name),
            Change::SetService(service) => self.set_service(*service),
            Change::DeleteService { namespace, name } => self.delete_service(&namespace, &name),
            Change::SetNodes { nodes, ranges } => {
                self.compiler.set_nodes(nodes, ranges);
                Changed { pods: Vec::new(), pairs: vec![(Ends::All, Ends::All)] }
            }
        }
    }

    fn hash(&self, namespace: &str, name: &str) -> u64 {
        self.hashes.hash_one((namespace, name))
    }

    /// Returns the id of a pod, or `None` if there is no such pod.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<PodId> {
        let is_it = |id: &PodId| {
            let pod = &self.engine().pods[*id];
            pod.namespace == namespace && pod.name == name
        };
        self.pods.find(self.hash(namespace, name), is_it).copied()
    }

    /// Makes a pod known by its name.
    fn enter(&mut self, id: PodId) {
        let pods = &self.compiler.engine.pods;
        let hash = |id: &PodId| {
            let Pod { namespace, name, .. } = &pods[*id];
            self.hashes.hash_one((namespace.as_str(), name.as_str()))
        };
        self.pods.insert_unique(hash(&id), id, hash);
    }

    fn forget(&mut self, id: PodId) {
        let Pod { namespace, name, .. } = &self.compiler.engine.pods[id];
        let hash = self.hashes.hash_one((namespace.as_str(), name.as_str()));
        if let Ok(entry) = self.pods.find_entry(hash, |other| *other == id) {
            entry.remove();
        }
    }

    fn set_pod(&mut self, pod: Pod) -> Changed {
        let Some(id) = self.pod(&pod.namespace, &pod.name) else {
            let id = self.compiler.add_pod(pod);
            self.enter(id);
            let mut changed = Changed { pods: vec![id], pairs: Vec::new() };
            self.add_places(id, &mut changed);
            return changed;
        };
        let mut changed = Changed::default();
        self.add_places(id, &mut changed);
        // The group of before may be gone after the change, but its pairs are those of other pods.
        let is_moved = self.compiler.replace_pod(id, pod);
        if is_moved {
            changed.pods.push(id);
        }
        self.add_places(id, &mut changed);
        changed
    }

    fn delete_pod(&mut self, namespace: &str, name: &str) -> Changed {
        let mut changed = Changed::default();
        let Some(id) = self.pod(namespace, name) else { return changed };
        self.add_places(id, &mut changed);
        self.forget(id);
        let last = self.engine().pods.ids().last().filter(|last| *last != id);
        if let Some(last) = last {
            self.forget(last);
        }
        self.compiler.delete_pod(id);
        if last.is_some() {
            self.enter(id);
        }
        changed
    }

    /// Adds what a pod changes for other pods: its node may be the node of pods with `hostNetwork`, and its `hostPort`s
    /// are ports of its node.
    fn add_places(&self, id: PodId, changed: &mut Changed) {
        let engine = self.engine();
        let pod = &engine.pods[id];
        let hosts = engine.host_groups();
        if let Some(cohort) = engine.cohort_of(id) {
            let own = Ends::These([Group::Pods(cohort)].into_iter().collect());
            changed.add_both(&own, if pod.host_network { &Ends::All } else { &hosts });
        }
        if pod.host_network {
            changed.add_both(&hosts, &Ends::All);
        }
        if !pod.host_ports.is_empty() && !pod.ended {
            changed.pairs.push((Ends::All, engine.ends_with_node_ports()));
        }
    }

    fn set_namespace(&mut self, namespace: Namespace) -> Changed {
        Changed { pods: self.compiler.set_namespace(namespace), pairs: Vec::new() }
    }

    fn set_policy(
        &mut self,
        name: PolicyName,
        convert: impl FnOnce(&mut dyn FnMut(PeerSpec) -> PeerId) -> OrderedPolicy,
    ) -> Changed {
        let before = self.policies.get(&name).copied();
        let now = self.compiler.add_policy(convert);
        self.policies.insert(name, now);
        let settled = self.compiler.settle();
        let versions: Vec<Edited> =
            before.into_iter().chain([now]).filter_map(|id| self.compiler.edited(id)).collect();
        let mut changed = self.engine().decided_by(&versions);
        self.add_divided(&settled, &mut changed);
        match before {
            Some(before) => self.remove(before, changed),
            None => changed,
        }
    }

    fn delete_policy(&mut self, name: &PolicyName) -> Changed {
        let Some(id) = self.policies.remove(name) else { return Changed::default() };
        let versions: Vec<_> = self.compiler.edited(id).into_iter().collect();
        let changed = self.engine().decided_by(&versions);
        self.remove(id, changed)
    }

    /// Removes a policy. `changed` is what it decides.
    fn remove(&mut self, policy: PolicyId, changed: Changed) -> Changed {
        let representatives = self.engine().representatives();
        self.compiler.remove_policy(policy);
        let settled = self.compiler.settle();
        let mut changed = changed.renamed(&representatives, self.engine());
        self.add_divided(&settled, &mut changed);
        changed
    }

    /// Adds what changes for pods and addresses that are divided into other groups than before: whether any pods of two
    /// groups share a node, and whether a group has addresses of nodes.
    fn add_divided(&self, settled: &Settled, changed: &mut Changed) {
        let engine = self.engine();
        if settled.is_cut || settled.are_keys_others {
            changed.add_both(&engine.host_groups(), &Ends::All);
        }
        if settled.is_cut && engine.node_ports().next().is_some() {
            changed.pairs.push((Ends::All, engine.outside()));
        }
    }

    fn set_service(&mut self, service: Service) -> Changed {
        let services = &mut self.compiler.engine.services;
        let is_it = |other: &Service| other.namespace == service.namespace && other.name == service.name;
        let id = services.iter().find(|(_, other)| is_it(other)).map(|(id, _)| id);
        let ports: Vec<_> = service.node_ports().collect();
        let before = match id {
            Some(id) => services.replace(id, service),
            None => {
                services.push(service);
                None
            }
        };
        let before: Vec<_> = before.iter().flat_map(Service::node_ports).collect();
        self.node_ports_changed(ports != before)
    }

    fn delete_service(&mut self, namespace: &str, name: &str) -> Changed {
        let services = &mut self.compiler.engine.services;
        let is_it = |other: &Service| other.namespace == namespace && other.name == name;
        let id = services.iter().find(|(_, other)| is_it(other)).map(|(id, _)| id);
        let removed = id.and_then(|id| services.swap_remove(id));
        self.node_ports_changed(removed.is_some_and(|service| service.node_ports().next().is_some()))
    }

    fn node_ports_changed(&self, are_others: bool) -> Changed {
        let pairs = are_others.then(|| (Ends::All, self.engine().ends_with_node_ports()));
        Changed { pods: Vec::new(), pairs: pairs.into_iter().collect() }
    }
}

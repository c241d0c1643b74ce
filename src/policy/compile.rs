//! Compiles a cluster, and keeps the compiled form up to date.
//!
//! Everything is compiled in the same way at the start and after a change: policies are registered, and pods are
//! attached to their classes. A change only repeats what it touches.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::arena::{Arena, Id};
use super::changed::Edited;
use super::class::{Kin, KinId};
use super::cluster::Cluster;
use super::cuts::Cuts;
use super::engine::Engine;
use super::map::HashMap;
use super::matched::{CompiledPeer, PolicyId};
use super::membership::MatchedAtoms;
use super::model::Namespace;
use super::network_policy::NetworkPolicy;
use super::ordered::{OrderedPolicy, PeerId, PeerSpec, PodScope, cluster_scoped, namespaced};
use super::pool::Pool;
use super::rule::{PortSpec, Ports};
use super::scopes::{Counts, InArea, PeerSet, Scopes, SubjectId, SubjectSet, Use, keys};

/// An engine, and everything that is needed to change it.
#[derive(Debug, Default)]
pub(super) struct Compiler {
    pub(super) engine: Engine,
    pub(super) namespaces: Arena<Namespace>,
    by_name: HashMap<String, Id<Namespace>>,
    /// The areas of each namespace, by the index of the namespace.
    pub(super) areas: Vec<Vec<InArea>>,
    pub(super) scopes: Scopes,
    subjects: Pool<PodScope>,
    peers: Pool<PeerSpec>,
    /// Policies with these subjects, by the index of the selector.
    pub(super) policies_of: Vec<Vec<PolicyId>>,
    /// The subjects of each policy, by the index of the policy.
    subject_of: Vec<SubjectId>,
    /// All policies in their order, and the position of each of them there, by its index.
    order: Vec<PolicyId>,
    pub(super) ranks: Vec<usize>,
    free_policies: Vec<PolicyId>,
    /// The label keys of pods that selectors read.
    pub(super) keys: Counts,
    /// The port names that rules read.
    pub(super) names: Counts,
    pub(super) kins: Pool<Kin>,
    /// The selectors that match each kin, by its index.
    pub(super) signatures: Vec<Signature>,
    pub(super) kin_of: Vec<KinId>,
    pub(super) cuts: Cuts,
    /// Count of peers that are nodes.
    node_peers: usize,
    pub(super) node_ranges: Vec<IpNet>,
    /// Count of pods with `hostNetwork`. If there are any, it matters on which nodes other pods run.
    pub(super) hosts: usize,
    pub(super) touched: Touched,
}

/// The selectors that match the pods of a kin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signature {
    pub(super) subjects: Id<SubjectSet>,
    pub(super) peers: Id<PeerSet>,
}

/// What changes of policies touch.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Keys and port names that are read now and were not before, or the other way round.
    pub(super) keys: BTreeSet<String>,
    pub(super) names: BTreeSet<String>,
    /// Whether areas came or went.
    pub(super) areas: bool,
    /// Scopes that came.
    pub(super) scopes: Vec<PodScope>,
    /// Namespaces about which there was a scope that went.
    pub(super) namespaces: BTreeSet<Id<Namespace>>,
    /// Whether the address space has to be divided again.
    pub(super) space: bool,
    /// Subjects whose policies changed.
    pub(super) subjects: BTreeSet<SubjectId>,
}

impl Engine {
    /// Compiles a cluster. A namespace that only pods name counts as existing.
    pub fn new(cluster: Cluster) -> Self {
        Compiler::new(cluster).engine
    }
}

impl Compiler {
    pub(super) fn new(cluster: Cluster) -> Self {
        let Cluster { namespaces, nodes, node_ranges, pods, services, policies, cluster_policies } = cluster;
        let mut all = Self { node_ranges, ..Self::default() };
        all.engine.nodes = nodes.into();
        all.engine.services = services.into();
        let mut list: Vec<_> = policies.iter().map(|policy| all.convert(policy)).collect();
        for policy in &cluster_policies {
            list.push(cluster_scoped(policy, &mut |peer| all.acquire_peer(peer)));
        }
        list.sort_by(|a, b| a.order().cmp(&b.order()));
        for policy in list {
            all.order.push(Id::new(all.order.len()));
            all.insert(policy);
        }
        all.ranks = (0..all.order.len()).collect();
        for namespace in namespaces {
            all.add_namespace(namespace);
        }
        all.cut();
        all.touched = Touched::default();
        all.hosts = pods.iter().filter(|pod| pod.host_network).count();
        all.engine.pods = pods.into();
        for pod in all.engine.pods.ids() {
            let (kin, cohort) = all.attach(pod);
            all.kin_of.push(kin);
            all.engine.cohort_of.push(cohort);
        }
        all
    }

    fn convert(&mut self, policy: &NetworkPolicy) -> OrderedPolicy {
        namespaced(policy, &mut |peer| self.acquire_peer(peer))
    }

    fn acquire_peer(&mut self, spec: PeerSpec) -> PeerId {
        let (id, is_new) = self.peers.acquire(spec);
        if !is_new {
            return id;
        }
        let compiled = match &self.peers[id] {
            PeerSpec::Pods(_) => CompiledPeer::Pods,
            PeerSpec::IpBlock(block) => {
                self.touched.space = true;
                CompiledPeer::IpBlock(block.clone(), MatchedAtoms::default())
            }
            PeerSpec::Nodes(are_all) => {
                self.touched.space |= self.node_peers == 0;
                self.node_peers += 1;
                CompiledPeer::Nodes(*are_all)
            }
            PeerSpec::DomainNames => CompiledPeer::DomainNames,
        };
        let peers = &mut self.engine.peers;
        match peers.get_mut(id.index()) {
            Some(slot) => *slot = compiled,
            None => peers.push(compiled),
        }
        if let Some(scope) = self.peers[id].pods().cloned() {
            self.add_scope(scope, Use::Peer(id));
        }
        id
    }

    fn release_peer(&mut self, id: PeerId) {
        if !self.peers.release(id) {
            return;
        }
        match &self.peers[id] {
            PeerSpec::Pods(scope) => {
                let scope = scope.clone();
                self.remove_scope(&scope, Use::Peer(id));
            }
            PeerSpec::IpBlock(_) => self.touched.space = true,
            PeerSpec::Nodes(_) => {
                self.node_peers = self.node_peers.saturating_sub(1);
                self.touched.space |= self.node_peers == 0;
            }
            PeerSpec::DomainNames => {}
        }
        // A peer without users must not divide the address space.
        if let Some(slot) = self.engine.peers.get_mut(id.index()) {
            *slot = CompiledPeer::DomainNames;
        }
    }

    fn add_scope(&mut self, scope: PodScope, used: Use) {
        let read = keys(&scope.pods).into_iter().filter(|key| self.keys.add(key));
        self.touched.keys.extend(read.map(str::to_owned));
        self.touched.areas |= self.scopes.insert(&scope, used);
        self.touched.scopes.push(scope);
    }

    fn remove_scope(&mut self, scope: &PodScope, used: Use) {
        let read = keys(&scope.pods).into_iter().filter(|key| self.keys.remove(key));
        self.touched.keys.extend(read.map(str::to_owned));
        let concerned = self.concerned(scope);
        self.touched.namespaces.extend(concerned);
        self.touched.areas |= self.scopes.remove(scope, used);
    }

    /// Returns the namespaces that a scope is about.
    pub(super) fn concerned(&self, scope: &PodScope) -> Vec<Id<Namespace>> {
        let areas = self.areas.iter().enumerate();
        let concerned = areas.filter(|(_, areas)| self.scopes.concerns(scope, areas));
        concerned.map(|(at, _)| Id::new(at)).collect()
    }

    /// Adds a policy, whose peers are known. Its place in the order is not set.
    fn insert(&mut self, policy: OrderedPolicy) -> PolicyId {
        let (subject, is_new) = self.subjects.acquire(policy.subjects.clone());
        if is_new {
            self.policies_of.resize_with(self.subjects.bound(), Vec::new);
            self.add_scope(policy.subjects.clone(), Use::Subject(subject));
        }
        for name in port_names(&policy).filter(|name| self.names.add(name)) {
            self.touched.names.insert(name.to_owned());
        }
        let id = match self.free_policies.pop() {
            Some(id) => {
                self.engine.policies.replace(id, policy);
                id
            }
            None => self.engine.policies.push(policy),
        };
        self.subject_of.resize(self.engine.policies.len(), subject);
        if let Some(of_policy) = self.subject_of.get_mut(id.index()) {
            *of_policy = subject;
        }
        if let Some(policies) = self.policies_of.get_mut(subject.index()) {
            policies.push(id);
        }
        self.touched.subjects.insert(subject);
        id
    }

    /// Adds a policy, and finds its place in the order. The change takes effect with [`Compiler::settle`].
    pub(super) fn add_policy(
        &mut self,
        convert: impl FnOnce(&mut dyn FnMut(PeerSpec) -> PeerId) -> OrderedPolicy,
    ) -> PolicyId {
        let policy = convert(&mut |peer| self.acquire_peer(peer));
        let policies = &self.engine.policies;
        let at = self.order.partition_point(|other| policies[*other].order() <= policy.order());
        let id = self.insert(policy);
        self.order.insert(at, id);
        self.rank();
        id
    }

    /// Removes a policy. The change takes effect with [`Compiler::settle`].
    pub(super) fn remove_policy(&mut self, id: PolicyId) {
        let policy = &self.engine.policies[id];
        let unread: Vec<_> = port_names(policy).filter(|name| self.names.remove(name)).collect();
        self.touched.names.extend(unread.into_iter().map(str::to_owned));
        let rules = policy.rules.iter().flatten().flatten();
        let peers: Vec<_> = rules.flat_map(|rule| rule.peers.iter().flatten().copied()).collect();
        for peer in peers {
            self.release_peer(peer);
        }
        self.order.retain(|other| *other != id);
        self.rank();
        self.free_policies.push(id);
        let Some(subject) = self.subject_of.get(id.index()).copied() else { return };
        if let Some(policies) = self.policies_of.get_mut(subject.index()) {
            policies.retain(|other| *other != id);
        }
        self.touched.subjects.insert(subject);
        if self.subjects.release(subject) {
            let scope = self.subjects[subject].clone();
            self.remove_scope(&scope, Use::Subject(subject));
        }
    }

    /// Returns a policy with its subjects.
    pub(super) fn edited(&self, id: PolicyId) -> Option<Edited> {
        self.subject_of.get(id.index()).map(|subject| Edited { id, subject: *subject })
    }

    /// Returns the policies in their order.
    pub(super) fn policies(&self) -> impl Iterator<Item = (PolicyId, &OrderedPolicy)> {
        self.order.iter().map(|id| (*id, &self.engine.policies[*id]))
    }

    fn rank(&mut self) {
        self.ranks.resize(self.engine.policies.len(), 0);
        for (rank, id) in self.order.iter().enumerate() {
            if let Some(of_policy) = self.ranks.get_mut(id.index()) {
                *of_policy = rank;
            }
        }
    }

    /// Returns the id of a namespace.
    pub(super) fn namespace(&self, name: &str) -> Option<Id<Namespace>> {
        self.by_name.get(name).copied()
    }

    pub(super) fn add_namespace(&mut self, namespace: Namespace) -> Id<Namespace> {
        let areas = self.scopes.areas_of(&namespace);
        let name = namespace.name.clone();
        let id = self.namespaces.push(namespace);
        self.areas.push(areas);
        self.by_name.insert(name, id);
        id
    }

    pub(super) fn ensure_namespace(&mut self, name: &str) -> Id<Namespace> {
        self.namespace(name).unwrap_or_else(|| self.add_namespace(Namespace::mentioned(name)))
    }

    /// Divides the address space at the blocks of all policies.
    pub(super) fn cut(&mut self) {
        let Self { engine, cuts, node_ranges, node_peers, .. } = self;
        let Engine { nodes, peers, space, node_addresses, .. } = engine;
        (*space, *node_addresses) = cuts.cut(peers, nodes.as_slice(), node_ranges, *node_peers > 0);
    }
}

/// Returns the port names in the rules of a policy, as often as they occur.
fn port_names(policy: &OrderedPolicy) -> impl Iterator<Item = &str> {
    let rules = policy.rules.iter().flatten().flatten();
    let entries = rules.flat_map(|rule| match &rule.ports {
        Ports::Any => &[][..],
        Ports::Only(entries) => entries,
    });
    entries.filter_map(|entry| match &entry.ports {
        PortSpec::Named(name) => Some(name.as_str()),
        PortSpec::Any | PortSpec::Range(_) => None,
    })
}

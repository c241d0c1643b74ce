//! Compiling a cluster: pods that every policy treats alike become one class, and equal peers are
//! matched once.
//!
//! A large cluster has many pods and few kinds of them. Selectors are matched against distinct
//! label sets, never against pods, and the results are kept as bit sets over classes. All
//! questions to the engine are answered from these.

use super::address::{AddressSpace, IpBlock, IpFamily};
use super::arena::{Arena, Id, Interner};
use super::class::{Class, ClassId, Membership};
use super::cluster_policy::{ClusterPeer, ClusterPolicy, Tier};
use super::compiled::{ClusterPolicyId, CompiledClusterPolicy, CompiledPeer, CompiledPolicy, PolicyId};
use super::matcher::{Matcher, NamespaceIndex};
use super::model::{Cluster, Direction, NetworkPolicy, Node, Peer, Peers, Pod, Service};

/// Identifies a pod of an [`Engine`].
pub type PodId = Id<Pod>;
/// Identifies a node of an [`Engine`].
pub type NodeId = Id<Node>;
/// Identifies a Service of an [`Engine`].
pub type ServiceId = Id<Service>;

/// A cluster, compiled for questions about reachability.
#[derive(Debug)]
pub struct Engine {
    pub(super) pods: Arena<Pod>,
    pub(super) nodes: Arena<Node>,
    pub(super) services: Arena<Service>,
    pub(super) policies: Arena<CompiledPolicy>,
    pub(super) cluster_policies: Arena<CompiledClusterPolicy>,
    pub(super) peers: Arena<CompiledPeer>,
    pub(super) classes: Arena<Class>,
    pub(super) space: AddressSpace,
    pod_classes: Vec<ClassId>,
    isolating: Vec<Isolating>,
    /// By class: the cluster-scoped policies of which it is a subject, in the order of the arena.
    tiers: Vec<Vec<ClusterPolicyId>>,
}

/// The policies that isolate the pods of a class.
#[derive(Debug, Default, Clone)]
struct Isolating {
    ingress: Vec<PolicyId>,
    egress: Vec<PolicyId>,
}

impl Engine {
    /// Compiles a cluster. Namespaces that only pods or policies mention are taken to exist.
    pub fn new(cluster: Cluster) -> Self {
        let Cluster { namespaces, nodes, pods, services, mut policies, mut cluster_policies } = cluster;
        // Reasons list policies in the order of their names, whatever the order of the input.
        policies.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        // Those of a tier and a kind together, the most important first.
        cluster_policies.sort_by(|a, b| {
            let key = |policy: &ClusterPolicy| (policy.tier, policy.name.kind, policy.priority);
            key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
        });
        let of_cluster = cluster_policies.iter().flat_map(blocks_of_cluster_policy);
        let blocks: Vec<_> = policies.iter().flat_map(blocks_of).chain(of_cluster).collect();
        let space = AddressSpace::new(&blocks);
        let mut names = NamespaceIndex::new(namespaces);
        for name in pods.iter().map(|pod| &pod.namespace).chain(policies.iter().map(|p| &p.namespace)) {
            names.ensure(name);
        }

        let mut labels = Interner::default();
        let mut classes = Interner::default();
        let pod_classes = pods
            .iter()
            .map(|pod| {
                classes.intern(Class {
                    namespace: names.ensure(&pod.namespace),
                    labels: labels.intern(pod.labels.clone()),
                    ports: pod.ports.clone(),
                    host_network: pod.host_network,
                    ended: pod.ended,
                    addresses: IpFamily::ALL.map(|family| Membership::of(pod, family, &space)),
                })
            })
            .collect();

        let mut matcher = Matcher::new(names, labels.into_arena(), classes.into_arena(), &space);
        let mut isolating = vec![Isolating::default(); matcher.classes.len()];
        let policies: Vec<_> = policies.into_iter().map(|policy| matcher.compile(policy)).collect();
        let policies = Arena::from(policies);
        for (id, compiled) in policies.iter() {
            for class in matcher.subjects(&compiled.policy) {
                if let Some(isolating) = isolating.get_mut(class.index()) {
                    isolating.add(id, &compiled.policy);
                }
            }
        }
        let cluster_policies: Vec<_> =
            cluster_policies.into_iter().map(|policy| matcher.compile_cluster_policy(policy)).collect();
        let cluster_policies = Arena::from(cluster_policies);
        let mut tiers = vec![Vec::new(); matcher.classes.len()];
        for (id, compiled) in cluster_policies.iter() {
            for class in matcher.in_pod_network(&compiled.policy.subjects) {
                if let Some(tiers) = tiers.get_mut(class.index()) {
                    tiers.push(id);
                }
            }
        }
        let Matcher { classes, peers, .. } = matcher;
        Self {
            pods: pods.into(),
            nodes: nodes.into(),
            services: services.into(),
            policies,
            cluster_policies,
            peers,
            classes,
            space,
            pod_classes,
            isolating,
            tiers,
        }
    }

    /// All pods, in the order in which the cluster listed them.
    pub fn pods(&self) -> impl Iterator<Item = (PodId, &Pod)> {
        self.pods.iter()
    }

    /// The pod of an id of this engine.
    pub fn pod(&self, id: PodId) -> &Pod {
        &self.pods[id]
    }

    /// All nodes, in the order in which the cluster listed them.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter()
    }

    /// All Services, in the order in which the cluster listed them.
    pub fn services(&self) -> impl Iterator<Item = (ServiceId, &Service)> {
        self.services.iter()
    }

    pub(super) fn class_of(&self, pod: PodId) -> Option<ClassId> {
        self.pod_classes.get(pod.index()).copied()
    }

    /// The policies that isolate a class for a direction, in the order of their names.
    pub(super) fn isolating(&self, class: ClassId, direction: Direction) -> &[PolicyId] {
        self.isolating.get(class.index()).map_or(&[], |isolating| isolating.policies(direction))
    }

    /// The cluster-scoped policies with rules for a direction of which a class is a subject: by tier,
    /// and there by kind, priority and name.
    pub(super) fn cluster_policies(
        &self,
        class: ClassId,
        direction: Direction,
    ) -> impl Iterator<Item = ClusterPolicyId> {
        let all = self.tiers.get(class.index()).into_iter().flatten().copied();
        all.filter(move |id| !self.cluster_policies[*id].rules(direction).is_empty())
    }

    /// The policies of one tier, in lists of those that the specification puts at the same place:
    /// first by kind, because nothing orders policies of different kinds, then by priority.
    pub(super) fn in_tier(&self, policies: &[ClusterPolicyId], tier: Tier) -> Vec<Vec<Vec<ClusterPolicyId>>> {
        let policy = |id: &ClusterPolicyId| &self.cluster_policies[*id].policy;
        let of_tier: Vec<_> = policies.iter().copied().filter(|id| policy(id).tier == tier).collect();
        let kinds = of_tier.chunk_by(|a, b| policy(a).name.kind == policy(b).name.kind);
        let priorities = |of_kind: &[ClusterPolicyId]| {
            of_kind.chunk_by(|a, b| policy(a).priority == policy(b).priority).map(<[_]>::to_vec).collect()
        };
        kinds.map(priorities).collect()
    }
}

impl Isolating {
    fn add(&mut self, id: PolicyId, policy: &NetworkPolicy) {
        if policy.ingress.is_some() {
            self.ingress.push(id);
        }
        if policy.egress.is_some() {
            self.egress.push(id);
        }
    }

    fn policies(&self, direction: Direction) -> &[PolicyId] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

fn blocks_of(policy: &NetworkPolicy) -> impl Iterator<Item = &IpBlock> {
    [&policy.ingress, &policy.egress]
        .into_iter()
        .flatten()
        .flatten()
        .flat_map(|rule| match &rule.peers {
            Peers::Any => &[],
            Peers::Only(peers) => peers.as_slice(),
        })
        .filter_map(|peer| match peer {
            Peer::IpBlock(block) => Some(block),
            Peer::Pods { .. } => None,
        })
}

fn blocks_of_cluster_policy(policy: &ClusterPolicy) -> impl Iterator<Item = &IpBlock> {
    policy.ingress.iter().chain(&policy.egress).flat_map(|rule| &rule.peers).filter_map(|peer| match peer {
        ClusterPeer::Network(block) => Some(block),
        ClusterPeer::Pods(_) | ClusterPeer::Nodes(_) | ClusterPeer::DomainNames(_) => None,
    })
}

//! What an enforcer knows of the cluster: everything, or less because a fault makes it miss changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::misread::misread;
use super::{Description, Fault, seen, wrong};
use crate::backend::lab::enforce::selects;
use crate::policy::{Cluster, Labels, NetworkPolicy, Pod};
use crate::snapshot::Identity;
use crate::world::World;

/// A fault in which changes are not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StaleFault {
    /// Deleted policies stay in force.
    PoliciesNeverRemoved,
    /// Policies stay as they were created.
    PolicyUpdatesIgnored,
    /// Deleting a policy also removes the other policies of its pods.
    DeletionForgetsOthers,
    /// A second after a policy was deleted, its pods are open.
    DeletionOpensLate,
    /// While a policy is being deleted, its pods are open.
    DeletionOpensBriefly,
    /// While the rules of a policy are replaced, its pods are open.
    UpdateOpensBriefly,
    /// A direction stays closed after its last policy is deleted.
    DeletionStaysClosed,
    /// Pods keep the labels that they started with.
    PodLabelsFrozen,
    /// Namespaces keep the labels that they had first.
    NamespaceLabelsFrozen,
    /// Removed labels stay.
    LabelRemovalsIgnored,
    /// Pods that start later match no peer.
    NewPodsNoPeers,
    /// Pods that start later are not isolated.
    NewPodsNotIsolated,
    /// Pods that start later are isolated a second late.
    NewPodsOpen,
    /// A pod that takes over an address is treated as the previous owner.
    AddressKeepsOwner,
    /// A pod that is replaced under its name is known by only one of its addresses.
    RestartedPodLosesFamily,
    /// The last node stops following changes after the start.
    FrozenNode,
}

impl StaleFault {
    /// All faults of this kind.
    pub const ALL: [Self; 16] = [
        Self::PoliciesNeverRemoved,
        Self::PolicyUpdatesIgnored,
        Self::DeletionForgetsOthers,
        Self::DeletionOpensLate,
        Self::DeletionOpensBriefly,
        Self::UpdateOpensBriefly,
        Self::DeletionStaysClosed,
        Self::PodLabelsFrozen,
        Self::NamespaceLabelsFrozen,
        Self::LabelRemovalsIgnored,
        Self::NewPodsNoPeers,
        Self::NewPodsNotIsolated,
        Self::NewPodsOpen,
        Self::AddressKeepsOwner,
        Self::RestartedPodLosesFamily,
        Self::FrozenNode,
    ];

    pub(super) fn description(self) -> Description {
        match self {
            Self::PoliciesNeverRemoved => {
                wrong("policies-never-removed", &[33], "a deleted policy goes on isolating and allowing")
            }
            Self::PolicyUpdatesIgnored => {
                wrong("policy-updates-ignored", &[33], "updates of a policy are ignored")
            }
            Self::DeletionForgetsOthers => wrong(
                "deletion-forgets-others",
                &[11, 33],
                "deleting a policy also removes the other policies of its pods",
            ),
            Self::DeletionOpensLate => wrong(
                "deletion-opens-late",
                &[11, 33],
                "a second after a policy was deleted, the pods that it had selected are open, whatever else selects them",
            ),
            Self::DeletionOpensBriefly => wrong(
                "deletion-opens-briefly",
                &[11, 33],
                "while a policy is being deleted, the pods that it had selected are open for a moment, whatever else selects them",
            ),
            Self::UpdateOpensBriefly => wrong(
                "update-opens-briefly",
                &[33],
                "while the rules of a policy are being replaced, the pods that it selects are open for a moment",
            ),
            Self::DeletionStaysClosed => wrong(
                "deletion-stays-closed",
                &[33],
                "a deleted policy allows nothing any more, but goes on isolating",
            ),
            Self::PodLabelsFrozen => seen(
                "pod-labels-frozen",
                &[34],
                "a pod keeps the labels that it started with",
                "kubeovn/kube-ovn#1920",
            ),
            Self::NamespaceLabelsFrozen => seen(
                "namespace-labels-frozen",
                &[34],
                "a namespace keeps the labels that it had first",
                "ovn-kubernetes/ovn-kubernetes#1850, kubeovn/kube-ovn#1920",
            ),
            Self::LabelRemovalsIgnored => seen(
                "label-removals-ignored",
                &[34],
                "added and changed labels are processed, but removed labels stay in force",
                "aws/aws-network-policy-agent#602",
            ),
            Self::NewPodsNoPeers => seen(
                "new-pods-no-peers",
                &[36],
                "only pods that existed when enforcement started are peers: later pods are denied",
                "cloudnativelabs/kube-router#378",
            ),
            Self::NewPodsNotIsolated => {
                wrong("new-pods-not-isolated", &[36], "pods that start later are not isolated")
            }
            Self::NewPodsOpen => seen(
                "new-pods-open",
                &[36],
                "pods that start later are isolated a second after they started: until then, everything passes",
                "cloudnativelabs/kube-router#873",
            ),
            Self::AddressKeepsOwner => seen(
                "address-keeps-owner",
                &[32],
                "a pod that reuses an address is treated as the address's previous owner",
                "Azure/azure-container-networking#428, antrea-io/antrea#6507, cloudnativelabs/kube-router#1056",
            ),
            Self::RestartedPodLosesFamily => seen(
                "restarted-pod-loses-family",
                &[23, 32],
                "after a pod is replaced under its name, only its IPv6 address is known: IPv4 is denied",
                "k3s-io/k3s#10053",
            ),
            Self::FrozenNode => wrong(
                "frozen-node",
                &[33, 34],
                "the last node stops processing changes once its pods run, as after a crash of its agent",
            ),
        }
    }
}

/// An enforcer's knowledge of a cluster.
#[derive(Debug, Clone, Default)]
pub(in crate::backend::lab) struct EnforcerState {
    /// The cluster, with its policies as the enforcer understands them.
    pub(in crate::backend::lab) cluster: Cluster,
    /// Pods that no peer matches.
    pub(in crate::backend::lab) strangers: BTreeSet<Identity>,
    /// Pods that nothing isolates.
    pub(in crate::backend::lab) unguarded: BTreeSet<Identity>,
    /// Pods from which and to which nothing is allowed over IPv4.
    pub(in crate::backend::lab) without_ipv4: BTreeSet<Identity>,
    /// The last node's own state, if this node does not follow changes.
    pub(in crate::backend::lab) frozen: Option<Box<EnforcerState>>,
}

impl EnforcerState {
    /// Returns whether peers can match a pod.
    pub(in crate::backend::lab) fn knows(&self, pod: &Pod) -> bool {
        !self.strangers.contains(&Identity::of_pod(pod))
    }

    /// Returns whether there is any policy.
    pub(in crate::backend::lab) fn has_policies(&self) -> bool {
        !self.cluster.policies.is_empty() || !self.cluster.cluster_policies.is_empty()
    }

    /// Returns whether anything can be allowed to or from a pod over a family.
    pub(in crate::backend::lab) fn can_allow(&self, pod: &Pod, ipv6: bool) -> bool {
        ipv6 || !self.without_ipv4.contains(&Identity::of_pod(pod))
    }

    /// Returns whether both states are equal. States with a frozen node never count as equal.
    pub(in crate::backend::lab) fn is_same(&self, other: &Self) -> bool {
        let Self { cluster, strangers, unguarded, without_ipv4, frozen } = self;
        let Cluster { namespaces, nodes, node_ranges, pods, services, policies, cluster_policies } = cluster;
        (namespaces, nodes, pods) == (&other.cluster.namespaces, &other.cluster.nodes, &other.cluster.pods)
            && (node_ranges, services) == (&other.cluster.node_ranges, &other.cluster.services)
            && (policies, cluster_policies) == (&other.cluster.policies, &other.cluster.cluster_policies)
            && (strangers, unguarded) == (&other.strangers, &other.unguarded)
            && *without_ipv4 == other.without_ipv4
            && frozen.is_none()
            && other.frozen.is_none()
    }
}

/// Follower of a cluster's changes.
#[derive(Debug, Default)]
pub(in crate::backend::lab) struct Follower {
    fault: Option<Fault>,
    /// Whether it has seen a state.
    has_begun: bool,
    /// Policies of the previous state.
    policies: Vec<NetworkPolicy>,
    /// Policies that the fault stores, in its own version.
    remembered: Vec<NetworkPolicy>,
    /// Pods by their addresses, as first seen.
    pods: BTreeMap<Vec<IpAddr>, Pod>,
    /// Addresses of the pods in the first state.
    first_pods: BTreeSet<Vec<IpAddr>>,
    /// Pods of the previous state, with their addresses.
    present: BTreeMap<Identity, Vec<IpAddr>>,
    /// Pods of all previous states.
    ever_present: BTreeSet<Identity>,
    /// Pods that were replaced under their name.
    restarted: BTreeSet<Identity>,
    namespaces: BTreeMap<String, Labels>,
    /// The state that a frozen node keeps: the first one.
    first: Option<Box<EnforcerState>>,
}

impl Follower {
    pub(in crate::backend::lab) fn new(fault: Option<Fault>) -> Self {
        Self { fault, ..Self::default() }
    }

    /// Processes the next state. Returns what the enforcer knows after it.
    pub(in crate::backend::lab) fn see(&mut self, world: &World) -> EnforcerState {
        let mut view = EnforcerState { cluster: world.cluster.clone(), ..EnforcerState::default() };
        match self.fault {
            Some(Fault::Following(lapse)) => self.overlook(lapse, &mut view),
            Some(Fault::Reading(misreading)) => misread(misreading, &mut view.cluster, &world.written),
            Some(Fault::Rules(_) | Fault::Tiers(_) | Fault::Packets(_)) | None => {}
        }
        self.policies.clone_from(&world.cluster.policies);
        for pod in &world.cluster.pods {
            self.pods.entry(pod.addresses.clone()).or_insert_with(|| pod.clone());
            if !self.has_begun {
                self.first_pods.insert(pod.addresses.clone());
            }
        }
        let present = world.cluster.pods.iter().map(|pod| (Identity::of_pod(pod), pod.addresses.clone()));
        self.present = present.collect();
        self.ever_present.extend(self.present.keys().cloned());
        for namespace in &world.cluster.namespaces {
            self.namespaces.entry(namespace.name.clone()).or_insert_with(|| namespace.labels.clone());
        }
        self.has_begun = true;
        view
    }

    fn overlook(&mut self, lapse: StaleFault, view: &mut EnforcerState) {
        let cluster = &mut view.cluster;
        match lapse {
            StaleFault::PoliciesNeverRemoved => {
                self.remembered.retain(|old| find(&cluster.policies, old).is_none());
                self.remembered.extend(cluster.policies.iter().cloned());
                cluster.policies.clone_from(&self.remembered);
            }
            StaleFault::PolicyUpdatesIgnored => {
                self.remembered.retain(|old| find(&cluster.policies, old).is_some());
                for policy in &mut cluster.policies {
                    match find(&self.remembered, policy) {
                        Some(first) => policy.clone_from(first),
                        None => self.remembered.push(policy.clone()),
                    }
                }
            }
            StaleFault::DeletionForgetsOthers => self.forget_others(cluster),
            StaleFault::DeletionOpensLate | StaleFault::DeletionOpensBriefly => {
                view.unguarded = pods_of(&deleted(&self.policies, cluster), cluster);
            }
            StaleFault::UpdateOpensBriefly => {
                view.unguarded = pods_of(&updated(&self.policies, cluster), cluster);
            }
            StaleFault::DeletionStaysClosed => {
                self.remembered.retain(|old| find(&cluster.policies, old).is_none());
                for deleted in deleted(&self.policies, cluster) {
                    let emptied = |rules: &Option<Vec<_>>| rules.as_ref().map(|_| Vec::new());
                    let (ingress, egress) = (emptied(&deleted.ingress), emptied(&deleted.egress));
                    self.remembered.push(NetworkPolicy { ingress, egress, ..deleted.clone() });
                }
                cluster.policies.extend(self.remembered.iter().cloned());
            }
            StaleFault::PodLabelsFrozen => {
                for pod in &mut cluster.pods {
                    if let Some(first) = self.first_of(pod) {
                        pod.labels.clone_from(&first.labels);
                    }
                }
            }
            StaleFault::NamespaceLabelsFrozen => {
                for namespace in &mut cluster.namespaces {
                    if let Some(first) = self.namespaces.get(&namespace.name) {
                        namespace.labels.clone_from(first);
                    }
                }
            }
            StaleFault::LabelRemovalsIgnored => self.keep_labels(cluster),
            StaleFault::NewPodsNoPeers => view.strangers = self.new_pods(cluster),
            StaleFault::NewPodsNotIsolated => view.unguarded = self.new_pods(cluster),
            StaleFault::NewPodsOpen => {
                let came = |pod: &&Pod| self.has_begun && !self.present.contains_key(&Identity::of_pod(pod));
                view.unguarded = cluster.pods.iter().filter(came).map(Identity::of_pod).collect();
            }
            StaleFault::AddressKeepsOwner => {
                for pod in &mut cluster.pods {
                    if let Some(owner) = self.pods.get(&pod.addresses).filter(|owner| !is_same(owner, pod)) {
                        let Pod { namespace, labels, ports, .. } = owner.clone();
                        *pod = Pod { namespace, labels, ports, ..pod.clone() };
                    }
                }
            }
            StaleFault::RestartedPodLosesFamily => {
                for pod in &cluster.pods {
                    let identity = Identity::of_pod(pod);
                    let is_as_before = self.present.get(&identity) == Some(&pod.addresses);
                    if self.ever_present.contains(&identity) && !is_as_before {
                        self.restarted.insert(identity);
                    }
                }
                view.without_ipv4.clone_from(&self.restarted);
            }
            StaleFault::FrozenNode => {
                view.frozen = Some(self.first.get_or_insert_with(|| Box::new(view.clone())).clone());
            }
        }
    }

    /// Removes the policies that select a pod of a deleted policy, until they change.
    fn forget_others(&mut self, cluster: &mut Cluster) {
        self.remembered.retain(|forgotten| cluster.policies.contains(forgotten));
        for deleted in deleted(&self.policies, cluster) {
            let shares = |policy: &&NetworkPolicy| {
                cluster.pods.iter().any(|pod| is_subject(policy, pod) && is_subject(deleted, pod))
            };
            self.remembered.extend(cluster.policies.iter().filter(shares).cloned());
        }
        cluster.policies.retain(|policy| !self.remembered.contains(policy));
    }

    /// Keeps earlier labels, in addition to the current ones.
    fn keep_labels(&mut self, cluster: &mut Cluster) {
        for pod in &mut cluster.pods {
            if let Some(old) = self.pods.get_mut(&pod.addresses).filter(|old| is_same(old, pod)) {
                old.labels.append(&mut pod.labels);
                pod.labels.clone_from(&old.labels);
            }
        }
        for namespace in &mut cluster.namespaces {
            if let Some(old) = self.namespaces.get_mut(&namespace.name) {
                old.append(&mut namespace.labels);
                namespace.labels.clone_from(old);
            }
        }
    }

    /// Returns a pod as it was first seen.
    fn first_of(&self, pod: &Pod) -> Option<&Pod> {
        self.pods.get(&pod.addresses).filter(|first| is_same(first, pod))
    }

    /// Returns the pods that did not exist in the first state.
    fn new_pods(&self, cluster: &Cluster) -> BTreeSet<Identity> {
        let is_new = |pod: &&Pod| self.has_begun && !self.first_pods.contains(&pod.addresses);
        cluster.pods.iter().filter(is_new).map(Identity::of_pod).collect()
    }
}

/// Returns those of the policies that the cluster no longer has.
fn deleted<'a>(policies: &'a [NetworkPolicy], cluster: &Cluster) -> Vec<&'a NetworkPolicy> {
    policies.iter().filter(|old| find(&cluster.policies, old).is_none()).collect()
}

/// Returns the old versions of the policies that were changed.
fn updated<'a>(policies: &'a [NetworkPolicy], cluster: &Cluster) -> Vec<&'a NetworkPolicy> {
    policies.iter().filter(|old| find(&cluster.policies, old).is_some_and(|new| new != *old)).collect()
}

/// Returns the pods that these policies select.
fn pods_of(policies: &[&NetworkPolicy], cluster: &Cluster) -> BTreeSet<Identity> {
    let is_selected = |pod: &&Pod| policies.iter().any(|policy| is_subject(policy, pod));
    cluster.pods.iter().filter(is_selected).map(Identity::of_pod).collect()
}

/// Returns whether a policy selects a pod.
fn is_subject(policy: &NetworkPolicy, pod: &Pod) -> bool {
    policy.namespace == pod.namespace && selects(&policy.subjects, &pod.labels)
}

/// Returns the policy of the same name.
fn find<'a>(policies: &'a [NetworkPolicy], like: &NetworkPolicy) -> Option<&'a NetworkPolicy> {
    policies.iter().find(|policy| policy.namespace == like.namespace && policy.name == like.name)
}

fn is_same(a: &Pod, b: &Pod) -> bool {
    a.namespace == b.namespace && a.name == b.name
}

//! What an enforcer knows of the cluster: everything, or less because a deviation makes it miss changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Deviation, Effect, StaleFault};
use crate::policy::{Cluster, Labels, NetworkPolicy, Pod};
use crate::snapshot::{Identity, WrittenPolicy};

/// An enforcer's knowledge of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct EnforcerState {
    /// The cluster, with its policies as the enforcer understands them.
    pub cluster: Cluster,
    /// Pods that no peer matches.
    pub strangers: BTreeSet<Identity>,
    /// Pods that nothing isolates.
    pub unguarded: BTreeSet<Identity>,
    /// Pods to and from which nothing can be allowed over IPv4.
    pub without_ipv4: BTreeSet<Identity>,
    /// State of the last node, if that node does not follow changes.
    pub frozen: Option<Box<EnforcerState>>,
}

impl EnforcerState {
    /// Returns whether peers can match a pod.
    pub(crate) fn knows(&self, pod: &Pod) -> bool {
        !self.strangers.contains(&Identity::of_pod(pod))
    }

    /// Returns whether there is any policy.
    pub(crate) fn has_policies(&self) -> bool {
        !self.cluster.policies.is_empty() || !self.cluster.cluster_policies.is_empty()
    }

    /// Returns whether anything can be allowed to or from a pod over a family.
    pub(crate) fn can_allow(&self, pod: &Pod, ipv6: bool) -> bool {
        ipv6 || !self.without_ipv4.contains(&Identity::of_pod(pod))
    }

    /// Returns whether both states are equal. States with a frozen node never count as equal.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.frozen.is_none() && other.frozen.is_none() && self == other
    }
}

/// Follower of a cluster's changes.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    deviation: Option<&'static Deviation>,
    /// Whether it has seen a state.
    has_begun: bool,
    /// Policies of the previous state.
    policies: Vec<NetworkPolicy>,
    /// Policies that the fault remembers. Their meaning depends on the fault.
    remembered: Vec<NetworkPolicy>,
    /// Pods by their addresses, as first seen.
    pods: BTreeMap<Vec<IpAddr>, Pod>,
    /// Addresses of the pods in the first state.
    first_pods: BTreeSet<Vec<IpAddr>>,
    /// Pods of the previous state, with their addresses.
    present: BTreeMap<Identity, Vec<IpAddr>>,
    /// Pods of all previous states.
    ever_present: BTreeSet<Identity>,
    /// Pods that were replaced by a pod of the same name.
    restarted: BTreeSet<Identity>,
    namespaces: BTreeMap<String, Labels>,
    /// The state that a frozen node keeps: the first one.
    first: Option<Box<EnforcerState>>,
}

impl Follower {
    /// Creates a follower. Without a deviation, it knows everything.
    pub(crate) fn new(deviation: Option<&'static Deviation>) -> Self {
        Self { deviation, ..Self::default() }
    }

    /// Processes the next state. Returns what the enforcer knows after it. `written` contains the cluster's
    /// policies as they were written.
    pub(crate) fn see(&mut self, cluster: &Cluster, written: &[WrittenPolicy]) -> EnforcerState {
        let mut state = EnforcerState { cluster: cluster.clone(), ..EnforcerState::default() };
        match self.deviation.map(|deviation| deviation.effect) {
            Some(Effect::Changes(fault)) => {
                self.overlook(fault, &mut state);
                self.remember(cluster);
            }
            Some(Effect::Meaning(misread)) => misread(&mut state.cluster),
            Some(Effect::WrittenMeaning(misread)) => misread(&mut state.cluster, written),
            Some(Effect::Rules(_) | Effect::Packets(_) | Effect::Route(_)) | None => {}
        }
        state
    }

    /// Remembers a state for the comparison with the next one.
    fn remember(&mut self, cluster: &Cluster) {
        self.policies.clone_from(&cluster.policies);
        for pod in &cluster.pods {
            self.pods.entry(pod.addresses.clone()).or_insert_with(|| pod.clone());
            if !self.has_begun {
                self.first_pods.insert(pod.addresses.clone());
            }
        }
        let present = cluster.pods.iter().map(|pod| (Identity::of_pod(pod), pod.addresses.clone()));
        self.present = present.collect();
        self.ever_present.extend(self.present.keys().cloned());
        for namespace in &cluster.namespaces {
            self.namespaces.entry(namespace.name.clone()).or_insert_with(|| namespace.labels.clone());
        }
        self.has_begun = true;
    }

    fn overlook(&mut self, fault: StaleFault, state: &mut EnforcerState) {
        let cluster = &mut state.cluster;
        match fault {
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
                state.unguarded = pods_of(&deleted(&self.policies, cluster), cluster);
            }
            StaleFault::UpdateOpensBriefly => {
                state.unguarded = pods_of(&updated(&self.policies, cluster), cluster);
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
            StaleFault::NewPodsNoPeers => state.strangers = self.new_pods(cluster),
            StaleFault::NewPodsNotIsolated => state.unguarded = self.new_pods(cluster),
            StaleFault::NewPodsOpen => {
                let came = |pod: &&Pod| self.has_begun && !self.present.contains_key(&Identity::of_pod(pod));
                state.unguarded = cluster.pods.iter().filter(came).map(Identity::of_pod).collect();
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
                state.without_ipv4.clone_from(&self.restarted);
            }
            StaleFault::FrozenNode => {
                state.frozen = Some(self.first.get_or_insert_with(|| Box::new(state.clone())).clone());
            }
        }
    }

    /// Removes the policies that share a selected pod with a deleted policy. A removed policy comes back when
    /// it changes.
    fn forget_others(&mut self, cluster: &mut Cluster) {
        self.remembered.retain(|forgotten| cluster.policies.contains(forgotten));
        for deleted in deleted(&self.policies, cluster) {
            let shares = |policy: &&NetworkPolicy| {
                cluster.pods.iter().any(|pod| policy.selects(pod) && deleted.selects(pod))
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

/// Returns the policies that the cluster no longer has.
fn deleted<'a>(policies: &'a [NetworkPolicy], cluster: &Cluster) -> Vec<&'a NetworkPolicy> {
    policies.iter().filter(|old| find(&cluster.policies, old).is_none()).collect()
}

/// Returns the old versions of the policies that were changed.
fn updated<'a>(policies: &'a [NetworkPolicy], cluster: &Cluster) -> Vec<&'a NetworkPolicy> {
    policies.iter().filter(|old| find(&cluster.policies, old).is_some_and(|new| new != *old)).collect()
}

/// Returns the pods that these policies select.
fn pods_of(policies: &[&NetworkPolicy], cluster: &Cluster) -> BTreeSet<Identity> {
    let is_selected = |pod: &&Pod| policies.iter().any(|policy| policy.selects(pod));
    cluster.pods.iter().filter(is_selected).map(Identity::of_pod).collect()
}

/// Returns the policy of the same name.
fn find<'a>(policies: &'a [NetworkPolicy], like: &NetworkPolicy) -> Option<&'a NetworkPolicy> {
    policies.iter().find(|policy| policy.namespace == like.namespace && policy.name == like.name)
}

fn is_same(a: &Pod, b: &Pod) -> bool {
    a.namespace == b.namespace && a.name == b.name
}

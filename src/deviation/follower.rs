//! An enforcer's knowledge of the cluster. It is incomplete if a deviation makes the enforcer miss changes.

use std::collections::BTreeSet;

use super::rewrite::rewritten;
use super::{Deviation, Effect};
use crate::policy::{Cluster, Namespace, NetworkPolicy, Pod};
use crate::snapshot::{Identity, WrittenPolicy};

/// When the pods that nothing isolates are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Opening {
    /// At any time.
    #[default]
    Always,
    /// From a while after the change on.
    Late,
    /// For a moment after the change.
    Briefly,
    /// For a while after their start.
    AtFirst,
}

/// An enforcer's knowledge of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EnforcerState {
    /// The cluster, with its policies as the enforcer understands them.
    pub cluster: Cluster,
    /// Pods that no peer matches.
    pub strangers: BTreeSet<Identity>,
    /// Pods that nothing isolates.
    pub unguarded: BTreeSet<Identity>,
    /// When nothing isolates them.
    pub opening: Opening,
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

    pub(super) fn open(&mut self, pods: BTreeSet<Identity>, opening: Opening) {
        if !pods.is_empty() {
            (self.unguarded, self.opening) = (pods, opening);
        }
    }

    /// Returns whether both states are equal. States with a frozen node never count as equal.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.frozen.is_none() && other.frozen.is_none() && self == other
    }
}

/// The memory of an enforcer with a deviation.
#[derive(Debug, Default)]
pub struct Memory {
    /// All earlier states.
    pub(super) history: Vec<Cluster>,
    /// Policies that the deviation remembers.
    pub(super) policies: Vec<NetworkPolicy>,
    /// Pods that were replaced by a pod of the same name.
    pub(super) restarted: BTreeSet<Identity>,
}

/// Follower of a cluster's changes.
#[derive(Debug)]
pub(crate) struct Follower {
    deviation: Option<&'static Deviation>,
    memory: Memory,
}

impl Follower {
    /// Creates a follower. Without a deviation, it knows everything.
    pub(crate) fn new(deviation: Option<&'static Deviation>) -> Self {
        Self { deviation, memory: Memory::default() }
    }

    /// Processes the next state. Returns what the enforcer knows after it. `written` contains the cluster's
    /// policies as they were written.
    pub(crate) fn see(&mut self, cluster: &Cluster, written: &[WrittenPolicy]) -> EnforcerState {
        let mut state = EnforcerState { cluster: cluster.clone(), ..EnforcerState::default() };
        match self.deviation.map(|deviation| deviation.effect) {
            Some(Effect::Changes(overlook)) => {
                overlook(&mut self.memory, &mut state);
                self.memory.history.push(cluster.clone());
            }
            Some(Effect::Meaning(misread)) => misread(&mut state.cluster),
            Some(Effect::WrittenMeaning(misread)) => state.cluster.policies = rewritten(written, misread),
            Some(Effect::Rules(_) | Effect::Packets(_) | Effect::Route(_)) | None => {}
        }
        state
    }
}

impl Memory {
    fn policies_before(&self) -> impl Iterator<Item = &NetworkPolicy> {
        self.history.last().into_iter().flat_map(|before| &before.policies)
    }

    /// Returns the policies that the cluster no longer has.
    pub(super) fn deleted(&self, cluster: &Cluster) -> Vec<NetworkPolicy> {
        let deleted = self.policies_before().filter(|old| find(&cluster.policies, old).is_none());
        deleted.cloned().collect()
    }

    /// Returns the old versions of the policies that were changed.
    pub(super) fn updated(&self, cluster: &Cluster) -> Vec<NetworkPolicy> {
        let is_updated = |old: &&NetworkPolicy| find(&cluster.policies, old).is_some_and(|new| new != *old);
        self.policies_before().filter(is_updated).cloned().collect()
    }

    /// Returns the earlier states of all pods.
    pub(super) fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.history.iter().flat_map(|earlier| &earlier.pods)
    }

    /// Returns the pod that had a pod's addresses first, as it was then.
    pub(super) fn first_owner(&self, pod: &Pod) -> Option<&Pod> {
        self.pods().find(|earlier| earlier.addresses == pod.addresses)
    }

    /// Returns the earlier states of a namespace.
    pub(super) fn namespaces(&self, name: &str) -> impl Iterator<Item = &Namespace> {
        let namespaces = self.history.iter().flat_map(|earlier| &earlier.namespaces);
        namespaces.filter(move |earlier| earlier.name == name)
    }

    /// Returns the pods that did not exist in the first state.
    pub(super) fn new_pods(&self, cluster: &Cluster) -> BTreeSet<Identity> {
        let Some(first) = self.history.first() else { return BTreeSet::new() };
        let is_new = |pod: &&Pod| !first.pods.iter().any(|old| old.addresses == pod.addresses);
        cluster.pods.iter().filter(is_new).map(Identity::of_pod).collect()
    }
}

/// Returns the pods that these policies select.
pub(super) fn pods_of(policies: &[NetworkPolicy], cluster: &Cluster) -> BTreeSet<Identity> {
    let is_selected = |pod: &&Pod| policies.iter().any(|policy| policy.selects(pod));
    cluster.pods.iter().filter(is_selected).map(Identity::of_pod).collect()
}

/// Returns the policy of the same name.
pub(super) fn find<'a>(policies: &'a [NetworkPolicy], like: &NetworkPolicy) -> Option<&'a NetworkPolicy> {
    policies.iter().find(|policy| policy.namespace == like.namespace && policy.name == like.name)
}

pub(super) fn is_same(a: &Pod, b: &Pod) -> bool {
    a.namespace == b.namespace && a.name == b.name
}

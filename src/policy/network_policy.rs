//! NetworkPolicy (`networking.k8s.io/v1`).

use super::address::IpBlock;
use super::label::LabelSelector;
use super::model::Pod;
use super::rule::{Direction, Ports};

/// A NetworkPolicy (`networking.k8s.io/v1`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// `metadata.namespace`
    pub namespace: String,
    /// `metadata.name`
    pub name: String,
    /// `spec.podSelector`: the pods of the policy's namespace that it isolates.
    pub subjects: LabelSelector,
    /// Ingress rules, or `None` if the policy does not isolate its subjects for ingress. `policyTypes` is already
    /// applied.
    pub ingress: Option<Vec<Rule>>,
    /// Egress rules, or `None` if the policy does not isolate its subjects for egress.
    pub egress: Option<Vec<Rule>>,
}

impl NetworkPolicy {
    /// Returns whether a pod is a subject, by its known labels. Does not check whether the pod has ended, or uses its
    /// node's network.
    pub fn selects(&self, pod: &Pod) -> bool {
        self.namespace == pod.namespace && self.subjects.matches(&pod.labels)
    }

    /// Returns the ports of all rules.
    pub fn ports(&self) -> impl Iterator<Item = &Ports> {
        [&self.ingress, &self.egress].into_iter().flatten().flatten().map(|rule| &rule.ports)
    }

    /// Returns the rules for a direction, or `None` if the policy does not isolate its subjects for it.
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }
}

/// A rule. It allows any of its peers on any of its ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// `from` or `to`
    pub peers: Peers,
    /// `ports`
    pub ports: Ports,
}

/// Peers that a rule allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peers {
    /// Everything inside and outside the cluster: the list is missing or empty.
    Any,
    /// Any of these peers.
    Only(Vec<Peer>),
}

/// One entry of `from` or `to`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Peer {
    /// Pods, by `namespaceSelector` and `podSelector` together.
    Pods {
        /// Namespaces of the pods.
        namespaces: NamespaceScope,
        /// Selector for the pods of those namespaces.
        pods: LabelSelector,
    },
    /// Addresses.
    IpBlock(IpBlock),
}

/// Namespaces in which a peer selects pods.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NamespaceScope {
    /// The policy's own namespace: `namespaceSelector` is missing.
    Own,
    /// Namespaces that the selector matches.
    Selected(LabelSelector),
}

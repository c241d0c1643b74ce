//! Policies whose peers have been matched.

use fixedbitset::FixedBitSet;

use super::address::{AtomSet, IpBlock};
use super::arena::Id;
use super::cluster_policy::ClusterPolicy;
use super::model::{Direction, NetworkPolicy, Ports};

pub(super) type PolicyId = Id<CompiledPolicy>;
pub(super) type ClusterPolicyId = Id<CompiledClusterPolicy>;
pub(super) type PeerId = Id<CompiledPeer>;

/// A policy whose peers have been matched.
#[derive(Debug)]
pub(super) struct CompiledPolicy {
    pub(super) policy: NetworkPolicy,
    pub(super) ingress: Vec<CompiledRule>,
    pub(super) egress: Vec<CompiledRule>,
}

impl CompiledPolicy {
    pub(super) fn rules(&self, direction: Direction) -> &[CompiledRule] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// A cluster-scoped policy whose peers have been matched.
#[derive(Debug)]
pub(super) struct CompiledClusterPolicy {
    pub(super) policy: ClusterPolicy,
    pub(super) ingress: Vec<CompiledRule>,
    pub(super) egress: Vec<CompiledRule>,
}

impl CompiledClusterPolicy {
    /// The compiled rules for a direction, as long as those of the policy.
    pub(super) fn rules(&self, direction: Direction) -> &[CompiledRule] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// A rule whose peers have been matched.
#[derive(Debug)]
pub(super) struct CompiledRule {
    /// `None` is everybody.
    pub(super) peers: Option<Vec<PeerId>>,
    pub(super) ports: Ports,
}

/// A peer, matched against everything that it can name.
#[derive(Debug)]
pub(super) enum CompiledPeer {
    /// The classes whose labels and namespace match.
    Pods(FixedBitSet),
    /// The block, and the parts of the address space inside it.
    IpBlock(IpBlock, AtomSet),
    /// All nodes.
    Nodes,
    /// Nodes with certain labels, which are not known.
    SomeNodes,
    /// Names, of which it is not known what they are resolved to.
    DomainNames,
}

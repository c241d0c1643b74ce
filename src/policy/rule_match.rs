//! Matches one rule with one flow. Labels and addresses may be known only in part.

use std::net::IpAddr;

use super::address::IpBlock;
use super::compiled::{CompiledPeer, Matched, MatchedClasses, PeerId, RuleRef};
use super::coverage::{Coverage, MatchedAtoms};
use super::engine::{Engine, PodId};
use super::flow::{Direct, Endpoint, Via};
use super::model::Pod;
use super::port::Port;
use super::reading::Point;
use super::rule::Direction;
use super::rule_ports::{self, HeldBy};
use super::undefined::UndefinedCause;

/// A flow, seen from the end whose policies are evaluated.
#[derive(Clone, Copy)]
pub(super) struct FlowWalk<'a> {
    pub(super) engine: &'a Engine,
    pub(super) flow: &'a Direct<'a>,
    pub(super) direction: Direction,
}

/// Whether a rule matches a flow.
pub(super) enum Match {
    Yes(MatchedBy),
    Unknown(UndefinedCause),
    No,
}

/// Kind of peer by which a rule matches the remote end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum MatchedBy {
    /// A peer other than an `ipBlock`, or a rule without peers, which matches every end.
    Selector,
    /// Only an `ipBlock`.
    IpBlock,
}

impl FlowWalk<'_> {
    /// Returns whether a rule matches the flow.
    pub(super) fn rule_matches(&self, rule: RuleRef<'_>) -> Match {
        let flow = self.flow;
        let ports = &rule.rule.ports;
        let on_port = rule_ports::held_by(ports, flow.protocol, flow.port, self.receiver(rule));
        let virtual_address = self.virtual_address(rule);
        let mut matched = match on_port {
            // If blocks are compared with the Service's address, only selectors are compared with the endpoint.
            Some(_) => self.peers_match(rule, virtual_address.is_none()),
            None => Match::No,
        };
        let mut port_by = on_port.unwrap_or(HeldBy::Number);
        if let Some((address, port)) = virtual_address
            && (!matches!(matched, Match::Yes(MatchedBy::Selector)) || port_by == HeldBy::RepeatedName)
            && self.blocks(rule).any(|block| block.contains(address))
            && let Some(by) = on_port.max(rule_ports::held_by(ports, flow.protocol, port, None))
        {
            (matched, port_by) = (Match::Yes(MatchedBy::IpBlock), by);
        }
        // Ingress rules always resolve a name on the subject, so only egress has two readings.
        if matches!(matched, Match::Yes(MatchedBy::IpBlock))
            && port_by < HeldBy::Number
            && self.direction == Direction::Egress
            && rule.rule.blocks_exclude_pods
            && !flow.reading.of(Point::PortName, || UndefinedCause::PortNameForIpBlock(rule.name()))
        {
            return Match::No;
        }
        match (port_by, matched) {
            (HeldBy::RepeatedName, Match::Yes(_)) => {
                Match::Unknown(UndefinedCause::PortNameRepeated(rule.name()))
            }
            (HeldBy::RepeatedName | HeldBy::Name | HeldBy::Number, matched) => matched,
        }
    }

    /// Returns the pod on which a rule resolves port names. There may be none if the destination counts as its node.
    fn receiver(&self, rule: RuleRef<'_>) -> Option<&Pod> {
        let pod = self.engine.pod_at(self.flow.destination)?;
        let is_certain = self.direction == Direction::Ingress || !rule.rule.blocks_exclude_pods;
        (is_certain || self.engine.counts_as_pod(pod, self.flow)).then_some(pod)
    }

    /// Returns the virtual address and the port of the Service with which the blocks of a rule are compared. `None`
    /// if the reading compares blocks after the translation, and for ingress, because a virtual address never sends.
    fn virtual_address(&self, rule: RuleRef<'_>) -> Option<(IpAddr, Port)> {
        let Via { service, port } = self.flow.via.filter(|_| self.direction == Direction::Egress)?;
        let address = service.address(self.flow.family)?;
        let cause = || UndefinedCause::ServiceAddressInIpBlock(rule.name());
        let has_blocks = self.blocks(rule).next().is_some();
        (has_blocks && self.flow.reading.of(Point::ServiceAddress, cause)).then_some((address, port))
    }

    fn blocks(&self, rule: RuleRef<'_>) -> impl Iterator<Item = &IpBlock> {
        let peers = rule.rule.peers.iter().flatten();
        peers.filter_map(|peer| self.engine.peers[*peer].block())
    }

    /// Returns whether the peers of a rule match the remote end.
    fn peers_match(&self, rule: RuleRef<'_>, with_blocks: bool) -> Match {
        let Some(peers) = &rule.rule.peers else { return Match::Yes(MatchedBy::Selector) };
        let mut best = Match::No;
        for peer in peers {
            if !with_blocks && self.engine.peers[*peer].block().is_some() {
                continue;
            }
            match self.peer_matches(*peer, rule) {
                Match::Yes(MatchedBy::Selector) => return Match::Yes(MatchedBy::Selector),
                Match::Yes(MatchedBy::IpBlock) => best = Match::Yes(MatchedBy::IpBlock),
                Match::Unknown(cause) => {
                    if matches!(best, Match::No) {
                        best = Match::Unknown(cause);
                    }
                }
                Match::No => {}
            }
        }
        best
    }

    fn peer_matches(&self, peer: PeerId, rule: RuleRef<'_>) -> Match {
        let Self { engine, flow, direction } = *self;
        let (_, remote) = flow.ends(direction);
        match (&engine.peers[peer], remote) {
            (CompiledPeer::Pods(classes), Endpoint::Pod(id)) => self.selector_matches(classes, id, rule),
            (CompiledPeer::Pods(_), Endpoint::Node(_) | Endpoint::External(_)) => Match::No,
            (CompiledPeer::IpBlock(block, _), Endpoint::External(address)) => {
                self.block_matches(block, Some(address), rule)
            }
            (CompiledPeer::IpBlock(block, _), Endpoint::Node(id)) => {
                self.block_matches(block, engine.nodes[id].address(flow.family), rule)
            }
            (CompiledPeer::IpBlock(_, atoms), Endpoint::Pod(id)) => self.block_matches_pod(atoms, id, rule),
            // A pod with `hostNetwork` has the addresses of its node.
            (CompiledPeer::Nodes | CompiledPeer::SomeNodes, Endpoint::Pod(id))
                if !engine.pods[id].host_network =>
            {
                Match::No
            }
            (CompiledPeer::Nodes | CompiledPeer::SomeNodes, Endpoint::External(_)) => Match::No,
            (CompiledPeer::Nodes, Endpoint::Pod(_) | Endpoint::Node(_)) => Match::Yes(MatchedBy::Selector),
            (CompiledPeer::SomeNodes, Endpoint::Pod(_) | Endpoint::Node(_)) => {
                Match::Unknown(UndefinedCause::NodeLabelsUnknown(rule.name()))
            }
            (CompiledPeer::DomainNames, Endpoint::Pod(_) | Endpoint::Node(_) | Endpoint::External(_)) => {
                Match::Unknown(UndefinedCause::DomainNames(rule.name()))
            }
        }
    }

    /// Returns whether a selector matches a pod. No selector matches a pod that counts as its node.
    fn selector_matches(&self, classes: &MatchedClasses, pod: PodId, rule: RuleRef<'_>) -> Match {
        let engine = self.engine;
        let matched = engine.class_of(pod).and_then(|class| classes.of(class));
        match matched.filter(|_| engine.counts_as_pod(&engine.pods[pod], self.flow)) {
            None => Match::No,
            Some(Matched::Surely) => Match::Yes(MatchedBy::Selector),
            Some(Matched::Perhaps(facts)) => {
                Match::Unknown(UndefinedCause::LabelsUnknown(rule.name(), engine.facts.get(facts).clone()))
            }
        }
    }

    /// Returns whether a block contains a pod's address, of which only ranges may be known.
    fn block_matches_pod(&self, atoms: &MatchedAtoms, pod: PodId, rule: RuleRef<'_>) -> Match {
        let class = self.engine.class_of(pod).map(|class| &self.engine.classes[class]);
        match class.map_or(Coverage::None, |class| class.coverage(self.flow.family, atoms)) {
            Coverage::All => Match::Yes(MatchedBy::IpBlock),
            Coverage::Some => Match::Unknown(UndefinedCause::AddressUnknown(rule.name())),
            Coverage::None => Match::No,
        }
    }

    fn block_matches(&self, block: &IpBlock, address: Option<IpAddr>, rule: RuleRef<'_>) -> Match {
        match address {
            Some(address) if block.contains(address) => Match::Yes(MatchedBy::IpBlock),
            Some(_) => Match::No,
            None if block.family() != self.flow.family => Match::No,
            // The block contains every address of the family.
            None if block.is_whole_family() => Match::Yes(MatchedBy::IpBlock),
            None => Match::Unknown(UndefinedCause::AddressUnknown(rule.name())),
        }
    }
}

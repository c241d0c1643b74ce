//! Matches one rule with one flow. Labels and addresses may be known only in part.

use std::net::IpAddr;

use super::address::IpBlock;
use super::bounds::Truth;
use super::engine::Engine;
use super::flow::{Direct, Endpoint, Via};
use super::matched::{CompiledPeer, Matched, RuleRef};
use super::model::ContainerPort;
use super::ordered::PeerId;
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
            && let Some(by) = on_port.max(rule_ports::held_by(ports, flow.protocol, port, &[]))
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

    /// Returns the container ports on which a rule resolves port names. There may be none if the destination counts as
    /// its node.
    fn receiver(&self, rule: RuleRef<'_>) -> &[ContainerPort] {
        let is_certain = self.direction == Direction::Ingress || !rule.rule.blocks_exclude_pods;
        let pod = self.engine.pod_at(self.flow.destination);
        pod.filter(|pod| is_certain || self.engine.counts_as_pod(pod, self.flow))
            .map_or(&[], |pod| &pod.ports)
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
        peers.filter_map(|peer| self.engine.peer(*peer).block())
    }

    /// Returns whether the peers of a rule match the remote end.
    fn peers_match(&self, rule: RuleRef<'_>, with_blocks: bool) -> Match {
        let Some(peers) = &rule.rule.peers else { return Match::Yes(MatchedBy::Selector) };
        let mut best = Match::No;
        let is_compared = |peer: &&PeerId| with_blocks || self.engine.peer(**peer).block().is_none();
        for peer in peers.iter().filter(is_compared) {
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

    fn peer_matches(&self, id: PeerId, rule: RuleRef<'_>) -> Match {
        let Self { engine, flow, direction } = *self;
        let (_, remote) = flow.ends(direction);
        let (class, is_node) = match remote {
            // A pod with `hostNetwork` has the addresses of its node.
            Endpoint::Pod(pod) => {
                let class = engine.cohort_of(pod).map(|cohort| engine.class(cohort));
                (class, engine.pods[pod].host_network)
            }
            Endpoint::Node(_) => (None, true),
            Endpoint::External(_) => (None, false),
        };
        match engine.peer(id) {
            CompiledPeer::Pods => {
                let matched = class.and_then(|class| engine.matches(id, class));
                // No selector matches a pod that counts as its node.
                match matched.filter(|_| engine.is_filtered(remote, flow)) {
                    None => Match::No,
                    Some(Matched::Surely) => Match::Yes(MatchedBy::Selector),
                    Some(Matched::Perhaps(facts)) => {
                        let facts = engine.facts.get(facts).clone();
                        Match::Unknown(UndefinedCause::LabelsUnknown(rule.name(), facts))
                    }
                }
            }
            CompiledPeer::IpBlock(block, atoms) => {
                let address = match remote {
                    Endpoint::External(address) => Some(address),
                    Endpoint::Node(id) => engine.nodes[id].address(flow.family),
                    Endpoint::Pod(_) => None,
                };
                let held = match (class, address) {
                    (Some(class), _) => class.coverage(flow.family, atoms),
                    (None, Some(address)) => Truth::of(block.contains(address), false),
                    (None, None) if block.family() != flow.family => Truth::No,
                    (None, None) => block.coverage(&[]),
                };
                match held {
                    Truth::Yes => Match::Yes(MatchedBy::IpBlock),
                    Truth::Perhaps => Match::Unknown(UndefinedCause::AddressUnknown(rule.name())),
                    Truth::No => Match::No,
                }
            }
            CompiledPeer::Nodes(_) if !is_node => Match::No,
            CompiledPeer::Nodes(Truth::Yes) => Match::Yes(MatchedBy::Selector),
            CompiledPeer::Nodes(Truth::Perhaps | Truth::No) => {
                Match::Unknown(UndefinedCause::NodeLabelsUnknown(rule.name()))
            }
            CompiledPeer::DomainNames => Match::Unknown(UndefinedCause::DomainNames(rule.name())),
        }
    }
}

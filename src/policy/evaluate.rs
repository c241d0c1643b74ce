//! Evaluates one flow: whether it may pass, and which policies and rules decide that.

use std::net::IpAddr;

use super::address::{IpBlock, IpFamily};
use super::class::Membership;
use super::compiled::{CompiledPeer, CompiledRule, PeerId, PolicyId};
use super::engine::{Engine, NodeId, PodId, ServiceId};
use super::expectation::{Decision, Expectation, PolicyName, Reason, RuleName, UndefinedCause};
use super::model::{Direction, Pod, Service};
use super::port::{Port, Protocol};
use super::reading::{Point, Reading, under_all_readings};
use super::rule_ports::{self, HeldBy};

/// One end of a flow, as the addresses of a packet show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A pod.
    Pod(PodId),
    /// A node.
    Node(NodeId),
    /// An address outside the cluster.
    External(IpAddr),
}

/// Destination of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Destination {
    /// An endpoint's own address.
    Endpoint(Endpoint),
    /// A Service's virtual address. It is translated to the address of one of its endpoints before policies see it.
    Service(ServiceId),
}

/// A flow: the first packet of a connection, or a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The sender.
    pub source: Endpoint,
    /// The destination.
    pub destination: Destination,
    /// Family of the addresses that both ends use.
    pub family: IpFamily,
    /// The protocol.
    pub protocol: Protocol,
    /// Destination port. For a Service, this is the Service's own port.
    pub port: Port,
}

/// A flow after the translation of a Service's address.
#[derive(Clone, Copy)]
pub(super) struct Direct<'a> {
    pub(super) source: Endpoint,
    pub(super) destination: Endpoint,
    pub(super) family: IpFamily,
    pub(super) protocol: Protocol,
    pub(super) port: Port,
    /// The Service to which the flow was sent.
    pub(super) via: Option<Via<'a>>,
    /// The reading of the specification under which the flow is evaluated.
    pub(super) reading: &'a Reading,
}

/// The Service and the Service port to which a flow was sent, before the translation.
#[derive(Clone, Copy)]
pub(super) struct Via<'a> {
    pub(super) service: &'a Service,
    pub(super) port: Port,
}

/// Whether a rule's peers match the remote end.
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

impl Engine {
    /// Evaluates a flow under every reading that the specification allows.
    ///
    /// NetworkPolicies follow the API documentation of `networking.k8s.io/v1 NetworkPolicySpec`: the rules of all
    /// policies that select an end are a union, and both the source's egress and the destination's ingress must allow
    /// the flow. Cluster-scoped policies come before and after NetworkPolicies and follow `policy.networking.k8s.io
    /// ClusterNetworkPolicySpec`.
    pub fn evaluate(&self, flow: &Flow) -> Expectation {
        match flow.destination {
            Destination::Endpoint(destination) => under_all_readings(|reading| {
                self.evaluate_direct(&Direct {
                    source: flow.source,
                    destination,
                    family: flow.family,
                    protocol: flow.protocol,
                    port: flow.port,
                    via: None,
                    reading,
                })
            }),
            Destination::Service(id) => self.evaluate_service(flow, &self.services[id]),
        }
    }

    /// Returns each end at which the flow may arrive, with the expectation for a packet that arrives there. The list
    /// is empty if the ends are not known.
    pub fn evaluate_arrivals(&self, flow: &Flow) -> Vec<(Endpoint, Expectation)> {
        match flow.destination {
            Destination::Endpoint(destination) => vec![(destination, self.evaluate(flow))],
            Destination::Service(id) => self.evaluate_endpoints(flow, &self.services[id]).unwrap_or_default(),
        }
    }

    pub(super) fn evaluate_direct(&self, flow: &Direct<'_>) -> Expectation {
        for end in [flow.source, flow.destination] {
            if let Some(endpoint) = self.lacks_address(end, flow.family) {
                return Expectation::undefined(UndefinedCause::NoAddress { endpoint });
            }
        }
        if let Some(cause) = self.node_port(flow) {
            return Expectation::undefined(cause);
        }
        if flow.source == flow.destination && matches!(flow.source, Endpoint::Pod(_)) {
            return Expectation::allow(Reason::OwnAddress);
        }
        if self.is_own_node(flow) {
            return self.own_node(flow);
        }
        if !self.is_filtered(flow.source, flow) && !self.is_filtered(flow.destination, flow) {
            return Expectation::allow(Reason::NoPodNetwork);
        }
        self.direction(flow, Direction::Egress).and(self.direction(flow, Direction::Ingress))
    }

    /// Returns the name of an end that has no address of a family, or `None` if it may have one.
    fn lacks_address(&self, end: Endpoint, family: IpFamily) -> Option<String> {
        let lacks = |addresses: &[IpAddr]| {
            !addresses.is_empty() && !addresses.iter().any(|address| IpFamily::of(*address) == family)
        };
        match end {
            Endpoint::Pod(id) => {
                let membership = self.class_of(id).map(|class| self.classes[class].membership(family));
                (membership == Some(Membership::NoAddress)).then(|| name_of(&self.pods[id]))
            }
            Endpoint::Node(id) => lacks(&self.nodes[id].addresses).then(|| self.nodes[id].name.clone()),
            Endpoint::External(address) => lacks(&[address]).then(|| address.to_string()),
        }
    }

    /// Returns whether an end counts as a pod in the flow's reading.
    fn is_filtered(&self, end: Endpoint, flow: &Direct<'_>) -> bool {
        match end {
            Endpoint::Pod(id) => self.counts_as_pod(&self.pods[id], flow),
            Endpoint::Node(_) | Endpoint::External(_) => false,
        }
    }

    /// Returns whether a pod counts as a pod in the flow's reading. There are two readings for a pod with
    /// `hostNetwork`: it counts as a pod, or as its node.
    pub(super) fn counts_as_pod(&self, pod: &Pod, flow: &Direct<'_>) -> bool {
        let cause = || UndefinedCause::HostNetwork { pod: name_of(pod) };
        !pod.host_network || flow.reading.of(Point::HostNetwork, cause)
    }

    /// Returns whether one end is, or counts as, the node on which the other end runs.
    fn is_own_node(&self, flow: &Direct<'_>) -> bool {
        let is_node_of = |host: Endpoint, other: Endpoint| {
            let Some(pod) = self.pod_at(other) else { return false };
            let Some(node) = &pod.node else { return false };
            match host {
                Endpoint::Node(id) => self.nodes[id].name == *node,
                Endpoint::Pod(id) => {
                    let host = &self.pods[id];
                    let is_on_node =
                        host.host_network && !pod.host_network && host.node.as_ref() == Some(node);
                    is_on_node && !self.counts_as_pod(host, flow)
                }
                Endpoint::External(_) => false,
            }
        };
        is_node_of(flow.source, flow.destination) || is_node_of(flow.destination, flow.source)
    }

    /// Returns the reason why the flow is undefined if it is sent to a Service's `nodePort` or a pod's `hostPort`. A
    /// pod with `hostNetwork` has its node's address and so its ports. A flow that was sent to a Service is not
    /// translated a second time.
    fn node_port(&self, flow: &Direct<'_>) -> Option<UndefinedCause> {
        let has_nodes_address = match flow.destination {
            Endpoint::Pod(pod) => self.pods[pod].host_network,
            Endpoint::Node(_) => true,
            Endpoint::External(_) => false,
        };
        if !has_nodes_address || flow.via.is_some() {
            return None;
        }
        let has_port = |service: &Service| {
            let mut ports = service.node_ports();
            ports.any(|(protocol, ports)| protocol == flow.protocol && ports.contains(flow.port))
        };
        let of_service = self.services.iter().find(|(_, service)| has_port(service));
        let of_service =
            of_service.map(|(_, service)| UndefinedCause::NodePort { service: service_name(service) });
        of_service.or_else(|| {
            let has_port = |pod: &Pod| !pod.ended && pod.host_ports.contains(&(flow.protocol, flow.port));
            let (_, pod) = self.pods.iter().find(|(_, pod)| has_port(pod))?;
            Some(UndefinedCause::HostPort { pod: name_of(pod) })
        })
    }

    /// Evaluates the policies of one end.
    pub(super) fn direction(&self, flow: &Direct<'_>, direction: Direction) -> Expectation {
        let network_policies = |isolating: &[PolicyId]| self.network_policies(flow, direction, isolating);
        self.in_order(flow, direction, network_policies, Reason::NotIsolated(direction))
    }

    /// Evaluates the NetworkPolicies that isolate one end. `isolating` must not be empty.
    pub(super) fn network_policies(
        &self,
        flow: &Direct<'_>,
        direction: Direction,
        isolating: &[PolicyId],
    ) -> Expectation {
        let (_, remote) = flow.ends(direction);
        let mut allowing = Vec::new();
        let mut unknown = Vec::new();
        for id in isolating {
            let policy = &self.policies[*id];
            for (index, rule) in policy.rules(direction).iter().enumerate() {
                let name = || RuleName { policy: (&policy.policy).into(), direction, index };
                match self.rule_matches(rule, flow, direction, name) {
                    Match::Yes(by) => {
                        let pod_in_ip_block = by == MatchedBy::IpBlock && matches!(remote, Endpoint::Pod(_));
                        allowing.push(Reason::AllowedBy { rule: name(), pod_in_ip_block });
                    }
                    Match::Unknown(cause) => unknown.push(Reason::Undefined(cause)),
                    Match::No => {}
                }
            }
        }
        if !allowing.is_empty() {
            return Expectation { decision: Decision::Allow, reasons: allowing };
        }
        if !unknown.is_empty() {
            return Expectation { decision: Decision::Undefined, reasons: unknown };
        }
        let policies = isolating.iter().map(|id| PolicyName::from(&self.policies[*id].policy)).collect();
        Expectation { decision: Decision::Deny, reasons: vec![Reason::Isolated { direction, policies }] }
    }

    /// Returns whether a rule of a NetworkPolicy matches a flow.
    fn rule_matches(
        &self,
        rule: &CompiledRule,
        flow: &Direct<'_>,
        direction: Direction,
        name: impl Fn() -> RuleName,
    ) -> Match {
        let (_, remote) = flow.ends(direction);
        let receiver = self.receiver(flow, direction);
        let on_port = rule_ports::held_by(&rule.ports, flow.protocol, flow.port, receiver);
        let virtual_address = self.sees_virtual_address(rule, flow, direction, &name);
        let peers = || match virtual_address {
            None => self.peers_match(rule, remote, flow, &name),
            // Blocks are compared with the Service's address instead.
            Some(_) => self.selectors_match(rule, remote, flow, &name),
        };
        let mut matched = if on_port.is_some() { peers() } else { Match::No };
        let mut port_by = on_port.unwrap_or(HeldBy::Number);
        if let Some((address, port)) = virtual_address
            && (!matches!(matched, Match::Yes(MatchedBy::Selector)) || port_by == HeldBy::RepeatedName)
            && self.has_block_with(rule, address)
            && let Some(by) = on_port.max(rule_ports::held_by(&rule.ports, flow.protocol, port, None))
        {
            (matched, port_by) = (Match::Yes(MatchedBy::IpBlock), by);
        }
        match matched {
            // Ingress rules always resolve a name on the subject, so only egress has two readings.
            Match::Yes(MatchedBy::IpBlock) if port_by < HeldBy::Number && direction == Direction::Egress => {
                match flow.reading.of(Point::PortName, || UndefinedCause::PortNameForIpBlock(name())) {
                    true => port_by.leave_open(matched, name),
                    false => Match::No,
                }
            }
            Match::Yes(_) | Match::Unknown(_) | Match::No => port_by.leave_open(matched, name),
        }
    }

    /// Returns the virtual address and the port of the Service with which the blocks of a rule are compared. `None`
    /// if the reading compares blocks after the translation, and for ingress, because a virtual address never sends.
    pub(super) fn sees_virtual_address(
        &self,
        rule: &CompiledRule,
        flow: &Direct<'_>,
        direction: Direction,
        name: impl Fn() -> RuleName,
    ) -> Option<(IpAddr, Port)> {
        let Via { service, port } = flow.via.filter(|_| direction == Direction::Egress)?;
        let address = service.address(flow.family)?;
        let is_block = |peer: &PeerId| matches!(self.peers[*peer], CompiledPeer::IpBlock(..));
        let has_blocks = rule.peers.iter().flatten().any(is_block);
        let cause = || UndefinedCause::ServiceAddressInIpBlock(name());
        (has_blocks && flow.reading.of(Point::ServiceAddress, cause)).then_some((address, port))
    }

    /// Returns the pod at an end, or `None` if the end is not a pod.
    pub(super) fn pod_at(&self, end: Endpoint) -> Option<&Pod> {
        match end {
            Endpoint::Pod(id) => Some(&self.pods[id]),
            Endpoint::Node(_) | Endpoint::External(_) => None,
        }
    }

    /// Returns the pod on which a NetworkPolicy's rules resolve port names. For egress, there is none if the
    /// destination counts as its node.
    fn receiver(&self, flow: &Direct<'_>, direction: Direction) -> Option<&Pod> {
        let pod = self.pod_at(flow.destination)?;
        (direction == Direction::Ingress || self.counts_as_pod(pod, flow)).then_some(pod)
    }

    pub(super) fn peers_match(
        &self,
        rule: &CompiledRule,
        remote: Endpoint,
        flow: &Direct<'_>,
        name: impl Fn() -> RuleName,
    ) -> Match {
        self.any_peer_matches(rule, |peer| self.peer_matches(peer, remote, flow, &name))
    }

    /// Returns whether a peer other than an `ipBlock` matches.
    pub(super) fn selectors_match(
        &self,
        rule: &CompiledRule,
        remote: Endpoint,
        flow: &Direct<'_>,
        name: impl Fn() -> RuleName,
    ) -> Match {
        self.any_peer_matches(rule, |peer| match &self.peers[peer] {
            CompiledPeer::IpBlock(..) => Match::No,
            CompiledPeer::Pods(_)
            | CompiledPeer::Nodes
            | CompiledPeer::SomeNodes
            | CompiledPeer::DomainNames => self.peer_matches(peer, remote, flow, &name),
        })
    }

    fn any_peer_matches(&self, rule: &CompiledRule, matches: impl Fn(PeerId) -> Match) -> Match {
        let Some(peers) = &rule.peers else { return Match::Yes(MatchedBy::Selector) };
        let mut best = Match::No;
        for peer in peers {
            match matches(*peer) {
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

    fn peer_matches(
        &self,
        peer: PeerId,
        remote: Endpoint,
        flow: &Direct<'_>,
        name: impl Fn() -> RuleName,
    ) -> Match {
        let family = flow.family;
        match (&self.peers[peer], remote) {
            (CompiledPeer::Pods(classes), Endpoint::Pod(id)) => {
                self.selector_matches(classes, id, flow, name)
            }
            (CompiledPeer::Pods(_), Endpoint::Node(_) | Endpoint::External(_)) => Match::No,
            (CompiledPeer::IpBlock(block, _), Endpoint::External(address)) => {
                block_matches(block, Some(address), family, name)
            }
            (CompiledPeer::IpBlock(block, _), Endpoint::Node(id)) => {
                block_matches(block, self.nodes[id].address(family), family, name)
            }
            (CompiledPeer::IpBlock(_, atoms), Endpoint::Pod(id)) => {
                self.block_matches_pod(atoms, id, family, name)
            }
            // A pod with `hostNetwork` has the addresses of its node.
            (CompiledPeer::Nodes | CompiledPeer::SomeNodes, Endpoint::Pod(id))
                if !self.pods[id].host_network =>
            {
                Match::No
            }
            (CompiledPeer::Nodes | CompiledPeer::SomeNodes, Endpoint::External(_)) => Match::No,
            (CompiledPeer::Nodes, Endpoint::Pod(_) | Endpoint::Node(_)) => Match::Yes(MatchedBy::Selector),
            (CompiledPeer::SomeNodes, Endpoint::Pod(_) | Endpoint::Node(_)) => {
                Match::Unknown(UndefinedCause::NodeLabelsUnknown(name()))
            }
            (CompiledPeer::DomainNames, Endpoint::Pod(_) | Endpoint::Node(_) | Endpoint::External(_)) => {
                Match::Unknown(UndefinedCause::DomainNames(name()))
            }
        }
    }
}

impl Direct<'_> {
    /// Returns the subject and the remote end for a direction.
    pub(super) fn ends(&self, direction: Direction) -> (Endpoint, Endpoint) {
        match direction {
            Direction::Egress => (self.source, self.destination),
            Direction::Ingress => (self.destination, self.source),
        }
    }
}

pub(super) fn name_of(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}

pub(super) fn service_name(service: &Service) -> String {
    format!("{}/{}", service.namespace, service.name)
}

fn block_matches(
    block: &IpBlock,
    address: Option<IpAddr>,
    family: IpFamily,
    name: impl Fn() -> RuleName,
) -> Match {
    match address {
        Some(address) if block.contains(address) => Match::Yes(MatchedBy::IpBlock),
        Some(_) => Match::No,
        None if block.family() != family => Match::No,
        // The block contains every address of the family.
        None if block.is_whole_family() => Match::Yes(MatchedBy::IpBlock),
        None => Match::Unknown(UndefinedCause::AddressUnknown(name())),
    }
}

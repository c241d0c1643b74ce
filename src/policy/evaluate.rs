//! One flow: may it pass, and which policies and rules decide that.

use std::net::IpAddr;

use super::address::{IpBlock, IpFamily};
use super::class::Membership;
use super::compiled::{CompiledPeer, CompiledRule, PeerId, PolicyId};
use super::engine::{Engine, NodeId, PodId, ServiceId};
use super::expectation::{Decision, Expectation, PolicyName, Reason, RuleName, UndefinedCause};
use super::model::{Direction, Pod, Service};
use super::port::{Port, Protocol};
use super::rule_ports::{self, HeldBy};

/// One end of a flow, as a packet shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A pod.
    Pod(PodId),
    /// A node.
    Node(NodeId),
    /// An address outside the cluster.
    External(IpAddr),
}

/// Where a flow is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Destination {
    /// To an endpoint's own address.
    Endpoint(Endpoint),
    /// To a Service's virtual address, which is translated to that of one of its endpoints before
    /// policies see it.
    Service(ServiceId),
}

/// A flow: the first packet of a connection, or a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Who sends.
    pub source: Endpoint,
    /// To whom.
    pub destination: Destination,
    /// With which of their addresses.
    pub family: IpFamily,
    /// The protocol.
    pub protocol: Protocol,
    /// The port of the destination: of a Service, the Service's.
    pub port: Port,
}

/// A flow after the translation of Services.
#[derive(Clone, Copy)]
pub(super) struct Direct<'a> {
    pub(super) source: Endpoint,
    pub(super) destination: Endpoint,
    pub(super) family: IpFamily,
    pub(super) protocol: Protocol,
    pub(super) port: Port,
    /// The Service to which it was sent.
    pub(super) via: Option<Via<'a>>,
}

/// The Service, and the port of it, to which a flow was sent before its translation.
#[derive(Clone, Copy)]
pub(super) struct Via<'a> {
    pub(super) service: &'a Service,
    pub(super) port: Port,
}

/// Whether a rule's peers hold the remote end.
pub(super) enum Match {
    Yes(MatchedBy),
    Unknown(UndefinedCause),
    No,
}

/// By what a rule's peers hold the remote end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum MatchedBy {
    /// By a selector, or because the rule names no peers.
    Selector,
    /// By an `ipBlock` only.
    IpBlock,
}

impl Engine {
    /// What the policies in force say about a flow.
    ///
    /// Follows the API documentation of `networking.k8s.io/v1 NetworkPolicySpec`: the union of all
    /// rules that select an end, the source's egress and the destination's ingress together. Before
    /// and after that come cluster-scoped policies, by `policy.networking.k8s.io
    /// ClusterNetworkPolicySpec`.
    pub fn evaluate(&self, flow: &Flow) -> Expectation {
        match flow.destination {
            Destination::Endpoint(destination) => self.evaluate_direct(&Direct {
                source: flow.source,
                destination,
                family: flow.family,
                protocol: flow.protocol,
                port: flow.port,
                via: None,
            }),
            Destination::Service(id) => self.evaluate_service(flow, &self.services[id]),
        }
    }

    /// The same about each end that the flow may arrive at: more than one, or none, only behind a Service.
    pub fn evaluate_each(&self, flow: &Flow) -> Vec<Expectation> {
        match flow.destination {
            Destination::Endpoint(_) => vec![self.evaluate(flow)],
            Destination::Service(id) => self.evaluate_endpoints(flow, &self.services[id]),
        }
    }

    pub(super) fn evaluate_direct(&self, flow: &Direct<'_>) -> Expectation {
        for end in [flow.source, flow.destination] {
            if let Some(endpoint) = self.lacks_address(end, flow.family) {
                return Expectation::undefined(UndefinedCause::NoAddress { endpoint });
            }
        }
        if let Some(service) = self.node_port(flow) {
            return Expectation::undefined(UndefinedCause::NodePort { service });
        }
        if flow.source == flow.destination && matches!(flow.source, Endpoint::Pod(_)) {
            return Expectation::allow(Reason::OwnAddress);
        }
        if self.is_own_node(flow.source, flow.destination) {
            return self.own_node(flow);
        }
        if !self.is_filtered(flow.source) && !self.is_filtered(flow.destination) {
            return Expectation::allow(Reason::NoPodNetwork);
        }
        let expectation =
            self.direction(flow, Direction::Egress).and(self.direction(flow, Direction::Ingress));
        // What uses the node's network has the node's address.
        if self.is_host_of(flow.source, flow.destination) {
            undecided_on_own_node(expectation)
        } else {
            expectation
        }
    }

    /// The end's name if it has no address of this family.
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

    /// Whether policies can select this end: pods in the pod network, and pods of which
    /// implementations may think so.
    fn is_filtered(&self, end: Endpoint) -> bool {
        match end {
            Endpoint::Pod(id) => !self.pods[id].host_network,
            Endpoint::Node(_) | Endpoint::External(_) => false,
        }
    }

    fn is_own_node(&self, source: Endpoint, destination: Endpoint) -> bool {
        match (source, destination) {
            (Endpoint::Pod(pod), Endpoint::Node(node)) | (Endpoint::Node(node), Endpoint::Pod(pod)) => {
                self.pods[pod].node.as_deref() == Some(self.nodes[node].name.as_str())
            }
            (Endpoint::Pod(_) | Endpoint::Node(_) | Endpoint::External(_), _) => false,
        }
    }

    /// Whether the destination is a pod with hostNetwork on the source's own node.
    fn is_host_of(&self, source: Endpoint, destination: Endpoint) -> bool {
        let (Some(source), Some(destination)) = (self.pod(source), self.pod(destination)) else {
            return false;
        };
        destination.host_network && source.node.is_some() && source.node == destination.node
    }

    /// The Service whose `nodePort` the flow is sent to. A pod with hostNetwork has its node's address; what
    /// a Service leads to is not translated again.
    fn node_port(&self, flow: &Direct<'_>) -> Option<String> {
        let has_nodes_address = match flow.destination {
            Endpoint::Pod(pod) => self.pods[pod].host_network,
            Endpoint::Node(_) => true,
            Endpoint::External(_) => false,
        };
        if !has_nodes_address || flow.via.is_some() {
            return None;
        }
        let has_port = |service: &Service| {
            service.ports.iter().any(|p| p.protocol == flow.protocol && p.node_port == Some(flow.port))
        };
        self.services.iter().find(|(_, service)| has_port(service)).map(|(_, service)| service_name(service))
    }

    /// What the policies of one end say.
    pub(super) fn direction(&self, flow: &Direct<'_>, direction: Direction) -> Expectation {
        let network_policies = |isolating: &[PolicyId]| self.network_policies(flow, direction, isolating);
        self.in_order(flow, direction, network_policies, Reason::NotIsolated(direction))
    }

    /// What the NetworkPolicies say that isolate one end. `isolating` is not empty.
    fn network_policies(
        &self,
        flow: &Direct<'_>,
        direction: Direction,
        isolating: &[PolicyId],
    ) -> Expectation {
        let (subject, remote) = flow.ends(direction);
        let receiver = self.receiver(flow.destination, direction);
        let mut allowing = Vec::new();
        let mut unknown = Vec::new();
        for id in isolating {
            let policy = &self.policies[*id];
            for (index, rule) in policy.rules(direction).iter().enumerate() {
                let held = rule_ports::held_by(&rule.ports, flow.protocol, flow.port, receiver);
                let Some(port_by) = held else { continue };
                let name = || RuleName { policy: (&policy.policy).into(), direction, index };
                match self.peers_match(rule, remote, flow.family, name) {
                    // On ingress the name is the subject's own, whoever sends.
                    Match::Yes(MatchedBy::IpBlock)
                        if port_by == HeldBy::Name && direction == Direction::Egress =>
                    {
                        unknown.push(Reason::Undefined(UndefinedCause::PortNameForIpBlock(name())));
                    }
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
        if let Some(pod) = self.host_network_end(subject).or(self.host_network_end(remote)) {
            return Expectation::undefined(UndefinedCause::HostNetwork { pod });
        }
        let policies = isolating.iter().map(|id| PolicyName::from(&self.policies[*id].policy)).collect();
        Expectation { decision: Decision::Deny, reasons: vec![Reason::Isolated { direction, policies }] }
    }

    /// The pod of an end that is a pod.
    pub(super) fn pod(&self, end: Endpoint) -> Option<&Pod> {
        match end {
            Endpoint::Pod(id) => Some(&self.pods[id]),
            Endpoint::Node(_) | Endpoint::External(_) => None,
        }
    }

    /// The pod on which the named ports of rules for a direction resolve. A destination with hostNetwork
    /// may be taken for its node, which has none; as a subject it is a pod.
    pub(super) fn receiver(&self, destination: Endpoint, direction: Direction) -> Option<&Pod> {
        self.pod(destination).filter(|pod| direction == Direction::Ingress || !pod.host_network)
    }

    pub(super) fn host_network_end(&self, end: Endpoint) -> Option<String> {
        self.pod(end).filter(|pod| pod.host_network).map(name_of)
    }

    pub(super) fn peers_match(
        &self,
        rule: &CompiledRule,
        remote: Endpoint,
        family: IpFamily,
        name: impl Fn() -> RuleName,
    ) -> Match {
        let Some(peers) = &rule.peers else { return Match::Yes(MatchedBy::Selector) };
        let mut best = Match::No;
        for peer in peers {
            match self.peer_matches(*peer, remote, family, &name) {
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
        family: IpFamily,
        name: impl Fn() -> RuleName,
    ) -> Match {
        match (&self.peers[peer], remote) {
            (CompiledPeer::Pods(classes), Endpoint::Pod(id)) => self.selector_matches(classes, id, name),
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
    /// The end whose policies are asked, and the other one.
    pub(super) fn ends(&self, direction: Direction) -> (Endpoint, Endpoint) {
        match direction {
            Direction::Egress => (self.source, self.destination),
            Direction::Ingress => (self.destination, self.source),
        }
    }
}

fn name_of(pod: &Pod) -> String {
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
        // Whatever the address is, it is in there.
        None if block.is_whole_family() => Match::Yes(MatchedBy::IpBlock),
        None => Match::Unknown(UndefinedCause::AddressUnknown(name())),
    }
}

/// Whether cluster-scoped policies can deny what a pod sends to its own node is not said.
pub(super) fn undecided_on_own_node(mut expectation: Expectation) -> Expectation {
    if expectation.decision == Decision::Deny {
        expectation.decision = Decision::Undefined;
        for reason in &mut expectation.reasons {
            if let Reason::DeniedBy(rule) = reason {
                *reason = Reason::Undefined(UndefinedCause::OwnNodeDenied(rule.clone()));
            }
        }
    }
    expectation
}

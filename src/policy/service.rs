//! Flows to a Service's virtual address: translated first, then evaluated.

use std::net::IpAddr;

use super::address::IpFamily;
use super::cluster_policy::Tier;
use super::compiled::{CompiledPeer, CompiledRule};
use super::engine::{Engine, Isolating};
use super::evaluate::{Direct, Endpoint, Flow, Match, MatchedBy, Via, service_name};
use super::expectation::{Decision, Expectation, Reason, RuleName, UndefinedCause};
use super::label::Selection;
use super::model::{Backends, Direction, Pod, Service, ServicePort, TargetPort};
use super::port::Port;
use super::rule_ports::{self, HeldBy};

impl Engine {
    /// What the policies say about a Service's virtual address: what they say about each of its
    /// endpoints, or that they do not agree.
    pub(super) fn evaluate_service(&self, flow: &Flow, service: &Service) -> Expectation {
        let name = || service_name(service);
        let mut endpoints = self.evaluate_endpoints(flow, service).into_iter();
        match endpoints.next() {
            None => Expectation::undefined(UndefinedCause::NoBackends { service: name() }),
            Some(first) if endpoints.all(|other| other.decision == first.decision) => first,
            Some(_) => Expectation::undefined(UndefinedCause::BackendsDiffer { service: name() }),
        }
    }

    /// What the policies say about each of a Service's endpoints, in the order of the pods or addresses.
    pub(super) fn evaluate_endpoints(&self, flow: &Flow, service: &Service) -> Vec<Expectation> {
        let name = || service_name(service);
        let port = service.ports.iter().find(|p| p.protocol == flow.protocol && p.port == flow.port);
        let Some(port) = port else {
            return vec![Expectation::undefined(UndefinedCause::NoServicePort { service: name() })];
        };
        let Some(backends) = self.backends(service, port, flow.family) else {
            return vec![Expectation::undefined(UndefinedCause::BackendsUnknown { service: name() })];
        };
        let backends = backends.into_iter();
        backends.map(|(endpoint, target)| self.evaluate_backend(flow, service, endpoint, target)).collect()
    }

    /// The endpoints that one port of a Service leads to, each with its port; `None` if it cannot
    /// be told.
    fn backends(
        &self,
        service: &Service,
        port: &ServicePort,
        family: IpFamily,
    ) -> Option<Vec<(Endpoint, Port)>> {
        match (&service.backends, &port.target) {
            (Backends::Unknown, _) | (Backends::Addresses(_), TargetPort::Name(_)) => None,
            (Backends::Addresses(addresses), TargetPort::Number(target)) => {
                let of_family = addresses.iter().filter(|address| IpFamily::of(**address) == family);
                Some(of_family.map(|address| (self.endpoint_at(*address), *target)).collect())
            }
            (Backends::Selected(selector), target) => {
                let selected = |pod: &Pod| {
                    let carries = |(key, value): (&String, &String)| pod.labels.get(key) == Some(value);
                    let reachable = pod.addresses.is_empty() || pod.address(family).is_some();
                    pod.namespace == service.namespace
                        && !selector.is_empty()
                        && selector.iter().all(carries)
                        && !pod.ended
                        && reachable
                };
                let is_open = |pod: &Pod| {
                    pod.namespace == service.namespace
                        && !pod.ended
                        && !pod.unknown_labels.is_empty()
                        && matches!(service.backends.select(pod), Selection::DependsOn(_))
                };
                if self.pods.iter().any(|(_, pod)| is_open(pod)) {
                    return None;
                }
                let pods = self.pods.iter().filter(|(_, pod)| selected(pod));
                let with_port =
                    |(id, pod): (_, &Pod)| Some((Endpoint::Pod(id), target.resolve(pod, port.protocol)?));
                Some(pods.filter_map(with_port).collect())
            }
        }
    }

    /// Who has this address: a node (as the API server's endpoints have), or nobody in the cluster.
    fn endpoint_at(&self, address: IpAddr) -> Endpoint {
        let node = self.nodes.iter().find(|(_, node)| node.addresses.contains(&address));
        node.map_or(Endpoint::External(address), |(id, _)| Endpoint::Node(id))
    }

    fn evaluate_backend(
        &self,
        flow: &Flow,
        service: &Service,
        destination: Endpoint,
        target: Port,
    ) -> Expectation {
        let Flow { source, family, protocol, .. } = *flow;
        let via = Some(Via { service, port: flow.port });
        let direct = Direct { source, destination, family, protocol, port: target, via };
        if source == destination {
            return self.evaluate_hairpin(&direct, service);
        }
        match self.undecided_by_address(&direct) {
            Some(rule) => Expectation::undefined(UndefinedCause::ServiceAddressInIpBlock(rule)),
            None => self.evaluate_direct(&direct),
        }
    }

    /// A pod that reaches itself through a Service: what NetworkPolicies say about that is undefined.
    fn evaluate_hairpin(&self, flow: &Direct<'_>, service: &Service) -> Expectation {
        let undefined = || Expectation::undefined(UndefinedCause::Hairpin { service: service_name(service) });
        let [egress, ingress] = Direction::ALL
            .map(|direction| self.in_order(flow, direction, |_| undefined(), Reason::NotIsolated(direction)));
        let mut expectation = egress.and(ingress);
        expectation.reasons.dedup();
        expectation
    }

    /// The egress rule of a NetworkPolicy on whose `ipBlock` it depends whether the source may send:
    /// the block holds the virtual address but not the endpoint's, or the other way round, and
    /// implementations may compare it with either. `None` if nothing depends on that.
    ///
    /// What a block allows by a port's name only, it allows for certain neither before nor after.
    fn undecided_by_address(&self, translated: &Direct<'_>) -> Option<RuleName> {
        let Direct { destination, family, protocol, port, .. } = *translated;
        let Via { service, port: virtual_port } = translated.via?;
        let (Endpoint::Pod(source), Some(virtual_address)) = (translated.source, service.address(family))
        else {
            return None;
        };
        if self.direction(translated, Direction::Ingress).decision == Decision::Deny
            || !self.tier(translated, Direction::Egress, Tier::Admin).goes_on()
        {
            return None;
        }
        let receiver = self.receiver(destination, Direction::Egress);
        let (mut for_endpoint, mut for_service, mut for_service_by_name) = (None, None, None);
        let isolating = self.class_of(source).map(|class| self.isolating(class, Direction::Egress));
        for id in isolating.into_iter().flat_map(Isolating::all) {
            let policy = &self.policies[id];
            for (index, rule) in policy.rules(Direction::Egress).iter().enumerate() {
                let name =
                    || RuleName { policy: (&policy.policy).into(), direction: Direction::Egress, index };
                let holds = |port, receiver| rule_ports::held_by(&rule.ports, protocol, port, receiver);
                let on_target = holds(port, receiver);
                if let Some(port_by) = on_target {
                    match self.peers_match(rule, destination, family, name) {
                        Match::Yes(MatchedBy::Selector) => return None,
                        Match::Yes(MatchedBy::IpBlock) => match port_by {
                            HeldBy::Number => for_endpoint = Some(name()),
                            HeldBy::Name => {}
                        },
                        Match::Unknown(_) | Match::No => {}
                    }
                }
                if self.has_block_with(rule, virtual_address) {
                    match on_target.max(holds(virtual_port, None)) {
                        Some(HeldBy::Number) => for_service = Some(name()),
                        Some(HeldBy::Name) => for_service_by_name = Some(name()),
                        None => {}
                    }
                }
            }
        }
        match (for_endpoint, for_service.is_some()) {
            (Some(_), true) => None,
            (Some(rule), false) => Some(rule),
            (None, _) => for_service.or(for_service_by_name),
        }
    }

    pub(super) fn has_block_with(&self, rule: &CompiledRule, address: IpAddr) -> bool {
        rule.peers.iter().flatten().any(|peer| match &self.peers[*peer] {
            CompiledPeer::IpBlock(block, _) => block.contains(address),
            CompiledPeer::Pods(_)
            | CompiledPeer::Nodes
            | CompiledPeer::SomeNodes
            | CompiledPeer::DomainNames => false,
        })
    }
}

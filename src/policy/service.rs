//! Evaluates flows to a Service: the address is translated first, and each endpoint is evaluated.

use std::net::IpAddr;

use super::address::IpFamily;
use super::engine::Engine;
use super::expectation::{Decision, Expectation, Reason};
use super::flow::{Direct, Endpoint, Flow, Via, name_of, service_name};
use super::label::Selection;
use super::model::{Backends, Service, TargetPort};
use super::port::Port;
use super::reading::{Reading, under_all_readings};
use super::rule::Direction;
use super::undefined::UndefinedCause;

impl Engine {
    /// Evaluates a flow to a Service. The result is the decision that all endpoints have in common, or undefined if
    /// their decisions differ.
    pub(super) fn evaluate_service(&self, flow: &Flow, service: &Service) -> Expectation {
        let endpoints = match self.evaluate_endpoints(flow, service) {
            Ok(endpoints) => endpoints,
            Err(cause) => return Expectation::undefined(cause),
        };
        let Some((_, first)) = endpoints.first() else {
            return Expectation::undefined(UndefinedCause::NoBackends(service_name(service)));
        };
        if endpoints.iter().all(|(_, other)| other.decision == first.decision) {
            return match first.decision {
                Decision::Allow | Decision::Undefined => first.clone(),
                // Different policies may deny different endpoints.
                Decision::Deny => Expectation {
                    decision: Decision::Deny,
                    reasons: endpoints.into_iter().flat_map(|(_, each)| each.reasons).collect(),
                }
                .without_repetitions(),
            };
        }
        let mut differ = Expectation::undefined(UndefinedCause::BackendsDiffer(service_name(service)));
        differ.reasons.extend(endpoints.into_iter().map(|(endpoint, expectation)| Reason::Reading {
            interpretations: vec![format!("at {}", self.name_of_end(endpoint))],
            decision: expectation.decision,
        }));
        differ
    }

    /// Evaluates a flow for each endpoint of a Service, in the order of the pods or addresses.
    ///
    /// # Errors
    /// If the endpoints are not known, or the Service does not have the port.
    pub(super) fn evaluate_endpoints(
        &self,
        flow: &Flow,
        service: &Service,
    ) -> Result<Vec<(Endpoint, Expectation)>, UndefinedCause> {
        let name = || service_name(service);
        let target = match service.headless {
            // The name of a headless Service stands for the endpoints themselves, whatever ports the Service lists.
            true => &TargetPort::Number(flow.port),
            false => {
                let port = service.ports.iter().find(|p| p.protocol == flow.protocol && p.port == flow.port);
                &port.ok_or_else(|| UndefinedCause::NoServicePort(name()))?.target
            }
        };
        let backends = self.backends(service, target, flow);
        let backends = backends.and_then(|backends| self.usable(backends, service, flow.source));
        let backends = backends.ok_or_else(|| UndefinedCause::BackendsUnknown(name()))?;
        let evaluate = |(endpoint, target)| {
            let evaluate =
                |reading: &Reading| self.evaluate_backend(flow, service, endpoint, target, reading);
            (endpoint, under_all_readings(evaluate))
        };
        Ok(backends.into_iter().map(evaluate).collect())
    }

    /// Returns the endpoints to which a port of a Service leads, each with its port, or `None` if they are not known.
    fn backends(&self, service: &Service, target: &TargetPort, flow: &Flow) -> Option<Vec<(Endpoint, Port)>> {
        let Flow { family, protocol, .. } = *flow;
        match (&service.backends, target) {
            (Backends::Unknown, _) | (Backends::Addresses(_), TargetPort::Name(_)) => None,
            (Backends::Addresses(addresses), TargetPort::Number(target)) => {
                let of_family = addresses.iter().filter(|address| IpFamily::of(**address) == family);
                Some(of_family.map(|address| (self.endpoint_at(*address), *target)).collect())
            }
            (Backends::Selected(_), _) => {
                let Some(selector) = service.backends.selector() else { return Some(Vec::new()) };
                let mut found = Vec::new();
                for (id, pod) in self.pods_in(&service.namespace) {
                    let is_reachable = pod.addresses.is_empty() || pod.address(family).is_some();
                    match selector.select(&pod.labels, &pod.unknown_labels) {
                        Selection::Selected if is_reachable => {
                            let port = target.resolve(pod, protocol);
                            found.extend(port.map(|port| (Endpoint::Pod(id), port)));
                        }
                        Selection::Selected | Selection::NotSelected => {}
                        Selection::DependsOn(_) => return None,
                    }
                }
                Some(found)
            }
        }
    }

    /// Returns the endpoints that a sender may use, or `None` if that depends on an unknown node.
    fn usable(
        &self,
        backends: Vec<(Endpoint, Port)>,
        service: &Service,
        source: Endpoint,
    ) -> Option<Vec<(Endpoint, Port)>> {
        if !service.only_local {
            return Some(backends);
        }
        let own = self.node_of(source)?;
        let mut usable = Vec::new();
        for (endpoint, port) in backends {
            if self.node_of(endpoint)? == own {
                usable.push((endpoint, port));
            }
        }
        Some(usable)
    }

    /// Returns the name of the node on which an end is.
    fn node_of(&self, end: Endpoint) -> Option<&str> {
        match end {
            Endpoint::Pod(id) => self.pods[id].node.as_deref(),
            Endpoint::Node(id) => Some(&self.nodes[id].name),
            Endpoint::External(_) => None,
        }
    }

    /// Returns the end with this address: a node (as for the endpoints of the API server), a pod, or an address outside
    /// the cluster.
    fn endpoint_at(&self, address: IpAddr) -> Endpoint {
        let mut nodes = self.nodes.iter();
        if let Some((id, _)) = nodes.find(|(_, node)| node.addresses.contains(&address)) {
            return Endpoint::Node(id);
        }
        self.pod_with(address).map_or(Endpoint::External(address), Endpoint::Pod)
    }

    fn evaluate_backend(
        &self,
        flow: &Flow,
        service: &Service,
        destination: Endpoint,
        target: Port,
        reading: &Reading,
    ) -> Expectation {
        let Flow { source, family, protocol, .. } = *flow;
        let via = (!service.headless).then_some(Via { service, port: flow.port });
        let is_own_node = false;
        let direct =
            Direct { source, destination, family, protocol, port: target, via, is_own_node, reading };
        if source != destination || via.is_none() {
            return self.evaluate_direct(&direct);
        }
        // A pod reaches itself through the Service.
        let [egress, ingress] = Direction::ALL.map(|direction| self.direction(&direct, direction));
        let mut expectation = egress.and(ingress);
        expectation.reasons.dedup();
        expectation
    }

    pub(super) fn name_of_end(&self, end: Endpoint) -> String {
        match end {
            Endpoint::Pod(id) => name_of(&self.pods[id]),
            Endpoint::Node(id) => self.nodes[id].name.clone(),
            Endpoint::External(address) => address.to_string(),
        }
    }
}

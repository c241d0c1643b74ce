//! Evaluates one flow: whether it may pass, and which policies and rules decide that.

use super::address::IpFamily;
use super::bounds::Truth;
use super::engine::Engine;
use super::expectation::{Expectation, Reason};
use super::flow::{Destination, Direct, Endpoint, Flow, name_of, service_name};
use super::model::{Pod, Service};
use super::port::{PortRange, Protocol};
use super::reading::{Point, under_all_readings};
use super::rule::Direction;
use super::undefined::UndefinedCause;

/// The Service or pod to which a port of a node leads.
pub(super) enum LeadsTo<'a> {
    Service(&'a Service),
    Pod(&'a Pod),
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
                    is_own_node: false,
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
            if self.lacks_address(end, flow.family) {
                return Expectation::undefined(UndefinedCause::NoAddress(self.name_of_end(end)));
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

    /// Returns whether an end is known to have no address of a family.
    fn lacks_address(&self, end: Endpoint, family: IpFamily) -> bool {
        match end {
            Endpoint::Pod(id) => {
                let cohort = self.cohort_of(id);
                cohort.is_some_and(|cohort| self.class(cohort).has_family(family) == Truth::No)
            }
            Endpoint::Node(id) => self.nodes[id].lacks(family),
            Endpoint::External(address) => IpFamily::of(address) != family,
        }
    }

    /// Returns whether an end counts as a pod in the flow's reading.
    pub(super) fn is_filtered(&self, end: Endpoint, flow: &Direct<'_>) -> bool {
        match end {
            Endpoint::Pod(id) => self.counts_as_pod(&self.pods[id], flow),
            Endpoint::Node(_) | Endpoint::External(_) => false,
        }
    }

    /// Returns whether a pod counts as a pod in the flow's reading. There are two readings for a pod with
    /// `hostNetwork`: it counts as a pod, or as its node.
    pub(super) fn counts_as_pod(&self, pod: &Pod, flow: &Direct<'_>) -> bool {
        let cause = || UndefinedCause::HostNetwork(name_of(pod));
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
        let mut ports = self.node_ports();
        let is_it = |(of, ports): &(Protocol, PortRange)| *of == flow.protocol && ports.contains(flow.port);
        Some(match ports.find(|(port, _)| is_it(port))?.1 {
            LeadsTo::Service(service) => UndefinedCause::NodePort(service_name(service)),
            LeadsTo::Pod(pod) => UndefinedCause::HostPort(name_of(pod)),
        })
    }

    /// Returns the ports of nodes that lead to Services and pods.
    pub(super) fn node_ports(&self) -> impl Iterator<Item = ((Protocol, PortRange), LeadsTo<'_>)> {
        let of_services = self
            .services
            .iter()
            .flat_map(|(_, service)| service.node_ports().map(move |port| (port, LeadsTo::Service(service))));
        let of_pods = self.pods_with_host_ports().flat_map(|pod| {
            let port = |(protocol, port): &(_, _)| (*protocol, PortRange::single(*port));
            pod.host_ports.iter().map(move |host_port| (port(host_port), LeadsTo::Pod(pod)))
        });
        of_services.chain(of_pods)
    }

    /// Returns the pod at an end, or `None` if the end is not a pod.
    pub(super) fn pod_at(&self, end: Endpoint) -> Option<&Pod> {
        match end {
            Endpoint::Pod(id) => Some(&self.pods[id]),
            Endpoint::Node(_) | Endpoint::External(_) => None,
        }
    }
}

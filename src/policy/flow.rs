//! Flows: the first packets of connections, before and after the translation of a Service's address.

use std::net::IpAddr;

use super::address::IpFamily;
use super::engine::{NodeId, PodId, ServiceId};
use super::model::{Pod, Service};
use super::port::{Port, Protocol};
use super::reading::{Point, Reading};
use super::rule::Direction;
use super::undefined::UndefinedCause;

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
    /// Whether one end is the node on which the other end runs. NetworkPolicies always allow such a flow.
    pub(super) is_own_node: bool,
    /// The reading of the specification under which the flow is evaluated.
    pub(super) reading: &'a Reading,
}

/// The Service and the Service port to which a flow was sent, before the translation.
#[derive(Clone, Copy)]
pub(super) struct Via<'a> {
    pub(super) service: &'a Service,
    pub(super) port: Port,
}

impl Direct<'_> {
    /// Returns the subject and the remote end for a direction.
    pub(super) fn ends(&self, direction: Direction) -> (Endpoint, Endpoint) {
        match direction {
            Direction::Egress => (self.source, self.destination),
            Direction::Ingress => (self.destination, self.source),
        }
    }

    /// Returns whether the reading filters the flow. There are two readings for a connection of a pod to itself
    /// through a Service: it is filtered as every other connection, or it is not.
    pub(super) fn is_filtered_hairpin(&self) -> bool {
        let Some(Via { service, .. }) = self.via.filter(|_| self.source == self.destination) else {
            return true;
        };
        self.reading.of(Point::Hairpin, || UndefinedCause::Hairpin(service_name(service)))
    }
}

pub(super) fn name_of(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}

pub(super) fn service_name(service: &Service) -> String {
    format!("{}/{}", service.namespace, service.name)
}

//! Which packets meet the rules, if the data path has a fault.

use super::ground::Ground;
use crate::deviation::{DatapathFault, Passing, Traffic};
use crate::plan::Route;
use crate::policy::{Destination, Direction, Endpoint, Engine, Flow, IpFamily, Node, Pod, Port, Protocol};

/// Port of DNS lookups.
const DNS: u16 = 53;
/// Port from which clients send, if the system chooses it.
const EPHEMERAL: u16 = 40_000;

/// A leg of a route that ends at an endpoint.
#[derive(Clone)]
pub(super) struct Leg<'a> {
    ground: &'a Ground<'a>,
    pub(super) flow: Flow,
    /// The endpoint at which the packet arrives.
    pub(super) end: Endpoint,
    /// The port at which it arrives.
    port: Port,
}

impl<'a> Leg<'a> {
    pub(super) fn new(ground: &'a Ground<'a>, route: &Route, end: Endpoint) -> Self {
        let server = route.server_at(&ground.prepared().engine, end);
        let listener = route.servers.iter().find(|(name, _)| Some(name) == server.as_ref());
        let port = listener.and_then(|(_, listener)| Port::new(listener.port));
        Self { ground, flow: route.flow, end, port: port.unwrap_or(route.flow.port) }
    }

    fn engine(&self) -> &'a Engine {
        &self.ground.prepared().engine
    }

    pub(super) fn is_direct(&self) -> bool {
        matches!(self.flow.destination, Destination::Endpoint(_))
    }

    /// Returns the pod at an end.
    pub(super) fn pod(&self, end: Endpoint) -> Option<&'a Pod> {
        match end {
            Endpoint::Pod(id) => Some(self.engine().pod(id)),
            Endpoint::Node(_) | Endpoint::External(_) => None,
        }
    }

    /// Returns the index of the pod at an end.
    pub(super) fn index(&self, end: Endpoint) -> Option<usize> {
        match end {
            Endpoint::Pod(id) => Some(id.index()),
            Endpoint::Node(_) | Endpoint::External(_) => None,
        }
    }

    /// Returns the pod at which a direction is enforced, with its index. `None` if that end is no pod of the pod network.
    pub(super) fn subject(&self, direction: Direction) -> Option<(usize, &'a Pod)> {
        let end = match direction {
            Direction::Egress => self.flow.source,
            Direction::Ingress => self.end,
        };
        let pod = self.pod(end).filter(|pod| !pod.host_network)?;
        Some((self.index(end)?, pod))
    }

    fn node(&self, end: Endpoint) -> Option<&'a Node> {
        let mut nodes = self.engine().nodes();
        match end {
            Endpoint::Node(own) => nodes.find(|(id, _)| *id == own).map(|(_, node)| node),
            Endpoint::Pod(_) | Endpoint::External(_) => None,
        }
    }

    /// Returns the name of the node on which an end is, or which it is.
    fn place(&self, end: Endpoint) -> Option<&'a str> {
        let of_pod = || self.pod(end).and_then(|pod| pod.node.as_deref());
        self.node(end).map(|node| node.name.as_str()).or_else(of_pod)
    }

    /// Returns whether an end has the addresses of a node.
    fn is_host(&self, end: Endpoint) -> bool {
        self.node(end).is_some() || self.pod(end).is_some_and(|pod| pod.host_network)
    }

    /// Returns whether an end has an address that a pod has: a pod with `hostNetwork` has those of its node.
    fn has_address_of_pod(&self, end: Endpoint) -> bool {
        let is_pods = |node: &Node| {
            let mut pods =
                self.engine().pods().map(|(_, pod)| pod).filter(|pod| pod.host_network && !pod.ended);
            pods.any(|pod| pod.node.as_ref() == Some(&node.name))
        };
        self.pod(end).is_some() || self.node(end).is_some_and(is_pods)
    }

    /// Returns whether one end has the addresses of a node, and the other end is a pod on it.
    pub(super) fn is_between_own_node(&self) -> bool {
        let ends = [(self.flow.source, self.end), (self.end, self.flow.source)];
        ends.into_iter().any(|(host, pod)| {
            self.is_host(host) && self.pod(pod).is_some() && self.place(host) == self.place(pod)
        })
    }

    /// Returns the leg as if its sender were outside the cluster, after the translation of a Service's address. `None`
    /// if the sender is no node.
    pub(super) fn as_from_outside(&self) -> Option<Self> {
        let of_node = self.node(self.flow.source).and_then(|node| node.address(self.flow.family));
        let of_pod = || self.pod(self.flow.source).and_then(|pod| pod.address(self.flow.family));
        let source = of_node.or_else(of_pod).filter(|_| self.is_host(self.flow.source))?;
        let source = Endpoint::External(source);
        let (destination, port) = (Destination::Endpoint(self.end), self.port);
        Some(Self { flow: Flow { source, destination, port, ..self.flow }, ..self.clone() })
    }

    /// Returns the flow as if the address of its Service were one outside the cluster. `None` without a Service.
    pub(super) fn untranslated(&self) -> Option<Flow> {
        let Destination::Service(id) = self.flow.destination else { return None };
        let (_, service) = self.engine().services().find(|(other, _)| *other == id)?;
        let address = self.flow.family.first_of(&service.addresses)?;
        Some(Flow { destination: Destination::Endpoint(Endpoint::External(address)), ..self.flow })
    }

    /// Returns the leg of the replies.
    pub(super) fn reply(&self) -> Self {
        let port = Port::new(EPHEMERAL).unwrap_or(self.port);
        let (source, end) = (self.end, self.flow.source);
        let flow = Flow { source, destination: Destination::Endpoint(end), port, ..self.flow };
        Self { ground: self.ground, flow, end, port }
    }

    /// Returns whether the ends are on the first two nodes.
    pub(super) fn is_on_dead_path(&self) -> bool {
        let [one, other, ..] = self.ground.world.cluster.nodes.as_slice() else { return false };
        // Packets between nodes are not forwarded.
        if self.is_host(self.flow.source) && self.is_host(self.end) {
            return false;
        }
        let ends = [self.place(self.flow.source), self.place(self.end)];
        let nodes = [Some(one.name.as_str()), Some(other.name.as_str())];
        ends == nodes || ends == [nodes[1], nodes[0]]
    }

    /// Returns whether a fault lets the packet pass the enforcer of a direction, which is on this node.
    pub(super) fn passes(&self, fault: DatapathFault, direction: Direction, node: &str) -> bool {
        fault.passing().is_some_and(|passing| match passing {
            Passing::All => true,
            Passing::At(enforced) => enforced == direction,
            Passing::Some(traffic) => self.is_in(traffic, node),
        })
    }

    fn is_in(&self, traffic: Traffic, node: &str) -> bool {
        let (source, end) = (self.flow.source, self.end);
        let are_pods = self.has_address_of_pod(source) && self.has_address_of_pod(end);
        let is_on_one = self.place(source) == self.place(end);
        let is_outside = |end: Endpoint| matches!(end, Endpoint::External(_));
        match traffic {
            Traffic::Over(protocol) => self.flow.protocol == protocol,
            Traffic::Ipv6 => self.flow.family == IpFamily::V6,
            Traffic::OnNode => are_pods && is_on_one,
            Traffic::BetweenNodes => are_pods && !is_on_one,
            Traffic::Outside => is_outside(source) || is_outside(end),
            Traffic::FromNodes => self.is_host(source),
            // Only the sender's node knows that it has translated the address.
            Traffic::ToServices => !self.is_direct() && self.place(source) == Some(node),
            Traffic::Lookups => self.flow.protocol == Protocol::Udp && self.port.get() == DNS,
            Traffic::Share(_) => false,
        }
    }
}

/// What becomes of replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replies {
    Pass,
    /// The policies decide about them as about any packet.
    Judged,
    Lost,
}

impl Replies {
    /// Returns what becomes of the replies over a protocol.
    pub(super) fn over(protocol: Protocol, faults: &[DatapathFault]) -> Self {
        if faults.contains(&DatapathFault::DropReplies) && protocol == Protocol::Udp {
            Self::Lost
        } else if faults.contains(&DatapathFault::Stateless) {
            Self::Judged
        } else {
            Self::Pass
        }
    }
}

/// Returns whether a packet that egress rules allow is not checked where it arrives.
pub(super) fn shortcut(faults: &[DatapathFault], leg: &Leg<'_>) -> bool {
    faults.contains(&DatapathFault::EgressShortcut) && leg.is_in(Traffic::OnNode, "")
}

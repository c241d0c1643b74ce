//! Routes of probes: from which agent, to which address, and who may answer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use netproof_probe::wire::{Listener, Transport};

use super::cell::Cell;
use crate::policy::{
    Backends, Destination, Endpoint, Engine, Expectation, Flow, IpFamily, Pod, Port, Protocol, TargetPort,
    UndefinedCause,
};
use crate::world::{EndpointName, Probe, World};

/// Listeners that are needed, by endpoint.
pub type Listeners = BTreeMap<EndpointName, BTreeSet<Listener>>;

/// Endpoints, each with the expectation for a packet that arrives there.
pub type Promises = Vec<(EndpointName, Expectation)>;

/// The route of a cell's probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The flow for the policy engine.
    pub flow: Flow,
    /// Address to which the probe is sent.
    pub address: SocketAddr,
    /// Transport that carries the probe.
    pub transport: Transport,
    /// The lookup that the probe makes. Only for DNS.
    pub lookup: Option<Lookup>,
    /// Endpoints that may answer, each with the listener at which the packet arrives.
    pub servers: Vec<(EndpointName, Listener)>,
    /// Programs of workloads that the probe may reach. Empty if it reaches agents, or what is no workload.
    pub programs: Vec<SocketAddr>,
    /// The lookup before the probe, if the probe addresses a Service by name.
    pub first: Option<Box<Route>>,
}

/// A question to a DNS server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// Name to look up.
    pub name: String,
    /// Addresses of which the answer must contain one.
    pub addresses: Vec<IpAddr>,
}

impl Route {
    /// Returns the legs of the route, in the order in which a client takes them: the lookup, if there is one,
    /// and then the route itself.
    pub fn legs(&self) -> impl DoubleEndedIterator<Item = &Route> {
        self.first.as_deref().into_iter().chain([self])
    }

    /// Returns the servers of all legs.
    pub fn all_servers(&self) -> impl Iterator<Item = &(EndpointName, Listener)> {
        self.legs().flat_map(|leg| &leg.servers)
    }

    /// Returns the expectation for the route. The policies must allow every leg.
    pub fn evaluate(&self, engine: &Engine) -> Expectation {
        self.after_first(engine, engine.evaluate(&self.flow))
    }

    /// Returns the expectation for a packet that arrives at each of the possible servers. The expectations
    /// differ only behind a Service. Empty if it is not known where the Service leads.
    pub fn evaluate_servers(&self, engine: &Engine) -> Promises {
        let arrivals = engine.evaluate_arrivals(&self.flow).into_iter();
        let named = |(end, expectation)| Some((self.server_at(engine, end)?, expectation));
        let servers = arrivals.filter_map(named);
        servers.map(|(server, expectation)| (server, self.after_first(engine, expectation))).collect()
    }

    /// Returns the server that is this end of the flow.
    pub fn server_at(&self, engine: &Engine, end: Endpoint) -> Option<EndpointName> {
        let names = self.servers.iter().map(|(name, _)| name);
        match end {
            Endpoint::Pod(id) => {
                let pod = engine.pod(id);
                let name = EndpointName::of_pod(pod);
                names.into_iter().find(|server| **server == name).cloned()
            }
            // The probe is sent directly to this end.
            Endpoint::Node(_) | Endpoint::External(_) => names.into_iter().next().cloned(),
        }
    }

    /// Combines the expectation of the first leg with `main`, that of the last leg.
    fn after_first(&self, engine: &Engine, main: Expectation) -> Expectation {
        let Some(first) = &self.first else { return main };
        engine.evaluate(&first.flow).and(main).without_repetitions()
    }
}

/// Finder of routes in one state of a cluster.
pub struct Router<'a> {
    world: &'a World,
    /// The pods, the nodes and the Services.
    destinations: HashMap<EndpointName, Destination>,
    /// The addresses of all endpoints. There are many more cells than endpoints.
    addresses: HashMap<EndpointName, &'a [IpAddr]>,
}

impl<'a> Router<'a> {
    /// Creates a router for a state. `engine` must be created from the state's cluster.
    pub fn new(world: &'a World, engine: &Engine) -> Self {
        let pods = engine.pods().map(|(id, pod)| (EndpointName::of_pod(pod), Endpoint::Pod(id)));
        let nodes =
            engine.nodes().map(|(id, node)| (EndpointName::Node(node.name.clone()), Endpoint::Node(id)));
        let endpoints = pods.chain(nodes).map(|(name, end)| (name, Destination::Endpoint(end)));
        let services = engine.services();
        let services = services.map(|(id, it)| (EndpointName::of_service(it), Destination::Service(id)));
        let destinations = endpoints.chain(services).collect();
        Self { world, destinations, addresses: world.all_addresses() }
    }

    /// Returns the address of an endpoint in a family.
    pub fn address(&self, endpoint: &EndpointName, family: IpFamily) -> Option<IpAddr> {
        family.first_of(self.addresses.get(endpoint)?)
    }

    /// Returns the route of a cell. `None` if an end has no address of the cell's family, or if a lookup has
    /// no DNS server.
    pub fn route(&self, cell: &Cell) -> Option<Route> {
        let Cell { from, to, family, probe } = cell;
        let Destination::Endpoint(source) = self.destination(from, *family)? else { return None };
        // An end without an address of the family cannot send anything.
        self.address(from, *family)?;
        match probe {
            Probe::Dns { over } => {
                let own = self.world.dns.as_ref()?.service_name();
                self.lookup(source, *family, *over, &own)
            }
            Probe::ByName { port, protocol } => {
                let first = self.lookup(source, *family, Protocol::Udp, to)?;
                let probe = Probe::Port { port: *port, protocol: *protocol };
                let route = self.route(&Cell { probe, ..cell.clone() })?;
                Some(Route { first: Some(Box::new(first)), ..route })
            }
            Probe::Port { port, protocol } => {
                let destination = self.destination(to, *family)?;
                let address = SocketAddr::new(self.address(to, *family)?, port.get());
                let flow = Flow { source, destination, family: *family, protocol: *protocol, port: *port };
                let reached = self.servers(cell, *protocol, *port);
                let (servers, transport, programs) = match self.world.is_foreign(to) {
                    true => {
                        let transport = Transport::Handshake;
                        let server = (to.clone(), Listener { transport, port: port.get() });
                        (vec![server], transport, self.programs(&reached, *family))
                    }
                    false => (reached, transport(*protocol), Vec::new()),
                };
                Some(Route { flow, address, transport, lookup: None, servers, programs, first: None })
            }
        }
    }

    /// Returns the route of a lookup of a Service's name.
    fn lookup(&self, source: Endpoint, family: IpFamily, over: Protocol, of: &EndpointName) -> Option<Route> {
        let EndpointName::Service { namespace, name } = of else { return None };
        let lookup = Lookup {
            name: service_host(namespace, name),
            addresses: self.address(of, family).into_iter().collect(),
        };
        let dns = self.world.dns.as_ref()?;
        let service = dns.service_name();
        let destination = *self.destinations.get(&service)?;
        let port = Port::new(53)?;
        let transport = dns_transport(over);
        let pod = dns.pod_name();
        Some(Route {
            flow: Flow { source, destination, family, protocol: over, port },
            address: SocketAddr::new(self.address(&service, family)?, port.get()),
            transport,
            lookup: Some(lookup),
            servers: vec![(pod, Listener { transport, port: dns.port.get() })],
            programs: Vec::new(),
            first: None,
        })
    }

    fn destination(&self, name: &EndpointName, family: IpFamily) -> Option<Destination> {
        match name {
            EndpointName::External(_) => {
                Some(Destination::Endpoint(Endpoint::External(self.address(name, family)?)))
            }
            EndpointName::Pod { .. } | EndpointName::Node(_) | EndpointName::Service { .. } => {
                self.destinations.get(name).copied()
            }
        }
    }

    /// Returns the addresses and ports of those that are pods.
    fn programs(&self, reached: &[(EndpointName, Listener)], family: IpFamily) -> Vec<SocketAddr> {
        let pods = reached.iter().filter(|(end, _)| matches!(end, EndpointName::Pod { .. }));
        let address = |(pod, listener): &(EndpointName, Listener)| {
            Some(SocketAddr::new(self.address(pod, family)?, listener.port))
        };
        pods.filter_map(address).collect()
    }

    fn servers(&self, cell: &Cell, protocol: Protocol, port: Port) -> Vec<(EndpointName, Listener)> {
        let EndpointName::Service { namespace, name } = &cell.to else {
            return vec![(cell.to.clone(), listener(port, protocol))];
        };
        let Some(service) = self.world.service(namespace, name) else { return Vec::new() };
        let port = service.ports.iter().find(|p| p.port == port && p.protocol == protocol);
        let Some(target) = port.map(|port| &port.target) else { return Vec::new() };
        let backends =
            self.world.cluster.pods.iter().filter(|pod| is_backend(pod, namespace, &service.backends));
        let own = self.node_of(&cell.from);
        let is_usable = |pod: &&Pod| !service.only_local || (own.is_some() && pod.node.as_deref() == own);
        backends.filter(is_usable).filter_map(|pod| backend_listener(pod, target, protocol)).collect()
    }
}

fn backend_listener(pod: &Pod, target: &TargetPort, protocol: Protocol) -> Option<(EndpointName, Listener)> {
    Some((EndpointName::of_pod(pod), listener(target.resolve(pod, protocol)?, protocol)))
}

fn listener(port: Port, protocol: Protocol) -> Listener {
    Listener { transport: transport(protocol), port: port.get() }
}

fn is_backend(pod: &Pod, namespace: &str, backends: &Backends) -> bool {
    match backends {
        Backends::Selected(selector) => {
            let carries = |(key, value): (&String, &String)| pod.labels.get(key) == Some(value);
            !pod.ended && pod.namespace == namespace && selector.iter().all(carries)
        }
        Backends::Addresses(_) | Backends::Unknown => false,
    }
}

/// Returns the listeners that are needed so that all probes of a state can be answered.
pub(super) fn listeners(world: &World, probes: &[Probe]) -> Listeners {
    let cluster = &world.cluster;
    let ports: BTreeSet<Listener> = probes
        .iter()
        .filter_map(|probe| match probe {
            Probe::Port { port, protocol } => Some(listener(*port, *protocol)),
            Probe::Dns { .. } | Probe::ByName { .. } => None,
        })
        .collect();
    let mut listeners = Listeners::new();
    for pod in cluster.pods.iter().filter(|pod| !pod.ended) {
        let own = listeners.entry(EndpointName::of_pod(pod)).or_insert_with(|| ports.clone());
        for service in cluster.services.iter().filter(|s| is_backend(pod, &s.namespace, &s.backends)) {
            let targets = service.ports.iter().filter_map(|p| backend_listener(pod, &p.target, p.protocol));
            own.extend(targets.map(|(_, listener)| listener));
        }
        let dns =
            world.dns.as_ref().filter(|dns| dns.pod.namespace == pod.namespace && dns.pod.name == pod.name);
        if let Some(dns) = dns {
            // One socket cannot serve both DNS and other probes.
            own.retain(|listener| listener.port != dns.port.get());
            own.extend(
                [Protocol::Udp, Protocol::Tcp]
                    .map(|over| Listener { transport: dns_transport(over), port: dns.port.get() }),
            );
        }
    }
    let nodes = cluster.nodes.iter().filter(|_| world.node_endpoints);
    let nodes = nodes.map(|node| EndpointName::Node(node.name.clone()));
    let externals = world.externals.iter().map(|external| EndpointName::External(external.name.clone()));
    listeners.extend(nodes.chain(externals).map(|name| (name, ports.clone())));
    listeners
}

impl Cell {
    /// Returns the expectation for this cell over its route. Without a route, an end has no address.
    pub fn evaluate(&self, route: Option<&Route>, engine: &Engine) -> Expectation {
        let no_address = || UndefinedCause::NoAddress(self.to.to_string());
        route.map_or_else(|| Expectation::undefined(no_address()), |route| route.evaluate(engine))
    }
}

impl Router<'_> {
    /// Returns the name of the node on which an endpoint is.
    fn node_of<'b>(&'b self, name: &'b EndpointName) -> Option<&'b str> {
        match name {
            EndpointName::Pod { namespace, name } => {
                self.world.pod(namespace, name).filter(|pod| !pod.ended)?.node.as_deref()
            }
            EndpointName::Node(name) => Some(name),
            EndpointName::Service { .. } | EndpointName::External(_) => None,
        }
    }
}

/// Returns the name of a Service in the cluster's DNS.
pub fn service_host(namespace: &str, name: &str) -> String {
    format!("{name}.{namespace}.svc.cluster.local")
}

fn transport(protocol: Protocol) -> Transport {
    match protocol {
        Protocol::Tcp => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
        Protocol::Sctp => Transport::Sctp,
    }
}

fn dns_transport(over: Protocol) -> Transport {
    match over {
        Protocol::Tcp => Transport::DnsTcp,
        // DNS uses no other protocol.
        Protocol::Udp | Protocol::Sctp => Transport::DnsUdp,
    }
}

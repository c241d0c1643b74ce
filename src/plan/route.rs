//! The way of each probe: from which agent, to which address, and who may answer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use netproof_probe::wire::{Listener, Transport};

use super::cell::Cell;
use crate::policy::{
    Backends, Destination, Endpoint, Engine, Expectation, Flow, IpFamily, Pod, Port, Protocol, TargetPort,
};
use crate::scenario::{EndpointName, Probe, State};

/// What has to listen, by endpoint.
pub type Listeners = BTreeMap<EndpointName, BTreeSet<Listener>>;

/// Endpoints, each with what the policies promise of a packet that arrives there.
pub type Promises = Vec<(EndpointName, Expectation)>;

/// The way of a cell's probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// What the policy engine is asked about it.
    pub flow: Flow,
    /// Where it is sent.
    pub address: SocketAddr,
    /// How it travels.
    pub transport: Transport,
    /// What to look up: for DNS only.
    pub lookup: Option<Lookup>,
    /// Who may answer it, and where the packet then arrives.
    pub servers: Vec<(EndpointName, Listener)>,
    /// The lookup that gives its address, where a Service is called by its name.
    pub first: Option<Box<Route>>,
}

/// A question to a DNS server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// The name.
    pub name: String,
    /// The addresses of which the answer has to give one.
    pub addresses: Vec<IpAddr>,
}

impl Route {
    /// The parts of it, in the order in which a client goes them: itself, and what comes first.
    pub fn legs(&self) -> impl DoubleEndedIterator<Item = &Route> {
        self.first.as_deref().into_iter().chain([self])
    }

    /// Everybody who has to answer, on all legs.
    pub fn all_servers(&self) -> impl Iterator<Item = &(EndpointName, Listener)> {
        self.legs().flat_map(|leg| &leg.servers)
    }

    /// What the policies say about it: every leg has to be allowed.
    pub fn evaluate(&self, engine: &Engine) -> Expectation {
        self.after_first(engine, engine.evaluate(&self.flow))
    }

    /// What the policies say about a probe that arrives at each of the ends that may answer. They differ only
    /// behind a Service; empty if it is not known where the Service leads.
    pub fn evaluate_servers(&self, engine: &Engine) -> Promises {
        let arrivals = engine.evaluate_arrivals(&self.flow).into_iter();
        let named = |(end, expectation)| Some((self.server_at(engine, end)?, expectation));
        let servers = arrivals.filter_map(named);
        servers.map(|(server, expectation)| (server, self.after_first(engine, expectation))).collect()
    }

    /// Which of the servers an end is.
    pub fn server_at(&self, engine: &Engine, end: Endpoint) -> Option<EndpointName> {
        let names = self.servers.iter().map(|(name, _)| name);
        match end {
            Endpoint::Pod(id) => {
                let pod = engine.pod(id);
                let name = EndpointName::pod(&pod.namespace, &pod.name);
                names.into_iter().find(|server| **server == name).cloned()
            }
            // The probe is sent to the end itself.
            Endpoint::Node(_) | Endpoint::External(_) => names.into_iter().next().cloned(),
        }
    }

    /// What is true of the way as a whole if `main` is true of its last leg.
    fn after_first(&self, engine: &Engine, main: Expectation) -> Expectation {
        let Some(first) = &self.first else { return main };
        let Expectation { decision, reasons } = engine.evaluate(&first.flow).and(main);
        let mut once = Vec::new();
        for reason in reasons {
            if !once.contains(&reason) {
                once.push(reason);
            }
        }
        Expectation { decision, reasons: once }
    }
}

/// Finds routes in one state of a cluster.
pub struct Router<'a> {
    state: &'a State,
    endpoints: HashMap<EndpointName, Endpoint>,
    destinations: HashMap<EndpointName, Destination>,
}

impl<'a> Router<'a> {
    /// A router for a state and the engine that was made from its cluster.
    pub fn new(state: &'a State, engine: &Engine) -> Self {
        let pods =
            engine.pods().map(|(id, pod)| (EndpointName::pod(&pod.namespace, &pod.name), Endpoint::Pod(id)));
        let nodes =
            engine.nodes().map(|(id, node)| (EndpointName::Node(node.name.clone()), Endpoint::Node(id)));
        let endpoints: HashMap<_, _> = pods.chain(nodes).collect();
        let services = engine.services().map(|(id, service)| {
            (EndpointName::service(&service.namespace, &service.name), Destination::Service(id))
        });
        Self { state, endpoints, destinations: services.collect() }
    }

    /// The route of a cell; `None` if an end of it has no address of the cell's family.
    pub fn route(&self, cell: &Cell) -> Option<Route> {
        let Cell { from, to, family, probe } = cell;
        let source = self.endpoint(from, *family)?;
        // An end without an address of the family cannot send, whatever it sends.
        self.address(from, *family)?;
        match probe {
            Probe::Dns { over } => {
                let dns = &self.state.dns.as_ref()?.service;
                let own = EndpointName::service(&dns.namespace, &dns.name);
                self.lookup(source, *family, *over, &own)
            }
            Probe::ByName { port, protocol } => {
                let first = self.lookup(source, *family, Protocol::Udp, to)?;
                let probe = Probe::Port { port: *port, protocol: *protocol };
                let route = self.route(&Cell { probe, ..cell.clone() })?;
                Some(Route { first: Some(Box::new(first)), ..route })
            }
            Probe::Port { port, protocol } => {
                let destination = match self.destinations.get(to) {
                    Some(service) => *service,
                    None => Destination::Endpoint(self.endpoint(to, *family)?),
                };
                let address = SocketAddr::new(self.address(to, *family)?, port.get());
                let flow = Flow { source, destination, family: *family, protocol: *protocol, port: *port };
                let servers = self.servers(cell, *protocol, *port);
                let transport = transport(*protocol);
                Some(Route { flow, address, transport, lookup: None, servers, first: None })
            }
        }
    }

    /// The way of a lookup of a Service's name.
    fn lookup(&self, source: Endpoint, family: IpFamily, over: Protocol, of: &EndpointName) -> Option<Route> {
        let EndpointName::Service { namespace, name } = of else { return None };
        let lookup = Lookup {
            name: service_host(namespace, name),
            addresses: self.address(of, family).into_iter().collect(),
        };
        let dns = self.state.dns.as_ref()?;
        let service = EndpointName::service(&dns.service.namespace, &dns.service.name);
        let destination = *self.destinations.get(&service)?;
        let port = Port::new(53)?;
        let transport = dns_transport(over);
        let pod = EndpointName::pod(&dns.pod.namespace, &dns.pod.name);
        Some(Route {
            flow: Flow { source, destination, family, protocol: over, port },
            address: SocketAddr::new(self.address(&service, family)?, port.get()),
            transport,
            lookup: Some(lookup),
            servers: vec![(pod, Listener { transport, port: dns.port.get() })],
            first: None,
        })
    }

    fn endpoint(&self, name: &EndpointName, family: IpFamily) -> Option<Endpoint> {
        match name {
            EndpointName::External(_) => self.address(name, family).map(Endpoint::External),
            EndpointName::Pod { .. } | EndpointName::Node(_) | EndpointName::Service { .. } => {
                self.endpoints.get(name).copied()
            }
        }
    }

    /// The address of an endpoint.
    pub fn address(&self, name: &EndpointName, family: IpFamily) -> Option<IpAddr> {
        let addresses = self.state.addresses(name)?;
        addresses.iter().copied().find(|address| IpFamily::of(*address) == family)
    }

    fn servers(&self, cell: &Cell, protocol: Protocol, port: Port) -> Vec<(EndpointName, Listener)> {
        let EndpointName::Service { namespace, name } = &cell.to else {
            let listener = Listener { transport: transport(protocol), port: port.get() };
            return vec![(cell.to.clone(), listener)];
        };
        let is_it = |s: &&crate::policy::Service| s.namespace == *namespace && s.name == *name;
        let Some(service) = self.state.cluster.services.iter().find(is_it) else { return Vec::new() };
        let port = service.ports.iter().find(|p| p.port == port && p.protocol == protocol);
        let Some(target) = port.map(|port| &port.target) else { return Vec::new() };
        let backends =
            self.state.cluster.pods.iter().filter(|pod| is_backend(pod, namespace, &service.backends));
        let own = self.node_of(&cell.from);
        let is_usable = |pod: &&Pod| !service.only_local || (own.is_some() && pod.node.as_deref() == own);
        backends.filter(is_usable).filter_map(|pod| backend_listener(pod, target, protocol)).collect()
    }
}

fn backend_listener(pod: &Pod, target: &TargetPort, protocol: Protocol) -> Option<(EndpointName, Listener)> {
    let port = target.resolve(pod, protocol)?;
    let listener = Listener { transport: transport(protocol), port: port.get() };
    Some((EndpointName::pod(&pod.namespace, &pod.name), listener))
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

/// Everything that has to listen so that all probes of a state can be answered.
pub fn listeners(state: &State, probes: &[Probe]) -> Listeners {
    let cluster = &state.cluster;
    let ports: BTreeSet<Listener> = probes
        .iter()
        .filter_map(|probe| match probe {
            Probe::Port { port, protocol } => {
                Some(Listener { transport: transport(*protocol), port: port.get() })
            }
            Probe::Dns { .. } | Probe::ByName { .. } => None,
        })
        .collect();
    let mut listeners = Listeners::new();
    for pod in cluster.pods.iter().filter(|pod| !pod.ended) {
        let own =
            listeners.entry(EndpointName::pod(&pod.namespace, &pod.name)).or_insert_with(|| ports.clone());
        for service in cluster.services.iter().filter(|s| is_backend(pod, &s.namespace, &s.backends)) {
            let targets = service.ports.iter().filter_map(|p| backend_listener(pod, &p.target, p.protocol));
            own.extend(targets.map(|(_, listener)| listener));
        }
        let dns =
            state.dns.as_ref().filter(|dns| dns.pod.namespace == pod.namespace && dns.pod.name == pod.name);
        if let Some(dns) = dns {
            // One socket cannot speak both.
            own.retain(|listener| listener.port != dns.port.get());
            own.extend(
                [Protocol::Udp, Protocol::Tcp]
                    .map(|over| Listener { transport: dns_transport(over), port: dns.port.get() }),
            );
        }
    }
    if state.node_endpoints {
        listeners
            .extend(cluster.nodes.iter().map(|node| (EndpointName::Node(node.name.clone()), ports.clone())));
    }
    let externals = state.externals.iter();
    listeners.extend(externals.map(|e| (EndpointName::External(e.name.clone()), ports.clone())));
    listeners
}

impl Router<'_> {
    /// The name of the node on which an endpoint is.
    fn node_of<'b>(&'b self, name: &'b EndpointName) -> Option<&'b str> {
        match name {
            EndpointName::Pod { namespace, name } => {
                let is_it = |pod: &&Pod| pod.namespace == *namespace && pod.name == *name && !pod.ended;
                self.state.cluster.pods.iter().find(is_it)?.node.as_deref()
            }
            EndpointName::Node(name) => Some(name),
            EndpointName::Service { .. } | EndpointName::External(_) => None,
        }
    }
}

/// The name of a Service in the cluster's DNS.
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
        // DNS has no other.
        Protocol::Udp | Protocol::Sctp => Transport::DnsUdp,
    }
}

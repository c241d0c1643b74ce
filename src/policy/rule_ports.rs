//! The ports of a rule: whether it matches one port, or which ports it matches, and whether by number or by name.
//!
//! The difference matters if a rule has a port name and an `ipBlock`. A block says nothing about pods. So not every
//! implementation resolves a name on a pod that only a block matches.
//!
//! Two containers of a pod may give one name to different numbers. The API only says that the name is the name of "a
//! port on a pod": some implementations take the first number, some take all of them.

use super::model::{ContainerPort, Pod, named_ports};
use super::port::{Connections, Port, PortRange, Protocol};
use super::rule::{PortSpec, Ports};

/// How a rule's ports match a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum HeldBy {
    /// Only by a name that an earlier container gives to another number.
    RepeatedName,
    /// Only by a name.
    Name,
    /// By a number, a range, or an entry that matches every port.
    Number,
}

/// Returns how a rule's ports match `port`, or `None` if they do not. Names are resolved on the receiving pod.
/// Without a receiving pod, names match nothing.
pub(super) fn held_by(
    ports: &Ports,
    protocol: Protocol,
    port: Port,
    receiver: Option<&Pod>,
) -> Option<HeldBy> {
    let Ports::Only(matches) = ports else { return Some(HeldBy::Number) };
    let of_protocol = matches.iter().filter(|m| m.protocol == protocol);
    let holding = of_protocol.filter_map(|m| match &m.ports {
        PortSpec::Any => Some(HeldBy::Number),
        PortSpec::Range(range) => range.contains(port).then_some(HeldBy::Number),
        PortSpec::Named(name) => {
            let ports = receiver.map_or(&[][..], |pod| &pod.ports);
            match named_ports(ports, name, protocol).position(|named| named == port)? {
                0 => Some(HeldBy::Name),
                _ => Some(HeldBy::RepeatedName),
            }
        }
    });
    holding.max()
}

/// All ports of a rule, by how they match. If a port is in several sets, the most certain match counts: by number,
/// then by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct HeldPorts {
    pub(super) by_number: Connections,
    pub(super) by_name: Connections,
    /// Ports that match only by a name that an earlier container gives to another number, or that the receiver may
    /// not have.
    pub(super) by_repeated_name: Connections,
}

impl HeldPorts {
    /// Returns the ports of a rule. Names are resolved on `receiver`, the container ports of the receiving pod.
    pub(super) fn of(ports: &Ports, receiver: &[ContainerPort]) -> Self {
        let Ports::Only(matches) = ports else {
            return Self { by_number: Connections::all(), ..Self::default() };
        };
        let by_number = matches.iter().filter_map(|m| match &m.ports {
            PortSpec::Any => Some((m.protocol, PortRange::ALL)),
            PortSpec::Range(range) => Some((m.protocol, *range)),
            PortSpec::Named(_) => None,
        });
        let named = matches.iter().filter_map(|m| match &m.ports {
            PortSpec::Any | PortSpec::Range(_) => None,
            PortSpec::Named(name) => Some((m.protocol, named_ports(receiver, name, m.protocol))),
        });
        let (mut by_name, mut by_repeated_name) = (Vec::new(), Vec::new());
        for (protocol, numbers) in named {
            let mut numbers = numbers.map(|port| (protocol, PortRange::single(port)));
            by_name.extend(numbers.next());
            by_repeated_name.extend(numbers);
        }
        Self {
            by_number: by_number.collect(),
            by_name: by_name.into_iter().collect(),
            by_repeated_name: by_repeated_name.into_iter().collect(),
        }
    }

    /// Returns the ports for a receiver that may count as its node. A node has no port names, so matches by name
    /// become uncertain.
    pub(super) fn on_host(mut self) -> Self {
        self.by_repeated_name = self.by_repeated_name.union(&std::mem::take(&mut self.by_name));
        self
    }

    /// Returns the ports that match in every reading.
    pub(super) fn surely(&self) -> Connections {
        self.by_number.union(&self.by_name)
    }

    /// Returns all ports that match in any reading.
    pub(super) fn all(&self) -> Connections {
        self.surely().union(&self.by_repeated_name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Backends, Cluster, Decision, Destination, Direction, Endpoint, Engine, Flow, IpBlock, IpFamily,
        LabelSelector, Labels, NamespaceScope, NetworkPolicy, Peer, Peers, PortMatch, Requirement, Rule,
        Service, ServicePort, TargetPort,
    };
    use super::*;

    const WEB: &str = "10.0.0.2";
    const SERVICE: &str = "10.96.0.1";

    fn number(port: u16) -> Port {
        Port::new(port).unwrap()
    }

    fn pod(name: &str, address: &str, ports: &[(&str, u16, Protocol)]) -> Pod {
        let port = |(name, port, protocol): &(&str, u16, Protocol)| ContainerPort {
            name: Some((*name).to_owned()),
            port: number(*port),
            protocol: *protocol,
        };
        Pod {
            namespace: "x".to_owned(),
            name: name.to_owned(),
            labels: Labels::from([("pod".to_owned(), name.to_owned())]),
            addresses: address.parse().into_iter().collect(),
            ports: ports.iter().map(port).collect(),
            host_network: name == "host",
            ..Pod::default()
        }
    }

    /// Returns a cluster with a client, a server with a port named `http`, a server without port names, a server with
    /// two ports of that name, a server with `hostNetwork`, and a Service for the first server.
    fn cluster(direction: Direction, rules: Vec<Rule>) -> Cluster {
        let http = ("http", 80, Protocol::Tcp);
        let subjects = match direction {
            Direction::Egress => selector("client"),
            Direction::Ingress => selector("web"),
        };
        let (egress, ingress) = match direction {
            Direction::Egress => (Some(rules), None),
            Direction::Ingress => (None, Some(rules)),
        };
        let service_port = ServicePort {
            name: None,
            protocol: Protocol::Tcp,
            port: number(8080),
            target: TargetPort::Number(number(80)),
            node_port: None,
        };
        Cluster {
            pods: vec![
                pod("client", "10.0.0.1", &[("http", 81, Protocol::Tcp)]),
                pod("web", WEB, &[http, ("query", 81, Protocol::Udp)]),
                pod("nameless", "10.0.0.3", &[]),
                pod("twice", "10.0.0.4", &[http, ("http", 8080, Protocol::Tcp), ("http", 80, Protocol::Udp)]),
                pod("host", "172.18.0.2", &[http]),
            ],
            services: vec![Service {
                namespace: "x".to_owned(),
                name: "web".to_owned(),
                addresses: vec![SERVICE.parse().unwrap()],
                ports: vec![service_port],
                backends: Backends::Selected(Labels::from([("pod".to_owned(), "web".to_owned())])),
                exposure: None,
                headless: false,
                only_local: false,
                chooses_node_ports: false,
            }],
            policies: vec![NetworkPolicy {
                namespace: "x".to_owned(),
                name: "p".to_owned(),
                subjects,
                egress,
                ingress,
            }],
            ..Cluster::default()
        }
    }

    fn selector(pod: &str) -> LabelSelector {
        [Requirement::In("pod".to_owned(), [pod.to_owned()].into())].into_iter().collect()
    }

    fn selected(pod: &str) -> Peer {
        Peer::Pods { namespaces: NamespaceScope::Own, pods: selector(pod) }
    }

    fn block(net: &str) -> Peer {
        Peer::IpBlock(IpBlock::new(net.parse().unwrap(), []))
    }

    fn named(name: &str) -> PortMatch {
        PortMatch { protocol: Protocol::Tcp, ports: PortSpec::Named(name.to_owned()) }
    }

    fn numbered(port: u16) -> PortMatch {
        PortMatch { protocol: Protocol::Tcp, ports: PortSpec::Range(PortRange::single(number(port))) }
    }

    fn rule(peers: impl Into<Vec<Peer>>, ports: impl Into<Vec<PortMatch>>) -> Rule {
        Rule { peers: Peers::Only(peers.into()), ports: Ports::Only(ports.into()) }
    }

    fn end(engine: &Engine, name: &str) -> Endpoint {
        let pod = engine.pods().find(|(_, pod)| pod.name == name);
        pod.map_or_else(|| Endpoint::External(name.parse().unwrap()), |(id, _)| Endpoint::Pod(id))
    }

    /// Expectation of a cell that is undefined because a rule names the port for an `ipBlock`.
    const NAME_FOR_BLOCK: &str = "undefined: undefined: x/p egress[0] names the port for an ipBlock, for which not every implementation resolves it; if port names are not resolved for an ipBlock: deny; if port names are resolved for an ipBlock: allow";

    /// Returns the expectation for a flow from the client, with reasons. Checks that `evaluate` and `reach` agree.
    fn promised(cluster: Cluster, to: &str, protocol: Protocol, port: u16) -> String {
        let engine = Engine::new(cluster);
        let (source, destination) = (end(&engine, "client"), end(&engine, to));
        let port = number(port);
        let expectation = engine.evaluate(&Flow {
            source,
            destination: Destination::Endpoint(destination),
            family: IpFamily::V4,
            protocol,
            port,
        });
        let mut reach = engine.reach();
        let external = reach.external();
        let group = |end| match end {
            Endpoint::Pod(id) => reach.pod(id).unwrap(),
            Endpoint::External(address) => {
                let holds =
                    |range: &crate::policy::AddressRange| range.first() <= address && address <= range.last();
                external.iter().find(|(_, range)| holds(range)).unwrap().0
            }
            Endpoint::Node(_) => panic!("no end of these tests is a node"),
        };
        let (from, to) = (group(source), group(destination));
        let pair = reach.between(&[from], &[to]);
        let pair = reach.connections(pair);
        let of_set = match (pair.allowed.contains(protocol, port), pair.undefined.contains(protocol, port)) {
            (true, false) => Decision::Allow,
            (false, true) => Decision::Undefined,
            (false, false) => Decision::Deny,
            (true, true) => panic!("{port} is both allowed and left open"),
        };
        assert_eq!(expectation.decision, of_set, "the set says otherwise: {expectation:?}");
        let reasons: Vec<_> = expectation.reasons.iter().map(ToString::to_string).collect();
        format!("{}: {}", expectation.decision, reasons.join("; "))
    }

    /// Like `promised`, but for egress rules, and returns only the decision.
    fn decided(rules: &[Rule], to: &str, protocol: Protocol, port: u16) -> String {
        let promised = promised(cluster(Direction::Egress, rules.to_vec()), to, protocol, port);
        promised.split(':').next().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_port_name_for_a_block_was_promised_and_is_left_open_on_pods_that_have_it() {
        let rules = [rule([block("10.0.0.0/8")], [named("http")])];
        assert_eq!(
            promised(cluster(Direction::Egress, rules.to_vec()), "web", Protocol::Tcp, 80),
            NAME_FOR_BLOCK
        );
        assert_eq!(decided(&rules, "web", Protocol::Tcp, 81), "deny", "the client's number is not the pod's");
        assert_eq!(decided(&rules, "web", Protocol::Udp, 80), "deny", "the name is TCP's");
        assert_eq!(decided(&rules, "nameless", Protocol::Tcp, 80), "deny");
        let of_udp = [rule([block("10.0.0.0/8")], [named("query")])];
        assert_eq!(decided(&of_udp, "web", Protocol::Tcp, 81), "deny", "the name is UDP's, the entry TCP's");
        let elsewhere = [rule([block("10.0.0.3/32")], [named("http")])];
        assert_eq!(decided(&elsewhere, "web", Protocol::Tcp, 80), "deny", "the block does not hold the pod");
    }

    /// Regression test: only the first number counted, and the others were denied.
    #[test]
    fn a_name_that_two_containers_give_to_different_ports_is_open_for_the_second() {
        let rules = [rule([selected("twice")], [named("http")])];
        for (port, decision) in [(80, "allow"), (8080, "undefined"), (81, "deny")] {
            assert_eq!(decided(&rules, "twice", Protocol::Tcp, port), decision, "{port}");
        }
        assert_eq!(decided(&rules, "twice", Protocol::Udp, 80), "deny", "the entry is TCP's");
        let numbered = [rule([selected("twice")], [named("http"), numbered(8080)])];
        assert_eq!(decided(&numbered, "twice", Protocol::Tcp, 8080), "allow");
        let elsewhere = [rule([selected("web")], [named("http")])];
        assert_eq!(decided(&elsewhere, "twice", Protocol::Tcp, 8080), "deny");
        let told = promised(cluster(Direction::Egress, rules.to_vec()), "twice", Protocol::Tcp, 8080);
        assert_eq!(
            told,
            "undefined: undefined: x/p egress[0] names the port, and another container gives the name to another port"
        );
    }

    #[test]
    fn addresses_without_a_pod_have_no_names() {
        let rules = [rule([block("0.0.0.0/0")], [named("http")])];
        assert_eq!(decided(&rules, "203.0.113.10", Protocol::Tcp, 80), "deny");
        // A pod with `hostNetwork` may count as its node, which has no port names.
        let host = promised(cluster(Direction::Egress, rules.to_vec()), "host", Protocol::Tcp, 80);
        assert!(host.starts_with("undefined: undefined: x/host uses its node's network"), "{host}");
        assert!(
            host.ends_with(
                "if a pod with hostNetwork counts as a pod, and port names are resolved for an ipBlock: allow"
            ),
            "{host}"
        );
    }

    #[test]
    fn a_number_beside_the_name_decides() {
        let rules = [rule([block("10.0.0.0/8")], [named("http"), numbered(80), numbered(81)])];
        assert_eq!(decided(&rules, "web", Protocol::Tcp, 80), "allow");
        assert_eq!(decided(&rules, "web", Protocol::Tcp, 81), "allow");
        assert_eq!(decided(&rules, "203.0.113.10", Protocol::Tcp, 80), "deny");
        let all_tcp = PortMatch { protocol: Protocol::Tcp, ports: PortSpec::Any };
        let rules = [rule([block("10.0.0.0/8")], [named("http"), all_tcp])];
        assert_eq!(decided(&rules, "web", Protocol::Tcp, 80), "allow");
    }

    #[test]
    fn a_selector_in_the_same_rule_resolves_the_name() {
        for peers in [[block("10.0.0.0/8"), selected("web")], [selected("web"), block("10.0.0.0/8")]] {
            assert_eq!(decided(&[rule(peers, [named("http")])], "web", Protocol::Tcp, 80), "allow");
        }
        let of_another = [rule([selected("nameless"), block("10.0.0.0/8")], [named("http")])];
        assert_eq!(decided(&of_another, "web", Protocol::Tcp, 80), "undefined");
        let everybody = Rule { peers: Peers::Any, ports: Ports::Only(vec![named("http")]) };
        assert_eq!(decided(&[everybody], "web", Protocol::Tcp, 80), "allow");
    }

    #[test]
    fn another_rule_that_allows_decides() {
        let open = rule([block("10.0.0.0/8")], [named("http")]);
        for other in [rule([selected("web")], [numbered(80)]), rule([block("10.0.0.2/32")], [numbered(80)])] {
            assert_eq!(decided(&[open.clone(), other.clone()], "web", Protocol::Tcp, 80), "allow");
            assert_eq!(decided(&[other, open.clone()], "web", Protocol::Tcp, 80), "allow");
        }
        let of_another_port = rule([selected("web")], [numbered(81)]);
        assert_eq!(decided(&[open, of_another_port], "web", Protocol::Tcp, 80), "undefined");
    }

    #[test]
    fn on_ingress_the_name_is_the_subject_s_whoever_sends() {
        let rules = vec![rule([block("10.0.0.0/8")], [named("http")])];
        let allowed = promised(cluster(Direction::Ingress, rules.clone()), "web", Protocol::Tcp, 80);
        assert_eq!(
            allowed,
            "allow: no policy isolates for egress; allowed by x/p ingress[0] (ipBlock covers the pod's address; implementations differ)"
        );
        let denied = promised(cluster(Direction::Ingress, rules), "web", Protocol::Tcp, 81);
        assert!(denied.starts_with("deny: "), "{denied}");
    }

    #[test]
    fn a_pod_whose_address_is_not_known() {
        let without_addresses = |rules: &[Rule]| {
            let mut cluster = cluster(Direction::Egress, rules.to_vec());
            cluster.pods.iter_mut().for_each(|pod| pod.addresses.clear());
            cluster
        };
        let rules = [rule([block("0.0.0.0/0")], [named("http")])];
        assert_eq!(promised(without_addresses(&rules), "web", Protocol::Tcp, 80), NAME_FOR_BLOCK);
        let rules = [rule([block("10.0.0.0/8")], [named("http")])];
        assert_eq!(
            promised(without_addresses(&rules), "web", Protocol::Tcp, 80),
            "undefined: undefined: x/p egress[0] needs an address that is not known"
        );
        assert!(promised(without_addresses(&rules), "web", Protocol::Tcp, 81).starts_with("deny: "));
    }

    /// Returns the decision for a flow to the server's Service, on its port 8080, which leads to the server's port
    /// 80.
    fn of_service(rules: Vec<Rule>) -> Decision {
        let engine = Engine::new(cluster(Direction::Egress, rules));
        let source = end(&engine, "client");
        let (id, _) = engine.services().next().unwrap();
        let destination = Destination::Service(id);
        let flow =
            Flow { source, destination, family: IpFamily::V4, protocol: Protocol::Tcp, port: number(8080) };
        engine.evaluate(&flow).decision
    }

    #[test]
    fn before_the_translation_of_a_service_a_name_promises_nothing_either() {
        let (pod, service) = (
            |ports: PortMatch| rule([block("10.0.0.2/32")], [ports]),
            |ports: PortMatch| rule([block("10.96.0.1/32")], [ports]),
        );
        assert_eq!(of_service(vec![pod(numbered(80)), service(numbered(8080))]), Decision::Allow);
        // Some implementations do not allow these: those that resolve no names for a block, those that compare blocks
        // before the translation, or those that compare them after it.
        for rules in [
            vec![pod(named("http"))],
            vec![service(named("http"))],
            vec![pod(named("http")), service(named("http"))],
            vec![pod(numbered(80)), service(named("http"))],
            vec![pod(named("http")), service(numbered(8080))],
        ] {
            assert_eq!(of_service(rules.clone()), Decision::Undefined, "{rules:?}");
        }
        assert_eq!(of_service(vec![pod(named("nowhere")), service(named("nowhere"))]), Decision::Deny);
        let selector = rule([selected("web")], [named("http")]);
        assert_eq!(of_service(vec![service(named("http")), selector]), Decision::Allow);
    }

    #[test]
    fn of_all_ports_a_number_and_a_name_are_told_apart() {
        let web = pod("web", WEB, &[("http", 80, Protocol::Tcp)]);
        let ports = Ports::Only(vec![named("http"), numbered(81), named("nowhere")]);
        let HeldPorts { by_number, by_name, .. } = HeldPorts::of(&ports, &web.ports);
        assert_eq!((by_number.to_string(), by_name.to_string()), ("TCP 81".to_owned(), "TCP 80".to_owned()));
        let on = |port, receiver| held_by(&ports, Protocol::Tcp, number(port), receiver);
        assert_eq!([on(80, Some(&web)), on(81, Some(&web))], [Some(HeldBy::Name), Some(HeldBy::Number)]);
        assert_eq!([on(80, None), on(81, None)], [None, Some(HeldBy::Number)]);
        assert!(HeldPorts::of(&Ports::Any, &[]).by_number.is_all());
        assert_eq!(held_by(&Ports::Any, Protocol::Sctp, number(1), None), Some(HeldBy::Number));
    }
}

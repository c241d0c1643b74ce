//! The ports of a rule: whether it matches one port, or which ports it matches, and whether by number or by name.
//!
//! The difference matters if a rule has a port name and an `ipBlock`. A block says nothing about pods. So not every
//! implementation resolves a name on a pod that only a block matches.
//!
//! Two containers of a pod may give one name to different numbers. The API only says that the name is the name of "a
//! port on a pod": some implementations take the first number, some take all of them.

use super::model::{ContainerPort, named_ports};
use super::port::{Connections, Port, PortRange, Protocol};
use super::rule::{PortMatch, PortSpec, Ports};

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

/// Returns how a rule's ports match `port`, or `None` if they do not. Names are resolved on `receiver`, the container
/// ports of the receiving pod.
pub(super) fn held_by(
    ports: &Ports,
    protocol: Protocol,
    port: Port,
    receiver: &[ContainerPort],
) -> Option<HeldBy> {
    let Ports::Only(matches) = ports else { return Some(HeldBy::Number) };
    let of_protocol = matches.iter().filter(|m| m.protocol == protocol);
    let holding = of_protocol.filter_map(|m| match &m.ports {
        PortSpec::Any => Some(HeldBy::Number),
        PortSpec::Range(range) => range.contains(port).then_some(HeldBy::Number),
        PortSpec::Named(name) => {
            match named_ports(receiver, name, protocol).position(|named| named == port)? {
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
        let (mut by_number, mut by_name, mut by_repeated_name) = (Vec::new(), Vec::new(), Vec::new());
        for PortMatch { protocol, ports } in matches {
            match ports {
                PortSpec::Any => by_number.push((*protocol, PortRange::ALL)),
                PortSpec::Range(range) => by_number.push((*protocol, *range)),
                PortSpec::Named(name) => {
                    let numbers = named_ports(receiver, name, *protocol);
                    let mut numbers = numbers.map(|port| (*protocol, PortRange::single(port)));
                    by_name.extend(numbers.next());
                    by_repeated_name.extend(numbers);
                }
            }
        }
        let [by_number, by_name, by_repeated_name] =
            [by_number, by_name, by_repeated_name].map(Connections::from_iter);
        Self { by_number, by_name, by_repeated_name }
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
    use super::super::{Decision, Destination, Endpoint, Engine, Flow, IpFamily, joined};
    use super::*;
    use crate::snapshot::Snapshot;
    use crate::source::Text;

    const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: x}\nspec: {clusterIP: 10.96.0.1, selector: {pod: web}, ports: [{port: 8080, targetPort: 80}]}\n---\n";

    /// Returns a pod with a container for each port.
    fn pod(name: &str, address: &str, ports: &[&str]) -> String {
        let is_host = name == "host";
        let containers = (0..).zip(ports).map(|(i, port)| format!("{{name: c{i}, ports: [{port}]}}"));
        let containers = joined(containers.chain(["{name: without}".to_owned()]), ", ");
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: x, labels: {{pod: {name}}}}}\nspec: {{hostNetwork: {is_host}, containers: [{containers}]}}\nstatus: {{podIPs: [{{ip: {address}}}]}}\n---\n"
        )
    }

    /// Returns a policy for the client (`to`) or the server (`from`). Its rules have the form `PEER PEER: PORT PORT`. A
    /// peer is a block or the name of a pod.
    fn policy(list: &str, rules: &[&str]) -> String {
        let peer = |peer: &str| match peer.contains('/') {
            true => format!("{{ipBlock: {{cidr: {peer}}}}}"),
            false => format!("{{podSelector: {{matchLabels: {{pod: {peer}}}}}}}"),
        };
        let port = |port: &str| match port {
            "any" => "{protocol: TCP}".to_owned(),
            port => format!("{{port: {port}}}"),
        };
        let rule = |rule: &&str| {
            let (peers, ports) = rule.split_once(": ").unwrap();
            let peers = joined(peers.split_whitespace().map(peer), ", ");
            format!("{{{list}: [{peers}], ports: [{}]}}", joined(ports.split(' ').map(port), ", "))
        };
        let (subject, direction, kind) = match list {
            "to" => ("client", "egress", "Egress"),
            _ => ("web", "ingress", "Ingress"),
        };
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: x}}\nspec: {{podSelector: {{matchLabels: {{pod: {subject}}}}}, policyTypes: [{kind}], {direction}: [{}]}}\n",
            joined(rules.iter().map(rule), ", ")
        )
    }

    /// Returns the engine of a cluster with a client, a server with a port named `http`, a server without port names, a
    /// server with two ports of that name, a server with `hostNetwork`, and a Service for the first server.
    fn engine(policy: &str, has_addresses: bool) -> Engine {
        let http = "{name: http, containerPort: 80}";
        let udp = "{name: http, containerPort: 80, protocol: UDP}";
        let content = [
            pod("client", "10.0.0.1", &["{name: http, containerPort: 81}"]),
            pod("web", "10.0.0.2", &[http, "{name: query, containerPort: 81, protocol: UDP}"]),
            pod("nameless", "10.0.0.3", &[]),
            pod("twice", "10.0.0.4", &[http, "{name: http, containerPort: 8080}", udp]),
            pod("host", "172.18.0.2", &[http]),
        ];
        let content = [&content.concat(), SERVICE, policy].concat();
        let text = Text { name: "x.yaml".into(), content };
        let mut cluster = Snapshot::read(&text.documents().unwrap(), None).unwrap().cluster;
        if !has_addresses {
            cluster.pods.iter_mut().for_each(|pod| pod.addresses.clear());
        }
        Engine::new(cluster)
    }

    /// Returns the expectation for a flow from the client to a pod, an address or the Service, with reasons. Checks
    /// that `evaluate` and `reach` agree.
    fn promised(engine: &Engine, to: &str, protocol: Protocol, port: u16) -> String {
        let port = Port::new(port).unwrap();
        let mut reach = engine.reach();
        let external = reach.external();
        let end = |name: &str| match engine.pods().find(|(_, pod)| pod.name == name) {
            Some((id, _)) => (Endpoint::Pod(id), reach.pod(id).unwrap()),
            None => {
                let address = name.parse().unwrap();
                let part =
                    external.iter().find(|(_, range)| range.first() <= address && address <= range.last());
                (Endpoint::External(address), part.unwrap().0)
            }
        };
        let (source, from) = end("client");
        let (destination, to) = match to {
            "service" => (Destination::Service(engine.services().next().unwrap().0), None),
            name => (Destination::Endpoint(end(name).0), Some(end(name).1)),
        };
        let flow = Flow { source, destination, family: IpFamily::V4, protocol, port };
        let expectation = engine.evaluate(&flow);
        if let Some(to) = to {
            let pair = reach.between(&[from], &[to]);
            let pair = reach.connections(pair);
            let of_set =
                match (pair.allowed.contains(protocol, port), pair.undefined.contains(protocol, port)) {
                    (true, false) => Decision::Allow,
                    (false, true) => Decision::Undefined,
                    (false, false) => Decision::Deny,
                    (true, true) => panic!("{port} is both allowed and left open"),
                };
            assert_eq!(expectation.decision, of_set, "the set says otherwise: {expectation:?}");
        }
        format!("{}: {}", expectation.decision, joined(&expectation.reasons, "; "))
    }

    #[test]
    fn a_port_name_decides_only_where_every_implementation_resolves_it() {
        let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
        let block = "10.0.0.0/8: http";
        for (rules, to, protocol, port, decision) in [
            (&[block][..], "web", tcp, 80, "undefined"),
            (&[block], "web", tcp, 81, "deny"), // the number of the client, not of the pod
            (&[block], "web", udp, 80, "deny"), // the name is TCP's
            (&[block], "nameless", tcp, 80, "deny"),
            (&["10.0.0.0/8: query"], "web", tcp, 81, "deny"), // the name is UDP's, the entry TCP's
            (&["10.0.0.3/32: http"], "web", tcp, 80, "deny"), // the block does not contain the pod
            // Regression test: only the first number of a name counted, and the others were denied.
            (&["twice: http"], "twice", tcp, 80, "allow"),
            (&["twice: http"], "twice", tcp, 8080, "undefined"),
            (&["twice: http"], "twice", tcp, 81, "deny"),
            (&["twice: http"], "twice", udp, 80, "deny"), // the entry is TCP's
            (&["twice: http 8080"], "twice", tcp, 8080, "allow"),
            (&["web: http"], "twice", tcp, 8080, "deny"),
            // Addresses without a pod have no names.
            (&["0.0.0.0/0: http"], "203.0.113.10", tcp, 80, "deny"),
            // A number beside the name decides.
            (&["10.0.0.0/8: http 80 81"], "web", tcp, 80, "allow"),
            (&["10.0.0.0/8: http 80 81"], "web", tcp, 81, "allow"),
            (&["10.0.0.0/8: http 80 81"], "203.0.113.10", tcp, 80, "deny"),
            (&["10.0.0.0/8: http any"], "web", tcp, 80, "allow"),
            // A selector in the same rule resolves the name.
            (&["10.0.0.0/8 web: http"], "web", tcp, 80, "allow"),
            (&["web 10.0.0.0/8: http"], "web", tcp, 80, "allow"),
            (&["nameless 10.0.0.0/8: http"], "web", tcp, 80, "undefined"),
            (&[": http"], "web", tcp, 80, "allow"),
            // Another rule that allows decides.
            (&[block, "web: 80"], "web", tcp, 80, "allow"),
            (&["web: 80", block], "web", tcp, 80, "allow"),
            (&[block, "10.0.0.2/32: 80"], "web", tcp, 80, "allow"),
            (&["10.0.0.2/32: 80", block], "web", tcp, 80, "allow"),
            (&[block, "web: 81"], "web", tcp, 80, "undefined"),
            // The Service's port 8080 leads to port 80 of the server. Some implementations resolve no names for a
            // block, some compare blocks before the translation, and some after it.
            (&["10.0.0.2/32: 80", "10.96.0.1/32: 8080"], "service", tcp, 8080, "allow"),
            (&["10.0.0.2/32: http"], "service", tcp, 8080, "undefined"),
            (&["10.96.0.1/32: http"], "service", tcp, 8080, "undefined"),
            (&["10.0.0.2/32: http", "10.96.0.1/32: http"], "service", tcp, 8080, "undefined"),
            (&["10.0.0.2/32: 80", "10.96.0.1/32: http"], "service", tcp, 8080, "undefined"),
            (&["10.0.0.2/32: http", "10.96.0.1/32: 8080"], "service", tcp, 8080, "undefined"),
            (&["10.0.0.2/32: nowhere", "10.96.0.1/32: nowhere"], "service", tcp, 8080, "deny"),
            (&["10.96.0.1/32: http", "web: http"], "service", tcp, 8080, "allow"),
        ] {
            let promised = promised(&engine(&policy("to", rules), true), to, protocol, port);
            assert!(
                promised.starts_with(&format!("{decision}: ")),
                "{rules:?} {to} {protocol} {port}: {promised}"
            );
        }
    }

    #[test]
    fn the_reasons_say_why_a_port_name_does_not_decide() {
        const FOR_BLOCK: &str = "undefined: undefined: x/p egress[0] names the port for an ipBlock, for which not every implementation resolves it; if port names are not resolved for an ipBlock: deny; if port names are resolved for an ipBlock: allow";
        const REPEATED: &str = "undefined: undefined: x/p egress[0] names the port, and another container gives the name to another port";
        const NO_ADDRESS: &str = "undefined: undefined: x/p egress[0] needs an address that is not known";
        const INGRESS: &str = "allow: no policy isolates for egress; allowed by x/p ingress[0] (ipBlock covers the pod's address; implementations differ)";
        let (block, all) = ("10.0.0.0/8: http", "0.0.0.0/0: http");
        for (list, rule, has_addresses, to, port, begin, end) in [
            ("to", block, true, "web", 80, FOR_BLOCK, ""),
            ("to", "twice: http", true, "twice", 8080, REPEATED, ""),
            ("to", all, false, "web", 80, FOR_BLOCK, ""),
            ("to", block, false, "web", 80, NO_ADDRESS, ""),
            ("to", block, false, "web", 81, "deny: ", "no rule matches"),
            // Ingress rules resolve a name on the subject, whoever sends.
            ("from", block, true, "web", 80, INGRESS, ""),
            ("from", block, true, "web", 81, "deny: ", "no rule matches"),
            // A pod with `hostNetwork` may count as its node, which has no port names.
            (
                "to",
                all,
                true,
                "host",
                80,
                "undefined: undefined: x/host uses its node's network",
                "if a pod with hostNetwork counts as a pod, and port names are resolved for an ipBlock: allow",
            ),
        ] {
            let found = promised(&engine(&policy(list, &[rule]), has_addresses), to, Protocol::Tcp, port);
            let is_it = if end.is_empty() {
                found == begin
            } else {
                found.starts_with(begin) && found.ends_with(end)
            };
            assert!(is_it, "{rule} {to} {port}: {found}");
        }
    }

    #[test]
    fn of_all_ports_a_number_and_a_name_are_told_apart() {
        let number = |port| Port::new(port).unwrap();
        let web =
            [ContainerPort { name: Some("http".to_owned()), port: number(80), protocol: Protocol::Tcp }];
        let entries = [
            PortSpec::Named("http".to_owned()),
            PortSpec::Range(PortRange::single(number(81))),
            PortSpec::Named("nowhere".to_owned()),
        ];
        let ports = Ports::Only(entries.map(|ports| PortMatch { protocol: Protocol::Tcp, ports }).to_vec());
        let HeldPorts { by_number, by_name, .. } = HeldPorts::of(&ports, &web);
        assert_eq!((by_number.to_string(), by_name.to_string()), ("TCP 81".to_owned(), "TCP 80".to_owned()));
        let on = |port, receiver| held_by(&ports, Protocol::Tcp, number(port), receiver);
        assert_eq!([on(80, &web), on(81, &web)], [Some(HeldBy::Name), Some(HeldBy::Number)]);
        assert_eq!([on(80, &[]), on(81, &[])], [None, Some(HeldBy::Number)]);
        assert!(HeldPorts::of(&Ports::Any, &[]).by_number.is_all());
        assert_eq!(held_by(&Ports::Any, Protocol::Sctp, number(1), &[]), Some(HeldBy::Number));
    }
}

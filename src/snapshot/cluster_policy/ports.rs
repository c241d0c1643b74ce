//! Converts the ports of cluster-scoped policies' rules.

use super::dialect::Dialect;
use super::{v1alpha1, v1alpha2};
use crate::policy::{PortMatch, PortRange, PortSpec, Ports, Protocol};
use crate::snapshot::field::{Field, Problem};
use crate::snapshot::rules;

/// One entry of `ports` or `protocols`.
enum Match {
    Numbers(Protocol, PortRange),
    /// A named port of any protocol.
    Named(String),
}

/// The ports of a rule, and the index of the first one that is a name.
type Converted = (Ports, Option<usize>);

impl Dialect {
    pub(super) fn v1alpha1_ports(
        self,
        ports: &Option<Vec<v1alpha1::PolicyPort>>,
        rule_at: &Field<'_>,
    ) -> Result<Converted, Problem> {
        self.convert_ports(ports, rule_at, |port, at| {
            let v1alpha1::PolicyPort { port_number, named_port, port_range } = port;
            match (port_number, named_port, port_range) {
                (Some(number), None, None) => {
                    let at = at.field("portNumber");
                    let protocol = rules::protocol(number.protocol.as_deref(), &at.field("protocol"))?;
                    let port = rules::port_number(number.port, &at.field("port"))?;
                    Ok(Match::Numbers(protocol, PortRange::single(port)))
                }
                (None, Some(name), None) => named(name, &at.field("namedPort")),
                (None, None, Some(range)) => {
                    let at = at.field("portRange");
                    let protocol = rules::protocol(range.protocol.as_deref(), &at.field("protocol"))?;
                    range_of(range.start, range.end, &at).map(|range| Match::Numbers(protocol, range))
                }
                (None | Some(_), None | Some(_), None | Some(_)) => {
                    Err(at.problem("must have exactly one of portNumber, namedPort and portRange"))
                }
            }
        })
    }

    pub(super) fn v1alpha2_ports(
        self,
        protocols: &Option<Vec<v1alpha2::PolicyProtocol>>,
        rule_at: &Field<'_>,
    ) -> Result<Converted, Problem> {
        self.convert_ports(protocols, rule_at, |entry, at| {
            let v1alpha2::PolicyProtocol { tcp, udp, sctp, destination_named_port } = entry;
            let numbers = |protocol, name, destination| {
                let at = at.field(name);
                destination_port(destination, &at).map(|range| Match::Numbers(protocol, range))
            };
            match (tcp, udp, sctp, destination_named_port) {
                (Some(tcp), None, None, None) => numbers(Protocol::Tcp, "tcp", tcp),
                (None, Some(udp), None, None) => numbers(Protocol::Udp, "udp", udp),
                (None, None, Some(sctp), None) => numbers(Protocol::Sctp, "sctp", sctp),
                (None, None, None, Some(name)) => named(name, &at.field("destinationNamedPort")),
                (None | Some(_), None | Some(_), None | Some(_), None | Some(_)) => {
                    Err(at.problem("must have exactly one of tcp, udp, sctp and destinationNamedPort"))
                }
            }
        })
    }

    fn convert_ports<P>(
        self,
        ports: &Option<Vec<P>>,
        rule_at: &Field<'_>,
        convert: impl Fn(&P, &Field<'_>) -> Result<Match, Problem>,
    ) -> Result<Converted, Problem> {
        let Some(ports) = ports else { return Ok((Ports::Any, None)) };
        let at = rule_at.field(self.ports);
        if ports.is_empty() {
            return Err(at.problem("must have at least one entry: leave it out for all ports"));
        }
        let matches = self.each(ports, &at, convert)?;
        let named_at = matches.iter().position(|port| matches!(port, Match::Named(_)));
        let of_each = matches.into_iter().flat_map(|port| match port {
            Match::Numbers(protocol, range) => vec![PortMatch { protocol, ports: PortSpec::Range(range) }],
            Match::Named(name) => Protocol::ALL
                .map(|protocol| PortMatch { protocol, ports: PortSpec::Named(name.clone()) })
                .to_vec(),
        });
        Ok((Ports::Only(of_each.collect()), named_at))
    }
}

fn destination_port(destination: &v1alpha2::Destination, at: &Field<'_>) -> Result<PortRange, Problem> {
    let Some(port) = &destination.destination_port else {
        return Err(at.problem("must have a destinationPort"));
    };
    let at = at.field("destinationPort");
    match (port.number, &port.range) {
        (Some(number), None) => rules::port_number(number, &at.field("number")).map(PortRange::single),
        (None, Some(range)) => {
            let at = at.field("range");
            if range.start == range.end {
                return Err(at.field("end").problem(format!("must be above the start {}", range.start)));
            }
            range_of(range.start, range.end, &at)
        }
        (None, None) | (Some(_), Some(_)) => Err(at.problem("must have exactly one of number and range")),
    }
}

fn range_of(start: i32, end: i32, at: &Field<'_>) -> Result<PortRange, Problem> {
    let first = rules::port_number(start, &at.field("start"))?;
    let end_at = at.field("end");
    let last = rules::port_number(end, &end_at)?;
    PortRange::new(first, last)
        .ok_or_else(|| end_at.problem(format!("{last} must be above the start {first}")))
}

fn named(name: &str, at: &Field<'_>) -> Result<Match, Problem> {
    rules::port_name(name, at)?;
    Ok(Match::Named(name.to_owned()))
}

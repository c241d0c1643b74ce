//! Assertions about cells, which authors write by hand.

use std::fmt;

use crate::policy::{Decision, IpFamily, PortRange, Protocol};
use crate::source::Location;
use crate::world::{BY_NAME, EndpointName, EndpointPattern, ParseError, Probe, parse_port};

/// One line of `expect` or `intent`: a claim about some cells. If several lines cover a cell, the last one
/// counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertion {
    /// Patterns of the sources.
    pub from: Vec<EndpointPattern>,
    /// Patterns of the destinations.
    pub to: Vec<DestinationPattern>,
    /// The claim about the cells.
    pub claim: Claim,
    /// Patterns of the probes.
    pub probes: Vec<ProbePattern>,
    /// The address family. `None` means every family.
    pub family: Option<IpFamily>,
    /// Location in the file.
    pub at: Location,
}

/// The claim of an assertion: the cell is allowed, denied, or undefined.
pub type Claim = Decision;

/// An entry of `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DestinationPattern {
    /// Endpoints other than the source.
    Other(EndpointPattern),
    /// `self`: the source's own address.
    Itself,
}

impl DestinationPattern {
    /// Reads a pattern or `self`.
    ///
    /// # Errors
    /// The same as for [`EndpointPattern::parse`].
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if text == "self" { Ok(Self::Itself) } else { EndpointPattern::parse(text).map(Self::Other) }
    }

    /// Returns whether the pattern matches this destination for this source.
    pub(super) fn matches(&self, from: &EndpointName, to: &EndpointName) -> bool {
        match self {
            Self::Other(pattern) => from != to && pattern.matches(to),
            Self::Itself => from == to,
        }
    }
}

/// A pattern of the probes that an assertion covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbePattern {
    /// `all`
    All,
    /// `TCP`: every port of a protocol.
    Protocol(Protocol),
    /// `80/TCP` or `80-90/TCP`
    Ports(PortRange, Protocol),
    /// `DNS`, `DNS/UDP` or `DNS/TCP`
    Dns(Option<Protocol>),
    /// `80/TCP by name` or `80-90/TCP by name`: ports of a Service after a lookup of its name.
    ByName(PortRange, Protocol),
}

impl ProbePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// If the text has none of the valid forms. The message lists them.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let expected = "is not a probe: write all, TCP, 80/TCP, 80-90/TCP, 80/TCP by name or DNS";
        let unknown = || ParseError::new(text, expected);
        match text {
            "all" => return Ok(Self::All),
            "DNS" => return Ok(Self::Dns(None)),
            "DNS/UDP" => return Ok(Self::Dns(Some(Protocol::Udp))),
            "DNS/TCP" => return Ok(Self::Dns(Some(Protocol::Tcp))),
            _ => {}
        }
        let Some((ports, protocol)) = text.split_once('/') else {
            return text.parse().map(Self::Protocol).map_err(|()| unknown());
        };
        let (protocol, by_name) = match protocol.strip_suffix(BY_NAME) {
            Some(protocol) => (protocol, true),
            None => (protocol, false),
        };
        let protocol = protocol.parse().map_err(|()| unknown())?;
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let range = PortRange::new(parse_port(first)?, parse_port(last)?)
            .ok_or_else(|| ParseError::new(text, "ends before it begins"))?;
        Ok(if by_name { Self::ByName(range, protocol) } else { Self::Ports(range, protocol) })
    }

    /// Returns whether the pattern matches this probe.
    pub fn matches(self, probe: Probe) -> bool {
        match (self, probe) {
            (Self::All, _) => true,
            (Self::Protocol(wanted), Probe::Port { protocol, .. }) => wanted == protocol,
            (Self::Ports(range, wanted), Probe::Port { port, protocol })
            | (Self::ByName(range, wanted), Probe::ByName { port, protocol }) => {
                wanted == protocol && range.contains(port)
            }
            (Self::Dns(wanted), Probe::Dns { over }) => wanted.is_none_or(|wanted| wanted == over),
            (Self::Protocol(_) | Self::Ports(..), Probe::Dns { .. } | Probe::ByName { .. })
            | (Self::Dns(_), Probe::Port { .. } | Probe::ByName { .. })
            | (Self::ByName(..), Probe::Port { .. } | Probe::Dns { .. }) => false,
        }
    }
}

/// The pattern as scenarios write it.
impl fmt::Display for DestinationPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(pattern) => pattern.fmt(f),
            Self::Itself => f.write_str("self"),
        }
    }
}

/// The pattern as scenarios write it.
impl fmt::Display for ProbePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Protocol(protocol) => protocol.fmt(f),
            Self::Ports(range, protocol) => write!(f, "{range}/{protocol}"),
            Self::Dns(None) => f.write_str("DNS"),
            Self::Dns(Some(over)) => write!(f, "DNS/{over}"),
            Self::ByName(range, protocol) => write!(f, "{range}/{protocol}{BY_NAME}"),
        }
    }
}

impl Assertion {
    /// Returns whether the assertion covers this cell. Only `self` matches the source's own address, not a
    /// pattern.
    pub fn covers(&self, from: &EndpointName, to: &EndpointName, family: IpFamily, probe: Probe) -> bool {
        self.family.is_none_or(|wanted| wanted == family)
            && self.from.iter().any(|pattern| pattern.matches(from))
            && self.to.iter().any(|pattern| pattern.matches(from, to))
            && self.probes.iter().any(|pattern| pattern.matches(probe))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Port;

    fn assertion(from: &str, to: &str, probes: &str) -> Assertion {
        Assertion {
            from: vec![EndpointPattern::parse(from).unwrap()],
            to: vec![DestinationPattern::parse(to).unwrap()],
            claim: Claim::Deny,
            probes: vec![ProbePattern::parse(probes).unwrap()],
            family: None,
            at: Location::START,
        }
    }

    const HTTP: Probe = Probe::Port { port: Port::new(80).unwrap(), protocol: Protocol::Tcp };

    #[test]
    fn a_star_is_everybody_else() {
        let (a, b) = (EndpointName::pod("x", "a"), EndpointName::pod("x", "b"));
        assert!(assertion("*", "*", "all").covers(&a, &b, IpFamily::V4, HTTP));
        assert!(!assertion("*", "*", "all").covers(&a, &a, IpFamily::V4, HTTP));
        assert!(assertion("*", "self", "all").covers(&a, &a, IpFamily::V4, HTTP));
        assert!(!assertion("*", "self", "all").covers(&a, &b, IpFamily::V4, HTTP));
    }

    #[test]
    fn probes_are_matched_by_protocol_and_range() {
        let matches = |pattern: &str, probe: Probe| ProbePattern::parse(pattern).unwrap().matches(probe);
        let dns = Probe::Dns { over: Protocol::Udp };
        assert!(matches("all", HTTP) && matches("all", dns));
        assert!(matches("TCP", HTTP) && !matches("TCP", dns) && !matches("UDP", HTTP));
        assert!(matches("80-90/TCP", HTTP) && !matches("81-90/TCP", HTTP) && !matches("80/UDP", HTTP));
        assert!(matches("DNS", dns) && matches("DNS/UDP", dns) && !matches("DNS/TCP", dns));
        let by_name = Probe::ByName { port: Port::new(80).unwrap(), protocol: Protocol::Tcp };
        assert!(matches("80/TCP by name", by_name) && matches("all", by_name));
        assert!(!matches("80/TCP", by_name) && !matches("TCP", by_name) && !matches("DNS", by_name));
        assert!(!matches("80/TCP by name", HTTP) && !matches("81/TCP by name", by_name));
        assert!(ProbePattern::parse("90-80/TCP").is_err() && ProbePattern::parse("http").is_err());
    }
}

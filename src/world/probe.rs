//! Kinds of probes: a packet to a port, a DNS lookup, or a lookup followed by a packet.

use std::fmt;

use super::error::ParseError;
use crate::policy::{Port, Protocol};

/// Suffix of a probe that first looks up a name.
pub const BY_NAME: &str = " by name";

/// One kind of probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Probe {
    /// A connection or datagram to a port.
    Port {
        /// The port.
        port: Port,
        /// The protocol.
        protocol: Protocol,
    },
    /// A lookup at the cluster's DNS Service, over UDP or TCP.
    Dns {
        /// UDP or TCP.
        over: Protocol,
    },
    /// A probe of a Service by name: a lookup over UDP, then a packet to the port.
    ByName {
        /// The Service's port.
        port: Port,
        /// Its protocol.
        protocol: Protocol,
    },
}

impl Probe {
    /// Returns the transport protocol of the probe itself, not of a lookup before it.
    pub fn protocol(self) -> Protocol {
        match self {
            Self::Port { protocol, .. } | Self::ByName { protocol, .. } => protocol,
            Self::Dns { over } => over,
        }
    }

    /// Returns whether the probe first looks up a Service's name.
    pub fn is_by_name(self) -> bool {
        match self {
            Self::ByName { .. } => true,
            Self::Port { .. } | Self::Dns { .. } => false,
        }
    }

    /// Reads `80/TCP`, `DNS` (over both UDP and TCP), `DNS/UDP` or `DNS/TCP`.
    ///
    /// # Errors
    /// If the text has none of these forms. The message lists them.
    pub fn parse(text: &str) -> Result<Vec<Self>, ParseError> {
        match text {
            "DNS" => return Ok(vec![Self::Dns { over: Protocol::Udp }, Self::Dns { over: Protocol::Tcp }]),
            "DNS/UDP" => return Ok(vec![Self::Dns { over: Protocol::Udp }]),
            "DNS/TCP" => return Ok(vec![Self::Dns { over: Protocol::Tcp }]),
            _ => {}
        }
        let unknown = || ParseError::new(text, "is not a probe: write PORT/TCP, PORT/UDP, PORT/SCTP, or DNS");
        let (port, protocol) = text.split_once('/').ok_or_else(unknown)?;
        let protocol = protocol.parse().map_err(|()| unknown())?;
        Ok(vec![Self::Port { port: parse_port(port)?, protocol }])
    }
}

/// Reads a port number.
///
/// # Errors
/// If the text is not a number from 1 to 65535.
pub fn parse_port(text: &str) -> Result<Port, ParseError> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let port = if is_number { text.parse::<u16>().ok().and_then(Port::new) } else { None };
    port.ok_or_else(|| ParseError::new(text, "is not a port: it must be between 1 and 65535"))
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port { port, protocol } => write!(f, "{port}/{protocol}"),
            Self::Dns { over } => write!(f, "DNS/{over}"),
            Self::ByName { port, protocol } => write!(f, "{port}/{protocol}{BY_NAME}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_read_as_they_are_printed() {
        for text in ["80/TCP", "65535/UDP", "1/SCTP", "DNS/UDP", "DNS/TCP"] {
            let printed: Vec<_> = Probe::parse(text).unwrap().iter().map(Probe::to_string).collect();
            assert_eq!(printed, [text]);
        }
        assert_eq!(Probe::parse("DNS").unwrap().len(), 2);
    }

    #[test]
    fn what_is_no_probe_is_refused_with_what_it_should_be() {
        for text in ["0/TCP", "65536/TCP", "+80/TCP", "80", "80/tcp", "http/TCP", "/TCP", "DNS/SCTP", ""] {
            assert!(Probe::parse(text).is_err(), "{text}");
        }
        assert_eq!(
            Probe::parse("65536/TCP").unwrap_err().to_string(),
            "`65536` is not a port: it must be between 1 and 65535"
        );
    }
}

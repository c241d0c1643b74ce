//! Protocols, ports, and sets of ports.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

/// A port number, 1–65535.
pub type Port = NonZeroU16;

/// A transport protocol that NetworkPolicy can name (`v1.Protocol`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// Transmission Control Protocol, the default of `protocol`.
    Tcp,
    /// User Datagram Protocol.
    Udp,
    /// Stream Control Transmission Protocol.
    Sctp,
}

impl Protocol {
    /// All protocols, in the order in which reports print them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// Returns the name in the Kubernetes API: `TCP`, `UDP` or `SCTP`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Protocol {
    type Err = ();

    /// Parses a name. Names are case-sensitive, as in the API server.
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|protocol| protocol.name() == text).ok_or(())
    }
}

/// An inclusive range of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    first: Port,
    last: Port,
}

impl PortRange {
    /// Every port.
    pub const ALL: Self = Self { first: Port::MIN, last: Port::MAX };

    /// Creates the range from `first` to `last`, both included. `None` if `last` is less than `first`.
    pub fn new(first: Port, last: Port) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// Creates the range of one port.
    pub fn single(port: Port) -> Self {
        Self { first: port, last: port }
    }

    /// Returns the lowest port of the range.
    pub fn first(self) -> Port {
        self.first
    }

    /// Returns the highest port of the range.
    pub fn last(self) -> Port {
        self.last
    }

    /// Returns whether the range contains `port`.
    pub fn contains(self, port: Port) -> bool {
        self.first <= port && port <= self.last
    }
}

/// `80` or `90-99`.
impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// A set of ports of one protocol.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct PortSet {
    // INVARIANT: ascending, disjoint, and never adjacent. So equal sets are equal values.
    ranges: Vec<PortRange>,
}

impl PortSet {
    /// Creates the set of all ports.
    pub fn all() -> Self {
        Self { ranges: vec![PortRange::ALL] }
    }

    /// Returns whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Returns whether the set contains every port.
    pub fn is_all(&self) -> bool {
        self.ranges.first() == Some(&PortRange::ALL)
    }

    /// Returns the ranges, ascending and disjoint.
    pub fn ranges(&self) -> &[PortRange] {
        &self.ranges
    }

    /// Returns whether the set contains `port`.
    pub fn contains(&self, port: Port) -> bool {
        let after = self.ranges.partition_point(|range| range.first <= port);
        after.checked_sub(1).and_then(|at| self.ranges.get(at)).is_some_and(|range| port <= range.last)
    }

    /// Returns the ports that are in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.ranges.iter().chain(&other.ranges).copied().collect()
    }

    /// Returns the ports that are in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut ranges = Vec::new();
        let (mut left, mut right) = (self.ranges.iter().peekable(), other.ranges.iter().peekable());
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            ranges.extend(PortRange::new(a.first.max(b.first), a.last.min(b.last)));
            if a.last < b.last {
                left.next();
            } else {
                right.next();
            }
        }
        Self { ranges }
    }

    /// Returns the ports that are in this set and not in `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.intersection(&other.complement())
    }

    fn complement(&self) -> Self {
        let mut ranges = Vec::new();
        let mut next = Some(Port::MIN);
        for range in &self.ranges {
            let before = Port::new(range.first.get() - 1);
            if let (Some(first), Some(last)) = (next, before) {
                ranges.extend(PortRange::new(first, last));
            }
            next = range.last.checked_add(1);
        }
        if let Some(first) = next {
            ranges.extend(PortRange::new(first, Port::MAX));
        }
        Self { ranges }
    }
}

/// Collects ranges in any order. They are sorted and merged once.
impl FromIterator<PortRange> for PortSet {
    fn from_iter<I: IntoIterator<Item = PortRange>>(ranges: I) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().collect();
        ranges.sort_unstable();
        let mut merged: Vec<PortRange> = Vec::new();
        for range in ranges {
            match merged.last_mut() {
                Some(last) if range.first.get() <= last.last.get().saturating_add(1) => {
                    last.last = last.last.max(range.last);
                }
                Some(_) | None => merged.push(range),
            }
        }
        Self { ranges: merged }
    }
}

impl From<PortRange> for PortSet {
    fn from(range: PortRange) -> Self {
        Self { ranges: vec![range] }
    }
}

/// `80,90-99`, or `all`.
impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_all() {
            return f.write_str("all");
        }
        for (i, range) in self.ranges.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{range}")?;
        }
        Ok(())
    }
}

/// Connections that one end may open to another: a set of ports for each protocol.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Connections {
    tcp: PortSet,
    udp: PortSet,
    sctp: PortSet,
}

impl Connections {
    /// Creates the set of every port of every protocol.
    pub fn all() -> Self {
        Self::from_protocols(|_| PortSet::all())
    }

    fn from_protocols(ports: impl Fn(Protocol) -> PortSet) -> Self {
        let [tcp, udp, sctp] = Protocol::ALL.map(ports);
        Self { tcp, udp, sctp }
    }

    /// Returns the ports of one protocol.
    pub fn ports(&self, protocol: Protocol) -> &PortSet {
        match protocol {
            Protocol::Tcp => &self.tcp,
            Protocol::Udp => &self.udp,
            Protocol::Sctp => &self.sctp,
        }
    }

    /// Returns whether the set is empty.
    pub fn is_empty(&self) -> bool {
        Protocol::ALL.into_iter().all(|protocol| self.ports(protocol).is_empty())
    }

    /// Returns whether the set contains every port of every protocol.
    pub fn is_all(&self) -> bool {
        Protocol::ALL.into_iter().all(|protocol| self.ports(protocol).is_all())
    }

    /// Returns whether the set contains `port` of `protocol`.
    pub fn contains(&self, protocol: Protocol, port: Port) -> bool {
        self.ports(protocol).contains(port)
    }

    /// Returns the connections that are in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::from_protocols(|protocol| self.ports(protocol).union(other.ports(protocol)))
    }

    /// Returns the connections that are in any of these sets.
    pub fn union_of<'a>(all: &(impl Iterator<Item = &'a Self> + Clone)) -> Self {
        Self::from_protocols(|protocol| {
            all.clone().flat_map(|connections| &connections.ports(protocol).ranges).copied().collect()
        })
    }

    /// Returns the connections that are in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self::from_protocols(|protocol| self.ports(protocol).intersection(other.ports(protocol)))
    }

    /// Returns the connections that are in this set and not in `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        Self::from_protocols(|protocol| self.ports(protocol).difference(other.ports(protocol)))
    }
}

/// Collects ranges in any order.
impl FromIterator<(Protocol, PortRange)> for Connections {
    fn from_iter<I: IntoIterator<Item = (Protocol, PortRange)>>(ranges: I) -> Self {
        let ranges: Vec<_> = ranges.into_iter().collect();
        Self::from_protocols(|protocol| {
            ranges.iter().filter(|(of, _)| *of == protocol).map(|(_, range)| *range).collect()
        })
    }
}

/// `TCP 80,90-99; UDP all`, or `all`, or `none`.
impl fmt::Display for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_all() {
            return f.write_str("all");
        }
        if self.is_empty() {
            return f.write_str("none");
        }
        let mut separator = "";
        for protocol in Protocol::ALL {
            let ports = self.ports(protocol);
            if !ports.is_empty() {
                write!(f, "{separator}{protocol} {ports}")?;
                separator = "; ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(first: u16, last: u16) -> PortSet {
        PortRange::new(Port::new(first).unwrap(), Port::new(last).unwrap()).unwrap().into()
    }

    #[test]
    fn adjacent_and_overlapping_ranges_become_one() {
        let set = range(80, 89).union(&range(100, 200)).union(&range(90, 99));
        assert_eq!(set.to_string(), "80-200");
    }

    #[test]
    fn the_last_port_has_no_successor() {
        assert_eq!(range(65535, 65535).union(&range(1, 1)).to_string(), "1,65535");
        assert_eq!(PortSet::all().difference(&range(1, 65534)).to_string(), "65535");
        assert!(PortSet::all().difference(&PortSet::all()).is_empty());
    }

    #[test]
    fn connections_print_by_protocol() {
        let ports =
            |first, last| PortRange::new(Port::new(first).unwrap(), Port::new(last).unwrap()).unwrap();
        let web = [(Protocol::Tcp, ports(80, 80)), (Protocol::Tcp, ports(90, 99))].into_iter().collect();
        let dns = [(Protocol::Udp, PortRange::ALL)].into_iter().collect::<Connections>();
        assert_eq!(dns.union(&web).to_string(), "TCP 80,90-99; UDP all");
        assert_eq!(Connections::all().to_string(), "all");
        assert_eq!(Connections::default().to_string(), "none");
    }

    fn any_set() -> impl Strategy<Value = PortSet> {
        // Few ports, so that ranges often touch. With `high`, they are at the upper end of the port numbers.
        prop::collection::vec((1u16..40, 0u16..10, any::<bool>()), 0..6).prop_map(|parts| {
            parts.into_iter().fold(PortSet::default(), |set, (first, length, high)| {
                let offset = if high { 65535 - 49 } else { 0 };
                set.union(&range(first + offset, first + length + offset))
            })
        })
    }

    proptest! {
        #[test]
        fn set_operations_agree_with_membership(a in any_set(), b in any_set()) {
            let ports = (1u16..60).chain(65480..=65535).filter_map(Port::new);
            for port in ports {
                let (in_a, in_b) = (a.contains(port), b.contains(port));
                prop_assert_eq!(a.union(&b).contains(port), in_a || in_b);
                prop_assert_eq!(a.intersection(&b).contains(port), in_a && in_b);
                prop_assert_eq!(a.difference(&b).contains(port), in_a && !in_b);
            }
            prop_assert_eq!(a.difference(&b).union(&a.intersection(&b)), a);
        }
    }
}

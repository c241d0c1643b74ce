//! Protocols, ports, and sets of ports.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use super::joined;

/// A port number, 1–65535.
pub type Port = NonZeroU16;

named! {
    /// A transport protocol that NetworkPolicy can name (`v1.Protocol`), in the order in which reports print them.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum Protocol {
        /// Transmission Control Protocol, the default of `protocol`.
        Tcp = "TCP",
        /// User Datagram Protocol.
        Udp = "UDP",
        /// Stream Control Transmission Protocol.
        Sctp = "SCTP",
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

/// Connections that one end may open to another: a set of ports for each protocol.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Connections {
    // INVARIANT: ascending, disjoint, and never adjacent within a protocol. So equal sets are equal values.
    ranges: Vec<(Protocol, PortRange)>,
}

impl Connections {
    /// Creates the set of every port of every protocol.
    pub fn all() -> Self {
        Self { ranges: Protocol::ALL.map(|protocol| (protocol, PortRange::ALL)).to_vec() }
    }

    /// Returns the ports of one protocol, as ascending and disjoint ranges.
    pub fn ports(&self, protocol: Protocol) -> impl Iterator<Item = PortRange> {
        self.ranges.iter().filter(move |(of, _)| *of == protocol).map(|(_, ports)| *ports)
    }

    /// Returns whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Returns whether the set contains every port of every protocol.
    pub fn is_all(&self) -> bool {
        let all = Protocol::ALL.into_iter().map(|protocol| (protocol, PortRange::ALL));
        self.ranges.iter().copied().eq(all)
    }

    /// Returns whether the set contains `port` of `protocol`.
    pub fn contains(&self, protocol: Protocol, port: Port) -> bool {
        let after = self.ranges.partition_point(|(of, ports)| (*of, ports.first) <= (protocol, port));
        let last = after.checked_sub(1).and_then(|at| self.ranges.get(at));
        last.is_some_and(|(of, ports)| *of == protocol && port <= ports.last)
    }

    /// Returns the connections that are in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::union_of([self, other])
    }

    /// Returns the connections that are in any of these sets.
    pub fn union_of<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        all.into_iter().flat_map(|connections| &connections.ranges).copied().collect()
    }

    /// Returns the connections that are in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut ranges = Vec::new();
        let (mut left, mut right) = (self.ranges.iter().peekable(), other.ranges.iter().peekable());
        while let (Some((protocol, a)), Some((of_right, b))) = (left.peek(), right.peek()) {
            if protocol == of_right {
                let common = PortRange::new(a.first.max(b.first), a.last.min(b.last));
                ranges.extend(common.map(|ports| (*protocol, ports)));
            }
            if (protocol, a.last) < (of_right, b.last) {
                left.next();
            } else {
                right.next();
            }
        }
        Self { ranges }
    }

    /// Returns the connections that are in this set and not in `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.intersection(&other.complement())
    }

    fn complement(&self) -> Self {
        let mut ranges = Vec::new();
        for protocol in Protocol::ALL {
            let mut next = Some(Port::MIN);
            let mut add = |first: Option<Port>, last: Option<Port>| {
                let gap = first.zip(last).and_then(|(first, last)| PortRange::new(first, last));
                ranges.extend(gap.map(|ports| (protocol, ports)));
            };
            for ports in self.ports(protocol) {
                add(next, Port::new(ports.first.get() - 1));
                next = ports.last.checked_add(1);
            }
            add(next, Some(Port::MAX));
        }
        Self { ranges }
    }
}

/// Collects ranges in any order. They are sorted and merged once.
impl FromIterator<(Protocol, PortRange)> for Connections {
    fn from_iter<I: IntoIterator<Item = (Protocol, PortRange)>>(ranges: I) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().collect();
        ranges.sort_unstable();
        ranges.dedup_by(|(protocol, next), (of_last, last)| {
            let is_adjacent = protocol == of_last && next.first.get() <= last.last.get().saturating_add(1);
            if is_adjacent {
                last.last = last.last.max(next.last);
            }
            is_adjacent
        });
        Self { ranges }
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
        let of_protocol = |protocol| {
            let ports: Vec<_> = self.ports(protocol).collect();
            let shown = if ports == [PortRange::ALL] { "all".to_owned() } else { joined(&ports, ",") };
            (!ports.is_empty()).then(|| format!("{protocol} {shown}"))
        };
        f.write_str(&joined(Protocol::ALL.into_iter().filter_map(of_protocol), "; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(protocol: Protocol, first: u16, last: u16) -> Connections {
        let ports = PortRange::new(Port::new(first).unwrap(), Port::new(last).unwrap()).unwrap();
        [(protocol, ports)].into_iter().collect()
    }

    fn tcp(first: u16, last: u16) -> Connections {
        range(Protocol::Tcp, first, last)
    }

    #[test]
    fn adjacent_and_overlapping_ranges_become_one() {
        let set = tcp(80, 89).union(&tcp(100, 200)).union(&tcp(90, 99));
        assert_eq!(set.to_string(), "TCP 80-200");
        assert_eq!(tcp(80, 65535).union(&range(Protocol::Udp, 1, 1)).to_string(), "TCP 80-65535; UDP 1");
    }

    #[test]
    fn the_last_port_has_no_successor() {
        assert_eq!(tcp(65535, 65535).union(&tcp(1, 1)).to_string(), "TCP 1,65535");
        let all = tcp(1, 65535);
        assert_eq!(all.difference(&tcp(1, 65534)).to_string(), "TCP 65535");
        assert!(all.difference(&all).is_empty());
        assert!(Connections::all().difference(&Connections::all()).is_empty());
    }

    #[test]
    fn connections_print_by_protocol() {
        let web = tcp(80, 80).union(&tcp(90, 99));
        assert_eq!(range(Protocol::Udp, 1, 65535).union(&web).to_string(), "TCP 80,90-99; UDP all");
        assert_eq!(Connections::all().to_string(), "all");
        assert_eq!(Connections::default().to_string(), "none");
    }

    fn any_set() -> impl Strategy<Value = Connections> {
        // Few ports, so that ranges often touch. With `high`, they are at the upper end of the port numbers.
        let part = (0usize..3, 1u16..40, 0u16..10, any::<bool>());
        prop::collection::vec(part, 0..8).prop_map(|parts| {
            let sets = parts.into_iter().map(|(protocol, first, length, high)| {
                let offset = if high { 65535 - 49 } else { 0 };
                range(Protocol::ALL[protocol], first + offset, first + length + offset)
            });
            Connections::union_of(&sets.collect::<Vec<_>>())
        })
    }

    proptest! {
        #[test]
        fn set_operations_agree_with_membership(a in any_set(), b in any_set()) {
            for protocol in Protocol::ALL {
                for port in (1u16..60).chain(65480..=65535).filter_map(Port::new) {
                    let (in_a, in_b) = (a.contains(protocol, port), b.contains(protocol, port));
                    prop_assert_eq!(a.union(&b).contains(protocol, port), in_a || in_b);
                    prop_assert_eq!(a.intersection(&b).contains(protocol, port), in_a && in_b);
                    prop_assert_eq!(a.difference(&b).contains(protocol, port), in_a && !in_b);
                }
            }
            prop_assert_eq!(a.difference(&b).union(&a.intersection(&b)), a);
        }
    }
}

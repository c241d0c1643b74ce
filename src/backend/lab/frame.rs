//! Ethernet frames with an IP packet, as far as the lab needs to parse them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A hardware address.
pub(super) type Mac = [u8; 6];

const ETHERNET: usize = 14;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// A frame that contains an IPv4 or IPv6 packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    bytes: Vec<u8>,
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    /// Offset of the packet's payload.
    payload: usize,
}

/// Data that all packets of a connection share: its two ends in ascending order, and its protocol.
pub(super) type Flow = ([(IpAddr, u16); 2], u8);

impl Frame {
    /// Parses a frame. Returns `None` if it contains no complete IP packet.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let packet = bytes.get(ETHERNET..)?;
        let (source, destination, protocol, header, length): (IpAddr, IpAddr, u8, usize, usize) =
            match bytes.get(12..ETHERNET)? {
                [0x08, 0x00] => {
                    let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
                    let destination: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
                    let header = usize::from(packet.first()? & 0x0f) * 4;
                    let (source, destination) = (Ipv4Addr::from(source), Ipv4Addr::from(destination));
                    (source.into(), destination.into(), *packet.get(9)?, header, number(packet, 2)?.into())
                }
                [0x86, 0xdd] => {
                    let source: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
                    let destination: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
                    let (source, destination) = (Ipv6Addr::from(source), Ipv6Addr::from(destination));
                    let length = usize::from(number(packet, 4)?) + 40;
                    (source.into(), destination.into(), *packet.get(6)?, 40, length)
                }
                _ => return None,
            };
        // Cut off the padding of short packets.
        let bytes = bytes.get(..ETHERNET + length)?.to_vec();
        let payload = ETHERNET + header;
        (payload <= bytes.len()).then_some(Self { bytes, source, destination, protocol, payload })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn destination(&self) -> IpAddr {
        self.destination
    }

    /// Returns the connection that the packet belongs to.
    pub(super) fn flow(&self) -> Flow {
        let has_ports = matches!(self.protocol, TCP | UDP);
        let port =
            |at: usize| number(&self.bytes, self.payload + at).filter(|_| has_ports).unwrap_or_default();
        let mut ends = [(self.source, port(0)), (self.destination, port(2))];
        ends.sort_unstable();
        (ends, self.protocol)
    }

    /// Changes the frame's destination address, and completes the checksum. The kernel leaves checksums to
    /// the last device, but a path between two ends within one kernel has no such device.
    pub(super) fn readdress(&mut self, to: Mac) {
        if let Some(destination) = self.bytes.get_mut(..6) {
            destination.copy_from_slice(&to);
        }
        let at = match self.protocol {
            TCP => 16,
            UDP => 6,
            _ => return,
        };
        self.set(self.payload + at, 0);
        let sum = self.checksum();
        self.set(self.payload + at, if sum == 0 && self.protocol == UDP { 0xffff } else { sum });
    }

    fn set(&mut self, at: usize, value: u16) {
        if let Some(place) = self.bytes.get_mut(at..at + 2) {
            place.copy_from_slice(&value.to_be_bytes());
        }
    }

    /// Returns the checksum of the payload with its pseudo-header (RFC 768, RFC 9293, RFC 8200 section 8.1).
    fn checksum(&self) -> u16 {
        let payload = self.bytes.get(self.payload..).unwrap_or_default();
        let length = u32::try_from(payload.len()).unwrap_or_default();
        let ends = [self.source, self.destination].map(|end| match end {
            IpAddr::V4(end) => end.octets().to_vec(),
            IpAddr::V6(end) => end.octets().to_vec(),
        });
        let mut sum = u32::from(self.protocol) + length;
        for part in [ends.concat().as_slice(), payload] {
            for pair in part.chunks(2) {
                let [high, low] = [pair.first(), pair.get(1)].map(|byte| byte.copied().unwrap_or_default());
                sum += u32::from(u16::from_be_bytes([high, low]));
            }
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap_or_default()
    }
}

/// Returns the 16-bit number at an offset.
fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a datagram from 10.0.0.1:1000 to 10.0.0.2:2000 with the payload `hi`, followed by padding.
    fn datagram() -> Vec<u8> {
        let mut bytes = vec![0xff; 12];
        bytes.extend([0x08, 0x00]);
        bytes.extend([0x45, 0, 0, 30, 0, 0, 0, 0, 64, UDP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.extend([0x03, 0xe8, 0x07, 0xd0, 0, 10, 0x12, 0x34, b'h', b'i']);
        bytes.extend([0; 6]);
        bytes
    }

    #[test]
    fn both_directions_are_one_flow() {
        let frame = Frame::read(&datagram()).unwrap();
        let reply = Frame { source: frame.destination, destination: frame.source, ..frame.clone() };
        assert_eq!(frame.flow().1, UDP);
        let mut swapped = reply.bytes.clone();
        swapped[34..38].copy_from_slice(&[0x07, 0xd0, 0x03, 0xe8]);
        assert_eq!(Frame { bytes: swapped, ..reply }.flow(), frame.flow());
    }

    #[test]
    fn checksums_are_made_whole_and_padding_is_cut() {
        let mut frame = Frame::read(&datagram()).unwrap();
        frame.readdress([2, 0, 0, 0, 0, 1]);
        assert_eq!(frame.bytes()[..6], [2, 0, 0, 0, 0, 1]);
        assert_eq!(frame.bytes().len(), ETHERNET + 30);
        // The complement of 0a00 + 0001 + 0a00 + 0002 + 0011 + 000a + 03e8 + 07d0 + 000a + 6869 = 8849.
        assert_eq!(frame.bytes()[40..42], [0x77, 0xb6], "{:x?}", frame.bytes());
    }

    #[test]
    fn what_is_no_packet_is_nothing() {
        for bytes in [&[][..], &[0; 13], &[0; 60], &datagram()[..30]] {
            assert_eq!(Frame::read(bytes), None);
        }
        let mut no_header = datagram();
        no_header[14] = 0x4f;
        assert_eq!(Frame::read(&no_header), None);
    }
}

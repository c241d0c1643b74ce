//! Replaces addresses so that ranges still contain the same addresses.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use sha2::{Digest, Sha256};

/// A permutation of all addresses that preserves prefixes: two addresses have as many leading bits in common as their
/// replacements have. So an address is in a range if and only if its replacement is in the replacement of the range.
///
/// Each bit is flipped or not, depending on the bits before it and on a key (Fan, Xu, Ammar and Moon, "Prefix-preserving
/// IP address anonymization", 2004).
pub(super) struct Addresses {
    key: Vec<u8>,
    flips: HashMap<Prefix, bool>,
}

/// Width of the address, number of leading bits, and these bits as a number.
type Prefix = (u8, u8, u128);

impl Addresses {
    /// Creates the permutation of a key. Who knows the key can revert it.
    pub(super) fn new(key: &[u8]) -> Self {
        Self { key: key.to_vec(), flips: HashMap::new() }
    }

    /// Returns the replacement of an address or of a range, in the same form. Returns `None` for any other text.
    pub(super) fn replace(&mut self, text: &str) -> Option<String> {
        if let Ok(address) = text.parse() {
            return Some(self.address(address).to_string());
        }
        let net: IpNet = text.parse().ok()?;
        let replaced = IpNet::new(self.address(net.addr()), net.prefix_len()).ok()?;
        // The API server warns about ranges with bits behind the prefix.
        Some(if net == net.trunc() { replaced.trunc() } else { replaced }.to_string())
    }

    fn address(&mut self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(address) => {
                let bits = self.bits(32, u32::from(address).into());
                // INVARIANT: no more bits are flipped than an address of this family has.
                Ipv4Addr::from(u32::try_from(bits).unwrap_or_default()).into()
            }
            IpAddr::V6(address) => Ipv6Addr::from(self.bits(128, address.into())).into(),
        }
    }

    fn bits(&mut self, width: u8, bits: u128) -> u128 {
        let mut flipped = 0;
        for length in 0..width {
            let rest = width - length;
            // Shifting by the whole width is not possible.
            let before = bits.checked_shr(rest.into()).unwrap_or(0);
            let flip = self.flips(width, length, before);
            flipped |= u128::from(flip) << (rest - 1);
        }
        bits ^ flipped
    }

    fn flips(&mut self, width: u8, length: u8, before: u128) -> bool {
        *self.flips.entry((width, length, before)).or_insert_with(|| {
            let hash = Sha256::new().chain_update(&self.key).chain_update([width, length]);
            let hash = hash.chain_update(before.to_be_bytes()).finalize();
            hash.first().is_some_and(|byte| byte & 1 == 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_contain_the_replacements_of_the_addresses_that_they_contained() {
        let ranges = ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/9", "10.1.2.0/24", "10.1.2.3/32", "128.0.0.0/1"];
        let v6 = ["::/0", "fd00::/8", "fd00:1::/32", "fd00:1::5/128", "8000::/1"];
        let addresses =
            ["10.1.2.3", "10.1.2.4", "10.127.0.1", "10.128.0.1", "11.0.0.1", "192.0.2.1", "9.255.255.255"];
        let addresses_v6 = ["fd00:1::5", "fd00:1::6", "fd00:2::5", "fdff::1", "fc00::1", "2001:db8::1"];
        for key in 0..20 {
            let mut replaced = Addresses::new(&[key]);
            let mut replace = |text: &str| replaced.replace(text).unwrap();
            for (range, address) in ranges
                .iter()
                .chain(&v6)
                .flat_map(|range| addresses.iter().chain(&addresses_v6).map(move |address| (range, address)))
            {
                let contains = |range: &str, address: &str| {
                    range.parse::<IpNet>().unwrap().contains(&address.parse::<IpAddr>().unwrap())
                };
                let same = contains(range, address);
                assert_eq!(contains(&replace(range), &replace(address)), same, "{range} {address}");
            }
        }
    }

    #[test]
    fn other_texts_are_not_replaced() {
        let mut replaced = Addresses::new(b"key");
        assert_eq!(
            ["None", "", "10.0.0", "10.0.0.0/33", "web"].map(|text| replaced.replace(text)),
            [const { None }; 5]
        );
        assert_ne!(replaced.replace("10.1.2.3").unwrap(), "10.1.2.3");
        assert_eq!(replaced.replace("0.0.0.0/0").unwrap(), "0.0.0.0/0");
    }
}

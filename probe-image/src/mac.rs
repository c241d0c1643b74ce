//! Message authentication codes, which distinguish the packets of a run from all others.

use std::fmt;

use sha2::{Digest, Sha256};

/// Bytes of a SHA-256 block. HMAC pads its key to this length.
const BLOCK: usize = 64;

/// Bytes of a code. It is half of HMAC-SHA256, which RFC 2104 (section 5) allows. A probe stays a small packet, and
/// 128 bits cannot be guessed.
pub(crate) const LENGTH: usize = 16;

/// The purpose of a code. A code for one purpose is invalid for another, so that no program can send a probe back as
/// its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A probe over a fresh socket.
    Probe,
    /// A probe over a connection that will be used again.
    KeepingProbe,
    /// The answer to a probe.
    Answer,
    /// A DNS query.
    Query,
    /// The response to a DNS query.
    Response,
}

impl Purpose {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Probe => b"probe",
            Self::KeepingProbe => b"keeping probe",
            Self::Answer => b"answer",
            Self::Query => b"query",
            Self::Response => b"response",
        }
    }
}

/// A message authentication code.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mac([u8; LENGTH]);

impl Mac {
    /// Parses the code as [`Display`](fmt::Display) writes it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 2 * LENGTH || !text.bytes().all(is_hex) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(|number| Self(number.to_be_bytes()))
    }

    /// Reads the code from bytes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Compares two codes in time that does not depend on where they differ.
    pub(crate) fn matches(&self, other: &Self) -> bool {
        are_equal(&self.0, &other.0)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// Compares two secrets of the same length in time that does not depend on where they differ.
pub(crate) fn are_equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

/// The key that all agents of a run share: the state of HMAC-SHA256 (RFC 2104) after it has read the key.
#[derive(Clone)]
pub(crate) struct Key {
    inner: Sha256,
    outer: Sha256,
}

impl Key {
    /// Derives the key from the token, which only netproof and the agents of the run have. The token itself signs no
    /// message, so that a code says nothing about it.
    pub(crate) fn from_token(token: &str) -> Self {
        Self::new(&Self::new(token.as_bytes()).digest(&[b"netproof: key of probes"]))
    }

    pub(crate) fn new(key: &[u8]) -> Self {
        let hashed = Sha256::digest(key);
        let key = if key.len() > BLOCK { hashed.as_slice() } else { key };
        let padded = |pad: u8| {
            let mut block = [pad; BLOCK];
            block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
            Sha256::new_with_prefix(block)
        };
        Self { inner: padded(0x36), outer: padded(0x5c) }
    }

    /// Computes the whole HMAC of the concatenation of some parts.
    pub(crate) fn digest(&self, parts: &[&[u8]]) -> [u8; 32] {
        let (mut inner, mut outer) = (self.inner.clone(), self.outer.clone());
        parts.iter().for_each(|part| inner.update(part));
        outer.update(inner.finalize());
        outer.finalize().into()
    }

    /// Signs a message that consists of some parts.
    pub(crate) fn sign(&self, purpose: Purpose, parts: &[&[u8]]) -> Mac {
        // Each part begins with its length. So the same bytes in other parts are another message.
        let lengths: Vec<[u8; 8]> = parts.iter().map(|part| (part.len() as u64).to_be_bytes()).collect();
        let parts = lengths.iter().zip(parts).flat_map(|(length, part)| [length.as_slice(), *part]);
        let message: Vec<&[u8]> = [purpose.label(), b"\0"].into_iter().chain(parts).collect();
        let mut code = [0; LENGTH];
        code.iter_mut().zip(self.digest(&message)).for_each(|(byte, digest)| *byte = digest);
        Mac(code)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Checks the test vectors of RFC 4231: cases 1, 2 and 6. The key of case 6 is longer than a block.
    #[test]
    fn hmac_is_that_of_the_specification() {
        for (key, message, digest) in [
            (
                vec![0x0b; 20],
                &b"Hi There"[..],
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe".to_vec(),
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                vec![0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ] {
            assert_eq!(hex(&Key::new(&key).digest(&[message])), digest);
        }
    }

    #[test]
    fn codes_differ_by_key_purpose_and_parts() {
        let key = Key::from_token("token");
        let code = key.sign(Purpose::Probe, &[b"ab", b"c"]);
        assert!(code.matches(&key.sign(Purpose::Probe, &[b"ab", b"c"])));
        assert!(!code.matches(&key.sign(Purpose::Answer, &[b"ab", b"c"])));
        assert!(!code.matches(&key.sign(Purpose::Probe, &[b"a", b"bc"])));
        assert!(!code.matches(&Key::from_token("nekot").sign(Purpose::Probe, &[b"ab", b"c"])));
    }

    #[test]
    fn a_code_is_read_as_it_was_written() {
        let code = Key::from_token("token").sign(Purpose::Probe, &[]);
        assert!(Mac::parse(&code.to_string()).unwrap().matches(&code));
        for wrong in ["", "12", "+1234567890123456789012345678901", "AB345678901234567890123456789012"] {
            assert!(Mac::parse(wrong).is_none(), "{wrong}");
        }
    }
}

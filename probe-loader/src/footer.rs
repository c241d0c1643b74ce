//! The last bytes of a packed agent, which say where the compressed agent begins and how large it is.

use crate::Damage;

/// Marks a packed agent, and the version of its format. It is not text, so that a conversion of line ends damages it.
const MAGIC: [u8; 8] = *b"\x7fNPAK1\r\n";

/// The largest agent that is unpacked. A damaged size must not fill the memory of a node.
const MAX_AGENT: u64 = 64 << 20;

/// The sizes in bytes of the two parts that a packed agent has besides the loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// Size of the compressed agent, which ends where the footer begins.
    pub compressed: u64,
    /// Size of the agent.
    pub agent: u64,
}

impl Footer {
    /// Size of a footer.
    pub const SIZE: usize = 24;

    /// Returns the bytes at the end of the file.
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let parts = [self.compressed.to_le_bytes(), self.agent.to_le_bytes(), MAGIC];
        for (place, byte) in bytes.iter_mut().zip(parts.as_flattened()) {
            *place = *byte;
        }
        bytes
    }

    /// Reads the last bytes of a file.
    ///
    /// # Errors
    /// If they are no footer, or if their sizes are impossible.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Result<Self, Damage> {
        let ([compressed, agent, magic], []) = bytes.as_chunks() else { return Err(Damage::NoFooter) };
        let footer = Self { compressed: u64::from_le_bytes(*compressed), agent: u64::from_le_bytes(*agent) };
        if *magic != MAGIC {
            return Err(Damage::NoFooter);
        }
        if footer.agent > MAX_AGENT { Err(Damage::Sizes) } else { Ok(footer) }
    }

    /// Returns where the compressed agent begins and ends in a file of this size.
    ///
    /// # Errors
    /// If the file is too small.
    pub fn span(self, file: u64) -> Result<(u64, u64), Damage> {
        let end = file.checked_sub(Self::SIZE as u64).ok_or(Damage::NoFooter)?;
        let start = end.checked_sub(self.compressed).ok_or(Damage::Sizes)?;
        Ok((start, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOOTER: Footer = Footer { compressed: 0x0102_0304, agent: 0x000a_0b0c };

    #[test]
    fn the_format_does_not_change() {
        let bytes = b"\x04\x03\x02\x01\0\0\0\0\x0c\x0b\x0a\0\0\0\0\0\x7fNPAK1\r\n";
        assert_eq!(FOOTER.to_bytes(), *bytes);
        assert_eq!(Footer::from_bytes(bytes), Ok(FOOTER));
    }

    #[test]
    fn every_changed_bit_of_the_magic_is_noticed() {
        for bit in 16 * 8..Footer::SIZE * 8 {
            let mut bytes = FOOTER.to_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Footer::from_bytes(&bytes), Err(Damage::NoFooter), "bit {bit}");
        }
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let too_large = Footer { agent: MAX_AGENT + 1, ..FOOTER };
        assert_eq!(Footer::from_bytes(&too_large.to_bytes()), Err(Damage::Sizes));
        let file = FOOTER.compressed + Footer::SIZE as u64;
        assert_eq!(FOOTER.span(file), Ok((0, FOOTER.compressed)));
        assert_eq!(FOOTER.span(file + 5), Ok((5, FOOTER.compressed + 5)));
        assert_eq!(FOOTER.span(file - 1), Err(Damage::Sizes));
        assert_eq!(FOOTER.span(23), Err(Damage::NoFooter));
        let largest = Footer { compressed: u64::MAX, ..FOOTER };
        assert_eq!(largest.span(u64::MAX), Err(Damage::Sizes));
    }
}

//! Packs an agent, and takes a packed one apart.

use alloc::vec::Vec;
use core::convert::Infallible;

use miniz_oxide::deflate::compress_to_vec_zlib;

use crate::{Damage, Failure, Footer, unpack};

/// The best that zlib can do. It takes half a second.
const LEVEL: u8 = 10;

/// Returns a packed agent. The same loader and agent always give the same bytes.
pub fn pack(loader: &[u8], agent: &[u8]) -> Vec<u8> {
    let compressed = compress_to_vec_zlib(agent, LEVEL);
    let footer = Footer { compressed: compressed.len() as u64, agent: agent.len() as u64 };
    [loader, &compressed, &footer.to_bytes()].concat()
}

/// What a packed agent was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts<'a> {
    /// The loader.
    pub loader: &'a [u8],
    /// The agent.
    pub agent: Vec<u8>,
}

impl<'a> Parts<'a> {
    /// Takes a packed agent apart.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn of(packed: &'a [u8]) -> Result<Self, Damage> {
        let (_, footer) = packed.split_last_chunk().ok_or(Damage::NoFooter)?;
        let (start, _) = Footer::from_bytes(footer)?.span(packed.len() as u64)?;
        let from = |offset| usize::try_from(offset).ok().and_then(|offset| packed.split_at_checked(offset));
        let (loader, _) = from(start).ok_or(Damage::Sizes)?;
        let mut agent = Vec::new();
        let read = |offset, buffer: &mut [u8]| {
            let (_, rest) = from(offset).unwrap_or_default();
            let count = buffer.iter_mut().zip(rest).map(|(place, byte)| *place = *byte).count();
            Ok::<_, Infallible>(count)
        };
        let write = |piece: &[u8]| {
            agent.extend_from_slice(piece);
            Ok::<_, Infallible>(())
        };
        match unpack(packed.len() as u64, read, write) {
            Ok(()) => Ok(Self { loader, agent }),
            Err(Failure::Damaged(damage)) => Err(damage),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use proptest::prelude::*;

    use super::*;

    const LOADER: &[u8] = b"\x7fELF, and what follows";

    /// Returns an agent that is larger than the window of the format and hard to compress.
    fn agent() -> Vec<u8> {
        (0_u32..70_000).map(|index| (index.wrapping_mul(2_654_435_761) >> 20) as u8).collect()
    }

    /// Returns a packed agent of these parts, whether they fit each other or not.
    fn assemble(compressed: &[u8], footer: Footer) -> Vec<u8> {
        [LOADER, compressed, &footer.to_bytes()].concat()
    }

    fn damage(packed: &[u8]) -> Damage {
        Parts::of(packed).unwrap_err()
    }

    #[test]
    fn an_agent_comes_out_as_it_went_in() {
        for agent in [vec![], vec![7], vec![0; 5 << 20], agent()] {
            let packed = pack(LOADER, &agent);
            assert!(Parts::of(&packed) == Ok(Parts { loader: LOADER, agent }));
        }
        assert_eq!(pack(LOADER, &agent()), pack(LOADER, &agent()));
    }

    #[test]
    fn a_file_that_was_cut_off_is_refused() {
        let packed = pack(LOADER, &agent());
        for length in [0, 1, 23, 24, LOADER.len(), packed.len() / 2, packed.len() - 1] {
            assert_eq!(damage(&packed[..length]), Damage::NoFooter, "{length}");
        }
        // Cut in the middle, with the whole footer.
        let (head, footer) = packed.split_at(packed.len() - Footer::SIZE);
        for length in [0, LOADER.len(), head.len() / 2, head.len() - 1] {
            let cut = [&head[..length], footer].concat();
            assert!(matches!(damage(&cut), Damage::Sizes | Damage::Compression), "{length}");
        }
        // Something was added.
        assert_eq!(damage(&[&packed, &b"\n"[..]].concat()), Damage::NoFooter);
        assert_eq!(damage(&[head, b"\n", footer].concat()), Damage::Compression);
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let agent = agent();
        let compressed = compress_to_vec_zlib(&agent, LEVEL);
        let footer = Footer { compressed: compressed.len() as u64, agent: agent.len() as u64 };
        Parts::of(&assemble(&compressed, footer)).unwrap();
        for wrong in [0, footer.agent - 1, footer.agent + 1] {
            let packed = assemble(&compressed, Footer { agent: wrong, ..footer });
            assert_eq!(damage(&packed), Damage::AgentSize, "{wrong}");
        }
        for wrong in [0, footer.compressed - 1, footer.compressed + 1] {
            let packed = assemble(&compressed, Footer { compressed: wrong, ..footer });
            assert_eq!(damage(&packed), Damage::Compression, "{wrong}");
        }
        let followed = [&compressed, &b"more"[..]].concat();
        let packed = assemble(&followed, Footer { compressed: followed.len() as u64, ..footer });
        assert_eq!(damage(&packed), Damage::AgentSize);
    }

    #[test]
    fn another_checksum_is_refused() {
        let mut packed = pack(LOADER, &agent());
        let last = packed.len() - Footer::SIZE - 1;
        packed[last] ^= 1;
        assert_eq!(damage(&packed), Damage::Checksum);
    }

    /// A few bytes can stand for very many. They must not fill the memory of a node.
    #[test]
    fn an_agent_that_is_too_long_is_not_written_to_its_end() {
        let compressed = compress_to_vec_zlib(&vec![0; 8 << 20], LEVEL);
        let packed = assemble(&compressed, Footer { compressed: compressed.len() as u64, agent: 100_000 });
        let mut written = 0;
        let read = |offset, buffer: &mut [u8]| {
            let rest = &packed[usize::try_from(offset).unwrap()..];
            let count = buffer.len().min(rest.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok::<_, ()>(count)
        };
        let write = |piece: &[u8]| {
            written += piece.len();
            Ok::<_, ()>(())
        };
        let failure = unpack(packed.len() as u64, read, write).unwrap_err();
        assert_eq!(failure, Failure::Damaged(Damage::AgentSize));
        assert!(written <= 100_000, "{written}");
    }

    #[test]
    fn errors_of_reading_and_writing_are_reported() {
        let packed = pack(LOADER, &agent());
        let size = packed.len() as u64;
        // One byte at a time, as a slow file might give them.
        let read = |offset, buffer: &mut [u8]| {
            buffer[0] = packed[usize::try_from(offset).unwrap()];
            Ok::<_, &str>(1)
        };
        let mut written = Vec::new();
        let write = |piece: &[u8]| {
            written.extend_from_slice(piece);
            Ok::<_, &str>(())
        };
        assert_eq!(unpack(size, read, write), Ok(()));
        assert!(written == agent());
        assert_eq!(unpack(size, read, |_| Err("full")), Err(Failure::Write("full")));
        let done = |_: &[u8]| Ok::<_, &str>(());
        assert_eq!(unpack(size, |_, _: &mut [u8]| Err("no"), done), Err(Failure::Read("no")));
        // The file became shorter.
        assert_eq!(
            unpack(size, |_, _: &mut [u8]| Ok::<_, &str>(0), done),
            Err(Failure::Damaged(Damage::Cut))
        );
    }

    proptest! {
        /// Some bits mean nothing, for example those that fill up the last byte before the checksum.
        #[test]
        fn a_damaged_agent_is_never_another_one(place in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let agent = agent();
            let mut packed = pack(LOADER, &agent[..20_000]);
            let place = place.index(packed.len() - LOADER.len()) + LOADER.len();
            packed[place] ^= 1 << bit;
            if let Ok(parts) = Parts::of(&packed) {
                prop_assert!(parts.agent == agent[..20_000], "bit {} of byte {}", bit, place);
            }
        }

        #[test]
        fn no_data_make_it_panic(compressed in prop::collection::vec(any::<u8>(), 0..300), agent in 0_u64..300) {
            let size = compressed.len() as u64;
            let _ = Parts::of(&assemble(&compressed, Footer { compressed: size, agent }));
            // With a valid header of zlib.
            let compressed = [b"\x78\x01", compressed.as_slice()].concat();
            let _ = Parts::of(&assemble(&compressed, Footer { compressed: size + 2, agent }));
            let _ = Parts::of(&compressed);
        }
    }
}

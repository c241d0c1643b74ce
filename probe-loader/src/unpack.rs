//! Unpacks the agent piece by piece, with a fixed amount of memory.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_PARSE_ZLIB_HEADER};
use miniz_oxide::inflate::core::{DecompressorOxide, TINFL_LZ_DICT_SIZE, decompress};

use crate::Footer;

/// Bytes of the file that are read at once.
const PIECE: usize = 16 << 10;

/// What is wrong with a packed agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The file does not end with a footer of this version.
    NoFooter,
    /// The sizes in the footer do not fit the file or each other.
    Sizes,
    /// The file became shorter while it was read.
    Cut,
    /// The compressed agent is not in the zlib format, or is incomplete.
    Compression,
    /// The agent is not the one that was packed.
    Checksum,
    /// The agent is larger or smaller than the footer says, or data follow it.
    AgentSize,
}

impl Damage {
    /// Returns the reason, for a message.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoFooter => "it does not end with a footer of this version",
            Self::Sizes => "the sizes in its footer are impossible",
            Self::Cut => "it was cut off while it was read",
            Self::Compression => "its compressed data are not valid",
            Self::Checksum => "the checksum of the agent is another",
            Self::AgentSize => "the agent has another size than its footer says",
        }
    }
}

/// Why an agent was not unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure<R, W> {
    /// The packed agent could not be read.
    Read(R),
    /// The agent could not be written.
    Write(W),
    /// The packed agent is damaged.
    Damaged(Damage),
}

impl<R, W> From<Damage> for Failure<R, W> {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

/// Unpacks an agent from a file of this size. `read` reads bytes at an offset and returns how many it has read, at
/// least one unless the file ends there. `write` writes the next bytes of the agent.
///
/// The agent is whole only if this succeeds. Before it fails, it may have written a part of the agent, but never
/// more bytes than the footer says.
///
/// # Errors
/// If the packed agent is damaged, or with the first error of `read` or `write`.
pub fn unpack<R, W>(
    size: u64,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<usize, R>,
    mut write: impl FnMut(&[u8]) -> Result<(), W>,
) -> Result<(), Failure<R, W>> {
    let footer = read_footer(size, &mut read)?;
    let (mut offset, end) = footer.span(size)?;
    let mut missing = footer.agent;
    let mut inflater = DecompressorOxide::new();
    let mut piece = [0; PIECE];
    let mut window = [0; TINFL_LZ_DICT_SIZE];
    let mut position = 0;
    while offset < end {
        let mut input = next_piece(&mut piece, offset, end, &mut read)?;
        offset = offset.saturating_add(input.len() as u64);
        let more = if offset < end { TINFL_FLAG_HAS_MORE_INPUT } else { 0 };
        let flags = TINFL_FLAG_PARSE_ZLIB_HEADER | more;
        loop {
            let (status, consumed, produced) = decompress(&mut inflater, input, &mut window, position, flags);
            input = input.get(consumed..).unwrap_or_default();
            let output = window.get(position..).and_then(|rest| rest.get(..produced)).unwrap_or_default();
            missing = missing.checked_sub(output.len() as u64).ok_or(Damage::AgentSize)?;
            write(output).map_err(Failure::Write)?;
            // The window is a ring, and output never wraps within one call.
            position = position.saturating_add(produced) % window.len();
            match status {
                TINFLStatus::HasMoreOutput => {}
                TINFLStatus::NeedsMoreInput => break,
                TINFLStatus::Done if missing == 0 && input.is_empty() && offset == end => return Ok(()),
                TINFLStatus::Done => return Err(Damage::AgentSize.into()),
                TINFLStatus::Adler32Mismatch => return Err(Damage::Checksum.into()),
                TINFLStatus::Failed | TINFLStatus::FailedCannotMakeProgress | TINFLStatus::BadParam => {
                    return Err(Damage::Compression.into());
                }
                // Later versions of the library may have more.
                _ => return Err(Damage::Compression.into()),
            }
        }
    }
    Err(Damage::Compression.into())
}

fn read_footer<R, W>(
    size: u64,
    read: &mut impl FnMut(u64, &mut [u8]) -> Result<usize, R>,
) -> Result<Footer, Failure<R, W>> {
    let start = size.checked_sub(Footer::SIZE as u64).ok_or(Damage::NoFooter)?;
    let mut bytes = [0; Footer::SIZE];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match read(start.saturating_add(filled as u64), rest).map_err(Failure::Read)? {
            0 => return Err(Damage::Cut.into()),
            count => filled = filled.saturating_add(count),
        }
    }
    Ok(Footer::from_bytes(&bytes)?)
}

/// Reads the next bytes between two offsets.
fn next_piece<'a, R, W>(
    piece: &'a mut [u8],
    offset: u64,
    end: u64,
    read: &mut impl FnMut(u64, &mut [u8]) -> Result<usize, R>,
) -> Result<&'a [u8], Failure<R, W>> {
    let left = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
    let wanted = piece.len().min(left);
    let piece = piece.get_mut(..wanted).unwrap_or_default();
    let count = read(offset, piece).map_err(Failure::Read)?;
    match piece.get(..count) {
        Some(bytes) if !bytes.is_empty() => Ok(bytes),
        Some(_) | None => Err(Damage::Cut.into()),
    }
}

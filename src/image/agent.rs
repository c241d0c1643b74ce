//! The agent as a static program, plain or packed.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use netproof_loader::{Damage, Parts};
use object::elf::{self, FileHeader32, FileHeader64, Machine};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, FileKind};

use super::error::{Error, Unfit};

/// Name of the agent's file, both next to this program and in the image.
pub(super) const FILE_NAME: &str = "netproof-probe";

/// Returns the path of a file next to the running program.
pub(super) fn beside_program(name: &str) -> Result<PathBuf, Error> {
    let program = std::env::current_exe();
    let program = program.map_err(|problem| Error::Unreadable { path: name.into(), problem })?;
    Ok(program.with_file_name(name))
}

/// The architectures that netproof is built for, which are the targets in `deny.toml`: the number in the
/// header of an executable, and the name in the `architecture` of an image's configuration.
const ARCHITECTURES: [(Machine, &str); 2] = [(elf::EM_X86_64, "amd64"), (elf::EM_AARCH64, "arm64")];

/// Returns the content of a file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let unreadable = |problem| Error::Unreadable { path: path.to_owned(), problem };
    // Reading a device might never end.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(unreadable(io::Error::other("not a regular file")));
    }
    fs::read(path).map_err(unreadable)
}

/// An agent that can run in an image from scratch: a static executable.
#[derive(Clone, PartialEq, Eq)]
pub struct Binary {
    content: Vec<u8>,
    architecture: &'static str,
}

impl Binary {
    /// Reads the agent from a file, which may be packed.
    ///
    /// # Errors
    /// If the file cannot be read, or cannot be started in an image from scratch.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let content = read(path)?;
        let agent = Self::unpack(&content).and_then(|unpacked| match unpacked {
            Some(agent) => Ok(agent),
            None => Self::new(content),
        });
        agent.map_err(|problem| Error::Unfit { path: path.to_owned(), problem })
    }

    /// Returns the agent that is packed in a file with this content. `None` if the file is not packed.
    ///
    /// # Errors
    /// If the file is damaged, or if the agent cannot be started in an image from scratch.
    pub(super) fn unpack(content: &[u8]) -> Result<Option<Self>, Unfit> {
        match Parts::of(content) {
            Ok(parts) => Self::new(parts.agent).map(Some),
            Err(Damage::NoFooter) => Ok(None),
            Err(damage) => Err(Unfit::Damaged(damage.reason())),
        }
    }

    /// Returns the agent with this content of its file.
    ///
    /// # Errors
    /// If it cannot be started in an image from scratch.
    pub fn new(content: Vec<u8>) -> Result<Self, Unfit> {
        let architecture = match FileKind::parse(&*content) {
            Ok(FileKind::Elf32) => check::<FileHeader32<Endianness>>(&content)?,
            Ok(FileKind::Elf64) => check::<FileHeader64<Endianness>>(&content)?,
            Ok(_) | Err(_) => return Err(Unfit::NotElf),
        };
        Ok(Self { content, architecture })
    }

    /// Returns the content of the file.
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// Returns the name of the architecture that it runs on, such as `amd64`.
    pub fn architecture(&self) -> &'static str {
        self.architecture
    }
}

impl fmt::Debug for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Binary({}, {} bytes)", self.architecture, self.content.len())
    }
}

/// Checks that the kernel can start it without help. Returns the name of its architecture.
fn check<E: FileHeader<Endian = Endianness>>(content: &[u8]) -> Result<&'static str, Unfit> {
    let header = E::parse(content).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    let kind = header.e_type(endian);
    // A static executable that can be loaded at any address has the type of a library.
    if (kind != elf::ET_EXEC && kind != elf::ET_DYN) || header.e_entry(endian).into() == 0 {
        return Err(Unfit::NotAProgram);
    }
    let mut has_code = false;
    for segment in header.program_headers(endian, content).map_err(damaged)? {
        if segment.data(endian, content).is_err() {
            return Err(Unfit::Damaged("a segment ends beyond the file"));
        }
        let dynamic = segment.dynamic(endian, content).map_err(damaged)?.unwrap_or_default();
        let mut entries = dynamic.iter().map(|entry| entry.tag(endian));
        if segment.p_type(endian) == elf::PT_INTERP || entries.any(|tag| tag == elf::DT_NEEDED) {
            return Err(Unfit::Dynamic);
        }
        has_code |= segment.p_type(endian) == elf::PT_LOAD;
    }
    if !has_code {
        return Err(Unfit::NotAProgram);
    }
    let machine = header.e_machine(endian);
    // The numbers also stand for machines of another size or byte order.
    let is_usual = header.is_type_64() && endian == Endianness::Little;
    let known = ARCHITECTURES.iter().find(|(number, _)| is_usual && *number == machine);
    known.map(|(_, architecture)| *architecture).ok_or(Unfit::UnknownMachine(machine.0))
}

fn damaged(_: object::Error) -> Unfit {
    Unfit::Damaged("its headers cannot be read")
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns a small 64-bit executable with this type, machine, entry and segments (type, offset, length).
    fn program(kind: u16, machine: u16, entry: u64, segments: &[(u32, u64, u64)]) -> Vec<u8> {
        let mut content = b"\x7fELF\x02\x01\x01".to_vec();
        content.resize(16, 0);
        content.extend(kind.to_le_bytes());
        content.extend(machine.to_le_bytes());
        content.extend(1_u32.to_le_bytes());
        for word in [entry, 64, 0] {
            content.extend(word.to_le_bytes());
        }
        content.extend(0_u32.to_le_bytes());
        for half in [64, 56, u16::try_from(segments.len()).unwrap(), 64, 0, 0] {
            content.extend(half.to_le_bytes());
        }
        for (segment, offset, length) in segments {
            content.extend(segment.to_le_bytes());
            content.extend(5_u32.to_le_bytes());
            for word in [*offset, 0, 0, *length, *length, 8] {
                content.extend(word.to_le_bytes());
            }
        }
        content
    }

    const LOAD: (u32, u64, u64) = (1, 0, 64);
    const EXEC: u16 = 2;
    const DYN: u16 = 3;
    const X86_64: u16 = 62;

    /// Returns a static program that an image may contain.
    pub(in crate::image) fn static_program() -> Vec<u8> {
        program(DYN, X86_64, 64, &[LOAD])
    }

    fn refusal(content: Vec<u8>) -> Unfit {
        Binary::new(content).unwrap_err()
    }

    #[test]
    fn the_architecture_is_that_of_the_header() {
        for (machine, name) in [(X86_64, "amd64"), (183, "arm64")] {
            let binary = Binary::new(program(EXEC, machine, 64, &[LOAD])).unwrap();
            assert_eq!(binary.architecture(), name);
        }
        // RISC-V, 64-bit POWER, and an unknown number.
        for machine in [243, 21, 0] {
            assert_eq!(refusal(program(EXEC, machine, 64, &[LOAD])), Unfit::UnknownMachine(machine));
        }
    }

    #[test]
    fn what_needs_a_loader_is_refused() {
        assert_eq!(refusal(program(DYN, X86_64, 64, &[LOAD, (3, 0, 8)])), Unfit::Dynamic);
        // It has no interpreter, but it needs a library.
        let mut needs_a_library = program(DYN, X86_64, 64, &[LOAD, (2, 176, 16)]);
        assert_eq!(needs_a_library.len(), 176);
        needs_a_library.extend([1_u64, 0].map(u64::to_le_bytes).concat());
        assert_eq!(refusal(needs_a_library), Unfit::Dynamic);
        let this_test = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(refusal(this_test), Unfit::Dynamic);
    }

    #[test]
    fn what_is_no_program_is_refused() {
        for content in [&b""[..], b"\x7fEL", b"#!/bin/sh\nexit 0\n", b"MZ", b"!<arch>\n"] {
            assert_eq!(refusal(content.to_vec()), Unfit::NotElf);
        }
        let object_file = program(1, X86_64, 0, &[]);
        let library = program(DYN, X86_64, 0, &[LOAD]);
        let core_dump = program(4, X86_64, 0, &[LOAD]);
        let without_code = program(EXEC, X86_64, 64, &[]);
        for content in [object_file, library, core_dump, without_code] {
            assert_eq!(refusal(content), Unfit::NotAProgram);
        }
    }

    #[test]
    fn a_file_that_was_cut_off_is_refused() {
        let mut whole = program(EXEC, X86_64, 64, &[(1, 0, 500)]);
        whole.resize(500, 0);
        Binary::new(whole.clone()).unwrap();
        for length in [16, 63, 64, 100, 120, 499] {
            let cut = whole.get(..length).unwrap().to_vec();
            assert!(matches!(refusal(cut), Unfit::Damaged(_) | Unfit::NotElf), "{length}");
        }
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(
            changes in prop::collection::vec((0_usize..200, any::<u8>()), 0..8),
            length in 0_usize..300,
        ) {
            let mut content = program(DYN, X86_64, 64, &[LOAD, (2, 176, 16)]);
            content.resize(length, 0);
            for (place, value) in changes {
                if let Some(byte) = content.get_mut(place) {
                    *byte = value;
                }
            }
            let _ = Binary::new(content);
        }
    }
}

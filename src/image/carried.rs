//! The packed agents that netproof carries. A build that carries none uses the files beside the program.

use std::borrow::Cow;
use std::path::Path;

use netproof_loader::pack;

use super::agent::{Binary, FILE_NAME, beside_program, read};
use super::error::Error;

/// The packed agents, with their architectures. The build script chooses and writes them.
const CARRIED: &[(&str, &[u8])] = &include!(concat!(env!("OUT_DIR"), "/carried.rs"));

/// The architecture of this program, as Kubernetes names it.
const OWN: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

/// Name of the loader's file beside the program.
const LOADER: &str = "netproof-loader";

fn carried(architecture: &str) -> Option<&'static [u8]> {
    let found = CARRIED.iter().find(|(carried, _)| *carried == architecture);
    found.map(|(_, packed)| *packed)
}

/// Returns the packed agent for nodes of an architecture, as Kubernetes names it. It is one program of less
/// than 1 MiB, and needs nothing else to run.
///
/// # Errors
/// If this program does not have it. The message says what to do.
pub fn packed(architecture: &str) -> Result<Cow<'static, [u8]>, Error> {
    match carried(architecture) {
        Some(packed) => Ok(Cow::Borrowed(packed)),
        None => packed_beside(&beside_program(FILE_NAME)?, architecture).map(Cow::Owned),
    }
}

/// Returns the packed agent for an architecture from a file. If the file is not packed, this packs it with
/// the loader in the same folder.
fn packed_beside(path: &Path, architecture: &str) -> Result<Vec<u8>, Error> {
    let missing = || Error::NoPackedAgent { architecture: architecture.to_owned(), path: path.to_owned() };
    if !path.is_file() {
        return Err(missing());
    }
    let agent = Binary::read(path)?;
    if agent.architecture() != architecture {
        return Err(missing());
    }
    let content = read(path)?;
    if content != agent.content() {
        return Ok(content);
    }
    let loader = path.with_file_name(LOADER);
    if !loader.is_file() {
        return Err(Error::NoLoader(loader));
    }
    Ok(pack(Binary::read(&loader)?.content(), agent.content()))
}

/// Returns the agent for machines like this one, as a plain program.
///
/// # Errors
/// If this program does not have it.
pub fn own() -> Result<Binary, Error> {
    let path = beside_program(FILE_NAME)?;
    if let Some(packed) = carried(OWN)
        && let Some(agent) =
            Binary::unpack(packed).map_err(|problem| Error::Unfit { path: path.clone(), problem })?
    {
        return Ok(agent);
    }
    if path.is_file() { Binary::read(&path) } else { Err(Error::NoAgent(path)) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use netproof_loader::Parts;

    use super::super::agent::tests::static_program;
    use super::*;

    #[test]
    fn the_agent_beside_the_program_is_packed_if_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let agent = folder.path().join(FILE_NAME);
        let message = |architecture| packed_beside(&agent, architecture).unwrap_err().to_string();
        assert!(message("amd64").contains("has no agent for nodes of the architecture amd64"));
        fs::write(&agent, static_program()).unwrap();
        assert!(message("arm64").contains("has no agent for nodes of the architecture arm64"));
        assert!(message("amd64").contains("probe-loader/build.sh"));
        fs::write(folder.path().join(LOADER), static_program()).unwrap();
        let packed = packed_beside(&agent, "amd64").unwrap();
        assert_eq!(Parts::of(&packed).unwrap().agent, static_program());
        fs::write(&agent, &packed).unwrap();
        assert!(packed_beside(&agent, "amd64").unwrap() == packed, "packed twice");
        assert!(message("arm64").contains("has no agent for nodes of the architecture arm64"));
    }

    /// An agent in a ConfigMap may have 1 MiB, of which the names take some.
    #[test]
    fn every_carried_agent_fits_into_a_config_map() {
        for (architecture, packed) in CARRIED {
            let agent = Binary::unpack(packed).unwrap().unwrap();
            assert_eq!(agent.architecture(), *architecture);
            assert!(packed.len() < 1_000_000, "{}", packed.len());
        }
    }
}

//! Connections that stay open while a step makes changes.

use super::assertion::DestinationPattern;
use super::file::KeepOpenFile;
use super::reader::Reader;
use crate::policy::Protocol;
use crate::source::{Error, Located, Location, quote};
use crate::world::{EndpointName, EndpointPattern, Probe};

/// An entry of `keepOpen`: connections that are opened before a step's changes, and used again after the
/// changes have settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepOpen {
    /// Patterns of the sources.
    pub from: Vec<EndpointPattern>,
    /// Patterns of the destinations.
    pub to: Vec<DestinationPattern>,
    /// The TCP port to connect to. Other protocols have no connections that could stay open.
    pub probe: Probe,
    /// Location in the file.
    pub at: Location,
}

impl KeepOpen {
    /// Returns whether the entry covers this cell.
    pub fn covers(&self, from: &EndpointName, to: &EndpointName, probe: Probe) -> bool {
        self.probe == probe
            && self.from.iter().any(|pattern| pattern.matches(from))
            && self.to.iter().any(|pattern| pattern.matches(from, to))
    }
}

impl Reader {
    pub(super) fn keep_open(&self, files: &[Located<KeepOpenFile>]) -> Result<Vec<KeepOpen>, Error> {
        let entry = |Located { value: KeepOpenFile { from, to, probe }, at }: &Located<KeepOpenFile>| {
            let (from, to) = self.ends(from, to)?;
            Ok(KeepOpen { from, to, probe: self.tcp_probe(probe)?, at: *at })
        };
        files.iter().map(entry).collect()
    }

    fn tcp_probe(&self, Located { value, at }: &Located<String>) -> Result<Probe, Error> {
        match Probe::parse(value).ok().as_deref() {
            Some([probe @ Probe::Port { protocol: Protocol::Tcp, .. }]) => Ok(*probe),
            Some(_) | None => {
                let message = format!("probe: {} does not stay open: write PORT/TCP", quote(value));
                Err(self.error(*at, message))
            }
        }
    }
}

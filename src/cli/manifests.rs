//! Reading the manifests that a command names.

use std::path::{Path, PathBuf};

use crate::snapshot::Snapshot;
use crate::source::{self, Text};

/// Reads manifests: files, folders, or standard input. Objects that name no namespace are in `namespace`. `piped` is the
/// command that reads standard input, for a message about manifests that have to be built first.
pub(super) fn snapshot(paths: &[PathBuf], namespace: Option<&str>, piped: &str) -> anyhow::Result<Snapshot> {
    source::refuse_unbuilt(paths, piped)?;
    let mut documents = Vec::new();
    for text in source::read(paths)? {
        documents.extend(text.manifests()?);
    }
    Ok(Snapshot::read(&documents, namespace)?)
}

/// Reads one file, or standard input.
pub(super) fn one(path: &Path) -> anyhow::Result<Text> {
    if path.is_dir() {
        anyhow::bail!("{} is a folder: name one file", path.display());
    }
    let text = source::read(&[path.to_owned()])?.into_iter().next();
    text.ok_or_else(|| anyhow::anyhow!("{}: nothing in it", path.display()))
}

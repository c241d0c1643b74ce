//! The options that read a live cluster, and save what was read.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use netproof_probe::random;

use super::backend_kind::ON_A_CLUSTER;
use super::cluster::TargetOptions;
use super::{block_on, value};
use crate::backend::cluster::{LiveSnapshot, Scope, read_cluster};
use crate::snapshot::Snapshot;

/// The cluster to read, and the file that the snapshot is saved in.
#[derive(Debug, Args)]
pub(super) struct SnapshotOptions {
    /// Read a live cluster instead of manifests. Changes nothing there
    #[arg(long, conflicts_with_all = ["paths", "namespace"], help_heading = ON_A_CLUSTER)]
    from_cluster: bool,

    /// The namespaces that this user may read, if not all. What cannot be seen is listed
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = value::namespace)]
    #[arg(requires = "from_cluster", help_heading = ON_A_CLUSTER)]
    visible_namespaces: Vec<String>,

    /// Also save what was read, to be read again in place of the cluster. The file has only what netproof reads
    #[arg(long, value_name = "FILE", requires = "from_cluster", help_heading = ON_A_CLUSTER)]
    save_snapshot: Option<PathBuf>,

    /// Replace names, labels and addresses in the saved file by others, so that policies mean the same
    #[arg(long, requires = "save_snapshot", help_heading = ON_A_CLUSTER)]
    redact: bool,

    #[command(flatten)]
    target: TargetOptions,
}

impl SnapshotOptions {
    /// Reads the cluster, and saves what was read. Returns `None` if the options name no cluster.
    pub(super) fn read(&self) -> anyhow::Result<Option<Snapshot>> {
        if !self.from_cluster {
            if let Some(option) = self.target.first_given() {
                anyhow::bail!("{option} is for reading a cluster: add --from-cluster");
            }
            return Ok(None);
        }
        let scope = Scope { namespaces: self.visible_namespaces.clone() };
        let LiveSnapshot { snapshot, objects } =
            block_on(async { Ok(read_cluster(&self.target.target(), &scope).await?) })?;
        if let Some(path) = &self.save_snapshot {
            let objects = match self.redact {
                true => objects.redacted(random::token()?.as_bytes()),
                false => objects,
            };
            let text = objects.to_json()?;
            std::fs::write(path, text).with_context(|| format!("--save-snapshot {}", path.display()))?;
        }
        Ok(Some(snapshot))
    }
}

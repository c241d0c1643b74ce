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

/// What is read of a live cluster, and the file that it is saved in.
#[derive(Debug, Args)]
pub(super) struct LiveOptions {
    /// The namespaces that this user may read, if not all. What cannot be seen is listed
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = value::namespace)]
    #[arg(help_heading = ON_A_CLUSTER)]
    visible_namespaces: Vec<String>,

    /// Also save what was read, to be read again in place of the cluster. The file has only what netproof reads
    #[arg(long, value_name = "FILE", help_heading = ON_A_CLUSTER)]
    save_snapshot: Option<PathBuf>,

    /// Replace names, labels and addresses in the saved file by others, so that policies mean the same
    #[arg(long, requires = "save_snapshot", help_heading = ON_A_CLUSTER)]
    redact: bool,
}

impl LiveOptions {
    pub(super) fn scope(&self) -> Scope {
        Scope { namespaces: self.visible_namespaces.clone() }
    }

    /// Reads the cluster, and saves what was read.
    pub(super) async fn read_now(&self, target: &TargetOptions) -> anyhow::Result<Snapshot> {
        let LiveSnapshot { snapshot, objects } = read_cluster(&target.target(), &self.scope()).await?;
        if let Some(path) = &self.save_snapshot {
            let objects = match self.redact {
                true => objects.redacted(random::token()?.as_bytes()),
                false => objects,
            };
            let text = objects.to_json()?;
            std::fs::write(path, text).with_context(|| format!("--save-snapshot {}", path.display()))?;
        }
        Ok(snapshot)
    }

    /// Returns the first of these options that the user gave.
    fn first_given(&self) -> Option<&'static str> {
        let given = [
            (!self.visible_namespaces.is_empty(), "--visible-namespaces"),
            (self.save_snapshot.is_some(), "--save-snapshot"),
        ];
        given.into_iter().find(|(is_given, _)| *is_given).map(|(_, option)| option)
    }
}

/// The cluster to read instead of manifests.
#[derive(Debug, Args)]
pub(super) struct SnapshotOptions {
    /// Read a live cluster instead of manifests. Changes nothing there
    #[arg(long, conflicts_with_all = ["paths", "namespace"], help_heading = ON_A_CLUSTER)]
    from_cluster: bool,

    #[command(flatten)]
    live: LiveOptions,

    #[command(flatten)]
    target: TargetOptions,
}

impl SnapshotOptions {
    /// Reads the cluster, and saves what was read. Returns `None` if the options name no cluster.
    pub(super) fn read(&self) -> anyhow::Result<Option<Snapshot>> {
        if !self.from_cluster {
            if let Some(option) = self.target.first_given().or_else(|| self.live.first_given()) {
                anyhow::bail!("{option} is for reading a cluster: add --from-cluster");
            }
            return Ok(None);
        }
        block_on(self.live.read_now(&self.target)).map(Some)
    }
}

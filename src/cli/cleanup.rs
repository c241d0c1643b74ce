//! `netproof cleanup`

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::cluster::TargetOptions;
use super::{block_on, output, value};
use crate::backend::cluster::cleanup;

/// Remove what runs left on a cluster
///
/// Removes only namespaces and cluster-scoped policies with the label of a run of netproof. Prepared
/// namespaces are emptied, and stay. Without --older-than, resources of runs in progress are deleted, too.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CleanupArgs {
    /// Remove only resources that are at least this old, because other runs may be in progress
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = value::duration)]
    older_than: Duration,

    /// In these namespaces, which were prepared for netproof, and in no others
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    prepared_namespaces: Vec<String>,

    #[command(flatten)]
    target: TargetOptions,
}

const EXAMPLES: &str = "\
Examples:
  netproof cleanup                              everything that any run left
  netproof cleanup --older-than 2h              not what runs that go on need
  netproof cleanup --context staging
  netproof cleanup --prepared-namespaces netproof-01,netproof-02";

pub(super) fn run(args: &CleanupArgs) -> anyhow::Result<ExitCode> {
    let target = args.target.target();
    let removed =
        block_on(async { Ok(cleanup(&target, &args.prepared_namespaces, args.older_than).await?) })?;
    match removed.as_slice() {
        [] => output::result("nothing was left\n")?,
        names => output::result(&names.iter().map(|name| format!("removed {name}\n")).collect::<String>())?,
    }
    Ok(ExitCode::SUCCESS)
}

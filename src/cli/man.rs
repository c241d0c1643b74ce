//! `netproof man`, which is not for users: releases contain what it writes.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Command};

/// Write the man pages, one for each command, into a folder
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// The folder. It is created if it does not exist
    folder: PathBuf,
}

/// Writes the pages of `command`, the whole command line.
pub(super) fn man(args: &ManArgs, command: Command) -> anyhow::Result<ExitCode> {
    let failed = || format!("could not write the man pages to {}", args.folder.display());
    fs::create_dir_all(&args.folder).with_context(failed)?;
    clap_mangen::generate_to(command.disable_help_subcommand(true), &args.folder).with_context(failed)?;
    Ok(ExitCode::SUCCESS)
}

//! `netproof completions`

use std::process::ExitCode;

use clap::{Args, Command};
use clap_complete::Shell;

use super::{NAME, output};

/// Print the completions of a shell
///
/// The shell then completes the names of commands, options and values.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  netproof completions bash > ~/.local/share/bash-completion/completions/netproof
  netproof completions zsh > \"${fpath[1]}/_netproof\"
  netproof completions fish > ~/.config/fish/completions/netproof.fish";

/// Prints the completions of `command`, the whole command line.
pub(super) fn completions(args: &CompletionsArgs, mut command: Command) -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, NAME, &mut text);
    output::result(&String::from_utf8(text)?)?;
    Ok(ExitCode::SUCCESS)
}

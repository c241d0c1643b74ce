//! netproof as a plugin of kubectl: under the name `kubectl-netproof`, users start it as `kubectl netproof`.

use std::ffi::OsStr;
use std::path::Path;

use clap::Command;
use clap::builder::StyledStr;

use super::NAME;

/// Name of the file that kubectl looks for.
const FILE: &str = "kubectl-netproof";

/// Returns whether the program was started under this path as the plugin.
pub(super) fn is_plugin(program: &OsStr) -> bool {
    Path::new(program).file_stem().is_some_and(|name| name == FILE)
}

/// Returns the command line with texts for users of kubectl.
pub(super) fn for_kubectl(command: Command) -> Command {
    let commands: Vec<String> =
        command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    rename(command.bin_name(format!("kubectl {NAME}")), &commands)
}

/// Renames the program in all texts of a command and its subcommands, wherever one of the commands follows its name.
fn rename(mut command: Command, commands: &[String]) -> Command {
    let renamed = |text: &StyledStr| {
        commands.iter().fold(text.to_string(), |text, command| {
            text.replace(&format!("{NAME} {command}"), &format!("kubectl {NAME} {command}"))
        })
    };
    if let Some(text) = command.get_long_about().map(renamed) {
        command = command.long_about(text);
    }
    if let Some(text) = command.get_after_help().map(renamed) {
        command = command.after_help(text);
    }
    command
        .mut_args(|mut arg| {
            if let Some(text) = arg.get_help().map(renamed) {
                arg = arg.help(text);
            }
            if let Some(text) = arg.get_long_help().map(renamed) {
                arg = arg.long_help(text);
            }
            arg
        })
        .mut_subcommands(|command| rename(command, commands))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectl_starts_it_by_the_name_of_the_file() {
        for plugin in ["kubectl-netproof", "/home/me/.krew/bin/kubectl-netproof"] {
            assert!(is_plugin(OsStr::new(plugin)), "{plugin}");
        }
        for other in ["netproof", "/usr/bin/netproof", "kubectl-netproof/netproof", ""] {
            assert!(!is_plugin(OsStr::new(other)), "{other}");
        }
    }

    /// Returns the lines of all help texts that start the program by its own name.
    fn lines_with_own_name(command: &mut Command) -> Vec<String> {
        let help = command.render_long_help().to_string();
        let own = |line: &&str| line.replace("kubectl netproof", "").contains("netproof run");
        let mut lines: Vec<String> = help.lines().filter(own).map(str::to_owned).collect();
        lines.extend(command.get_subcommands_mut().flat_map(lines_with_own_name));
        lines
    }

    #[test]
    fn help_shows_the_command_of_kubectl() {
        let mut command = super::super::command();
        command.build();
        assert!(lines_with_own_name(&mut command).len() > 20);
        let mut command = for_kubectl(super::super::command());
        command.build();
        assert_eq!(lines_with_own_name(&mut command), [""; 0]);
        let run = command.find_subcommand_mut("run").unwrap();
        assert!(run.render_usage().to_string().contains("kubectl netproof run"));
    }
}

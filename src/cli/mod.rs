//! The command line: one file for each command. Only this module prints and ends the program.

mod accept;
mod agent;
mod backend_kind;
mod cleanup;
mod cluster;
mod compare;
mod completions;
mod conclusion;
mod diagnostics;
mod expect;
mod fuzz;
mod fuzz_progress;
mod image;
mod interruption;
mod library;
mod man;
mod manifests;
mod output;
mod outside;
mod plugin;
mod profile;
mod progress;
mod run;
mod run_options;
mod select;
mod selftest;
mod site;
mod snapshot;
mod tenants;
mod timing;
mod value;
mod verify;

use std::process::ExitCode;

use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

/// Name of the program.
const NAME: &str = "netproof";

/// Proves that a Kubernetes cluster really enforces its NetworkPolicies.
///
/// netproof computes what the policies promise, sends real TCP, UDP and DNS packets, and shows every
/// difference.
#[derive(Debug, Parser)]
#[command(name = NAME, version, propagate_version = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Show the whole report. With -vv, also what netproof does. With -vvv, also every request
    ///
    /// Diagnostics go to standard error. NETPROOF_LOG=FILTER selects them, such as debug or
    /// netproof::observe=trace; NETPROOF_LOG_FORMAT=json writes them for machines.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    everything matches
  1    leaks, blocked cells, policy gaps (or a scenario that must show one
       and does not), assertions that the policies contradict, changes that
       were in force too late, or the lack of what --require names
  2    usage, configuration or cluster error: nothing was proved
  3    inconclusive: a claim was not judged, an allowed connection was flaky,
       no denial was judged, a scenario was not run, less was proved than
       --confidence asks for, or there are objects that netproof does not
       model (--accept-unmodelled accepts them)
  130  interrupted";

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::RunArgs>),
    Verify(Box<verify::VerifyArgs>),
    Compare(compare::CompareArgs),
    Expect(expect::ExpectArgs),
    Tenants(tenants::TenantsArgs),
    Selftest(selftest::SelftestArgs),
    Fuzz(Box<fuzz::FuzzArgs>),
    Cleanup(cleanup::CleanupArgs),
    Image(image::ImageArgs),
    Agent(agent::AgentArgs),
    Completions(completions::CompletionsArgs),
    #[command(hide = true)]
    Man(man::ManArgs),
}

/// What to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// For machines. The format is documented and stable.
    Json,
}

/// Parses the command line and runs the command. Prints every error, once.
pub fn main() -> ExitCode {
    if let Some(code) = crate::backend::lab::run_agent() {
        return code.into();
    }
    let mut command = command();
    if std::env::args_os().next().is_some_and(|program| plugin::is_plugin(&program)) {
        command = plugin::for_kubectl(command);
    }
    let matches = command.get_matches_mut();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let result = diagnostics::start(cli.verbose)
        .and_then(|()| cluster::check(&command, &matches))
        .and_then(|()| execute(cli.command, cli.verbose > 0));
    result.unwrap_or_else(|error| {
        output::error(&error);
        ExitCode::from(2)
    })
}

/// Returns the command line, for tests of its documentation.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs a command. `everything` says whether it shows the whole report.
fn execute(command: Command, everything: bool) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(args) => run::run(&args, everything),
        Command::Verify(args) => verify::verify(&args, everything),
        Command::Compare(args) => compare::compare(&args, everything),
        Command::Expect(args) => expect::expect(&args),
        Command::Tenants(args) => tenants::tenants(&args),
        Command::Selftest(args) => selftest::selftest(&args),
        Command::Fuzz(args) => fuzz::fuzz(&args, everything),
        Command::Cleanup(args) => cleanup::run(&args),
        Command::Image(args) => image::image(&args),
        Command::Agent(args) => agent::agent(&args),
        Command::Completions(args) => completions::completions(&args, self::command()),
        Command::Man(args) => man::man(&args, self::command()),
    }
}

/// Runs a future to its end.
fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(future)
}

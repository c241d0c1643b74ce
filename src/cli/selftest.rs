//! `netproof selftest`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::interruption::Interruption;
use super::run_options::processors;
use super::{block_on, output, progress, select};
use crate::backend::lab::{self, Entered};
use crate::deviation::Fault;
use crate::document::SelfTestDocument;
use crate::runner::Settings;
use crate::scenario::Scenario;
use crate::selftest::{Depth, SelfTest};
use crate::verdict::INTERRUPTED;
use crate::{observe, report};

/// Prove that the scenarios detect wrong enforcement
///
/// Runs the scenarios in the lab. After each step, applies every fault that changes the compiled rules.
/// Prints which scenarios detect which faults: first the undetected faults, then the scenarios that detect
/// nothing. Every fault must be detected by at least two cases.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SelftestArgs {
    /// Scenario files, folders of them, - for standard input, or names in the built-in library, in which
    /// * stands for any text [default: the whole library]
    scenarios: Vec<PathBuf>,

    /// Only these faults [default: those of `netproof run --list-faults` that one probe for each cell can show]
    #[arg(long = "fault", value_name = "NAME")]
    faults: Vec<Fault>,

    /// Try each fault only until two cases have detected it. Leaves out which scenarios detect which faults
    #[arg(long)]
    quick: bool,

    /// Try each fault in every case, and print what a diagnosis of its cells blames: it must be the fault itself, or what
    /// the scenarios cannot tell from it
    #[arg(long, conflicts_with = "quick")]
    diagnose: bool,

    /// What to print
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    output: Format,

    /// How many scenarios to run at the same time [default: eight times the count of processors]
    #[arg(long, value_name = "NUMBER")]
    parallel: Option<usize>,
}

/// What to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// For machines.
    Json,
    /// A table of the faults for a document.
    Markdown,
}

const EXAMPLES: &str = "\
Examples:
  netproof selftest                              the built-in library against every fault
  netproof selftest my-scenarios/                what would yours notice?
  netproof selftest default-deny 'conformance-*' some of the library, by name
  netproof selftest --fault ignore-udp           one fault
  netproof selftest --quick                      is every fault detected? a third of the time
  netproof selftest --diagnose                   is each fault diagnosed as itself?
  netproof selftest -o markdown > selftest.md    the table of faults, for a document";

pub(super) fn selftest(args: &SelftestArgs) -> anyhow::Result<ExitCode> {
    if let Some(fault) = args.faults.iter().find(|fault| !fault.is_in_selftest()) {
        anyhow::bail!(
            "--fault {fault}: one look at each cell cannot show it: try `netproof run --fault {fault}`"
        );
    }
    if args.quick && args.output == Format::Markdown {
        anyhow::bail!(
            "--quick: the table needs every scenario with every fault: leave one of the options out"
        );
    }
    match lab::enter()? {
        Entered::Outside(code) => return Ok(ExitCode::from(code)),
        Entered::Inside => {}
    }
    let scenarios = select::read(&args.scenarios)?;
    let faults = match args.faults.as_slice() {
        [] => Fault::all().filter(|fault| fault.is_in_selftest()).collect(),
        faults => faults.to_vec(),
    };
    let result = block_on(carry_out(args, &scenarios, &faults))?;
    let Some(result) = result else {
        output::note("interrupted: nothing is known yet");
        return Ok(ExitCode::from(INTERRUPTED));
    };
    let result = SelfTestDocument::from(&result);
    output::result(&match args.output {
        Format::Table => report::selftest(&result),
        // The fields are sorted.
        Format::Json => report::json(&serde_json::to_value(&result)?)?,
        Format::Markdown => report::selftest_markdown(&result),
    })?;
    Ok(if result.passed { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

async fn carry_out(
    args: &SelftestArgs,
    scenarios: &[Scenario],
    faults: &[Fault],
) -> anyhow::Result<Option<SelfTest>> {
    let settings = Settings {
        // Most of the time passes in waiting for answers that must not arrive.
        parallel: args.parallel.unwrap_or_else(|| 8 * processors()),
        ..Settings::new(observe::Settings::lab())
    };
    let depth = match (args.quick, args.diagnose) {
        (true, _) => Depth::Quick,
        (false, true) => Depth::Diagnosis,
        (false, false) => Depth::Detection,
    };
    let interrupted = Interruption::listen()?.requested();
    let result = progress::with_progress(async |events| {
        crate::selftest::selftest(scenarios, faults, depth, &settings, events, interrupted).await
    });
    Ok(result.await??)
}

//! `netproof run`

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::{Exit, Format, duration, library, output};
use crate::backend::lab::{self, Entered, Fault, Lab};
use crate::run::{Events, Settings};
use crate::scenario::Scenario;
use crate::verdict::RunResult;
use crate::{plan, report, run, scenario, source};

/// Carry out scenarios with real packets, and compare them with what the policies promise
///
/// Runs in the lab: nodes and pods as network namespaces on this machine, policies enforced by its
/// kernel. Needs no cluster, no root and no image, and leaves nothing behind.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RunArgs {
    /// Scenario files, folders of them, or - for standard input [default: the built-in library]
    scenarios: Vec<PathBuf>,

    /// List the faults and what each does
    #[arg(long)]
    list_faults: bool,

    /// Also write a JUnit report to this file
    #[arg(long, value_name = "FILE.xml")]
    report: Option<PathBuf>,

    #[command(flatten)]
    options: RunOptions,
}

/// How to carry scenarios out, and what to show of them.
#[derive(Debug, Args)]
pub(super) struct RunOptions {
    /// Make the lab enforce wrongly, to see that it is noticed
    #[arg(long, value_name = "NAME")]
    fault: Option<Fault>,

    /// What to print
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    output: Format,

    /// Show every cell of every step
    #[arg(short, long)]
    verbose: bool,

    /// How long after a change packets may differ from what the policies promise
    #[arg(long, value_name = "TIME", default_value = "400ms", value_parser = duration::parse)]
    settle: Duration,

    /// The shortest time to wait for an answer
    #[arg(long, value_name = "TIME", default_value = "80ms", value_parser = duration::parse)]
    min_timeout: Duration,

    /// The longest time to wait for an answer
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration::parse)]
    max_timeout: Duration,

    /// How many scenarios to carry out at once
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    parallel: usize,
}

const EXAMPLES: &str = "\
Examples:
  netproof run                                     the built-in library
  netproof run my-scenarios/ -o json               your own, for a machine to read
  netproof run --fault ignore-udp                  prove that a leak is noticed
  netproof run tenant.yaml --report results.xml    for CI";

pub(super) fn run(args: &RunArgs) -> anyhow::Result<Exit> {
    if args.list_faults {
        output::result(&report::list(&Fault::ALL.map(|fault| (fault.name(), fault.explanation()))))?;
        return Ok(Exit::Done);
    }
    // Before any thread is started: the rest happens in namespaces of its own.
    if let Entered::Outside(code) = lab::enter()? {
        return Ok(Exit::Code(code));
    }
    let texts = if args.scenarios.is_empty() { library::texts() } else { source::read(&args.scenarios)? };
    let scenarios = scenario::load(&texts)?;
    for scenario in &scenarios {
        plan::check(scenario)?;
    }
    // Opened before the run: an hour later is too late to find out that it cannot be.
    let junit = args.report.as_deref().map(create).transpose()?;

    let result = carry_out(&args.options, &scenarios)?;
    if let Some(file) = junit {
        report::junit(&result, file)?;
    }
    args.options.report(&result)
}

impl RunOptions {
    /// Prints a result. Gives the exit code that it leads to.
    pub(super) fn report(&self, result: &RunResult) -> anyhow::Result<Exit> {
        if let Some(failure) = result.failure() {
            anyhow::bail!("{}", failure.message);
        }
        let text = match self.output {
            Format::Table => report::terminal(result, self.verbose),
            Format::Json => report::json(result)?,
        };
        output::result(&text)?;
        Ok(Exit::Code(report::exit_code(result)))
    }
}

fn create(path: &Path) -> anyhow::Result<File> {
    if path.extension().is_none_or(|extension| extension != "xml") {
        anyhow::bail!("--report {}: the report is JUnit XML: name a file that ends in .xml", path.display());
    }
    File::create(path).with_context(|| format!("--report {}", path.display()))
}

/// Carries scenarios out in the lab, until they end or somebody interrupts.
pub(super) fn carry_out(options: &RunOptions, scenarios: &[Scenario]) -> anyhow::Result<RunResult> {
    let settings = Settings {
        // The lab's pods are there when it has started.
        start: options.settle,
        settle: options.settle,
        shortest_timeout: options.min_timeout,
        longest_timeout: options.max_timeout,
        parallel: options.parallel,
    };
    let fault = options.fault;
    let name = fault.map_or("lab".to_owned(), |fault| format!("lab with fault {fault}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let interrupted = interruption()?;
        let (events, received) = Events::channel();
        let progress = tokio::spawn(report::progress(received));
        let result = run::run(scenarios, &settings, || Lab::new(fault), name, &events, interrupted).await;
        drop(events);
        progress.await?;
        Ok(result)
    })
}

/// Becomes true when somebody presses Ctrl-C or asks the process to end.
fn interruption() -> anyhow::Result<watch::Receiver<bool>> {
    let (stop, interrupted) = watch::channel(false);
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let mut hangups = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupts.recv() => {}
            _ = terminations.recv() => {}
            _ = hangups.recv() => {}
        }
        // The run may have ended meanwhile.
        let _ = stop.send(true);
    });
    Ok(interrupted)
}

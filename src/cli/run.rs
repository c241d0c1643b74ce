//! `netproof run`

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use tokio::sync::watch;

use super::accept::AcceptOptions;
use super::compare::BaselineOptions;
use super::interruption::interruption;
use super::run_options::{BackendKind, RunOptions, at_least_one, complain, environment};
use super::select::SelectOptions;
use super::{Exit, Format, output, profile, progress};
use crate::backend::cluster::Cluster;
use crate::backend::lab::{Fault, Lab};
use crate::runner::Events;
use crate::scenario::{self, Scenario};
use crate::snapshot::Identity;
use crate::verdict::RunResult;
use crate::{report, runner};

/// Carry out scenarios with real packets, and compare them with what the policies promise
///
/// Runs in the lab: nodes and pods as network namespaces on this machine, policies enforced by its
/// kernel. Needs no cluster, no root and no image, and leaves nothing behind. With --backend cluster, the
/// same scenarios run in namespaces of their own on a Kubernetes cluster, which are removed at the
/// end.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RunArgs {
    #[command(flatten)]
    select: SelectOptions,

    /// List the faults and what each does
    #[arg(long)]
    list_faults: bool,

    /// List the built-in profiles of network plugins, with their differences
    #[arg(long)]
    list_profiles: bool,

    /// Also write a JUnit report to this file
    #[arg(long, value_name = "FILE.xml")]
    report: Option<PathBuf>,

    /// Carry out everything so many times: a verdict that is not the same every time is flaky
    #[arg(long, value_name = "TIMES", default_value_t = 1, value_parser = at_least_one())]
    repeat: usize,

    #[command(flatten)]
    accept: AcceptOptions,

    #[command(flatten)]
    baseline: BaselineOptions,

    #[command(flatten)]
    options: RunOptions,
}

const EXAMPLES: &str = "\
Examples:
  netproof run                                     the built-in library
  netproof run my-scenarios/ -o json               your own, for a machine to read
  netproof run default-deny 'conformance-*'        some of the library, by name
  netproof run --list                              what there is, by tag and by item
  netproof run --tag dns --tag ports               with one of these tags
  netproof run --tag ingress --skip-tag external   with one, and without another
  netproof run my-scenarios/ --name 'tenant-*'     some of your own, by name
  netproof run --item 17                           whatever decides about named ports
  netproof run --shard 2/4                         one machine's part of four
  netproof run --parallel 8 --fail-fast            to the first failure
  netproof run --repeat 20                         are the verdicts always the same?
  netproof run --fault ignore-udp                  prove that a leak is noticed
  netproof run --list-faults                       what else can be made wrong
  netproof run -v --settle 2s                      every cell, with more patience
  netproof run --min-timeout 200ms --max-timeout 3s    on a slow machine
  netproof run tenant.yaml --report results.xml    for CI
  netproof run --list-profiles                     known differences of network plugins
  netproof run --profile kube-router --profile my.yaml    leave these undefined
  netproof run --backend cluster                   the cluster of the current context
  netproof run --backend cluster --every-node      also the data path of every node
  netproof run --enforce-within 5s                 fail where a denial takes longer to be in force
  netproof run --baseline before.json              fail only for what is new since then";

pub(super) fn run(args: &RunArgs, everything: bool) -> anyhow::Result<Exit> {
    if args.list_faults {
        let faults: Vec<_> =
            Fault::all().map(|fault| (fault.name(), fault.description().to_string())).collect();
        output::result(&report::list(&faults))?;
        return Ok(Exit::Done);
    }
    if args.list_profiles {
        output::result(&report::profiles(&profile::built_in()?))?;
        return Ok(Exit::Done);
    }
    if args.select.list {
        list(&args.select.scenarios()?, args.options.output)?;
        return Ok(Exit::Done);
    }
    if let Some(code) = args.options.enter()? {
        return Ok(Exit::Code(code));
    }
    let scenarios = vec![args.select.scenarios()?; args.repeat].concat();
    // Opened before the run: an hour later is too late to find out that it cannot be.
    let junit = args.report.as_deref().map(create).transpose()?;

    let baseline = args.baseline.read()?;

    let result = carry_out(&args.options, &args.accept, &scenarios)?;
    if let Some(file) = junit {
        report::junit(&result, file)?;
    }
    match baseline {
        Some(before) if result.failure().is_none() => {
            let format = args.options.output;
            let (text, exit) = args.baseline.report(&before, &result, format, everything)?;
            output::result(&text)?;
            Ok(exit)
        }
        Some(_) | None => args.options.report(&result, everything),
    }
}

fn list(scenarios: &[Scenario], format: Format) -> anyhow::Result<()> {
    let sized = |scenario: &Scenario| Ok((scenario.clone(), scenario::size(scenario)?));
    let scenarios = scenarios.iter().map(sized).collect::<anyhow::Result<Vec<_>>>()?;
    output::result(&match format {
        Format::Table => report::scenarios_table(&scenarios),
        Format::Json => report::scenarios_json(&scenarios)?,
    })
}

fn create(path: &Path) -> anyhow::Result<File> {
    if path.extension().is_none_or(|extension| extension != "xml") {
        anyhow::bail!("--report {}: the report is JUnit XML: name a file that ends in .xml", path.display());
    }
    File::create(path).with_context(|| format!("--report {}", path.display()))
}

/// Carries scenarios out until they end or somebody interrupts.
fn carry_out(
    options: &RunOptions,
    accept: &AcceptOptions,
    scenarios: &[Scenario],
) -> anyhow::Result<RunResult> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let interrupted = interruption()?;
        match options.backend {
            BackendKind::Lab => in_lab(options, accept, scenarios, interrupted).await,
            BackendKind::Cluster => on_cluster(options, accept, scenarios, interrupted).await,
        }
    })
}

async fn in_lab(
    options: &RunOptions,
    accept: &AcceptOptions,
    scenarios: &[Scenario],
    interrupted: watch::Receiver<bool>,
) -> anyhow::Result<RunResult> {
    let (fault, settings) = (options.fault, options.for_lab()?);
    let environment = accept.complete(options.lab(), scenarios);
    let (events, received) = Events::channel();
    let progress = tokio::spawn(progress::progress(received));
    let backends = (0..scenarios.len()).map(|index| (index, Lab::new(fault)));
    let result = runner::run(scenarios, backends, &settings, environment, &events, interrupted).await;
    drop(events);
    progress.await?;
    Ok(result)
}

async fn on_cluster(
    options: &RunOptions,
    accept: &AcceptOptions,
    scenarios: &[Scenario],
    mut interrupted: watch::Receiver<bool>,
) -> anyhow::Result<RunResult> {
    let settings = options.for_cluster()?;
    let cluster = options.open_cluster(&mut interrupted).await?;
    if let Some(identity) = &options.cluster.save_configmap {
        // An hour later is too late to find out that it cannot be.
        cluster.check_save(identity).await?;
    }
    let scheduled = cluster.schedule(scenarios);
    let environment = accept.complete(environment(&cluster), scenarios);
    let accepted = environment.unmodelled.iter().filter(|kind| kind.is_accepted);
    cluster.accept(accepted.map(|kind| kind.kind.clone()));
    let (events, received) = Events::channel();
    let progress = tokio::spawn(progress::progress(received));
    let result =
        runner::run(&scheduled, cluster.backends(), &settings, environment, &events, interrupted).await;
    drop(events);
    progress.await?;
    if let Some(identity) = &options.cluster.save_configmap {
        complain(save(&cluster, identity, &result).await);
    }
    options.close_cluster(cluster).await;
    Ok(result)
}

async fn save(cluster: &Cluster, identity: &Identity, result: &RunResult) -> anyhow::Result<()> {
    let text = anstream::adapter::strip_str(&report::terminal(result, false)).to_string();
    let (code, text) = match result.failure() {
        Some(failure) => (2, format!("error: {}\n", failure.message)),
        None => (result.exit_code(), text),
    };
    let entries = [("exit-code", code.to_string()), ("report.txt", text)];
    let entries = entries.map(|(key, value)| (key.to_owned(), value));
    Ok(cluster.save(identity, entries.into()).await?)
}

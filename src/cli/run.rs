//! `netproof run`

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::accept::AcceptOptions;
use super::backend_kind::{BackendKind, ON_A_CLUSTER};
use super::compare::BaselineOptions;
use super::conclusion::{Conclusion, Printing, complain};
use super::interruption::Interruption;
use super::run_options::{RunOptions, at_least_one, environment};
use super::select::SelectOptions;
use super::{EXIT_CODES, Format, block_on, output, profile, progress};
use crate::backend::lab::Lab;
use crate::deviation::Fault;
use crate::diagnosis::{Enforcement, Evidence, diagnose};
use crate::document::{Profile, RunDocument, ScenarioListDocument};
use crate::runner::Settings;
use crate::scenario::Scenario;
use crate::verdict::RunResult;
use crate::{report, runner};

/// Run scenarios with real packets, and compare the packets with the policies
///
/// By default, scenarios run in the lab: its nodes and pods are network namespaces of this computer, and
/// its kernel enforces the policies. The lab needs no cluster, no root and no image, and leaves nothing
/// behind. With --backend cluster, the same scenarios run on a Kubernetes cluster, in new namespaces that
/// are removed at the end.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXIT_CODES}\n\n{EXAMPLES}"))]
pub(super) struct RunArgs {
    #[command(flatten)]
    select: SelectOptions,

    /// List the faults, with the effect of each
    #[arg(long)]
    list_faults: bool,

    /// List the built-in profiles of network plugins, with their known deviations
    #[arg(long)]
    list_profiles: bool,

    /// Also write a JUnit report to this file
    #[arg(long, value_name = "FILE.xml")]
    report: Option<PathBuf>,

    /// How often to run every scenario. A verdict that differs between repetitions is flaky
    #[arg(long, value_name = "TIMES", default_value_t = 1, value_parser = at_least_one())]
    repeat: usize,

    /// Run everything, even if nothing enforces policies. By default, a run ends as soon as that is clear
    #[arg(long)]
    keep_going: bool,

    /// Do not run scenarios again, alone, in which packets differed while others ran
    #[arg(long, help_heading = ON_A_CLUSTER)]
    no_rerun: bool,

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
  netproof run --list                              what there is, by tag and by spec rule
  netproof run --tag dns --tag ports               with one of these tags
  netproof run --tag ingress --skip-tag external   with one, and without another
  netproof run my-scenarios/ --name 'tenant-*'     some of your own, by name
  netproof run --spec-rule 17                      whatever decides about named ports
  netproof run --shard 2/4                         one machine's part of four
  netproof run --parallel 8 --fail-fast            to the first failure
  netproof run --keep-going                        everything, even if nothing enforces policies
  netproof run --repeat 20                         are the verdicts always the same?
  netproof run --fault ignore-udp                  prove that a leak is noticed
  netproof run --list-faults                       what else can be made wrong
  netproof run -v --settle 2s                      every cell, with more time for changes
  netproof run --min-timeout 200ms --max-timeout 3s    on a slow machine
  netproof run tenant.yaml --report results.xml    for CI
  netproof run --list-profiles                     known differences of network plugins
  netproof run --profile kube-router --profile my.yaml    leave these undefined
  netproof run --backend cluster                   the cluster of the current context
  netproof run --backend cluster --every-node      also the data path of every node
  netproof run --backend cluster --pod-label owner=me --namespace-label owner=me    what the cluster requires
  netproof run --backend cluster --host-network    also nodes, and pods in their networks
  netproof run --backend cluster --external internet=203.0.113.10    also this host, where netproof agent runs
  netproof run --enforce-within 5s                 fail where a denial takes longer to be in force
  netproof run --baseline before.json              fail only for what is new since then";

pub(super) fn run(args: &RunArgs, everything: bool) -> anyhow::Result<ExitCode> {
    if args.list_faults {
        let faults: Vec<_> = Fault::all().map(|fault| (fault.name, fault.deviation().to_string())).collect();
        output::result(&report::list(&faults))?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.list_profiles {
        let profiles = profile::built_in()?;
        let profiles: Vec<_> = profiles.iter().map(|profile| Profile::new(&profile.applied(), &[])).collect();
        output::result(&report::profiles(&profiles))?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.select.list {
        let list = ScenarioListDocument::from(&args.select.scenarios()?[..]);
        output::result(&match args.options.output {
            Format::Table => report::scenarios_table(&list),
            Format::Json => report::json(&list)?,
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(code) = args.options.enter()? {
        return Ok(ExitCode::from(code));
    }
    let scenarios = args.select.scenarios()?;
    // Another shard may have the scenarios that need it.
    if !args.select.is_shard() {
        args.options.check_required(&scenarios)?;
    }
    let scenarios = vec![scenarios; args.repeat].concat();
    // Opens the file before the run, because an hour later is too late to report that this is not possible.
    let junit = args.report.as_deref().map(create).transpose()?;
    let baseline = args.baseline.read()?;
    let conclude = |run: RunDocument| {
        args.options.warn_of_profiles(&run);
        if let Some(file) = junit {
            report::junit(&run, file)?;
        }
        match baseline {
            Some(before) if run.failure.is_none() => {
                args.baseline.conclude(&before, run, args.options.output, everything)
            }
            Some(_) | None => args.options.conclude(&run, everything),
        }
    };
    carry_out(args, &scenarios, conclude)
}

fn create(path: &Path) -> anyhow::Result<File> {
    if path.extension().is_none_or(|extension| extension != "xml") {
        anyhow::bail!("--report {}: the report is JUnit XML: name a file that ends in .xml", path.display());
    }
    File::create(path).with_context(|| format!("--report {}", path.display()))
}

/// Runs scenarios until they end or the user interrupts. Prints the result, and removes what the run created.
fn carry_out(
    args: &RunArgs,
    scenarios: &[Scenario],
    conclude: impl FnOnce(RunDocument) -> anyhow::Result<Conclusion>,
) -> anyhow::Result<ExitCode> {
    let RunArgs { options, accept, .. } = args;
    block_on(async {
        let interruption = Interruption::listen()?;
        match options.backend {
            BackendKind::Lab => {
                let (fault, lab) = (options.fault, options.for_lab()?);
                let settings = Settings { keep_going: args.keep_going, ..lab };
                let environment = accept.complete(options.lab(), scenarios);
                options.warn(&environment);
                let backends = (0..scenarios.len()).map(|index| (index, Lab::new(fault)));
                let interrupted = interruption.requested();
                let result = progress::with_progress(async |events| {
                    runner::run(scenarios, backends, &settings, environment, events, interrupted).await
                });
                conclude(diagnosed(&result.await?)?)?.print()
            }
            BackendKind::Cluster => on_cluster(args, scenarios, &interruption, conclude).await,
        }
    })
}

async fn on_cluster(
    args: &RunArgs,
    scenarios: &[Scenario],
    interruption: &Interruption,
    conclude: impl FnOnce(RunDocument) -> anyhow::Result<Conclusion>,
) -> anyhow::Result<ExitCode> {
    let RunArgs { options, accept, .. } = args;
    let interrupted = interruption.requested();
    options.cluster.probes.site.site()?.check(scenarios)?;
    let (cluster, settings) = options.open_cluster(interrupted.clone()).await?;
    let settings = Settings { keep_going: args.keep_going, ..settings };
    if let Some(identity) = &options.cluster.save_configmap {
        // After the run, it would be too late to report that this is not possible.
        cluster.check_save(identity).await?;
    }
    let scheduled = cluster.schedule(scenarios);
    let environment = accept.complete(environment(&cluster, &settings.profiles), scenarios);
    options.warn(&environment);
    cluster.accept(environment.accepted());
    let backends = cluster.backends();
    let result = progress::with_progress(async |events| {
        let again = interrupted.clone();
        let result = runner::run(&scheduled, backends, &settings, environment, events, interrupted).await;
        if args.no_rerun || result.stopped || result.interrupted {
            return result;
        }
        let open = async |scenario: &Scenario| cluster.alone(scenario).await;
        runner::again_alone(result, &scheduled, &settings, events, again, open).await
    });
    let document = diagnosed(&result.await?)?;
    let saved = options.cluster.save_configmap.as_ref().map(|identity| (identity, text(&document)));
    let printing = Printing::start(conclude(document)).await;
    if let Some((identity, text)) = saved {
        let entries = [("exit-code", printing.code().to_string()), ("report.txt", text)];
        let entries = entries.map(|(key, value)| (key.to_owned(), value));
        complain(cluster.save(identity, entries.into()).await.map_err(anyhow::Error::from));
    }
    printing.clean_up(cluster, interruption).await
}

/// Returns the document of a run, with its diagnosis.
fn diagnosed(result: &RunResult) -> anyhow::Result<RunDocument> {
    let (evidence, enforcement) = (Evidence::of(result), Enforcement::of(result));
    let diagnosis = diagnose(&evidence, enforcement, &profile::built_in()?);
    Ok(RunDocument::from(result).with_diagnosis(diagnosis.as_ref()))
}

/// Returns the text of a result that is saved in a ConfigMap.
fn text(run: &RunDocument) -> String {
    match &run.failure {
        Some(failure) => format!("error: {failure}\n"),
        None => anstream::adapter::strip_str(&report::terminal(run, false)).to_string(),
    }
}

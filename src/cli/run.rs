//! `netproof run`

use std::fs::File;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::cluster::ClusterOptions;
use super::compare::BaselineOptions;
use super::limits::LimitOptions;
use super::profile::ProfileOptions;
use super::select::SelectOptions;
use super::{Exit, Format, duration, output, profile};
use crate::backend::cluster::Cluster;
use crate::backend::lab::{self, Entered, Fault, Lab};
use crate::run::{Events, Settings};
use crate::scenario::Scenario;
use crate::snapshot::Identity;
use crate::verdict::{RunResult, Surroundings};
use crate::{plan, report, run};

/// Carry out scenarios with real packets, and compare them with what the policies promise
///
/// Runs in the lab: nodes and pods as network namespaces on this machine, policies enforced by its
/// kernel. Needs no cluster, no root and no image, and leaves nothing behind. With --on cluster, the
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
    baseline: BaselineOptions,

    #[command(flatten)]
    options: RunOptions,
}

fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=10_000)
}

/// How to carry scenarios out, and what to show of them.
#[derive(Debug, Args)]
pub(super) struct RunOptions {
    /// Where to send the packets
    #[arg(long, value_name = "PLACE", value_enum, default_value_t = On::Lab)]
    pub(super) on: On,

    /// Make the lab enforce wrongly, to see that it is noticed
    #[arg(long, value_name = "NAME")]
    pub(super) fault: Option<Fault>,

    /// What to print
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    pub(super) output: Format,

    /// Show every cell of every step
    #[arg(short, long)]
    pub(super) verbose: bool,

    /// How long after a change packets may differ from what the policies promise
    /// [default: 400ms in the lab, 15s on a cluster]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    settle: Option<Duration>,

    /// The shortest time to wait for an answer
    #[arg(long, value_name = "TIME", default_value = "80ms", value_parser = duration::parse)]
    min_timeout: Duration,

    /// The longest time to wait for an answer
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration::parse)]
    max_timeout: Duration,

    /// How many scenarios to carry out at once
    /// [default: one more than this machine has processors in the lab, 1 on a cluster]
    #[arg(long, value_name = "NUMBER", value_parser = at_least_one())]
    pub(super) parallel: Option<usize>,

    /// End after the first scenario that fails
    #[arg(long)]
    pub(super) fail_fast: bool,

    #[command(flatten)]
    profiles: ProfileOptions,

    #[command(flatten)]
    pub(super) limits: LimitOptions,

    #[command(flatten)]
    pub(super) cluster: ClusterOptions,
}

/// Where packets are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum On {
    /// On this machine, in network namespaces.
    Lab,
    /// On a Kubernetes cluster.
    Cluster,
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
  netproof run --on cluster                        the cluster of the current context
  netproof run --on cluster --every-node           also the data path of every node
  netproof run --enforce-within 5s                 fail where a denial takes longer to be in force
  netproof run --baseline before.json              fail only for what is new since then";

pub(super) fn run(args: &RunArgs) -> anyhow::Result<Exit> {
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

    let result = carry_out(&args.options, &scenarios)?;
    if let Some(file) = junit {
        report::junit(&result, file)?;
    }
    match baseline {
        Some(before) if result.failure().is_none() => {
            let RunOptions { output: format, verbose, .. } = args.options;
            let (text, exit) = args.baseline.report(&before, &result, format, verbose)?;
            output::result(&text)?;
            Ok(exit)
        }
        Some(_) | None => args.options.report(&result),
    }
}

fn list(scenarios: &[Scenario], format: Format) -> anyhow::Result<()> {
    let sized = |scenario: &Scenario| Ok((scenario.clone(), plan::size(scenario)?));
    let scenarios = scenarios.iter().map(sized).collect::<anyhow::Result<Vec<_>>>()?;
    output::result(&match format {
        Format::Table => report::scenarios_table(&scenarios),
        Format::Json => report::scenarios_json(&scenarios)?,
    })
}

impl RunOptions {
    /// Enters the lab, if that is where packets are sent. Has to happen before any thread is started.
    /// Gives the exit code if all has been done inside.
    pub(super) fn enter(&self) -> anyhow::Result<Option<u8>> {
        match self.on {
            On::Lab => {
                if let Some(option) = self.cluster.misplaced() {
                    anyhow::bail!("{option} is for runs on a cluster: add --on cluster");
                }
                Ok(match lab::enter()? {
                    Entered::Outside(code) => Some(code),
                    Entered::Inside => None,
                })
            }
            On::Cluster if self.fault.is_some() => {
                anyhow::bail!("--fault is for the lab: a cluster has its own")
            }
            On::Cluster => Ok(None),
        }
    }

    /// How many scenarios to carry out at once.
    pub(super) fn parallel(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(1, NonZero::get);
        let default = || match self.on {
            // Much of the time is spent waiting for answers that have to stay away.
            On::Lab => processors() + 1,
            // Every topology is a set of pods of its own.
            On::Cluster => 1,
        };
        self.parallel.unwrap_or_else(default)
    }

    fn settings(&self, start: Duration, settle: Duration, wiring: Duration) -> anyhow::Result<Settings> {
        Ok(Settings {
            start,
            settle,
            wiring,
            shortest_timeout: self.min_timeout,
            longest_timeout: self.max_timeout,
            limits: self.limits.limits(),
            parallel: self.parallel(),
            fail_fast: self.fail_fast,
            profiles: self.profiles.profiles()?,
        })
    }

    /// How patient a run in the lab is.
    pub(super) fn for_lab(&self) -> anyhow::Result<Settings> {
        // The lab's pods are there when it has started.
        let settle = self.settle.unwrap_or(Duration::from_millis(400));
        self.settings(settle, settle, Duration::ZERO)
    }

    /// What the lab is called.
    pub(super) fn lab(&self) -> Surroundings {
        let name = self.fault.map_or("lab".to_owned(), |fault| format!("lab with fault {fault}"));
        Surroundings { name, ..Surroundings::default() }
    }

    /// How patient a run on a cluster is.
    pub(super) fn for_cluster(&self) -> anyhow::Result<Settings> {
        self.settings(CLUSTER_START, self.settle.unwrap_or(Duration::from_secs(15)), CLUSTER_WIRING)
    }

    /// Connects to the cluster.
    pub(super) async fn open_cluster(
        &self,
        interrupted: &mut watch::Receiver<bool>,
    ) -> anyhow::Result<Cluster> {
        tokio::select! {
            cluster = Cluster::open(self.cluster.settings()) => Ok(cluster?),
            _ = interrupted.wait_for(|interrupted| *interrupted) => anyhow::bail!("interrupted before anything was made"),
        }
    }

    /// Removes what was made on the cluster, or says how to.
    pub(super) async fn close_cluster(&self, cluster: Cluster) {
        if self.cluster.keep {
            let (prefix, selector) = (cluster.prefix(), cluster.selector());
            output::note(&format!(
                "namespaces {prefix}-* stay: remove them with: kubectl delete namespace -l {selector}"
            ));
        }
        complain(cluster.finish().await.map_err(anyhow::Error::from));
    }

    /// Prints a result. Gives the exit code that it leads to.
    pub(super) fn report(&self, result: &RunResult) -> anyhow::Result<Exit> {
        if let Some(failure) = result.failure() {
            anyhow::bail!("{}", failure.message);
        }
        let text = match self.output {
            Format::Table => report::terminal(result, self.verbose),
            Format::Json => report::json(result, None)?,
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

/// Carries scenarios out until they end or somebody interrupts.
pub(super) fn carry_out(options: &RunOptions, scenarios: &[Scenario]) -> anyhow::Result<RunResult> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let interrupted = interruption()?;
        match options.on {
            On::Lab => in_lab(options, scenarios, interrupted).await,
            On::Cluster => on_cluster(options, scenarios, interrupted).await,
        }
    })
}

async fn in_lab(
    options: &RunOptions,
    scenarios: &[Scenario],
    interrupted: watch::Receiver<bool>,
) -> anyhow::Result<RunResult> {
    let (fault, settings, surroundings) = (options.fault, options.for_lab()?, options.lab());
    let (events, received) = Events::channel();
    let progress = tokio::spawn(report::progress(received));
    let result =
        run::run(scenarios, &settings, |_| Lab::new(fault), surroundings, &events, interrupted).await;
    drop(events);
    progress.await?;
    Ok(result)
}

/// How long pods and Services of a cluster may take until they reach each other.
const CLUSTER_START: Duration = Duration::from_secs(30);

/// How long routes, sets of addresses and virtual addresses may take to reach all nodes.
const CLUSTER_WIRING: Duration = Duration::from_secs(2);

async fn on_cluster(
    options: &RunOptions,
    scenarios: &[Scenario],
    mut interrupted: watch::Receiver<bool>,
) -> anyhow::Result<RunResult> {
    let settings = options.for_cluster()?;
    let mut cluster = options.open_cluster(&mut interrupted).await?;
    if let Some(identity) = &options.cluster.save_configmap {
        // An hour later is too late to find out that it cannot be.
        cluster.check_save(identity).await?;
    }
    let surroundings = surroundings(&cluster);
    let scenarios = cluster.schedule(scenarios);
    let (events, received) = Events::channel();
    let progress = tokio::spawn(report::progress(received));
    let backend = |index| cluster.backend(index);
    let result = run::run(&scenarios, &settings, backend, surroundings, &events, interrupted).await;
    drop(events);
    progress.await?;
    if let Some(identity) = &options.cluster.save_configmap {
        complain(save(&cluster, identity, &result).await);
    }
    options.close_cluster(cluster).await;
    Ok(result)
}

/// What is worth knowing of a cluster. Its warnings are told at once, too.
pub(super) fn surroundings(cluster: &Cluster) -> Surroundings {
    for warning in cluster.warnings() {
        output::note(&format!("warning: {warning}"));
    }
    Surroundings {
        name: format!("cluster {}", cluster.name()),
        facts: cluster.facts(),
        warnings: cluster.warnings().to_vec(),
    }
}

/// Tells of an error that is no reason to lose a result.
fn complain(result: anyhow::Result<()>) {
    if let Err(error) = result {
        output::error(&error);
    }
}

async fn save(cluster: &Cluster, identity: &Identity, result: &RunResult) -> anyhow::Result<()> {
    let text = anstream::adapter::strip_str(&report::terminal(result, false)).to_string();
    let (code, text) = match result.failure() {
        Some(failure) => (2, format!("error: {}\n", failure.message)),
        None => (report::exit_code(result), text),
    };
    let entries = [("exit-code", code.to_string()), ("report.txt", text)];
    let entries = entries.map(|(key, value)| (key.to_owned(), value));
    Ok(cluster.save(identity, entries.into()).await?)
}

/// Becomes true when somebody presses Ctrl-C or asks the process to end.
pub(super) fn interruption() -> anyhow::Result<watch::Receiver<bool>> {
    let (stop, interrupted) = watch::channel(false);
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let mut hangups = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        for is_first in [true, false] {
            tokio::select! {
                _ = interrupts.recv() => {}
                _ = terminations.recv() => {}
                _ = hangups.recv() => {}
            }
            if is_first {
                // The run may have ended meanwhile.
                let _ = stop.send(true);
            }
        }
        output::note(
            "ended at once: if this was a run on a cluster, remove what it left with: netproof cleanup",
        );
        std::process::exit(130);
    });
    Ok(interrupted)
}

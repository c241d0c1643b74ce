//! How scenarios are carried out, and what is shown of them: the options of more than one command.

use std::num::NonZero;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};
use tokio::sync::watch;

use super::cluster::ClusterOptions;
use super::limits::LimitOptions;
use super::profile::ProfileOptions;
use super::{Exit, Format, duration, output};
use crate::backend::cluster::Cluster;
use crate::backend::lab::{self, Entered, Fault};
use crate::report;
use crate::run::Settings;
use crate::verdict::{RunResult, Surroundings};

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
    /// [default: one more than this machine has processors in the lab, 5 on a cluster]
    #[arg(long, value_name = "NUMBER", value_parser = at_least_one())]
    pub(super) parallel: Option<usize>,

    /// End after the first scenario that fails
    #[arg(long)]
    pub(super) fail_fast: bool,

    #[command(flatten)]
    pub(super) profiles: ProfileOptions,

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

/// How long pods and Services of a cluster may take until they reach each other.
const CLUSTER_START: Duration = Duration::from_secs(30);

/// How long routes, sets of addresses and virtual addresses may take to reach all nodes.
const CLUSTER_WIRING: Duration = Duration::from_secs(2);

pub(super) fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=10_000)
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
        let default = || match self.on {
            // Much of the time is spent waiting for answers that have to stay away.
            On::Lab => processors() + 1,
            // Every topology is a set of pods of its own, a dozen or two.
            On::Cluster => 5,
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

/// What is worth knowing of a cluster. Its warnings are told at once, too.
pub(super) fn surroundings(cluster: &Cluster) -> Surroundings {
    for warning in cluster.warnings() {
        output::note(&format!("warning: {warning}"));
    }
    Surroundings {
        name: format!("cluster {}", cluster.name()),
        facts: cluster.facts(),
        warnings: cluster.warnings().to_vec(),
        nodes: Some(cluster.node_coverage().into()),
    }
}

/// Tells of an error that is no reason to lose a result.
pub(super) fn complain(result: anyhow::Result<()>) {
    if let Err(error) = result {
        output::error(&error);
    }
}

/// How many processors this machine gives to the program.
pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

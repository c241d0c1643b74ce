//! The options of the commands that run scenarios: `run` and `fuzz`.

use std::num::NonZero;
use std::time::Duration;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use tokio::sync::watch;

use super::backend_kind::BackendKind;
use super::cluster::ClusterOptions;
use super::conclusion::Conclusion;
use super::profile::ProfileOptions;
use super::timing::TimingOptions;
use super::{Format, output, value};
use crate::backend::cluster::Cluster;
use crate::backend::lab::{self, Entered};
use crate::deviation::Fault;
use crate::document::RunDocument;
use crate::observe;
use crate::profile::Profile;
use crate::report;
use crate::runner::Settings;
use crate::scenario::Scenario;
use crate::verdict::{Environment, Limits};
use crate::world::Capability;

/// How to run scenarios, and what to print.
#[derive(Debug, Args)]
pub(super) struct RunOptions {
    /// Where to send the packets
    // `--on` is its former name, which is accepted for one more release.
    #[arg(long, alias = "on", value_name = "BACKEND", value_enum, default_value_t = BackendKind::Lab)]
    pub(super) backend: BackendKind,

    /// Make the lab enforce policies wrongly, to see that netproof detects it
    #[arg(long, value_name = "NAME")]
    pub(super) fault: Option<Fault>,

    /// What to print
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    pub(super) output: Format,

    #[command(flatten)]
    timing: TimingOptions,

    /// Fail if the environment lacks one of these capabilities, instead of skipping cells. A scenario of the run has to
    /// need it
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',')]
    require: Vec<Capability>,

    /// How many scenarios to run at the same time
    /// [default: four per processor in the lab; on a cluster, one per processor of the nodes, from 3 to 8]
    #[arg(long, value_name = "NUMBER", value_parser = at_least_one())]
    pub(super) parallel: Option<usize>,

    /// Stop after the first scenario that fails
    #[arg(long)]
    pub(super) fail_fast: bool,

    #[command(flatten)]
    pub(super) profiles: ProfileOptions,

    /// Fail if it takes longer until a new denial is enforced
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    pub(super) enforce_within: Option<Duration>,

    /// Fail if it takes longer until newly allowed packets get through
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    pub(super) admit_within: Option<Duration>,

    #[command(flatten)]
    pub(super) cluster: ClusterOptions,
}

pub(super) fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=10_000)
}

impl RunOptions {
    /// Enters the lab, if packets are sent there. Must be called before any thread is started. Returns the exit
    /// code if another process has run the whole command inside the lab.
    pub(super) fn enter(&self) -> anyhow::Result<Option<u8>> {
        match self.backend {
            BackendKind::Lab => Ok(match lab::enter()? {
                Entered::Outside(code) => Some(code),
                Entered::Inside => None,
            }),
            BackendKind::Cluster if self.fault.is_some() => {
                anyhow::bail!("--fault is for the lab: a cluster has its own")
            }
            BackendKind::Cluster => Ok(None),
        }
    }

    /// Checks that at least one scenario needs each required capability. A run that does not use it would pass, whether or
    /// not it is there.
    pub(super) fn check_required(&self, scenarios: &[Scenario]) -> anyhow::Result<()> {
        let is_needed = |capability: Capability| scenarios.iter().any(|scenario| scenario.uses(capability));
        match self.require.iter().find(|capability| !is_needed(**capability)) {
            Some(capability) => anyhow::bail!(
                "--require {capability}: no scenario of this run needs it, so the run would prove nothing about it: add such \
                 a scenario, or leave the option out"
            ),
            None => Ok(()),
        }
    }

    /// Returns these settings, changed by the options.
    fn settings(&self, default: &observe::Settings, parallel: usize) -> anyhow::Result<Settings> {
        let limits = Limits { enforce: self.enforce_within, admit: self.admit_within };
        let observe = observe::Settings { limits, ..self.timing.settings(default)? };
        Ok(Settings {
            observe,
            required: self.require.iter().copied().collect(),
            parallel: self.parallel.unwrap_or(parallel),
            fail_fast: self.fail_fast,
            keep_going: true,
            profiles: self.profiles.profiles()?,
        })
    }

    /// Returns the settings of a run in the lab.
    pub(super) fn for_lab(&self) -> anyhow::Result<Settings> {
        // Most of the time passes in waiting for answers that must not arrive.
        let mut settings = self.settings(&observe::Settings::lab(), 4 * processors())?;
        // The lab's pods exist as soon as it has started.
        settings.observe.start = settings.observe.settle;
        Ok(settings)
    }

    /// Returns the environment of a run in the lab.
    pub(super) fn lab(&self) -> Environment {
        lab_environment(self.fault)
    }

    /// Connects to the cluster. Returns it with the settings of a run there.
    pub(super) async fn open_cluster(
        &self,
        mut interrupted: watch::Receiver<bool>,
    ) -> anyhow::Result<(Cluster, Settings)> {
        // Wrong options are reported before the cluster is asked for anything.
        let mut settings = self.settings(&observe::Settings::cluster(), 1)?;
        let of_cluster = self.cluster.settings()?;
        tokio::select! {
            cluster = Cluster::open(of_cluster) => {
                let cluster = cluster?;
                settings.parallel = self.parallel.unwrap_or_else(|| cluster.parallel());
                Ok((cluster, settings))
            }
            _ = interrupted.wait_for(|interrupted| *interrupted) => anyhow::bail!("interrupted before anything was made"),
        }
    }

    /// Prints the warnings about the environment, if the result is for a machine. Other results contain them.
    pub(super) fn warn(&self, environment: &Environment) {
        match self.output {
            Format::Table => {}
            Format::Json => output::warnings(&environment.warnings, &environment.unmodelled),
        }
    }

    /// Prints the warnings about the profiles of a run, if the result is for a machine. Other results contain them.
    pub(super) fn warn_of_profiles(&self, run: &RunDocument) {
        match self.output {
            Format::Table => {}
            Format::Json => output::warnings(&report::profile_warnings(run), &[]),
        }
    }

    /// Returns a result as it is printed.
    pub(super) fn conclude(&self, run: &RunDocument, everything: bool) -> anyhow::Result<Conclusion> {
        if let Some(failure) = &run.failure {
            anyhow::bail!("{failure}");
        }
        let text = match self.output {
            Format::Table => report::terminal(run, everything),
            Format::Json => report::json(run)?,
        };
        Ok(Conclusion { text, code: run.exit_code })
    }
}

/// Returns the environment that the lab is.
pub(super) fn lab_environment(fault: Option<Fault>) -> Environment {
    let name = fault.map_or("lab".to_owned(), |fault| format!("lab with fault {fault}"));
    Environment { name, ..Environment::default() }
}

/// Returns the environment of a run on a cluster with these profiles.
pub(super) fn environment(cluster: &Cluster, profiles: &[Profile]) -> Environment {
    let unused = cluster.profile().filter(|name| profiles.iter().all(|profile| profile.name != *name));
    let unused = unused.map(|name| {
        let value = format!("{name}, not used: --profile {name} makes known deviations undefined");
        ("profile for this plugin".to_owned(), value)
    });
    Environment {
        name: format!("cluster {}", cluster.name()),
        facts: cluster.facts().into_iter().chain(unused).collect(),
        warnings: cluster.warnings().to_vec(),
        unmodelled: cluster.unmodelled().to_vec(),
        nodes: cluster.nodes(),
    }
}

/// Returns the count of processors that the program may use.
pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

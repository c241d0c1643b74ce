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
use crate::observe;
use crate::report;
use crate::runner::Settings;
use crate::verdict::{Environment, RunResult};
use crate::world::Capability;

/// How to carry scenarios out, and what to show of them.
#[derive(Debug, Args)]
pub(super) struct RunOptions {
    /// Where to send the packets
    // `--on` was its name, and stays one for a release.
    #[arg(long, alias = "on", value_name = "BACKEND", value_enum, default_value_t = BackendKind::Lab)]
    pub(super) backend: BackendKind,

    /// Make the lab enforce wrongly, to see that it is noticed
    #[arg(long, value_name = "NAME")]
    pub(super) fault: Option<Fault>,

    /// What to print
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    pub(super) output: Format,

    /// How long after a change packets may differ from what the policies promise
    /// [default: 400ms in the lab, 15s on a cluster]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    settle: Option<Duration>,

    /// The shortest time to wait for an answer
    #[arg(long, value_name = "TIME", value_parser = duration::parse,
          default_value = text(observe::Settings::lab().shortest_timeout))]
    min_timeout: Duration,

    /// How long to wait after the last denied probe for arrivals that are late, at least twice as long as for
    /// an answer [default: 300ms in the lab, 2s on a cluster]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    linger: Option<Duration>,

    /// Find a leak of this share of the connections with 95 % at every node, set of policies and direction. A smaller
    /// share takes more probes. A run that cannot send them all is inconclusive. Without this option, a run tries for 10%
    /// and says what it reached
    #[arg(long, value_name = "SHARE", value_parser = share)]
    confidence: Option<f64>,

    /// What must not be skipped: fail if the place lacks one of these
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',')]
    require: Vec<Capability>,

    /// The longest time to wait for an answer
    #[arg(long, value_name = "TIME", value_parser = duration::parse,
          default_value = text(observe::Settings::lab().longest_timeout))]
    max_timeout: Duration,

    /// How many scenarios to carry out at once
    /// [default: twice as many as this machine has processors and one more in the lab, 5 on a cluster]
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
pub(super) enum BackendKind {
    /// On this machine, in network namespaces.
    Lab,
    /// On a Kubernetes cluster.
    Cluster,
}

/// Reads a share such as `0.1%`.
fn share(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    let wrong = || {
        format!(
            "`{text}` is not a share of leaking connections: write one above 0% and up to 10%, such as 0.1%"
        )
    };
    percent.filter(|percent| *percent > 0.0 && *percent <= 10.0).map(|p| p / 100.0).ok_or_else(wrong)
}

/// Returns a default in the form in which `duration::parse` reads it. Clap needs a static text.
fn text(default: Duration) -> &'static str {
    format!("{default:?}").leak()
}

pub(super) fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=10_000)
}

impl RunOptions {
    /// Enters the lab, if that is where packets are sent. Has to happen before any thread is started.
    /// Gives the exit code if all has been done inside.
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

    /// How many scenarios to carry out at once.
    pub(super) fn parallel(&self) -> usize {
        let default = || match self.backend {
            // Much of the time is spent waiting for answers that have to stay away.
            BackendKind::Lab => 2 * processors() + 1,
            // Every topology is a set of pods of its own, a dozen or two.
            BackendKind::Cluster => 5,
        };
        self.parallel.unwrap_or_else(default)
    }

    /// Returns these settings, changed by the options.
    fn settings(&self, default: &observe::Settings) -> anyhow::Result<Settings> {
        let observe = observe::Settings {
            settle: self.settle.unwrap_or(default.settle),
            shortest_timeout: self.min_timeout,
            longest_timeout: self.max_timeout,
            linger: self.linger.unwrap_or(default.linger),
            leak_share: self.confidence,
            limits: self.limits.limits(),
            ..*default
        };
        Ok(Settings {
            observe,
            required: self.require.iter().copied().collect(),
            parallel: self.parallel(),
            fail_fast: self.fail_fast,
            profiles: self.profiles.profiles()?,
        })
    }

    /// Returns the settings of a run in the lab.
    pub(super) fn for_lab(&self) -> anyhow::Result<Settings> {
        let mut settings = self.settings(&observe::Settings::lab())?;
        // The lab's pods are there when it has started.
        settings.observe.start = settings.observe.settle;
        Ok(settings)
    }

    /// What the lab is called.
    pub(super) fn lab(&self) -> Environment {
        let name = self.fault.map_or("lab".to_owned(), |fault| format!("lab with fault {fault}"));
        Environment { name, ..Environment::default() }
    }

    /// Returns the settings of a run on a cluster.
    pub(super) fn for_cluster(&self) -> anyhow::Result<Settings> {
        self.settings(&observe::Settings::cluster())
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
    pub(super) fn report(&self, result: &RunResult, everything: bool) -> anyhow::Result<Exit> {
        if let Some(failure) = result.failure() {
            anyhow::bail!("{}", failure.message);
        }
        let text = match self.output {
            Format::Table => report::terminal(result, everything),
            Format::Json => report::json(result, None)?,
        };
        output::result(&text)?;
        Ok(Exit::Code(result.exit_code()))
    }
}

/// What is worth knowing of a cluster. Its warnings are told at once, too.
pub(super) fn environment(cluster: &Cluster) -> Environment {
    for warning in cluster.warnings() {
        output::line(&format!("warning: {warning}"));
    }
    for kind in cluster.unmodelled() {
        output::line(&format!("warning: not modelled: {kind}"));
    }
    Environment {
        name: format!("cluster {}", cluster.name()),
        facts: cluster.facts(),
        warnings: cluster.warnings().to_vec(),
        unmodelled: cluster.unmodelled().to_vec(),
        nodes: cluster.nodes(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_the_defaults_of_the_settings() {
        let (lab, cluster) = (observe::Settings::lab(), observe::Settings::cluster());
        let help = RunOptions::augment_args(clap::Command::new("netproof")).render_long_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let both = |name: &str, lab: Duration, cluster: Duration| {
            format!("{name} [default: {lab:?} in the lab, {cluster:?} on a cluster]")
        };
        for shown in [
            both("promise", lab.settle, cluster.settle),
            both("as for an answer", lab.linger, cluster.linger),
            "The shortest time to wait for an answer [default: 80ms]".to_owned(),
            "The longest time to wait for an answer [default: 1s]".to_owned(),
        ] {
            assert!(help.contains(&shown), "{shown}: {help}");
        }
    }
}

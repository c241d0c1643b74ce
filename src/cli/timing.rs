//! How long to wait, and how sure to be: the options of the commands that send packets.

use std::time::Duration;

use clap::Args;

use super::value;
use crate::observe;

/// How long to wait, and how sure to be.
#[derive(Debug, Args)]
pub(super) struct TimingOptions {
    /// How long after a change packets may differ from the policies
    /// [default: 400ms in the lab, 15s on a cluster]
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    settle: Option<Duration>,

    /// The shortest time to wait for an answer [default: 80ms]
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    min_timeout: Option<Duration>,

    /// How long to wait for late arrivals after the last denied probe. It is at least twice the time to wait
    /// for an answer [default: 300ms in the lab, 2s on a cluster]
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    linger: Option<Duration>,

    /// Detect a leak of this share of the connections with a probability of 95 %, for every node, set of
    /// policies and direction. A smaller share needs more probes. A run that cannot send them all is
    /// inconclusive. Without this option, a run tries to detect 10%, and reports the share that it can detect
    #[arg(long, value_name = "SHARE", value_parser = value::share)]
    confidence: Option<f64>,

    /// The longest time to wait for an answer [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    max_timeout: Option<Duration>,
}

impl TimingOptions {
    /// Returns these settings, changed by the options.
    pub(super) fn settings(&self, default: &observe::Settings) -> anyhow::Result<observe::Settings> {
        let observe = observe::Settings {
            settle: self.settle.unwrap_or(default.settle),
            shortest_timeout: self.min_timeout.unwrap_or(default.shortest_timeout),
            longest_timeout: self.max_timeout.unwrap_or(default.longest_timeout),
            linger: self.linger.unwrap_or(default.linger),
            leak_share: self.confidence,
            ..*default
        };
        let (shortest, longest) = (observe.shortest_timeout, observe.longest_timeout);
        if shortest > longest {
            anyhow::bail!("--min-timeout {shortest:?} is longer than --max-timeout {longest:?}");
        }
        Ok(observe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_the_defaults_of_the_settings() {
        let (lab, cluster) = (observe::Settings::lab(), observe::Settings::cluster());
        let help = TimingOptions::augment_args(clap::Command::new("netproof")).render_long_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let both = |name: &str, lab: Duration, cluster: Duration| {
            format!("{name} [default: {lab:?} in the lab, {cluster:?} on a cluster]")
        };
        for shown in [
            both("from the policies", lab.settle, cluster.settle),
            both("for an answer", lab.linger, cluster.linger),
            format!("The shortest time to wait for an answer [default: {:?}]", lab.shortest_timeout),
            format!("The longest time to wait for an answer [default: {:?}]", lab.longest_timeout),
        ] {
            assert!(help.contains(&shown), "{shown}: {help}");
        }
    }
}

//! `netproof fuzz`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::accept::AcceptOptions;
use super::backend_kind::BackendKind;
use super::cluster::ProbeOptions;
use super::conclusion::{Conclusion, Printing};
use super::fuzz_progress::FuzzProgress;
use super::interruption::Interruption;
use super::run_options::{RunOptions, environment};
use super::{Format, block_on, output, outside, value};
use crate::backend::lab::Lab;
use crate::document::FuzzDocument;
use crate::fuzz::{self, Found, FuzzResult, Limits};
use crate::generate::Ground;
use crate::report;
use crate::verdict::Environment;

/// Compare the policy engine, a second evaluator and packets over random cases
///
/// Generates random clusters, policies and changes, and runs them. For every cell, compares three answers:
/// that of the policy engine, that of a naive evaluator that was written from the specification alone, and
/// that of the packets. Each disagreement is shrunk to a minimal reproducer, a scenario file for netproof
/// run. At the end, the report says how many cases depend on each spec rule of docs/semantics.md, and which
/// fields were generated.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct FuzzArgs {
    /// How many random cases to try. A case is a change while a few policies are in force
    /// [default: 200, or with --time as many as fit]
    #[arg(long, value_name = "NUMBER")]
    cases: Option<usize>,

    /// Start no new case after this time
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    time: Option<Duration>,

    /// Seed of the random numbers. The same seed generates the same cases [default: a random seed]
    #[arg(long)]
    seed: Option<u64>,

    /// Folder for the scenarios that show a disagreement. It is created only if there are any
    #[arg(long, value_name = "FOLDER", default_value = "found")]
    save: PathBuf,

    /// Disturb the lab while random scenarios run, and count wrong verdicts. This is a test of netproof itself,
    /// for its developers. With it, `--cases` is the count of scenarios
    #[arg(long, hide = true)]
    interfere: bool,

    #[command(flatten)]
    accept: AcceptOptions,

    #[command(flatten)]
    options: RunOptions,
}

const EXAMPLES: &str = "\
Exit codes:
  0    engine, naive evaluator and packets agree
  1    they do not agree
  2    usage, configuration or cluster error: nothing was compared
  3    some cells or scenarios could not be measured, or there are objects that netproof does not
       model (--accept-unmodelled accepts them)
  130  interrupted

Examples:
  netproof fuzz                            200 random cases in the lab
  netproof fuzz --time 10m                 as many as fit
  netproof fuzz --cases 5000 --seed 7      repeatable
  netproof fuzz --fault ignore-except      see what it finds where enforcement is wrong
  netproof fuzz --backend cluster --cases 100   on the cluster of the current context
  netproof fuzz --backend cluster --profile kube-router    only what its profile does not know";

const CASES: usize = 200;

pub(super) fn fuzz(args: &FuzzArgs, everything: bool) -> anyhow::Result<ExitCode> {
    let FuzzArgs { options, .. } = args;
    for (option, is_given) in [
        ("--every-node", options.cluster.every_node),
        ("--save-configmap", options.cluster.save_configmap.is_some()),
        ("--enforce-within", options.enforce_within.is_some()),
        ("--admit-within", options.admit_within.is_some()),
    ] {
        if is_given {
            anyhow::bail!("{option} is for netproof run");
        }
    }
    if args.cases == Some(0) {
        anyhow::bail!("--cases 0: without cases there is nothing to compare");
    }
    if args.interfere && options.backend != BackendKind::Lab {
        anyhow::bail!("--interfere is for the lab: nobody interferes with a cluster");
    }
    if let Some(code) = options.enter()? {
        return Ok(ExitCode::from(code));
    }
    if args.interfere {
        return interfere(args);
    }
    let limits = args.limits();
    output::note(&format!("seed {}", limits.seed));
    carry_out(args, &limits, everything)
}

/// Saves the scenarios that a run found. Returns its result as it is printed.
fn conclude(
    args: &FuzzArgs,
    result: &FuzzResult,
    environment: &Environment,
    everything: bool,
) -> anyhow::Result<Conclusion> {
    if let Some(failure) = result.hopeless() {
        anyhow::bail!("{}", failure.message);
    }
    let saved = save(&result.found, &args.save);
    let document = FuzzDocument::new(result, environment, &saved, &args.place());
    let text = match args.options.output {
        Format::Table => report::fuzz(&document, everything),
        Format::Json => report::json(&document)?,
    };
    Ok(Conclusion { text, code: document.exit_code })
}

/// Counts the wrong answers of scenarios during interference. The exit code is 1 if there are any.
fn interfere(args: &FuzzArgs) -> anyhow::Result<ExitCode> {
    let limits = args.limits();
    output::note(&format!("seed {}", limits.seed));
    let settings = args.options.for_lab()?;
    let tallies = block_on(async {
        let interrupted = Interruption::listen()?.requested();
        Ok(fuzz::disturb(&limits, &settings, args.options.fault, interrupted).await?)
    })?;
    if tallies.is_empty() {
        anyhow::bail!("no scenario was run to its end: nothing was tested");
    }
    output::result(&report::disturbed(&tallies))?;
    Ok(ExitCode::from(u8::from(tallies.values().any(|tally| !tally.suspicious.is_empty()))))
}

impl FuzzArgs {
    fn limits(&self) -> Limits {
        let ground = match self.options.backend {
            BackendKind::Lab => Ground::Lab,
            BackendKind::Cluster => Ground::Cluster,
        };
        Limits {
            // Short enough for a user to type it again.
            seed: self.seed.unwrap_or_else(|| fastrand::u64(..1_000_000)),
            cases: self.cases.or(if self.time.is_some() { None } else { Some(CASES) }),
            time: self.time,
            fail_fast: self.options.fail_fast,
            ground,
            place: self.place(),
        }
    }

    /// Returns the options with which `netproof run` sends packets to the same place, each after a space.
    fn place(&self) -> String {
        let place = match (self.options.backend, self.options.fault) {
            (BackendKind::Lab, None) => String::new(),
            (BackendKind::Lab, Some(fault)) => format!(" --fault {fault}"),
            (BackendKind::Cluster, _) => {
                let ProbeOptions { target, site, .. } = &self.options.cluster.probes;
                let outside = outside::as_given(&self.options.cluster.external);
                format!(" --backend cluster{}{}{outside}", target.target().as_options(), site.as_given())
            }
        };
        place + &self.options.profiles.as_given()
    }
}

/// Runs random cases, prints the result, and removes what the run created.
fn carry_out(args: &FuzzArgs, limits: &Limits, everything: bool) -> anyhow::Result<ExitCode> {
    let FuzzArgs { options, accept, .. } = args;
    block_on(async {
        let interruption = Interruption::listen()?;
        let interrupted = interruption.requested();
        match options.backend {
            BackendKind::Lab => {
                let (settings, environment) = (options.for_lab()?, accept.complete(options.lab(), &[]));
                options.warn(&environment);
                let view = FuzzProgress::new(limits.cases);
                let new_lab = |_: &_| Lab::new(options.fault);
                let show = |progress| view.show(progress);
                let result = fuzz::fuzz(limits, &settings, new_lab, interrupted, show).await;
                drop(view);
                conclude(args, &result, &environment, everything)?.print()
            }
            BackendKind::Cluster => {
                let (cluster, settings) = options.open_cluster(interrupted.clone()).await?;
                let environment = accept.complete(environment(&cluster, &settings.profiles), &[]);
                options.warn(&environment);
                cluster.accept(environment.accepted());
                let view = FuzzProgress::new(limits.cases);
                let new_backend = |scenario: &_| Ok(cluster.backend_for(scenario));
                let show = |progress| view.show(progress);
                let result = fuzz::fuzz(limits, &settings, new_backend, interrupted, show).await;
                drop(view);
                let printing = Printing::start(conclude(args, &result, &environment, everything)).await;
                printing.clean_up(cluster, &interruption).await
            }
        }
    })
}

/// Writes the scenarios that show a disagreement. Returns their paths, in the order of `found`.
fn save(found: &[Found], folder: &Path) -> Vec<Option<PathBuf>> {
    let save = |found: &Found| {
        let path = folder.join(format!("{}.yaml", found.case.scenario()));
        let text = &found.shown.as_ref()?.text;
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, text));
        match written.with_context(|| format!("--save {}", path.display())) {
            Ok(()) => Some(path),
            // The report shows the scenario instead.
            Err(error) => {
                output::error(&error);
                None
            }
        }
    };
    found.iter().map(save).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        fuzz: FuzzArgs,
    }

    /// Regression: a reproducer of another cluster than the current one was without its kubeconfig and context.
    #[test]
    fn a_reproducer_is_for_the_same_place() {
        let place = |options: &[&str]| Cli::parse_from([&["fuzz"], options].concat()).fuzz.place();
        assert_eq!(place(&[]), "");
        assert_eq!(place(&["--fault", "ignore-udp"]), " --fault ignore-udp");
        let options = [
            "--backend",
            "cluster",
            "--kubeconfig",
            "/a b.conf",
            "--context",
            "staging",
            "--pod-label",
            "owner=me",
            "--external",
            "a=192.0.2.1,2001:db8::1@[::1]:80",
            "--profile",
            "kube-router",
        ];
        let given = " --backend cluster --kubeconfig '/a b.conf' --context staging --pod-label owner=me \
                     --external a=192.0.2.1,2001:db8::1@'[::1]:80' --profile kube-router";
        assert_eq!(place(&options), given);
    }
}

//! `netproof cleanup`

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::cluster::TargetOptions;
use super::{block_on, output, value};
use crate::backend::cluster::{LeftRun, Leftovers, Places};
use crate::report;
use crate::report::style::count;

/// Remove what runs left on a cluster
///
/// Lists the runs that have something on the cluster, and asks before it removes all of it. The options that
/// say what to remove also say yes. Removes only namespaces, cluster-scoped policies, and probe pods in namespaces of
/// tenants, each with the label of a run of netproof. Prepared namespaces are emptied, and stay.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CleanupArgs {
    /// Remove what every run left without asking, even of runs in progress
    #[arg(long, conflicts_with_all = ["older_than", "run"])]
    yes: bool,

    /// Remove only what runs left that have changed nothing for this time. Runs in progress change something
    /// at least every few minutes
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    older_than: Option<Duration>,

    /// Remove only what these runs left. A run that leaves something prints its id
    #[arg(long, value_name = "ID,...", value_delimiter = ',')]
    run: Vec<String>,

    /// In these namespaces, which were prepared for netproof, and in no others
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    prepared_namespaces: Vec<String>,

    /// In these namespaces of tenants, in which checks left probe pods, and in no others
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    tenant_namespaces: Vec<String>,

    #[command(flatten)]
    target: TargetOptions,
}

const EXAMPLES: &str = "\
Exit codes:
  0  what was to be removed is removed, or there was nothing
  2  usage or cluster error, or nobody to ask: without a terminal, say what to remove

Examples:
  netproof cleanup                              list what runs left, and ask
  netproof cleanup --yes                        everything that any run left
  netproof cleanup --older-than 2h              not what runs that go on need
  netproof cleanup --run x7k2p                  what one run left
  netproof cleanup --context staging
  netproof cleanup --prepared-namespaces netproof-01,netproof-02
  netproof cleanup --tenant-namespaces shop,bank    what checks left in these";

/// What a user who may not list ConfigMaps in the whole cluster is told.
const UNSEEN: &str = "this user may not list ConfigMaps in all namespaces, so probe pods of checks are not seen: name the \
                      namespaces of the tenants with --tenant-namespaces\n";

pub(super) fn run(args: &CleanupArgs) -> anyhow::Result<ExitCode> {
    block_on(async {
        let places = Places { prepared: &args.prepared_namespaces, tenants: &args.tenant_namespaces };
        let left = Leftovers::find(&args.target.target(), places).await?;
        let (selected, others): (Vec<_>, Vec<_>) = left.runs().iter().partition(|run| args.selects(run));
        if !selected.is_empty() && !args.says_yes() {
            output::result(&list(&selected))?;
            if !confirm()? {
                output::result("nothing was removed\n")?;
                return Ok(ExitCode::SUCCESS);
            }
        }
        let removed = left.remove(&selected).await?;
        output::result(&outcome(&removed, &others))?;
        if left.has_unseen_owners() {
            output::result(UNSEEN)?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

impl CleanupArgs {
    fn selects(&self, run: &LeftRun) -> bool {
        self.older_than.is_none_or(|time| run.unchanged >= time)
            && (self.run.is_empty() || self.run.contains(&run.id))
    }

    /// Returns whether the options say what to remove, so that there is nothing to ask.
    fn says_yes(&self) -> bool {
        let Self { yes, older_than, run, prepared_namespaces, tenant_namespaces, .. } = self;
        *yes || older_than.is_some()
            || !run.is_empty()
            || !prepared_namespaces.is_empty()
            || !tenant_namespaces.is_empty()
    }
}

/// Asks the user whether to remove everything that was listed.
fn confirm() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        anyhow::bail!(
            "nothing was removed: add --yes to remove all of this, --older-than 2h to spare runs in progress, or --run \
             ID to choose"
        );
    }
    let mut stderr = std::io::stderr();
    write!(stderr, "remove all of this? [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// Returns a line for each run.
fn list(runs: &[&LeftRun]) -> String {
    let lines: Vec<_> = runs.iter().map(|run| (run.id.as_str(), describe(run))).collect();
    report::list(&lines)
}

/// Returns what was removed, and which other runs have something on the cluster.
fn outcome(removed: &[String], others: &[&LeftRun]) -> String {
    let mut text: String = removed.iter().map(|name| format!("removed {name}\n")).collect();
    match (removed, others) {
        ([], []) => text.push_str("nothing was left\n"),
        ([], _) => text.push_str("nothing was removed\n"),
        (_, _) => {}
    }
    if !others.is_empty() {
        text.push_str(&format!("spared {}:\n{}", count(others.len(), "run", "runs"), list(others)));
    }
    text
}

fn describe(run: &LeftRun) -> String {
    let LeftRun { age, unchanged, namespaces, prepared, owners, cluster_policies, live_pods, .. } = run;
    let parts = [
        (namespaces.len(), "namespace", "namespaces"),
        (prepared.len(), "prepared namespace", "prepared namespaces"),
        (owners.len(), "namespace of a tenant", "namespaces of tenants"),
        (*cluster_policies, "cluster-scoped policy", "cluster-scoped policies"),
    ];
    let parts = parts.into_iter().filter(|(number, _, _)| *number > 0);
    let parts = parts.chain([(*live_pods, "live pod", "live pods")]);
    let parts: Vec<_> = parts.map(|(number, one, many)| count(number, one, many)).collect();
    let state = if run.seems_in_progress() {
        ": seems to be in progress"
    } else if run.is_ending {
        ": Kubernetes is deleting it"
    } else {
        ""
    };
    format!("{}, began {}, last change {}{state}", parts.join(", "), ago(*age), ago(*unchanged))
}

/// Returns a time in its largest unit: `4 s ago`, `3 min ago`. `Duration::MAX` is an unknown time.
fn ago(time: Duration) -> String {
    if time == Duration::MAX {
        return "at an unknown time".to_owned();
    }
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7_200 => format!("{} min ago", seconds / 60),
        7_200..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use insta::assert_snapshot;

    use super::*;
    use crate::snapshot::Identity;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        cleanup: CleanupArgs,
    }

    fn args(options: &[&str]) -> CleanupArgs {
        Cli::parse_from([&["cleanup"], options].concat()).cleanup
    }

    fn left(id: &str, age: u64, unchanged: u64) -> LeftRun {
        LeftRun {
            id: id.to_owned(),
            age: Duration::from_secs(age),
            unchanged: Duration::from_secs(unchanged),
            namespaces: vec![format!("netproof-{id}-1-x"), format!("netproof-{id}-canaries")],
            prepared: Vec::new(),
            owners: Vec::new(),
            cluster_policies: 0,
            live_pods: 0,
            is_ending: false,
        }
    }

    #[test]
    fn runs_are_listed_with_what_is_known_of_them() {
        let runs = [
            LeftRun { live_pods: 42, ..left("x7k2p", 185, 4) },
            LeftRun { cluster_policies: 1, ..left("old", 400_000, 399_000) },
            LeftRun { live_pods: 9, ..left("killed", 4_000, 3_000) },
            LeftRun { is_ending: true, live_pods: 1, ..left("ending", 30, 8) },
            LeftRun {
                namespaces: Vec::new(),
                prepared: vec!["netproof-01".to_owned()],
                ..left("p", 9_000, 90)
            },
            LeftRun {
                namespaces: Vec::new(),
                owners: vec![Identity::new("a", "netproof-check")],
                ..left("check", 30, 20)
            },
            LeftRun { age: Duration::MAX, unchanged: Duration::MAX, ..left("unknown", 0, 0) },
        ];
        assert_snapshot!(list(&runs.each_ref()), @"
        x7k2p    2 namespaces, 42 live pods, began 3 min ago, last change 4 s ago: seems to be in progress
        old      2 namespaces, 1 cluster-scoped policy, 0 live pods, began 4 days ago, last change 4 days ago
        killed   2 namespaces, 9 live pods, began 66 min ago, last change 50 min ago
        ending   2 namespaces, 1 live pod, began 30 s ago, last change 8 s ago: Kubernetes is deleting it
        p        1 prepared namespace, 0 live pods, began 2 h ago, last change 90 s ago
        check    1 namespace of a tenant, 0 live pods, began 30 s ago, last change 20 s ago: seems to be in progress
        unknown  2 namespaces, 0 live pods, began at an unknown time, last change at an unknown time
        ");
    }

    #[test]
    fn younger_runs_are_spared_and_named() {
        let (young, old) = (left("young", 9_000, 60), left("old", 9_000, 8_000));
        let older = args(&["--older-than", "2h"]);
        assert!(older.selects(&old) && !older.selects(&young) && older.says_yes());
        assert_snapshot!(outcome(&[], &[&young]), @"
        nothing was removed
        spared 1 run:
        young  2 namespaces, 0 live pods, began 2 h ago, last change 60 s ago
        ");
        assert_snapshot!(outcome(&["netproof-old-1-x".to_owned()], &[&young]), @"
        removed netproof-old-1-x
        spared 1 run:
        young  2 namespaces, 0 live pods, began 2 h ago, last change 60 s ago
        ");
        assert_snapshot!(outcome(&[], &[]), @"nothing was left");
        let one = args(&["--run", "young"]);
        assert!(one.selects(&young) && !one.selects(&old) && one.says_yes());
    }

    #[test]
    fn without_a_selection_the_user_is_asked() {
        assert!(!args(&["--context", "staging"]).says_yes());
        assert!(args(&["--yes"]).says_yes());
        for (answer, yes) in [("y\n", true), ("Yes\n", true), ("\n", false), ("", false), ("no\n", false)] {
            assert_eq!(is_yes(answer), yes, "{answer:?}");
        }
    }
}

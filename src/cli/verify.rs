//! `netproof verify`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::accept::AcceptOptions;
use super::backend_kind::BackendKind;
use super::cluster::ProbeOptions;
use super::conclusion::{Conclusion, Printing};
use super::interruption::Interruption;
use super::progress::{bar, has_bar};
use super::run_options::at_least_one;
use super::snapshot::LiveOptions;
use super::timing::TimingOptions;
use super::{Format, block_on, output, value};
use crate::backend::cluster::Live;
use crate::backend::lab::{self, Entered, Lab};
use crate::deviation::Fault;
use crate::document::{VerifyDocument, VerifyPlanDocument};
use crate::observe;
use crate::report::style::count;
use crate::snapshot::Snapshot;
use crate::tenants::{Tenancy, Tenants, well_known_key};
use crate::verdict::Environment;
use crate::verify::{Options, Plan, Progress, Settings, check, place};
use crate::{report, source};

/// Check whether tenants are isolated: what the owners want, what the policies say, and what packets do
///
/// Adds probe pods to the namespaces of the tenants, beside the running pods. Each is the twin of a group of pods that
/// the policies treat alike. The twins probe each other. Nothing that exists is changed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct VerifyArgs {
    /// Manifests of the cluster that the lab plays: files, folders, or - for standard input
    #[arg(value_name = "PATH")]
    manifests: Vec<PathBuf>,

    /// The tenants, and what they want of each other
    #[arg(short, long, value_name = "FILE", conflicts_with = "tenant_label")]
    tenants: Option<PathBuf>,

    /// Without a file: group namespaces by the value of this label, and ask whether the groups are isolated
    /// [default: one that well-known tools set]
    #[arg(long, value_name = "KEY", value_parser = NonEmptyStringValueParser::new())]
    tenant_label: Option<String>,

    /// Where to send the packets [default: the lab if there are manifests, otherwise the cluster]
    #[arg(long, alias = "on", value_name = "BACKEND", value_enum)]
    backend: Option<BackendKind>,

    /// Make the lab enforce policies wrongly, to see that netproof detects it
    #[arg(long, value_name = "NAME")]
    fault: Option<Fault>,

    /// Send at most this number of different probes. Forbidden connections between tenants come first, then required
    /// ones. The report says how many are left out
    #[arg(long, value_name = "NUMBER", value_parser = at_least_one())]
    max_probes: Option<usize>,

    /// Also connect to the open TCP ports of running pods and Services. Nothing is sent over these connections, and each
    /// port gets at most one a second
    #[arg(long)]
    to_workloads: bool,

    /// Also send from, and to, the addresses of running pods: one of each group. On a cluster, privileged pods enter the
    /// networks of these pods. Only this finds old pods whose rules are out of date
    #[arg(long)]
    through_nodes: bool,

    /// How often to ask everything. A verdict that differs between repetitions is flaky
    #[arg(long, value_name = "TIMES", default_value_t = 1, value_parser = at_least_one())]
    repeat: usize,

    /// Print what would be asked, the probe pods, and the rights that they need. Changes nothing
    #[arg(long)]
    dry_run: bool,

    /// What to print
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    output: Format,

    /// The namespace of objects in manifests that name none [default: default]
    #[arg(short, long, value_name = "NAMESPACE", value_parser = value::namespace)]
    namespace: Option<String>,

    #[command(flatten)]
    timing: TimingOptions,

    #[command(flatten)]
    accept: AcceptOptions,

    #[command(flatten)]
    live: LiveOptions,

    #[command(flatten)]
    probes: ProbeOptions,
}

const EXAMPLES: &str = "\
Examples:
  netproof verify --tenants tenants.yaml                   the cluster of the current context
  netproof verify                                          tenants by a well-known label of namespaces
  netproof verify --tenants tenants.yaml deploy/           manifests, in the lab
  netproof verify --tenant-label team deploy/              without a file: one tenant for each value of the label
  netproof verify --tenants tenants.yaml --dry-run         what it would do
  netproof verify --tenants tenants.yaml --fault ignore-udp deploy/    would a leak be noticed?
  netproof verify --tenants tenants.yaml -o json deploy/   for a machine to read";

pub(super) fn verify(args: &VerifyArgs, everything: bool) -> anyhow::Result<ExitCode> {
    match args.kind() {
        BackendKind::Lab => {
            args.check_lab()?;
            match lab::enter()? {
                Entered::Outside(code) => Ok(ExitCode::from(code)),
                Entered::Inside => in_lab(args, everything),
            }
        }
        BackendKind::Cluster => {
            args.check_cluster()?;
            block_on(on_cluster(args, everything))
        }
    }
}

fn in_lab(args: &VerifyArgs, everything: bool) -> anyhow::Result<ExitCode> {
    let mut snapshot = args.manifests()?;
    place(&mut snapshot.cluster);
    let tenancy = args.tenancy(&snapshot)?;
    let plan = Plan::new(&snapshot, &tenancy, args.plan())?;
    let environment = args.environment(&snapshot, Environment { name: args.lab(), ..Environment::default() });
    if args.dry_run {
        return args.show_plan(&plan, &tenancy, environment.warnings, None, everything);
    }
    let settings = args.settings(&observe::Settings::lab())?;
    block_on(async {
        let interruption = Interruption::listen()?;
        let mut lab = Lab::new(args.fault)?;
        let interrupted = interruption.requested();
        let checked =
            with_stages(async |show| check(&plan, &settings, &mut lab, environment, show, interrupted).await);
        let checked = checked.await;
        args.conclude(&VerifyDocument::new(&plan, &tenancy, &checked), everything)?.print()
    })
}

async fn on_cluster(args: &VerifyArgs, everything: bool) -> anyhow::Result<ExitCode> {
    let interruption = Interruption::listen()?;
    let mut interrupted = interruption.requested();
    let settings = args.settings(&observe::Settings::cluster())?;
    let opened = tokio::select! {
        opened = open(args) => opened?,
        _ = interrupted.wait_for(|interrupted| *interrupted) => anyhow::bail!("interrupted before anything was made"),
    };
    let Opened { mut live, plan, tenancy, environment } = opened;
    if args.dry_run {
        return args.show_plan(&plan, &tenancy, environment.warnings, Some(live.rights()), everything);
    }
    let checked =
        with_stages(async |show| check(&plan, &settings, &mut live, environment, show, interrupted).await);
    let checked = checked.await;
    let result = args.conclude(&VerifyDocument::new(&plan, &tenancy, &checked), everything);
    Printing::start(result).await.clean_up(live, &interruption).await
}

/// A cluster that is ready to be checked, on which nothing was created.
struct Opened {
    live: Live,
    plan: Plan,
    tenancy: Tenancy,
    environment: Environment,
}

/// Reads a cluster, plans the check, and finds out whether it can be done.
async fn open(args: &VerifyArgs) -> anyhow::Result<Opened> {
    let scope = args.live.scope();
    // Before the snapshot, so that no later change is missed.
    let mut live = Live::open(args.probes.settings()?, &scope.namespaces).await?;
    let snapshot = args.live.read_now(&args.probes.target).await?;
    let tenancy = args.tenancy(&snapshot)?;
    let plan = Plan::new(&snapshot, &tenancy, args.plan())?;
    live.preflight(&plan.world).await?;
    let environment = Environment {
        name: format!("cluster {}", live.name()),
        facts: live.facts(),
        warnings: live.warnings().map(str::to_owned).collect(),
        nodes: live.nodes(),
        ..Environment::default()
    };
    let environment = args.environment(&snapshot, environment);
    Ok(Opened { live, plan, tenancy, environment })
}

/// Runs a check, and shows what it is doing on a terminal.
async fn with_stages<T>(work: impl AsyncFnOnce(&dyn Fn(Progress)) -> T) -> T {
    let bar = has_bar().then(|| bar(None, "{spinner} {wide_msg}"));
    let show = |progress: Progress| {
        if let Some(bar) = &bar {
            bar.set_message(message(progress));
        }
    };
    let result = work(&show).await;
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    result
}

fn message(progress: Progress) -> String {
    match progress {
        Progress::Starting { pods } => format!("starting {}", count(pods, "probe pod", "probe pods")),
        Progress::Probing { connections, repetition: 1 } => {
            format!("probing {}", count(connections, "connection", "connections"))
        }
        Progress::Probing { connections, repetition } => {
            format!("probing {} again ({repetition})", count(connections, "connection", "connections"))
        }
        Progress::Finishing => "waiting for late arrivals".to_owned(),
    }
}

impl VerifyArgs {
    fn settings(&self, default: &observe::Settings) -> anyhow::Result<Settings> {
        Ok(Settings { observe: self.timing.settings(default)?, repeat: self.repeat })
    }

    fn kind(&self) -> BackendKind {
        self.backend.unwrap_or(match self.manifests.is_empty() {
            true => BackendKind::Cluster,
            false => BackendKind::Lab,
        })
    }

    fn plan(&self) -> Options {
        let Self { max_probes: most, through_nodes, to_workloads, .. } = *self;
        Options { most, through_nodes, to_workloads }
    }

    fn check_lab(&self) -> anyhow::Result<()> {
        if self.manifests.is_empty() {
            anyhow::bail!("the lab plays the cluster of manifests: name files or folders");
        }
        Ok(())
    }

    fn check_cluster(&self) -> anyhow::Result<()> {
        if let Some(path) = self.manifests.first() {
            anyhow::bail!(
                "{}: manifests are for the lab: on a cluster, the objects of the cluster count",
                path.display()
            );
        }
        if self.fault.is_some() {
            anyhow::bail!("--fault is for the lab: a cluster has its own");
        }
        Ok(())
    }

    fn manifests(&self) -> anyhow::Result<Snapshot> {
        source::refuse_unbuilt(&self.manifests, "netproof verify -")?;
        let mut documents = Vec::new();
        for text in source::read(&self.manifests)? {
            documents.extend(text.manifests()?);
        }
        Ok(Snapshot::read(&documents, self.namespace.as_deref())?)
    }

    fn lab(&self) -> String {
        self.fault.map_or("lab".to_owned(), |fault| format!("lab with fault {fault}"))
    }

    fn tenancy(&self, snapshot: &Snapshot) -> anyhow::Result<Tenancy> {
        let cluster = &snapshot.cluster;
        if let Some(file) = &self.tenants {
            return Ok(Tenants::read(&source::read_file(file)?)?.resolve(cluster)?);
        }
        let key = match &self.tenant_label {
            Some(key) => key,
            None => {
                let key = well_known_key(cluster)?;
                output::note(&format!("tenants are the groups of namespaces by label {key}"));
                key
            }
        };
        Ok(Tenants::by_label(cluster, key)?.resolve(cluster)?)
    }

    /// Adds what the snapshot says to the environment.
    fn environment(&self, snapshot: &Snapshot, environment: Environment) -> Environment {
        let unmodelled = self.accept.mark(&snapshot.other.unmodelled);
        let unused = self.accept.unused(&unmodelled);
        let notes = snapshot.notes();
        let warnings = [&notes, &environment.warnings, &snapshot.warnings, &snapshot.other.warnings, &unused];
        Environment { warnings: warnings.map(Vec::as_slice).concat(), unmodelled, ..environment }
    }

    fn show_plan(
        &self,
        plan: &Plan,
        tenancy: &Tenancy,
        warnings: Vec<String>,
        rights: Option<[String; 2]>,
        everything: bool,
    ) -> anyhow::Result<ExitCode> {
        let document = VerifyPlanDocument::new(plan, tenancy, warnings, rights);
        output::result(&match self.output {
            Format::Table => report::verify_plan(&document, everything),
            Format::Json => report::json(&document)?,
        })?;
        Ok(ExitCode::SUCCESS)
    }

    fn conclude(&self, document: &VerifyDocument, everything: bool) -> anyhow::Result<Conclusion> {
        if let Some(failure) = &document.run.failure {
            anyhow::bail!("{failure}");
        }
        let text = match self.output {
            Format::Table => report::verify(document, everything),
            Format::Json => report::json(document)?,
        };
        Ok(Conclusion { text, code: document.exit_code })
    }
}

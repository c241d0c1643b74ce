//! `netproof verify`

use std::collections::BTreeSet;
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
use super::run_options::{at_least_one, lab_environment};
use super::snapshot::LiveOptions;
use super::timing::TimingOptions;
use super::{Format, block_on, manifests, output, value};
use crate::backend::cluster::{Live, Rights};
use crate::backend::lab::{self, Entered, Lab};
use crate::deviation::Fault;
use crate::document::{NeededRights, NeededRole, VerifyDocument, VerifyPlanDocument};
use crate::expect::misspelt;
use crate::observe;
use crate::policy::{IpFamily, Labels};
use crate::report;
use crate::report::style::count;
use crate::snapshot::Snapshot;
use crate::tenants::{Tenancy, Tenants, well_known_key};
use crate::verdict::Environment;
use crate::verify::{Options, Plan, Progress, Settings, add_namespace, check, families, place};

/// Check with packets whether the tenants of a live cluster are isolated
///
/// Compares what the owners want, what the policies of the cluster say, and what packets do. Says who is to blame: the
/// policies or the network. Adds probe pods to the namespaces of the tenants, beside the running pods, and removes them
/// at the end. Each is the twin of a group of pods that the policies treat alike. The twins probe each other. Nothing
/// that exists is changed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct VerifyArgs {
    /// Manifests, to check their tenants in the lab instead of on a cluster: files, folders, or - for standard input
    #[arg(value_name = "PATH")]
    manifests: Vec<PathBuf>,

    /// The tenants file: who the tenants are, and who may reach whom. netproof tenants init writes a first one
    #[arg(short, long, value_name = "FILE", conflicts_with = "tenant_label")]
    tenants: Option<PathBuf>,

    /// Without a tenants file: each value of this label of namespaces is a tenant, and no tenant may reach another
    /// [default: the label of a well-known tool that a namespace has]
    #[arg(long, value_name = "KEY", value_parser = NonEmptyStringValueParser::new())]
    tenant_label: Option<String>,

    /// Where to send the packets [default: the lab if there are manifests, otherwise the cluster]
    #[arg(long, alias = "on", value_name = "BACKEND", value_enum)]
    backend: Option<BackendKind>,

    /// Make the lab enforce policies wrongly, to see that netproof detects it. netproof run --list-faults lists the names
    #[arg(long, value_name = "NAME")]
    fault: Option<Fault>,

    /// Send at most this number of different probes. Forbidden connections between tenants come first, then required
    /// ones. The report says how many are left out, and whether what remains proves enough
    #[arg(long, value_name = "NUMBER", value_parser = at_least_one())]
    max_probes: Option<usize>,

    /// Also connect to the TCP ports that running pods and Services declare. Nothing is sent over these connections, and
    /// each port gets at most one a second
    #[arg(long)]
    to_workloads: bool,

    /// Also send from, and to, the addresses of running pods: one of each group. On a cluster, privileged pods enter the
    /// networks of these pods. Only this finds a running pod for which the network has missed a change
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
Exit codes:
  0    ISOLATED: what is forbidden is denied, and what is required is delivered
  1    NOT ISOLATED, or BLOCKED
  2    usage, configuration or cluster error: nothing was proved
  3    INCONCLUSIVE: something was not measured, or too little was proved
  130  interrupted

Examples:
  netproof verify --tenants tenants.yaml                the cluster of the current context
  netproof verify                                       tenants by a well-known label
  netproof verify --tenant-label example.com/team       tenants by a label of yours
  netproof verify --tenants tenants.yaml --dry-run      what it would do
  netproof verify --tenants tenants.yaml manifests/     in the lab, without a cluster
  netproof verify --tenants tenants.yaml --fault ignore-udp manifests/
  netproof verify --tenants tenants.yaml -o json";

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
    let namespace = args.namespace.as_deref();
    let mut snapshot = manifests::snapshot(&args.manifests, namespace, "netproof verify -")?;
    // The lab has addresses of its own, of the same families.
    let families = families(&snapshot.cluster);
    place(&mut snapshot.cluster);
    let tenancy = args.tenancy(&snapshot)?;
    let strangers = add_namespace(&mut snapshot.cluster, Labels::new());
    let options = args.plan(BTreeSet::new(), strangers, families);
    let plan = Plan::new(&snapshot, &tenancy, &options)?;
    let environment = args.environment(&snapshot, lab_environment(args.fault));
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
        let rights = needed(live.rights(&plan.world));
        return args.show_plan(&plan, &tenancy, environment.warnings, Some(rights), everything);
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
    let mut snapshot = args.live.read_now(&args.probes.target).await?;
    let tenancy = args.tenancy(&snapshot)?;
    let strangers = add_namespace(&mut snapshot.cluster, live.labels_of_strangers().await?);
    let nodes = snapshot.cluster.nodes.iter().map(|node| node.name.clone());
    let unusable = nodes.filter(|node| live.obstacle(node).is_some()).collect();
    let options = args.plan(unusable, strangers, families(&snapshot.cluster));
    let plan = Plan::new(&snapshot, &tenancy, &options)?;
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

fn needed(Rights { cluster, roles }: Rights) -> NeededRights {
    let role = |(namespaces, rules)| NeededRole { namespaces, rules };
    NeededRights { cluster, roles: roles.into_iter().map(role).collect() }
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

    fn plan(&self, unusable: BTreeSet<String>, strangers: String, families: Vec<IpFamily>) -> Options {
        let Self { max_probes: most, through_nodes, to_workloads, .. } = *self;
        Options { unusable, strangers, families, most, through_nodes, to_workloads }
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

    fn tenancy(&self, snapshot: &Snapshot) -> anyhow::Result<Tenancy> {
        let cluster = &snapshot.cluster;
        if let Some(file) = &self.tenants {
            return Ok(Tenants::read(&manifests::one(file)?)?.resolve(cluster)?);
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
        let misspelt = misspelt(&snapshot.cluster);
        let Snapshot { warnings, other, .. } = snapshot;
        let warnings = [&notes, &environment.warnings, warnings, &other.warnings, &misspelt, &unused];
        Environment { warnings: warnings.map(Vec::as_slice).concat(), unmodelled, ..environment }
    }

    fn show_plan(
        &self,
        plan: &Plan,
        tenancy: &Tenancy,
        warnings: Vec<String>,
        rights: Option<NeededRights>,
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
            Format::Json => {
                output::warnings(&document.run.warnings, &document.run.unmodelled);
                report::json(document)?
            }
        };
        Ok(Conclusion { text, code: document.exit_code })
    }
}

//! `netproof tenants`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::snapshot::SnapshotOptions;
use super::{Format, manifests, output, value};
use crate::document::TenantListDocument;
use crate::policy::Cluster;
use crate::report;
use crate::tenants::{Tenants, aks, first_file};

/// Check a tenants file, or write a first one
///
/// A tenants file says who the tenants of a cluster are, and who may reach whom. It is a YAML file with kind: Tenants.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct TenantsArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Check(CheckArgs),
    Init(InitArgs),
    Import(ImportArgs),
}

/// Check a tenants file, and show the tenants with their namespaces
///
/// With manifests or a cluster, every name and selector of the file must match something in them. Without, only the file
/// itself is checked. Sends no packets.
#[derive(Debug, Args)]
#[command(after_help = CHECK_EXAMPLES)]
struct CheckArgs {
    /// The tenants file, or - for standard input
    file: PathBuf,

    /// Manifests: files, folders, or - for standard input; YAML or JSON
    #[arg(value_name = "MANIFESTS")]
    paths: Vec<PathBuf>,

    /// The namespace of objects that name none, as with kubectl apply -n
    /// [default: default]
    #[arg(short, long, value_name = "NAMESPACE", value_parser = value::namespace)]
    namespace: Option<String>,

    /// What to print
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    output: Format,

    #[command(flatten)]
    live: SnapshotOptions,
}

/// Write a first tenants file, from what manifests or a cluster contain
///
/// The tenants are groups of namespaces by a label that well-known tools set, or else the single namespaces. Each is
/// closed to the others, and shared services that are found may be reached. Read and change the file before you use it:
/// it says what is probably wanted, not what the policies allow.
#[derive(Debug, Args)]
#[command(after_help = INIT_EXAMPLES)]
struct InitArgs {
    /// Manifests: files, folders, or - for standard input; YAML or JSON
    #[arg(required_unless_present = "from_cluster", value_name = "MANIFESTS")]
    paths: Vec<PathBuf>,

    /// The key of the label whose value is the tenant of a namespace
    #[arg(long, value_name = "KEY")]
    tenant_label: Option<String>,

    /// The namespace of objects that name none, as with kubectl apply -n
    /// [default: default]
    #[arg(short, long, value_name = "NAMESPACE", value_parser = value::namespace)]
    namespace: Option<String>,

    #[command(flatten)]
    live: SnapshotOptions,
}

/// Write a tenants file from the description of another tool
#[derive(Debug, Args)]
struct ImportArgs {
    #[command(subcommand)]
    from: Origin,
}

#[derive(Debug, Subcommand)]
enum Origin {
    Aks(AksArgs),
}

/// Write a tenants file from AKS Managed Namespaces
///
/// Each managed namespace is a tenant, with its own modes.
#[derive(Debug, Args)]
#[command(after_help = AKS_EXAMPLES)]
struct AksArgs {
    /// What az aks namespace list -o json prints, or - for standard input
    file: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  netproof tenants init --from-cluster >tenants.yaml       a first file
  netproof tenants check tenants.yaml --from-cluster       is it right?";

const CHECK_EXAMPLES: &str = "\
Examples:
  netproof tenants check tenants.yaml
  netproof tenants check tenants.yaml deploy/
  netproof tenants check tenants.yaml --from-cluster
  kubectl get ns,nodes,pods,svc -A -o json | netproof tenants check tenants.yaml -";

const INIT_EXAMPLES: &str = "\
Examples:
  netproof tenants init deploy/ >tenants.yaml
  netproof tenants init --from-cluster >tenants.yaml
  netproof tenants init --tenant-label example.com/team deploy/ >tenants.yaml
  kubectl get ns,nodes,pods,svc,netpol -A -o json | netproof tenants init - >tenants.yaml";

const AKS_EXAMPLES: &str = "\
Examples:
  az aks namespace list -g GROUP --cluster-name NAME -o json | netproof tenants import aks - >tenants.yaml";

pub(super) fn tenants(args: &TenantsArgs) -> anyhow::Result<ExitCode> {
    let text = match &args.action {
        Action::Check(args) => check(args)?,
        Action::Init(args) => {
            let cluster = match live(&args.live)? {
                Some(cluster) => cluster,
                None => cluster(&args.paths, args.namespace.as_deref())?,
            };
            first_file(&cluster, args.tenant_label.as_deref())?
        }
        Action::Import(ImportArgs { from: Origin::Aks(args) }) => aks(&manifests::one(&args.file)?)?,
    };
    output::result(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn check(args: &CheckArgs) -> anyhow::Result<String> {
    let tenants = Tenants::read(&manifests::one(&args.file)?)?;
    tenants.check_names()?;
    let cluster = match live(&args.live)? {
        Some(cluster) => cluster,
        None if args.paths.is_empty() => {
            let what =
                "the file is valid; add manifests or --from-cluster to compare its names and selectors";
            return Ok(format!("{what}\n"));
        }
        None => cluster(&args.paths, args.namespace.as_deref())?,
    };
    let list = TenantListDocument::new(&tenants.resolve(&cluster)?, &cluster);
    Ok(match args.output {
        Format::Table => report::tenants_table(&list),
        Format::Json => report::json(&list)?,
    })
}

/// Reads a live cluster, if the options name one.
fn live(options: &SnapshotOptions) -> anyhow::Result<Option<Cluster>> {
    let snapshot = options.read()?;
    Ok(snapshot.map(|snapshot| {
        output::warnings(&snapshot.notes(), &[]);
        snapshot.cluster
    }))
}

fn cluster(paths: &[PathBuf], namespace: Option<&str>) -> anyhow::Result<Cluster> {
    Ok(manifests::snapshot(paths, namespace, "netproof tenants check FILE -")?.cluster)
}

//! `netproof expect`

use std::io::BufWriter;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use ipnet::IpNet;

use super::accept::AcceptOptions;
use super::snapshot::SnapshotOptions;
use super::{Format, manifests, output, value};
use crate::document::{ExpectationDocument, UnshownServices};
use crate::expect::{Granularity, Matrix, unmatched};
use crate::policy::Engine;
use crate::report;
use crate::snapshot::{AddressRanges, Snapshot};

/// Show which connections the policies of manifests or of a cluster allow. Sends no packets
///
/// Shows every ordered pair of workloads, or of a workload and an address range outside the cluster, with
/// the ports that the first may reach at the second. Pairs that may exchange nothing are left out.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExpectArgs {
    /// Manifests: files, folders, or - for standard input; YAML or JSON
    #[arg(required_unless_present = "from_cluster", value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// What to print
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    output: Format,

    /// Show pods instead of workloads
    #[arg(long)]
    pods: bool,

    /// The namespace of objects that name none, as with kubectl apply -n
    /// [default: default]
    #[arg(short, long, value_name = "NAMESPACE", value_parser = value::namespace)]
    namespace: Option<String>,

    #[command(flatten)]
    accept: AcceptOptions,

    #[command(flatten)]
    ranges: RangeOptions,

    #[command(flatten)]
    live: SnapshotOptions,
}

/// The ranges of addresses that the manifests do not contain.
#[derive(Debug, Args)]
#[command(next_help_heading = "Addresses")]
struct RangeOptions {
    /// A range of pod addresses. May be repeated
    #[arg(long, value_name = "CIDR", value_parser = value::cidr)]
    pod_cidr: Vec<IpNet>,

    /// A range of the virtual addresses of Services. May be repeated
    #[arg(long, value_name = "CIDR", value_parser = value::cidr)]
    service_cidr: Vec<IpNet>,

    /// A range of node addresses. May be repeated
    #[arg(long, value_name = "CIDR", value_parser = value::cidr)]
    node_cidr: Vec<IpNet>,
}

impl RangeOptions {
    fn ranges(&self) -> AddressRanges {
        AddressRanges {
            pods: self.pod_cidr.clone(),
            services: self.service_cidr.clone(),
            nodes: self.node_cidr.clone(),
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  netproof expect deploy/                          workloads of a folder of manifests
  netproof expect --pods -o json all.yaml          pods, for a machine to read
  netproof expect -n shop shop.yaml                as kubectl apply -n shop -f shop.yaml
  netproof expect --pod-cidr 10.244.0.0/16 deploy/ where policies have ipBlocks
  kubectl kustomize overlays/prod | netproof expect -
  netproof expect --from-cluster                   what the policies of the current cluster allow now
  netproof expect --from-cluster --save-snapshot now.json; netproof expect now.json
  netproof expect --from-cluster --save-snapshot bug.json --redact
  kubectl get ns,nodes,pods,svc,netpol,deploy -A -o json | netproof expect -";

pub(super) fn expect(args: &ExpectArgs) -> anyhow::Result<ExitCode> {
    let snapshot = read(args)?;
    let Snapshot { cluster, other, warnings, unshown, .. } = &snapshot;
    if !other.ignored.is_empty() {
        let kinds: Vec<_> = other.ignored.iter().map(|(kind, number)| format!("{kind} ({number})")).collect();
        output::line(&format!("not looked at, as it has no part in NetworkPolicy: {}", kinds.join(", ")));
    }
    let unmodelled = args.accept.mark(&other.unmodelled);
    let unshown = UnshownServices::all(unshown);
    for UnshownServices { services, why } in &unshown {
        output::line(&format!("note: not in the table: Service {}: {why}", services.join(", ")));
    }
    if snapshot.workloads.is_empty() && cluster.policies.len() + cluster.cluster_policies.len() > 0 {
        for kind in &other.unmodelled {
            output::line(&format!("not modelled: {kind}"));
        }
        anyhow::bail!(
            "there are policies and no pods, so nothing can be said: add the manifests of the workloads, or \
             read the cluster itself (netproof expect --from-cluster)"
        );
    }
    let unused = args.accept.unused(&unmodelled);
    let notes = snapshot.notes();
    let all = [&notes, warnings, &other.warnings, &unmatched(cluster), &unused];
    let warnings = all.map(Vec::as_slice).concat();
    // The table contains the kinds.
    let shown = match args.output {
        Format::Table => &[],
        Format::Json => unmodelled.as_slice(),
    };
    output::warnings(&warnings, shown);
    let engine = Engine::new(cluster.clone());
    let granularity = if args.pods { Granularity::Pods } else { Granularity::Workloads };
    let matrix = Matrix::new(&engine, &snapshot, granularity);
    let mut document = ExpectationDocument::new(warnings, unmodelled, unshown, matrix);
    let stdout = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    output::unless_closed(match args.output {
        Format::Table => report::expected_table(&mut document, stdout).map_err(Into::into),
        Format::Json => report::expected_json(&mut document, stdout).map_err(Into::into),
    })?;
    Ok(ExitCode::from(document.outcome().exit_code()))
}

fn read(args: &ExpectArgs) -> anyhow::Result<Snapshot> {
    let mut snapshot = match args.live.read()? {
        Some(snapshot) => snapshot,
        None => manifests::snapshot(&args.paths, args.namespace.as_deref(), "netproof expect -")?,
    };
    snapshot.narrow(args.ranges.ranges())?;
    Ok(snapshot)
}

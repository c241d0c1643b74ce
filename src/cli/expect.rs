//! `netproof expect`

use std::io::BufWriter;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use ipnet::IpNet;

use super::{Exit, Format, output};
use crate::expect::{Granularity, Matrix};
use crate::policy::Engine;
use crate::snapshot::{AddressRanges, Snapshot};
use crate::{report, source};

/// Show which connections the policies of manifests allow. Sends no packets
///
/// Every ordered pair of workloads, and of address ranges outside the cluster, with the ports that
/// one may reach at the other. Pairs that may exchange nothing are left out.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExpectArgs {
    /// Manifests: files, folders, or - for standard input; YAML or JSON
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// What to print
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    output: Format,

    /// Pods instead of workloads
    #[arg(long)]
    pods: bool,

    #[command(flatten)]
    ranges: RangeOptions,
}

/// Where addresses are that the manifests do not contain. Give all ranges, of both families if the cluster has
/// both.
#[derive(Debug, Args)]
#[command(next_help_heading = "Addresses")]
struct RangeOptions {
    /// A range of which pods have their addresses. May be repeated
    #[arg(long, value_name = "CIDR")]
    pod_cidr: Vec<IpNet>,

    /// A range of the virtual addresses of Services. May be repeated
    #[arg(long, value_name = "CIDR")]
    service_cidr: Vec<IpNet>,

    /// A range of which nodes have their addresses. May be repeated
    #[arg(long, value_name = "CIDR")]
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
  netproof expect --pod-cidr 10.244.0.0/16 deploy/ where policies have ipBlocks
  kubectl get ns,nodes,pods,svc,netpol,deploy -A -o json | netproof expect -";

pub(super) fn expect(args: &ExpectArgs) -> anyhow::Result<Exit> {
    let mut documents = Vec::new();
    for text in source::read(&args.paths)? {
        documents.extend(text.documents()?);
    }
    let mut snapshot = Snapshot::from_documents(&documents)?;
    snapshot.narrow(args.ranges.ranges()).map_err(|message| anyhow!(message))?;
    if !snapshot.ignored.is_empty() {
        let kinds: Vec<_> =
            snapshot.ignored.iter().map(|(kind, number)| format!("{kind} ({number})")).collect();
        output::note(&format!("not looked at, as it has no part in NetworkPolicy: {}", kinds.join(", ")));
    }
    let engine = Engine::new(snapshot.cluster.clone());
    let granularity = if args.pods { Granularity::Pods } else { Granularity::Workloads };
    let mut matrix = Matrix::new(&engine, &snapshot, granularity);
    let stdout = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    match args.output {
        Format::Table => report::expected_table(&mut matrix, stdout)?,
        Format::Json => report::expected_json(&mut matrix, stdout)?,
    }
    Ok(Exit::Done)
}

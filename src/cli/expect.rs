//! `netproof expect`

use std::io::BufWriter;
use std::path::PathBuf;

use clap::Args;

use super::{Exit, Format, output};
use crate::expect::{Granularity, Matrix, assumes_addresses};
use crate::policy::Engine;
use crate::snapshot::Snapshot;
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
}

const EXAMPLES: &str = "\
Examples:
  netproof expect deploy/                          workloads of a folder of manifests
  netproof expect --pods -o json all.yaml          pods, for a machine to read
  kubectl get ns,pods,svc,netpol,deploy -A -o json | netproof expect -";

pub(super) fn expect(args: &ExpectArgs) -> anyhow::Result<Exit> {
    let mut documents = Vec::new();
    for text in source::read(&args.paths)? {
        documents.extend(text.documents()?);
    }
    let snapshot = Snapshot::from_documents(&documents)?;
    if !snapshot.ignored.is_empty() {
        let kinds: Vec<_> =
            snapshot.ignored.iter().map(|(kind, number)| format!("{kind} ({number})")).collect();
        output::note(&format!("not looked at, as it has no part in NetworkPolicy: {}", kinds.join(", ")));
    }
    for (why, services) in &snapshot.unshown {
        let names: Vec<_> = services.iter().map(ToString::to_string).collect();
        output::note(&format!("note: not in the table: Service {}: {why}", names.join(", ")));
    }
    if assumes_addresses(&snapshot) {
        output::note(
            "note: the addresses of some pods are not known: an ipBlock is taken not to cover them, unless it is 0.0.0.0/0 or ::/0",
        );
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

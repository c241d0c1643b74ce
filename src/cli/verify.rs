//! `netproof verify`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::accept::AcceptOptions;
use super::backend_kind::BackendKind;
use super::conclusion::Conclusion;
use super::interruption::Interruption;
use super::run_options::at_least_one;
use super::timing::TimingOptions;
use super::{Format, block_on, output, value};
use crate::backend::lab::{self, Entered, Lab};
use crate::deviation::Fault;
use crate::document::VerifyDocument;
use crate::observe;
use crate::snapshot::Snapshot;
use crate::tenants::{Tenancy, Tenants, well_known_key};
use crate::verdict::Environment;
use crate::verify::{Plan, check, place};
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
}

const EXAMPLES: &str = "\
Examples:
  netproof verify --tenants tenants.yaml deploy/           manifests, in the lab
  netproof verify --tenant-label team deploy/              without a file: one tenant for each value of the label
  netproof verify --tenants tenants.yaml --fault ignore-udp deploy/    would a leak be noticed?
  netproof verify --tenants tenants.yaml -o json deploy/   for a machine to read";

pub(super) fn verify(args: &VerifyArgs, everything: bool) -> anyhow::Result<ExitCode> {
    match args.kind() {
        BackendKind::Lab => {
            if args.manifests.is_empty() {
                anyhow::bail!("the lab plays the cluster of manifests: name files or folders");
            }
            match lab::enter()? {
                Entered::Outside(code) => return Ok(ExitCode::from(code)),
                Entered::Inside => {}
            }
        }
        BackendKind::Cluster => anyhow::bail!("verify on a cluster is not built yet"),
    }
    let mut snapshot = args.snapshot()?;
    place(&mut snapshot.cluster);
    let tenancy = args.tenancy(&snapshot)?;
    let plan = Plan::new(&snapshot, &tenancy, args.max_probes)?;
    let environment = args.environment(&snapshot);
    let settings = args.timing.settings(&observe::Settings::lab())?;
    block_on(async {
        let interruption = Interruption::listen()?;
        let lab = Lab::new(args.fault)?;
        let checked = check(&plan, &settings, lab, environment, interruption.requested()).await;
        args.conclude(&VerifyDocument::new(&plan, &tenancy, &checked), everything)?.print()
    })
}

impl VerifyArgs {
    fn kind(&self) -> BackendKind {
        self.backend.unwrap_or(match self.manifests.is_empty() {
            true => BackendKind::Cluster,
            false => BackendKind::Lab,
        })
    }

    fn snapshot(&self) -> anyhow::Result<Snapshot> {
        source::refuse_unbuilt(&self.manifests, "netproof verify -")?;
        let mut documents = Vec::new();
        for text in source::read(&self.manifests)? {
            documents.extend(text.manifests()?);
        }
        Ok(Snapshot::read(&documents, self.namespace.as_deref())?)
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

    fn environment(&self, snapshot: &Snapshot) -> Environment {
        let name = self.fault.map_or("lab".to_owned(), |fault| format!("lab with fault {fault}"));
        let unmodelled = self.accept.mark(&snapshot.other.unmodelled);
        let unused = self.accept.unused(&unmodelled);
        let warnings = [&snapshot.warnings, &snapshot.other.warnings, &unused].map(Vec::as_slice).concat();
        Environment { name, warnings, unmodelled, ..Environment::default() }
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

//! The options of runs on a cluster.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, ValueEnum};

use super::backend_kind::{BackendKind, ON_A_CLUSTER};
use super::site::SiteOptions;
use super::{outside, value};
use crate::backend::cluster::{Control, OutsideHost, PullPolicy, Resources, Settings, Target};
use crate::snapshot::Identity;

/// The cluster, and the user.
#[derive(Debug, Clone, Args)]
pub(super) struct TargetOptions {
    /// The kubeconfig file [default: KUBECONFIG, ~/.kube/config, or the pod's service account]
    #[arg(long, value_name = "FILE", help_heading = ON_A_CLUSTER)]
    kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig [default: the current one]
    #[arg(long, value_name = "NAME", help_heading = ON_A_CLUSTER)]
    context: Option<String>,
}

/// The use of the cluster by a run.
#[derive(Debug, Clone, Args)]
pub(super) struct ClusterOptions {
    #[command(flatten)]
    pub(super) probes: ProbeOptions,

    /// Use these nodes, each of them as source and destination [default: as many as the scenario has nodes,
    /// mostly two]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', help_heading = ON_A_CLUSTER)]
    #[arg(conflicts_with = "node_selector")]
    nodes: Vec<String>,

    /// Use every node on which probe pods can run, including tainted nodes. Each scenario runs as often as
    /// necessary
    #[arg(long, conflicts_with = "nodes", help_heading = ON_A_CLUSTER)]
    pub(super) every_node: bool,

    /// An agent on a host outside of the cluster, which pods reach at ADDRESS and netproof at HOST:PORT [default: the
    /// first ADDRESS and port 15119]. It plays the externals of scenarios. Repeat the option for more of them
    ///
    /// Start it with netproof agent, and set NETPROOF_TOKEN to its token. It plays an external that has no other
    /// addresses than these, at most one of each family. If its NAME is that of an external, it also plays that one at
    /// these addresses, as long as no policy tells them from the external's own.
    #[arg(long, value_name = "NAME=ADDRESS[,ADDRESS][@HOST:PORT]", value_parser = outside::host)]
    #[arg(help_heading = ON_A_CLUSTER)]
    pub(super) external: Vec<OutsideHost>,

    /// Also measure nodes, and pods with hostNetwork. One agent with hostNetwork runs on each node in use. Its namespace, and
    /// those of the scenarios with such pods, get Pod Security privileged: who may create pods there may do anything on the
    /// nodes. Services of type NodePort take their ports. It needs no other rights
    #[arg(long, conflicts_with = "prepared_namespaces", help_heading = ON_A_CLUSTER)]
    host_network: bool,

    /// Also write the result to this ConfigMap
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = value::object, help_heading = ON_A_CLUSTER)]
    pub(super) save_configmap: Option<Identity>,
}

/// The probe pods, and how to reach them.
#[derive(Debug, Clone, Args)]
pub(super) struct ProbeOptions {
    #[command(flatten)]
    pub(super) target: TargetOptions,

    /// An image that contains the agent, as netproof image makes it [default: none. The run brings the agent in
    /// ConfigMaps, and runs it in an image that the nodes have]
    #[arg(long, value_name = "IMAGE", group = "named_image", help_heading = ON_A_CLUSTER)]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    image: Option<String>,

    /// Any image of Linux, in which the agent of the ConfigMaps runs. Nothing of it is run or read [default: one
    /// that the nodes have]
    #[arg(long, value_name = "IMAGE", group = "named_image", help_heading = ON_A_CLUSTER)]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    base_image: Option<String>,

    /// When nodes pull the image [default: if they do not have it]
    #[arg(long, value_name = "POLICY", value_enum, requires = "named_image", help_heading = ON_A_CLUSTER)]
    image_pull_policy: Option<PullPolicyName>,

    /// A Secret for pulling the image. It is copied to the run's namespaces
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = value::object, help_heading = ON_A_CLUSTER)]
    #[arg(requires = "named_image")]
    image_pull_secret: Option<Identity>,

    /// Requests of each probe pod, if a quota or a LimitRange demands more [default: cpu=5m,memory=16Mi]
    #[arg(long, value_name = "RESOURCE=QUANTITY,...", value_delimiter = ',', help_heading = ON_A_CLUSTER)]
    #[arg(value_parser = value::quantity)]
    pod_requests: Vec<(String, String)>,

    /// Limits of each probe pod [default: cpu=500m,memory=64Mi]
    #[arg(long, value_name = "RESOURCE=QUANTITY,...", value_delimiter = ',', help_heading = ON_A_CLUSTER)]
    #[arg(value_parser = value::quantity)]
    pod_limits: Vec<(String, String)>,

    /// How to reach the agents
    #[arg(long, value_name = "WAY", value_enum, default_value_t = ControlName::PortForward)]
    #[arg(help_heading = ON_A_CLUSTER)]
    control: ControlName,

    /// Prefix of the names of the run's namespaces [default: netproof and a random id]
    #[arg(long, value_name = "PREFIX", help_heading = ON_A_CLUSTER)]
    namespace_prefix: Option<String>,

    /// Use these namespaces, which were prepared for netproof alone, and create none. The first one is for
    /// canaries, the others are for scenarios
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', help_heading = ON_A_CLUSTER)]
    #[arg(conflicts_with_all = ["namespace_prefix", "keep", "image_pull_secret"])]
    prepared_namespaces: Vec<String>,

    #[command(flatten)]
    pub(super) site: SiteOptions,

    /// How long pods may take to become ready
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = value::duration)]
    #[arg(help_heading = ON_A_CLUSTER)]
    pod_timeout: Duration,

    /// How long pods live at most, even if netproof is killed
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = value::duration)]
    #[arg(help_heading = ON_A_CLUSTER)]
    deadline: Duration,

    /// Leave everything on the cluster at the end, and print how to remove it
    #[arg(long, help_heading = ON_A_CLUSTER)]
    pub(super) keep: bool,
}

/// Refuses options of this file if packets are sent in the lab.
pub(super) fn check(command: &Command, matches: &ArgMatches) -> anyhow::Result<()> {
    let Some((name, matches)) = matches.subcommand() else { return Ok(()) };
    let backend = matches.try_get_one::<BackendKind>("backend").ok().flatten();
    // Without a backend, manifests are for the lab.
    let has_manifests = matches.try_contains_id("manifests").unwrap_or_default();
    let is_lab = backend.map_or(has_manifests, |backend| *backend == BackendKind::Lab);
    let options = command.find_subcommand(name).into_iter().flat_map(Command::get_arguments);
    let mut options = options.filter(|option| option.get_help_heading() == Some(ON_A_CLUSTER));
    let is_given =
        |option: &&Arg| matches.value_source(option.get_id().as_str()) == Some(ValueSource::CommandLine);
    if let Some(option) = options.find(is_given).and_then(Arg::get_long).filter(|_| is_lab) {
        if has_manifests {
            anyhow::bail!(
                "--{option} is for a cluster, and manifests are for the lab: leave out one of them"
            );
        }
        anyhow::bail!("--{option} is for runs on a cluster: add --backend cluster");
    }
    Ok(())
}

/// A pull policy, as the API spells it.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum PullPolicyName {
    Always,
    IfNotPresent,
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ControlName {
    PortForward,
    Exec,
}

impl TargetOptions {
    /// Returns the first of these options that the user gave.
    pub(super) fn first_given(&self) -> Option<&'static str> {
        let given = [(self.kubeconfig.is_some(), "--kubeconfig"), (self.context.is_some(), "--context")];
        given.into_iter().find(|(is_given, _)| *is_given).map(|(_, option)| option)
    }

    pub(super) fn target(&self) -> Target {
        Target { kubeconfig: self.kubeconfig.clone(), context: self.context.clone() }
    }
}

impl ClusterOptions {
    pub(super) fn settings(&self) -> anyhow::Result<Settings> {
        let settings = self.probes.settings()?;
        let outside = self.external.clone();
        outside::check(&outside)?;
        let token = (!outside.is_empty()).then(outside::token).transpose()?;
        let (nodes, every_node) = (self.nodes.clone(), self.every_node);
        let host_network = self.host_network;
        Ok(Settings { nodes, every_node, outside, token, host_network, ..settings })
    }
}

impl ProbeOptions {
    pub(super) fn settings(&self) -> anyhow::Result<Settings> {
        let mut resources = Resources::default();
        resources.requests.extend(self.pod_requests.iter().cloned());
        resources.limits.extend(self.pod_limits.iter().cloned());
        Ok(Settings {
            target: self.target.target(),
            namespace_prefix: self.namespace_prefix.clone(),
            prepared_namespaces: self.prepared_namespaces.clone(),
            image: self.image.clone(),
            base_image: self.base_image.clone(),
            image_pull_policy: self.image_pull_policy.map(|policy| match policy {
                PullPolicyName::Always => PullPolicy::Always,
                PullPolicyName::IfNotPresent => PullPolicy::IfNotPresent,
                PullPolicyName::Never => PullPolicy::Never,
            }),
            image_pull_secret: self.image_pull_secret.clone(),
            resources,
            nodes: Vec::new(),
            every_node: false,
            site: self.site.site()?,
            control: match self.control {
                ControlName::PortForward => Control::PortForward,
                ControlName::Exec => Control::Exec,
            },
            pod_timeout: self.pod_timeout,
            deadline: self.deadline,
            outside: Vec::new(),
            token: None,
            host_network: false,
            keep: self.keep,
        })
    }
}

//! The state that all parts of a run on a cluster share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use netproof_probe::random;
use tokio::sync::Semaphore;

use super::agent_source::AgentSource;
use super::names::Names;
use super::objects::{Maker, RUN};
use super::outside::Outside;
use super::pods::{PodWatch, RunningPod};
use super::prepared::Prepared;
use super::purpose::{CANARIES, HELPERS, NODES, Purpose};
use super::request::{persistently, say};
use super::settings::Settings;
use super::survey::Survey;
use super::{base_images, nodes};
use crate::backend::{Error, LostPod, no_random_numbers};

/// Limit on agent connections that are opened at the same time. Each costs the API server a handshake.
const OPENED_AT_ONCE: usize = 32;

/// The state that all parts of a run on a cluster share.
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) maker: Maker,
    pub(super) prefix: String,
    /// `None` if the run creates its own namespaces.
    pub(super) prepared: Option<Prepared>,
    pub(super) survey: Survey,
    pub(super) watch: PodWatch,
    pub(super) permits: Arc<Semaphore>,
    pub(super) pull_secret: Option<Secret>,
    /// The hosts outside of the cluster.
    pub(super) outside: Outside,
    /// Lock for the cluster's only BaselineAdminNetworkPolicy.
    pub(super) baseline: Arc<tokio::sync::Mutex<()>>,
    /// Kinds, as `Kind.group`, whose objects are accepted in the run's namespaces even if others created
    /// them.
    pub(super) accepted: OnceLock<BTreeSet<String>>,
    /// The namespaces that have the agent for an architecture in a ConfigMap, with that architecture.
    pub(super) agent_maps: Mutex<BTreeSet<(String, String)>>,
    /// Number of deployments that were ever created.
    pub(super) deployments: AtomicUsize,
    /// Whether a deployment has ever started successfully.
    pub(super) has_started: AtomicBool,
}

impl Shared {
    pub(super) fn new(
        client: Client,
        maker: Maker,
        prefix: String,
        prepared: Option<Prepared>,
        survey: Survey,
        watch: PodWatch,
        pull_secret: Option<Secret>,
    ) -> Self {
        Self {
            client,
            maker,
            prefix,
            prepared,
            survey,
            watch,
            permits: Arc::new(Semaphore::new(OPENED_AT_ONCE)),
            pull_secret,
            outside: Outside::default(),
            baseline: Arc::default(),
            accepted: OnceLock::new(),
            agent_maps: Mutex::default(),
            deployments: AtomicUsize::default(),
            has_started: AtomicBool::default(),
        }
    }

    /// Checks the settings, and prepares everything that needs no object on the cluster. `nodes` are those on which pods
    /// may run.
    pub(super) async fn open(
        client: Client,
        settings: Settings,
        survey: Survey,
        nodes: &[String],
        purpose: Purpose<'_>,
    ) -> Result<Self, Error> {
        let token = match &settings.token {
            Some(token) => token.clone(),
            None => random::token().map_err(|error| no_random_numbers(&error))?,
        };
        let outside = Outside::open(&settings.outside, &token, &survey.nodes).await?;
        let source = agent_source(&client, &settings, &survey, nodes).await?;
        let run = random::word(5).map_err(|error| no_random_numbers(&error))?;
        let prefix = settings.namespace_prefix.clone().unwrap_or_else(|| format!("netproof-{run}"));
        let prepared = match settings.prepared_namespaces.as_slice() {
            [] => None,
            names => Some(Prepared::new(names, settings.image.is_none())),
        };
        match &prepared {
            Some(prepared) => {
                prepared.check(&client, &settings.site.namespace_labels, purpose).await?;
            }
            None => check_prefix(&client, &prefix).await?,
        }
        let pull_secret = pull_secret(&client, &settings).await?;
        let watch = PodWatch::start(client.clone(), &run, &purpose.watched(&settings, &prefix));
        let maker = Maker { run, token, settings, source };
        Ok(Self { outside, ..Self::new(client, maker, prefix, prepared, survey, watch, pull_secret) })
    }

    /// Returns the name of the network plugin.
    pub(super) fn plugin(&self) -> &'static str {
        self.survey.plugin.map_or("unknown", |plugin| plugin.name)
    }

    /// Returns the nodes on which no probe pod can run, with the reasons. `None` if there are none.
    pub(super) fn unfit_nodes(&self) -> Option<String> {
        let unfit = self.survey.nodes.iter().filter_map(|node| {
            let why = nodes::reason_against(node, &self.maker.settings.site)?;
            Some(format!("{} {why}", node.name))
        });
        let unfit: Vec<String> = unfit.collect();
        (!unfit.is_empty()).then(|| unfit.join(", "))
    }

    /// Returns all nodes of the cluster with the versions of their kubelets.
    pub(super) fn nodes(&self) -> BTreeMap<String, String> {
        let nodes = self.survey.nodes.iter();
        nodes.map(|node| (node.name.clone(), node.kubelet.clone())).collect()
    }

    /// Returns the label selector that finds everything that the run created.
    pub(super) fn selector(&self) -> String {
        format!("{RUN}={}", self.maker.run)
    }

    /// Returns the command that removes everything that the run created. `tenants` are the namespaces of tenants that
    /// the command may use, or empty if it may use all.
    pub(super) fn cleanup_command(&self, tenants: &[String]) -> String {
        let Settings { target, prepared_namespaces, .. } = &self.maker.settings;
        let mut command = format!("netproof cleanup --run {}", self.maker.run);
        for (option, names) in
            [("--prepared-namespaces", prepared_namespaces.as_slice()), ("--tenant-namespaces", tenants)]
        {
            if !names.is_empty() {
                command.push_str(&format!(" {option} {}", names.join(",")));
            }
        }
        command.push_str(&target.as_options());
        command
    }

    /// Returns the error of a start. If nothing has ever started, a later start cannot succeed either, so the backend is
    /// unavailable.
    pub(super) fn judge(&self, error: Error) -> Error {
        if self.has_started.load(Ordering::Relaxed) { error } else { Error::Unavailable(error.to_string()) }
    }

    /// Returns those of these pods that no longer run.
    pub(super) fn lost_among(&self, pods: impl Iterator<Item = RunningPod>) -> Vec<LostPod> {
        let lost = pods.filter_map(|(pod, addresses)| {
            let why = self.watch.loss(&pod, &addresses)?;
            Some(LostPod { name: pod.to_string(), why, was_starting: false })
        });
        lost.collect()
    }

    /// Returns the names for the canaries' namespace.
    pub(super) fn names_of_canaries(&self) -> Names {
        self.names_of_own(CANARIES, self.prepared.as_ref().map(Prepared::canaries))
    }

    /// Returns the name on the cluster of the canaries' namespace.
    pub(super) fn namespace_of_canaries(&self) -> String {
        self.names_of_canaries().namespace(CANARIES)
    }

    /// Returns the names for the helpers' namespace.
    pub(super) fn names_of_helpers(&self) -> Names {
        self.names_of_own(HELPERS, self.prepared.as_ref().and_then(Prepared::helpers))
    }

    /// Returns the names for the namespace of agents in the networks of nodes.
    pub(super) fn names_of_nodes(&self) -> Names {
        self.names_of_own(NODES, None)
    }

    /// Returns the names for a namespace of netproof, for which a prepared one may stand.
    fn names_of_own(&self, name: &str, prepared: Option<String>) -> Names {
        let names = Names::new(self.prefix.clone());
        match prepared {
            Some(prepared) => names.with_prepared([(name.to_owned(), prepared)].into()),
            None => names,
        }
    }
}

/// Returns where pods on these nodes get the agent from.
async fn agent_source(
    client: &Client,
    settings: &Settings,
    survey: &Survey,
    nodes: &[String],
) -> Result<AgentSource, Error> {
    match (&settings.image, &settings.base_image) {
        (Some(image), _) => Ok(AgentSource::Image(image.clone())),
        (None, Some(image)) => AgentSource::carried(base_images::named(&survey.nodes, nodes, image), true),
        (None, None) => AgentSource::carried(base_images::find(client, &survey.nodes, nodes).await?, false),
    }
}

/// Checks that the prefix is valid, and that no namespace has it.
async fn check_prefix(client: &Client, prefix: &str) -> Result<(), Error> {
    let is_valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if prefix.is_empty() || prefix.len() > 40 || !prefix.chars().all(is_valid) || prefix.starts_with('-') {
        let rule = "at most 40 lower-case letters, digits and hyphens, beginning with a letter or digit";
        return Err(Error::Unavailable(format!("--namespace-prefix {prefix}: must be {rule}")));
    }
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let listed = persistently(async || namespaces.list_metadata(&ListParams::default()).await).await;
    let listed =
        listed.map_err(|error| Error::Unavailable(format!("cannot list namespaces: {}", say(&error))))?;
    let begin = format!("{prefix}-");
    match listed.items.iter().map(ResourceExt::name_any).find(|name| name.starts_with(&begin)) {
        Some(name) => {
            let message =
                format!("--namespace-prefix {prefix}: namespace {name} is there already: choose another");
            Err(Error::Unavailable(message))
        }
        None => Ok(()),
    }
}

async fn pull_secret(client: &Client, settings: &Settings) -> Result<Option<Secret>, Error> {
    let Some(identity) = &settings.image_pull_secret else { return Ok(None) };
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &identity.namespace);
    let found = persistently(async || secrets.get(&identity.name).await).await;
    let unusable = |error| Error::Unavailable(format!("--image-pull-secret {identity}: {}", say(&error)));
    found.map(Some).map_err(unusable)
}

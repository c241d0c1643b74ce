//! The state that all parts of a run on a cluster share.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock};

use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use tokio::sync::Semaphore;

use super::names::Names;
use super::objects::Maker;
use super::pods::PodWatch;
use super::prepared::Prepared;
use super::survey::Survey;

/// Limit on agent connections that are opened at the same time. Each costs the API server a handshake.
const OPENED_AT_ONCE: usize = 32;

/// Name of the canaries' namespace. The run's prefix precedes it.
pub(super) const CANARIES: &str = "canaries";

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
            baseline: Arc::default(),
            accepted: OnceLock::new(),
            agent_maps: Mutex::default(),
            deployments: AtomicUsize::default(),
            has_started: AtomicBool::default(),
        }
    }

    /// Returns the names for the canaries' namespace.
    pub(super) fn names_of_canaries(&self) -> Names {
        let prefix = self.prefix.clone();
        match &self.prepared {
            Some(prepared) => Names::prepared(prefix, [(CANARIES.to_owned(), prepared.canaries())].into()),
            None => Names::new(prefix),
        }
    }
}

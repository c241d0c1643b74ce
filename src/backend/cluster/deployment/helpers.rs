//! Helpers: pods whose agents enter the networks of running pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Deployment, Kind};
use crate::backend::Error;
use crate::backend::cluster::live::Entry;
use crate::backend::cluster::shared::Shared;
use crate::snapshot::Identity;
use crate::world::World;

impl Deployment {
    /// Returns a deployment in the namespace of the helpers.
    pub(in crate::backend::cluster) fn of_helpers(shared: Arc<Shared>) -> Self {
        let names = shared.names_of_helpers();
        Self { kind: Kind::Helpers(BTreeMap::new()), ..Self::new(shared, names, Vec::new()) }
    }

    /// Brings the cluster to a state of which all pods are helpers. Replaces those that are lost. `entries` are the running
    /// pods, by the names of the helpers.
    pub(in crate::backend::cluster) async fn start_helpers(
        &mut self,
        world: &World,
        entries: BTreeMap<Identity, Entry>,
    ) -> Result<(), Error> {
        self.remove_lost().await?;
        let known = |helper: &Identity| match &self.kind {
            Kind::Helpers(known) => known.get(helper),
            Kind::Plain | Kind::Nodes | Kind::Twins(_) | Kind::Strangers => None,
        };
        let is_other = |helper: &&Identity| entries.get(*helper) != known(helper);
        let others: Vec<Identity> = self.pods.keys().filter(is_other).cloned().collect();
        self.remove_pods(&others).await?;
        self.kind = Kind::Helpers(entries);
        self.use_nodes(world.cluster.nodes.iter().map(|node| node.name.clone()).collect());
        self.converge(world).await.map(drop)
    }
}

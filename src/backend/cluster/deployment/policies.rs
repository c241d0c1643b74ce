//! The policies of a topology on the cluster: NetworkPolicies and cluster-scoped policies.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::try_join;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, PostParams};

use super::Deployment;
use crate::backend::Error;
use crate::backend::cluster::cluster_policies::{self, Made};
use crate::backend::cluster::request::{bounded, failed, is_there_already, persistently};
use crate::backend::cluster::shared::Shared;
use crate::policy::{ClusterPolicyKind, ClusterPolicyName};
use crate::snapshot::{Identity, WrittenClusterPolicy};
use crate::world::{Absence, Capability, World};

/// Creates a policy, or replaces the existing one.
///
/// A merge would not be enough: the API server fills in `policyTypes`, and a merge would keep the value that
/// it derived from earlier rules.
pub(in crate::backend::cluster) async fn write(
    policies: &Api<NetworkPolicy>,
    name: &str,
    policy: &NetworkPolicy,
    is_there: bool,
) -> Result<(), kube::Error> {
    let replace = async || policies.replace(name, &PostParams::default(), policy).await;
    let create = async || policies.create(&PostParams::default(), policy).await;
    let written = match is_there {
        true => persistently(replace).await,
        false => match persistently(create).await {
            // An earlier request created the policy, but its answer was lost.
            Err(error) if is_there_already(&error) => persistently(replace).await,
            created => created,
        },
    };
    written.map(drop)
}

impl Deployment {
    /// Sets the NetworkPolicies of a state and deletes all others. Returns the policies that are now set.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(super) async fn set_policies(
        &self,
        world: &World,
    ) -> Result<BTreeMap<Identity, Arc<NetworkPolicy>>, Error> {
        let wanted: BTreeMap<Identity, Arc<NetworkPolicy>> = world
            .written
            .iter()
            .map(|written| (Identity::of_policy(&written.policy), Arc::clone(&written.object)))
            .collect();
        let changed = wanted.iter().filter(|(identity, object)| self.policies.get(identity) != Some(object));
        let set = bounded(changed.map(async |(identity, object)| {
            let Identity { namespace, name } = identity;
            let policy = self.shared.maker.policy(object, namespace, &self.names);
            let set = write(&self.api(namespace), name, &policy, self.policies.contains_key(identity)).await;
            set.map_err(failed(format!("apply NetworkPolicy {identity}")))
        }));
        let surplus = self.policies.keys().filter(|identity| !wanted.contains_key(identity));
        try_join(set, self.delete::<NetworkPolicy>(surplus)).await?;
        Ok(wanted)
    }

    /// Sets the cluster-scoped policies of a state and deletes all others. Returns why nothing can be
    /// measured, if they cannot all be in force.
    pub(super) async fn set_cluster_policies(&mut self, world: &World) -> Result<Option<Absence>, Error> {
        let support = &self.shared.survey.cluster_policies;
        let refused = |written: &WrittenClusterPolicy| support.get(&written.policy.name.kind)?.clone().err();
        let refusal = world.written_for_cluster.iter().find_map(refused);
        let wanted: BTreeMap<_, _> = match refusal {
            Some(_) => BTreeMap::new(),
            None => world.written_for_cluster.iter().map(|w| (w.policy.name.clone(), w)).collect(),
        };
        let surplus: Vec<_> =
            self.cluster_policies.keys().filter(|name| !wanted.contains_key(name)).cloned().collect();
        self.delete_cluster_policies(surplus).await?;
        let shared = Arc::clone(&self.shared);
        for (name, written) in wanted {
            if self.cluster_policies.get(&name).is_some_and(|known| known.as_ref() == Some(&written.object)) {
                continue;
            }
            if name.kind == ClusterPolicyKind::BaselineAdminNetworkPolicy && self.baseline.is_none() {
                self.baseline = Some(Arc::clone(&shared.baseline).lock_owned().await);
            }
            let object = shared.maker.cluster_policy(written, &self.names, &self.namespaces())?;
            self.cluster_policies.insert(name.clone(), None);
            match cluster_policies::set(&shared.client, name.kind, &object, &shared.maker.run).await? {
                Made::Done => self.cluster_policies.insert(name, Some(Arc::clone(&written.object))),
                Made::SomebodyElses => {
                    let real = self.names.cluster_policy(&name);
                    let why = format!("the cluster has a {} {real} which is not this run's", name.kind);
                    return Ok(Some(Absence { capability: None, why }));
                }
            };
        }
        Ok(refusal.map(|why| Absence { capability: Some(Capability::ClusterPolicies), why }))
    }

    /// Deletes the cluster-scoped policies, which would remain after the namespaces are deleted.
    pub(in crate::backend::cluster) async fn remove_cluster_policies(&mut self) -> Result<(), Error> {
        self.delete_cluster_policies(self.cluster_policies.keys().cloned().collect()).await
    }

    /// Returns whether cluster-scoped policies exist, or may exist.
    pub(in crate::backend::cluster) fn has_cluster_policies(&self) -> bool {
        !self.cluster_policies.is_empty()
    }

    async fn delete_cluster_policies(&mut self, names: Vec<ClusterPolicyName>) -> Result<(), Error> {
        let Shared { client, maker, .. } = &*self.shared;
        for name in names {
            let real = self.names.cluster_policy(&name);
            cluster_policies::delete(client, name.kind, &real, &maker.run).await?;
            self.cluster_policies.remove(&name);
            if name.kind == ClusterPolicyKind::BaselineAdminNetworkPolicy {
                self.baseline = None;
            }
        }
        Ok(())
    }
}

//! The Services of a topology on the cluster.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use kube::api::{Api, Patch};

use super::Deployment;
use crate::backend::Error;
use crate::backend::cluster::request::{apply, bounded, failed, persistently};
use crate::policy::Service;
use crate::snapshot::Identity;
use crate::world::World;

impl Deployment {
    /// Sets the Services of a state and deletes all others. Returns the Services that are now set.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(super) async fn set_services(&self, world: &World) -> Result<BTreeMap<Identity, Service>, Error> {
        let wanted = bounded(world.cluster.services.iter().map(async |service| {
            let identity = Identity::of_service(service);
            let old = self.services.get(&identity);
            // Compare everything except the addresses, which only the cluster knows.
            let is_same =
                |old: &&Service| **old == Service { addresses: old.addresses.clone(), ..service.clone() };
            if let Some(old) = old.filter(is_same) {
                return Ok((identity, old.clone()));
            }
            let object = self.shared.maker.service(service, &self.names)?;
            let services: Api<core::Service> = self.api(&service.namespace);
            let applied =
                persistently(async || services.patch(&service.name, &apply(), &Patch::Apply(&object)).await);
            let applied = applied.await.map_err(failed(format!("apply Service {identity}")))?;
            Ok::<_, Error>((identity, Service { addresses: addresses(&applied), ..service.clone() }))
        }));
        let wanted: BTreeMap<Identity, Service> = wanted.await?.into_iter().collect();
        self.delete::<core::Service>(self.services.keys().filter(|old| !wanted.contains_key(old))).await?;
        Ok(wanted)
    }
}

fn addresses(service: &core::Service) -> Vec<IpAddr> {
    let spec = service.spec.as_ref();
    let texts = spec.and_then(|spec| spec.cluster_ips.as_ref()).into_iter().flatten();
    texts.filter_map(|text| text.parse().ok()).collect()
}

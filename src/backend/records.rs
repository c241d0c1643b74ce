//! Names that a cluster's DNS server knows.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::plan::service_host;
use crate::policy::Cluster;

/// Addresses by name.
pub(super) type Records = BTreeMap<String, Vec<IpAddr>>;

/// Returns the names of Services, and names of pods that consist of their addresses.
pub(super) fn records(cluster: &Cluster) -> Records {
    let services = cluster
        .services
        .iter()
        .map(|service| (service_host(&service.namespace, &service.name), service.addresses.clone()));
    let pods = cluster.pods.iter().filter(|pod| !pod.ended).flat_map(|pod| {
        pod.addresses.iter().map(|address| {
            let label = address.to_string().replace(['.', ':'], "-");
            (format!("{label}.{}.pod.cluster.local", pod.namespace), vec![*address])
        })
    });
    services.chain(pods).collect()
}

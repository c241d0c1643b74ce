//! The tenants of a cluster.

#![expect(missing_docs, reason = "docs/json.md documents the fields")]

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{ApiVersion, TenantListKind};
use crate::policy::{Cluster, Pod};
use crate::tenants::{Tenancy, Tenant};

/// The tenants of a cluster, with their namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TenantListDocument {
    pub api_version: ApiVersion,
    pub kind: TenantListKind,
    pub tenants: Vec<ListedTenant>,
    /// Owners of each namespace that several tenants own.
    pub co_owned: BTreeMap<String, Vec<String>>,
    pub zones: Vec<ListedZone>,
    /// Namespaces that belong to no tenant.
    pub others: BTreeSet<String>,
}

/// A tenant of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedTenant {
    pub name: String,
    pub namespaces: BTreeSet<String>,
    pub pods: usize,
    pub ingress: String,
    pub egress: String,
    pub mode: String,
}

/// A zone of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedZone {
    pub name: String,
    pub pods: usize,
}

impl TenantListDocument {
    /// Returns the tenants of a cluster.
    pub fn new(tenancy: &Tenancy, cluster: &Cluster) -> Self {
        let pods = |is_one: &dyn Fn(&Pod) -> bool| {
            cluster.pods.iter().filter(|pod| !pod.ended && is_one(pod)).count()
        };
        let tenant = |tenant: &Tenant| ListedTenant {
            name: tenant.name.clone(),
            namespaces: tenant.namespaces.clone(),
            pods: pods(&|pod| tenant.namespaces.contains(&pod.namespace)),
            ingress: tenant.ingress.to_string(),
            egress: tenant.egress.to_string(),
            mode: tenant.mode.to_string(),
        };
        let owners = |namespace: &str| {
            let owners = tenancy.tenants_of(namespace).map(|tenant| tenant.name.clone()).collect();
            (namespace.to_owned(), owners)
        };
        let zones = tenancy.zones().iter().map(|zone| ListedZone {
            name: zone.name.clone(),
            pods: pods(&|pod| zone.contains(&pod.namespace, &pod.labels)),
        });
        let names = cluster.namespaces.iter().map(|namespace| namespace.name.clone());
        Self {
            api_version: ApiVersion::V1Alpha1,
            kind: TenantListKind::TenantList,
            tenants: tenancy.tenants().iter().map(tenant).collect(),
            co_owned: tenancy.co_owned().map(owners).collect(),
            zones: zones.collect(),
            others: names.filter(|name| tenancy.tenants_of(name).next().is_none()).collect(),
        }
    }
}

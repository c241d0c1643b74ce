//! Tenants by the labels of namespaces, for clusters without a tenants file.

use std::collections::BTreeMap;

use super::intent::Mode;
use super::rule::{Scope, Standing};
use super::tenancy::Access;
use super::written::{Owned, TenantSpec, Tenants};
use crate::policy::{Cluster, Namespace};
use crate::source::{Error, Located, Location, quote};

/// Label of the namespaces that AKS manages. Each of them is a tenant of its own.
const AKS_MANAGED: &str = "kubernetes.azure.com/managedByArm";

/// Labels of the Hierarchical Namespace Controller: each namespace has one for each of its ancestors, and one for itself.
/// The value is the distance. A tree of namespaces is one tenant.
const HIERARCHY: &str = "*.tree.hnc.x-k8s.io/depth";

/// Keys of the labels with which well-known tools mark the tenant of a namespace, in the order in which they are tried.
const WELL_KNOWN: [&str; 9] = [
    "toolkit.fluxcd.io/tenant",
    "projectcapsule.dev/tenant",
    "capsule.clastix.io/tenant",
    "stakater.com/tenant",
    "tenant.platform.example/name",
    "field.cattle.io/projectId",
    "fleet.gke.io/fleet-scope",
    HIERARCHY,
    AKS_MANAGED,
];

/// Returns the key of the label that marks tenants in this cluster: the first one that well-known tools set, and that a
/// namespace has. [`Tenants::by_label`] understands it.
///
/// # Errors
/// If no namespace has one of these labels. The message says what to do.
pub fn well_known_key(cluster: &Cluster) -> Result<&'static str, Error> {
    let has_groups = |key: &&str| namespaces(cluster).any(|namespace| group(namespace, key).is_some());
    WELL_KNOWN.into_iter().find(has_groups).ok_or_else(|| {
        let message = format!(
            "no namespace has a label that marks tenants ({}), so it is not known who the tenants are: write a tenants \
             file (`netproof tenants init` writes a first one), or name the label with --tenant-label KEY",
            WELL_KNOWN.join(", ")
        );
        Error::whole(&"tenants by label".into(), message)
    })
}

impl Tenants {
    /// Groups namespaces by the value of a label. Asks that nothing from one group reaches another, and nothing else:
    /// connections from and to pods of no group, nodes, and addresses outside are not judged.
    ///
    /// # Errors
    /// If there are not at least two groups.
    pub fn by_label(cluster: &Cluster, key: &str) -> Result<Self, Error> {
        let error = |message: String| Error::whole(&format!("tenants by label {key}").into(), message);
        let mut groups: BTreeMap<String, Vec<Owned>> = BTreeMap::new();
        for namespace in namespaces(cluster) {
            if namespace.unknown_labels.others && !namespace.labels.contains_key(key) {
                let message = format!(
                    "the labels of namespace {} are not known: add its manifest",
                    quote(&namespace.name)
                );
                return Err(error(message));
            }
            let Some(name) = group(namespace, key) else { continue };
            if name.is_empty() {
                let message = format!("the label of namespace {} has no value", quote(&namespace.name));
                return Err(error(message));
            }
            let pattern = Located { value: namespace.name.clone(), at: Location::START };
            groups.entry(name).or_default().push(Owned { pattern, shared: false });
        }
        if groups.len() < 2 {
            let found = match groups.keys().next() {
                Some(only) => format!("all namespaces with this label belong to one group, {}", quote(only)),
                None => "no namespace has this label".to_owned(),
            };
            return Err(error(format!("{found}: there must be at least two groups to be isolated")));
        }
        Ok(Self {
            file: None,
            tenants: groups.into_iter().map(|(name, namespaces)| tenant(name, namespaces)).collect(),
            services: Vec::new(),
            zones: Vec::new(),
            flows: Vec::new(),
            outside: Vec::new(),
            standing: Standing::NONE,
            scope: Scope::BetweenTenants,
        })
    }
}

fn tenant(name: String, namespaces: Vec<Owned>) -> TenantSpec {
    let here = |value| Located { value, at: Location::START };
    TenantSpec {
        name: Located { value: name, at: Location::START },
        namespaces,
        selector: None,
        ingress: here(Access::AllowSameTenant),
        egress: here(Access::AllowAll),
        mode: Mode::Enforce,
    }
}

/// Returns the namespaces that may belong to tenants. Names with `kube-` are reserved for Kubernetes.
pub(super) fn namespaces(cluster: &Cluster) -> impl Iterator<Item = &Namespace> {
    cluster.namespaces.iter().filter(|namespace| !namespace.name.starts_with("kube-"))
}

/// Returns the name of the group to which a namespace belongs.
pub(super) fn group(namespace: &Namespace, key: &str) -> Option<String> {
    if let Some(suffix) = key.strip_prefix('*') {
        // The root of the tree is the ancestor that is farthest away.
        let ancestors = namespace.labels.iter().filter_map(|(label, depth)| {
            Some((depth.parse::<u32>().ok()?, label.strip_suffix(suffix)?.to_owned()))
        });
        return ancestors.max().map(|(_, root)| root);
    }
    let value = namespace.labels.get(key)?;
    Some(if key == AKS_MANAGED { namespace.name.clone() } else { value.clone() })
}

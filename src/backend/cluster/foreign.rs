//! Policies and other objects on the cluster that decide about packets, but that the policy engine does not
//! model.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroup, APIResource};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;

use super::request::{bounded, persistently, status_code};
use crate::backend::Error;
use crate::snapshot::cluster_policy::GROUP;
use crate::snapshot::{
    Part, Unmodelled, foreign_part, foreign_policies, foreign_policy, is_closed_group, is_plain_group,
};

/// The objects of this sort that the cluster has, or may have.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    /// Kinds that leave the expected answers unknown. A kind that cannot be listed may have objects.
    pub(super) unmodelled: Vec<Unmodelled>,
    /// Other warnings.
    pub(super) warnings: Vec<String>,
    /// Kinds of such policies that can exist in a namespace and can be listed.
    pub(super) kinds: Vec<ApiResource>,
}

/// A kind of object: its group and its name.
type Kind = (String, String);

/// A kind that the cluster serves.
struct Served {
    resource: ApiResource,
    is_namespaced: bool,
}

/// Searches the cluster for such objects.
pub(super) async fn look(client: &Client, groups: &[APIGroup]) -> Result<Foreign, Error> {
    let (served, unread) = served_kinds(client, groups).await?;
    let strangers: Vec<&str> = unread.iter().map(String::as_str).filter(|group| !is_known(group)).collect();
    // Known kinds are searched even if the cluster does not report whether it has them.
    let known = foreign_policies().map(|policy| (policy.group, policy.kind));
    let known = MODELLED.iter().map(|kind| (GROUP, *kind)).chain(known);
    let known: Vec<Kind> = known.map(|(group, kind)| (group.to_owned(), kind.to_owned())).collect();
    let others = served.keys().filter(|kind| !known.contains(kind));
    let parts = known.iter().chain(others).filter_map(|kind| Some((kind, part(kind)?)));
    let found = bounded(parts.map(async |(kind, part)| {
        let count = match served.get(kind) {
            Some(served) => count(client, &served.resource).await,
            None if unread.contains(&kind.0) => Some(Err(NotListed)),
            None => None,
        };
        Ok::<_, Error>((kind, part, count))
    }));
    let mut foreign = Foreign::default();
    for (kind, part, count) in found.await? {
        let is_listed = !matches!(count, Some(Err(NotListed)));
        let own = served.get(kind).filter(|served| served.is_namespaced && is_listed);
        let is_in_force = foreign_policy(&kind.1, &kind.0).is_none_or(|policy| policy.is_in_force());
        if let (Some(served), Part::Unmodelled(_), true) = (own, &part, is_in_force) {
            foreign.kinds.push(served.resource.clone());
        }
        let Some(count) = count else { continue };
        let name = format!("{}.{}", kind.1, kind.0);
        match part {
            Part::None => {}
            Part::Unmodelled(why) => {
                let count = count.ok();
                let why = why.into_owned();
                foreign.unmodelled.push(Unmodelled { kind: name, count, why, is_accepted: false });
            }
            Part::Perhaps(why) => {
                let count = count.map_or_else(|NotListed| "cannot be listed".to_owned(), |n| n.to_string());
                foreign.warnings.push(format!("{name} ({count}): {why}"));
            }
        }
    }
    if !strangers.is_empty() {
        let warning =
            format!("{}: the cluster does not say which kinds these groups have", strangers.join(", "));
        foreign.warnings.push(warning);
    }
    Ok(foreign)
}

/// Kinds that the engine models. It knows only the scenarios' own objects of these kinds.
const MODELLED: [&str; 3] = ["AdminNetworkPolicy", "BaselineAdminNetworkPolicy", "ClusterNetworkPolicy"];

/// Returns whether a group has kinds that are searched by name.
fn is_known(group: &str) -> bool {
    group == GROUP || foreign_policies().any(|policy| policy.group == group)
}

/// Returns what objects of a kind mean for the verdicts. `None` if they are not known to mean anything.
fn part((group, kind): &Kind) -> Option<Part> {
    if group == GROUP && MODELLED.contains(&kind.as_str()) {
        let why = "decides beside the scenarios' own, which are all that netproof knows of";
        return Some(Part::Unmodelled(why.into()));
    }
    foreign_part(kind, group)
}

/// Returns the kinds of all groups that may have policies, each in the first version that has it, and the
/// groups of which a version could not be read. Kubernetes' own groups are left out. The preferred version
/// comes first, but it need not have all kinds of the group.
async fn served_kinds(
    client: &Client,
    groups: &[APIGroup],
) -> Result<(BTreeMap<Kind, Served>, BTreeSet<String>), Error> {
    let groups = groups
        .iter()
        .filter(|APIGroup { name, .. }| is_known(name) || !(is_closed_group(name) || is_plain_group(name)));
    let versions = groups.flat_map(|group| {
        let preferred = group.preferred_version.as_ref();
        let others = group.versions.iter().filter(move |version| Some(*version) != preferred);
        preferred.into_iter().chain(others).map(move |version| (group, version))
    });
    let listed = bounded(versions.map(async |(group, version)| {
        let list = persistently(async || client.list_api_group_resources(&version.group_version).await);
        Ok::<_, Error>((group, version, list.await))
    }));
    let (mut served, mut unread) = (BTreeMap::new(), BTreeSet::new());
    for (group, version, list) in listed.await? {
        let resources = match list {
            Ok(list) => list.resources,
            // The version was removed after the groups were listed.
            Err(error) if status_code(&error) == Some(404) => continue,
            Err(_) => {
                unread.insert(group.name.clone());
                continue;
            }
        };
        for APIResource { name, kind, namespaced, verbs, .. } in resources {
            // Skip subresources, and kinds that cannot be listed.
            if name.contains('/') || !verbs.iter().any(|verb| verb == "list") {
                continue;
            }
            let of_kind = GroupVersionKind::gvk(&group.name, &version.version, &kind);
            let resource = ApiResource::from_gvk_with_plural(&of_kind, &name);
            let is_namespaced = namespaced;
            served.entry((group.name.clone(), kind)).or_insert(Served { resource, is_namespaced });
        }
    }
    Ok((served, unread))
}

/// The objects of a kind could not be listed.
struct NotListed;

/// Counts the objects of a kind. Returns `None` if there are none.
async fn count(client: &Client, resource: &ApiResource) -> Option<Result<usize, NotListed>> {
    let objects: Api<DynamicObject> = Api::all_with(client.clone(), resource);
    match persistently(async || objects.list_metadata(&ListParams::default()).await).await {
        Ok(list) if list.items.is_empty() => None,
        Ok(list) => Some(Ok(list.items.len())),
        Err(_) => Some(Err(NotListed)),
    }
}

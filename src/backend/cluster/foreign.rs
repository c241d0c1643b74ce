//! Policies and other objects on the cluster that decide about packets, but that the policy engine does not
//! model.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroup, APIResource};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;

use super::request::{bounded, persistently, status_code};
use crate::backend::Error;
use crate::policy::ClusterPolicyKind;
use crate::snapshot::cluster_policy::GROUP;
use crate::snapshot::{
    Part, STAGED, Unmodelled, foreign_part, foreign_policies, is_closed_group, is_plain_group,
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
pub(super) struct Served {
    pub(super) resource: ApiResource,
    pub(super) is_namespaced: bool,
}

/// A kind that the cluster may have, and that the policy engine does not model.
pub(super) struct Candidate {
    kind: Kind,
    /// How objects of the kind affect the answers.
    pub(super) part: Part,
    /// How to list the objects; `None` if the cluster does not say whether it has the kind.
    pub(super) served: Option<Served>,
}

impl Candidate {
    /// Returns `Kind.group`.
    pub(super) fn name(&self) -> String {
        format!("{}.{}", self.kind.1, self.kind.0)
    }
}

/// The kinds to search for.
pub(super) struct Candidates {
    pub(super) kinds: Vec<Candidate>,
    /// Warning about groups of which the cluster does not say which kinds they have.
    pub(super) warning: Option<String>,
}

/// Returns the kinds that the cluster has, or may have, and whose objects affect the answers. `of_cluster_policies`
/// returns how objects affect them that are of a kind of cluster-scoped policies.
pub(super) async fn candidates(
    client: &Client,
    groups: &[APIGroup],
    of_cluster_policies: impl Fn(ClusterPolicyKind) -> Option<Part>,
) -> Result<Candidates, Error> {
    let (mut served, unread) = served_kinds(client, groups).await?;
    let strangers: Vec<&str> = unread.iter().map(String::as_str).filter(|group| !is_known(group)).collect();
    let warning = (!strangers.is_empty())
        .then(|| format!("{}: the cluster does not say which kinds these groups have", strangers.join(", ")));
    // Known kinds are searched even if the cluster does not report whether it has them.
    let known = foreign_policies().map(|policy| (policy.group, policy.kind));
    let known = ClusterPolicyKind::ALL.map(|kind| (GROUP, kind.name())).into_iter().chain(known);
    let mut kinds: Vec<Kind> = known.map(|(group, kind)| (group.to_owned(), kind.to_owned())).collect();
    kinds.extend(served.keys().filter(|kind| !kinds.contains(kind)).cloned().collect::<Vec<_>>());
    let candidate = |kind: Kind| {
        let own = ClusterPolicyKind::ALL.into_iter().find(|own| kind.0 == GROUP && own.name() == kind.1);
        let part = own.map_or_else(|| foreign_part(&kind.1, &kind.0), &of_cluster_policies)?;
        let served = served.remove(&kind);
        (served.is_some() || unread.contains(&kind.0)).then_some(Candidate { kind, part, served })
    };
    Ok(Candidates { kinds: kinds.into_iter().filter_map(candidate).collect(), warning })
}

/// Searches the cluster for such objects.
pub(super) async fn look(client: &Client, groups: &[APIGroup]) -> Result<Foreign, Error> {
    let why = "decides beside the scenarios' own, which are all that netproof knows of";
    let Candidates { kinds, warning } =
        candidates(client, groups, |_| Some(Part::Unmodelled(why.into()))).await?;
    let found = bounded(kinds.into_iter().map(async |candidate| {
        let count = match &candidate.served {
            Some(served) => count(client, &served.resource).await,
            None => Some(Err(NotListed)),
        };
        Ok::<_, Error>((candidate, count))
    }));
    let mut foreign = Foreign::default();
    for (candidate, count) in found.await? {
        let is_listed = !matches!(count, Some(Err(NotListed)));
        let own = candidate.served.as_ref().filter(|served| served.is_namespaced && is_listed);
        if let (Some(served), Part::Unmodelled(_)) = (own, &candidate.part) {
            foreign.kinds.push(served.resource.clone());
        }
        let Some(count) = count else { continue };
        let name = candidate.name();
        let shown = || match &count {
            Ok(count) => count.to_string(),
            Err(NotListed) => "cannot be listed".to_owned(),
        };
        match candidate.part {
            Part::None => {}
            Part::Unmodelled(why) => {
                let (count, why) = (count.ok(), why.into_owned());
                foreign.unmodelled.push(Unmodelled { kind: name, count, why, is_accepted: false });
            }
            Part::Perhaps(why) => foreign.warnings.push(format!("{name} ({}): {why}", shown())),
            Part::Staged => foreign.warnings.push(format!("{name} ({}): {STAGED}", shown())),
        }
    }
    foreign.warnings.extend(warning);
    Ok(foreign)
}

/// Returns whether a group has kinds that are searched by name.
fn is_known(group: &str) -> bool {
    group == GROUP || foreign_policies().any(|policy| policy.group == group)
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

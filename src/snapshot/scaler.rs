//! Autoscalers. If one names a workload, the number of the workload's pods is unknown.

use super::field::{Field, Problem};
use super::identity::{Identity, metadata, namespace_of};
use super::other::OtherObject;
use super::workload_kind::WorkloadKind;
use super::{group, kind};
use crate::source::Node;

/// An autoscaler of one of Kubernetes' own workloads. Its limits are not read, because other tools change them, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scaler {
    /// The autoscaler itself.
    pub object: OtherObject,
    /// The kind of the workload.
    pub kind: WorkloadKind,
    /// The workload.
    pub workload: Identity,
}

/// Kinds of autoscalers, with the kind of workload that they scale if they name none.
const SCALERS: [(&str, Option<&str>); 2] =
    [("HorizontalPodAutoscaler.autoscaling", None), ("ScaledObject.keda.sh", Some("Deployment"))];

/// Reads an autoscaler. Returns `None` if the object has another kind, or if it scales custom resources.
pub(super) fn read(kind: &str, node: &Node, namespace: Option<&str>) -> Result<Option<Scaler>, Problem> {
    let Some((_, default_kind)) = SCALERS.iter().find(|(name, _)| *name == kind) else { return Ok(None) };
    let (root, target) = (Field::ROOT, node.get("spec").and_then(|spec| spec.get("scaleTargetRef")));
    let spec = root.field("spec");
    let at = spec.field("scaleTargetRef");
    let missing = |field: &str| at.field(field).problem("is missing");
    let name = text(target, &at, "name")?.ok_or_else(|| missing("name"))?;
    let target_kind = text(target, &at, "kind")?.or(*default_kind).ok_or_else(|| missing("kind"))?;
    let api_version = text(target, &at, "apiVersion")?;
    let is_own = api_version.is_none_or(|version| group::is_own(group::of(version)));
    let Some((target_kind, _)) = kind::workload(target_kind).filter(|_| is_own) else { return Ok(None) };
    let namespace = namespace_of(metadata(node, "namespace"), namespace);
    Ok(Some(Scaler {
        object: OtherObject::new(kind.to_owned(), node),
        kind: target_kind,
        workload: Identity::new(namespace, name),
    }))
}

/// Returns a string field, or `None` if it is missing or empty.
fn text<'a>(node: Option<&'a Node>, at: &Field<'_>, field: &str) -> Result<Option<&'a str>, Problem> {
    let Some(found) = node.and_then(|node| node.get(field)).filter(|found| !found.is_null()) else {
        return Ok(None);
    };
    let text = found.as_str().ok_or_else(|| {
        at.field(field).problem(format!("expected a string, found {}", found.value.describe()))
    })?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

//! What a check of tenants would do.

#![expect(missing_docs, reason = "docs/json.md documents the fields")]

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::verify::Tenant;
use super::{ApiVersion, VerifyPlanKind, texts};
use crate::policy::Labels;
use crate::snapshot::Identity;
use crate::tenants::{Tenancy, Wish};
use crate::verify::{Coverage, LabelLeak, Plan};

/// What a check of tenants would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyPlanDocument {
    pub api_version: ApiVersion,
    pub kind: VerifyPlanKind,
    pub warnings: Vec<String>,
    pub tenants: Vec<Tenant>,
    pub co_owned: Vec<String>,
    pub coverage: Coverage,
    /// Probe pods that the check would create.
    pub pods: Vec<AddedPod>,
    /// Running pods whose networks the check would use.
    pub entered: Vec<String>,
    /// Destinations outside the tenants.
    pub outside: BTreeSet<String>,
    /// Counts of questions by wish: `required`, `permitted`, `forbidden`, or `nothing`.
    pub questions: BTreeMap<String, usize>,
    pub label_leaks: Vec<LabelLeak>,
    /// Permissions that the check needs on the cluster. `None` in the lab.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rights: Option<NeededRights>,
}

/// A probe pod that a check would create.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddedPod {
    pub namespace: String,
    pub name: String,
    pub node: Option<String>,
    pub labels: Labels,
    /// The running pods for which it stands.
    pub stands_for: Vec<String>,
    /// Whether it stands for all pods that belong to no tenant.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_stranger: bool,
}

/// Permissions that a check needs, as rules in YAML.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NeededRights {
    /// Rules of a ClusterRole.
    pub cluster: String,
    pub roles: Vec<NeededRole>,
}

/// Permissions that a check needs in some namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeededRole {
    pub namespaces: BTreeSet<String>,
    /// Rules of a Role in each of them.
    pub rules: String,
}

impl VerifyPlanDocument {
    /// Describes a plan. `rights` are the permissions that its check needs.
    pub fn new(plan: &Plan, tenancy: &Tenancy, warnings: Vec<String>, rights: Option<NeededRights>) -> Self {
        let pods: Vec<AddedPod> = plan
            .twins()
            .map(|(pod, members)| AddedPod {
                namespace: pod.namespace.clone(),
                name: pod.name.clone(),
                node: pod.node.clone(),
                labels: pod.labels.clone(),
                stands_for: texts(members.iter().map(|member| Identity::of_pod(member))),
                is_stranger: plan.world.is_stranger(&Identity::of_pod(pod)),
            })
            .collect();
        let mut questions = BTreeMap::new();
        for question in &plan.questions {
            let wish = question.intent.as_ref().map_or("nothing", |intent| intent.wish.name());
            *questions.entry(wish.to_owned()).or_default() += 1;
        }
        for wish in Wish::ALL {
            questions.entry(wish.name().to_owned()).or_default();
        }
        let outside = plan.questions.iter().filter(|question| plan.world.is_foreign(&question.cell.to));
        Self {
            api_version: ApiVersion::V1Alpha1,
            kind: VerifyPlanKind::VerifyPlan,
            warnings,
            tenants: tenancy.tenants().iter().map(Tenant::from).collect(),
            co_owned: texts(tenancy.co_owned()),
            coverage: plan.coverage,
            pods,
            entered: texts(&plan.world.entered),
            outside: outside.map(|it| format!("{} {}", it.cell.to, it.cell.probe)).collect(),
            questions,
            label_leaks: plan.label_leaks.clone(),
            rights,
        }
    }
}

//! Workloads: Deployments and the other kinds with a pod template.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::api::{apps::v1 as apps, batch::v1 as batch, core::v1 as core};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::controller_labels::{self, Controller, JobLabels, POD_TEMPLATE_HASH};
use super::field::{Field, Problem};
use super::identity::Identity;
use super::workload_kind::WorkloadKind;
use super::{group, kind, network_policy, pod, rules};
use crate::policy::Pod;

/// The controller of a pod or of another workload (`metadata.ownerReferences`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its name. Its namespace is that of the object that it owns.
    pub name: String,
}

/// Returns the controller of an object, if it makes objects of this kind from a template that netproof reads.
pub(super) fn owner(metadata: &ObjectMeta, kind: WorkloadKind) -> Option<Owner> {
    let controller =
        metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    let (owner_kind, api_version) = kind::workload(&controller.kind)?;
    // Other groups have kinds of these names, too, such as `apps.kruise.io/v1beta1 StatefulSet`.
    if group::of(&controller.api_version) != group::of(api_version) || !owner_kind.makes(kind) {
        return None;
    }
    if owner_kind == WorkloadKind::ReplicaSet {
        // The name of a ReplicaSet is the name of its Deployment with the hash of the template. So the Deployment is
        // known even if it is not in the input.
        let hash = metadata.labels.as_ref().and_then(|labels| labels.get(POD_TEMPLATE_HASH));
        let deployment = hash.and_then(|hash| controller.name.strip_suffix(hash)?.strip_suffix('-'));
        if let Some(deployment) = deployment {
            return Some(Owner { kind: WorkloadKind::Deployment, name: deployment.to_owned() });
        }
    }
    Some(Owner { kind: owner_kind, name: controller.name.clone() })
}

/// A workload, and what it says about its pods.
#[derive(Debug, Clone)]
pub struct Template {
    /// Its kind.
    pub kind: WorkloadKind,
    /// A pod that it makes, with the name of the workload.
    pub pod: Pod,
    /// Number of the first pod, if the pods are numbered and have their number in their labels.
    pub first_number: Option<u32>,
    /// Number of pods that it makes.
    pub replicas: u32,
    /// Whether it has pods or still makes some. An old ReplicaSet of a Deployment and a finished Job of a CronJob do
    /// not.
    pub is_active: bool,
    /// The workload that made this one.
    pub owner: Option<Owner>,
}

/// The parts of a workload's object that describe its pods.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) metadata: &'a ObjectMeta,
    template: Option<&'a PodTemplateSpec>,
    /// Path from the object to its template.
    path: &'static [&'static str],
    /// Number of pods that it makes, with the name of the field; `None` if no field says so.
    replicas: Option<(&'static str, i32)>,
    /// The selector that must match the template.
    selector: Option<&'a LabelSelector>,
    controller: Controller<'a>,
    /// Whether it is a Job that has completed or failed.
    is_finished: bool,
}

/// Maximum number of pods that all workloads of an input may make: as many as clusters have, and few enough to be
/// listed.
pub(super) const MOST_PODS: u32 = 150_000;

impl<'a> Source<'a> {
    fn new(
        metadata: &'a ObjectMeta,
        template: Option<&'a PodTemplateSpec>,
        controller: Controller<'a>,
    ) -> Self {
        let path = &["spec", "template"];
        Self { metadata, template, path, replicas: None, selector: None, controller, is_finished: false }
    }
}

pub(super) fn deployment(object: &apps::Deployment) -> Source<'_> {
    let spec = &object.spec;
    Source {
        replicas: spec.replicas.map(|n| ("replicas", n)),
        selector: Some(&spec.selector),
        ..Source::new(&object.metadata, Some(&spec.template), Controller::Deployment)
    }
}

pub(super) fn stateful_set(object: &apps::StatefulSet) -> Source<'_> {
    let spec = &object.spec;
    let start = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start);
    let first = start.and_then(|start| u32::try_from(start).ok()).unwrap_or(0);
    Source {
        replicas: spec.replicas.map(|n| ("replicas", n)),
        selector: Some(&spec.selector),
        ..Source::new(&object.metadata, Some(&spec.template), Controller::StatefulSet { first })
    }
}

pub(super) fn daemon_set(object: &apps::DaemonSet) -> Source<'_> {
    Source {
        selector: Some(&object.spec.selector),
        ..Source::new(&object.metadata, Some(&object.spec.template), Controller::DaemonSet)
    }
}

pub(super) fn replica_set(object: &apps::ReplicaSet) -> Source<'_> {
    let spec = &object.spec;
    // A ReplicaSet that is scaled down still has the pods that its status counts.
    let observed = object.status.as_ref().map_or(0, |status| status.replicas);
    let at_least = |wanted: i32| if wanted < 0 { wanted } else { wanted.max(observed) };
    Source {
        replicas: spec.replicas.map(|n| ("replicas", at_least(n))),
        selector: Some(&spec.selector),
        ..Source::new(&object.metadata, spec.template.as_ref(), Controller::Replicas)
    }
}

pub(super) fn replication_controller(object: &core::ReplicationController) -> Source<'_> {
    let spec = object.spec.as_ref();
    Source {
        replicas: spec.and_then(|spec| spec.replicas).map(|n| ("replicas", n)),
        // The selector defaults to the template's labels, and has another type.
        selector: None,
        ..Source::new(&object.metadata, spec.and_then(|spec| spec.template.as_ref()), Controller::Replicas)
    }
}

pub(super) fn job(object: &batch::Job) -> Source<'_> {
    let spec = object.spec.as_ref();
    let conditions = object.status.as_ref().and_then(|status| status.conditions.as_ref());
    let is_final = |condition: &batch::JobCondition| {
        ["Complete", "Failed"].contains(&condition.type_.as_str()) && condition.status == "True"
    };
    // If there is only a `generateName`, the API server chooses the name, and so the value of a label.
    let name = object.metadata.name.as_deref().filter(|name| !name.is_empty());
    let controller = Controller::Job(JobLabels::new(name, spec));
    Source {
        replicas: spec.and_then(|spec| spec.parallelism).map(|n| ("parallelism", n)),
        // The API server writes the selector, together with the label that it matches.
        selector: None,
        is_finished: conditions.into_iter().flatten().any(is_final),
        ..Source::new(&object.metadata, spec.map(|spec| &spec.template), controller)
    }
}

pub(super) fn cron_job(object: &batch::CronJob) -> Source<'_> {
    let spec = object.spec.job_template.spec.as_ref();
    let controller = Controller::Job(JobLabels::new(None, spec));
    Source {
        path: &["spec", "jobTemplate", "spec", "template"],
        ..Source::new(&object.metadata, spec.map(|spec| &spec.template), controller)
    }
}

pub(super) fn convert(
    source: &Source<'_>,
    kind: WorkloadKind,
    identity: Identity,
) -> Result<Template, Problem> {
    let root = Field::ROOT;
    rules::subdomain(&identity.name, &root.field("metadata").field("name"))?;
    let spec_at = root.field("spec");
    let replicas = match source.replicas {
        None => 1,
        Some((field, number)) => match u32::try_from(number) {
            Ok(number) if number <= MOST_PODS => number,
            Ok(_) | Err(_) => {
                let message = format!("must be between 0 and {MOST_PODS}, found {number}");
                return Err(spec_at.field(field).problem(message));
            }
        },
    };
    under(&root, source.path, |at| {
        let default = PodTemplateSpec::default();
        let template = source.template.unwrap_or(&default);
        let labels = template.metadata.as_ref().and_then(|m| m.labels.clone()).unwrap_or_default();
        if let Some(selector) = source.selector {
            let selector = network_policy::selector(selector, &spec_at.field("selector"))?;
            if selector.is_everything() {
                return Err(spec_at.field("selector").problem("is missing or empty"));
            }
            if !selector.matches(&labels) {
                let message = format!("the selector ({selector}) does not match these labels");
                return Err(at.field("metadata").field("labels").problem(message));
            }
        }
        let mut pod = pod::from_template(&labels, template.spec.as_ref(), identity, at)?;
        controller_labels::bind_later(&mut pod);
        source.controller.label(&mut pod);
        let first_number = match source.controller {
            Controller::StatefulSet { first } => Some(first),
            Controller::Deployment | Controller::DaemonSet | Controller::Replicas | Controller::Job(_) => {
                None
            }
        };
        let is_active = replicas > 0 && !source.is_finished;
        Ok(Template { kind, pod, first_number, replicas, is_active, owner: owner(source.metadata, kind) })
    })
}

/// Calls `then` with the field at `path`.
fn under<T>(
    field: &Field<'_>,
    path: &[&str],
    then: impl FnOnce(&Field<'_>) -> Result<T, Problem>,
) -> Result<T, Problem> {
    match path {
        [] => then(field),
        [first, rest @ ..] => under(&field.field(first), rest, then),
    }
}

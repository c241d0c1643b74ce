//! What a site requires of the namespaces and pods of a run: labels, annotations, nodes, tolerations and a
//! priority class.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

use super::request::{persistently, say};
use crate::backend::Error;
use crate::policy::Labels;

/// Requirements of a site for all namespaces and pods of a run. By default, there are none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Site {
    /// Labels of namespaces. If a scenario sets a label with the same key, its value is used.
    pub namespace_labels: Labels,
    /// Annotations of namespaces.
    pub namespace_annotations: BTreeMap<String, String>,
    /// Labels of pods. If a scenario sets a label with the same key, its value is used.
    pub pod_labels: Labels,
    /// Annotations of pods.
    pub pod_annotations: BTreeMap<String, String>,
    /// Labels of the nodes on which pods may run.
    pub node_selector: Labels,
    /// Tolerations of pods. If empty, pods tolerate every taint.
    pub tolerations: Vec<Toleration>,
    /// Name of the pods' priority class.
    pub priority_class: Option<String>,
}

/// A toleration of the pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toleration {
    /// Key of the taint.
    pub key: String,
    /// Value of the taint. `None` tolerates every value.
    pub value: Option<String>,
    /// Effect of the taint. `None` tolerates every effect.
    pub effect: Option<TaintEffect>,
}

/// The effect of a taint on pods that do not tolerate it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaintEffect {
    /// They are not scheduled.
    NoSchedule,
    /// The scheduler avoids the node.
    PreferNoSchedule,
    /// They are not scheduled, and are evicted.
    NoExecute,
}

/// A taint that keeps pods without a toleration away from a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taint {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) effect: String,
}

impl TaintEffect {
    /// All effects.
    pub const ALL: [Self; 3] = [Self::NoSchedule, Self::PreferNoSchedule, Self::NoExecute];

    /// Returns the name in the Kubernetes API.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }
}

impl Toleration {
    fn tolerates(&self, taint: &Taint) -> bool {
        self.key == taint.key
            && self.value.as_ref().is_none_or(|value| *value == taint.value)
            && self.effect.is_none_or(|effect| effect.name() == taint.effect)
    }
}

impl fmt::Display for Toleration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_taint(f, &self.key, self.value.as_deref(), self.effect.map(TaintEffect::name))
    }
}

impl fmt::Display for Taint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = Some(self.value.as_str()).filter(|value| !value.is_empty());
        write_taint(f, &self.key, value, Some(&self.effect))
    }
}

/// Writes a taint as kubectl does: `key=value:effect`.
fn write_taint(
    f: &mut fmt::Formatter<'_>,
    key: &str,
    value: Option<&str>,
    effect: Option<&str>,
) -> fmt::Result {
    f.write_str(key)?;
    value.map_or(Ok(()), |value| write!(f, "={value}"))?;
    effect.map_or(Ok(()), |effect| write!(f, ":{effect}"))
}

/// Returns labels on one line, as options write them.
pub(super) fn joined(labels: &Labels) -> String {
    let pairs = labels.iter().map(|(key, value)| format!("{key}={value}"));
    pairs.collect::<Vec<_>>().join(", ")
}

impl Site {
    /// Returns the first of these taints that the pods do not tolerate.
    pub(super) fn untolerated<'a>(&self, taints: &'a [Taint]) -> Option<&'a Taint> {
        let is_tolerated = |taint: &Taint| {
            self.tolerations.is_empty() || self.tolerations.iter().any(|t| t.tolerates(taint))
        };
        taints.iter().find(|taint| !is_tolerated(taint))
    }

    /// Returns whether pods may run on a node with these labels.
    pub(super) fn selects_node(&self, labels: &Labels) -> bool {
        self.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    /// Returns what the report of a run says about the site: names and values. The expected verdicts depend on
    /// the labels, and the observed ones on the nodes.
    pub(super) fn facts(&self) -> Vec<(&'static str, String)> {
        let facts = [
            ("labels of all namespaces", &self.namespace_labels),
            ("labels of all pods", &self.pod_labels),
            ("node selector", &self.node_selector),
        ];
        let facts = facts.into_iter().filter(|(_, labels)| !labels.is_empty());
        facts.map(|(name, labels)| (name, joined(labels))).collect()
    }

    /// Checks that the priority class exists, if the user may read it. Returns a warning if pods of this class
    /// can displace other pods.
    pub(super) async fn check_priority_class(&self, client: &Client) -> Result<Option<String>, Error> {
        let Some(name) = &self.priority_class else { return Ok(None) };
        let classes: Api<PriorityClass> = Api::all(client.clone());
        match persistently(async || classes.get_opt(name).await).await {
            Ok(Some(class)) => Ok(displaces(&class).then(|| {
                format!(
                    "PriorityClass {name}: if a node has no room, the scheduler may delete other pods for probe \
                     pods: use a class with preemptionPolicy: Never"
                )
            })),
            Ok(None) => {
                let known = classes.list_metadata(&ListParams::default()).await.map(|list| list.items);
                let known: Vec<_> = known.unwrap_or_default().iter().map(ResourceExt::name_any).collect();
                let known =
                    if known.is_empty() { String::new() } else { format!(", only {}", known.join(", ")) };
                let message = format!("--priority-class {name}: the cluster has no such PriorityClass{known}");
                Err(Error::Unavailable(message))
            }
            // The API server refuses pods of a class that does not exist.
            Err(error) => {
                tracing::debug!("PriorityClass {name} could not be read: {}", say(&error));
                Ok(None)
            }
        }
    }
}

/// Returns whether the scheduler may delete other pods to make room for pods of a class.
fn displaces(class: &PriorityClass) -> bool {
    class.value.is_some_and(|value| value > 0) && class.preemption_policy.as_deref() != Some("Never")
}

/// Like `failed`, for an object that the API server did not create. The message says which options meet the
/// requirements of a site.
pub(super) fn refused(doing: String) -> impl FnOnce(kube::Error) -> Error {
    move |error| Error::failed(doing, explain_refusal(&say(&error)))
}

/// Adds to the API server's reason for refusing an object which options meet the requirements of a site.
pub(super) fn explain_refusal(refusal: &str) -> String {
    advice(refusal).map_or_else(|| refusal.to_owned(), |advice| format!("{refusal}: {advice}"))
}

fn advice(refusal: &str) -> Option<&'static str> {
    if refusal.contains("no PriorityClass with name") {
        return Some("create it, or name another one with --priority-class");
    }
    // The words of admission policies and of admission webhooks.
    let is_refused_by_site = ["denied request: ", "denied the request"].iter().any(|it| refusal.contains(it));
    is_refused_by_site.then_some(
        "what the cluster requires can be set with --namespace-label, --namespace-annotation, --pod-label, \
         --pod-annotation, --toleration and --priority-class",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toleration(key: &str, value: Option<&str>, effect: Option<TaintEffect>) -> Toleration {
        Toleration { key: key.to_owned(), value: value.map(str::to_owned), effect }
    }

    fn taint(key: &str, value: &str, effect: &str) -> Taint {
        Taint { key: key.to_owned(), value: value.to_owned(), effect: effect.to_owned() }
    }

    #[test]
    fn taints_are_tolerated_as_the_scheduler_does() {
        let taints = [taint("pool", "gpu", "NoSchedule"), taint("new", "", "NoExecute")];
        let untolerated = |tolerations: &[Toleration]| {
            let site = Site { tolerations: tolerations.to_vec(), ..Site::default() };
            site.untolerated(&taints).map(ToString::to_string)
        };
        let effect = Some(TaintEffect::NoSchedule);
        let (pool, new) = (toleration("pool", Some("gpu"), effect), toleration("new", None, None));
        assert_eq!(untolerated(&[]), None, "without options, pods tolerate all");
        assert_eq!(untolerated(&[pool.clone(), new.clone()]), None);
        assert_eq!(untolerated(std::slice::from_ref(&pool)).as_deref(), Some("new:NoExecute"));
        for wrong in [
            toleration("pool", Some("cpu"), None),
            toleration("pool", Some(""), None),
            toleration("pool", None, Some(TaintEffect::NoExecute)),
            toleration("pools", None, None),
        ] {
            assert_eq!(untolerated(&[new.clone(), wrong]).as_deref(), Some("pool=gpu:NoSchedule"));
        }
        assert_eq!(
            untolerated(&[pool, toleration("new", Some(""), None)]),
            None,
            "an empty value is a value"
        );
    }
}

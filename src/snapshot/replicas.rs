//! The pods that a workload makes from its template, if no pod in the input represents them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::controller_labels::numbered;
use super::distinction::{Distinctions, split_number};
use super::identity::Identity;
use super::workload::Template;
use crate::policy::Pod;

/// The pods that a workload makes from its template. One pod of the cluster represents all pods that no selector
/// distinguishes: a StatefulSet may have very many pods, each with its own number in its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replicas {
    /// The workload. Its pods are named after it.
    pub identity: Identity,
    /// Numbers at the ends of the pods' names.
    numbers: Range<u32>,
    /// Numbers of pods that are in the input.
    live: BTreeSet<u32>,
    /// Indices of the pods whose numbers selectors name.
    named: BTreeMap<u32, usize>,
    /// Index of the pod that represents all others.
    others: Option<usize>,
    /// Index of the pod that represents later pods: those that an autoscaler adds, and those that replace a pod of
    /// the input. `None` if there are none.
    pub further: Option<usize>,
}

/// The pods that the workload of a template already has.
#[derive(Clone, Copy)]
pub(super) struct Existing<'a> {
    /// Indices of pods, each with the number of pods that it represents.
    pub(super) pods: &'a [(usize, usize)],
    /// Whether an autoscaler names the workload.
    pub(super) is_scaled: bool,
    pub(super) distinctions: &'a Distinctions,
}

impl Replicas {
    /// Makes the pods of a template that no existing pod represents, and appends them to `pods`. Returns `None` if
    /// there are none.
    pub(super) fn make(template: &Template, existing: Existing<'_>, pods: &mut Vec<Pod>) -> Option<Self> {
        match template.first_number {
            Some(first) => Self::make_numbered(template, first, existing, pods),
            None => Self::make_alike(template, existing, pods),
        }
    }

    fn new(template: &Template, numbers: Range<u32>) -> Self {
        let (live, named) = (BTreeSet::new(), BTreeMap::new());
        let identity = Identity::of_pod(&template.pod);
        Self { identity, numbers, live, named, others: None, further: None }
    }

    /// Makes the pods of a template whose pods are all the same. If the workload already has pods, one pod represents
    /// those that come next.
    fn make_alike(template: &Template, existing: Existing<'_>, pods: &mut Vec<Pod>) -> Option<Self> {
        let mut made = Self::new(template, 0..template.replicas);
        if !existing.pods.is_empty() {
            if existing.count(&template.pod, template, pods) >= (template.replicas as usize).max(1) {
                return None;
            }
            made.numbers = 0..0;
        }
        pods.push(template.pod.clone());
        let only = pods.len() - 1;
        made.others = Some(only);
        made.further = (existing.is_scaled || !existing.pods.is_empty()).then_some(only);
        Some(made)
    }

    /// Makes the pods of a template whose pods have their number in their labels.
    fn make_numbered(
        template: &Template,
        first: u32,
        existing: Existing<'_>,
        pods: &mut Vec<Pod>,
    ) -> Option<Self> {
        let Template { pod, replicas, .. } = template;
        let mut made = Self::new(template, first..first.saturating_add(*replicas));
        let mut is_outdated = false;
        for other in existing.pods.iter().filter_map(|(at, _)| pods.get(*at)) {
            match split_number(&other.name).filter(|(name, _)| *name == pod.name) {
                Some((_, number)) if made.numbers.contains(&number) => {
                    made.live.insert(number);
                    let next = numbered(pod, number);
                    is_outdated |= !existing.distinctions.covers(other, &next, template.kind);
                }
                Some(_) | None => {}
            }
        }
        let named: BTreeSet<u32> = existing.distinctions.among(&pod.name, &made.numbers);
        let other = made.missing().find(|number| !named.contains(number));
        let mut add = |pod| {
            pods.push(pod);
            pods.len() - 1
        };
        let missing = named.difference(&made.live).copied().collect::<Vec<_>>();
        made.named = missing.into_iter().map(|number| (number, add(numbered(pod, number)))).collect();
        made.others = other.map(|number| add(numbered(pod, number)));
        // The number is unknown, but there is one. The template's own pod already has that.
        if existing.pods.is_empty() && made.numbers.is_empty() {
            made.others = Some(add(pod.clone()));
            made.further = made.others.filter(|_| existing.is_scaled);
        } else if is_outdated || (existing.is_scaled && existing.count(pod, template, pods) == 0) {
            pods.push(pod.clone());
            made.further = Some(pods.len() - 1);
        }
        (!made.pods().is_empty()).then_some(made)
    }

    /// Returns the indices of the pods in [`Cluster::pods`](crate::policy::Cluster::pods).
    pub fn pods(&self) -> Vec<usize> {
        let others = self.others.into_iter().chain(self.further);
        let all: BTreeSet<usize> = self.named.values().copied().chain(others).collect();
        all.into_iter().collect()
    }

    /// Returns the number of each pod, with the index of the pod that represents it.
    pub fn numbered(&self) -> impl Iterator<Item = (u32, usize)> {
        self.missing().filter_map(|number| Some((number, *self.named.get(&number).or(self.others.as_ref())?)))
    }

    /// Returns the numbers of the pods that are not in the input.
    fn missing(&self) -> impl Iterator<Item = u32> {
        self.numbers.clone().filter(|number| !self.live.contains(number))
    }

    /// Returns how many pods the workload itself requests that are not in the input.
    pub fn count(&self) -> usize {
        self.numbers.len() - self.live.len()
    }
}

impl Existing<'_> {
    /// Returns how many existing pods represent a pod that a template makes.
    fn count(&self, made: &Pod, template: &Template, pods: &[Pod]) -> usize {
        let covers =
            |at: usize| pods.get(at).is_some_and(|pod| self.distinctions.covers(pod, made, template.kind));
        self.pods.iter().filter(|(at, _)| covers(*at)).map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Snapshot;
    use crate::source::Text;

    fn read(parts: &[&str]) -> Result<Snapshot, String> {
        let text = Text { name: "all.yaml".into(), content: parts.join("---\n") };
        Snapshot::read(&text.documents().unwrap(), None).map_err(|error| error.to_string())
    }

    fn stateful_set(name: &str, replicas: u32) -> String {
        format!(
            "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{name: {name}}}\nspec:\n  replicas: {replicas}\n  selector: {{matchLabels: {{a: b}}}}\n  template: {{metadata: {{labels: {{a: b}}}}}}\n"
        )
    }

    fn policy(key: &str, value: &str) -> String {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p{value}}}\nspec: {{podSelector: {{matchExpressions: [{{key: {key}, operator: NotIn, values: ['{value}']}}]}}}}\n"
        )
    }

    const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {selector: {statefulset.kubernetes.io/pod-name: db-9}, ports: [{port: 80}]}\n";

    /// Regression: one object of 160 bytes made 150,000 pods.
    #[test]
    fn pods_that_no_selector_tells_apart_are_made_once() {
        let set = stateful_set("db", 150_000);
        let (index, name) = ("apps.kubernetes.io/pod-index", "statefulset.kubernetes.io/pod-name");
        let made = |others: &[String]| {
            let all: Vec<&str> = [&set].into_iter().chain(others).map(String::as_str).collect();
            let snapshot = read(&all).unwrap();
            snapshot.cluster.pods.iter().map(|pod| pod.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(made(&[]), ["db-0"]);
        assert_eq!(made(&[policy(index, "0"), SERVICE.to_owned()]), ["db-0", "db-9", "db-1"]);
        assert_eq!(made(&[policy(name, "db-7")]), ["db-7", "db-0"]);
        // Values that no pod of this StatefulSet has: of another workload, too high, or not as controllers write
        // them.
        let none = ["other-1", "db", "db-150000", "db-01", "db--1"].map(|value| policy(name, value));
        assert_eq!(made(&none), ["db-0"]);
    }

    #[test]
    fn each_number_has_the_pod_that_stands_for_it() {
        let snapshot = read(&[&stateful_set("db", 4), &policy("apps.kubernetes.io/pod-index", "2")]).unwrap();
        let workload = &snapshot.workloads[0];
        let replicas = &workload.replicas[0];
        let named = |at: usize| snapshot.cluster.pods[at].name.as_str();
        let pods: Vec<_> = replicas.numbered().map(|(number, at)| (number, named(at))).collect();
        assert_eq!(pods, [(0, "db-0"), (1, "db-0"), (2, "db-2"), (3, "db-0")]);
        assert!(workload.may_have_several_pods());
        let single = read(&[&stateful_set("db", 1)]).unwrap();
        assert!(!single.workloads[0].may_have_several_pods());
    }

    #[test]
    fn the_object_that_makes_too_many_pods_is_refused() {
        let half = 75_000;
        let [a, b] = ["a", "b"].map(|name| stateful_set(name, half));
        assert!(read(&[&a, &b]).is_ok());
        assert_eq!(
            read(&[&a, &b, &stateful_set("c", 1)]).unwrap_err(),
            "all.yaml:21:13: StatefulSet default/c: 1 pods are too many: the templates before it make 150000, and all together may make 150000"
        );
        // A pod in the input is not made from the template, so it does not count.
        let pod = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: c-0\n  ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: c, uid: u, controller: true}]\n";
        assert!(read(&[&a, &b, &stateful_set("c", 1), pod]).is_ok());
    }
}

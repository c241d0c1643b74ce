//! The pods that a workload makes from its template, as far as the input has none that stand for them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::controller_labels::numbered;
use super::distinction::{Distinctions, split_number};
use super::object::Identity;
use super::workload::Template;
use crate::policy::Pod;

/// The pods that a workload makes from its template. Those that no selector tells apart are one pod of the
/// cluster: a StatefulSet may have very many, each with a number of its own in its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replicas {
    /// The workload, after which they are named.
    pub identity: Identity,
    /// The numbers at the ends of their names.
    numbers: Range<u32>,
    /// Those of the numbers whose pods are in the input.
    live: BTreeSet<u32>,
    /// The positions of the pods whose numbers selectors name.
    named: BTreeMap<u32, usize>,
    /// The position of the pod that stands for all others.
    others: Option<usize>,
    /// The position of the pod that stands for any that an autoscaler adds, or that comes in the place of one in
    /// the input; `None` if there are none.
    pub further: Option<usize>,
}

/// What the workload of a template has already.
#[derive(Clone, Copy)]
pub(super) struct Existing<'a> {
    /// Pods, each with the count of those for which it stands.
    pub(super) pods: &'a [(usize, usize)],
    /// Whether an autoscaler names the workload.
    pub(super) is_scaled: bool,
    pub(super) distinctions: &'a Distinctions,
}

impl Replicas {
    /// Makes those pods of a template for which no existing pod stands, behind all pods that are there. `None` if
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

    /// The pods of a template that are all the same. If the workload has pods already, only one stands for those
    /// that come next.
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

    /// The pods of a template that each have their number in their labels.
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
        // Of its number only that there is one is known, as the template's own pod has it.
        if existing.pods.is_empty() && made.numbers.is_empty() {
            made.others = Some(add(pod.clone()));
            made.further = made.others.filter(|_| existing.is_scaled);
        } else if is_outdated || (existing.is_scaled && existing.count(pod, template, pods) == 0) {
            pods.push(pod.clone());
            made.further = Some(pods.len() - 1);
        }
        (!made.pods().is_empty()).then_some(made)
    }

    /// The positions of the pods in [`Cluster::pods`](crate::policy::Cluster::pods).
    pub fn pods(&self) -> Vec<usize> {
        let others = self.others.into_iter().chain(self.further);
        let all: BTreeSet<usize> = self.named.values().copied().chain(others).collect();
        all.into_iter().collect()
    }

    /// The number of each pod, and the position of the one that stands for it.
    pub fn numbered(&self) -> impl Iterator<Item = (u32, usize)> {
        self.missing().filter_map(|number| Some((number, *self.named.get(&number).or(self.others.as_ref())?)))
    }

    /// The numbers of the pods that are not in the input.
    fn missing(&self) -> impl Iterator<Item = u32> {
        self.numbers.clone().filter(|number| !self.live.contains(number))
    }

    /// How many pods the workload asks for by itself that are not in the input.
    pub fn count(&self) -> usize {
        self.numbers.len() - self.live.len()
    }
}

impl Existing<'_> {
    /// How many pods stand for one that a template makes.
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
        Snapshot::from_documents(&text.documents().unwrap()).map_err(|error| error.to_string())
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

    /// One object of 160 bytes made 150,000 pods.
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
        // What no pod of it has: another workload's, too high, or not as controllers write it.
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
        // The pods of the input count by themselves.
        let pod = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: c-0\n  ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: c, uid: u, controller: true}]\n";
        assert!(read(&[&a, &b, &stateful_set("c", 1), pod]).is_ok());
    }
}

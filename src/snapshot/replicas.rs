//! The pods that a workload makes from its template, where the input has none of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use super::controller_labels::{POD_INDEX, STATEFUL_SET_POD, numbered};
use super::workload::Template;
use crate::policy::{Backends, Cluster, LabelSelector, Pod, Requirement};

/// The pods that a workload makes from its template. Those that no selector tells apart are one pod of the
/// cluster: a StatefulSet may have very many, each with a number of its own in its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replicas {
    /// The numbers at the ends of their names.
    numbers: Range<u32>,
    /// The positions of the pods whose numbers selectors name.
    named: BTreeMap<u32, usize>,
    /// The position of the pod that stands for all others.
    others: Option<usize>,
    /// The position of the pod that stands for those that an autoscaler adds; `None` if nothing adds any.
    pub further: Option<usize>,
}

impl Replicas {
    /// Makes the pods of a workload, behind those that are there already.
    pub(super) fn make(
        template: Template,
        is_scaled: bool,
        named: &NamedNumbers,
        pods: &mut Vec<Pod>,
    ) -> Self {
        let Template { pod, first_number, replicas, .. } = template;
        let mut add = |pod| {
            pods.push(pod);
            pods.len() - 1
        };
        let first = first_number.unwrap_or(0);
        let numbers = first..first.saturating_add(replicas);
        if first_number.is_none() || numbers.is_empty() {
            let only = add(pod);
            let further = is_scaled.then_some(only);
            return Self { numbers, named: BTreeMap::new(), others: Some(only), further };
        }
        let named = named.among(&pod.name, &numbers);
        let other = numbers.clone().find(|number| !named.contains(number));
        let named = named.into_iter().map(|number| (number, add(numbered(&pod, number)))).collect();
        let others = other.map(|number| add(numbered(&pod, number)));
        // Of its number only that there is one is known, as the template's own pod has it.
        let further = is_scaled.then(|| add(pod));
        Self { numbers, named, others, further }
    }

    /// The positions of the pods in [`Cluster::pods`].
    pub fn pods(&self) -> Vec<usize> {
        let others = self.others.into_iter().chain(self.further);
        let all: BTreeSet<usize> = self.named.values().copied().chain(others).collect();
        all.into_iter().collect()
    }

    /// The number of each pod, and the position of the one that stands for it.
    pub fn numbered(&self) -> impl Iterator<Item = (u32, usize)> {
        self.numbers
            .clone()
            .filter_map(|number| Some((number, *self.named.get(&number).or(self.others.as_ref())?)))
    }

    /// How many pods the workload asks for by itself.
    pub fn count(&self) -> usize {
        self.numbers.len()
    }
}

/// The numbers of StatefulSets' pods that some selector names. No selector tells pods with other numbers apart.
#[derive(Debug, Default)]
pub(super) struct NamedNumbers {
    /// By `apps.kubernetes.io/pod-index`, of any StatefulSet.
    of_all: BTreeSet<u32>,
    /// By `statefulset.kubernetes.io/pod-name`: those of the StatefulSets with this name.
    by_name: HashMap<String, BTreeSet<u32>>,
}

impl NamedNumbers {
    /// Collects the numbers from everything that selects pods.
    pub(super) fn new(cluster: &Cluster) -> Self {
        let mut found = Self::default();
        let of_policies = cluster.policies.iter().flat_map(|policy| policy.pod_selectors());
        let of_cluster = cluster.cluster_policies.iter().flat_map(|policy| policy.pod_selectors());
        let requirements = of_policies.chain(of_cluster).flat_map(LabelSelector::requirements);
        for requirement in requirements {
            found.add(requirement);
        }
        let services = cluster.services.iter().filter_map(|service| match &service.backends {
            Backends::Selected(labels) => Some(labels),
            Backends::Addresses(_) | Backends::Unknown => None,
        });
        for (key, value) in services.flatten() {
            found.add_value(key, value);
        }
        found
    }

    fn add(&mut self, requirement: &Requirement) {
        for value in requirement.values() {
            self.add_value(requirement.key(), value);
        }
    }

    fn add_value(&mut self, key: &str, value: &str) {
        match key {
            POD_INDEX => self.of_all.extend(number(value)),
            STATEFUL_SET_POD => {
                if let Some((name, number)) =
                    value.rsplit_once('-').and_then(|(n, of)| Some((n, number(of)?)))
                {
                    self.by_name.entry(name.to_owned()).or_default().insert(number);
                }
            }
            _ => {}
        }
    }

    /// Those of the numbers of a StatefulSet's pods.
    fn among(&self, name: &str, numbers: &Range<u32>) -> BTreeSet<u32> {
        let by_name = self.by_name.get(name).into_iter().flat_map(|all| all.range(numbers.clone()));
        self.of_all.range(numbers.clone()).chain(by_name).copied().collect()
    }
}

/// A number as controllers write it: `07` is the label of no pod.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number: &u32| number.to_string() == text)
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
        let replicas = workload.replicas.as_ref().unwrap();
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

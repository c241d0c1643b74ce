//! The ends of a matrix: workloads or pods.

use std::collections::HashSet;

use crate::policy::{Group, Pod};
use crate::snapshot::{Replicas, Workload, WorkloadKind};

/// Kind of the ends of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granularity {
    /// Workloads. A Deployment is one workload, however many pods it has. Two workloads have the connections of any
    /// of their pods.
    Workloads,
    /// Pods, including the pods that a workload's template makes.
    Pods,
}

/// A workload or a pod.
#[derive(Debug)]
pub(super) struct End {
    pub(super) name: String,
    pub(super) namespace: String,
    /// Indices of the pods in the cluster.
    pub(super) pods: Vec<usize>,
    /// Groups of the pods, without duplicates.
    pub(super) groups: Vec<Group>,
    /// Whether the end may have several pods, which may exchange packets with each other.
    pub(super) has_several_pods: bool,
}

impl End {
    fn new(name: String, workload: &Workload, pods: Vec<usize>, all: &Pods<'_>) -> Self {
        let mut seen = HashSet::new();
        let groups = pods.iter().filter_map(|pod| all.get(*pod).and_then(|(group, _)| *group));
        let groups = groups.filter(|group| seen.insert(*group)).collect();
        let namespace = workload.identity.namespace.clone();
        Self { name, namespace, pods, groups, has_several_pods: false }
    }
}

/// All pods of a cluster, each with its group, by index.
pub(super) type Pods<'a> = [(Option<Group>, &'a Pod)];

/// Returns the ends of a matrix, in the order of their namespaces.
pub(super) fn all(workloads: &[Workload], granularity: Granularity, pods: &Pods<'_>) -> Vec<End> {
    let of_workload = |workload: &Workload| match granularity {
        Granularity::Workloads => {
            let name = format!("{}[{}]", workload.identity, workload.kind);
            let end = End::new(name, workload, workload.pods.clone(), pods);
            vec![End { has_several_pods: workload.may_have_several_pods(), ..end }]
        }
        Granularity::Pods => {
            let end = |(name, pod)| End::new(name, workload, vec![pod], pods);
            let further = workload.replicas.iter().filter_map(|replicas| {
                let name = format!("{}-*[{}]", replicas.identity, WorkloadKind::Pod);
                Some(End { has_several_pods: true, ..end((name, replicas.further?)) })
            });
            pods_of(workload, pods).into_iter().map(end).chain(further).collect()
        }
    };
    workloads.iter().flat_map(of_workload).collect()
}

/// Returns the names and indices of a workload's pods. Pods that templates make are numbered.
fn pods_of(workload: &Workload, pods: &Pods<'_>) -> Vec<(String, usize)> {
    let pod = WorkloadKind::Pod;
    let made: HashSet<usize> = workload.replicas.iter().flat_map(Replicas::pods).collect();
    let live = workload.pods.iter().filter(|at| !made.contains(at));
    let live = live.filter_map(|at| Some((pods.get(*at)?.1, *at)));
    let numbered = workload.replicas.iter().flat_map(|replicas| {
        let name = move |number| format!("{}-{number}[{pod}]", replicas.identity);
        replicas.numbered().map(move |(number, at)| (name(number), at))
    });
    live.map(|(p, at)| (format!("{}/{}[{pod}]", p.namespace, p.name), at)).chain(numbered).collect()
}

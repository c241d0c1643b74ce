//! What stands in the rows of a matrix: workloads or pods.

use crate::policy::Group;
use crate::snapshot::{Snapshot, Workload, WorkloadKind};

/// What stands in the rows of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granularity {
    /// Workloads: a Deployment is one, however many pods it has. The connections of two workloads
    /// are those of any of their pods.
    Workloads,
    /// Pods, those that a workload's template makes included.
    Pods,
}

/// A workload or a pod.
#[derive(Debug)]
pub(super) struct End {
    pub(super) name: String,
    /// The positions of its pods in the cluster.
    pub(super) pods: Vec<usize>,
    /// The groups of its pods, each once.
    pub(super) groups: Vec<Group>,
    /// Whether it may have two pods, which then may exchange something.
    pub(super) has_several_pods: bool,
}

impl End {
    fn new(name: String, pods: Vec<usize>, groups: &[Option<Group>]) -> Self {
        let mut end = Self { name, pods, groups: Vec::new(), has_several_pods: false };
        for group in end.pods.iter().filter_map(|pod| groups.get(*pod).copied().flatten()) {
            if !end.groups.contains(&group) {
                end.groups.push(group);
            }
        }
        end
    }
}

/// The ends of a matrix; `groups` has the group of each pod, by its position.
pub(super) fn all(snapshot: &Snapshot, granularity: Granularity, groups: &[Option<Group>]) -> Vec<End> {
    let of_workload = |workload: &Workload| match granularity {
        Granularity::Workloads => {
            let name = format!("{}[{}]", workload.identity, workload.kind);
            let end = End::new(name, workload.pods.clone(), groups);
            vec![End { has_several_pods: workload.may_have_several_pods(), ..end }]
        }
        Granularity::Pods => {
            let pods = pods_of(workload, snapshot).into_iter();
            let further = workload.replicas.as_ref().and_then(|replicas| replicas.further);
            let further = further.map(|pod| End {
                has_several_pods: true,
                ..End::new(format!("{}-*[{}]", workload.identity, WorkloadKind::Pod), vec![pod], groups)
            });
            pods.map(|(name, pod)| End::new(name, vec![pod], groups)).chain(further).collect()
        }
    };
    snapshot.workloads.iter().flat_map(of_workload).collect()
}

/// The names of a workload's pods and their positions. Those that its template makes are numbered.
fn pods_of(workload: &Workload, snapshot: &Snapshot) -> Vec<(String, usize)> {
    let pod = WorkloadKind::Pod;
    match &workload.replicas {
        Some(replicas) => {
            let name = |number| format!("{}-{number}[{pod}]", workload.identity);
            replicas.numbered().map(|(number, at)| (name(number), at)).collect()
        }
        None => {
            let found = workload.pods.iter().filter_map(|at| Some((snapshot.cluster.pods.get(*at)?, *at)));
            found.map(|(p, at)| (format!("{}/{}[{pod}]", p.namespace, p.name), at)).collect()
        }
    }
}

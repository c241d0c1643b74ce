//! Services that are reached from outside the cluster through nodes.

use super::end::End;
use crate::policy::{Connections, Group, Pod, PortRange, PortSet, Selection, Service};
use crate::snapshot::Snapshot;

/// What comes through a Service to one workload or pod.
#[derive(Debug)]
pub(super) struct Exposed {
    /// `namespace/name[NodePort]` or `namespace/name[LoadBalancer]`
    pub(super) name: String,
    /// The name of the workload or pod.
    pub(super) to: String,
    /// The groups of its pods, each with the ports to which the Service leads there.
    pub(super) pods: Vec<(Group, Connections)>,
}

/// Every Service that is reached through nodes, with each end to which it may lead.
pub(super) fn all(snapshot: &Snapshot, ends: &[End], groups: &[Option<Group>]) -> Vec<Exposed> {
    let mut all = Vec::new();
    for service in &snapshot.cluster.services {
        let Some(exposure) = service.exposure else { continue };
        for end in ends {
            let mut pods = Vec::new();
            for at in &end.pods {
                let Some(pod) = snapshot.cluster.pods.get(*at) else { continue };
                let Some(group) = groups.get(*at).copied().flatten() else { continue };
                let found = (group, ports(service, pod));
                if may_lead_to(service, pod) && !found.1.is_empty() && !pods.contains(&found) {
                    pods.push(found);
                }
            }
            if !pods.is_empty() {
                let name = format!("{}/{}[{}]", service.namespace, service.name, exposure.name());
                all.push(Exposed { name, to: end.name.clone(), pods });
            }
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn may_lead_to(service: &Service, pod: &Pod) -> bool {
    let may_select = match service.backends.select(pod) {
        Selection::Selected | Selection::DependsOn(_) => true,
        Selection::NotSelected => false,
    };
    may_select && service.namespace == pod.namespace && !pod.ended
}

/// The ports of a pod to which a Service leads.
fn ports(service: &Service, pod: &Pod) -> Connections {
    let targets = service.ports.iter().filter_map(|port| {
        let target = port.target.resolve(pod, port.protocol)?;
        Some(Connections::of(port.protocol, PortSet::from(PortRange::single(target))))
    });
    targets.fold(Connections::default(), |all, port| all.union(&port))
}

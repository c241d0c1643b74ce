//! Deviations in the addresses, ports and nodes of endpoints.

use super::Effect::Meaning;
use super::{Deviation, misread};
use crate::policy::{Cluster, TargetPort};

pub(super) const TABLE: &[Deviation] = &[
    misread("service-ports-untranslated", &[19])
        .says("policies see a Service's port instead of the pod's")
        .by(Meaning(untranslated)),
    misread("own-node-unknown", &[27])
        .says("the node of a pod is not known")
        .by(Meaning(|cluster| cluster.pods.iter_mut().for_each(|pod| pod.node = None))),
];

/// Makes Services translate addresses, but not ports.
pub(crate) fn untranslated(cluster: &mut Cluster) {
    for port in cluster.services.iter_mut().flat_map(|service| &mut service.ports) {
        port.target = TargetPort::Number(port.port);
    }
}

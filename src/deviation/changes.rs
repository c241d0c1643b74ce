//! Deviations in how changes are followed.

use super::Effect::Changes;
use super::{Deviation, seen, wrong};

/// A fault in which changes are not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StaleFault {
    PoliciesNeverRemoved,
    PolicyUpdatesIgnored,
    DeletionForgetsOthers,
    DeletionOpensLate,
    DeletionOpensBriefly,
    UpdateOpensBriefly,
    DeletionStaysClosed,
    PodLabelsFrozen,
    NamespaceLabelsFrozen,
    LabelRemovalsIgnored,
    NewPodsNoPeers,
    NewPodsNotIsolated,
    NewPodsOpen,
    AddressKeepsOwner,
    RestartedPodLosesFamily,
    FrozenNode,
}

pub(super) const TABLE: &[Deviation] = &[
    wrong("policies-never-removed", &[33])
        .says("a deleted policy goes on isolating and allowing")
        .by(Changes(StaleFault::PoliciesNeverRemoved)),
    wrong("policy-updates-ignored", &[33])
        .says("updates of a policy are ignored")
        .by(Changes(StaleFault::PolicyUpdatesIgnored)),
    wrong("deletion-forgets-others", &[11, 33])
        .says("deleting a policy also removes the other policies of its pods")
        .by(Changes(StaleFault::DeletionForgetsOthers)),
    wrong("deletion-opens-late", &[11, 33])
        .says(
            "a second after a policy was deleted, the pods that it had selected are open, whatever else \
             selects them",
        )
        .by(Changes(StaleFault::DeletionOpensLate))
        .not_in_selftest(),
    wrong("deletion-opens-briefly", &[11, 33])
        .says(
            "while a policy is being deleted, the pods that it had selected are open for a moment, \
             whatever else selects them",
        )
        .by(Changes(StaleFault::DeletionOpensBriefly))
        .not_in_selftest(),
    wrong("update-opens-briefly", &[33])
        .says(
            "while the rules of a policy are being replaced, the pods that it selects are open for a \
             moment",
        )
        .by(Changes(StaleFault::UpdateOpensBriefly))
        .not_in_selftest(),
    wrong("deletion-stays-closed", &[33])
        .says("a deleted policy allows nothing any more, but goes on isolating")
        .by(Changes(StaleFault::DeletionStaysClosed)),
    seen("pod-labels-frozen", &[34], "kubeovn/kube-ovn#1920")
        .says("a pod keeps the labels that it started with")
        .by(Changes(StaleFault::PodLabelsFrozen)),
    seen("namespace-labels-frozen", &[34], "ovn-kubernetes/ovn-kubernetes#1850, kubeovn/kube-ovn#1920")
        .says("a namespace keeps the labels that it had first")
        .by(Changes(StaleFault::NamespaceLabelsFrozen)),
    seen("label-removals-ignored", &[34], "aws/aws-network-policy-agent#602")
        .says("added and changed labels are processed, but removed labels stay in force")
        .by(Changes(StaleFault::LabelRemovalsIgnored)),
    seen("new-pods-no-peers", &[36], "cloudnativelabs/kube-router#378")
        .says("only pods that existed when enforcement started are peers: later pods are denied")
        .by(Changes(StaleFault::NewPodsNoPeers)),
    wrong("new-pods-not-isolated", &[36])
        .says("pods that start later are not isolated")
        .by(Changes(StaleFault::NewPodsNotIsolated)),
    seen("new-pods-open", &[36], "cloudnativelabs/kube-router#873")
        .says(
            "pods that start later are isolated a second after they started: until then, everything \
             passes",
        )
        .by(Changes(StaleFault::NewPodsOpen)),
    seen(
        "address-keeps-owner",
        &[32],
        "Azure/azure-container-networking#428, antrea-io/antrea#6507, cloudnativelabs/kube-router#1056",
    )
    .says("a pod that reuses an address is treated as the address's previous owner")
    .by(Changes(StaleFault::AddressKeepsOwner)),
    seen("restarted-pod-loses-family", &[23, 32], "k3s-io/k3s#10053")
        .says("after a pod is replaced under its name, only its IPv6 address is known: IPv4 is denied")
        .by(Changes(StaleFault::RestartedPodLosesFamily)),
    wrong("frozen-node", &[33, 34])
        .says("the last node stops processing changes once its pods run, as after a crash of its agent")
        .by(Changes(StaleFault::FrozenNode)),
];

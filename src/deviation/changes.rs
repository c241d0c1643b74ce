//! Deviations in how changes are followed.

use super::Effect::Changes;
use super::follower::{EnforcerState, Opening, find, is_same, pods_of};
use super::{Deviation, seen, wrong};
use crate::policy::{Labels, NetworkPolicy, Pod};
use crate::snapshot::Identity;

pub(super) const TABLE: &[Deviation] = &[
    wrong("policies-never-removed", &[33]).says("a deleted policy goes on isolating and allowing").by(
        Changes(|memory, EnforcerState { cluster, .. }| {
            memory.policies.retain(|old| find(&cluster.policies, old).is_none());
            memory.policies.append(&mut cluster.policies);
            cluster.policies.clone_from(&memory.policies);
        }),
    ),
    wrong("policy-updates-ignored", &[33]).says("updates of a policy are ignored").by(Changes(
        |memory, EnforcerState { cluster, .. }| {
            memory.policies.retain(|old| find(&cluster.policies, old).is_some());
            for policy in &mut cluster.policies {
                match find(&memory.policies, policy) {
                    Some(first) => policy.clone_from(first),
                    None => memory.policies.push(policy.clone()),
                }
            }
        },
    )),
    wrong("deletion-forgets-others", &[11, 33])
        .says("deleting a policy also removes the other policies of its pods")
        .by(Changes(|memory, EnforcerState { cluster, .. }| {
            // A policy comes back when it changes.
            memory.policies.retain(|forgotten| cluster.policies.contains(forgotten));
            for deleted in memory.deleted(cluster) {
                let shares = |policy: &&NetworkPolicy| {
                    cluster.pods.iter().any(|pod| policy.selects(pod) && deleted.selects(pod))
                };
                memory.policies.extend(cluster.policies.iter().filter(shares).cloned());
            }
            cluster.policies.retain(|policy| !memory.policies.contains(policy));
        })),
    wrong("deletion-opens-late", &[11, 33])
        .says(
            "a second after a policy was deleted, the pods that it had selected are open, whatever else \
             selects them",
        )
        .by(Changes(|memory, state| {
            state.open(pods_of(&memory.deleted(&state.cluster), &state.cluster), Opening::Late);
        }))
        .not_in_selftest(),
    wrong("deletion-opens-briefly", &[11, 33])
        .says(
            "while a policy is being deleted, the pods that it had selected are open for a moment, \
             whatever else selects them",
        )
        .by(Changes(|memory, state| {
            state.open(pods_of(&memory.deleted(&state.cluster), &state.cluster), Opening::Briefly);
        }))
        .not_in_selftest(),
    wrong("update-opens-briefly", &[33])
        .says(
            "while the rules of a policy are being replaced, the pods that it selects are open for a \
             moment",
        )
        .by(Changes(|memory, state| {
            state.open(pods_of(&memory.updated(&state.cluster), &state.cluster), Opening::Briefly);
        }))
        .not_in_selftest(),
    wrong("deletion-stays-closed", &[33])
        .says("a deleted policy allows nothing any more, but goes on isolating")
        .by(Changes(|memory, EnforcerState { cluster, .. }| {
            memory.policies.retain(|old| find(&cluster.policies, old).is_none());
            for mut deleted in memory.deleted(cluster) {
                deleted.ingress.iter_mut().chain(&mut deleted.egress).for_each(Vec::clear);
                memory.policies.push(deleted);
            }
            cluster.policies.extend(memory.policies.iter().cloned());
        })),
    seen("pod-labels-frozen", &[34], "kubeovn/kube-ovn#1920")
        .says("a pod keeps the labels that it started with")
        .by(Changes(|memory, state| {
            for pod in &mut state.cluster.pods {
                if let Some(first) = memory.first_owner(pod).filter(|first| is_same(first, pod)) {
                    pod.labels.clone_from(&first.labels);
                }
            }
        })),
    seen("namespace-labels-frozen", &[34], "ovn-kubernetes/ovn-kubernetes#1850, kubeovn/kube-ovn#1920")
        .says("a namespace keeps the labels that it had first")
        .by(Changes(|memory, state| {
            for namespace in &mut state.cluster.namespaces {
                if let Some(first) = memory.namespaces(&namespace.name).next() {
                    namespace.labels.clone_from(&first.labels);
                }
            }
        })),
    seen("label-removals-ignored", &[34], "aws/aws-network-policy-agent#602")
        .says("added and changed labels are processed, but removed labels stay in force")
        .by(Changes(|memory, state| {
            for pod in &mut state.cluster.pods {
                if memory.first_owner(pod).is_some_and(|first| is_same(first, pod)) {
                    let is_earlier = |old: &&Pod| old.addresses == pod.addresses && is_same(old, pod);
                    let earlier = memory.pods().filter(is_earlier).map(|old| &old.labels);
                    pod.labels = with_earlier(earlier, &pod.labels);
                }
            }
            for namespace in &mut state.cluster.namespaces {
                let earlier = memory.namespaces(&namespace.name).map(|namespace| &namespace.labels);
                namespace.labels = with_earlier(earlier, &namespace.labels);
            }
        })),
    seen("new-pods-no-peers", &[36], "cloudnativelabs/kube-router#378")
        .says("only pods that existed when enforcement started are peers: later pods are denied")
        .by(Changes(|memory, state| state.strangers = memory.new_pods(&state.cluster))),
    wrong("new-pods-not-isolated", &[36])
        .says("pods that start later are not isolated")
        .by(Changes(|memory, state| state.unguarded = memory.new_pods(&state.cluster))),
    seen("new-pods-open", &[36], "cloudnativelabs/kube-router#873")
        .says(
            "pods that start later are isolated a second after they started: until then, everything \
             passes",
        )
        .by(Changes(|memory, state| {
            let Some(before) = memory.history.last() else { return };
            let came = |pod: &&Pod| !before.pods.iter().any(|old| is_same(old, pod));
            let came = state.cluster.pods.iter().filter(came).map(Identity::of_pod);
            state.open(came.collect(), Opening::AtFirst);
        })),
    seen(
        "address-keeps-owner",
        &[32],
        "Azure/azure-container-networking#428, antrea-io/antrea#6507, cloudnativelabs/kube-router#1056",
    )
    .says("a pod that reuses an address is treated as the address's previous owner")
    .by(Changes(|memory, state| {
        for pod in &mut state.cluster.pods {
            if let Some(owner) = memory.first_owner(pod).filter(|owner| !is_same(owner, pod)) {
                let Pod { namespace, labels, ports, .. } = owner.clone();
                *pod = Pod { namespace, labels, ports, ..pod.clone() };
            }
        }
    })),
    seen("restarted-pod-loses-family", &[23, 32], "k3s-io/k3s#10053")
        .says("after a pod is replaced under its name, only its IPv6 address is known: IPv4 is denied")
        .by(Changes(|memory, state| {
            let Some(before) = memory.history.last() else { return };
            let is_restarted = |pod: &&Pod| {
                let is_as_before = |old: &Pod| is_same(old, pod) && old.addresses == pod.addresses;
                memory.pods().any(|old| is_same(old, pod)) && !before.pods.iter().any(is_as_before)
            };
            let restarted: Vec<_> =
                state.cluster.pods.iter().filter(is_restarted).map(Identity::of_pod).collect();
            memory.restarted.extend(restarted);
            state.without_ipv4.clone_from(&memory.restarted);
        })),
    wrong("frozen-node", &[33, 34])
        .says("the last node stops processing changes once its pods run, as after a crash of its agent")
        .by(Changes(|memory, state| {
            let cluster = memory.history.first().unwrap_or(&state.cluster).clone();
            state.frozen = Some(Box::new(EnforcerState { cluster, ..EnforcerState::default() }));
        })),
];

/// Returns labels with all earlier ones that no later ones have replaced.
fn with_earlier<'a>(earlier: impl Iterator<Item = &'a Labels>, labels: &'a Labels) -> Labels {
    let all = earlier.chain([labels]).flatten();
    all.map(|(key, value)| (key.clone(), value.clone())).collect()
}

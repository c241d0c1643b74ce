//! Wrong readings of the items of the semantics, for whole states.

use std::collections::BTreeSet;

use k8s_openapi::api::networking::v1::{NetworkPolicyEgressRule, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::misread_policies::has_names;
use crate::fuzz::dry_run::Case;
use crate::policy::{
    Action, ClusterPeer, ClusterPolicy, ClusterRule, LabelSelector, NAMESPACE_NAME_LABEL, Namespace,
    NamespaceScope, NetworkPolicy, Peer, Peers, Pod, PodSelector, Ports, Rule, TargetPort, Tier,
};
use crate::snapshot::WrittenPolicy;
use crate::world::World;

/// Function that returns a state as it would be if an item were misread; `None` if it is the same.
pub(super) type MisreadState = fn(&Case) -> Option<World>;

/// Wrong readings of whole states, each with the number of the item.
pub(super) const STATES: [(u8, MisreadState); 13] = [
    // Only the first policy of a namespace counts.
    (11, |case| {
        let mut seen = BTreeSet::new();
        changed(case, |world| {
            world.cluster.policies.sort_by(|a, b| a.name.cmp(&b.name));
            world.cluster.policies.retain(|policy| seen.insert(policy.namespace.clone()));
        })
    }),
    // If the rules of a direction match no pod, the direction is not isolated.
    (13, |case| {
        changed(case, |world| {
            let all = world.clone();
            for policy in &mut world.cluster.policies {
                let namespace = policy.namespace.clone();
                for rules in [&mut policy.ingress, &mut policy.egress] {
                    let is_void = |rules: &mut Vec<Rule>| {
                        !rules.is_empty() && rules.iter().all(|rule| names_nobody(&all, &namespace, rule))
                    };
                    rules.take_if(is_void);
                }
            }
        })
    }),
    // A policy that selects no pod selects all pods.
    (13, |case| {
        changed(case, |world| {
            let pods = world.cluster.pods.clone();
            for policy in &mut world.cluster.policies {
                let mut own = pods.iter().filter(|pod| pod.namespace == policy.namespace);
                if !own.any(|pod| policy.subjects.matches(&pod.labels)) {
                    policy.subjects = LabelSelector::everything();
                }
            }
        })
    }),
    (18, resolve_names_for_addresses),
    // Policies see the Service's port.
    (19, |case| {
        changed(case, |world| {
            for port in world.cluster.services.iter_mut().flat_map(|service| &mut service.ports) {
                port.target = TargetPort::Number(port.port);
            }
        })
    }),
    (25, |case| {
        changed(case, |world| {
            for Namespace { labels, .. } in &mut world.cluster.namespaces {
                labels.remove(NAMESPACE_NAME_LABEL);
            }
        })
    }),
    (27, |case| changed(case, |world| world.cluster.pods.iter_mut().for_each(|pod| pod.node = None))),
    // Policies that were changed or deleted keep their old form.
    (33, |case| {
        let mut is_changed = false;
        let mut misread = case.world.clone();
        for old in &case.before.cluster.policies {
            let is_it = |new: &&mut NetworkPolicy| new.namespace == old.namespace && new.name == old.name;
            match misread.cluster.policies.iter_mut().find(is_it) {
                Some(new) if new == old => {}
                Some(new) => (*new, is_changed) = (old.clone(), true),
                None => {
                    misread.cluster.policies.push(old.clone());
                    is_changed = true;
                }
            }
        }
        is_changed.then_some(misread)
    }),
    (34, |case| {
        changed(case, |world| {
            let before = &case.before.cluster;
            for pod in &mut world.cluster.pods {
                let is_it = |old: &&Pod| {
                    // The same name and address: it is the same pod, not a replacement.
                    old.namespace == pod.namespace && old.name == pod.name && old.addresses == pod.addresses
                };
                if let Some(old) = before.pods.iter().find(is_it) {
                    pod.labels.clone_from(&old.labels);
                }
            }
            for namespace in &mut world.cluster.namespaces {
                if let Some(old) = before.namespaces.iter().find(|old| old.name == namespace.name) {
                    namespace.labels.clone_from(&old.labels);
                }
            }
        })
    }),
    // If no rule of a cluster-scoped policy matches, the policy denies.
    (39, |case| {
        changed_tiers(case, |policy| {
            for rules in [&mut policy.ingress, &mut policy.egress] {
                if !rules.is_empty() {
                    rules.push(denial());
                }
            }
        })
    }),
    // The tiers are swapped.
    (40, |case| {
        changed_tiers(case, |policy| {
            policy.tier = match policy.tier {
                Tier::Admin => Tier::Baseline,
                Tier::Baseline => Tier::Admin,
            };
        })
    }),
    // The highest priority number and the last rule come first.
    (41, |case| {
        changed_tiers(case, |policy| {
            policy.priority = 1000 - policy.priority.min(1000);
            policy.ingress.reverse();
            policy.egress.reverse();
        })
    }),
    // Pass ends the evaluation, as Accept does.
    (42, |case| {
        changed_tiers(case, |policy| {
            for rule in policy.ingress.iter_mut().chain(&mut policy.egress) {
                if rule.action == Action::Pass {
                    rule.action = Action::Accept;
                }
            }
        })
    }),
];

/// Returns the state with every cluster-scoped policy changed, or `None` if there are none.
fn changed_tiers(case: &Case, change: impl Fn(&mut ClusterPolicy)) -> Option<World> {
    let mut world = case.world.clone();
    world.cluster.cluster_policies.iter_mut().for_each(change);
    (!world.cluster.cluster_policies.is_empty()).then_some(world)
}

/// Returns a rule that denies all pods.
fn denial() -> ClusterRule {
    let everybody =
        PodSelector { namespaces: LabelSelector::everything(), pods: LabelSelector::everything() };
    ClusterRule { action: Action::Deny, peers: vec![ClusterPeer::Pods(everybody)], ports: Ports::Any }
}

fn changed(case: &Case, change: impl FnOnce(&mut World)) -> Option<World> {
    let mut world = case.world.clone();
    change(&mut world);
    Some(world)
}

/// Returns whether the peers of a rule are selectors that match no pod.
fn names_nobody(world: &World, own: &str, rule: &Rule) -> bool {
    let Peers::Only(peers) = &rule.peers else { return false };
    let names_somebody = |peer: &Peer| match peer {
        Peer::IpBlock(_) => true,
        Peer::Pods { namespaces, pods } => world.cluster.pods.iter().any(|pod| {
            let is_in_scope = match namespaces {
                NamespaceScope::Own => pod.namespace == own,
                NamespaceScope::Selected(selector) => {
                    let namespace = world.cluster.namespaces.iter().find(|n| n.name == pod.namespace);
                    namespace.is_some_and(|namespace| selector.matches(&namespace.labels))
                }
            };
            is_in_scope && pods.matches(&pod.labels)
        }),
    };
    !peers.iter().any(names_somebody)
}

/// Makes a named port in a rule with an address range mean the numbers that pods have for the name.
fn resolve_names_for_addresses(case: &Case) -> Option<World> {
    let mut world = case.world.clone();
    let ports = |name: &str| {
        let pods = case.world.cluster.pods.iter().flat_map(|pod| &pod.ports);
        let named = pods.filter(|port| port.name.as_deref() == Some(name));
        let entries = named.map(|port| NetworkPolicyPort {
            port: Some(IntOrString::Int(port.port.get().into())),
            protocol: Some(port.protocol.name().to_owned()),
            end_port: None,
        });
        entries.collect::<Vec<_>>()
    };
    let mut is_changed = false;
    for (policy, written) in world.cluster.policies.iter_mut().zip(&case.world.written) {
        let mut object = (*written.object).clone();
        let Some(rules) = object.spec.as_mut().and_then(|spec| spec.egress.as_mut()) else { continue };
        let mut more = Vec::new();
        for rule in rules.iter().filter(|rule| has_names(&rule.ports)) {
            let to: Vec<_> =
                rule.to.iter().flatten().filter(|peer| peer.ip_block.is_some()).cloned().collect();
            let resolved: Vec<_> = rule
                .ports
                .iter()
                .flatten()
                .flat_map(|port| match &port.port {
                    Some(IntOrString::String(name)) => ports(name),
                    Some(IntOrString::Int(_)) | None => Vec::new(),
                })
                .collect();
            if !resolved.is_empty() && !to.is_empty() {
                more.push(NetworkPolicyEgressRule { to: Some(to), ports: Some(resolved) });
            }
        }
        if !more.is_empty() {
            rules.extend(more);
            *policy = WrittenPolicy::new(object).ok()?.policy;
            is_changed = true;
        }
    }
    is_changed.then_some(world)
}

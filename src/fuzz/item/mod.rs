//! Which items of the semantics random scenarios can decide, and whether a case does.

use std::collections::{BTreeSet, HashMap};

use k8s_openapi::api::networking::v1::{NetworkPolicyEgressRule, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::paper::{Answers, Case, ask_engine};
use super::reading::{self, Misread};
use crate::plan::Cell;
use crate::policy::{
    Action as RuleAction, Backends, ClusterPeer, ClusterPolicy, ClusterRule, Decision, Direction,
    Expectation, LabelSelector, NAMESPACE_NAME_LABEL, Namespace, NamespaceScope, NetworkPolicy, Peer, Peers,
    Pod, PodSelector, Ports, Reason, Rule, TargetPort, Tier, UndefinedCause,
};
use crate::scenario::{Action, EndpointName, Item, Probe, State};
use crate::snapshot::WrittenPolicy;

/// Whether random scenarios can decide an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// They can.
    Reached,
    /// They cannot, for this reason.
    OutOfReach(&'static str),
}

/// Whether random scenarios can decide an item.
pub fn scope(item: Item) -> Scope {
    match item.number() {
        35 => Scope::OutOfReach("what becomes of an open connection is told, never judged"),
        37 => Scope::OutOfReach("ICMP is not probed, and every probed port has a listener"),
        _ => Scope::Reached,
    }
}

/// The items that a case decides, by number.
pub(super) fn decided(case: &Case) -> BTreeSet<u8> {
    let found = Found { case, answers: ask_engine(&case.state, &case.probes) };
    let mut items: BTreeSet<u8> =
        WITNESSES.iter().filter(|(_, is_decided)| is_decided(&found)).map(|(item, _)| *item).collect();
    for (item, misread) in reading::POLICIES {
        if !items.contains(&item) && found.misread_policies(misread).is_some_and(|s| found.differs(&s)) {
            items.insert(item);
        }
    }
    for (item, misread) in STATES {
        if !items.contains(&item) && misread(case).is_some_and(|state| found.differs(&state)) {
            items.insert(item);
        }
    }
    items
}

/// The items for which a cell of a case would have another answer, were they misread.
pub(super) fn decided_for(case: &Case, cell: &Cell) -> BTreeSet<u8> {
    let mut answers = ask_engine(&case.state, &case.probes);
    let Some(at) = answers.cells.iter().position(|other| other == cell) else { return BTreeSet::new() };
    answers.cells = answers.cells.into_iter().skip(at).take(1).collect();
    answers.engine = answers.engine.into_iter().skip(at).take(1).collect();
    let found = Found { case, answers };
    let policies = reading::POLICIES
        .iter()
        .filter(|(_, misread)| found.misread_policies(*misread).is_some_and(|state| found.differs(&state)));
    let states =
        STATES.iter().filter(|(_, misread)| misread(case).is_some_and(|state| found.differs(&state)));
    policies.map(|(item, _)| *item).chain(states.map(|(item, _)| *item)).collect()
}

/// A case, and what the engine says of it.
struct Found<'a> {
    case: &'a Case,
    answers: Answers,
}

impl Found<'_> {
    /// The state with every policy misread; `None` if that changes none.
    fn misread_policies(&self, misread: Misread) -> Option<State> {
        let mut policies: Option<Vec<NetworkPolicy>> = None;
        for (at, written) in self.case.state.written.iter().enumerate() {
            let mut object = (*written.object).clone();
            misread(object.spec.get_or_insert_default());
            if object.spec != written.object.spec {
                let policies = policies.get_or_insert_with(|| {
                    self.case.state.written.iter().map(|written| written.policy.clone()).collect()
                });
                // Misread, it may have become something that the API server would refuse.
                let policy = WrittenPolicy::new(object).ok()?.policy;
                *policies.get_mut(at)? = policy;
            }
        }
        let mut state = self.case.state.clone();
        state.cluster.policies = policies?;
        Some(state)
    }

    /// Whether any cell has another answer in another state.
    fn differs(&self, state: &State) -> bool {
        let other: HashMap<_, _> = {
            let Answers { cells, engine } = ask_engine(state, &self.case.probes);
            cells.into_iter().zip(engine).map(|(cell, answer)| (cell, answer.decision)).collect()
        };
        let mut pairs = self.answers.cells.iter().zip(&self.answers.engine);
        pairs.any(|(cell, answer)| other.get(cell).is_some_and(|other| *other != answer.decision))
    }

    fn any(&self, is_it: impl Fn(&Cell, &Expectation) -> bool) -> bool {
        self.answers.cells.iter().zip(&self.answers.engine).any(|(cell, answer)| is_it(cell, answer))
    }

    fn any_undefined(&self, is_it: impl Fn(&UndefinedCause) -> bool) -> bool {
        self.any(|_, answer| {
            answer.reasons.iter().any(|reason| matches!(reason, Reason::Undefined(cause) if is_it(cause)))
        })
    }

    fn added(&self) -> impl Iterator<Item = EndpointName> {
        self.case.actions.iter().filter_map(|action| match action {
            Action::AddPod(pod) => Some(EndpointName::pod(&pod.namespace, &pod.name)),
            Action::SetPolicy(_)
            | Action::DeletePolicy(_)
            | Action::SetClusterPolicy(_)
            | Action::DeleteClusterPolicy(_)
            | Action::SetService(_)
            | Action::DeleteService(_)
            | Action::LabelPod { .. }
            | Action::LabelNamespace { .. }
            | Action::EndPod(_)
            | Action::RemovePod(_) => None,
        })
    }
}

/// Says of a case whether something of it is decided by an item.
type Witness = fn(&Found<'_>) -> bool;

/// The items of which the engine's own reasons, or the pattern of its answers, say that they decide.
const WITNESSES: [(u8, Witness); 11] = [
    (14, |found| {
        // The way there is open, and the way back closed: only the reply may pass.
        found.any(|cell, answer| {
            answer.decision == Decision::Allow
                && found.any(|back, answer| {
                    let is_way_back = back.from == cell.to && back.to == cell.from && cell.from != cell.to;
                    is_way_back && back.family == cell.family && answer.decision == Decision::Deny
                })
        })
    }),
    (20, |found| found.any_undefined(|cause| matches!(cause, UndefinedCause::ServiceAddressInIpBlock(_)))),
    (21, |found| {
        found.any(|_, answer| {
            let mut allowing = answer.reasons.iter().filter_map(|reason| match reason {
                Reason::AllowedBy { rule, pod_in_ip_block } => Some((rule.direction, *pod_in_ip_block)),
                Reason::NotIsolated(_)
                | Reason::DeniedBy(_)
                | Reason::PassedBy(_)
                | Reason::Isolated { .. }
                | Reason::OwnAddress
                | Reason::OwnNode
                | Reason::NoPodNetwork
                | Reason::Undefined(_) => None,
            });
            let allowing: Vec<_> = allowing.by_ref().collect();
            Direction::ALL.into_iter().any(|direction| {
                let mut own = allowing.iter().filter(|(other, _)| *other == direction).peekable();
                own.peek().is_some() && own.all(|(_, in_block)| *in_block)
            })
        })
    }),
    (26, |found| found.any_undefined(|cause| matches!(cause, UndefinedCause::HostNetwork { .. }))),
    (28, |found| {
        found.any(|cell, answer| {
            // Others do not get there.
            let is_closed = |other: &Cell, answer: &Expectation| {
                let is_same = other.to == cell.to && other.probe == cell.probe && other.family == cell.family;
                is_same && other.from != cell.from && answer.decision == Decision::Deny
            };
            answer.reasons.contains(&Reason::OwnAddress) && found.any(is_closed)
        }) || found.any_undefined(|cause| matches!(cause, UndefinedCause::Hairpin { .. }))
    }),
    (29, |found| {
        found.any(|cell, answer| {
            let by_egress = |reason: &Reason| match reason {
                Reason::AllowedBy { rule, .. } | Reason::DeniedBy(rule) | Reason::PassedBy(rule) => {
                    rule.direction == Direction::Egress
                }
                Reason::Isolated { direction, .. } => *direction == Direction::Egress,
                Reason::NotIsolated(_)
                | Reason::OwnAddress
                | Reason::OwnNode
                | Reason::NoPodNetwork
                | Reason::Undefined(_) => false,
            };
            matches!(cell.probe, Probe::Dns { .. }) && answer.reasons.iter().any(by_egress)
        })
    }),
    (30, |found| {
        found.any(|cell, answer| {
            let by_host =
                |reason: &Reason| matches!(reason, Reason::Undefined(UndefinedCause::HostNetwork { .. }));
            let leads_to_host = || leads_to_host(&found.case.state, &cell.to);
            matches!(cell.to, EndpointName::Service { .. })
                && answer.reasons.iter().any(by_host)
                && leads_to_host()
        })
    }),
    (31, |found| found.any_undefined(|cause| matches!(cause, UndefinedCause::NodePort { .. }))),
    (32, |found| {
        // Another pod had its address, and it is denied something.
        let had = |pod: &Pod| {
            let mut before = found.case.before.cluster.pods.iter();
            before.any(|old| !old.host_network && old.addresses.iter().any(|a| pod.addresses.contains(a)))
        };
        let pods = found.case.state.cluster.pods.iter().filter(|pod| !pod.host_network && had(pod));
        let names: Vec<_> = pods.map(|pod| EndpointName::pod(&pod.namespace, &pod.name)).collect();
        found.added().filter(|name| names.contains(name)).any(|name| is_denied_something(found, &name))
    }),
    (43, |found| found.any_undefined(|cause| matches!(cause, UndefinedCause::Unordered { .. }))),
    (36, |found| found.added().any(|name| is_denied_something(found, &name))),
];

fn is_denied_something(found: &Found<'_>, name: &EndpointName) -> bool {
    found.any(|cell, answer| (cell.from == *name || cell.to == *name) && answer.decision == Decision::Deny)
}

fn leads_to_host(state: &State, name: &EndpointName) -> bool {
    state.cluster.services.iter().any(|service| {
        let is_it = *name == EndpointName::service(&service.namespace, &service.name);
        let leads_to = |pod: &Pod| match &service.backends {
            Backends::Selected(wanted) => {
                pod.namespace == service.namespace
                    && wanted.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
            }
            Backends::Addresses(_) | Backends::Unknown => false,
        };
        is_it && state.cluster.pods.iter().any(|pod| pod.host_network && leads_to(pod))
    })
}

/// What a state would be were an item misread; `None` if the same.
type MisreadState = fn(&Case) -> Option<State>;

/// The wrong readings of whole states.
const STATES: [(u8, MisreadState); 13] = [
    // The first policy of a namespace is the only one that counts.
    (11, |case| {
        let mut seen = BTreeSet::new();
        changed(case, |state| {
            state.cluster.policies.sort_by(|a, b| a.name.cmp(&b.name));
            state.cluster.policies.retain(|policy| seen.insert(policy.namespace.clone()));
        })
    }),
    // A direction of whose rules nobody is the peer is not isolated at all.
    (13, |case| {
        changed(case, |state| {
            let all = state.clone();
            for policy in &mut state.cluster.policies {
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
    // A policy that selects nobody selects everybody.
    (13, |case| {
        changed(case, |state| {
            let pods = state.cluster.pods.clone();
            for policy in &mut state.cluster.policies {
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
        changed(case, |state| {
            for port in state.cluster.services.iter_mut().flat_map(|service| &mut service.ports) {
                port.target = TargetPort::Number(port.port);
            }
        })
    }),
    (25, |case| {
        changed(case, |state| {
            for Namespace { labels, .. } in &mut state.cluster.namespaces {
                labels.remove(NAMESPACE_NAME_LABEL);
            }
        })
    }),
    (27, |case| changed(case, |state| state.cluster.pods.iter_mut().for_each(|pod| pod.node = None))),
    // Policies that were changed or deleted stay what they were.
    (33, |case| {
        let mut is_changed = false;
        let mut misread = case.state.clone();
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
        changed(case, |state| {
            let before = &case.before.cluster;
            for pod in &mut state.cluster.pods {
                let is_it = |old: &&Pod| {
                    // The same name and address: nobody has replaced it.
                    old.namespace == pod.namespace && old.name == pod.name && old.addresses == pod.addresses
                };
                if let Some(old) = before.pods.iter().find(is_it) {
                    pod.labels.clone_from(&old.labels);
                }
            }
            for namespace in &mut state.cluster.namespaces {
                if let Some(old) = before.namespaces.iter().find(|old| old.name == namespace.name) {
                    namespace.labels.clone_from(&old.labels);
                }
            }
        })
    }),
    // What no rule of theirs matches is denied.
    (39, |case| {
        changed_tiers(case, |policy| {
            for rules in [&mut policy.ingress, &mut policy.egress] {
                if !rules.is_empty() {
                    rules.push(denial());
                }
            }
        })
    }),
    // The tiers are the other way round.
    (40, |case| {
        changed_tiers(case, |policy| {
            policy.tier = match policy.tier {
                Tier::Admin => Tier::Baseline,
                Tier::Baseline => Tier::Admin,
            };
        })
    }),
    // The highest priority and the last rule come first.
    (41, |case| {
        changed_tiers(case, |policy| {
            policy.priority = 1000 - policy.priority.min(1000);
            policy.ingress.reverse();
            policy.egress.reverse();
        })
    }),
    // Pass is the end of the matter, as Accept is.
    (42, |case| {
        changed_tiers(case, |policy| {
            for rule in policy.ingress.iter_mut().chain(&mut policy.egress) {
                if rule.action == RuleAction::Pass {
                    rule.action = RuleAction::Accept;
                }
            }
        })
    }),
];

/// What cluster-scoped policies would be were an item misread; `None` if there are none.
fn changed_tiers(case: &Case, change: impl Fn(&mut ClusterPolicy)) -> Option<State> {
    let mut state = case.state.clone();
    state.cluster.cluster_policies.iter_mut().for_each(change);
    (!state.cluster.cluster_policies.is_empty()).then_some(state)
}

/// A rule that denies everybody.
fn denial() -> ClusterRule {
    let everybody =
        PodSelector { namespaces: LabelSelector::everything(), pods: LabelSelector::everything() };
    ClusterRule { action: RuleAction::Deny, peers: vec![ClusterPeer::Pods(everybody)], ports: Ports::Any }
}

fn changed(case: &Case, change: impl FnOnce(&mut State)) -> Option<State> {
    let mut state = case.state.clone();
    change(&mut state);
    Some(state)
}

/// Whether a rule's peers are selectors that match no pod.
fn names_nobody(state: &State, own: &str, rule: &Rule) -> bool {
    let Peers::Only(peers) = &rule.peers else { return false };
    let names_somebody = |peer: &Peer| match peer {
        Peer::IpBlock(_) => true,
        Peer::Pods { namespaces, pods } => state.cluster.pods.iter().any(|pod| {
            let is_in_scope = match namespaces {
                NamespaceScope::Own => pod.namespace == own,
                NamespaceScope::Selected(selector) => {
                    let namespace = state.cluster.namespaces.iter().find(|n| n.name == pod.namespace);
                    namespace.is_some_and(|namespace| selector.matches(&namespace.labels))
                }
            };
            is_in_scope && pods.matches(&pod.labels)
        }),
    };
    !peers.iter().any(names_somebody)
}

/// A named port towards an address range means the numbers that pods have for the name.
fn resolve_names_for_addresses(case: &Case) -> Option<State> {
    let mut state = case.state.clone();
    let ports = |name: &str| {
        let pods = case.state.cluster.pods.iter().flat_map(|pod| &pod.ports);
        let named = pods.filter(|port| port.name.as_deref() == Some(name));
        let entries = named.map(|port| NetworkPolicyPort {
            port: Some(IntOrString::Int(port.port.get().into())),
            protocol: Some(port.protocol.name().to_owned()),
            end_port: None,
        });
        entries.collect::<Vec<_>>()
    };
    let mut is_changed = false;
    for (policy, written) in state.cluster.policies.iter_mut().zip(&case.state.written) {
        let mut object = (*written.object).clone();
        let Some(rules) = object.spec.as_mut().and_then(|spec| spec.egress.as_mut()) else { continue };
        let mut more = Vec::new();
        for rule in rules.iter().filter(|rule| reading::has_names(&rule.ports)) {
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
    is_changed.then_some(state)
}

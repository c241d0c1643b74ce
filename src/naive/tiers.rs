//! The naive evaluation of cluster-scoped policies, from their JSON to the set of possible actions for a connection.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

use super::model::{Answer, End, Flow, is_to_itself};
use super::objects::{
    addresses, any, both, common, is_finished, is_host_network, is_named_port, labels, matches, namespace,
    namespace_labels, pod,
};

/// What a tier may do: a set of actions. None means that no rule matches.
type Possible = BTreeSet<Option<&'static str>>;

/// Evaluates the Admin tier, NetworkPolicies (None: they do not isolate the subject) and the Baseline tier (spec
/// rules 39 to 42).
pub(super) fn answer(flow: &Flow, ingress: bool, network_policies: &dyn Fn() -> Option<Answer>) -> Answer {
    let subject = if ingress { flow.target } else { flow.source };
    let Some(subject) = pod(flow.world, subject) else { return Answer::Allow };
    let after_baseline = || Answer::Allow;
    let baseline = || settle(tier(flow, ingress, subject, "Baseline"), &after_baseline);
    let after_admin = || network_policies().unwrap_or_else(baseline);
    settle(tier(flow, ingress, subject, "Admin"), &after_admin)
}

/// Returns the answer that all possible actions lead to, or Undefined if their answers differ (spec rule 43).
fn settle(possible: Possible, next: &dyn Fn() -> Answer) -> Answer {
    common(possible.into_iter().map(|action| match action {
        Some("Accept") => Answer::Allow,
        Some("Deny") => Answer::Deny,
        _ => next(),
    }))
}

fn tier(flow: &Flow, ingress: bool, subject: &Pod, name: &str) -> Possible {
    // The specification does not order the kinds. So each kind is evaluated by itself, and any of the results may
    // count.
    let kinds = ["AdminNetworkPolicy", "BaselineAdminNetworkPolicy", "ClusterNetworkPolicy"];
    either(kinds.map(|kind| {
        let mut policies: Vec<_> = flow
            .world
            .cluster_policies
            .iter()
            .filter(|it| it["kind"] == kind && tier_of(it) == name)
            .collect();
        policies.retain(|it| selects(flow, spec(it, "subject"), subject));
        let mut priorities: Vec<_> = policies.iter().map(|it| spec(it, "priority").as_u64()).collect();
        priorities.sort_unstable();
        priorities.dedup();
        let mut possible = Possible::from([None]);
        for priority in priorities.into_iter().rev() {
            let equal = policies.iter().filter(|it| spec(it, "priority").as_u64() == priority);
            let mut first = either(equal.map(|policy| first_match(flow, ingress, policy)));
            if first.remove(&None) {
                first.extend(possible);
            }
            possible = first;
        }
        possible
    }))
}

/// Returns a field of a policy's `spec`, or null if it is missing.
fn spec<'a>(policy: &'a Value, field: &str) -> &'a Value {
    policy.get("spec").and_then(|spec| spec.get(field)).unwrap_or(&Value::Null)
}

fn tier_of(policy: &Value) -> &str {
    match policy["kind"].as_str() {
        Some("AdminNetworkPolicy") => "Admin",
        Some("BaselineAdminNetworkPolicy") => "Baseline",
        _ => spec(policy, "tier").as_str().unwrap_or_default(),
    }
}

/// Returns everything that any of them may do. None (no match) is included only if it is possible for all of them.
fn either(all: impl IntoIterator<Item = Possible>) -> Possible {
    let all: Vec<_> = all.into_iter().collect();
    let nothing = all.iter().all(|it| it.contains(&None));
    let mut union: Possible = all.into_iter().flatten().filter(Option::is_some).collect();
    if nothing {
        union.insert(None);
    }
    union
}

/// Returns the actions of the first rule that matches, and of the rules before it that may match (spec rule 41).
fn first_match(flow: &Flow, ingress: bool, policy: &Value) -> Possible {
    let mut possible = Possible::new();
    let direction = if ingress { "ingress" } else { "egress" };
    for rule in spec(policy, direction).as_array().into_iter().flatten() {
        let action = match rule["action"].as_str() {
            Some("Allow" | "Accept") => "Accept",
            Some("Deny") => "Deny",
            _ => "Pass",
        };
        // k: only ClusterNetworkPolicy says that it applies to a connection of a pod to itself through a Service.
        let applies = policy["kind"] == "ClusterNetworkPolicy" || flow.reading.filters_hairpins;
        match rule_match(flow, ingress, rule) {
            Some(true) if is_to_itself(flow) && !applies => {}
            Some(true) => {
                possible.insert(Some(action));
                return possible;
            }
            Some(false) => {}
            None => drop(possible.insert(Some(action))),
        }
    }
    possible.insert(None);
    possible
}

/// Returns whether a rule matches, or None if that is unknown.
fn rule_match(flow: &Flow, ingress: bool, rule: &Value) -> Option<bool> {
    let remote = if ingress { flow.source } else { flow.target };
    let peers = rule[if ingress { "from" } else { "to" }].as_array().map_or(&[][..], Vec::as_slice);
    let after = ports_match(rule, flow.protocol, flow.port, pod(flow.world, flow.target));
    // l: with a Service, networks may be compared with its virtual address.
    let service = flow.service.filter(|_| !ingress && flow.reading.blocks_see_services);
    let service = service.and_then(|(port, address)| Some((port, address?)));
    any(peers.iter().map(|peer| match service {
        Some((port, address)) if !peer["networks"].is_null() => {
            let on_port = any([after, ports_match(rule, flow.protocol, port, None)]);
            both(on_port, Some(networks(peer).any(|net| net.contains(&address))))
        }
        _ => both(after, peer_match(flow, peer, remote)),
    }))
}

fn peer_match(flow: &Flow, peer: &Value, remote: End) -> Option<bool> {
    let host = pod(flow.world, remote).is_some_and(is_host_network);
    let known = addresses(flow.world, remote);
    if !peer["domainNames"].is_null() {
        None
    } else if !peer["nodes"].is_null() {
        let is_node = host || matches!(remote, End::Node(_)); // a pod with hostNetwork has its node's addresses
        let is_any = peer["nodes"].as_object().is_some_and(serde_json::Map::is_empty);
        if is_node && !is_any { None } else { Some(is_node) }
    } else if !peer["networks"].is_null() {
        let own: Vec<_> = networks(peer).filter(|net| net.addr().is_ipv6() == flow.ipv6).collect();
        if own.iter().any(|net| known.iter().any(|address| net.contains(address)) || net.prefix_len() == 0) {
            Some(true)
        } else {
            (!known.is_empty() || own.is_empty()).then_some(false)
        }
    } else {
        Some(pod(flow.world, remote).is_some_and(|pod| selects(flow, peer, pod)))
    }
}

fn networks(peer: &Value) -> impl Iterator<Item = IpNet> {
    peer["networks"].as_array().into_iter().flatten().filter_map(|net| net.as_str()?.parse().ok())
}

/// Returns whether a selection matches a pod: `{namespaces: …}` or `{pods: {namespaceSelector, podSelector}}`. It
/// never matches pods with hostNetwork.
fn selects(flow: &Flow, selection: &Value, candidate: &Pod) -> bool {
    if is_host_network(candidate) || is_finished(candidate) {
        return false;
    }
    let selected = |selector: &Value, labels: &BTreeMap<String, String>| {
        let is_missing = selector.is_null(); // missing: everything
        is_missing
            || matches(&serde_json::from_value::<LabelSelector>(selector.clone()).unwrap_or_default(), labels)
    };
    let (of_namespaces, of_pods) = match selection.get("pods") {
        Some(pods) => (&pods["namespaceSelector"], &pods["podSelector"]),
        None => (&selection["namespaces"], &Value::Null),
    };
    selected(of_namespaces, &namespace_labels(flow.world, namespace(&candidate.metadata)))
        && selected(of_pods, &labels(&candidate.metadata))
}

fn ports_match(rule: &Value, protocol: &str, port: u16, to: Option<&Pod>) -> Option<bool> {
    let list = rule.get("ports").or(rule.get("protocols")).and_then(Value::as_array);
    let is_match = |entry: &Value| {
        let Some((kind, value)) = entry.as_object().and_then(|entry| entry.iter().next()) else {
            return Some(false);
        };
        let is_protocol = |name: &Value| name.as_str().unwrap_or("TCP") == protocol;
        let is_in = |range: &Value| {
            let (start, end) = (range["start"].as_u64(), range["end"].as_u64());
            start.is_some_and(|start| start <= port.into()) && end.is_some_and(|end| u64::from(port) <= end)
        };
        match kind.as_str() {
            "portNumber" => Some(is_protocol(&value["protocol"]) && value["port"] == port),
            "portRange" => Some(is_protocol(&value["protocol"]) && is_in(value)),
            "namedPort" | "destinationNamedPort" => to.map_or(Some(false), |pod| {
                is_named_port(pod, value.as_str().unwrap_or_default(), protocol, i32::from(port))
            }),
            own => {
                let to = &value["destinationPort"];
                let is_number =
                    if to["range"].is_null() { to["number"] == port } else { is_in(&to["range"]) };
                Some(own.to_uppercase() == protocol && is_number)
            }
        }
    };
    list.map_or(Some(true), |list| any(list.iter().map(is_match)))
}

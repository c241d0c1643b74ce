//! Generates random cluster-scoped policies: every kind, every field, and priorities that are often equal.

use fastrand::Rng;
use serde_json::{Value, json};

use super::labels::{namespace_selector, selector, set};
use super::universe::Universe;

/// The kinds, which name their fields differently.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Admin,
    Baseline,
    Cluster,
}

/// Returns a random cluster-scoped policy with this name, as a manifest that the API server would accept. It is a
/// BaselineAdminNetworkPolicy only if `with_baseline` is set. Its name is then `default`, because a cluster has only
/// one.
pub fn cluster_policy(rng: &mut Rng, universe: &Universe, name: &str, with_baseline: bool) -> Value {
    let kind = match rng.u8(..8) {
        0..=2 => Kind::Admin,
        3 if with_baseline => Kind::Baseline,
        _ => Kind::Cluster,
    };
    let mut spec = json!({});
    let (version, kind_name, name) = match kind {
        Kind::Admin => ("v1alpha1", "AdminNetworkPolicy", name),
        Kind::Baseline => ("v1alpha1", "BaselineAdminNetworkPolicy", "default"),
        Kind::Cluster => {
            set(&mut spec, "tier", json!(rng.choice(&["Admin", "Baseline"])));
            ("v1alpha2", "ClusterNetworkPolicy", name)
        }
    };
    if kind != Kind::Baseline {
        set(&mut spec, "priority", json!(rng.choice(&[0, 10, 10, 20, 1000])));
    }
    set(&mut spec, "subject", selected(rng, universe, kind));
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        if rng.u8(..8) > 0 {
            let rules = (0..rng.usize(..5)).map(|_| rule(rng, universe, kind, peers));
            set(&mut spec, direction, rules.collect());
        }
    }
    json!({
        "apiVersion": format!("policy.networking.k8s.io/{version}"),
        "kind": kind_name,
        "metadata": { "name": name },
        "spec": spec,
    })
}

/// Returns a selection of pods, as a subject or as a peer.
fn selected(rng: &mut Rng, universe: &Universe, kind: Kind) -> Value {
    match rng.u8(..8) {
        0 | 1 => return json!({ "namespaces": {} }),
        2 | 3 => return json!({ "namespaces": namespace_selector(rng, universe) }),
        _ => {}
    }
    let mut pods = json!({});
    // If omitted, it means all namespaces.
    if kind != Kind::Cluster || rng.u8(..4) > 0 {
        set(&mut pods, "namespaceSelector", namespace_selector(rng, universe));
    }
    set(&mut pods, "podSelector", selector(rng, &universe.pod_labels));
    json!({ "pods": pods })
}

fn rule(rng: &mut Rng, universe: &Universe, kind: Kind, peers: &str) -> Value {
    let accept = if kind == Kind::Cluster { "Accept" } else { "Allow" };
    let actions: &[&str] = if kind == Kind::Baseline { &[accept, "Deny"] } else { &[accept, "Deny", "Pass"] };
    let mut action = rng.choice(actions).copied();
    let entries: Vec<_> = (0..rng.usize(1..4)).map(|_| peer(rng, universe, kind, peers)).collect();
    if entries.iter().any(|peer| peer.get("domainNames").is_some()) {
        action = Some(accept);
    }
    let of_pods = entries.iter().all(|peer| peer.get("namespaces").is_some() || peer.get("pods").is_some());
    let mut rule = json!({ "action": action, peers: entries });
    if rng.u8(..4) == 0 {
        set(&mut rule, "name", json!("what it is for"));
    }
    if rng.bool() {
        let field = if kind == Kind::Cluster { "protocols" } else { "ports" };
        set(&mut rule, field, (0..rng.usize(1..3)).map(|_| port(rng, universe, kind, of_pods)).collect());
    }
    rule
}

fn peer(rng: &mut Rng, universe: &Universe, kind: Kind, peers: &str) -> Value {
    if peers == "from" {
        return selected(rng, universe, kind);
    }
    match rng.u8(..12) {
        0..=2 => {
            let (first, second) = (block(rng, universe), block(rng, universe));
            if rng.bool() || first == second {
                json!({ "networks": [first] })
            } else {
                json!({ "networks": [first, second] })
            }
        }
        3 if rng.bool() => json!({ "nodes": {} }),
        3 => json!({ "nodes": { "matchLabels": { "disk": "fast" } } }),
        4 if kind != Kind::Baseline && rng.bool() => json!({ "domainNames": ["*.example.com"] }),
        _ => selected(rng, universe, kind),
    }
}

fn block<'a>(rng: &mut Rng, universe: &'a Universe) -> Option<&'a str> {
    rng.choice(&universe.blocks).map(|(cidr, _)| cidr.as_str())
}

fn port(rng: &mut Rng, universe: &Universe, kind: Kind, of_pods: bool) -> Value {
    if of_pods && rng.u8(..4) == 0 {
        let field = if kind == Kind::Cluster { "destinationNamedPort" } else { "namedPort" };
        return json!({ field: rng.choice(&universe.port_names) });
    }
    let protocol = rng.choice(&universe.protocols).copied().unwrap_or("TCP");
    let port = rng.choice(&universe.ports);
    let ends = (port, rng.choice(&universe.ports));
    let range =
        if ends.0 == ends.1 || rng.bool() { None } else { Some((ends.0.min(ends.1), ends.0.max(ends.1))) };
    if kind == Kind::Cluster {
        let destination = match range {
            Some((start, end)) => json!({ "range": { "start": start, "end": end } }),
            None => json!({ "number": port }),
        };
        return json!({ protocol.to_lowercase(): { "destinationPort": destination } });
    }
    let (field, mut entry) = match range {
        Some((start, end)) => ("portRange", json!({ "start": start, "end": end })),
        None => ("portNumber", json!({ "port": port })),
    };
    // If omitted, it means TCP.
    if protocol != "TCP" || rng.bool() {
        set(&mut entry, "protocol", json!(protocol));
    }
    json!({ field: entry })
}

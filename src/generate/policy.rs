//! Generates random NetworkPolicies: every field, and every way to omit one.

use fastrand::Rng;
use serde_json::{Value, json};

use super::labels::{namespace_selector, selector, set};
use super::universe::Universe;

/// Returns a random policy with this name, as a manifest that the API server would accept.
pub fn policy(rng: &mut Rng, universe: &Universe, name: &str) -> Value {
    let namespace = rng.choice(&universe.namespaces).cloned().unwrap_or_default();
    policy_in(rng, universe, &namespace, name)
}

/// Returns a random policy with this name in this namespace.
pub(super) fn policy_in(rng: &mut Rng, universe: &Universe, namespace: &str, name: &str) -> Value {
    let mut spec = json!({});
    if rng.u8(..8) > 0 {
        set(&mut spec, "podSelector", selector(rng, &universe.pod_labels));
    }
    match rng.u8(..8) {
        0 | 1 => {}
        2 => set(&mut spec, "policyTypes", json!([])),
        3 => set(&mut spec, "policyTypes", json!(["Ingress"])),
        4 => set(&mut spec, "policyTypes", json!(["Egress"])),
        _ => set(&mut spec, "policyTypes", json!(["Ingress", "Egress"])),
    }
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        if let Some(rules) = rules(rng, universe, peers) {
            set(&mut spec, direction, rules);
        }
    }
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": { "name": name, "namespace": namespace },
        "spec": spec,
    })
}

/// Returns a list of rules, or `None` to omit the field.
fn rules(rng: &mut Rng, universe: &Universe, peers: &str) -> Option<Value> {
    let count = match rng.u8(..10) {
        0 => return None,
        1 => 0,
        2..=6 => 1,
        7 | 8 => 2,
        _ => 3,
    };
    Some((0..count).map(|_| rule(rng, universe, peers)).collect())
}

fn rule(rng: &mut Rng, universe: &Universe, peers: &str) -> Value {
    let mut rule = json!({});
    if let Some(count) = count_of_some(rng) {
        set(&mut rule, peers, (0..count).map(|_| peer(rng, universe)).collect());
    }
    if let Some(count) = count_of_some(rng) {
        set(&mut rule, "ports", (0..count).map(|_| port(rng, universe)).collect());
    }
    rule
}

/// Returns the length of a list: `None` omits it, and 0 leaves it empty.
fn count_of_some(rng: &mut Rng) -> Option<usize> {
    match rng.u8(..10) {
        0 | 1 => None,
        2 => Some(0),
        3..=7 => Some(1),
        _ => Some(2),
    }
}

fn peer(rng: &mut Rng, universe: &Universe) -> Value {
    match rng.u8(..10) {
        0..=2 => json!({ "podSelector": selector(rng, &universe.pod_labels) }),
        3..=5 => json!({ "namespaceSelector": namespace_selector(rng, universe) }),
        6 | 7 => json!({
            "namespaceSelector": namespace_selector(rng, universe),
            "podSelector": selector(rng, &universe.pod_labels),
        }),
        _ => json!({ "ipBlock": ip_block(rng, universe) }),
    }
}

fn ip_block(rng: &mut Rng, universe: &Universe) -> Value {
    let named = if rng.u8(..4) == 0 { rng.choice(&universe.addresses) } else { None };
    if let Some(address) = named {
        return json!({ "cidr": address });
    }
    let Some((cidr, inside)) = rng.choice(&universe.blocks) else { return Value::Null };
    let is_inside =
        |address: &&String| cidr.ends_with("/0") && cidr.contains("::") == address.contains(":IPv6");
    let named = universe.addresses.iter().filter(is_inside);
    let holes: Vec<_> = inside.iter().chain(named).filter(|_| rng.u8(..3) == 0).collect();
    if holes.is_empty() { json!({ "cidr": cidr }) } else { json!({ "cidr": cidr, "except": holes }) }
}

fn port(rng: &mut Rng, universe: &Universe) -> Value {
    let mut port = json!({});
    // If omitted, it means TCP. Rules may also name protocols that are not probed.
    match rng.u8(..8) {
        0 | 1 => {}
        2 => set(&mut port, "protocol", json!("SCTP")),
        _ => set(&mut port, "protocol", json!(rng.choice(&universe.protocols))),
    }
    match rng.u8(..8) {
        0 | 1 => {}
        2 | 3 => set(&mut port, "port", json!(rng.choice(&universe.port_names))),
        4 | 5 => set(&mut port, "port", json!(rng.choice(&universe.ports))),
        _ => {
            let (first, last) = (rng.choice(&universe.ports), rng.choice(&universe.ports));
            set(&mut port, "port", json!(first.min(last)));
            set(&mut port, "endPort", json!(first.max(last)));
        }
    }
    port
}

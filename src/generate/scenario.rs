//! A random scenario over namespaces x, y and z with pods a, b and c: other labels and policies in
//! every step.

use fastrand::Rng;
use serde_json::{Value, json};

use super::policy::policy;
use super::universe::{Universe, labels};

const NAMESPACES: [&str; 3] = ["x", "y", "z"];
const PODS: [&str; 3] = ["a", "b", "c"];
const PORTS: [u16; 3] = [80, 81, 82];
/// Outside the cluster, inside the blocks that policies choose from.
const EXTERNAL: (&str, [&str; 2]) = ("internet", ["203.0.113.10", "2001:db8::10"]);

/// What the policies of random scenarios choose from.
fn universe() -> Universe {
    let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
    let block = |cidr: &str, inside: &[&str]| (cidr.to_owned(), owned(inside));
    Universe {
        namespaces: owned(&NAMESPACES),
        namespace_labels: vec![("team", owned(&["red", "blue"])), ("env", owned(&["prod", ""]))],
        pod_labels: vec![("app", owned(&["web", "db"])), ("tier", owned(&["front", "back", ""]))],
        ports: PORTS.to_vec(),
        port_names: vec!["http", "admin", "nowhere"],
        protocols: vec!["TCP", "UDP"],
        blocks: vec![
            block("0.0.0.0/0", &["203.0.113.0/24", "203.0.113.10/32", "198.51.100.0/24"]),
            block("203.0.113.0/24", &["203.0.113.10/32", "203.0.113.128/25"]),
            block("203.0.113.10/32", &[]),
            block("198.51.100.0/24", &[]),
            block("::/0", &["2001:db8::/32"]),
            block("2001:db8::/32", &["2001:db8::10/128"]),
        ],
    }
}

/// A scenario with `cases` random sets of policies, one a step. The same seed gives the same.
pub fn scenario(seed: u64, cases: usize) -> Value {
    let mut rng = Rng::with_seed(seed);
    let universe = universe();
    let mut before: Vec<Value> = Vec::new();
    let mut steps = Vec::new();
    for case in 1..=cases {
        let deletions: Vec<_> = before.iter().map(deletion).collect();
        // Other names than before, so that nothing is replaced that should be deleted.
        let count = rng.usize(1..6);
        let policies: Vec<_> =
            (1..=count).map(|i| policy(&mut rng, &universe, &format!("case-{case}-{i}"))).collect();
        steps.push(json!({
            "name": format!("case {case}"),
            "apply": policies,
            "delete": deletions,
            "label": relabelling(&mut rng, &universe),
        }));
        before = policies;
    }
    let (external, addresses) = EXTERNAL;
    json!({
        "apiVersion": "netproof.dev/v1alpha1",
        "kind": "Scenario",
        "metadata": {
            "name": format!("random-{seed}"),
            "description": "Random policies and labels: engine and packets have to agree.",
            "tags": ["random"],
        },
        "topology": {
            "nodes": rng.usize(1..4),
            "families": if rng.bool() { json!(["IPv4", "IPv6"]) } else { json!(["IPv4"]) },
            "namespaces": NAMESPACES.map(|name| namespace(&mut rng, &universe, name)),
            "externals": [{ "name": external, "ip": addresses }],
        },
        "probes": ["80/TCP", "81/TCP", "80/UDP", "82/UDP"],
        "steps": steps,
    })
}

fn namespace(rng: &mut Rng, universe: &Universe, name: &str) -> Value {
    let pods = PODS.map(|pod| {
        json!({
            "name": pod,
            "labels": labels(rng, &universe.pod_labels),
            "ports": ports(rng),
        })
    });
    json!({ "name": name, "labels": labels(rng, &universe.namespace_labels), "pods": pods, "services": services(rng, universe) })
}

/// Named ports, with other numbers in every pod.
fn ports(rng: &mut Rng) -> Vec<Value> {
    let mut ports = Vec::new();
    for name in ["http", "admin"] {
        for protocol in ["TCP", "UDP"] {
            if rng.bool() {
                ports.push(json!({ "name": name, "port": rng.choice(PORTS), "protocol": protocol }));
            }
        }
    }
    ports
}

fn services(rng: &mut Rng, universe: &Universe) -> Vec<Value> {
    if rng.u8(..3) > 0 {
        return Vec::new();
    }
    let Some((key, values)) = universe.pod_labels.first() else { return Vec::new() };
    let target = if rng.bool() { json!("http") } else { json!(80) };
    let ports = json!([{ "port": 8080, "targetPort": target }]);
    vec![json!({ "name": "service", "selector": { *key: rng.choice(values) }, "ports": ports })]
}

fn deletion(policy: &Value) -> Value {
    let of = |field: &str| policy.pointer(&format!("/metadata/{field}")).cloned().unwrap_or_default();
    json!({ "kind": "NetworkPolicy", "namespace": of("namespace"), "name": of("name") })
}

/// Changes some labels of pods and namespaces, or takes them away.
fn relabelling(rng: &mut Rng, universe: &Universe) -> Vec<Value> {
    let mut changes = Vec::new();
    for _ in 0..rng.usize(..3) {
        let on_pod = rng.bool();
        let keys = if on_pod { &universe.pod_labels } else { &universe.namespace_labels };
        let Some((key, values)) = rng.choice(keys) else { continue };
        let value = if rng.u8(..4) == 0 { Value::Null } else { json!(rng.choice(values)) };
        let (Some(namespace), Some(pod)) = (rng.choice(NAMESPACES), rng.choice(PODS)) else { continue };
        changes.push(if on_pod {
            json!({ "pod": format!("{namespace}/{pod}"), "labels": { *key: value } })
        } else {
            json!({ "namespace": namespace, "labels": { *key: value } })
        });
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::from_document;
    use crate::source::Text;

    #[test]
    fn random_scenarios_are_valid_and_repeatable() {
        for seed in 0..50 {
            let text = scenario(seed, 4).to_string();
            assert_eq!(text, scenario(seed, 4).to_string());
            let text = Text { name: format!("seed {seed}").into(), content: text };
            let scenario = from_document(&text.documents().unwrap()[0]).unwrap();
            assert_eq!(scenario.steps.len(), 4);
        }
    }
}

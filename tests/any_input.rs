//! No input makes the parsers panic: arbitrary bytes, arbitrary YAML, and valid files with a random change.

use std::sync::Arc;

use fastrand::Rng;
use netproof::source::{Document, Key, Location, Node, Text, Value};
use netproof::tenants::{Tenants, aks, first_file};
use netproof::{generate, profile, scenario, snapshot};
use proptest::prelude::*;

/// Reads a text as manifests, as a scenario, as a profile and as a tenants file. Returns whether one of them was valid.
fn read(content: String) -> bool {
    let text = Text { name: Arc::from("any"), content };
    let _ = aks(&text);
    let (own, manifests) = (text.documents(), text.manifests());
    let documents = [own, manifests].into_iter().filter_map(Result::ok).collect::<Vec<_>>().concat();
    let understood = documents.iter().map(read_document).collect::<Vec<_>>();
    understood.into_iter().any(|understood| understood)
}

fn read_document(document: &Document) -> bool {
    let manifests = snapshot::Snapshot::read([document], None).map(|snapshot| {
        let engine = netproof::policy::Engine::new(snapshot.cluster.clone());
        let mut matrix =
            netproof::expect::Matrix::new(&engine, &snapshot, netproof::expect::Granularity::Workloads);
        matrix.rows(|_| Ok::<_, ()>(())).unwrap();
        let _ = first_file(&snapshot.cluster, None);
    });
    let scenario = scenario::from_document(document).and_then(|scenario| scenario::check_coverage(&scenario));
    let profile = profile::from_document(document);
    let tenants = Tenants::from_document(document);
    manifests.is_ok() || scenario.is_ok() || profile.is_ok() || tenants.is_ok()
}

fn any_node() -> impl Strategy<Value = Node> {
    let at = |value| Node { value, at: Location::START };
    let text = prop_oneof![
        "[a-z/:*.-]{0,12}",
        "(kind|apiVersion|metadata|spec|steps|items|specRules|name|NetworkPolicy|Scenario|v1|Pod|List)",
        any::<String>(),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Integer),
        (-3i64..70_000).prop_map(Value::Integer),
        any::<f64>().prop_map(Value::Float),
        text.clone().prop_map(Value::String),
    ];
    leaf.prop_map(at).prop_recursive(5, 60, 6, move |inner| {
        let entry = (text.clone(), inner.clone())
            .prop_map(|(name, node)| (Key { value: name, at: Location::START }, node));
        prop_oneof![
            prop::collection::vec(inner, 0..6).prop_map(Value::Sequence),
            prop::collection::vec(entry, 0..6).prop_map(Value::Mapping),
        ]
        .prop_map(at)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read(String::from_utf8_lossy(&bytes).into_owned());
    }

    #[test]
    fn arbitrary_yaml(node in any_node()) {
        read_document(&Document { name: Arc::from("any"), node });
    }
}

/// Replaces one part of a document by a random value.
fn mutate(rng: &mut Rng, node: &mut Node) {
    let children = match &node.value {
        Value::Sequence(items) => items.len(),
        Value::Mapping(entries) => entries.len(),
        Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::String(_) => 0,
    };
    // Most of the changes are deep in the document.
    if children > 0 && rng.u8(..8) > 0 {
        let at = rng.usize(..children);
        match &mut node.value {
            Value::Sequence(items) => return mutate(rng, &mut items[at]),
            Value::Mapping(entries) if rng.u8(..8) > 0 => return mutate(rng, &mut entries[at].1),
            Value::Mapping(entries) => {
                entries.remove(at);
                return;
            }
            Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::String(_) => {}
        }
    }
    let texts =
        ["", "*", "x/*", "80/TCP", "a", "A b", "0.0.0.0/0", "::/0", "-", "é", "10.0.0.1", "self", "IPv6"];
    node.value = match rng.u8(..9) {
        0 => Value::Null,
        1 => Value::Bool(rng.bool()),
        2 => Value::Integer(rng.i64(-2..70_000)),
        3 => Value::Integer(rng.i64(..)),
        4 => Value::Float(1e300),
        5 => Value::Sequence(vec![]),
        6 => Value::Mapping(vec![]),
        7 => Value::Sequence(vec![node.clone(), node.clone()]),
        _ => Value::String(rng.choice(texts).unwrap().to_owned()),
    };
}

/// Reads a text that has one document.
fn document(content: String) -> Document {
    Text { name: Arc::from("any"), content }.documents().unwrap().remove(0)
}

#[test]
fn valid_files_with_random_changes() {
    // Reading the files takes longer than checking the changed documents, so each file is read once.
    let files: Vec<_> = (0..40)
        .map(|seed| document(generate::scenario(seed, 2, generate::Ground::Lab).to_string()))
        .collect();
    let mut rng = Rng::with_seed(1);
    let mut valid = 0;
    for mut document in files.iter().cycle().take(3_000).cloned() {
        for _ in 0..rng.usize(1..4) {
            mutate(&mut rng, &mut document.node);
        }
        valid += usize::from(read_document(&document));
        // The manifests of its steps are documents, too.
        for step in document.node.get("steps").map(Node::items).unwrap_or_default() {
            for node in step.get("apply").map(Node::items).unwrap_or_default() {
                read_document(&Document { name: Arc::from("any"), node: node.clone() });
            }
        }
    }
    // Some changed files have to be valid, and some not. Otherwise the test would check nothing.
    assert!((100..2_900).contains(&valid), "{valid} of 3,000 files are valid");
}

#[test]
fn profiles_with_random_changes() {
    let profile = document(
        "\
apiVersion: netproof.dev/v1alpha1
kind: Profile
metadata: {name: any, description: anything}
deviations:
- {reason: why, references: [where], cells: {quirk: pod-address-in-ip-block, expected: allow}}
- {reason: why, references: where, cells: {scenarios: a*, steps: [b], from: x/*, to: [self, '*'], probes: 80/TCP, policies: [x/*, AdminNetworkPolicy a], direction: egress, family: IPv6}}
"
        .to_owned(),
    );
    let mut rng = Rng::with_seed(1);
    let mut valid = 0;
    for mut document in std::iter::repeat_n(profile, 2_000) {
        for _ in 0..rng.usize(0..3) {
            mutate(&mut rng, &mut document.node);
        }
        valid += usize::from(profile::from_document(&document).is_ok());
    }
    assert!((100..1_900).contains(&valid), "{valid} of 2,000 profiles are valid");
}

#[test]
fn tenants_files_with_random_changes() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tenants/guide");
    let read = |name: &str| std::fs::read_to_string(format!("{folder}/{name}.yaml")).unwrap();
    let manifests = Text { name: Arc::from("any"), content: read("manifests") }.manifests().unwrap();
    let cluster = snapshot::Snapshot::read(&manifests, None).unwrap().cluster;
    let tenants = document(read("tenants"));
    let mut rng = Rng::with_seed(1);
    let mut valid = 0;
    for mut document in std::iter::repeat_n(tenants, 2_000) {
        for _ in 0..rng.usize(0..3) {
            mutate(&mut rng, &mut document.node);
        }
        valid += usize::from(Tenants::from_document(&document).is_ok_and(|it| it.resolve(&cluster).is_ok()));
    }
    assert!((100..1_900).contains(&valid), "{valid} of 2,000 tenants files are valid");
}

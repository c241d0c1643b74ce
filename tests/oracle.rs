//! Compares the policy engine with the matcher of Cyclonus, which other people wrote in another language.
//!
//! `tests/oracle/` is a small Go program around <https://github.com/mattfenwick/cyclonus> (MIT). Only this test uses it. It
//! knows NetworkPolicies, but nothing that netproof leaves undefined.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use fastrand::Rng;
use netproof::naive::{End, Question, Target};
use netproof::policy::Decision;
use serde_json::{Value, json};

use crate::differential::{Manifests, flow, manifests};

/// Number of random sets of policies.
const SETS: u64 = 2_000;
/// Number of questions about each set.
const QUESTIONS: usize = 12;

#[test]
fn the_engine_agrees_with_cyclonus_over_2_000_random_policy_sets() {
    let Some(oracle) = build() else { return };
    let mut worlds = Vec::new();
    let mut expected = Vec::new();
    for seed in 0..SETS {
        let mut rng = Rng::with_seed(seed);
        let mut manifests = manifests(&mut rng);
        // Cyclonus does not know cluster-scoped policies.
        manifests.cluster_policies.clear();
        let engine = manifests.engine();
        let asked = (0..QUESTIONS).filter_map(|_| {
            let question = manifests.question(&mut rng);
            let written = written(&manifests, question)?;
            match engine.evaluate(&flow(&engine, question)).decision {
                Decision::Allow => Some((written, true)),
                Decision::Deny => Some((written, false)),
                Decision::Undefined => None,
            }
        });
        let (questions, decisions): (Vec<_>, Vec<_>) = asked.unzip();
        let mut policies = json!(manifests.policies);
        compare_with_missing(&mut policies);
        worlds.push(json!({ "policies": policies, "questions": questions }));
        expected.push(decisions);
    }
    let answers: Vec<Vec<bool>> = serde_json::from_slice(&ask(&oracle, &json!(worlds))).unwrap();
    assert_eq!(answers.len(), expected.len());
    for ((world, answers), expected) in worlds.iter().zip(&answers).zip(&expected) {
        for ((question, answer), expected) in
            world["questions"].as_array().unwrap().iter().zip(answers).zip(expected)
        {
            assert_eq!(
                expected, answer,
                "the engine says {expected}, Cyclonus {answer}: {question:#} {:#}",
                world["policies"]
            );
        }
    }
    let all: Vec<bool> = expected.concat();
    let allowed = all.iter().filter(|allowed| **allowed).count();
    assert!(allowed > 1_000 && all.len() - allowed > 1_000, "{allowed} of {} are allowed", all.len());
}

/// The keys of labels in random policies.
///
/// In Cyclonus 0.5.6, `matchLabels: {key: ""}` matches objects without the key, and `NotIn` does not match them.
/// Kubernetes' own selectors, with which `differential` compares ours, do the opposite. So every object gets all keys.
const KEYS: [&str; 5] = ["app", "env", "nobody-has-this", "team", "tier"];
/// The value of a key that an object does not have.
const MISSING: &str = "missing";

fn with_missing_keys(labels: &Value) -> Value {
    let mut all = labels.clone();
    for key in KEYS {
        if all[key].is_null() {
            all[key] = json!(MISSING);
        }
    }
    all
}

/// Rewrites requirements about missing keys as requirements about the value for missing keys.
fn compare_with_missing(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let operator = match fields.get("operator").and_then(Value::as_str) {
                Some("Exists") => Some("NotIn"),
                Some("DoesNotExist") => Some("In"),
                Some(_) | None => None,
            };
            if let Some(operator) = operator {
                fields.insert("operator".to_owned(), json!(operator));
                fields.insert("values".to_owned(), json!([MISSING]));
            }
            fields.values_mut().for_each(compare_with_missing);
        }
        Value::Array(items) => items.iter_mut().for_each(compare_with_missing),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Builds the program. Returns `None`, with a message, without Go or its modules.
fn build() -> Option<PathBuf> {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("oracle");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle");
    let mut go = Command::new("go");
    go.args(["build", "-mod=readonly", "-p", "1", "-o"]).arg(&target).arg(".").current_dir(source);
    let skipped = match go.output() {
        Ok(output) if output.status.success() => return Some(target),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => format!("no Go: {error}"),
    };
    assert!(std::env::var_os("NETPROOF_ORACLE").is_none(), "NETPROOF_ORACLE wants the oracle: {skipped}");
    #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
    {
        eprintln!("the comparison with Cyclonus was skipped: {skipped}");
    }
    None
}

fn ask(oracle: &PathBuf, worlds: &Value) -> Vec<u8> {
    let mut child = Command::new(oracle).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = worlds.to_string();
    // The program reads all input before it writes.
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// Returns a question as the program reads it. Returns `None` for what the program does not know: nodes, Services,
/// `hostNetwork`, and pods that declare a port name or a port twice.
fn written(manifests: &Manifests, question: Question) -> Option<Value> {
    let Target::End(target) = question.target else { return None };
    if question.source == target {
        return None;
    }
    let (source, destination) =
        (end(manifests, question, question.source)?, end(manifests, question, target)?);
    let port_name = match target {
        End::Pod(pod) => port_name(&manifests.pods[pod], question)?,
        End::Node(_) | End::External(_) => String::new(),
    };
    Some(json!({
        "source": source, "destination": destination,
        "port": question.port, "portName": port_name, "protocol": question.protocol,
    }))
}

fn end(manifests: &Manifests, question: Question, end: End) -> Option<Value> {
    match end {
        End::Node(_) => None,
        End::External(address) => Some(json!({ "ip": address })),
        End::Pod(at) => {
            let pod = &manifests.pods[at];
            if pod["spec"]["hostNetwork"] == true || pod["status"]["phase"] == "Succeeded" {
                return None;
            }
            let addresses = pod["status"]["podIPs"].as_array().unwrap().iter();
            let mut addresses = addresses.map(|address| address["ip"].as_str().unwrap());
            let address = addresses.find(|address| address.contains(':') == question.ipv6)?;
            let namespace = &pod["metadata"]["namespace"];
            let known = manifests.namespaces.iter().find(|other| other["metadata"]["name"] == *namespace);
            let mut labels = known.map_or(json!({}), |known| known["metadata"]["labels"].clone());
            labels["kubernetes.io/metadata.name"] = namespace.clone();
            Some(json!({
                "namespace": namespace, "namespaceLabels": with_missing_keys(&labels),
                "podLabels": with_missing_keys(&pod["metadata"]["labels"]), "ip": address,
            }))
        }
    }
}

/// Returns the pod's name for the port of a question. It is empty if the port has no name.
fn port_name(pod: &Value, question: Question) -> Option<String> {
    let containers = pod["spec"]["containers"].as_array().unwrap().iter();
    let ports: Vec<&Value> = containers.map(|container| &container["ports"][0]).collect();
    let is_twice = |port: &&&Value| ports.iter().filter(|other| other["name"] == port["name"]).count() > 1;
    let is_it = |port: &&Value| {
        port["containerPort"] == question.port && port["protocol"].as_str() == Some(question.protocol)
    };
    let mut found = ports.iter().copied().filter(is_it);
    let name = found.next().map(|port| port["name"].as_str().unwrap().to_owned()).unwrap_or_default();
    (found.next().is_none() && !ports.iter().any(|port| is_twice(&port))).then_some(name)
}

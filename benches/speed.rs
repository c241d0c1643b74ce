//! Measures the speed, and prints it with the limits: `cargo bench`. A limit that is exceeded is no failure.

#![expect(
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a benchmark that cannot go on has nothing to print"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_netproof");

fn main() {
    let folder = tempfile::tempdir().expect("a folder for inputs");
    let folder = folder.path();
    report("a step of 3 x 3 pods with 4 ports, denials included (median)", 0.6, median(&steps(folder)));
    report("the seed library", 20.0, seed_library());
    report("a lab of 100 pods on 3 nodes, until it is up", 2.0, large_lab(folder));
    for (what, manifests) in [("alike", manifests(40)), ("all different", manifests(2_000))] {
        let path = write(folder, "manifests.yaml", &manifests);
        report(&format!("expect over 2,000 pods, {what}, and 500 policies"), 1.0, expect(&path));
    }
    let blocks = |i| format!("{{ipBlock: {{cidr: {}/31}}}}", address(4 * i));
    let port = |i| format!("{{port: {}}}", 1 + 2 * i);
    let excepts = list(65_000, |i| format!("{}/32", address(2 * i)));
    for (what, rules) in [
        ("4,000 ipBlocks in one rule", format!("- from: [{}]", list(4_000, blocks))),
        ("4,000 ipBlocks in 4,000 rules", list_of_rules(4_000, |i| format!("from: [{}]", blocks(i)))),
        ("65,000 excepts", format!("- from: [{{ipBlock: {{cidr: 0.0.0.0/0, except: [{excepts}]}}}}]")),
        ("32,000 ports in one rule", format!("- ports: [{}]", list(32_000, port))),
        ("32,000 ports in 32,000 rules", list_of_rules(32_000, |i| format!("ports: [{}]", port(i)))),
    ] {
        let path = write(folder, "manifests.yaml", &one_policy(&rules));
        report(&format!("expect over {what}"), 1.0, expect(&path));
    }
    for (what, manifests) in demanding() {
        let path = write(folder, "manifests.yaml", &manifests);
        report(&format!("expect over {what}"), 1.0, expect(&path));
    }
}

#[expect(clippy::print_stdout, reason = "this is what a benchmark is for")]
fn report(what: &str, at_most: f64, took: Duration) {
    let took = took.as_secs_f64();
    println!("{took:7.2} s  of {at_most:5.2} s  {:5.0} %   {what}", 100.0 * took / at_most);
}

fn median(durations: &[Duration]) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn write(folder: &Path, name: &str, content: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("an input can be written");
    path
}

fn run(arguments: &[&str]) -> Value {
    let output = Command::new(PROGRAM).args(arguments).args(["-o", "json"]).stderr(Stdio::inherit()).output();
    let output = output.expect("the program runs");
    assert!(output.status.success(), "{arguments:?} failed");
    serde_json::from_slice(&output.stdout).expect("a report")
}

fn millis(value: &Value) -> Duration {
    Duration::from_millis(value.as_u64().unwrap_or_default())
}

/// Returns the times of twelve steps, which deny everything, allow one port, and allow everything in turn.
fn steps(folder: &Path) -> Vec<Duration> {
    let mut scenario =
        "apiVersion: netproof.dev/v1alpha1\nkind: Scenario\nmetadata: {name: speed}\nsteps:\n".to_owned();
    for i in 0..12 {
        let rule = match i % 3 {
            0 => "",
            1 => ", ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}]",
            _ => ", ingress: [{}], egress: [{}]",
        };
        let _ = writeln!(
            scenario,
            "- name: step {i}\n  apply: [{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p, namespace: x}}, spec: {{podSelector: {{}}, policyTypes: [Ingress, Egress]{rule}}}}}]"
        );
    }
    let path = write(folder, "speed.yaml", &scenario);
    let result = run(&["run", &path.to_string_lossy()]);
    let steps = result["scenarios"][0]["steps"].as_array().cloned().unwrap_or_default();
    steps.iter().map(|step| millis(&step["tookMs"])).collect()
}

fn seed_library() -> Duration {
    millis(&run(&["run", "--tag", "seeds"])["tookMs"])
}

fn large_lab(folder: &Path) -> Duration {
    let pods = list(10, |pod| format!("{{name: pod-{pod}}}"));
    let namespaces = list(10, |namespace| format!("{{name: ns-{namespace}, pods: [{pods}]}}"));
    // A run without a denial is no pass.
    let scenario = format!(
        "apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {{name: large}}
topology: {{nodes: 3, namespaces: [{namespaces}]}}
probes: [80/TCP]
steps:
- name: one namespace is closed
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {{name: closed, namespace: ns-0}}
    spec: {{podSelector: {{}}, policyTypes: [Ingress]}}
"
    );
    let path = write(folder, "large.yaml", &scenario);
    millis(&run(&["run", &path.to_string_lossy()])["scenarios"][0]["startMs"])
}

fn expect(manifests: &Path) -> Duration {
    let start = Instant::now();
    let status = Command::new(PROGRAM)
        .args(["expect", &manifests.to_string_lossy(), "-o", "json"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(status.is_ok_and(|status| status.success()), "expect failed");
    start.elapsed()
}

/// Returns an IPv4 address by index.
fn address(number: u32) -> std::net::Ipv4Addr {
    std::net::Ipv4Addr::from(0x0b00_0000 + number)
}

fn list(count: u32, item: impl Fn(u32) -> String) -> String {
    (0..count).map(item).collect::<Vec<_>>().join(", ")
}

fn list_of_rules(count: u32, rule: impl Fn(u32) -> String) -> String {
    (0..count).map(|i| format!("- {}\n", rule(i))).collect::<Vec<_>>().join("  ")
}

/// Returns a pod, and a policy with these ingress rules.
fn one_policy(rules: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: web, namespace: x}}\nspec: {{containers: [{{name: c, image: c}}]}}\n---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: x}}\nspec:\n  podSelector: {{}}\n  ingress:\n  {rules}\n"
    )
}

/// Returns 2,000 pods with this many different sets of labels, in 50 namespaces with 500 policies.
fn manifests(kinds: usize) -> String {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut text = String::new();
    for namespace in 0..50 {
        let team = namespace % 7;
        let _ = writeln!(
            text,
            "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: ns-{namespace}, labels: {{team: t{team}}}}}"
        );
    }
    for pod in 0..2_000 {
        let (namespace, kind, tier) = (pod % 50, pod % kinds, ["web", "db", "auth"][pod % 3]);
        let _ = writeln!(
            text,
            "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: pod-{pod}\n  namespace: ns-{namespace}\n  labels: {{app: app-{kind}, tier: {tier}}}\nspec:\n  containers:\n  - name: c\n    image: c\n    ports: [{{name: http, containerPort: {}}}]",
            8_000 + pod % 5
        );
    }
    for policy in 0..500 {
        let (namespace, tier) = (policy % 50, ["web", "db", "auth"][rng.usize(..3)]);
        let (team, port, block) = (rng.u8(..7), 80 + rng.u8(..5), rng.u8(..200));
        let _ = writeln!(
            text,
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: policy-{policy}, namespace: ns-{namespace}}}\nspec:\n  podSelector: {{matchLabels: {{tier: {tier}}}}}\n  policyTypes: [Ingress, Egress]\n  ingress:\n  - from: [{{namespaceSelector: {{matchLabels: {{team: t{team}}}}}}}, {{podSelector: {{}}}}]\n    ports: [{{port: {port}}}, {{port: http}}]\n  egress:\n  - to: [{{ipBlock: {{cidr: 10.{block}.0.0/16}}}}, {{namespaceSelector: {{}}}}]"
        );
    }
    text
}

fn many(count: u32, object: impl Fn(u32) -> String) -> String {
    (0..count).map(|i| object(i) + "---\n").collect()
}

/// Returns small inputs that need much work. Once, the time grew with the third power of their size.
fn demanding() -> [(&'static str, String); 5] {
    let policy = |name: u32, spec: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p{name}}}\nspec: {spec}\n"
        )
    };
    let pod = |i: u32, label: &str, port: u32| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p{i}, labels: {{a: {label}}}}}\nspec: {{containers: [{{name: c, image: c, ports: [{{containerPort: {port}}}]}}]}}\n"
        )
    };
    let deployment = |i: u32| {
        let port = i + 1;
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d{i}}}\nspec: {{selector: {{matchLabels: {{a: b}}}}, template: {{metadata: {{labels: {{a: b}}}}, spec: {{containers: [{{name: c, ports: [{{containerPort: {port}}}]}}]}}}}}}\n"
        )
    };
    let service = |i: u32| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s{i}}}\nspec: {{type: NodePort, selector: {{a: b}}, ports: [{{port: 80}}]}}\n"
        )
    };
    let alternative =
        |i: u32| policy(i, &format!("{{podSelector: {{matchLabels: {{pod-template-hash: h{i}}}}}}}"));
    let holes = list(2_000, |i| format!("{}/32", address(2 * i)));
    let holes = format!(
        "{{podSelector: {{}}, ingress: [{{from: [{{ipBlock: {{cidr: 0.0.0.0/0, except: [{holes}]}}}}]}}]}}"
    );
    let rules =
        list(400, |i| format!("{{to: [{{ipBlock: {{cidr: {}/32}}}}], ports: [{{port: 443}}]}}", address(i)));
    let rules = format!("{{podSelector: {{}}, policyTypes: [Egress], egress: [{rules}]}}");
    let value = |kind: &str, i: u32| format!("{}{i:06}", kind.repeat(57));
    let values = list(200, |i| value("y", i));
    let values =
        format!("{{podSelector: {{matchExpressions: [{{key: a, operator: In, values: [{values}]}}]}}}}");
    [
        ("200 Deployments that 200 policies perhaps select", many(200, deployment) + &many(200, alternative)),
        (
            "60 Services to 60 pods, behind 2,000 excepts",
            many(60, service) + &many(60, |i| pod(i, "b", 80)) + &policy(0, &holes),
        ),
        ("600 Services to 600 pods", many(600, service) + &many(600, |i| pod(i, "b", 80))),
        (
            "400 rules that perhaps match 40 pods",
            policy(0, &rules) + "---\n" + &many(40, |i| pod(i, "b", i + 1)),
        ),
        (
            "200 values that none of 200 pods has",
            many(200, |i| pod(i, &value("x", i), 80)) + &policy(0, &values),
        ),
    ]
}

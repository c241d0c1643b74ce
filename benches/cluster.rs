//! Measures the speed on a cluster with an enforcer, and prints it with the limits:
//! `NETPROOF_CLUSTER=CONTEXT cargo bench --bench cluster`. A limit that is exceeded is no failure. With the argument
//! `runs` or `verify`, it measures only runs of scenarios, or only checks of tenants.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot go on has nothing to print, and one that can prints"
)]

use std::fmt::Write;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The scenarios with the 45 cases of Kubernetes' own tests for NetworkPolicy.
const CASES: [&str; 7] = [
    "conformance-default-deny",
    "conformance-selectors",
    "conformance-ports",
    "conformance-egress",
    "conformance-several-policies",
    "conformance-changes",
    "conformance-ip-block",
];

fn main() {
    let Ok(context) = std::env::var("NETPROOF_CLUSTER") else {
        println!("no cluster is named by NETPROOF_CLUSTER: nothing was measured");
        return;
    };
    let is_wanted = |what: &str| {
        let only = std::env::args().skip(1).find(|argument| ["runs", "verify"].contains(&argument.as_str()));
        only.is_none_or(|only| only == what)
    };
    if is_wanted("runs") {
        measure_runs(&context);
        compare_agents(&context);
    }
    if is_wanted("verify") {
        measure_guide(&context);
        measure_many(&context);
    }
}

fn measure_runs(context: &str) {
    let Timed { result, .. } = run(context, &["--parallel", "1"]);
    let Timed { verdict, end, .. } = run(context, &[]);
    let scenarios = result.get("scenarios").and_then(Value::as_array).cloned().unwrap_or_default();
    let starts = scenarios.iter().map(|scenario| millis(scenario, "startMs"));
    // The other scenarios used existing pods.
    let starts: Vec<Duration> = starts.filter(|start| *start > Duration::from_millis(500)).collect();
    let steps = scenarios.iter().filter_map(|scenario| scenario.get("steps")?.as_array());
    let mut steps: Vec<Duration> = steps.flatten().map(|step| millis(step, "tookMs")).collect();
    steps.sort_unstable();
    let at =
        |share: usize| steps.get(steps.len() * share / 100).or(steps.last()).copied().unwrap_or_default();
    report("9 pods, from nothing to ready (slowest)", 10.0, starts.into_iter().max().unwrap_or_default());
    report(&format!("a step of {}, enforcement included (median)", steps.len()), 0.8, at(50));
    report("the same (90th percentile)", 0.8, at(90));
    report("45 cases in all, to the printed verdict", 20.0, verdict);
    report("the same, to the last namespace's end", 30.0, end);
    println!("{}", result.get("counts").unwrap_or(&Value::Null));
}

/// Manifests that are in the cluster until the value is dropped.
struct Applied<'a> {
    context: &'a str,
    path: PathBuf,
}

impl<'a> Applied<'a> {
    /// Creates the objects, and waits until the Deployments run.
    fn new(context: &'a str, name: &str, manifests: &str) -> Self {
        let path = file(name, manifests);
        kubectl(context, &["apply", "--validate=false", "-f", &path.to_string_lossy()]);
        let applied = Self { context, path };
        let available = ["wait", "-A", "--for=condition=Available", "deployments", "--all", "--timeout=300s"];
        kubectl(context, &available);
        applied
    }
}

impl Drop for Applied<'_> {
    fn drop(&mut self) {
        kubectl(self.context, &["delete", "--wait=true", "-f", &self.path.to_string_lossy()]);
    }
}

fn kubectl(context: &str, arguments: &[&str]) {
    let program =
        std::env::var_os("KUBE_BIN").map_or("kubectl".into(), |bin| Path::new(&bin).join("kubectl"));
    let command =
        Command::new(program).args(["--context", context]).args(arguments).stdout(Stdio::null()).status();
    assert!(command.is_ok_and(|status| status.success()), "kubectl {arguments:?} failed");
}

fn file(name: &str, content: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("netproof-bench-{}-{name}", std::process::id()));
    std::fs::write(&path, content).expect("a file in the folder for temporary files");
    path
}

/// The image that `tests/cluster/up` gives to each node.
const IMAGE: &str = "'localhost/netproof-pause:1', imagePullPolicy: IfNotPresent";

/// Measures a check of the tenants of the example `guide`.
fn measure_guide(context: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tenants/guide");
    let text = std::fs::read_to_string(folder.join("manifests.yaml")).expect("the example");
    // It exists, and cannot be deleted.
    let documents = text.split("---\n").filter(|document| !document.contains("{name: kube-system}"));
    let mut text = documents.collect::<Vec<_>>().join("---\n");
    for name in ["coredns", "ingress", "web", "worker"] {
        text = text.replace(&format!("example/{name}"), IMAGE);
    }
    let text = text.replace("replicas: 1", "replicas: 2").replace(SPEC, SPEC_THAT_ENDS);
    let _applied = Applied::new(context, "guide.yaml", &text);
    let tenants = folder.join("tenants.yaml");
    let first = verify(context, &tenants, 1);
    let again = verify(context, &tenants, 1);
    let thrice = verify(context, &tenants, 3);
    report("verify: the guide's tenants, to the printed verdict", 30.0, first.verdict);
    report("the same, to the end of the last probe pod", 30.0, first.end);
    report("the same in a second call, to the printed verdict", 30.0, again.verdict);
    let repetition = thrice.verdict.saturating_sub(again.verdict) / 2;
    report("a repetition (--repeat)", 5.0, repetition);
    print_check(&again.result);
}

const SPEC: &str = "    spec:\n      containers:";
/// Pods of the image ignore the signal to end.
const SPEC_THAT_ENDS: &str = "    spec:\n      terminationGracePeriodSeconds: 0\n      containers:";

/// Count of the tenants of the large check, and of the workloads of each.
const TENANTS: usize = 20;
const WORKLOADS: usize = 5;

/// Measures a check of many tenants, each with several workloads.
fn measure_many(context: &str) {
    let (mut manifests, mut tenants) = (String::new(), String::new());
    tenants.push_str("apiVersion: netproof.dev/v1alpha1\nkind: Tenants\ntenants:\n");
    for tenant in 1..=TENANTS {
        let name = format!("netproof-bench-{tenant:02}");
        let access = "ingress: AllowSameNamespace, egress: AllowSameNamespace";
        writeln!(tenants, "- {{name: {name}, namespaces: [{name}], {access}}}").expect("a text");
        write!(
            manifests,
            "apiVersion: v1
kind: Namespace
metadata: {{name: {name}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: own, namespace: {name}}}
spec:
  podSelector: {{}}
  policyTypes: [Ingress, Egress]
  ingress: [{{from: [{{podSelector: {{}}}}]}}]
  egress: [{{to: [{{podSelector: {{}}}}]}}]
---
"
        )
        .expect("a text");
        for workload in 1..=WORKLOADS {
            write!(
                manifests,
                "apiVersion: apps/v1
kind: Deployment
metadata: {{name: app-{workload}, namespace: {name}}}
spec:
  selector: {{matchLabels: {{app: app-{workload}}}}}
  template:
    metadata: {{labels: {{app: app-{workload}}}}}
{SPEC_THAT_ENDS}
      - {{name: app, image: {IMAGE}, ports: [{{containerPort: {}}}]}}
---
",
                8_000 + workload
            )
            .expect("a text");
        }
    }
    let _applied = Applied::new(context, "many.yaml", &manifests);
    let many = verify(context, &file("tenants.yaml", &tenants), 1);
    report(
        &format!("verify: {TENANTS} tenants with {WORKLOADS} workloads, to the printed verdict"),
        60.0,
        many.verdict,
    );
    report("the same, to the end of the last probe pod", 60.0, many.end);
    print_check(&many.result);
}

/// Prints what a check has done.
fn print_check(result: &Value) {
    let at = |pointer: &str| result.pointer(pointer).unwrap_or(&Value::Null);
    println!(
        "{:>7}                       {}, {} of them judged",
        at("/outcome").as_str().unwrap_or("no outcome"),
        at("/coverage"),
        at("/run/counts/judged"),
    );
}

/// Checks tenants this number of times.
fn verify(context: &str, tenants: &Path, times: usize) -> Timed {
    time(
        Command::new(env!("CARGO_BIN_EXE_netproof"))
            .args(["verify", "--context", context, "-o", "json", "--repeat", &times.to_string(), "--tenants"])
            .arg(tenants),
    )
}

/// How often pods are started with the agent in a ConfigMap, and how often with the agent in an image.
const STARTS: usize = 5;

/// Prints how long pods take to start with the agent in a ConfigMap, and how long with its image.
fn compare_agents(context: &str) {
    let image = ["--image", netproof::image::DEFAULT_IMAGE, "--image-pull-policy", "Never"];
    let (mut carried, mut loaded) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        carried.extend(start(context, &[]));
        loaded.extend(start(context, &image));
    }
    let [carried, loaded] = [carried, loaded].map(|mut times| {
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    });
    let (Some(carried), Some(loaded)) = (carried, loaded) else {
        println!("the nodes do not have the image of the agent: `netproof image load` loads it");
        return;
    };
    let [carried, loaded] = [carried, loaded].map(|took| took.as_secs_f64());
    println!(
        "{carried:7.2} s                     from nothing to ready, agent in a ConfigMap (median of {STARTS})"
    );
    println!("{loaded:7.2} s                     the same, agent in an image that the nodes have");
    println!("{:7.2}   of  1.00              the first divided by the second", carried / loaded);
}

/// Returns how long the pods of a scenario took from nothing to ready. `None` if they did not start.
fn start(context: &str, options: &[&str]) -> Option<Duration> {
    let output = Command::new(env!("CARGO_BIN_EXE_netproof"))
        .args(["run", "--backend", "cluster", "--context", context, "-o", "json", "default-deny"])
        .args(options)
        .output()
        .expect("the program runs");
    let report: Value = serde_json::from_slice(&output.stdout).ok()?;
    let scenario = report.get("scenarios")?.get(0)?;
    Some(millis(scenario, "startMs")).filter(|took| !took.is_zero())
}

fn report(what: &str, at_most: f64, took: Duration) {
    let took = took.as_secs_f64();
    println!("{took:7.2} s  of {at_most:5.2} s  {:5.0} %   {what}", 100.0 * took / at_most);
}

/// The result of a run.
struct Timed {
    result: Value,
    /// How long it took until the result was printed, and until the run ended, with everything removed.
    verdict: Duration,
    end: Duration,
}

/// Runs the 45 cases.
fn run(context: &str, options: &[&str]) -> Timed {
    time(
        Command::new(env!("CARGO_BIN_EXE_netproof"))
            .args(["run", "--backend", "cluster", "--context", context, "-o", "json"])
            .args(options)
            .args(CASES),
    )
}

/// Runs the program, and measures it.
fn time(command: &mut Command) -> Timed {
    let start = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the program runs");
    // The result is printed at once, before the clean-up.
    let printed = BufReader::new(child.stdout.take().expect("a pipe"));
    let result = serde_json::Deserializer::from_reader(printed).into_iter().next();
    let result = result.and_then(Result::ok).expect("a report");
    let verdict = start.elapsed();
    child.wait().expect("the program ends");
    Timed { result, verdict, end: start.elapsed() }
}

fn millis(value: &Value, field: &str) -> Duration {
    Duration::from_millis(value.get(field).and_then(Value::as_u64).unwrap_or_default())
}

//! Measures the speed on a cluster with an enforcer, and prints it with the limits:
//! `NETPROOF_CLUSTER=CONTEXT cargo bench --bench cluster`. A limit that is exceeded is no failure.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot go on has nothing to print, and one that can prints"
)]

use std::io::BufReader;
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
    let Timed { result, .. } = run(&context, &["--parallel", "1"]);
    let Timed { verdict, end, .. } = run(&context, &[]);
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
    compare_agents(&context);
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
    let start = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_netproof"))
        .args(["run", "--backend", "cluster", "--context", context, "-o", "json"])
        .args(options)
        .args(CASES)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
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

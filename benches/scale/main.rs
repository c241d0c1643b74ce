//! Measures the policy engine on large clusters, and prints a table: `cargo bench --bench scale`.
//!
//! Each row is measured in a process of its own, because a process has only one peak of memory. A goal that is missed is
//! no failure.

#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a benchmark prints, and one that cannot go on has nothing to print"
)]

mod input;

use std::collections::HashSet;
use std::process::Command;
use std::time::Instant;

use fastrand::Rng;
use input::Shape;
use netproof::policy::{Change, Engine, Live, Pod};

/// Pairs of pods that are looked up after the evaluation.
const PAIRS: usize = 100_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // The rest of the arguments is Cargo's.
    if let Some(at) = arguments.iter().position(|argument| argument == "--row") {
        let row = arguments.get(at + 1).expect("the name of a row");
        return measure(row);
    }
    println!(
        "{:<52} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "evaluation of", "classes", "compile", "rows", "pairs", "memory"
    );
    for (row, _) in rows() {
        in_process(&row);
    }
    println!("\n{:<52} {:>9} {:>9} {:>9}", "change at 100,000 pods", "median", "longest", "memory");
    for (row, _) in CHANGES {
        in_process(row);
    }
}

/// The rows of the table, with their inputs.
fn rows() -> Vec<(String, Shape)> {
    let usual = Shape::usual(100_000);
    let mut rows = vec![
        ("100,000 pods, 2,000 namespaces, 10,000 policies".to_owned(), usual),
        ("the same, with a unique label on each pod".to_owned(), Shape { unique_labels: true, ..usual }),
        (
            "1 namespace, 10,000 pods, 10,000 policies for all".to_owned(),
            Shape { pods: 10_000, namespaces: 1, policies: 10_000, select_all: true, ..usual },
        ),
        ("10,000 policies with 20 distinct ipBlocks each".to_owned(), Shape { blocks: 20, ..usual }),
        ("a pod with hostNetwork on each of 1,000 nodes".to_owned(), Shape { hosts: true, ..usual }),
    ];
    for pods in [1_000, 3_000, 10_000, 30_000] {
        rows.push((format!("{pods} pods, {} policies", pods / 10), Shape::usual(pods)));
    }
    rows
}

fn in_process(row: &str) {
    let program = std::env::current_exe().expect("the path of this program");
    let status = Command::new(program).args(["--row", row]).status();
    if !status.is_ok_and(|status| status.success()) {
        println!("{row:<52} failed");
    }
}

/// Returns one of several changes of a kind, by index.
type NewChange = fn(usize, Shape, &mut Rng) -> Change;

/// The kinds of changes.
const CHANGES: [(&str, NewChange); 6] = [
    ("a pod is added", |at, shape, rng| {
        let pod = Pod { name: format!("new-{at}"), ..shape.pod(rng.usize(..shape.pods), 1_000, rng) };
        Change::SetPod(Box::new(pod))
    }),
    ("a pod is relabelled", |_, shape, rng| {
        let (at, like) = (rng.usize(..shape.pods), rng.usize(..shape.pods));
        let Pod { namespace, name, .. } = shape.pod(at, 1_000, rng);
        Change::SetPod(Box::new(Pod { namespace, name, ..shape.pod(like, 1_000, rng) }))
    }),
    ("a pod is removed", |_, shape, rng| {
        let Pod { namespace, name, .. } = shape.pod(rng.usize(..shape.pods), 1_000, rng);
        Change::DeletePod { namespace, name }
    }),
    ("a policy is changed", |_, shape, rng| {
        Change::SetPolicy(shape.policy(rng.usize(..shape.policies), shape.pods / 10, rng))
    }),
    ("a policy is changed, with a new ipBlock", |at, shape, rng| {
        let shape = Shape { blocks: 1 + at, ..shape };
        Change::SetPolicy(shape.policy(rng.usize(..shape.policies), shape.pods / 10, rng))
    }),
    ("a namespace is relabelled", |at, shape, rng| {
        Change::SetNamespace(input::namespace(rng.usize(..shape.namespaces), at))
    }),
];

/// Changes of each kind.
const REPETITIONS: usize = 50;

fn measure_changes(name: &str, new: NewChange) {
    let shape = Shape::usual(100_000);
    let cluster = shape.cluster();
    let before = Cost::now();
    let mut live = Live::new(cluster);
    let mut rng = Rng::with_seed(3);
    let mut times: Vec<f64> = (0..REPETITIONS)
        .map(|at| {
            let change = new(at, shape, &mut rng);
            let start = Instant::now();
            live.apply(change);
            start.elapsed().as_secs_f64() * 1_000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
    let memory = Cost::now().peak.saturating_sub(before.peak);
    println!("{name:<52} {median:>6.3} ms {longest:>6.3} ms {memory:>5} MiB");
}

fn measure(name: &str) {
    if let Some((_, new)) = CHANGES.iter().find(|(row, _)| *row == name) {
        return measure_changes(name, *new);
    }
    let rows = rows();
    let (_, shape) = rows.iter().find(|(row, _)| row == name).expect("a row");
    let cluster = shape.cluster();
    let before = Cost::now();
    let engine = Engine::new(cluster);
    let compiled = Cost::now();
    let mut reach = engine.reach();
    reach.complete();
    let evaluated = Cost::now();
    let groups: Vec<_> = engine.pods().filter_map(|(id, _)| reach.pod(id)).collect();
    let mut rng = Rng::with_seed(2);
    let mut open = 0;
    for _ in 0..PAIRS {
        let [from, to] = [(); 2].map(|()| groups[rng.usize(..groups.len())]);
        let id = reach.between(&[from], &[to]);
        open += usize::from(!reach.connections(id).is_empty());
    }
    let looked_up = Cost::now();
    assert!(open > 0, "some pair may exchange something");
    let classes = groups.iter().collect::<HashSet<_>>().len();
    println!(
        "{name:<52} {classes:>9} {:>7.3} s {:>7.3} s {:>7.3} s {:>5} MiB",
        compiled.since(&before),
        evaluated.since(&compiled),
        looked_up.since(&evaluated),
        looked_up.peak.saturating_sub(before.peak),
    );
}

/// Time and memory that this process has used.
struct Cost {
    at: Instant,
    /// CPU time in seconds, if the system tells it.
    cpu: Option<f64>,
    /// Peak of memory in MiB.
    peak: usize,
}

impl Cost {
    fn now() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let nanoseconds =
            read("/proc/self/schedstat").split(' ').next().and_then(|first| first.parse::<f64>().ok());
        let status = read("/proc/self/status");
        let kilobytes =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        let peak = kilobytes.and_then(|number| number.trim().parse::<usize>().ok()).unwrap_or(0) / 1024;
        Self { at: Instant::now(), cpu: nanoseconds.map(|cpu| cpu / 1e9), peak }
    }

    /// Returns the CPU seconds between two moments.
    fn since(&self, before: &Self) -> f64 {
        let on_clock = self.at.duration_since(before.at).as_secs_f64();
        self.cpu.zip(before.cpu).map_or(on_clock, |(now, then)| now - then)
    }
}

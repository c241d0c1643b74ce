//! The reports for people and machines, of a result in which everything occurs once.

use std::sync::Arc;
use std::time::Duration;

use insta::assert_snapshot;
use netproof::compare::compare;
use netproof::document::{RunDocument, Thresholds};
use netproof::plan::Cell;
use netproof::policy::{
    Decision, Direction, Expectation, IpFamily, PolicyName, Port, Protocol, Reason, RuleName, UndefinedCause,
};
use netproof::profile::{self, Profile};
use netproof::report;
use netproof::scenario::{Claim, Demonstrates, SpecRule};
use netproof::snapshot::Unmodelled;
use netproof::source::Text;
use netproof::verdict::{
    Alone, Attempt, Beside, Cause, CellResult, Change, DeliveredUntil, Environment, Fate, Nodes, Observation,
    OpenConnection, Repetitions, RunResult, ScenarioFailure, ScenarioResult, Settling, StepResult,
    TimeToSettle, Verdict, merge, with_earlier,
};
use netproof::world::{Capability, EndpointName, Probe};

fn policy(name: &str) -> PolicyName {
    PolicyName::Namespaced { namespace: "x".to_owned(), name: name.to_owned() }
}

fn expected(decision: Decision) -> Expectation {
    let reasons = match decision {
        Decision::Allow => vec![
            Reason::NotIsolated(Direction::Egress),
            Reason::AllowedBy {
                rule: RuleName { policy: policy("allow-web"), direction: Direction::Ingress, index: 1 },
                pod_in_ip_block: false,
            },
        ],
        Decision::Deny => vec![Reason::Isolated {
            direction: Direction::Ingress,
            policies: vec![policy("allow-web"), policy("default-deny")],
        }],
        Decision::Undefined => {
            vec![Reason::Undefined(UndefinedCause::Hairpin("x/web".to_owned()))]
        }
    };
    Expectation { decision, reasons }
}

pub(crate) fn cell(
    from: &str,
    to: &str,
    decision: Decision,
    observed: Observation,
    verdict: Verdict,
) -> CellResult {
    let pod = |name: &str| EndpointName::pod("x", name);
    CellResult {
        cell: Cell {
            from: pod(from),
            to: pod(to),
            family: IpFamily::V4,
            probe: Probe::Port { port: Port::new(80).unwrap(), protocol: Protocol::Tcp },
        },
        expected: expected(decision),
        excused: None,
        asserted: Some(decision),
        intended: None,
        observed: Some(observed),
        verdict,
        attempts: 2,
        retries: 0,
        silences: 2,
        settled: None,
        delivered_until: None,
        nodes: Nodes { from: Some("node-1".to_owned()), to: Some("node-2".to_owned()) },
        repeated: [].into(),
        alone: None,
    }
}

/// Returns the cell, with a change that was in force after some milliseconds.
pub(crate) fn settled(mut cell: CellResult, change: Change, took: u64, node: Option<&str>) -> CellResult {
    let took = Duration::from_millis(took);
    let opposed = took.checked_sub(Duration::from_millis(30));
    let node = node.map(str::to_owned);
    cell.settled = Some(Settling { change, took, opposed, node, limit: None });
    cell
}

/// Returns the cell, with a limit of milliseconds for its change.
pub(crate) fn limited(mut cell: CellResult, limit: u64) -> CellResult {
    cell.settled.as_mut().unwrap().limit = Some(Duration::from_millis(limit));
    cell
}

pub(crate) fn on_udp(mut cell: CellResult) -> CellResult {
    cell.cell.probe = Probe::Port { port: Port::new(80).unwrap(), protocol: Protocol::Udp };
    cell
}

pub(crate) fn step(name: &str, cells: Vec<CellResult>) -> StepResult {
    let new_pods =
        TimeToSettle { enforce: Some(Duration::from_millis(3)), admit: Some(Duration::from_millis(70)) };
    StepResult {
        name: name.to_owned(),
        spec_rules: [SpecRule::new(1).unwrap()].into(),
        cells,
        states: Vec::new(),
        new_pods,
        open_connections: Vec::new(),
        handed_over: Duration::from_millis(7),
        rounds: 2,
        loss: 0.0,
        took: Duration::from_millis(310),
    }
}

pub(crate) fn scenario(name: &str, steps: Vec<StepResult>) -> ScenarioResult {
    ScenarioResult {
        name: name.to_owned(),
        description: "What it decides.".to_owned(),
        file: Arc::from(format!("scenarios/{name}.yaml")),
        demonstrates: None,
        ignored: [("ResourceQuota".to_owned(), 2)].into(),
        warnings: Vec::new(),
        steps,
        failure: None,
        start: Duration::from_millis(120),
        timeout: Duration::from_millis(80),
        took: Duration::from_millis(640),
        repetitions: None,
        required: [].into(),
        beside: None,
    }
}

pub(crate) fn run(scenarios: Vec<ScenarioResult>) -> RunResult {
    let requested = scenarios.len();
    RunResult {
        scenarios,
        requested,
        interrupted: false,
        stopped: false,
        unenforced: false,
        settle: Duration::from_secs(15),
        unfinished: Vec::new(),
        profiles: Vec::new(),
        requested_share: None,
        environment: Environment { name: "lab".to_owned(), ..Environment::default() },
        took: Duration::from_millis(1_280),
    }
}

fn good() -> ScenarioResult {
    scenario(
        "good",
        vec![step(
            "all is well",
            vec![
                cell("a", "b", Decision::Allow, Observation::Connected, Verdict::Match),
                settled(
                    cell("b", "a", Decision::Deny, Observation::Dropped, Verdict::Match),
                    Change::Enforce,
                    42,
                    Some("node-2"),
                ),
                cell("a", "c", Decision::Undefined, Observation::Rejected, Verdict::Undefined),
                on_udp(cell(
                    "a",
                    "b",
                    Decision::Allow,
                    Observation::Unsupported { message: "no SCTP".to_owned() },
                    Verdict::Skipped(Capability::Sctp),
                )),
            ],
        )],
    )
}

fn bad() -> ScenarioResult {
    let leak = cell("a", "b", Decision::Deny, Observation::Connected, Verdict::Leak);
    let one_way = on_udp(cell("a", "b", Decision::Deny, Observation::OneWay, Verdict::Leak));
    let blocked = cell("b", "a", Decision::Allow, Observation::Rejected, Verdict::Blocked);
    let flaky = cell("b", "c", Decision::Deny, Observation::Dropped, Verdict::Flaky);
    let mut lost =
        cell("c", "a", Decision::Deny, Observation::Dropped, Verdict::Inconclusive(Cause::NoControl));
    lost.retries = 3;
    let mut wrong_assertion = cell("c", "b", Decision::Allow, Observation::Connected, Verdict::Match);
    wrong_assertion.asserted = Some(Claim::Deny);
    let mut gap = cell("a", "c", Decision::Allow, Observation::Connected, Verdict::Match);
    gap.intended = Some(Claim::Deny);
    gap = settled(gap, Change::Admit, 12, None);
    let mut ipv6 = cell("a", "c", Decision::Deny, Observation::Connected, Verdict::Leak);
    ipv6.cell.family = IpFamily::V6;
    ipv6.delivered_until = Some(DeliveredUntil::AfterNewPod(Duration::from_millis(420)));
    let open = [
        (&leak, Some(Decision::Deny), Fate::Survived),
        (&blocked, Some(Decision::Allow), Fate::Survived),
        (&flaky, Some(Decision::Deny), Fate::Cut),
        (&gap, None, Fate::Ended),
        (&wrong_assertion, Some(Decision::Allow), Fate::NotMeasured("no answer".to_owned())),
    ];
    let open = open.map(|(cell, decision, fate)| OpenConnection { cell: cell.cell.clone(), decision, fate });
    let cells = vec![leak, one_way, blocked, flaky, lost, wrong_assertion, gap, ipv6];
    let step = StepResult { open_connections: open.into(), ..step("everything is wrong", cells) };
    scenario("bad", vec![step])
}

fn demonstration(gaps: bool) -> ScenarioResult {
    let mut gap = cell("a", "c", Decision::Allow, Observation::Connected, Verdict::Match);
    gap.intended = gaps.then_some(Claim::Deny);
    let demonstrates = Some(Demonstrates::PolicyGap);
    ScenarioResult {
        demonstrates,
        ..scenario(if gaps { "mistake" } else { "no-mistake" }, vec![step("the mistake", vec![gap])])
    }
}

fn failed() -> ScenarioResult {
    let message = "could not build the lab's network: out of luck".to_owned();
    let failure = Some(ScenarioFailure { message, everywhere: false });
    ScenarioResult { failure, ignored: [].into(), ..scenario("failed", vec![]) }
}

/// Returns the JSON report without the version.
fn json(result: &RunResult) -> String {
    let version = format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
    report::json(&RunDocument::from(result)).unwrap().replace(&version, "\"version\": \"VERSION\"")
}

fn terminal(result: &RunResult, everything: bool) -> String {
    anstream::adapter::strip_str(&report::terminal(&RunDocument::from(result), everything)).to_string()
}

fn junit(result: &RunResult) -> String {
    let mut xml = Vec::new();
    report::junit(&RunDocument::from(result), &mut xml).unwrap();
    String::from_utf8(xml).unwrap()
}

fn code(result: &RunResult) -> u8 {
    RunDocument::from(result).exit_code
}

/// A stored result has all that JSON says.
#[test]
fn a_document_is_read_as_it_was_written() {
    let mut everything = run(vec![good(), bad(), demonstration(false), failed()]);
    everything.scenarios.extend(
        merge(repeated(), |_| 5)
            .into_iter()
            .map(|scenario| ScenarioResult { name: "repeated".to_owned(), ..scenario }),
    );
    everything.environment.facts = vec![("server".to_owned(), "v1.36.0".to_owned())];
    everything.unfinished = vec!["later".to_owned()];
    let excused = scenario("excused", vec![step("deny", vec![excused(Observation::Connected)])]);
    let with_profile =
        RunResult { profiles: plugin().iter().map(Profile::applied).collect(), ..run(vec![excused]) };
    let proves_less = RunResult { requested_share: Some(0.01), ..run(vec![good()]) };
    for result in [everything, with_profile, slow(), proves_less, beside_others()] {
        let mut document = RunDocument::from(&result);
        let earlier = RunDocument { scenarios: document.scenarios[..1].to_vec(), ..document.clone() };
        document.comparison = Some(Box::new(compare(&earlier, &document, Thresholds::default())));
        let text = report::json(&document).unwrap();
        let read = RunDocument::parse("stored.json", &text).unwrap();
        assert_eq!(report::json(&read).unwrap(), text);
        // Read again, nothing changes any more, not even what is not in JSON.
        assert_eq!(RunDocument::parse("stored.json", &report::json(&read).unwrap()).unwrap(), read);
        let cells =
            |run: &RunDocument| run.cells().map(|cell| (cell.verdict, cell.change)).collect::<Vec<_>>();
        assert_eq!((cells(&read), read.counts), (cells(&document), document.counts));
    }
}

#[test]
fn a_run_in_which_everything_matches() {
    let result = run(vec![good(), demonstration(true)]);
    assert_snapshot!("terminal, all well", terminal(&result, false));
    assert_eq!(code(&result), 0);
}

/// Both directions deny, and fewer probes were sent than requested.
#[test]
fn a_run_that_proves_less_than_it_was_asked_for() {
    let mut both = cell("b", "a", Decision::Deny, Observation::Dropped, Verdict::Match);
    both.expected
        .reasons
        .push(Reason::Isolated { direction: Direction::Egress, policies: vec![policy("default-deny")] });
    let scenarios = vec![scenario("one", vec![step("nobody sends or receives", vec![both])])];
    let result = RunResult { requested_share: Some(0.01), ..run(scenarios) };
    assert_snapshot!("terminal, less proved", terminal(&result, false));
    assert_eq!(code(&result), 3);
    assert_snapshot!("junit, less proved", junit(&result));
    assert_eq!(code(&RunResult { requested_share: Some(0.78), ..result }), 0);
}

/// Three scenarios failed while others ran: one only then, one also alone, and one was not run alone.
fn beside_others() -> RunResult {
    let leak = |from| cell(from, "b", Decision::Deny, Observation::Connected, Verdict::Leak);
    let well = |from| cell(from, "b", Decision::Deny, Observation::Dropped, Verdict::Match);
    let beside = |others: &[&str]| {
        let others = others.iter().map(|name| (*name).to_owned()).collect();
        Some(Beside { others, alone: None })
    };
    let of = |name, others: &[&str], cells| ScenarioResult {
        beside: beside(others),
        ..scenario(name, vec![step("deny", cells)])
    };
    let innocent = of("innocent", &["bad-policy", "too-long"], vec![leak("a"), leak("c")]);
    let innocent = innocent.with_alone(&of("innocent", &[], vec![well("a"), well("c")]));
    // Another cell leaks alone. That is a leak, too.
    let bad_policy = of("bad-policy", &["innocent"], vec![leak("a"), leak("c"), well("d")]);
    let bad_policy = bad_policy.with_alone(&of("bad-policy", &[], vec![leak("a"), well("c"), leak("d")]));
    let mut too_long = of("too-long", &["innocent"], vec![leak("a")]);
    if let Some(beside) = &mut too_long.beside {
        beside.alone = Some(Alone::NotRun("it would have made the run more than twice as long".to_owned()));
    }
    run(vec![good(), innocent, bad_policy, too_long])
}

#[test]
fn what_differs_only_beside_other_scenarios_is_told_from_what_differs_alone() {
    let result = beside_others();
    assert_snapshot!("terminal, beside others", terminal(&result, false));
    assert_eq!(code(&result), 1);
    let verdicts = |name: &str| -> Vec<_> {
        let scenario = result.scenarios.iter().find(|scenario| scenario.name == name).unwrap();
        let cells = scenario.steps.iter().flat_map(|step| &step.cells);
        cells.map(|cell| (cell.verdict.clone(), cell.alone.clone())).collect()
    };
    use Verdict::{Leak, Match};
    assert_eq!(verdicts("innocent"), [(Leak, Some(Match)), (Leak, Some(Match))]);
    assert_eq!(verdicts("bad-policy"), [(Leak, Some(Leak)), (Leak, Some(Match)), (Leak, Some(Leak))]);
    assert_eq!(verdicts("too-long"), [(Leak, None)]);
    assert_eq!(verdicts("good").iter().filter(|(_, alone)| alone.is_some()).count(), 0);
}

#[test]
fn a_run_in_which_everything_is_wrong() {
    let result = run(vec![good(), bad(), demonstration(false), failed()]);
    assert_snapshot!("terminal, all wrong", terminal(&result, false));
    assert_snapshot!("terminal, all wrong, verbose", terminal(&result, true));
    assert_eq!(code(&result), 1);
}

#[test]
fn a_run_with_only_inconclusive_cells() {
    let cells =
        vec![cell("c", "a", Decision::Deny, Observation::Dropped, Verdict::Inconclusive(Cause::NoControl))];
    let result = run(vec![scenario("doubtful", vec![step("no control", cells)])]);
    assert_snapshot!("terminal, inconclusive", terminal(&result, false));
    assert_eq!(code(&result), 3);
}

/// The report names the node of all leaks only if another node had to deny something.
#[test]
fn the_only_node_that_leaks_is_named_if_another_one_denied_what_it_had_to() {
    let leak = || cell("a", "b", Decision::Deny, Observation::Connected, Verdict::Leak);
    let mut elsewhere = cell("b", "a", Decision::Deny, Observation::Dropped, Verdict::Match);
    std::mem::swap(&mut elsewhere.nodes.from, &mut elsewhere.nodes.to);
    let shown = |cells| terminal(&run(vec![scenario("s", vec![step("t", cells)])]), false);
    let line = "every leak is at node-2: other nodes denied everything that they had to deny";
    assert!(shown(vec![leak(), elsewhere]).contains(line));
    let here = cell("b", "a", Decision::Deny, Observation::Dropped, Verdict::Match);
    assert!(!shown(vec![leak(), here]).contains("every leak is at"));
}

#[test]
fn a_run_that_was_interrupted() {
    let mut result = run(vec![good()]);
    (result.requested, result.interrupted) = (5, true);
    assert_snapshot!("terminal, interrupted", terminal(&result, false));
    assert_eq!(code(&result), 130);
}

/// Five repetitions of the good scenario. One has a leak, and in another one a cell could not be measured.
fn repeated() -> Vec<ScenarioResult> {
    let mut leaking = good();
    leaking.steps[0].cells[1] = cell("b", "a", Decision::Deny, Observation::Connected, Verdict::Leak);
    let mut unmeasured = good();
    unmeasured.steps[0].cells[0].verdict = Verdict::Inconclusive(Cause::NoControl);
    unmeasured.steps[0].cells[1].settled.as_mut().unwrap().took = Duration::from_millis(99);
    vec![good(), leaking, good(), unmeasured, good()]
}

#[test]
fn a_verdict_that_differs_between_repetitions_is_flaky() {
    let result = run(merge(repeated(), |_| 5));
    let cells = &result.scenarios[0].steps[0].cells;
    assert_eq!((result.scenarios.len(), cells.len()), (1, 4));
    assert_eq!(
        cells[0].verdict,
        Verdict::Inconclusive(Cause::NoControl),
        "the other repetitions do not differ"
    );
    assert_eq!(cells[1].verdict, Verdict::Leak, "one delivered packet is enough");
    assert_eq!(cells[1].observed, Some(Observation::Connected), "the worst observation is shown");
    assert_eq!(cells[1].repeated, [("match", 4), ("leak", 1)].into());
    assert_eq!(cells[2].verdict, Verdict::Undefined);
    assert!(cells[2].repeated.is_empty());
    assert_eq!(result.scenarios[0].repetitions, Some(Repetitions { requested: 5, done: 5, same: 3 }));
    assert_eq!(result.scenarios[0].steps[0].time().enforce, None, "a leak is never in force");
    assert_eq!(code(&result), 1);
    assert_snapshot!("terminal, repeated", terminal(&result, false));
}

#[test]
fn a_verdict_that_never_differs_is_not_flaky() {
    let result = run(merge(vec![good(), bad(), good(), bad()], |_| 2));
    let verdicts = |scenario: &ScenarioResult| -> Vec<_> {
        scenario.steps[0].cells.iter().map(|cell| cell.verdict.clone()).collect()
    };
    let names: Vec<_> = result.scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
    assert_eq!(names, ["good", "bad"]);
    assert_eq!(verdicts(&result.scenarios[1]), verdicts(&bad()));
    assert_eq!(code(&result), 1);
    // A scenario that is requested once has no repetitions.
    assert_eq!(merge(vec![good()], |_| 1)[0].repetitions, None);
}

/// A lost pod makes a scenario begin again. What speaks against a pass until then must not be forgotten.
#[test]
fn a_leak_of_an_earlier_attempt_stays_a_leak() {
    let denied = |verdict| cell("a", "b", Decision::Deny, Observation::Dropped, verdict);
    let attempt = |verdicts: &[Verdict]| {
        let steps = verdicts.iter().enumerate().map(|(i, it)| step(&i.to_string(), vec![denied(it.clone())]));
        scenario("s", steps.collect())
    };
    let verdicts = |last: &[Verdict], earlier: &[(&[Verdict], Option<usize>)]| -> Vec<&'static str> {
        let earlier =
            earlier.iter().map(|(it, disturbed)| Attempt { result: attempt(it), disturbed: *disturbed });
        let result = with_earlier(attempt(last), &earlier.collect::<Vec<_>>());
        result.steps.iter().map(|step| step.cells[0].verdict.name()).collect()
    };
    let unseen = || Verdict::Inconclusive(Cause::LateArrival);
    let right = [Verdict::Match, Verdict::Match];
    let leaks_first = [(&[Verdict::Leak][..], Some(0)), (&[Verdict::Match], Some(0))];
    assert_eq!(verdicts(&right, &leaks_first), ["leak", "match"]);
    assert_eq!(verdicts(&right, &[(&[unseen()], Some(0))]), ["match", "match"]);
    assert_eq!(verdicts(&right, &[(&[Verdict::Match, Verdict::Leak], Some(1))]), ["match", "leak"]);
    // The loss disturbs only the step in which it happens.
    assert_eq!(verdicts(&right, &[(&[Verdict::Blocked], Some(0))]), ["match", "match"]);
    assert_eq!(verdicts(&right, &[(&[Verdict::Blocked, unseen()], Some(1))]), ["flaky", "match"]);
    assert_eq!(verdicts(&right, &[(&[Verdict::Flaky, Verdict::Match], Some(1))]), ["flaky", "match"]);
    // Regression: a loss between steps disturbs none, and the last step before it did not count.
    assert_eq!(verdicts(&right, &[(&[Verdict::Blocked], None)]), ["flaky", "match"]);
    assert_eq!(verdicts(&right[..1], &[(&[Verdict::Match, unseen()], Some(1))]), ["match", "inconclusive"]);
}

/// A race that a profile excuses occurs only in some repetitions.
#[test]
fn a_moment_that_is_excused_in_one_repetition_makes_nothing_flaky() {
    let with = |cell: CellResult| scenario("raced", vec![step("deny", vec![cell])]);
    let matched = || with(on_udp(cell("a", "b", Decision::Deny, Observation::Dropped, Verdict::Match)));
    let result = run(merge(vec![matched(), with(excused(Observation::Connected)), matched()], |_| 3));
    let merged = &result.scenarios[0].steps[0].cells[0];
    assert!(merged.is_excused(), "{merged:?}");
    assert_eq!(merged.repeated, [("match", 2), ("undefined", 1)].into());
}

/// Regression: the search for one capability skipped the cells that lack another one.
#[test]
fn the_table_names_every_capability_that_a_scenario_lacks() {
    let lacking = |required: &[Capability]| {
        let cell = |capability| CellResult {
            verdict: Verdict::Skipped(capability),
            ..cell("a", "b", Decision::Deny, Observation::Dropped, Verdict::Match)
        };
        let cells = [Capability::Ipv6, Capability::Sctp].map(cell);
        let required = required.iter().copied().collect();
        ScenarioResult { required, ..scenario("lacking", vec![step("deny", cells.into())]) }
    };
    let both = [Capability::Sctp, Capability::Ipv6];
    let shown = terminal(&run(vec![good(), lacking(&both)]), false);
    assert!(shown.contains("lacks sctp, ipv6"), "{shown}");
}

/// Regression: CI showed a run as if there was nothing to warn of.
#[test]
fn warnings_are_skipped_test_cases() {
    let mut result = run(vec![ScenarioResult { warnings: vec!["pod x/a was lost".to_owned()], ..good() }]);
    let name = result.scenarios[0].name.clone();
    result.environment.warnings.push("the cluster has <webhooks>".to_owned());
    let report = junit(&result);
    let (_, suite) = report.split_once("<testsuite name=\"warnings\"").unwrap();
    assert_eq!(suite.matches("<skipped type=\"warning\"").count(), 2, "{report}");
    for warning in [format!("{name}: pod x/a was lost"), "the cluster has &lt;webhooks&gt;".to_owned()] {
        assert!(suite.contains(&format!("<testcase name=\"{warning}\"")), "{report}");
    }
    assert!(!junit(&run(vec![good()])).contains("warnings"));
}

/// A JUnit file alone shows that the run did not pass.
#[test]
fn what_is_wrong_with_the_whole_run_is_a_test_case_that_fails() {
    assert!(!junit(&run(vec![good()])).contains("the whole run"));
    let unmodelled = |is_accepted| {
        let mut result = run(vec![good()]);
        result.environment.unmodelled.push(Unmodelled {
            kind: "CiliumNetworkPolicy.cilium.io".to_owned(),
            count: Some(1),
            why: "decides about packets".to_owned(),
            is_accepted,
        });
        result
    };
    assert!(!junit(&unmodelled(true)).contains("the whole run"));
    let allowed = cell("a", "b", Decision::Allow, Observation::Connected, Verdict::Match);
    let proves_nothing = run(vec![scenario("open", vec![step("open", vec![allowed])])]);
    // The third of three repetitions is missing, but its scenario is in the result.
    let mut unfinished = run(vec![good()]);
    unfinished.unfinished = vec!["good".to_owned()];
    let mut lacking = scenario(
        "lacking",
        vec![step(
            "deny",
            vec![CellResult {
                verdict: Verdict::Skipped(Capability::Sctp),
                ..cell("a", "b", Decision::Deny, Observation::Dropped, Verdict::Match)
            }],
        )],
    );
    lacking.required = [Capability::Sctp].into();
    for (result, expected, case) in [
        (unmodelled(false), 3, "what decides about packets is modelled"),
        (proves_nothing, 3, "a denial is judged"),
        (unfinished, 3, "everything is run"),
        (run(vec![good(), lacking]), 1, "what is required is there"),
    ] {
        assert_eq!(code(&result), expected, "{case}");
        let xml = junit(&result);
        let suite = xml.split("<testsuite name=\"the whole run\"").nth(1).expect(case);
        assert!(suite.contains(case) && !suite.contains("errors=\"0\" failures=\"0\""), "{suite}");
    }
}

/// Regression: 14.7 s of 15 s passed silently, and an enforcer that takes 15.1 s leaks.
#[test]
fn a_time_to_enforce_above_half_of_the_settle_time_is_a_warning() {
    let warnings = |took: u64| {
        let denied = cell("b", "a", Decision::Deny, Observation::Dropped, Verdict::Match);
        let steps = vec![step("deny", vec![settled(denied, Change::Enforce, took, None)])];
        RunDocument::from(&run(vec![scenario("slow", steps)])).warnings
    };
    assert_eq!(warnings(7_500), [""; 0]);
    assert_snapshot!(warnings(14_700).join("\n"), @"slow: it took 14.7 s until the denials of step `deny` were enforced, which is more than half of the settle time of 15.0 s: a little slower, and they are leaks. --settle gives them more time");
}

#[test]
fn a_run_that_stopped_at_the_first_failure() {
    let mut result = run(vec![good(), bad()]);
    result.requested = 16;
    (result.stopped, result.unfinished) = (true, (1..=14).map(|i| format!("later-{i:02}")).collect());
    let text = terminal(&result, false);
    let line = text.lines().find(|line| line.starts_with("stopped")).unwrap();
    assert_snapshot!(line, @"stopped at the first failure, not run: 14 scenarios (later-01, later-02, later-03, later-04, later-05, later-06, later-07, later-08, later-09, later-10, later-11, later-12 and 2 more)");
    assert_eq!(code(&result), 1);
    let xml = junit(&result);
    let skipped = "<skipped message=\"not run: the run stopped at the first failure\"/>";
    assert_eq!(xml.matches(skipped).count(), 14);
    let json: serde_json::Value = serde_json::from_str(&json(&result)).unwrap();
    assert_eq!(json["notRun"].as_array().unwrap().len(), 14);
}

/// A profile with two deviations.
fn plugin() -> Vec<Profile> {
    let content = "\
apiVersion: netproof.dev/v1alpha1
kind: Profile
metadata: {name: plugin, description: A network plugin.}
deviations:
- {reason: it forgets UDP, references: [https://plugin.example/1, https://plugin.example/2], cells: {policies: [x/allow-web, x/default-deny], probes: UDP, direction: ingress}}
- {reason: it was slow once, references: https://plugin.example/3, cells: {steps: long ago, probes: UDP, expected: allow}}
";
    let text = Text { name: "plugin.yaml".into(), content: content.to_owned() };
    profile::load(&[text]).unwrap()
}

/// Returns a denial that a profile excuses.
pub(crate) fn excused(observed: Observation) -> CellResult {
    CellResult {
        excused: Some(Arc::clone(&plugin()[0].deviations[0].excuse)),
        attempts: 1,
        ..on_udp(cell("a", "b", Decision::Deny, observed, Verdict::Undefined))
    }
}

/// A run with a profile. One deviation covers a leak and a denial, and the other covers nothing.
fn with_profile() -> RunResult {
    let mut scenario = good();
    scenario.steps[0].cells.extend([excused(Observation::Connected), excused(Observation::Dropped)]);
    RunResult { profiles: plugin().iter().map(Profile::applied).collect(), ..run(vec![scenario]) }
}

#[test]
fn a_run_with_a_profile() {
    let result = with_profile();
    assert_snapshot!("terminal, profile", terminal(&result, false));
    assert_snapshot!("terminal, profile, verbose", terminal(&result, true));
    assert_snapshot!("json, profile", json(&result));
    assert_snapshot!("junit, profile", junit(&result));
    assert_eq!(code(&result), 0);
}

#[test]
fn long_lists_are_cut_unless_verbose() {
    let name = |i: usize| format!("pod-{i}");
    let cells = (0..40).map(|i| cell(&name(i), "b", Decision::Deny, Observation::Connected, Verdict::Leak));
    let result = run(vec![scenario("many", vec![step("many leaks", cells.collect())])]);
    let short = terminal(&result, false);
    assert!(short.contains("… and 28 more (--verbose shows all)"), "{short}");
    assert!(!terminal(&result, true).contains("more (--verbose"));
}

#[test]
fn a_matrix_with_long_names_has_numbers_at_the_top() {
    let name = |i: usize| format!("a-pod-with-quite-a-long-name-{i}");
    let blocked =
        |from, to| cell(&name(from), &name(to), Decision::Allow, Observation::Dropped, Verdict::Blocked);
    let cells = (1..=4).flat_map(|from| (1..=5).map(move |to| blocked(from, to))).collect();
    let text = terminal(&run(vec![scenario("long", vec![step("names", cells)])]), false);
    let matrix: Vec<_> = text.lines().skip_while(|line| !line.starts_with('┌')).take(10).collect();
    assert_snapshot!("terminal, long names", matrix.join("\n"));
}

/// A run with slow changes on a cluster. It has more nodes than the report shows.
fn slow() -> RunResult {
    let denied = || cell("a", "b", Decision::Deny, Observation::Dropped, Verdict::Match);
    let allowed = || cell("b", "a", Decision::Allow, Observation::Connected, Verdict::Match);
    let at = |node: u64, took: u64| {
        let mut cell = settled(denied(), Change::Enforce, took, Some(&format!("node-{node}")));
        cell.cell.to = EndpointName::pod("x", format!("pod-{node}"));
        limited(cell, 5_000)
    };
    let both = limited(settled(on_udp(denied()), Change::Enforce, 900, None), 5_000);
    let new_pod = settled(on_udp(allowed()), Change::Appear, 9_000, None);
    let mut first: Vec<_> = (1..=6).map(|node| at(node, node * 100)).collect();
    first.extend([both, new_pod]);
    let second = vec![at(1, 120), at(2, 5_310), settled(allowed(), Change::Admit, 260, Some("node-1"))];
    let mut result = run(vec![scenario("slow", vec![step("deny", first), step("deny again", second)])]);
    result.environment.facts = vec![("server".to_owned(), "v1.36.0".to_owned())];
    result
}

#[test]
fn changes_that_were_in_force_too_late() {
    let result = slow();
    assert_snapshot!("terminal, late", terminal(&result, false));
    assert_eq!(code(&result), 1);
    let json: serde_json::Value = serde_json::from_str(&json(&result)).unwrap();
    assert_snapshot!("json, latency", serde_json::to_string_pretty(&json["latency"]).unwrap());
    let step = &json["scenarios"][0]["steps"][1];
    assert_snapshot!("json, late cell", serde_json::to_string_pretty(&step["cells"][1]).unwrap());
    assert_eq!((&step["counts"]["late"], &step["timeToEnforceMs"]), (&1.into(), &5_310.into()));
    assert_snapshot!("junit, late", junit(&result));
}

/// A node is covered if a cell was judged there, not if one was planned there.
#[test]
fn the_nodes_that_are_covered_are_those_at_which_cells_were_judged() {
    let at = |from: &str, to: &str, observed, verdict| CellResult {
        nodes: Nodes { from: Some(from.to_owned()), to: Some(to.to_owned()) },
        ..cell("a", "b", Decision::Deny, observed, verdict)
    };
    let cells = vec![
        at("node-1", "node-3", Observation::Dropped, Verdict::Match),
        at("node-1", "node-2", Observation::Dropped, Verdict::Inconclusive(Cause::NoControl)),
        at("node-4", "node-1", Observation::Dropped, Verdict::Undefined),
    ];
    let read = |result: &RunResult| serde_json::from_str::<serde_json::Value>(&json(result)).unwrap();
    let mut result = run(vec![scenario("placed", vec![step("deny", cells)])]);
    assert!(read(&result)["nodeCoverage"].is_null(), "the lab has no nodes of its own");
    let nodes = (1..=5).map(|node| (format!("node-{node}"), format!("v1.36.{node}")));
    result.environment.nodes = nodes.collect();
    let nodes = "2 of 5: node-1 (v1.36.1), node-3 (v1.36.3)";
    let text = terminal(&result, false);
    assert!(text.contains(&format!("\nnodes: {nodes}\n")), "{text}");
    let json = read(&result);
    assert_eq!(json["facts"]["nodes"], nodes);
    assert_eq!(json["nodeCoverage"], serde_json::json!({"used": 2, "all": 5}));
}

#[test]
fn json_and_junit() {
    let result = run(vec![good(), bad(), demonstration(false), failed()]);
    assert_snapshot!("json", json(&result));
    assert_snapshot!("junit", junit(&result));
}

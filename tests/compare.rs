//! Comparisons of two runs: of results that the tests make up, and of runs of the lab.

use insta::assert_snapshot;
use netproof::compare::compare;
use netproof::document::{RunDocument, Thresholds};
use netproof::policy::Decision::{Allow, Deny, Undefined};
use netproof::report;
use netproof::scenario::Claim;
use netproof::snapshot::Unmodelled;
use netproof::verdict::Observation::{Connected, Dropped, OneWay};
use netproof::verdict::{Cause, CellResult, Change, RunResult, ScenarioFailure, StepResult, Verdict};
use netproof::world::{Capability, EndpointName};
use serde_json::Value;

use crate::reports::{cell, excused, limited, on_udp, run, scenario, settled, step};
use crate::support::{Finished, file, netproof, scenario_file};

/// Returns a result as the program reads it.
fn document(name: &str, result: &RunResult) -> RunDocument {
    RunDocument::parse(name, &json(result)).unwrap()
}

fn json(result: &RunResult) -> String {
    report::json(&RunDocument::from(result)).unwrap()
}

/// Compares two results. Returns the text, the JSON document and the exit code.
fn compared(before: &RunResult, after: &RunResult, thresholds: Thresholds) -> (String, Value, u8) {
    let (before, after) = (document("before.json", before), document("after.json", after));
    let comparison = compare(&before, &after, thresholds);
    let text = anstream::adapter::strip_str(&report::comparison(&comparison, false)).to_string();
    let json = serde_json::from_str(&report::json(&comparison).unwrap()).unwrap();
    (text, json, comparison.exit_code)
}

fn code(before: &RunResult, after: &RunResult) -> u8 {
    compared(before, after, Thresholds::default()).2
}

fn denied() -> CellResult {
    cell("a", "b", Deny, Dropped, Verdict::Match)
}

fn leak() -> CellResult {
    cell("a", "b", Deny, Connected, Verdict::Leak)
}

fn inconclusive() -> CellResult {
    cell("a", "b", Deny, Dropped, Verdict::Inconclusive(Cause::NoControl))
}

fn flaky() -> CellResult {
    cell("a", "b", Deny, Connected, Verdict::Flaky)
}

fn one(cells: Vec<CellResult>) -> RunResult {
    run(vec![scenario("one", vec![step("step", cells)])])
}

/// An upgrade is not a pass if there are new objects that decide about packets and that netproof does not model.
#[test]
fn a_kind_that_is_not_modelled_and_was_not_there_before_is_inconclusive() {
    let kind = |is_accepted| Unmodelled {
        kind: "CiliumNetworkPolicy.cilium.io".to_owned(),
        count: Some(1),
        why: "decides".to_owned(),
        is_accepted,
    };
    let with = |kinds: Vec<Unmodelled>| {
        let mut result = one(vec![denied()]);
        result.environment.unmodelled = kinds;
        result
    };
    assert_eq!(code(&with(vec![]), &with(vec![kind(false)])), 3);
    assert_eq!(code(&with(vec![]), &with(vec![kind(true)])), 0);
    assert_eq!(code(&with(vec![kind(false)]), &with(vec![kind(false)])), 0);
    assert_eq!(code(&with(vec![kind(false)]), &with(vec![])), 0);
    let (text, ..) = compared(&with(vec![]), &with(vec![kind(false)]), Thresholds::default());
    assert!(text.contains("not modelled: – → CiliumNetworkPolicy.cilium.io"), "{text}");
}

#[test]
fn only_new_problems_fail() {
    let blocked = || cell("a", "b", Allow, Dropped, Verdict::Blocked);
    let excused = || cell("a", "b", Undefined, Dropped, Verdict::Undefined);
    let gap = || CellResult { intended: Some(Claim::Allow), ..denied() };
    let disagreeing = || CellResult { asserted: Some(Claim::Allow), ..denied() };
    for (before, after, expected) in [
        (denied(), denied(), 0),
        (denied(), leak(), 1),
        (denied(), gap(), 1),
        (denied(), disagreeing(), 1),
        (denied(), flaky(), 3),
        (denied(), inconclusive(), 3),
        (denied(), excused(), 0),
        (excused(), leak(), 1),
        // The earlier run did not know the leak.
        (inconclusive(), leak(), 1),
        (flaky(), leak(), 1),
        (leak(), leak(), 0),
        (gap(), gap(), 0),
        (leak(), denied(), 0),
        (leak(), blocked(), 1),
        // It is unknown whether it still leaks.
        (leak(), inconclusive(), 3),
        (leak(), flaky(), 3),
        (flaky(), flaky(), 0),
        (inconclusive(), inconclusive(), 0),
    ] {
        // The other cell proves that something is isolated.
        let [before, after] = [before, after].map(|cell| one(vec![cell, on_udp(denied())]));
        assert_eq!(code(&before, &after), expected, "{before:?}\n{after:?}");
    }
}

/// A comparison must not pass what the run alone does not.
#[test]
fn a_run_that_judged_no_denial_is_inconclusive_however_it_was_before() {
    let allowed = || cell("b", "a", Allow, Connected, Verdict::Match);
    for (before, after) in [
        (vec![on_udp(denied())], vec![excused(Dropped)]),
        (vec![on_udp(denied()), allowed()], vec![excused(Dropped), allowed()]),
        (vec![inconclusive()], vec![inconclusive()]),
        (vec![flaky()], vec![flaky()]),
        (vec![allowed()], vec![allowed()]),
    ] {
        let (before, after) = (one(before), one(after));
        assert_eq!(RunDocument::from(&after).exit_code, 3, "{after:?}");
        let (text, json, code) = compared(&before, &after, Thresholds::default());
        assert_eq!((code, &json["after"]["judgedDenials"]), (3, &0.into()), "{text}");
        assert!(text.starts_with("INCONCLUSIVE  no denial was judged since before.json: "), "{text}");
        let why = "\nafter.json judged no denial, so nothing is known about isolation\n";
        assert!(text.contains(why), "{text}");
    }
}

/// A scenario fails both times, and earlier the second time. The steps that it did not reach may leak.
#[test]
fn a_scenario_that_fails_earlier_than_before_is_inconclusive() {
    let failure =
        || Some(ScenarioFailure { everywhere: false, message: "the API server is away".to_owned() });
    let mut before = one(vec![denied()]);
    before.scenarios[0].failure = failure();
    before.scenarios.push(scenario("other", vec![step("step", vec![denied()])]));
    before.requested = 2;
    assert_eq!(code(&before, &before), 0, "it reached the same steps");
    let mut after = before.clone();
    after.scenarios[0].steps.clear();
    assert_eq!(code(&before, &after), 3);
}

#[test]
fn a_run_that_lacks_what_is_required_fails_however_it_was_before() {
    let without_ipv6 = |required: &[Capability]| {
        let skipped = on_udp(cell("a", "b", Deny, Dropped, Verdict::Skipped(Capability::Ipv6)));
        let mut result = one(vec![denied(), skipped]);
        result.scenarios[0].required = required.iter().copied().collect();
        result
    };
    let after = without_ipv6(&[Capability::Ipv6]);
    assert_eq!(RunDocument::from(&after).exit_code, 1);
    for before in [without_ipv6(&[]), without_ipv6(&[Capability::Ipv6])] {
        let (text, json, code) = compared(&before, &after, Thresholds::default());
        assert_eq!((code, &json["after"]["lacking"]), (1, &vec!["ipv6"].into()), "{text}");
        assert!(text.starts_with("FAIL  1 lack of what --require names since before.json: "), "{text}");
        assert!(text.contains("\nafter.json lacks what --require names: ipv6\n"), "{text}");
    }
    assert_eq!(code(&after, &without_ipv6(&[])), 0, "the later run does not require it");
}

#[test]
fn new_cells_have_no_excuse() {
    let before = one(vec![denied()]);
    for (cell, expected) in [(on_udp(denied()), 0), (on_udp(leak()), 1), (on_udp(inconclusive()), 3)] {
        let cells = || vec![denied(), cell.clone()];
        let steps = || vec![step("step", vec![denied()]), step("new", vec![cell.clone()])];
        assert_eq!(code(&before, &one(cells())), expected, "a cell");
        assert_eq!(code(&before, &run(vec![scenario("one", steps())])), expected, "a step");
        let scenarios = vec![scenario("one", vec![step("step", vec![denied()])]), scenario("new", steps())];
        assert_eq!(code(&before, &run(scenarios)), expected, "a scenario");
    }
}

#[test]
fn runs_that_prove_nothing_are_no_pass() {
    let result = || one(vec![denied()]);
    assert_eq!(code(&result(), &run(vec![scenario("other", vec![step("step", vec![denied()])])])), 3);
    assert_eq!(code(&result(), &RunResult { interrupted: true, ..result() }), 3);
    let mut failed = result();
    let message = "out of luck".to_owned();
    failed.scenarios[0].failure = Some(ScenarioFailure { message, everywhere: false });
    assert_eq!(code(&result(), &failed), 3);
    assert_eq!(code(&failed, &failed), 0, "it failed before, too");
}

/// Regression: a run that sent fewer probes than requested was inconclusive, but the comparison was a pass.
#[test]
fn a_run_that_proves_less_than_asked_for_is_inconclusive_however_it_was_before() {
    let asked = |share| RunResult { requested_share: Some(share), ..one(vec![denied()]) };
    assert_eq!(code(&asked(0.01), &asked(0.01)), 3);
    assert_eq!(code(&asked(0.01), &asked(0.9)), 0);
}

#[test]
fn slower_alone_fails_only_if_asked() {
    let took = |millis| one(vec![settled(denied(), Change::Enforce, millis, None)]);
    let asked = Thresholds { fail: true, ..Thresholds::default() };
    assert_eq!(code(&took(40), &took(4_000)), 0);
    assert_eq!(compared(&took(40), &took(4_000), asked).2, 1);
    assert_eq!(compared(&took(40), &took(400), asked).2, 0);
}

#[test]
fn a_limit_counts_for_the_earlier_run_too() {
    let took = |millis| settled(denied(), Change::Enforce, millis, None);
    let late = || one(vec![limited(took(900), 500)]);
    assert_eq!(code(&one(vec![took(400)]), &late()), 1);
    assert_eq!(code(&one(vec![took(800)]), &late()), 0, "it was as late before");
}

/// Two runs with every kind of change between them.
fn before_and_after() -> (RunResult, RunResult) {
    let to = |name: &str, mut cell: CellResult| {
        cell.cell.to = EndpointName::pod("x", name);
        cell
    };
    let in_force = |took| settled(to("slow", denied()), Change::Enforce, took, Some("node-2"));
    let before = vec![
        denied(),
        on_udp(denied()),
        to("fixed", leak()),
        to("known", leak()),
        to("lost", denied()),
        to("open", cell("a", "b", Undefined, Dropped, Verdict::Undefined)),
        to("profiled", leak()),
        to("removed", denied()),
        in_force(40),
    ];
    let after = vec![
        leak(),
        on_udp(cell("a", "b", Deny, OneWay, Verdict::Leak)),
        to("fixed", denied()),
        to("known", leak()),
        to("lost", inconclusive()),
        to("open", cell("a", "b", Undefined, Connected, Verdict::Undefined)),
        to("profiled", cell("a", "b", Undefined, Connected, Verdict::Undefined)),
        to("new", flaky()),
        in_force(4_000),
    ];
    let steps = |name: &str, cells| -> Vec<StepResult> {
        vec![step("deny", cells), step(name, vec![denied()]), step("allow", vec![denied()])]
    };
    let mut before = run(vec![
        scenario("tenants", steps("an old step", before)),
        scenario("old", vec![step("deny", vec![denied()])]),
    ]);
    let mut after = run(vec![
        scenario("tenants", steps("a new step", after)),
        scenario("new", vec![step("deny", vec![denied()])]),
    ]);
    let facts = |server: &str| vec![("server".to_owned(), server.to_owned())];
    before.environment.facts = facts("v1.35.2");
    after.environment.facts = facts("v1.36.0");
    after.environment.warnings = vec!["CiliumNetworkPolicy x/y is not modelled".to_owned()];
    (before, after)
}

#[test]
fn the_reports_of_a_comparison() {
    let (before, after) = before_and_after();
    let (text, json, code) = compared(&before, &after, Thresholds::default());
    assert_eq!(code, 1);
    assert_snapshot!("terminal", text);
    let text = serde_json::to_string_pretty(&json).unwrap();
    let version = format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
    assert_snapshot!("json", text.replace(&version, "\"version\": \"VERSION\""));
}

#[test]
fn improvements_and_runs_without_common_cells() {
    let (before, _) = before_and_after();
    assert_snapshot!("nothing regressed", compared(&before, &before, Thresholds::default()).0);
    let nothing = run(Vec::new());
    assert_snapshot!("nothing in common", compared(&before, &nothing, Thresholds::default()).0);
}

#[test]
fn profiles_are_part_of_the_environment() {
    let text = json(&one(vec![denied()]));
    let with_profile = text.replacen("\"profiles\": []", "\"profiles\": [{\"name\": \"cilium\"}]", 1);
    let [before, after] = [("before.json", &text), ("after.json", &with_profile)]
        .map(|(name, text)| RunDocument::parse(name, text).unwrap());
    let changes = |before, after| -> Vec<_> {
        let comparison = compare(before, after, Thresholds::default());
        let texts = comparison
            .environment_changes
            .into_iter()
            .map(|change| (change.what, change.before, change.after));
        texts.collect()
    };
    let (profile, cilium) = ("profile".to_owned(), Some("cilium".to_owned()));
    assert_eq!(changes(&before, &after), [(profile.clone(), None, cilium.clone())]);
    assert_eq!(changes(&after, &before), [(profile, cilium, None)]);
    assert_eq!(changes(&after, &after), []);
}

#[test]
fn long_lists_are_cut() {
    let cells = |verdict: &Verdict| -> Vec<CellResult> {
        let observed = || if *verdict == Verdict::Leak { Connected } else { Dropped };
        (0..40).map(|i| cell(&format!("pod-{i}"), "b", Deny, observed(), verdict.clone())).collect()
    };
    let (before, after) = (one(cells(&Verdict::Match)), one(cells(&Verdict::Leak)));
    let text = compared(&before, &after, Thresholds::default()).0;
    assert!(text.contains("… and 28 more (--verbose shows all)"), "{text}");
}

fn lab(options: &[&str]) -> Finished {
    netproof(&["run", &scenario_file("same-namespace-and-dns")], options)
}

/// An upgrade to a network that ignores UDP, and back.
#[test]
fn runs_of_the_lab_are_compared() {
    let good = &file("good.json", lab(&["-o", "json"]).exits(0).stdout);
    let bad = lab(&["-o", "json", "--fault", "ignore-udp"]).exits(1);
    let counts = bad.json()["counts"].clone();
    assert_eq!((&counts["leak"], &counts["cells"]), (&18.into(), &113.into()), "{counts}");
    let bad = &file("bad.json", bad.stdout);

    let json = netproof(&["compare", good, bad, "-o", "json"], &[]).exits(1).json();
    assert_eq!((&json["counts"]["regressed"], &json["counts"]["cells"]), (&18.into(), &113.into()));
    for cell in json["regressed"].as_array().unwrap() {
        assert_eq!((&cell["probe"], &cell["problems"]), (&"80/UDP".into(), &vec!["leak"].into()));
    }
    assert_eq!(json["environmentChanges"][0]["after"], "lab with fault ignore-udp");

    let fixed = netproof(&["compare", bad, good], &[]).exits(0);
    assert!(fixed.stdout.starts_with("PASS  nothing regressed, 18 fixed since "), "{}", fixed.stdout);

    let same = netproof(&["compare", bad, bad], &[]).exits(0);
    assert!(same.stdout.contains("as before: 18 leaks"), "{}", same.stdout);

    // One command runs and compares. Known leaks do not fail, but the report has them.
    let known = lab(&["--fault", "ignore-udp", "--baseline", bad]).exits(0);
    assert!(known.stdout.starts_with("PASS  nothing regressed since "), "{}", known.stdout);
    assert!(known.stdout.contains("\nThis run\n\nFAIL  18 leaks: "), "{}", known.stdout);
    let new = lab(&["--fault", "ignore-udp", "--baseline", good, "-o", "json"]).exits(1);
    let json = new.json();
    assert_eq!(json["kind"], "RunResult");
    assert_eq!(json["comparison"]["counts"]["regressed"], 18);
    // The result can be the baseline of the next run.
    netproof(&["compare", bad, &file("next.json", new.stdout)], &[]).exits(0);
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let list = &file("list.json", "[]");
    // Reading this scenario takes less time than reading the whole library.
    let scenario = &scenario_file("default-deny");
    for arguments in [
        &["compare", list, list][..],
        &["compare", "none.json", list],
        &["run", scenario, "--baseline", list],
        &["run", scenario, "--fail-slower"],
        &["compare", list, list, "--slower-factor", "0.5"],
    ] {
        netproof(arguments, &[]).refusal();
    }
    assert_snapshot!(netproof(&["compare", "none.json", list], &[]).refusal(), @"error: none.json: No such file or directory (os error 2)");
}

//! The report for CI: a test suite for each scenario, a test case for each step.
//!
//! XML 1.0 has no escapes for control characters, and the XML writer would drop them. So texts of others have
//! visible escapes, as on a terminal.

use std::io;

use quick_junit::{NonSuccessKind, Property, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::escape::{Plain, lines, message, shown};
use super::style::{count, join};
use super::view;
use crate::document::{
    Cell, Counts, Fate, Latency, Millis, Outcome, Problem, Profile, Quantiles, Repetitions, RunDocument,
    Scenario, Step, StepTimes,
};

/// Writes a run as JUnit XML.
///
/// # Errors
/// If it cannot be written.
pub fn junit(run: &RunDocument, to: impl io::Write) -> Result<(), SerializeError> {
    let mut report = Report::new("netproof");
    report.set_time(run.took_ms.into());
    let whole = latency("run.", &run.latency.total);
    report.add_test_suites(run.scenarios.iter().map(|scenario| suite(scenario, &whole)));
    report.add_test_suites(unfinished(run));
    report.add_test_suites(run.profiles.iter().map(known));
    report.add_test_suites(whole_run(run));
    report.add_test_suites(warnings(run));
    report.serialize(to)
}

/// Returns a suite for what is wrong with the run as a whole. So if everything in the file is green, the run
/// passed.
fn whole_run(run: &RunDocument) -> Option<TestSuite> {
    let lacking = || format!("required and not there: {}", run.lacking.join(", "));
    let left =
        || format!("{} not run", count(run.left, "scenario or repetition", "scenarios or repetitions"));
    let unmodelled = || run.unaccepted().map(view::unmodelled).collect::<Vec<_>>().join("\n");
    let cases = [
        (!run.lacking.is_empty()).then(|| ("what is required is there", NonSuccessKind::Failure, lacking())),
        (run.interrupted || run.left > 0).then(|| ("everything is run", NonSuccessKind::Error, left())),
        run.unaccepted()
            .next()
            .map(|_| ("what decides about packets is modelled", NonSuccessKind::Error, unmodelled())),
        run.counts
            .proves_nothing()
            .then(|| ("a denial is judged", NonSuccessKind::Error, view::NO_DENIAL.to_owned())),
        view::less_proved(&run.proof)
            .map(|why| ("as much is proved as --confidence asks for", NonSuccessKind::Error, why)),
    ];
    let mut suite = TestSuite::new("the whole run");
    for (name, kind, why) in cases.into_iter().flatten() {
        let mut status = TestCaseStatus::non_success(kind);
        status.set_message(lines(&why)).set_type("netproof");
        suite.add_test_case(TestCase::new(name, status));
    }
    (suite.tests > 0).then_some(suite)
}

/// Returns a suite with a skipped test case for each warning: a warning neither passes nor fails. Stale deviations are in
/// the suites of their profiles.
fn warnings(run: &RunDocument) -> Option<TestSuite> {
    let accepted = run.unmodelled.iter().filter(|kind| kind.is_accepted).map(view::unmodelled);
    let warnings = run.warnings.iter().cloned().chain(view::scenario_warnings(run));
    let mut suite = TestSuite::new("warnings");
    for warning in warnings.chain(view::wide_profiles(run)).chain(accepted) {
        let mut status = TestCaseStatus::skipped();
        status.set_type("warning");
        suite.add_test_case(TestCase::new(shown(&warning), status));
    }
    (suite.tests > 0).then_some(suite)
}

/// Returns a skipped suite for each scenario of which nothing is known.
fn unfinished(run: &RunDocument) -> impl Iterator<Item = TestSuite> {
    let names = run.not_run.iter().filter(|name| run.scenarios.iter().all(|known| known.name != **name));
    let why = match (run.interrupted, run.stopped, run.unenforced) {
        (true, _, _) => "not run: the run was interrupted",
        (false, true, _) => "not run: the run stopped at the first failure",
        (false, false, true) => "not run: the run stopped because nothing enforces policies",
        (false, false, false) => "not run",
    };
    names.map(move |name| {
        let mut status = TestCaseStatus::skipped();
        status.set_message(why);
        let mut suite = TestSuite::new(shown(name));
        suite.add_test_case(TestCase::new("all steps are run", status));
        suite
    })
}

/// Returns a skipped test case for each deviation of a profile: what it makes undefined neither passes nor
/// fails.
fn known(profile: &Profile) -> TestSuite {
    let mut suite = TestSuite::new(shown(format!("profile {}", profile.name)));
    for deviation in &profile.deviations {
        let mut status = TestCaseStatus::skipped();
        status.set_type("left undefined by a profile");
        if deviation.stale {
            status.set_message("stale: no cell of this run is decided by this difference");
        } else {
            status.set_message(shown(view::deviation(deviation)));
        }
        status.set_description(message(&deviation.references.join("\n")));
        suite.add_test_case(TestCase::new(shown(&deviation.reason), status));
    }
    suite
}

fn suite(scenario: &Scenario, whole_run: &[Property]) -> TestSuite {
    let mut suite = TestSuite::new(shown(&scenario.name));
    suite.set_time(scenario.took_ms.into());
    suite.add_property(Property::new("file", shown(&scenario.file)));
    if let Some(Repetitions { requested, done, same }) = scenario.repetitions {
        let numbers = [("repetitions", requested), ("done", done), ("same", same)];
        suite.add_properties(numbers.map(|(name, number)| Property::new(name, number.to_string())));
    }
    if let Some(alone) = &scenario.alone {
        suite.add_property(Property::new("alone", shown(view::alone(scenario, alone))));
    }
    suite.add_properties(latency("", &scenario.latency()));
    // A JUnit report has no properties of its own.
    suite.add_properties(whole_run.iter().cloned());
    suite.add_test_cases(scenario.steps.iter().map(|step| case(scenario, step)));
    if let Some(failure) = &scenario.failure {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(lines(failure)).set_type("not run");
        suite.add_test_case(TestCase::new("all steps are run", status));
    }
    if scenario.misses_demonstration() {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status
            .set_message("the scenario has to show a policy gap, and there is none")
            .set_type("nothing demonstrated");
        suite.add_test_case(TestCase::new("the mistake is found", status));
    }
    suite
}

fn case(scenario: &Scenario, step: &Step) -> TestCase {
    let mut case = TestCase::new(shown(&step.name), status(scenario, step));
    case.set_classname(shown(&scenario.name));
    case.set_time(step.took_ms.into());
    let counts = &step.counts;
    let numbers = [
        ("claims", counts.claims),
        ("judged", counts.judged),
        ("skipped", counts.skipped_claims),
        ("excused", counts.excused_claims),
        ("undefinedByProfile", counts.excused),
    ];
    for (name, number) in numbers.into_iter().filter(|(_, number)| *number > 0) {
        case.add_property(Property::new(name, number.to_string()));
    }
    case.add_properties(times("", step.times));
    for (node, time) in &step.nodes {
        case.add_properties(times(&shown(format!(".{node}")), *time));
    }
    let handed_over = (step.times != StepTimes::default()).then_some(step.handed_over_ms);
    case.add_properties(millis([
        ("handedOverMs".to_owned(), handed_over),
        ("newPodsIsolatedMs".to_owned(), step.new_pods_isolated_ms),
        ("newPodsAdmittedMs".to_owned(), step.new_pods_admitted_ms),
    ]));
    if !step.open_connections.is_empty() {
        let numbers = [
            ("openConnectionsSurvived", Fate::Survived),
            ("openConnectionsCut", Fate::Cut),
            ("openConnectionsEnded", Fate::Ended),
            ("openConnectionsNotMeasured", Fate::NotMeasured),
        ];
        let number = |fate| view::open(step, fate).to_string();
        case.add_properties(numbers.map(|(name, fate)| Property::new(name, number(fate))));
    }
    case
}

/// Returns the times of a step, with a suffix for their names.
fn times(suffix: &str, times: StepTimes) -> Vec<Property> {
    let StepTimes { time_to_enforce_ms, time_to_admit_ms } = times;
    let times = [("timeToEnforceMs", time_to_enforce_ms), ("timeToAdmitMs", time_to_admit_ms)];
    millis(times.map(|(name, time)| (format!("{name}{suffix}"), time)))
}

/// Returns quantiles over steps, with a prefix for their names.
fn latency(prefix: &str, latency: &Latency) -> Vec<Property> {
    let times = [("timeToEnforceMs", latency.enforce), ("timeToAdmitMs", latency.admit)];
    let times = times.into_iter().filter_map(|(name, quantiles)| Some((name, quantiles?)));
    millis(times.flat_map(|(name, Quantiles { steps: _, p50_ms, p95_ms, max_ms })| {
        [("p50", p50_ms), ("p95", p95_ms), ("max", max_ms)]
            .map(|(which, time)| (format!("{prefix}{name}.{which}"), Some(time)))
    }))
}

fn millis(times: impl IntoIterator<Item = (String, Option<Millis>)>) -> Vec<Property> {
    let times = times.into_iter().filter_map(|(name, time)| Some((name, time?)));
    times.map(|(name, time)| Property::new(name, time.0.to_string())).collect()
}

fn status(scenario: &Scenario, step: &Step) -> TestCaseStatus {
    let counts = &step.counts;
    let gaps = view::mistaken_gaps(scenario, counts);
    let kind = match counts.outcome(scenario.demonstrates) {
        Outcome::Pass => return TestCaseStatus::success(),
        Outcome::Skipped => return skipped(counts),
        Outcome::Inconclusive => NonSuccessKind::Error,
        Outcome::Fail => NonSuccessKind::Failure,
    };
    let what = join(view::problems(counts, gaps));
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(if what.is_empty() { "nothing was judged" } else { &what }).set_type("netproof");
    status.set_description(step.cells.iter().filter_map(|cell| findings(cell, gaps > 0)).collect::<String>());
    status
}

/// Returns the status of a step of which no denial was judged, as declared.
fn skipped(counts: &Counts) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status.set_message(join([
        (counts.skipped_claims, "claim skipped", "claims skipped"),
        (counts.excused_claims, "claim excused by a profile", "claims excused by a profile"),
    ]));
    status
}

/// Returns a line about the problems of a cell. `None` if it has none.
fn findings(cell: &Cell, with_gaps: bool) -> Option<String> {
    let order = [
        Problem::Leak,
        Problem::Blocked,
        Problem::Flaky,
        Problem::Inconclusive,
        Problem::Late,
        Problem::AssertionError,
        Problem::PolicyGap,
    ];
    let problems = order.into_iter().filter(|problem| cell.has(*problem));
    let what = problems.filter_map(|problem| match problem {
        Problem::AssertionError => Some(view::finding(problem, cell)),
        Problem::PolicyGap => {
            let intended = cell.intended.filter(|_| with_gaps)?;
            Some(format!("wanted {intended}, the policies say {}", cell.promised()))
        }
        Problem::Inconclusive => Some(format!("{}: {}", view::noun(problem).0, view::reason(problem, cell))),
        Problem::Leak | Problem::Blocked | Problem::Flaky | Problem::Late => {
            Some(format!("{}: {}", view::noun(problem).0, view::finding(problem, cell)))
        }
    });
    let what: Vec<_> = what.collect();
    (!what.is_empty())
        .then(|| format!("{}\n", Plain(format!("{cell}: {} [{}]", what.join("; "), view::reasons(cell)))))
}

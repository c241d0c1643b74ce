//! The report for CI: a test suite a scenario, a test case a step.
//!
//! XML 1.0 has no escapes for control characters, and what writes it here would leave them out: text of others
//! has visible escapes, as on a terminal.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::cells::{reasons, seen};
use super::escape::{Plain, lines, message, shown};
use super::latency::lateness;
use super::proof::less_proved;
use super::style::{count, join};
use super::{open, profiles, unmodelled};
use crate::verdict::{
    AppliedProfile, CellResult, Counts, Latency, Outcome, Quantiles, Repetitions, RunResult, ScenarioResult,
    Shortcoming, StepResult, TimeToSettle, Verdict,
};

/// Writes a run as JUnit XML.
///
/// # Errors
/// If it cannot be written.
pub fn junit(result: &RunResult, to: impl io::Write) -> Result<(), SerializeError> {
    let mut report = Report::new("netproof");
    report.set_time(result.took);
    let whole = latency("run.", &result.latency());
    report.add_test_suites(result.scenarios.iter().map(|scenario| suite(scenario, &whole)));
    report.add_test_suites(unfinished(result));
    report.add_test_suites(result.profiles.iter().map(|profile| known(profile, result)));
    report.add_test_suites(whole_run(result));
    report.serialize(to)
}

/// A suite for what is wrong with the run as a whole: a file in which everything is green means that the run passed.
fn whole_run(result: &RunResult) -> Option<TestSuite> {
    let cases: Vec<_> =
        result.shortcomings().iter().map(|shortcoming| shortcoming_case(shortcoming, result)).collect();
    if cases.is_empty() {
        return None;
    }
    let mut suite = TestSuite::new("the whole run");
    suite.add_test_cases(cases);
    Some(suite)
}

fn shortcoming_case(shortcoming: &Shortcoming, result: &RunResult) -> TestCase {
    let (name, kind, why) = match shortcoming {
        Shortcoming::Lacking(lacking) => {
            let names: Vec<_> = lacking.iter().map(|capability| capability.name()).collect();
            let why = format!("required and not there: {}", names.join(", "));
            ("what is required is there", NonSuccessKind::Failure, why)
        }
        Shortcoming::Unfinished(left) => {
            let why =
                format!("{} not run", count(*left, "scenario or repetition", "scenarios or repetitions"));
            ("everything is run", NonSuccessKind::Error, why)
        }
        Shortcoming::NotModelled => {
            let kinds = result.environment.unmodelled.iter().filter(|kind| !kind.is_accepted);
            let lines: Vec<_> = kinds.map(unmodelled::line).collect();
            ("what decides about packets is modelled", NonSuccessKind::Error, lines.join("\n"))
        }
        Shortcoming::NothingProved => {
            let why = "no denial was judged, so nothing is known about isolation".to_owned();
            ("a denial is judged", NonSuccessKind::Error, why)
        }
        Shortcoming::LessProved(less) => {
            let why = less_proved(*less);
            ("as much is proved as --confidence asks for", NonSuccessKind::Error, why)
        }
    };
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(lines(&why)).set_type("netproof");
    TestCase::new(name, status)
}

/// A skipped suite for each scenario of which nothing is known.
fn unfinished(result: &RunResult) -> impl Iterator<Item = TestSuite> {
    let known: BTreeSet<_> = result.scenarios.iter().map(|scenario| &scenario.name).collect();
    let names: BTreeSet<_> = result.unfinished.iter().filter(|name| !known.contains(name)).collect();
    let why = match (result.interrupted, result.stopped) {
        (true, _) => "not run: the run was interrupted",
        (false, true) => "not run: the run stopped at the first failure",
        (false, false) => "not run",
    };
    names.into_iter().map(move |name| {
        let mut status = TestCaseStatus::skipped();
        status.set_message(why);
        let mut suite = TestSuite::new(shown(name));
        suite.add_test_case(TestCase::new("all steps are run", status));
        suite
    })
}

/// A skipped test case for each difference of a profile: what it leaves undefined neither passes nor fails.
fn known(profile: &AppliedProfile, result: &RunResult) -> TestSuite {
    let mut suite = TestSuite::new(shown(format!("profile {}", profile.name)));
    for result in result.deviations() {
        if result.deviation.profile != profile.name {
            continue;
        }
        let mut status = TestCaseStatus::skipped();
        status.set_type("left undefined by a profile");
        if result.is_stale() {
            status.set_message("stale: no cell of this run is decided by this difference");
        } else {
            status.set_message(shown(profiles::summary(&result)));
        }
        status.set_description(message(&result.deviation.references.join("\n")));
        suite.add_test_case(TestCase::new(shown(&result.deviation.reason), status));
    }
    suite
}

fn suite(scenario: &ScenarioResult, whole_run: &[Property]) -> TestSuite {
    let mut suite = TestSuite::new(shown(&scenario.name));
    suite.set_time(scenario.took);
    suite.add_property(Property::new("file", shown(&scenario.file)));
    if let Some(Repetitions { asked, done, same }) = scenario.repetitions {
        let numbers = [("repetitions", asked), ("carriedOut", done), ("same", same)];
        suite.add_properties(numbers.map(|(name, number)| Property::new(name, number.to_string())));
    }
    suite.add_properties(latency("", &scenario.latency()));
    // The report itself has no place for properties.
    suite.add_properties(whole_run.iter().cloned());
    suite.add_test_cases(scenario.steps.iter().map(|step| case(scenario, step)));
    if let Some(failure) = &scenario.failure {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(lines(&failure.message)).set_type("not run");
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

fn case(scenario: &ScenarioResult, step: &StepResult) -> TestCase {
    let mut case = TestCase::new(shown(&step.name), status(scenario, step));
    case.set_classname(shown(&scenario.name));
    case.set_time(step.took);
    let counts = step.counts();
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
    case.add_properties(times("", step.time()));
    for (machine, time) in step.time_by_machine() {
        case.add_properties(times(&shown(format!(".{machine}")), time));
    }
    if step.time() != TimeToSettle::default() {
        case.add_property(millis("handedOverMs".to_owned(), step.handed_over));
    }
    let new_pods = [("newPodsIsolatedMs", step.new_pods.enforce), ("newPodsAdmittedMs", step.new_pods.admit)];
    for (name, time) in new_pods {
        if let Some(time) = time {
            case.add_property(millis(name.to_owned(), time));
        }
    }
    for (name, number) in open::properties(step) {
        case.add_property(Property::new(name, number.to_string()));
    }
    case
}

/// Times of a step, with an ending for their names.
fn times(ending: &str, time: TimeToSettle) -> Vec<Property> {
    let times = [("timeToEnforceMs", time.enforce), ("timeToAdmitMs", time.admit)];
    let times = times.into_iter().filter_map(|(name, time)| Some((name, time?)));
    times.map(|(name, time)| millis(format!("{name}{ending}"), time)).collect()
}

/// Quantiles over steps, with a beginning for their names.
fn latency(beginning: &str, latency: &Latency) -> Vec<Property> {
    let times = [("timeToEnforceMs", latency.enforce), ("timeToAdmitMs", latency.admit)];
    let times = times.into_iter().filter_map(|(name, quantiles)| Some((name, quantiles?)));
    let properties = times.flat_map(|(name, Quantiles { number: _, p50, p95, max })| {
        [("p50", p50), ("p95", p95), ("max", max)]
            .map(|(which, time)| millis(format!("{beginning}{name}.{which}"), time))
    });
    properties.collect()
}

fn millis(name: String, time: Duration) -> Property {
    Property::new(name, time.as_millis().to_string())
}

fn status(scenario: &ScenarioResult, step: &StepResult) -> TestCaseStatus {
    let counts = step.counts();
    let gaps = if scenario.demonstrates.is_none() { counts.gaps } else { 0 };
    let kind = if counts.leaks + counts.blocked + counts.assertion_errors + counts.late + gaps > 0 {
        NonSuccessKind::Failure
    } else {
        match step.outcome(scenario.demonstrates) {
            Outcome::Pass => return TestCaseStatus::success(),
            Outcome::Skipped => return skipped(&counts),
            Outcome::Inconclusive | Outcome::Fail => NonSuccessKind::Error,
        }
    };
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(counted(&counts, gaps)).set_type("netproof");
    status
        .set_description(step.cells.iter().filter_map(|cell| difference(cell, gaps > 0)).collect::<String>());
    status
}

/// A step of which no denial was judged, as declared.
fn skipped(counts: &Counts) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status.set_message(join([
        (counts.skipped_claims, "claim skipped", "claims skipped"),
        (counts.excused_claims, "claim excused by a profile", "claims excused by a profile"),
    ]));
    status
}

fn counted(counts: &Counts, gaps: usize) -> String {
    let what = join([
        (counts.leaks, "leak", "leaks"),
        (counts.blocked, "blocked", "blocked"),
        (gaps, "policy gap", "policy gaps"),
        (counts.assertion_errors, "assertion error", "assertion errors"),
        (counts.late, "late", "late"),
        (counts.flaky, "flaky", "flaky"),
        (counts.inconclusive, "not measured", "not measured"),
    ]);
    if what.is_empty() { "nothing was judged".to_owned() } else { what }
}

/// A line for a cell that is not as it should be.
fn difference(cell: &CellResult, with_gaps: bool) -> Option<String> {
    let mut what = Vec::new();
    match &cell.verdict {
        Verdict::Match | Verdict::Undefined | Verdict::Skipped(_) => {}
        Verdict::Leak | Verdict::Blocked | Verdict::Flaky => {
            what.push(format!("{}: {}", cell.verdict.name(), seen(cell)));
        }
        Verdict::Inconclusive(cause) => what.push(format!("not measured: {cause}")),
    }
    if cell.is_late() {
        what.push(format!("late: {}", lateness(cell)));
    }
    if let Some(asserted) = cell.asserted.filter(|_| cell.is_assertion_error()) {
        what.push(format!("asserted {asserted}, computed {}", cell.expected.decision));
    }
    if let Some(intended) = cell.intended.filter(|intended| with_gaps && *intended != cell.expected.decision)
    {
        what.push(format!("wanted {intended}, the policies say {}", cell.expected.decision));
    }
    if what.is_empty() {
        return None;
    }
    let line = format!("{} ({}): {} [{}]", cell.cell, cell.cell.family, what.join("; "), reasons(cell));
    Some(format!("{}\n", Plain(line)))
}

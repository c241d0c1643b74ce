//! A stranger chooses names, labels, answers and messages. No report obeys them.

use std::sync::Arc;

use netproof::compare::compare;
use netproof::document::{ExpectationDocument, RunDocument, Thresholds};
use netproof::expect::{Granularity, Matrix};
use netproof::policy::Decision::{Allow, Deny};
use netproof::policy::Engine;
use netproof::report;
use netproof::scenario::Claim;
use netproof::snapshot::{Snapshot, Unmodelled};
use netproof::verdict::{
    Cause, CellResult, Change, Observation, RunResult, ScenarioFailure, ScenarioResult, Verdict,
};
use netproof::world::EndpointName;

use crate::reports::{cell, run, scenario, settled, step};

/// Clears the screen, and paints another report: with the report's colours, on separate lines, with invisible control
/// characters, and with characters that XML does not have.
const HOSTILE: &str = "x\u{1b}[2J\u{1b}[1m\u{1b}[32mPASS\u{1b}[0m  every packet\r\nPASS  every packet\u{9b}2J\
    \u{1b}]0;title\u{7}\u{202e}ssap\u{2066}\u{200b}\u{0}\u{8}\u{7f}\u{fffe}]]>";

fn hostile() -> String {
    HOSTILE.to_owned()
}

fn hostile_cells() -> Vec<CellResult> {
    let by = Observation::Misdelivered { by: hostile() };
    let misdelivered = Verdict::Inconclusive(Cause::Misdelivered(hostile()));
    let error = Verdict::Inconclusive(Cause::ProbeError(hostile()));
    let lookup = Observation::DnsFailure { message: hostile() };
    let mut cells = vec![
        cell("a", "b", Deny, Observation::Connected, Verdict::Leak),
        cell("b", "a", Allow, by, misdelivered),
        cell("b", "c", Allow, lookup, Verdict::Blocked),
        cell("c", "a", Deny, Observation::ProbeError { message: hostile() }, error),
        settled(
            cell("a", "c", Deny, Observation::Dropped, Verdict::Flaky),
            Change::Enforce,
            42,
            Some(HOSTILE),
        ),
    ];
    for (i, cell) in cells.iter_mut().enumerate() {
        cell.cell.to = EndpointName::Pod { namespace: hostile(), name: format!("{HOSTILE}{i}") };
        cell.nodes.to = Some(hostile());
        cell.nodes.from = Some("node-1".to_owned());
        cell.intended = Some(Claim::Allow);
        cell.asserted = Some(Claim::Allow);
    }
    cells
}

fn hostile_kind() -> Unmodelled {
    Unmodelled { kind: hostile(), count: Some(1), why: hostile(), is_accepted: false }
}

/// A result in which every text is hostile.
fn hostile_run() -> RunResult {
    let scenario = ScenarioResult {
        description: hostile(),
        file: Arc::from(HOSTILE),
        ignored: [(hostile(), 1)].into(),
        failure: Some(ScenarioFailure { message: hostile(), everywhere: false }),
        ..scenario(HOSTILE, vec![step(HOSTILE, hostile_cells())])
    };
    let mut result = run(vec![scenario]);
    result.environment.name = hostile();
    result.environment.facts = vec![(hostile(), hostile())];
    result.environment.warnings = vec![hostile()];
    result.environment.unmodelled = vec![hostile_kind()];
    result.unfinished = vec![hostile()];
    result.stopped = true;
    result
}

/// Checks that a text has no control characters for a terminal except line feeds.
fn assert_harmless(format: &str, text: &str) {
    let is_harmful =
        |c: char| (c.is_control() && c != '\n') || "\u{202e}\u{2066}\u{200b}\u{fffe}".contains(c);
    let at = text.find(is_harmful);
    let around: Option<String> = at.map(|at| text[at..].chars().take(40).collect());
    assert_eq!(around, None, "{format}");
    let forged = text.lines().find(|line| line.trim_start().starts_with("PASS") && !line.contains("› x"));
    let is_forged = forged.is_some_and(|line| !line.starts_with("    "));
    assert!(!is_forged, "{format}: {forged:?}");
}

/// Removes the report's own colours.
fn without_own_colours(text: &str) -> String {
    ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[2m", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m"]
        .iter()
        .fold(text.to_owned(), |text, colour| text.replace(colour, ""))
}

/// Regression: a responder in a tenant's pod answered with escape sequences, and painted a green PASS over the report.
#[test]
fn no_report_obeys_escape_sequences() {
    let run = RunDocument::from(&hostile_run());
    for everything in [false, true] {
        let text = report::terminal(&run, everything);
        assert!(!text.contains("\u{1b}[32m"), "nothing here is green: {text}");
        assert_harmless("terminal", &without_own_colours(&text));
    }
    let json = report::json(&run).unwrap();
    assert_harmless("json", &json);
    let read: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(read["scenarios"][0]["name"], HOSTILE, "JSON has the original text");
    let mut xml = Vec::new();
    report::junit(&run, &mut xml).unwrap();
    let xml = String::from_utf8(xml).unwrap();
    assert_harmless("junit", &xml);
    assert!(
        xml.contains("\\u{1b}[2J") && xml.contains("\\u{202e}"),
        "the escape sequences are visible: {xml}"
    );

    let read = || RunDocument::parse(HOSTILE, &json).unwrap();
    let (before, after) = (read(), read());
    let comparison = compare(&before, &after, Thresholds::default());
    let text = report::comparison(&comparison, true);
    assert_harmless("comparison", &without_own_colours(&text).replace("PASS", ""));
    assert_harmless("comparison as JSON", &report::json(&comparison).unwrap());
}

/// The matrix goes to standard output without the last guard.
#[test]
fn no_matrix_obeys_escape_sequences() {
    let snapshot = Snapshot::default();
    let engine = Engine::new(snapshot.cluster.clone());
    let matrix = Matrix::new(&engine, &snapshot, Granularity::Workloads);
    let mut document = ExpectationDocument::new(vec![hostile()], vec![hostile_kind()], Vec::new(), matrix);
    let mut table = Vec::new();
    report::expected_table(&mut document, &mut table).unwrap();
    assert_harmless("matrix", &String::from_utf8(table).unwrap());
    let mut json = Vec::new();
    report::expected_json(&mut document, &mut json).unwrap();
    let json = String::from_utf8(json).unwrap();
    assert_harmless("matrix as JSON", &json);
    let read: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(read["unmodelled"][0]["kind"], HOSTILE, "JSON has the original text");
}

/// The last guard, in front of standard output and standard error, is for text that no writer has made safe.
#[test]
fn the_output_is_guarded() {
    let guarded = report::guard(HOSTILE);
    assert_harmless("output", &without_own_colours(&guarded).replace("\nPASS", ""));
    assert_harmless("errors", &report::message(HOSTILE));
    assert_harmless("notes", &report::plain(HOSTILE));
}

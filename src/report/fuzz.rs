//! The reports of `netproof fuzz`: what was found, and what was reached.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use serde::Serialize;

use super::escape::{self, Plain, lines};
use super::machines;
use super::style::{BAD, FAINT, GOOD, STRONG, UNSURE, count, duration, join, paint, thousands};
use crate::fuzz::{Found, FuzzResult};
use crate::verdict::Environment;

/// The report for people. `saved` are the files of what was found, in that order; `everything` shows
/// also the reasons of the policy engine.
pub fn fuzz(
    result: &FuzzResult,
    environment: &Environment,
    saved: &[Option<PathBuf>],
    everything: bool,
) -> String {
    let mut text = String::new();
    verdict(result, environment, &mut text);
    if !result.found.is_empty() {
        let heading = paint(BAD, "Disagreements");
        let shown = format!("{} of {}", result.found.len(), count(result.disagreeing, "case", "cases"));
        let _ = writeln!(text, "\n{heading}  {}", paint(FAINT, format!("followed up: {shown}")));
    }
    for (found, path) in result.found.iter().zip(saved) {
        disagreement(found, path.as_ref(), everything, &mut text);
    }
    items(result, &mut text);
    fields(result, &mut text);
    text
}

fn verdict(result: &FuzzResult, environment: &Environment, text: &mut String) {
    let FuzzResult { seed, cases, disagreeing, counts, failures, took, interrupted, .. } = result;
    let scope = format!(
        "{} in {}, {}, {:.1} cases a second ({}, seed {seed})",
        count(counts.cells(), "cell", "cells"),
        count(*cases, "case", "cases"),
        duration(*took),
        *cases as f64 / took.as_secs_f64().max(1e-9),
        Plain(&environment.name),
    );
    let (word, style, what) = match (result.exit_code(), disagreeing) {
        (1 | 130, 1..) => {
            let who = "engine, naive evaluator and packets do not agree";
            ("FAIL", BAD, format!("{who} in {}", count(*disagreeing, "case", "cases")))
        }
        (0, _) => ("PASS", GOOD, "engine, naive evaluator and packets agree".to_owned()),
        (_, _) => {
            ("INCONCLUSIVE", UNSURE, "no disagreement, but not everything could be measured".to_owned())
        }
    };
    let _ = writeln!(text, "{}  {}: {scope}", paint(style, word), paint(STRONG, what));
    if *interrupted {
        let _ = writeln!(text, "{}", paint(UNSURE, "interrupted: what was found until then"));
    }
    for (seed, failure) in failures {
        let message = format!("the scenario of seed {seed} could not be run: {}", failure.message);
        let _ = writeln!(text, "{}", paint(UNSURE, lines(&message)));
    }
    let aside = join([
        (counts.flaky, "flaky cell", "flaky cells"),
        (counts.inconclusive, "cell that could not be measured", "cells that could not be measured"),
        (
            counts.undefined.saturating_sub(counts.excused),
            "left undefined by the specification",
            "left undefined by the specification",
        ),
        (counts.excused, "left undefined by profiles", "left undefined by profiles"),
        (counts.skipped, "skipped", "skipped"),
        (counts.retries, "retry", "retries"),
    ]);
    if !aside.is_empty() {
        let _ = writeln!(text, "{}", paint(FAINT, aside));
    }
    let judged_machines = result.judged_machines.iter().map(String::as_str).collect();
    for (name, value) in machines::facts(environment, &judged_machines) {
        let _ = writeln!(text, "{}", paint(FAINT, Plain(format!("{name}: {value}"))));
    }
}

fn disagreement(found: &Found, path: Option<&PathBuf>, everything: bool, text: &mut String) {
    let Found { case, disagreement, cells, shown, tries } = found;
    let command = format!("--seed {} --cases {}", case.seed, case.number);
    let cells = count(*cells, "cell", "cells");
    let _ = writeln!(
        text,
        "  {} {}",
        paint(STRONG, disagreement.differs),
        paint(FAINT, format!("({command}: {cells})"))
    );
    let observed = match &disagreement.observed {
        Some(observed) => escape::shown(observed),
        None => "not sent".to_owned(),
    };
    let (engine, naive) = (disagreement.engine, disagreement.naive);
    let family = disagreement.cell.family;
    let _ = writeln!(
        text,
        "    {} ({family}): engine {engine}, naive evaluator {naive}, packets {observed}",
        Plain(&disagreement.cell)
    );
    if everything {
        for reason in &disagreement.reasons {
            let _ = writeln!(text, "      {}", paint(FAINT, Plain(reason)));
        }
    }
    let tries = count(*tries, "try", "tries");
    let file = match (shown, path) {
        (Some(shown), Some(path)) if shown.is_minimal => {
            format!(
                "netproof run {}  {}",
                path.display(),
                paint(FAINT, format!("the least that shows it, after {tries}"))
            )
        }
        (Some(_), Some(path)) => {
            let why = format!("it could perhaps be smaller: ended after {tries}");
            format!("netproof run {}  {}", path.display(), paint(FAINT, why))
        }
        (Some(shown), None) => format!("it could not be saved:\n\n{}", shown.text),
        (None, _) => paint(UNSURE, format!("it did not happen again in {tries}")),
    };
    let _ = writeln!(text, "    {file}");
}

fn items(result: &FuzzResult, text: &mut String) {
    let explanation = "how many cases would have come out otherwise, were an item misread";
    let _ =
        writeln!(text, "\n{}  {}", paint(STRONG, "Items of docs/semantics.md"), paint(FAINT, explanation));
    for (item, reached) in result.coverage.items() {
        let _ = match reached {
            Ok(0) => writeln!(text, " {item:>3} {:>6}  {}", paint(UNSURE, "     0"), item.title()),
            Ok(cases) => writeln!(text, " {item:>3} {:>6}  {}", thousands(cases), item.title()),
            Err(why) => writeln!(
                text,
                " {item:>3} {:>6}  {}: {}",
                "-",
                item.title(),
                paint(FAINT, format!("out of reach: {why}"))
            ),
        };
    }
}

/// The fields of one object on one line.
fn fields(result: &FuzzResult, text: &mut String) {
    let _ = writeln!(text, "\n{}  {}", paint(STRONG, "Fields"), paint(FAINT, "how often each was generated"));
    let mut lines: Vec<(String, Vec<String>)> = Vec::new();
    for (field, generated) in result.coverage.fields() {
        let (object, name) = match field.rsplit_once('.') {
            Some((object, name)) => (object.to_owned(), name),
            None => ("steps".to_owned(), field.as_str()),
        };
        let generated = match generated {
            0 => paint(UNSURE, format!("{name} 0")),
            generated => format!("{name} {}", thousands(generated)),
        };
        match lines.iter_mut().find(|(other, _)| *other == object) {
            Some((_, fields)) => fields.push(generated),
            None => lines.push((object, vec![generated])),
        }
    }
    for (object, fields) in lines {
        let _ = writeln!(text, "  {object}: {}", fields.join(", "));
    }
}

/// The report for machines. Its shape is documented in `docs/json.md`.
///
/// # Errors
/// Never, as its shape has nothing that JSON lacks.
pub fn fuzz_json(
    result: &FuzzResult,
    environment: &Environment,
    saved: &[Option<PathBuf>],
) -> serde_json::Result<String> {
    let found = result.found.iter().zip(saved).map(|(found, path)| FoundDocument::new(found, path.as_ref()));
    let items = result.coverage.items().map(|(item, reached)| ItemDocument {
        item: item.number(),
        title: item.title(),
        cases: reached.ok(),
        out_of_reach: reached.err(),
    });
    let document = FuzzDocument {
        api_version: "netproof.dev/v1alpha1",
        kind: "FuzzResult",
        exit_code: result.exit_code(),
        backend: &environment.name,
        seed: result.seed,
        cases: result.cases,
        disagreeing: result.disagreeing,
        cells: result.counts.cells(),
        undefined: result.counts.undefined,
        undefined_by_profile: result.counts.excused,
        skipped: result.counts.skipped,
        flaky: result.counts.flaky,
        inconclusive: result.counts.inconclusive,
        failures: result.failures.iter().map(|(seed, failure)| (*seed, failure.message.as_str())).collect(),
        interrupted: result.interrupted,
        took_ms: u64::try_from(result.took.as_millis()).unwrap_or(u64::MAX),
        found: found.collect(),
        items: items.collect(),
        fields: result.coverage.fields().into_iter().collect(),
    };
    escape::json(&document)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FuzzDocument<'a> {
    api_version: &'static str,
    kind: &'static str,
    exit_code: u8,
    backend: &'a str,
    seed: u64,
    cases: usize,
    disagreeing: usize,
    cells: usize,
    undefined: usize,
    undefined_by_profile: usize,
    skipped: usize,
    flaky: usize,
    inconclusive: usize,
    failures: BTreeMap<u64, &'a str>,
    interrupted: bool,
    took_ms: u64,
    found: Vec<FoundDocument>,
    items: Vec<ItemDocument>,
    fields: BTreeMap<String, usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ItemDocument {
    item: u8,
    title: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cases: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    out_of_reach: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FoundDocument {
    seed: u64,
    #[serde(rename = "case")]
    number: usize,
    differs: &'static str,
    from: String,
    to: String,
    family: String,
    probe: String,
    engine: &'static str,
    naive: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed: Option<&'static str>,
    reasons: Vec<String>,
    cells: usize,
    tries: usize,
    minimal: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

impl FoundDocument {
    fn new(found: &Found, path: Option<&PathBuf>) -> Self {
        let Found { case, disagreement, cells, shown, tries } = found;
        let cell = &disagreement.cell;
        Self {
            seed: case.seed,
            number: case.number,
            differs: disagreement.differs.name(),
            from: cell.from.to_string(),
            to: cell.to.to_string(),
            family: cell.family.to_string(),
            probe: cell.probe.to_string(),
            engine: disagreement.engine.name(),
            naive: disagreement.naive.name(),
            observed: disagreement.observed.as_ref().map(|observed| observed.name()),
            reasons: disagreement.reasons.iter().map(ToString::to_string).collect(),
            cells: *cells,
            tries: *tries,
            minimal: shown.as_ref().is_some_and(|shown| shown.is_minimal),
            file: path.map(|path| path.display().to_string()),
        }
    }
}

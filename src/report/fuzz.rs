//! The report of `netproof fuzz` for people: what was found, and what was reached.

use std::path::PathBuf;

use super::escape::{Plain, lines, shown as plain};
use super::page::Page;
use super::style::{BAD, FAINT, GOOD, STRONG, UNSURE, count, duration, join, paint, thousands};
use crate::fuzz::{Found, FuzzResult};
use crate::verdict::{Environment, Outcome};

/// Returns the report. `saved` are the files of what was found, in that order. `everything` also shows the
/// reasons of the policy engine.
pub fn fuzz(
    result: &FuzzResult,
    environment: &Environment,
    saved: &[Option<PathBuf>],
    everything: bool,
) -> String {
    let mut page = Page::new(everything);
    verdict(result, environment, &mut page);
    if !result.found.is_empty() {
        let shown = format!("{} of {}", result.found.len(), count(result.disagreeing, "case", "cases"));
        page.title(BAD, "Disagreements", paint(FAINT, format!("followed up: {shown}")));
    }
    for (found, path) in result.found.iter().zip(saved) {
        disagreement(found, path.as_ref(), &mut page);
    }
    items(result, &mut page);
    fields(result, &mut page);
    page.text
}

fn verdict(result: &FuzzResult, environment: &Environment, page: &mut Page) {
    let FuzzResult { seed, cases, disagreeing, counts, failures, took, interrupted, .. } = result;
    let scope = format!(
        "{} in {}, {}, {:.1} cases a second ({}, seed {seed})",
        count(counts.cells(), "cell", "cells"),
        count(*cases, "case", "cases"),
        duration(*took),
        *cases as f64 / took.as_secs_f64().max(1e-9),
        Plain(&environment.name),
    );
    let (word, style, what) = match result.outcome() {
        Outcome::Fail => {
            let who = "engine, naive evaluator and packets do not agree";
            ("FAIL", BAD, format!("{who} in {}", count(*disagreeing, "case", "cases")))
        }
        Outcome::Pass if !interrupted => {
            ("PASS", GOOD, "engine, naive evaluator and packets agree".to_owned())
        }
        Outcome::Pass | Outcome::Inconclusive | Outcome::Skipped => {
            ("INCONCLUSIVE", UNSURE, "no disagreement, but not everything could be measured".to_owned())
        }
    };
    page.line(format!("{}  {}: {scope}", paint(style, word), paint(STRONG, what)));
    if *interrupted {
        page.line(paint(UNSURE, "interrupted: what was found until then"));
    }
    for (seed, failure) in failures {
        let message = format!("the scenario of seed {seed} could not be run: {}", failure.message);
        page.line(paint(UNSURE, lines(&message)));
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
        page.line(paint(FAINT, aside));
    }
    let judged_nodes = result.judged_nodes.iter().map(String::as_str).collect();
    for (name, value) in environment.facts_with_nodes(&judged_nodes) {
        page.line(paint(FAINT, Plain(format!("{name}: {value}"))));
    }
}

fn disagreement(found: &Found, path: Option<&PathBuf>, page: &mut Page) {
    let Found { case, disagreement, cells, shown, tries } = found;
    let command = format!("--seed {} --cases {}", case.seed, case.number);
    let cells = count(*cells, "cell", "cells");
    let command = paint(FAINT, format!("({command}: {cells})"));
    page.line(format!("  {} {command}", paint(STRONG, disagreement.differs)));
    let observed = match &disagreement.observed {
        Some(observed) => plain(observed),
        None => "not sent".to_owned(),
    };
    let (engine, naive) = (disagreement.engine, disagreement.naive);
    let family = disagreement.cell.family;
    page.line(format!(
        "    {} ({family}): engine {engine}, naive evaluator {naive}, packets {observed}",
        Plain(&disagreement.cell)
    ));
    if page.everything {
        disagreement
            .reasons
            .iter()
            .for_each(|reason| page.line(format!("      {}", paint(FAINT, Plain(reason)))));
    }
    let tries = count(*tries, "try", "tries");
    let file = match (shown, path) {
        (Some(shown), Some(path)) => {
            let how = if shown.is_minimal {
                format!("the least that shows it, after {tries}")
            } else {
                format!("it could perhaps be smaller: ended after {tries}")
            };
            format!("netproof run {}  {}", path.display(), paint(FAINT, how))
        }
        (Some(shown), None) => format!("it could not be saved:\n\n{}", shown.text),
        (None, _) => paint(UNSURE, format!("it did not happen again in {tries}")),
    };
    page.line(format!("    {file}"));
}

fn items(result: &FuzzResult, page: &mut Page) {
    let explanation = "how many cases would have come out otherwise, were an item misread";
    page.title(STRONG, "Items of docs/semantics.md", paint(FAINT, explanation));
    for (item, reached) in result.coverage.items() {
        let (cases, why) = match reached {
            Ok(0) => (paint(UNSURE, "     0"), String::new()),
            Ok(cases) => (thousands(cases), String::new()),
            Err(why) => ("-".to_owned(), format!(": {}", paint(FAINT, format!("out of reach: {why}")))),
        };
        page.line(format!(" {item:>3} {cases:>6}  {}{why}", item.title()));
    }
}

/// Shows the fields of each object on one line.
fn fields(result: &FuzzResult, page: &mut Page) {
    page.title(STRONG, "Fields", paint(FAINT, "how often each was generated"));
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
        page.line(format!("  {object}: {}", fields.join(", ")));
    }
}

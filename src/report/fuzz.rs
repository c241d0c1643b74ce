//! The report of `netproof fuzz` for people: what was found, and what was reached.

use std::time::Duration;

use super::escape::{Plain, lines};
use super::page::Page;
use super::style::{BAD, FAINT, GOOD, STRONG, UNSURE, count, duration, join, paint, thousands};
use super::view;
use crate::document::{Finding, FuzzDocument, Outcome, RuleCases};

/// Returns the report. `everything` also shows the reasons of the policy engine.
pub fn fuzz(run: &FuzzDocument, everything: bool) -> String {
    let mut page = Page::new(everything);
    verdict(run, &mut page);
    if !run.found.is_empty() {
        let shown = format!("{} of {}", run.found.len(), count(run.disagreeing, "case", "cases"));
        page.title(BAD, "Disagreements", paint(FAINT, format!("followed up: {shown}")));
    }
    for found in &run.found {
        disagreement(found, &run.place, &mut page);
    }
    spec_rules(run, &mut page);
    fields(run, &mut page);
    page.text
}

fn verdict(run: &FuzzDocument, page: &mut Page) {
    let FuzzDocument { seed, cases, disagreeing, undefined_by_profile, interrupted, .. } = run;
    let took = Duration::from(run.took_ms);
    let scope = format!(
        "{} in {}, {}, {:.1} cases a second ({}, seed {seed})",
        count(run.cells, "cell", "cells"),
        count(*cases, "case", "cases"),
        duration(took),
        *cases as f64 / took.as_secs_f64().max(1e-9),
        Plain(&run.backend),
    );
    let (word, style, what) = match run.outcome {
        Outcome::Fail => {
            let who = "engine, naive evaluator and packets do not agree";
            ("FAIL", BAD, format!("{who} in {}", count(*disagreeing, "case", "cases")))
        }
        Outcome::Pass if !interrupted => {
            ("PASS", GOOD, "engine, naive evaluator and packets agree".to_owned())
        }
        Outcome::Pass | Outcome::Inconclusive | Outcome::Skipped => {
            let is_modelled = run.unmodelled.iter().all(|kind| kind.is_accepted);
            let why = if is_modelled { "could be measured" } else { "is modelled" };
            ("INCONCLUSIVE", UNSURE, format!("no disagreement, but not everything {why}"))
        }
    };
    page.line(format!("{}  {}: {scope}", paint(style, word), paint(STRONG, what)));
    if *interrupted {
        page.line(paint(UNSURE, "interrupted: what was found until then"));
    }
    for (seed, failure) in &run.failures {
        let message = format!("the scenario of seed {seed} could not be run: {failure}");
        page.line(paint(UNSURE, lines(&message)));
    }
    let by_specification = run.undefined.saturating_sub(*undefined_by_profile);
    let aside = join([
        (run.flaky, "flaky cell", "flaky cells"),
        (run.inconclusive, "cell that could not be measured", "cells that could not be measured"),
        (by_specification, "left undefined by the specification", "left undefined by the specification"),
        (*undefined_by_profile, "left undefined by profiles", "left undefined by profiles"),
        (run.skipped, "skipped", "skipped"),
        (run.retries, "retry", "retries"),
    ]);
    if !aside.is_empty() {
        page.line(paint(FAINT, aside));
    }
    for (name, value) in &run.facts {
        page.line(paint(FAINT, Plain(format!("{name}: {value}"))));
    }
    for kind in &run.unmodelled {
        page.line(paint(UNSURE, Plain(view::unmodelled(kind))));
    }
    for warning in &run.warnings {
        page.line(paint(UNSURE, Plain(format!("warning: {warning}"))));
    }
}

fn disagreement(found: &Finding, place: &str, page: &mut Page) {
    let Finding { seed, case, differs, from, to, family, probe, engine, naive, .. } = found;
    let cells = count(found.cells, "cell", "cells");
    let command = paint(FAINT, format!("(--seed {seed} --cases {case}: {cells})"));
    page.line(format!("  {} {command}", paint(STRONG, differs)));
    let observed = if found.observed.is_some() { &found.observed_text } else { "not sent" };
    page.line(Plain(format!(
        "    {from} → {to} {probe} ({family}): engine {engine}, naive evaluator {naive}, packets {observed}"
    )));
    if page.everything {
        for reason in &found.reasons {
            page.line(format!("      {}", paint(FAINT, Plain(reason))));
        }
    }
    let tries = count(found.tries, "try", "tries");
    let file = match (&found.scenario, &found.file) {
        (Some(_), Some(path)) => {
            let how = if found.minimal {
                format!("the least that shows it, after {tries}")
            } else {
                format!("it could perhaps be smaller: ended after {tries}")
            };
            format!("netproof run {path}{place}  {}", paint(FAINT, how))
        }
        (Some(text), None) => format!("it could not be saved:\n\n{text}"),
        (None, _) => paint(UNSURE, format!("it did not happen again in {tries}")),
    };
    page.line(format!("    {file}"));
}

fn spec_rules(run: &FuzzDocument, page: &mut Page) {
    let explanation = "how many cases depend on each rule of docs/semantics.md";
    page.title(STRONG, "Spec rules", paint(FAINT, explanation));
    for RuleCases { spec_rule, title, cases, out_of_reach } in &run.spec_rules {
        let cases = match cases {
            None => "-".to_owned(),
            Some(0) => paint(UNSURE, "     0"),
            Some(cases) => thousands(*cases),
        };
        let why =
            out_of_reach.as_ref().map(|why| format!(": {}", paint(FAINT, format!("out of reach: {why}"))));
        page.line(format!(" {spec_rule:>3} {cases:>6}  {title}{}", why.unwrap_or_default()));
    }
}

/// Shows the fields of each object on one line.
fn fields(run: &FuzzDocument, page: &mut Page) {
    page.title(STRONG, "Fields", paint(FAINT, "how often each was generated"));
    let mut lines: Vec<(&str, Vec<String>)> = Vec::new();
    for (field, generated) in &run.fields {
        let (object, name) = field.rsplit_once('.').unwrap_or(("steps", field));
        let generated = match generated {
            0 => paint(UNSURE, format!("{name} 0")),
            generated => format!("{name} {}", thousands(*generated)),
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

//! The comparison of two runs for people: the verdict first, then what regressed, then the rest.

use anstyle::Style;

use super::escape::{Plain, lines};
use super::page::{LINES, Page, Row};
use super::style::{BAD, FAINT, GOOD, STRONG, Table, UNSURE, count, duration, join, paint};
use super::terminal::lacks;
use super::view::{self, noun};
use crate::document::{
    CellPlace, ComparedRun, ComparisonDocument, Coverage, Difference, EnvironmentChange, IpFamily, Outcome,
    Problem, Slower, TimeComparison, Verdict,
};

/// Returns what changed between two runs. `everything` shows every difference.
pub fn comparison(comparison: &ComparisonDocument, everything: bool) -> String {
    let mut report = Report { page: Page::new(everything), comparison };
    let ComparisonDocument { regressed, uncertain, fixed, changed, .. } = comparison;
    report.verdict();
    report.asides();
    report.differences(regressed, BAD, "Regressed", "not as promised, and not so before");
    report.misses();
    report.differences(uncertain, UNSURE, "Uncertain", "not measured or flaky, and not so before");
    report.failures();
    report.slower();
    report.differences(fixed, GOOD, "Fixed", "as promised now");
    report.differences(changed, FAINT, "Changed", "something else is promised, or nothing is");
    report.coverage("Removed", "nothing is known of these any more", &comparison.removed);
    report.coverage("Added", "not in the earlier run", &comparison.added);
    report.times();
    report.page.text
}

struct Report<'a> {
    page: Page,
    comparison: &'a ComparisonDocument,
}

impl Report<'_> {
    fn title(&mut self, style: Style, title: &str, explanation: &str) {
        self.page.title(style, title, paint(FAINT, Plain(explanation)));
    }

    fn verdict(&mut self) {
        let ComparisonDocument { after, counts, outcome, .. } = self.comparison;
        let (word, style) = match outcome {
            Outcome::Pass => ("PASS", GOOD),
            Outcome::Inconclusive | Outcome::Skipped => ("INCONCLUSIVE", UNSURE),
            Outcome::Fail => ("FAIL", BAD),
        };
        let scope = format!(
            "{} in {} of {} compared",
            count(counts.cells, "cell", "cells"),
            count(counts.steps, "step", "steps"),
            count(counts.scenarios, "scenario", "scenarios"),
        );
        let what = paint(STRONG, Plain(headline(self.comparison)));
        self.page.line(format!("{}  {what}: {scope} with {}", paint(style, word), Plain(&after.file)));
    }

    fn asides(&mut self) {
        let comparison = self.comparison;
        for (run, style) in [(&comparison.before, FAINT), (&comparison.after, UNSURE)] {
            if run.incomplete {
                self.page.line(paint(style, Plain(format!("{} ended before its time", run.file))));
            }
            if run.judged_denials == 0 {
                let what = "judged no denial, so nothing is known about isolation";
                self.page.line(paint(style, Plain(format!("{} {what}", run.file))));
            }
        }
        let ComparedRun { file, lacking, falls_short, .. } = &comparison.after;
        if *falls_short {
            let what = format!("{file} proves less than its --confidence asks for");
            self.page.line(paint(UNSURE, Plain(what)));
        }
        if !lacking.is_empty() {
            let lacking: Vec<_> = lacking.iter().map(String::as_str).collect();
            let what = format!("{file} lacks what --require names: {}", lacking.join(", "));
            self.page.line(paint(BAD, Plain(what)));
        }
        for (name, style, what) in
            [("removed", UNSURE, &comparison.removed), ("added", FAINT, &comparison.added)]
        {
            if *what != Coverage::default() {
                self.page.line(paint(style, format!("{name}: {}", sum(what))));
            }
        }
        let known = join(Problem::ALL.map(|problem| {
            let (one, many) = noun(problem);
            (comparison.as_before.get(problem.name()).copied().unwrap_or_default(), one, many)
        }));
        if !known.is_empty() {
            self.page.line(paint(FAINT, format!("as before: {known}")));
        }
        for EnvironmentChange { what, before, after } in &comparison.environment_changes {
            let (before, after) = (before.as_deref().unwrap_or("–"), after.as_deref().unwrap_or("–"));
            self.page.line(paint(UNSURE, Plain(format!("{what}: {before} → {after}"))));
        }
    }

    fn differences(&mut self, differences: &[Difference], style: Style, title: &str, explanation: &str) {
        if !differences.is_empty() {
            self.title(style, title, explanation);
        }
        let is_same_step = |a: &Difference, b: &Difference| {
            (&a.place.scenario, &a.place.step) == (&b.place.scenario, &b.place.step)
        };
        for of_step in differences.chunk_by(is_same_step) {
            let Some(first) = of_step.first() else { continue };
            self.page.line(Plain(format!("  {} › {}", first.place.scenario, first.place.step)));
            let rows = of_step.iter().map(|difference| {
                let CellPlace { from, to, family, probe, .. } = &difference.place;
                Row { from, to, family: *family, probe, what: transition(difference), why: String::new() }
            });
            let show_family = of_step.iter().any(|difference| difference.place.family != IpFamily::V4);
            self.page.cells(rows, show_family, LINES);
        }
    }

    fn misses(&mut self) {
        for scenario in &self.comparison.nothing_demonstrated {
            self.title(BAD, "Nothing demonstrated", scenario);
            self.page.line(format!("    {} any more", view::NO_GAP));
        }
    }

    fn failures(&mut self) {
        for (scenario, failure) in &self.comparison.not_run {
            self.title(UNSURE, "Not run", scenario);
            self.page.line(format!("    {}", lines(failure)));
        }
    }

    fn slower(&mut self) {
        let ComparisonDocument { slower, latency, thresholds, .. } = self.comparison;
        if !self.comparison.is_slower() {
            return;
        }
        let consequence = if thresholds.fail { "" } else { "; alone, this does not fail (--fail-slower)" };
        let explanation = format!(
            "more than {} times as long, and more than {} longer{consequence}",
            thresholds.factor,
            duration(thresholds.by)
        );
        self.title(if thresholds.fail { BAD } else { UNSURE }, "Slower", &explanation);
        let each = slower.iter().map(|Slower { scenario, step, change, before_ms, after_ms }| {
            let (before, after) = (duration(*before_ms), duration(*after_ms));
            format!("  {scenario} › {step}: to {} {before} → {after}", change.name())
        });
        self.page.list(Style::new(), &each.collect::<Vec<_>>(), "    ");
        for (change, TimeComparison { slower, .. }) in latency {
            if !slower.is_empty() {
                self.page.line(format!("  to {change} over the run: {}", slower.join(", ")));
            }
        }
    }

    fn coverage(&mut self, title: &str, explanation: &str, coverage: &Coverage) {
        if *coverage == Coverage::default() {
            return;
        }
        self.title(UNSURE, title, explanation);
        let cells = |number: usize| count(number, "cell", "cells");
        let Coverage { scenarios, steps, cells: single } = coverage;
        let scenarios = scenarios.iter().map(|each| format!("  {}: {}", each.scenario, cells(each.cells)));
        let steps =
            steps.iter().map(|each| format!("  {} › {}: {}", each.scenario, each.step, cells(each.cells)));
        let single = single.iter().map(|place| {
            let CellPlace { scenario, step, from, to, family, probe } = place;
            format!("  {scenario} › {step}: {from} → {to} {probe} ({family})")
        });
        self.page.list(Style::new(), &scenarios.chain(steps).chain(single).collect::<Vec<_>>(), "    ");
    }

    fn times(&mut self) {
        if self.comparison.latency.is_empty() {
            return;
        }
        let mut table = Table::new(["time", "steps", "p50", "p95", "max"]);
        for (change, TimeComparison { before, after, .. }) in &self.comparison.latency {
            let times =
                [(before.p50_ms, after.p50_ms), (before.p95_ms, after.p95_ms), (before.max_ms, after.max_ms)];
            let times = times.map(|(before, after)| format!("{} → {}", duration(before), duration(after)));
            table.row([format!("to {change}"), after.steps.to_string()].into_iter().chain(times));
        }
        self.page.block(&table.lines(1..5));
    }
}

/// Returns what matters most.
fn headline(comparison: &ComparisonDocument) -> String {
    let ComparisonDocument { before, after, counts, .. } = comparison;
    let what = join([
        (counts.regressed, "connection regressed", "connections regressed"),
        (comparison.nothing_demonstrated.len(), "demonstration missed", "demonstrations missed"),
        lacks(after.lacking.len()),
        (counts.uncertain, "connection uncertain", "connections uncertain"),
        (comparison.not_run.len(), "scenario not run", "scenarios not run"),
    ]);
    let what = match what.as_str() {
        "" if counts.cells == 0 => return format!("nothing in common with {}", before.file),
        "" if after.incomplete => "nothing regressed before the run ended",
        "" if after.judged_denials == 0 => "no denial was judged",
        "" if after.falls_short => "less is proved than --confidence asks for",
        "" => "nothing regressed",
        what => what,
    };
    let slower = match counts.slower {
        _ if !comparison.is_slower() => String::new(),
        0 => ", the run is slower".to_owned(),
        number => format!(", {} slower", count(number, "step is", "steps are")),
    };
    let fixed = if counts.fixed > 0 { format!(", {} fixed", counts.fixed) } else { String::new() };
    format!("{what}{slower}{fixed} since {}", before.file)
}

fn sum(coverage: &Coverage) -> String {
    join([
        (coverage.scenarios.len(), "scenario", "scenarios"),
        (coverage.steps.len(), "step", "steps"),
        (coverage.number(), "cell", "cells"),
    ])
}

/// Returns how the verdict changed, and why: `match → leak: connected`.
fn transition(difference: &Difference) -> String {
    let Difference { before, after, problems, .. } = difference;
    let was = before.as_ref().map_or("added", |before| before.verdict.name());
    let mut what = Vec::new();
    if let Some(before) = before.as_ref().filter(|before| before.expected != after.expected) {
        what.push(format!("expected {}, now {}", before.expected, after.expected));
    }
    let observed = after.observed.map_or("not probed", |observed| observed.name());
    match after.verdict {
        Verdict::Match => {}
        Verdict::Leak | Verdict::Blocked | Verdict::Flaky => what.push(observed.to_owned()),
        Verdict::Undefined => {
            let before = before.as_ref().and_then(|before| before.observed);
            what.push(format!("{} → {observed}", before.map_or("not probed", |observed| observed.name())));
        }
        Verdict::Inconclusive => what.extend(after.cause.clone()),
        Verdict::Skipped => what.push("the place lacks what it requires".to_owned()),
    }
    for problem in problems {
        match problem {
            Problem::Leak | Problem::Blocked | Problem::Flaky | Problem::Inconclusive => {}
            Problem::PolicyGap | Problem::AssertionError => what.push(noun(*problem).0.to_owned()),
            Problem::Late => {
                what.extend(after.settled_ms.map(|after| format!("late, after {}", duration(after))));
            }
        }
    }
    let what = if what.is_empty() { String::new() } else { format!(": {}", what.join("; ")) };
    format!("{was} → {}{what}", after.verdict.name())
}

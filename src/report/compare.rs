//! A comparison of two runs for people: the verdict first, then what regressed, then the rest.

use std::fmt::{Display, Write};

use anstyle::Style;
use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Modify, Style as TableStyle};

use super::escape::{Plain, lines, shown};
use super::style::{BAD, FAINT, GOOD, STRONG, UNSURE, count, duration, join, paint};
use crate::compare::{
    Cell, Comparison, Coverage, Difference, EnvironmentChange, Kind, Problem, Record, Slower, TimeComparison,
    Verdict,
};
use crate::verdict::{Change, Outcome};

/// How many lines a list may have unless everything is asked for.
const LINES: usize = 12;

/// What changed between two runs. `everything` shows every difference.
pub fn comparison(comparison: &Comparison<'_>, everything: bool) -> String {
    let most = if everything { usize::MAX } else { LINES };
    let mut report = Report { text: String::new(), comparison, most };
    report.verdict();
    report.asides();
    report.differences(Kind::Regressed, BAD, "Regressed", "not as promised, and not so before");
    report.misses();
    report.differences(Kind::Uncertain, UNSURE, "Uncertain", "not measured or flaky, and not so before");
    report.failures();
    report.slower();
    report.differences(Kind::Fixed, GOOD, "Fixed", "as promised now");
    report.differences(Kind::Changed, FAINT, "Changed", "something else is promised, or nothing is");
    report.coverage("Removed", "nothing is known of these any more", &comparison.removed);
    report.coverage("Added", "not in the earlier run", &comparison.added);
    report.times();
    report.text
}

struct Report<'a> {
    text: String,
    comparison: &'a Comparison<'a>,
    most: usize,
}

/// Cells with the same ends, to which the same happened.
struct Line<'a> {
    first: &'a Cell,
    probes: Vec<&'a str>,
    what: String,
}

impl Report<'_> {
    fn line(&mut self, line: impl Display) {
        let _ = writeln!(self.text, "{line}");
    }

    fn title(&mut self, style: Style, title: &str, explanation: &str) {
        self.line(format!("\n{}  {}", paint(style, title), paint(FAINT, Plain(explanation))));
    }

    fn verdict(&mut self) {
        let Comparison { after, compared: (scenarios, steps, cells), .. } = *self.comparison;
        let (word, style) = match self.comparison.outcome() {
            Outcome::Pass => ("PASS", GOOD),
            Outcome::Inconclusive | Outcome::Skipped => ("INCONCLUSIVE", UNSURE),
            Outcome::Fail => ("FAIL", BAD),
        };
        let what = headline(self.comparison);
        let scope = format!(
            "{} in {} of {} compared",
            count(cells, "cell", "cells"),
            count(steps, "step", "steps"),
            count(scenarios, "scenario", "scenarios"),
        );
        let what = paint(STRONG, Plain(what));
        self.line(format!("{}  {what}: {scope} with {}", paint(style, word), Plain(&after.name)));
    }

    fn asides(&mut self) {
        let comparison = self.comparison;
        for (record, style) in [(comparison.before, FAINT), (comparison.after, UNSURE)] {
            if record.is_incomplete() {
                self.line(paint(style, Plain(format!("{} ended before its time", record.name))));
            }
            if record.proves_nothing() {
                let what = "judged no denial, so nothing is known about isolation";
                self.line(paint(style, Plain(format!("{} {what}", record.name))));
            }
        }
        let Record { name, lacking, proof, .. } = comparison.after;
        if proof.falls_short {
            let what = format!("{name} proves less than its --confidence asks for");
            self.line(paint(UNSURE, Plain(what)));
        }
        if !lacking.is_empty() {
            let lacking: Vec<_> = lacking.iter().map(String::as_str).collect();
            let what = format!("{name} lacks what --require names: {}", lacking.join(", "));
            self.line(paint(BAD, Plain(what)));
        }
        for (name, style, what) in
            [("removed", UNSURE, &comparison.removed), ("added", FAINT, &comparison.added)]
        {
            if !what.is_empty() {
                self.line(paint(style, format!("{name}: {}", sum(what))));
            }
        }
        if !comparison.known.is_empty() {
            let known: Vec<_> =
                comparison.known.iter().map(|(problem, number)| number_of(*problem, *number)).collect();
            self.line(paint(FAINT, format!("as before: {}", known.join(", "))));
        }
        for EnvironmentChange { what, before, after } in &comparison.environment_changes {
            let (before, after) = (before.unwrap_or("–"), after.unwrap_or("–"));
            self.line(paint(UNSURE, Plain(format!("{what}: {before} → {after}"))));
        }
    }

    fn differences(&mut self, kind: Kind, style: Style, title: &str, explanation: &str) {
        let mut places: Vec<((&str, &str), Vec<&Difference<'_>>)> = Vec::new();
        for difference in self.comparison.of(kind) {
            let place = (difference.scenario, difference.step);
            match places.last_mut() {
                Some((last, differences)) if *last == place => differences.push(difference),
                Some(_) | None => places.push((place, vec![difference])),
            }
        }
        if places.is_empty() {
            return;
        }
        self.title(style, title, explanation);
        for ((scenario, step), differences) in places {
            self.line(Plain(format!("  {scenario} › {step}")));
            self.list(&differences);
        }
    }

    fn list(&mut self, differences: &[&Difference<'_>]) {
        let mut lines: Vec<Line<'_>> = Vec::new();
        for difference in differences {
            let (cell, what) = (difference.after, transition(difference));
            let same = |line: &&mut Line<'_>| {
                let first = line.first;
                let ends = first.from == cell.from && first.to == cell.to && first.family == cell.family;
                ends && line.what == what
            };
            match lines.iter_mut().rev().find(same) {
                Some(line) => line.probes.push(&cell.probe),
                None => lines.push(Line { first: cell, probes: vec![&cell.probe], what }),
            }
        }
        let families = differences.iter().any(|difference| difference.after.family != "IPv4");
        let rows = lines.iter().take(self.most).map(|line| {
            let Cell { from, to, family, .. } = line.first;
            let family = if families { format!(" {family}") } else { String::new() };
            (shown(format!("{from} → {to}{family}")), shown(line.probes.join(", ")), shown(&line.what))
        });
        let rows: Vec<_> = rows.collect();
        let ends = rows.iter().map(|(ends, _, _)| ends.chars().count()).max().unwrap_or_default();
        let probes = rows.iter().map(|(_, probes, _)| probes.len()).max().unwrap_or_default();
        for (a, b, what) in rows {
            self.line(format!("    {a:<ends$}  {b:<probes$}  {what}").trim_end());
        }
        let hidden: usize = lines.iter().skip(self.most).map(|line| line.probes.len()).sum();
        self.more(hidden);
    }

    fn more(&mut self, hidden: usize) {
        if hidden > 0 {
            self.line(paint(FAINT, format!("    … and {hidden} more (--verbose shows all)")));
        }
    }

    fn misses(&mut self) {
        for scenario in &self.comparison.misses {
            self.title(BAD, "Nothing demonstrated", scenario);
            self.line("    it has to show a policy gap, and there is none any more");
        }
    }

    fn failures(&mut self) {
        for (scenario, failure) in &self.comparison.failures {
            self.title(UNSURE, "Not run", scenario);
            self.line(format!("    {}", lines(failure)));
        }
    }

    fn slower(&mut self) {
        let Comparison { slower, thresholds, .. } = self.comparison;
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
        let most = self.most;
        for Slower { scenario, step, change, before, after } in slower.iter().take(most) {
            let (before, after) = (duration(*before), duration(*after));
            self.line(Plain(format!("  {scenario} › {step}: {} {before} → {after}", name_of(*change))));
        }
        self.more(slower.len().saturating_sub(most));
        for TimeComparison { change, slower, .. } in &self.comparison.times {
            if !slower.is_empty() {
                self.line(format!("  {} over the run: {}", name_of(*change), slower.join(", ")));
            }
        }
    }

    fn coverage(&mut self, title: &str, explanation: &str, coverage: &Coverage<'_>) {
        if coverage.is_empty() {
            return;
        }
        self.title(UNSURE, title, explanation);
        let cells = |number: usize| count(number, "cell", "cells");
        let scenarios = coverage.scenarios.iter().map(|(name, number)| format!("{name}: {}", cells(*number)));
        let steps = coverage.steps.iter();
        let steps = steps.map(|(scenario, step, number)| format!("{scenario} › {step}: {}", cells(*number)));
        let single =
            coverage.cells.iter().map(|(scenario, step, cell)| format!("{scenario} › {step}: {cell}"));
        let lines: Vec<String> = scenarios.chain(steps).chain(single).collect();
        for line in lines.iter().take(self.most) {
            self.line(Plain(format!("  {line}")));
        }
        self.more(lines.len().saturating_sub(self.most));
    }

    fn times(&mut self) {
        if self.comparison.times.is_empty() {
            return;
        }
        let mut table = Builder::new();
        table.push_record(["time", "steps", "p50", "p95", "max"]);
        for TimeComparison { change, before, after, .. } in &self.comparison.times {
            let times = [(before.p50, after.p50), (before.p95, after.p95), (before.max, after.max)];
            let times = times.map(|(before, after)| format!("{} → {}", duration(before), duration(after)));
            table.push_record(
                [name_of(*change).to_owned(), after.number.to_string()].into_iter().chain(times),
            );
        }
        let mut table = table.build();
        table.with(TableStyle::blank());
        table.with(Modify::new(Columns::new(1..)).with(Alignment::right()));
        let lines: Vec<_> = table.to_string().lines().map(|line| line.trim_end().to_owned()).collect();
        self.line(format!("\n{}", lines.join("\n")));
    }
}

/// What matters most.
fn headline(comparison: &Comparison<'_>) -> String {
    let number = |kind| comparison.of(kind).count();
    let what = join([
        (number(Kind::Regressed), "connection regressed", "connections regressed"),
        (comparison.misses.len(), "demonstration missed", "demonstrations missed"),
        (comparison.after.lacking.len(), "lack of what --require names", "lacks of what --require names"),
        (number(Kind::Uncertain), "connection uncertain", "connections uncertain"),
        (comparison.failures.len(), "scenario not run", "scenarios not run"),
    ]);
    let before = &comparison.before.name;
    let what = match comparison.compared {
        (_, _, 0) if what.is_empty() => return format!("nothing in common with {before}"),
        _ if what.is_empty() && comparison.after.is_incomplete() => {
            "nothing regressed before the run ended".to_owned()
        }
        _ if what.is_empty() && comparison.after.proves_nothing() => "no denial was judged".to_owned(),
        _ if what.is_empty() && comparison.after.proof.falls_short => {
            "less is proved than --confidence asks for".to_owned()
        }
        _ if what.is_empty() => "nothing regressed".to_owned(),
        _ => what,
    };
    let number = comparison.slower.len();
    let slower = match number {
        _ if !comparison.is_slower() => String::new(),
        0 => ", the run is slower".to_owned(),
        _ => format!(", {} slower", count(number, "step is", "steps are")),
    };
    let fixed = match comparison.of(Kind::Fixed).count() {
        0 => String::new(),
        number => format!(", {number} fixed"),
    };
    format!("{what}{slower}{fixed} since {before}")
}

fn sum(coverage: &Coverage<'_>) -> String {
    join([
        (coverage.scenarios.len(), "scenario", "scenarios"),
        (coverage.steps.len(), "step", "steps"),
        (coverage.number(), "cell", "cells"),
    ])
}

fn number_of(problem: Problem, number: usize) -> String {
    match problem {
        Problem::Leak => count(number, "leak", "leaks"),
        Problem::PolicyGap => count(number, "policy gap", "policy gaps"),
        Problem::AssertionError => count(number, "assertion error", "assertion errors"),
        Problem::Blocked | Problem::Late | Problem::Flaky => count(number, problem.name(), problem.name()),
        Problem::Inconclusive => count(number, "not measured", "not measured"),
    }
}

fn name_of(change: Change) -> &'static str {
    match change {
        Change::Enforce => "to enforce",
        Change::Admit => "to admit",
        Change::Appear => "to appear",
    }
}

/// `match → leak: connected`
fn transition(difference: &Difference<'_>) -> String {
    let Difference { before, after, problems, .. } = difference;
    let was = before.map_or("added", |before| before.verdict.name());
    let mut what = Vec::new();
    if let Some(before) = before.filter(|before| before.expected != after.expected) {
        what.push(format!("expected {}, now {}", before.expected.name(), after.expected.name()));
    }
    let observed = after.observed.as_deref().unwrap_or("not probed");
    match after.verdict {
        Verdict::Match => {}
        Verdict::Leak | Verdict::Blocked | Verdict::Flaky => what.push(observed.to_owned()),
        Verdict::Undefined => {
            let before = before.and_then(|before| before.observed.as_deref()).unwrap_or("not probed");
            what.push(format!("{before} → {observed}"));
        }
        Verdict::Inconclusive => what.extend(after.cause.clone()),
        Verdict::Skipped => what.push("the place lacks what it requires".to_owned()),
    }
    for problem in problems {
        match problem {
            Problem::Leak | Problem::Blocked | Problem::Flaky | Problem::Inconclusive => {}
            Problem::PolicyGap | Problem::AssertionError => what.push(problem.name().to_owned()),
            Problem::Late => {
                what.extend(after.settled().map(|after| format!("late, after {}", duration(after))));
            }
        }
    }
    let what = if what.is_empty() { String::new() } else { format!(": {}", what.join("; ")) };
    format!("{was} → {}{what}", after.verdict.name())
}

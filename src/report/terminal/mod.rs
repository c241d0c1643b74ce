//! The report for people: the verdict first, then what is wrong, then the rest.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use anstyle::Style;
use tabled::builder::Builder;
use tabled::settings::Style as TableStyle;
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Modify};

use super::cells::{self, reasons, seen};
use super::style::{BAD, FAINT, GOOD, STRONG, UNSURE, count, duration, join, paint, thousands};
use super::{latency, machines, matrix, open, profiles};
use crate::policy::IpFamily;
use crate::verdict::{
    Cause, CellResult, Counts, Outcome, Quantiles, Repetitions, RunResult, ScenarioResult, StepResult,
    Verdict,
};

/// The report of a run. `everything` shows every matrix and every differing cell.
pub fn terminal(result: &RunResult, everything: bool) -> String {
    let mut report = Report { text: String::new(), result, everything };
    report.verdict();
    report.sections();
    report.latency();
    report.matrices();
    report.table();
    report.machines();
    report.notes();
    report.text
}

struct Report<'a> {
    text: String,
    result: &'a RunResult,
    everything: bool,
}

/// How many lines a list of cells may have unless everything is asked for.
const LINES: usize = 12;
/// How many it may have where it only shows that a demonstration worked.
const DEMONSTRATED: usize = 2;

/// Cells of a step that belong into a section.
type Belongs = fn(&CellResult) -> bool;

impl<'a> Report<'a> {
    fn most(&self, lines: usize) -> usize {
        if self.everything { usize::MAX } else { lines }
    }

    fn line(&mut self, line: impl std::fmt::Display) {
        let _ = writeln!(self.text, "{line}");
    }

    fn verdict(&mut self) {
        let RunResult { scenarios, asked, interrupted, stopped, unfinished, surroundings, profiles, took } =
            self.result;
        let counts = self.result.counts();
        let steps: usize = scenarios.iter().map(|scenario| scenario.steps.len()).sum();
        let times = scenarios.iter().filter_map(|scenario| scenario.repetitions).map(|r| r.asked).max();
        let scope = format!(
            "{} in {} of {}{}, {} ({})",
            count(counts.cells(), "cell", "cells"),
            count(steps, "step", "steps"),
            count(scenarios.len(), "scenario", "scenarios"),
            times.map(|times| format!(", {times} times each")).unwrap_or_default(),
            duration(*took),
            surroundings.name,
        );
        let (word, style, what) = match self.result.outcome() {
            Outcome::Pass => ("PASS", GOOD, right(&counts).to_owned()),
            Outcome::Inconclusive => ("INCONCLUSIVE", UNSURE, unsure(&counts, scenarios)),
            Outcome::Fail => ("FAIL", BAD, wrong(&counts, scenarios)),
        };
        self.line(format!("{}  {}: {scope}", paint(style, word), paint(STRONG, what)));
        if let Some(place) = machines::place_of_leaks(self.result) {
            self.line(paint(BAD, place));
        }
        if *interrupted {
            let ended = format!("interrupted: {} of {asked} scenarios were carried out", scenarios.len());
            self.line(paint(UNSURE, ended));
        }
        if *stopped {
            self.line(paint(UNSURE, left_out(unfinished)));
        }
        let mut aside = Vec::new();
        if counts.undefined > counts.left_open {
            let by_specification = counts.undefined - counts.left_open;
            aside.push(format!("{} left undefined by the specification", thousands(by_specification)));
        }
        if counts.left_open > 0 {
            let names: Vec<_> = profiles.iter().map(|profile| profile.name.as_str()).collect();
            let names = names.join(", ");
            aside.push(format!("{} left undefined by profile {names}", thousands(counts.left_open)));
        }
        if counts.unsupported > 0 {
            aside.push(format!("{} not measurable here", thousands(counts.unsupported)));
        }
        if counts.retries > 0 {
            aside.push(count(counts.retries, "retry", "retries"));
        }
        if !aside.is_empty() {
            self.line(paint(FAINT, aside.join(", ")));
        }
        for (name, value) in &surroundings.facts {
            self.line(paint(FAINT, format!("{name}: {value}")));
        }
        for warning in surroundings.warnings.iter().chain(&profiles::stale(self.result)) {
            self.line(paint(UNSURE, format!("warning: {warning}")));
        }
    }

    fn sections(&mut self) {
        let is_leak: Belongs = |cell| cell.verdict == Verdict::Leak;
        let is_blocked: Belongs = |cell| cell.verdict == Verdict::Blocked;
        let is_flaky: Belongs = |cell| cell.verdict == Verdict::Flaky;
        self.section("Leaks", BAD, "denied by the policies, delivered anyway", is_leak, seen, reasons);
        self.section("Blocked", BAD, "allowed by the policies, not delivered", is_blocked, seen, reasons);
        let late = "in force as promised, but later than asked for";
        self.section("Late", BAD, late, CellResult::is_late, latency::lateness, reasons);
        self.gaps();
        self.section(
            "Disagreements",
            BAD,
            "the scenario says something else than the policy engine",
            CellResult::disagrees,
            |cell| match cell.asserted {
                Some(asserted) => format!("asserted {asserted}, computed {}", cell.expected.decision),
                None => String::new(),
            },
            reasons,
        );
        self.section("Flaky", UNSURE, "answers that differed after settling", is_flaky, seen, reasons);
        self.section(
            "Not measured",
            UNSURE,
            "inconclusive",
            is_inconclusive,
            |cell| cells::repeated(cell).unwrap_or_default(),
            |cell| match &cell.verdict {
                Verdict::Inconclusive(cause) => cause.to_string(),
                Verdict::Match | Verdict::Leak | Verdict::Blocked | Verdict::Flaky | Verdict::Undefined => {
                    String::new()
                }
            },
        );
        self.failures();
        profiles::section(&mut self.text, self.result, self.everything);
    }

    fn section(
        &mut self,
        title: &str,
        style: Style,
        explanation: &str,
        belongs: Belongs,
        seen: impl Fn(&CellResult) -> String,
        reason: impl Fn(&CellResult) -> String,
    ) {
        let mut has_title = false;
        for (scenario, step) in steps(self.result) {
            let cells: Vec<_> = step.cells.iter().filter(|cell| belongs(cell)).collect();
            if cells.is_empty() {
                continue;
            }
            if !has_title {
                self.line(format!("\n{}  {}", paint(style, title), paint(FAINT, explanation)));
                has_title = true;
            }
            self.line(format!("  {} › {}", scenario.name, step.name));
            let most = self.most(LINES);
            cells::list(&mut self.text, cells, has_both_families(step), most, &seen, &reason);
        }
    }

    fn gaps(&mut self) {
        let mut has_title = false;
        for (scenario, step) in steps(self.result) {
            let gaps: Vec<_> = step.gaps().map(|gap| gap.cell).collect();
            if gaps.is_empty() {
                continue;
            }
            if !has_title {
                let explanation = "the policies say something else than their owner wants: mend the policies";
                self.line(format!("\n{}  {}", paint(UNSURE, "Policy gaps"), paint(FAINT, explanation)));
                has_title = true;
            }
            let (shown, most) = match scenario.demonstrates {
                Some(_) => (paint(FAINT, " (found, as this scenario demonstrates)"), DEMONSTRATED),
                None => (String::new(), LINES),
            };
            self.line(format!("  {} › {}{shown}", scenario.name, step.name));
            let seen = |cell: &CellResult| match cell.intended {
                Some(intended) => format!("wanted {intended}, the policies {}", verb(cell)),
                None => String::new(),
            };
            let most = self.most(most);
            cells::list(&mut self.text, gaps, has_both_families(step), most, seen, reasons);
        }
    }

    fn failures(&mut self) {
        for scenario in &self.result.scenarios {
            if let Some(failure) = &scenario.failure {
                self.line(format!("\n{}  {}", paint(UNSURE, "Not carried out"), scenario.name));
                self.line(format!("    {}", failure.message));
            }
            if scenario.misses_demonstration() {
                self.line(format!("\n{}  {}", paint(BAD, "Nothing demonstrated"), scenario.name));
                self.line("    it has to show a policy gap, and there is none");
            }
        }
    }

    fn latency(&mut self) {
        if let Some(table) = latency::table(self.result, self.everything) {
            self.line(format!("\n{table}"));
        }
    }

    /// Every step's matrix, or that of the first step that differs.
    fn matrices(&mut self) {
        let differs = |step: &StepResult| {
            let counts = step.counts();
            counts.leaks + counts.blocked + counts.flaky > 0
        };
        let mut shown = 0;
        for (scenario, step) in steps(self.result) {
            if self.everything || (shown == 0 && differs(step)) {
                self.line(format!("\n{} › {}", paint(STRONG, &scenario.name), step.name));
                self.text.push_str(&matrix::matrices(step));
                shown += 1;
            }
        }
        if shown > 0 {
            self.line(paint(FAINT, matrix::LEGEND));
        }
    }

    /// One line a scenario, or a step.
    fn table(&mut self) {
        let mut table = Builder::new();
        table.push_record(["scenario", "step", "cells", "result", "to enforce", "to admit"]);
        for scenario in &self.result.scenarios {
            let total = scenario.counts();
            let latency = scenario.latency();
            let slowest = |quantiles: Option<Quantiles>| time(quantiles.map(|quantiles| quantiles.max));
            let steps = count(scenario.steps.len(), "step", "steps");
            table.push_record([
                scenario.name.clone(),
                if self.everything { String::new() } else { steps },
                thousands(total.cells()),
                scenario_result(scenario, &total),
                slowest(latency.enforce),
                slowest(latency.admit),
            ]);
            for step in scenario.steps.iter().filter(|_| self.everything) {
                let (counts, took) = (step.counts(), step.time());
                table.push_record([
                    String::new(),
                    step.name.clone(),
                    thousands(counts.cells()),
                    summary(&counts),
                    time(took.enforce),
                    time(took.admit),
                ]);
            }
        }
        if !self.result.scenarios.is_empty() {
            let mut table = table.build();
            table.with(TableStyle::blank());
            for column in [2, 4, 5] {
                table.with(Modify::new(Columns::one(column)).with(Alignment::right()));
            }
            let lines: Vec<_> = table.to_string().lines().map(|line| line.trim_end().to_owned()).collect();
            self.line(format!("\n{}", lines.join("\n")));
        }
    }

    /// One line a node, where they may differ.
    fn machines(&mut self) {
        let counts = self.result.counts();
        let is_cluster = !self.result.surroundings.facts.is_empty();
        if (is_cluster || counts.leaks + counts.blocked > 0)
            && let Some(table) = machines::table(self.result)
        {
            self.line(format!("\n{}", table.trim_end_matches('\n')));
        }
    }

    /// One line a step that found connections open.
    fn open_connections(&mut self) {
        let kept = |(scenario, step): (&'a ScenarioResult, &'a StepResult)| {
            Some(format!("  {} › {}: {}", scenario.name, step.name, open::summary(step)?))
        };
        let lines: Vec<_> = steps(self.result).filter_map(kept).collect();
        if lines.is_empty() {
            return;
        }
        let title =
            "Connections that were open before a step: what becomes of them is left to the implementation";
        self.line(format!("\n{}", paint(FAINT, title)));
        let most = self.most(LINES);
        for line in lines.iter().take(most) {
            self.line(paint(FAINT, line));
        }
        if lines.len() > most {
            self.line(paint(FAINT, format!("  … and {} more (--verbose shows all)", lines.len() - most)));
        }
    }

    fn notes(&mut self) {
        if let Some(times) = new_pods(self.result) {
            self.line(format!("\n{}", paint(FAINT, times)));
        }
        self.open_connections();
        let mut ignored = std::collections::BTreeMap::<&str, usize>::new();
        for scenario in &self.result.scenarios {
            for (kind, number) in &scenario.ignored {
                *ignored.entry(kind).or_default() += number;
            }
        }
        if !ignored.is_empty() {
            let kinds: Vec<_> = ignored.iter().map(|(kind, number)| format!("{kind} ({number})")).collect();
            let note =
                format!("Objects without a part in NetworkPolicy were not looked at: {}", kinds.join(", "));
            self.line(format!("\n{}", paint(FAINT, note)));
        }
    }
}

fn steps(result: &RunResult) -> impl Iterator<Item = (&ScenarioResult, &StepResult)> {
    result.scenarios.iter().flat_map(|scenario| scenario.steps.iter().map(move |step| (scenario, step)))
}

/// How long the slowest new pod took, if there was one.
fn new_pods(result: &RunResult) -> Option<String> {
    let slowest =
        |time: fn(&StepResult) -> Option<Duration>| steps(result).filter_map(|(_, step)| time(step)).max();
    let isolated =
        slowest(|step| step.new_pods.enforce).map(|time| format!("isolated after {}", duration(time)));
    let admitted =
        slowest(|step| step.new_pods.admit).map(|time| format!("admitted after {}", duration(time)));
    let times: Vec<_> = [isolated, admitted].into_iter().flatten().collect();
    (!times.is_empty()).then(|| format!("New pods, counted from their first answer: {}", times.join(", ")))
}

fn is_inconclusive(cell: &CellResult) -> bool {
    match &cell.verdict {
        // Nothing to mend here; the verdict counts them.
        Verdict::Inconclusive(Cause::Kernel(_) | Cause::NoAddress | Cause::Absent(_)) => false,
        Verdict::Inconclusive(
            Cause::NoControl
            | Cause::NoBaseline
            | Cause::Misdelivered(_)
            | Cause::DnsFailure(_)
            | Cause::ProbeError(_),
        ) => true,
        Verdict::Match | Verdict::Leak | Verdict::Blocked | Verdict::Flaky | Verdict::Undefined => false,
    }
}

fn has_both_families(step: &StepResult) -> bool {
    IpFamily::ALL.into_iter().all(|family| step.cells.iter().any(|cell| cell.cell.family == family))
}

/// What a run left out that ended at the first failure.
fn left_out(unfinished: &[String]) -> String {
    let names: BTreeSet<_> = unfinished.iter().map(String::as_str).collect();
    let shown: Vec<_> = names.iter().take(LINES).copied().collect();
    let more = match names.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "stopped at the first failure, not carried out: {} ({}{more})",
        count(names.len(), "scenario", "scenarios"),
        shown.join(", ")
    )
}

fn verb(cell: &CellResult) -> &'static str {
    use crate::policy::Decision;
    match cell.expected.decision {
        Decision::Allow => "allow",
        Decision::Deny => "deny",
        Decision::Undefined => "leave it open",
    }
}

/// The scenarios whose policy gaps are mistakes, not demonstrations.
fn real_gaps(scenarios: &[ScenarioResult]) -> usize {
    let real = scenarios.iter().filter(|scenario| scenario.demonstrates.is_none());
    real.map(|scenario| scenario.counts().gaps).sum()
}

fn right(counts: &Counts) -> &'static str {
    if counts.left_open == 0 {
        "every packet did what the policies promise"
    } else {
        "every packet that is judged did what the policies promise"
    }
}

fn wrong(counts: &Counts, scenarios: &[ScenarioResult]) -> String {
    let missed = scenarios.iter().filter(|scenario| scenario.misses_demonstration()).count();
    join([
        (counts.leaks, "leak", "leaks"),
        (counts.blocked, "blocked", "blocked"),
        (real_gaps(scenarios), "policy gap", "policy gaps"),
        (counts.disagreements, "disagreement", "disagreements"),
        (counts.late, "late", "late"),
        (missed, "demonstration missed", "demonstrations missed"),
        (counts.flaky, "flaky", "flaky"),
        (counts.inconclusive, "not measured", "not measured"),
    ])
}

fn unsure(counts: &Counts, scenarios: &[ScenarioResult]) -> String {
    let failed = scenarios.iter().filter(|scenario| scenario.failure.is_some()).count();
    let what = join([
        (counts.inconclusive, "cell not measured", "cells not measured"),
        (counts.flaky, "flaky cell", "flaky cells"),
        (failed, "scenario not carried out", "scenarios not carried out"),
    ]);
    match what.as_str() {
        "" if counts.proves_nothing() => "nothing is judged: profiles leave everything undefined".to_owned(),
        "" => "not everything was carried out".to_owned(),
        _ => what,
    }
}

fn scenario_result(scenario: &ScenarioResult, counts: &Counts) -> String {
    let result = once(scenario, counts);
    let left_open = match counts.left_open {
        0 => String::new(),
        number => format!(", {} undefined by profile", thousands(number)),
    };
    match scenario.repetitions {
        Some(Repetitions { done, same, .. }) => {
            format!("{result}{left_open}, {same} of {done} times the same")
        }
        None => result + &left_open,
    }
}

/// The result without what profiles left open, and without how often it was the same.
fn once(scenario: &ScenarioResult, counts: &Counts) -> String {
    let mut what: Vec<String> = Vec::new();
    if scenario.failure.is_some() {
        what.push("not carried out".to_owned());
    }
    if scenario.misses_demonstration() {
        what.push("no policy gap found".to_owned());
    }
    let counted = summary(counts);
    match scenario.outcome() {
        Outcome::Pass if scenario.demonstrates.is_some() => {
            return paint(GOOD, format!("ok: {counted} found, as it demonstrates"));
        }
        Outcome::Pass if counts.proves_nothing() => return paint(UNSURE, "not judged"),
        Outcome::Pass => return paint(GOOD, OK),
        Outcome::Inconclusive | Outcome::Fail if counted != OK => what.push(counted),
        Outcome::Inconclusive | Outcome::Fail => {}
    }
    let style = if scenario.outcome() == Outcome::Fail { BAD } else { UNSURE };
    paint(style, what.join(", "))
}

const OK: &str = "ok";

fn summary(counts: &Counts) -> String {
    let what = join([
        (counts.leaks, "leak", "leaks"),
        (counts.blocked, "blocked", "blocked"),
        (counts.gaps, "policy gap", "policy gaps"),
        (counts.disagreements, "disagreement", "disagreements"),
        (counts.late, "late", "late"),
        (counts.flaky, "flaky", "flaky"),
        (counts.inconclusive, "not measured", "not measured"),
    ]);
    if what.is_empty() { OK.to_owned() } else { what }
}

fn time(time: Option<Duration>) -> String {
    time.map(duration).unwrap_or_default()
}

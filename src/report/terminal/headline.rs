//! The verdict of a run, and what it rests on.

use std::collections::BTreeSet;

use super::{LINES, Report};
use crate::report::escape::Plain;
use crate::report::proof::{less_proved, percent};
use crate::report::style::{BAD, FAINT, GOOD, STRONG, UNSURE, count, duration, join, paint, thousands};
use crate::report::{machines, profiles, unmodelled};
use crate::verdict::{Counts, Outcome, RunResult, ScenarioResult};

impl Report<'_> {
    pub(super) fn verdict(&mut self) {
        let RunResult { scenarios, asked, interrupted, stopped, unfinished, environment, .. } = self.result;
        let counts = self.result.counts();
        self.headline(&counts);
        if let Some(place) = machines::place_of_leaks(self.result) {
            self.line(paint(BAD, Plain(place)));
        }
        if *interrupted {
            let ended = format!("interrupted: {} of {asked} scenarios were run", scenarios.len());
            self.line(paint(UNSURE, ended));
        }
        if *stopped {
            self.line(paint(UNSURE, Plain(left_out(unfinished))));
        }
        self.power();
        self.aside(&counts);
        for (name, value) in machines::facts(environment, &self.result.judged_machines()) {
            self.line(paint(FAINT, Plain(format!("{name}: {value}"))));
        }
        for kind in &environment.unmodelled {
            self.line(paint(UNSURE, Plain(unmodelled::line(kind))));
        }
        let (wide, stale) = (profiles::wide(self.result), profiles::stale(self.result));
        for warning in environment.warnings.iter().chain(&wide).chain(&stale) {
            self.line(paint(UNSURE, Plain(format!("warning: {warning}"))));
        }
    }

    /// The verdict, and of how much.
    fn headline(&mut self, counts: &Counts) {
        let RunResult { scenarios, environment, took, .. } = self.result;
        let steps: usize = scenarios.iter().map(|scenario| scenario.steps.len()).sum();
        let times = scenarios.iter().filter_map(|scenario| scenario.repetitions).map(|r| r.asked).max();
        let scope = format!(
            "in {} of {}{}, {} ({})",
            count(steps, "step", "steps"),
            count(scenarios.len(), "scenario", "scenarios"),
            times.map(|times| format!(", {times} times each")).unwrap_or_default(),
            duration(*took),
            Plain(&environment.name),
        );
        let (word, style, what) = match self.result.outcome() {
            Outcome::Pass => ("PASS", GOOD, claims(counts)),
            Outcome::Inconclusive | Outcome::Skipped => ("INCONCLUSIVE", UNSURE, unsure(counts, self.result)),
            Outcome::Fail => ("FAIL", BAD, wrong(counts, self.result)),
        };
        let rest = match self.result.outcome() {
            Outcome::Pass => format!("{},", right(counts)),
            Outcome::Inconclusive | Outcome::Skipped | Outcome::Fail => format!("{} judged", claims(counts)),
        };
        self.line(format!("{}  {}: {rest} {scope}", paint(style, word), paint(STRONG, what)));
    }

    fn profile_names(&self) -> String {
        let names: Vec<_> = self.result.profiles.iter().map(|profile| profile.name.as_str()).collect();
        names.join(", ")
    }

    /// How much the proved denials prove.
    fn power(&mut self) {
        let power = self.result.power();
        if power.points == 0 {
            return;
        }
        let mut proof = format!(
            "each denial rests on at least {}, each node, set of policies and direction on at least {}: a leak of {} of \
             the connections would have shown with 95 %",
            count(power.fewest_per_cell as usize, "dropped probe", "dropped probes"),
            thousands(power.fewest_per_point as usize),
            percent(power.detectable_share)
        );
        if power.untold > 0 {
            let (untold, points) = (thousands(power.untold), thousands(power.points));
            let rest = format!(
                "; {untold} of these {points} deny nothing alone, and are proved together with the other direction"
            );
            proof.push_str(&rest);
        }
        self.line(paint(FAINT, proof));
    }

    /// What was seen and decides nothing.
    fn aside(&mut self, counts: &Counts) {
        let mut aside = Vec::new();
        for (capability, number) in self.result.skipped() {
            aside.push(format!("{} skipped for want of {capability}", count(number, "claim", "claims")));
        }
        if counts.excused_claims > 0 {
            let excused = count(counts.excused_claims, "claim", "claims");
            aside.push(format!("{excused} excused by profile {}", self.profile_names()));
        }
        if counts.undefined > counts.excused {
            let by_specification = counts.undefined - counts.excused;
            aside.push(format!("{} left undefined by the specification", thousands(by_specification)));
        }
        if counts.excused > 0 {
            let names = self.profile_names();
            aside.push(format!("{} left undefined by profile {names}", thousands(counts.excused)));
        }
        if counts.retries > 0 {
            aside.push(count(counts.retries, "retry", "retries"));
        }
        if !aside.is_empty() {
            self.line(paint(FAINT, Plain(aside.join(", "))));
        }
    }
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
        "stopped at the first failure, not run: {} ({}{more})",
        count(names.len(), "scenario", "scenarios"),
        shown.join(", ")
    )
}

/// The scenarios whose policy gaps are mistakes, not demonstrations.
fn real_gaps(scenarios: &[ScenarioResult]) -> usize {
    let real = scenarios.iter().filter(|scenario| scenario.demonstrates.is_none());
    real.map(|scenario| scenario.counts().gaps).sum()
}

/// How many claims were judged, of all.
fn claims(counts: &Counts) -> String {
    format!("{} of {}", thousands(counts.judged), count(counts.claims, "claim", "claims"))
}

fn right(counts: &Counts) -> &'static str {
    if counts.excused == 0 {
        "every packet did what the policies promise"
    } else {
        "every packet that is judged did what the policies promise"
    }
}

fn wrong(counts: &Counts, result: &RunResult) -> String {
    let missed = result.scenarios.iter().filter(|scenario| scenario.misses_demonstration()).count();
    join([
        (counts.leaks, "leak", "leaks"),
        (counts.blocked, "blocked", "blocked"),
        (real_gaps(&result.scenarios), "policy gap", "policy gaps"),
        (counts.assertion_errors, "assertion error", "assertion errors"),
        (counts.late, "late", "late"),
        (missed, "demonstration missed", "demonstrations missed"),
        (result.lacking().len(), "lack of what --require names", "lacks of what --require names"),
        (counts.flaky, "flaky", "flaky"),
        (counts.inconclusive, "not measured", "not measured"),
    ])
}

fn unsure(counts: &Counts, result: &RunResult) -> String {
    let failed = result.scenarios.iter().filter(|scenario| scenario.failure.is_some()).count();
    let unaccepted = result.environment.unmodelled.iter().filter(|kind| !kind.is_accepted).count();
    let what = join([
        (counts.inconclusive, "cell not measured", "cells not measured"),
        (counts.flaky, "flaky cell", "flaky cells"),
        (failed, "scenario not run", "scenarios not run"),
        (unaccepted, "kind of objects not modelled", "kinds of objects not modelled"),
    ]);
    match what.as_str() {
        "" if counts.judged == 0 => "nothing was judged".to_owned(),
        "" if counts.proves_nothing() => {
            "no denial was judged, so nothing is known about isolation".to_owned()
        }
        "" => match result.less_proved() {
            Some(less) => less_proved(less),
            None => "not everything was run".to_owned(),
        },
        _ => what,
    }
}

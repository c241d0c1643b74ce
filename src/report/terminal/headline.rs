//! The verdict of a run, and what it rests on.

use super::Report;
use crate::document::{Counts, Outcome, RunDocument, Scenario};
use crate::report::escape::Plain;
use crate::report::page::LINES;
use crate::report::style::{BAD, FAINT, GOOD, STRONG, UNSURE, count, duration, join, paint, thousands};
use crate::report::view;

impl Report<'_> {
    pub(super) fn verdict(&mut self) {
        let run = self.run;
        self.headline();
        if let Some(text) = view::only_leaking_node(run) {
            self.page.line(paint(BAD, Plain(text)));
        }
        if run.interrupted {
            let (done, requested) = (run.scenarios.len(), run.requested);
            self.page.line(paint(UNSURE, format!("interrupted: {done} of {requested} scenarios were run")));
        }
        if run.stopped || run.unenforced {
            self.page.line(paint(UNSURE, Plain(left_out(run))));
        }
        self.page.proof(run);
        self.aside();
        self.page.surroundings(run);
    }

    /// Shows the verdict, and how much it covers.
    fn headline(&mut self) {
        let RunDocument { scenarios, backend, took_ms, counts, .. } = self.run;
        let times = scenarios.iter().filter_map(|scenario| scenario.repetitions).map(|r| r.requested).max();
        let scope = format!(
            "in {} of {}{}, {} ({})",
            count(self.run.steps().count(), "step", "steps"),
            count(scenarios.len(), "scenario", "scenarios"),
            times.map(|times| format!(", {times} times each")).unwrap_or_default(),
            duration(*took_ms),
            Plain(backend),
        );
        let judged = format!("{} judged", claims(counts));
        let (word, style, what, rest) = match self.run.outcome {
            Outcome::Pass => ("PASS", GOOD, claims(counts), format!("{},", right(counts))),
            Outcome::Inconclusive | Outcome::Skipped => ("INCONCLUSIVE", UNSURE, unsure(self.run), judged),
            Outcome::Fail => ("FAIL", BAD, wrong(self.run), judged),
        };
        self.page.line(format!("{}  {}: {rest} {scope}", paint(style, word), paint(STRONG, what)));
    }

    /// Shows what was observed and decides nothing.
    fn aside(&mut self) {
        let RunDocument { skipped, counts, profiles, .. } = self.run;
        let names: Vec<_> = profiles.iter().map(|profile| profile.name.as_str()).collect();
        let names = names.join(", ");
        let mut aside = Vec::new();
        for (capability, number) in skipped {
            aside.push(format!("{} skipped for want of {capability}", count(*number, "claim", "claims")));
        }
        if counts.excused_claims > 0 {
            let excused = count(counts.excused_claims, "claim", "claims");
            aside.push(format!("{excused} excused by profile {names}"));
        }
        if counts.undefined > counts.excused {
            let by_specification = thousands(counts.undefined - counts.excused);
            aside.push(format!("{by_specification} left undefined by the specification"));
        }
        if counts.excused > 0 {
            aside.push(format!("{} left undefined by profile {names}", thousands(counts.excused)));
        }
        if counts.retries > 0 {
            aside.push(count(counts.retries, "retry", "retries"));
        }
        if !aside.is_empty() {
            self.page.line(paint(FAINT, Plain(aside.join(", "))));
        }
    }
}

/// Returns what a run left out that ended early.
fn left_out(RunDocument { not_run, unenforced, .. }: &RunDocument) -> String {
    let shown: Vec<_> = not_run.iter().take(LINES).map(String::as_str).collect();
    let more = match not_run.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let (why, how) = match unenforced {
        true => ("stopped because nothing enforces policies", "; --keep-going runs everything"),
        false => ("stopped at the first failure", ""),
    };
    format!(
        "{why}, not run: {} ({}{more}){how}",
        count(not_run.len(), "scenario", "scenarios"),
        shown.join(", ")
    )
}

/// Returns how many of the claims were judged, and which share that is if it is not all of them.
fn claims(counts: &Counts) -> String {
    let Counts { judged, claims, .. } = counts;
    // Rounded down: 100 % are all of them.
    let percent = (judged * 100).checked_div(*claims).filter(|_| judged < claims);
    let share = percent.map(|percent| format!(" ({percent} %)")).unwrap_or_default();
    format!("{} of {}{share}", thousands(*judged), count(*claims, "claim", "claims"))
}

fn right(counts: &Counts) -> &'static str {
    if counts.excused == 0 {
        "every packet did what the policies promise"
    } else {
        "every packet that is judged did what the policies promise"
    }
}

fn wrong(run: &RunDocument) -> String {
    let gaps = run.scenarios.iter().map(|scenario| view::mistaken_gaps(scenario, &scenario.counts)).sum();
    let missed = run.scenarios.iter().filter(|scenario| scenario.misses_demonstration()).count();
    let [leaks, blocked, gaps, assertion_errors, late, flaky, inconclusive] =
        view::problems(&run.counts, gaps);
    let missed = (missed, "demonstration missed", "demonstrations missed");
    join([
        leaks,
        blocked,
        gaps,
        assertion_errors,
        late,
        missed,
        lacks(run.lacking.len()),
        flaky,
        inconclusive,
    ])
}

/// Returns the count of lacking capabilities with its noun.
pub(in crate::report) fn lacks(number: usize) -> (usize, &'static str, &'static str) {
    (number, "lack of what --require names", "lacks of what --require names")
}

fn unsure(run: &RunDocument) -> String {
    let counts = &run.counts;
    let failed = run.scenarios.iter().filter(|scenario: &&Scenario| scenario.failure.is_some()).count();
    let what = join([
        (counts.inconclusive, "cell not measured", "cells not measured"),
        (counts.flaky, "flaky cell", "flaky cells"),
        (failed, "scenario not run", "scenarios not run"),
        (run.unaccepted().count(), "kind of objects not modelled", "kinds of objects not modelled"),
    ]);
    match what.as_str() {
        "" if counts.judged == 0 => "nothing was judged".to_owned(),
        "" if counts.proves_nothing() => view::NO_DENIAL.to_owned(),
        "" => view::less_proved(&run.proof).unwrap_or_else(|| "not everything was run".to_owned()),
        _ => what,
    }
}

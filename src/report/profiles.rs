//! Profiles: what there are, and what they left undefined.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::cells;
use super::escape::Plain;
use super::style::{FAINT, STRONG, UNSURE, count, paint, thousands};
use crate::policy::Decision;
use crate::profile::Profile;
use crate::verdict::{DeviationResult, Excuses, RunResult};

/// A list of profiles with their deviations.
pub fn profiles(profiles: &[Profile]) -> String {
    let mut text = String::new();
    for (i, profile) in profiles.iter().enumerate() {
        let space = if i == 0 { "" } else { "\n" };
        let _ =
            writeln!(text, "{space}{}  {}", paint(STRONG, Plain(&profile.name)), Plain(&profile.description));
        for deviation in profile.deviations.iter().map(|deviation| &deviation.excuse) {
            let _ = writeln!(text, "  - {}", Plain(&deviation.reason));
            for reference in &deviation.references {
                let _ = writeln!(text, "    {}", paint(FAINT, Plain(reference)));
            }
        }
    }
    text
}

/// What each deviation left undefined. `everything` lists the cells.
pub(super) fn section(text: &mut String, result: &RunResult, everything: bool) {
    let deviations = result.deviations();
    let mut deviations = deviations.iter().filter(|deviation| !deviation.cells.is_empty()).peekable();
    if deviations.peek().is_some() {
        let explanation = paint(FAINT, "known deviations: recorded, never judged");
        let _ = writeln!(text, "\n{}  {explanation}", paint(UNSURE, "Left undefined by profiles"));
    }
    for result in deviations {
        let _ = writeln!(
            text,
            "{}",
            Plain(format!("  {}: {}", result.deviation.profile, result.deviation.reason))
        );
        let _ = writeln!(text, "    {}", summary(result));
        for reference in &result.deviation.references {
            let _ = writeln!(text, "    {}", paint(FAINT, Plain(reference)));
        }
        if everything {
            let mut cells = result.cells.iter().peekable();
            while let Some((scenario, step, first)) = cells.next() {
                let _ = writeln!(text, "  {} › {}", Plain(scenario), Plain(step));
                let mut of_step = vec![*first];
                while let Some((_, _, cell)) = cells.next_if(|(s, t, _)| (s, t) == (scenario, step)) {
                    of_step.push(*cell);
                }
                let seen = |cell: &_| cells::seen(cell);
                cells::list(text, of_step, true, usize::MAX, seen, cells::reasons);
            }
        }
    }
}

/// `36 cells, 36 of them denied by the policies: 30 connected, 6 dropped`
pub(super) fn summary(result: &DeviationResult<'_>) -> String {
    let all = result.cells.len();
    let words = [(Decision::Deny, "denied"), (Decision::Allow, "allowed")];
    let promised = words.map(|(decision, word)| (result.promised(decision), word));
    let promised: Vec<_> = promised
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(
            |(number, word)| {
                if number == all { word.to_owned() } else { format!("{} {word}", thousands(number)) }
            },
        )
        .collect();
    let observed: Vec<_> =
        result.observed().into_iter().map(|(name, number)| format!("{} {name}", thousands(number))).collect();
    let mut text = format!(
        "{}, {} by the policies: {}",
        count(all, "cell", "cells"),
        promised.join(", "),
        observed.join(", ")
    );
    if result.as_promised() == all {
        text.push_str("; all did what the policies promise: is the deviation still there?");
    }
    text
}

/// The deviations that cover nothing.
pub(super) fn stale(result: &RunResult) -> Vec<String> {
    let deviations = result.deviations().into_iter().filter(DeviationResult::is_stale);
    let warning = |result: DeviationResult<'_>| {
        let deviation = result.deviation;
        format!(
            "profile {}: no cell of this run is decided by this deviation: {} ({})",
            deviation.profile, deviation.reason, deviation.place
        )
    };
    deviations.map(warning).collect()
}

/// The profiles that excuse more than half of the run's denials.
pub(super) fn wide(result: &RunResult) -> Vec<String> {
    let warning = |excuses: Excuses<'_>| {
        let Excuses { profile, excused, denials } = excuses;
        let denials = count(denials, "denial", "denials");
        format!("profile {profile} excuses {} of {denials}", thousands(excused))
    };
    result.excuses().into_iter().filter(Excuses::is_most).map(warning).collect()
}

/// A profile of a run, for machines.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProfileDocument<'a> {
    name: &'a str,
    description: &'a str,
    excused_denials: usize,
    denials: usize,
    deviations: Vec<DeviationDocument<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeviationDocument<'a> {
    reason: &'a str,
    references: &'a [String],
    place: String,
    stale: bool,
    cells: usize,
    denied: usize,
    allowed: usize,
    as_promised: usize,
    observed: BTreeMap<&'static str, usize>,
}

/// The profiles of a run, with what they left undefined.
pub(super) fn documents(result: &RunResult) -> Vec<ProfileDocument<'_>> {
    let deviations = result.deviations();
    let profiles = result.profiles.iter().zip(result.excuses()).map(|(profile, excuses)| {
        let own = deviations.iter().filter(|result| result.deviation.profile == profile.name);
        ProfileDocument {
            name: &profile.name,
            description: &profile.description,
            excused_denials: excuses.excused,
            denials: excuses.denials,
            deviations: own.map(DeviationDocument::new).collect(),
        }
    });
    profiles.collect()
}

impl<'a> DeviationDocument<'a> {
    fn new(result: &DeviationResult<'a>) -> Self {
        Self {
            reason: &result.deviation.reason,
            references: &result.deviation.references,
            place: result.deviation.place.to_string(),
            stale: result.is_stale(),
            cells: result.cells.len(),
            denied: result.promised(Decision::Deny),
            allowed: result.promised(Decision::Allow),
            as_promised: result.as_promised(),
            observed: result.observed(),
        }
    }
}

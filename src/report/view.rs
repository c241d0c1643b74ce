//! What reports of a run say: the words for problems, counts, times and cells.

use anstyle::Style;

use super::style::{BAD, UNSURE, count, duration, join, thousands};
use crate::document::{
    Alone, Cell, Change, Counts, Decision, Deviation, Fate, OpenConnection, Problem, Profile, Proof,
    RunDocument, Scenario, Step, Unmodelled,
};

/// Section of a report for the cells with one problem.
pub(super) struct Section {
    pub(super) problem: Problem,
    pub(super) title: &'static str,
    pub(super) style: Style,
    pub(super) explanation: &'static str,
}

/// The sections, in the order in which a report shows them.
pub(super) const SECTIONS: [Section; 7] = [
    section(Problem::Leak, "Leaks", BAD, "denied by the policies, delivered anyway"),
    section(Problem::Blocked, "Blocked", BAD, "allowed by the policies, not delivered"),
    section(Problem::Late, "Late", BAD, "in force as promised, but later than asked for"),
    section(
        Problem::PolicyGap,
        "Policy gaps",
        UNSURE,
        "the policies say something else than their owner wants: fix the policies",
    ),
    section(
        Problem::AssertionError,
        "Assertion errors",
        BAD,
        "the scenario asserts something else than the policies promise",
    ),
    section(Problem::Flaky, "Flaky", UNSURE, "answers that differed after settling"),
    section(Problem::Inconclusive, "Not measured", UNSURE, "inconclusive"),
];

const fn section(problem: Problem, title: &'static str, style: Style, explanation: &'static str) -> Section {
    Section { problem, title, style, explanation }
}

/// What a failed demonstration shows.
pub(super) const NO_GAP: &str = "it has to show a policy gap, and there is none";
/// Why a run proves nothing without a judged denial.
pub(super) const NO_DENIAL: &str = "no denial was judged, so nothing is known about isolation";

/// Returns the noun of a problem, for one cell and for several.
pub(super) fn noun(problem: Problem) -> (&'static str, &'static str) {
    match problem {
        Problem::Leak => ("leak", "leaks"),
        Problem::Blocked => ("blocked", "blocked"),
        Problem::PolicyGap => ("policy gap", "policy gaps"),
        Problem::AssertionError => ("assertion error", "assertion errors"),
        Problem::Late => ("late", "late"),
        Problem::Flaky => ("flaky", "flaky"),
        Problem::Inconclusive => ("not measured", "not measured"),
    }
}

/// Returns the counts of problems with their nouns, the worst problem first. `gaps` are the policy gaps that
/// count.
pub(super) fn problems(counts: &Counts, gaps: usize) -> [(usize, &'static str, &'static str); 7] {
    Problem::ALL.map(|problem| {
        let number = match problem {
            Problem::Leak => counts.leaks,
            Problem::Blocked => counts.blocked,
            Problem::PolicyGap => gaps,
            Problem::AssertionError => counts.assertion_errors,
            Problem::Late => counts.late,
            Problem::Flaky => counts.flaky,
            Problem::Inconclusive => counts.inconclusive,
        };
        let (one, many) = noun(problem);
        (number, one, many)
    })
}

/// Returns what is wrong, such as `2 leaks, 1 policy gap`.
pub(crate) fn all_problems(counts: &Counts) -> String {
    join(problems(counts, counts.gaps))
}

/// Returns the count of policy gaps of a step that are mistakes, not demonstrations.
pub(super) fn mistaken_gaps(scenario: &Scenario, counts: &Counts) -> usize {
    if scenario.demonstrates.is_none() { counts.gaps } else { 0 }
}

/// Returns what a problem of a cell is about.
pub(super) fn finding(problem: Problem, cell: &Cell) -> String {
    match problem {
        Problem::Leak | Problem::Blocked | Problem::Flaky => seen(cell),
        Problem::Late => lateness(cell),
        Problem::PolicyGap => {
            let policies = match cell.promised() {
                Decision::Allow => "allow",
                Decision::Deny => "deny",
                Decision::Undefined => "leave it open",
            };
            let gap = cell.intended.map(|intended| format!("wanted {intended}, the policies {policies}"));
            gap.unwrap_or_default()
        }
        Problem::AssertionError => {
            let asserted =
                cell.asserted.map(|asserted| format!("asserted {asserted}, computed {}", cell.promised()));
            asserted.unwrap_or_default()
        }
        Problem::Inconclusive => repeated(cell).unwrap_or_default(),
    }
}

/// Returns the reason for a problem of a cell.
pub(super) fn reason(problem: Problem, cell: &Cell) -> String {
    let is_measured = problem != Problem::Inconclusive;
    if is_measured { reasons(cell) } else { cell.cause.clone().unwrap_or_default() }
}

/// Returns what was observed of a cell.
pub(super) fn seen(cell: &Cell) -> String {
    let observed = &cell.observed_text;
    match cell.delivered_until_ms.map(duration) {
        Some(until) if cell.is_delivered_to_new_pod => {
            format!("{observed} until {until} after the new pod's first answer")
        }
        Some(until) => format!("{observed} until {until} after a change that leaves it denied"),
        None => match (repeated(cell), cell.differs_only_beside_others()) {
            (Some(repeated), _) => format!("{observed} ({repeated})"),
            (None, true) => format!("{observed}, not alone"),
            (None, false) => observed.clone(),
        },
    }
}

/// Returns that all leaks are at one node, if they are.
pub(super) fn only_leaking_node(run: &RunDocument) -> Option<String> {
    let node = run.leaking_node.as_ref()?;
    Some(format!("every leak is at {node}: other nodes denied everything that they had to deny"))
}

/// Returns what a scenario has shown alone, in which packets differed while others ran.
pub(super) fn alone(scenario: &Scenario, alone: &Alone) -> String {
    let beside = alone.beside.join(", ");
    if let Some(why) = &alone.not_run {
        return format!("ran beside {beside}; not run alone: {why}");
    }
    let tried = scenario.steps.iter().flat_map(|step| &step.cells).filter(|cell| cell.alone.is_some());
    let (only, too): (Vec<_>, Vec<_>) = tried.partition(|cell| cell.differs_only_beside_others());
    let too = match too.len() {
        _ if only.is_empty() => "the same alone".to_owned(),
        0 => String::new(),
        number => format!("{} also alone", count(number, "cell", "cells")),
    };
    let only = match only.len() {
        0 => String::new(),
        number => format!(
            "{} only beside others, so that a policy of another scenario may be the cause: {beside}",
            count(number, "cell", "cells")
        ),
    };
    [too, only].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

/// Returns the reasons of a cell's expectation, in one line.
pub(super) fn reasons(cell: &Cell) -> String {
    cell.reasons.iter().map(|reason| reason.text.as_str()).collect::<Vec<_>>().join("; ")
}

/// Returns how often repetitions had which verdict, if that differs: `match 19 times, leak once`.
fn repeated(cell: &Cell) -> Option<String> {
    let times = |number: usize| if number == 1 { "once".to_owned() } else { format!("{number} times") };
    let verdicts: Vec<_> =
        cell.repeated.iter().map(|(verdict, number)| format!("{verdict} {}", times(*number))).collect();
    (!verdicts.is_empty()).then(|| verdicts.join(", "))
}

/// Returns when the change was in force at a cell.
fn lateness(cell: &Cell) -> String {
    let (Some(change), Some(settled)) = (cell.change, cell.settled_ms) else { return String::new() };
    let (done, still) = match change {
        Change::Enforce => ("denied", "delivered"),
        Change::Admit => ("admitted", "not delivered"),
        Change::Appear => ("as promised", "otherwise"),
    };
    let node = cell.settled_at.as_ref().map(|node| format!(" at {node}")).unwrap_or_default();
    let limit = cell.limit_ms.map(|limit| format!(", not {}", duration(limit))).unwrap_or_default();
    let opposed =
        cell.opposed_ms.map(|at| format!("; still {still} after {}", duration(at))).unwrap_or_default();
    format!("{done} after {}{limit}{node}{opposed}", duration(settled))
}

/// Returns a line about a kind of objects that netproof does not model.
pub(super) fn unmodelled(kind: &Unmodelled) -> String {
    if kind.is_accepted {
        return format!("not modelled, and accepted: {kind}");
    }
    format!("not modelled: {kind}; --accept-unmodelled {} accepts that", kind.kind)
}

/// Returns a share, from 0 to 1, with two significant digits.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent >= 10.0 {
        format!("{percent:.0} %")
    } else if percent >= 1.0 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.2} %")
    }
}

/// Returns how much less a run proves than `--confidence` requests. `None` if it proves enough.
pub(super) fn less_proved(proof: &Proof) -> Option<String> {
    let (found, requested) = (proof.detectable_share?, proof.requested_share?);
    proof.falls_short.then(|| {
        format!(
            "only a leak of {} of the connections would have shown with 95 %, and --confidence asks for {}",
            percent(found),
            percent(requested)
        )
    })
}

/// Returns how many connections that were open before a step have a fate.
pub(super) fn open(step: &Step, fate: Fate) -> usize {
    step.open_connections.iter().filter(|connection| connection.fate == fate).count()
}

/// Returns what became of the connections that were open before a step: `3 survived (2 denied now), 1 cut`.
pub(super) fn open_connections(step: &Step) -> String {
    let is_denied_now =
        |open: &&OpenConnection| open.fate == Fate::Survived && open.expected == Some(Decision::Deny);
    let survived = match step.open_connections.iter().filter(is_denied_now).count() {
        0 => "survived".to_owned(),
        number => format!("survived ({} denied now)", thousands(number)),
    };
    join([
        (open(step, Fate::Survived), survived.as_str(), survived.as_str()),
        (open(step, Fate::Cut), "cut", "cut"),
        (open(step, Fate::Ended), "ended with its pod", "ended with their pods"),
        (open(step, Fate::NotMeasured), "not measured", "not measured"),
    ])
}

/// Returns what was observed where a deviation applies:
/// `36 cells, denied by the policies: 30 connected, 6 dropped`.
pub(super) fn deviation(deviation: &Deviation) -> String {
    let Deviation { cells: all, denied, allowed, observed, .. } = deviation;
    let promised = [(*denied, "denied"), (*allowed, "allowed")].into_iter().filter(|(number, _)| *number > 0);
    let promised =
        promised.map(
            |(number, word)| {
                if number == *all { word.to_owned() } else { format!("{} {word}", thousands(number)) }
            },
        );
    let observed = observed.iter().map(|(name, number)| format!("{} {name}", thousands(*number)));
    let mut text = format!(
        "{}, {} by the policies: {}",
        count(*all, "cell", "cells"),
        promised.collect::<Vec<_>>().join(", "),
        observed.collect::<Vec<_>>().join(", ")
    );
    if deviation.as_promised == *all {
        text.push_str("; all did what the policies promise: is the deviation still there?");
    }
    text
}

/// Returns the warnings about the scenarios of a run, each with the name of its scenario.
pub(super) fn scenario_warnings(run: &RunDocument) -> impl Iterator<Item = String> {
    let of = |scenario: &Scenario| {
        let name = scenario.name.clone();
        scenario.warnings.clone().into_iter().map(move |warning| format!("{name}: {warning}"))
    };
    run.scenarios.iter().flat_map(of)
}

/// Returns a warning about each profile that excuses most denials of a run.
pub(super) fn wide_profiles(run: &RunDocument) -> impl Iterator<Item = String> {
    run.profiles.iter().filter(|profile| profile.excuses_most()).map(|profile| {
        let Profile { name, excused_denials, denials, .. } = profile;
        let denials = count(*denials, "denial", "denials");
        format!("profile {name} excuses {} of {denials}", thousands(*excused_denials))
    })
}

/// Returns the warnings about the profiles of a run.
pub fn profile_warnings(run: &RunDocument) -> Vec<String> {
    let deviations = run
        .profiles
        .iter()
        .flat_map(|profile| profile.deviations.iter().map(move |deviation| (profile, deviation)));
    let stale = deviations.filter(|(_, deviation)| deviation.stale).map(|(profile, deviation)| {
        let Deviation { reason, place, .. } = deviation;
        format!(
            "profile {}: no cell of this run is decided by this deviation: {reason} ({place})",
            profile.name
        )
    });
    wide_profiles(run).chain(stale).collect()
}

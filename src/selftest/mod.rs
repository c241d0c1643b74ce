//! The self-test: tries the scenario library against every fault of the lab, to prove that the library would
//! notice it.
//!
//! Every scenario runs once in a lab that enforces correctly. After each step, netproof applies every fault
//! that changes the compiled rules of this state, and probes the step's cells again. A fault that compiles to
//! the same rules cannot show, so it is not tried.

mod blame;
mod blamed;
mod packets;
mod result;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::watch;

pub(crate) use blamed::{Accuracy, Blamed};
pub(crate) use result::{Detection, ScenarioTrial, SelfTest};

use crate::backend::Error;
use crate::backend::lab::Lab;
use crate::deviation::Fault;
use crate::runner::{self, Events, Settings, Trials};
use crate::scenario::Scenario;
use crate::verdict::Verdict;

/// Number of cases that must detect each fault.
pub(crate) const ENOUGH: usize = 2;

/// How many cases have detected each fault so far.
type Found = RefCell<BTreeMap<&'static str, usize>>;

/// How much a self-test tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Each fault only until [`ENOUGH`] cases have detected it.
    Quick,
    /// Each fault in every scenario, until a case has detected it.
    Detection,
    /// Each fault in every case. What it shows is diagnosed.
    Diagnosis,
}

/// Tries scenarios against faults. Returns `None` if interrupted.
///
/// # Errors
/// If this machine cannot run the lab.
pub(crate) async fn selftest(
    scenarios: &[Scenario],
    faults: &[Fault],
    depth: Depth,
    settings: &Settings,
    events: &Events,
    mut interrupted: watch::Receiver<bool>,
) -> Result<Option<SelfTest>, Error> {
    let start = Instant::now();
    let found = (depth == Depth::Quick).then(Found::default);
    let cases = if depth == Depth::Diagnosis { usize::MAX } else { 1 };
    let tried = async {
        let all: Vec<_> = scenarios.iter().enumerate().collect();
        let once = all.iter().map(|(index, scenario)| (*index, *scenario, faults.to_vec())).collect();
        let once = try_all(once, cases, found.as_ref(), settings, events).await?;
        let (mut trials, mut unmeasured): (Vec<_>, Vec<_>) = (Vec::new(), Vec::new());
        for (index, trial) in once {
            let Some(scenario) = scenarios.get(index).filter(|_| trial.is_inconclusive()) else {
                trials.push(trial);
                continue;
            };
            // A busy machine measures nothing wrong, but may not measure everything. Alone, the scenario has
            // enough time. It tries every fault again, because its first detections are replaced.
            let again = vec![(index, scenario, faults.to_vec())];
            let again = try_all(again, cases, None, settings, events).await?;
            trials.extend(again.into_iter().map(|(_, trial)| trial));
            unmeasured.push(trial);
        }
        // If only one scenario detects a fault, more than one of its cases must detect it.
        let lonely = all.iter().map(|(index, scenario)| {
            let is_lonely = |fault: &Fault| {
                let detecting = trials.iter().filter(|trial| trial.detects(*fault));
                detecting.take(ENOUGH).map(|trial| &trial.scenario).eq([&scenario.name])
            };
            (*index, *scenario, faults.iter().copied().filter(is_lonely).collect())
        });
        // A diagnosis has tried all cases.
        let lonely =
            lonely.filter(|(_, _, faults): &Try<'_>| depth != Depth::Diagnosis && !faults.is_empty());
        let lonely = lonely.collect();
        for (index, again) in try_all(lonely, ENOUGH, None, settings, events).await? {
            if let Some(trial) = trials.get_mut(index) {
                trial.detections.extend(again.detections);
            }
        }
        let blamed = match depth {
            Depth::Quick | Depth::Detection => Vec::new(),
            Depth::Diagnosis => blame::blame(faults, &trials),
        };
        Ok(SelfTest {
            faults: faults.to_vec(),
            scenarios: trials,
            unmeasured,
            is_quick: depth == Depth::Quick,
            blamed,
            took: start.elapsed(),
        })
    };
    tokio::select! {
        biased;
        _ = interrupted.wait_for(|interrupted| *interrupted) => Ok(None),
        tried = tried => tried.map(Some),
    }
}

/// A scenario with its index, and the faults to try.
type Try<'a> = (usize, &'a Scenario, Vec<Fault>);

/// Tries scenarios until each has detected every fault in this number of cases.
async fn try_all(
    scenarios: Vec<Try<'_>>,
    cases: usize,
    found: Option<&Found>,
    settings: &Settings,
    events: &Events,
) -> Result<Vec<(usize, ScenarioTrial)>, Error> {
    let requested = scenarios.len();
    let trials = scenarios.into_iter().enumerate().map(|(place, (index, scenario, faults))| async move {
        let faults: Vec<_> = faults.into_iter().filter(|fault| packets::are_sent(scenario, *fault)).collect();
        let mut wanted = Wanted::new(scenario, &faults, cases, found);
        let lab = Lab::with_variants(faults.iter().copied())?;
        let right =
            runner::run_with_variants((place, requested), scenario, settings, lab, events, &mut wanted).await;
        let (shown, untried) = (std::mem::take(&mut wanted.verdicts), wanted.untried.take());
        let (scenario, detections) = (scenario.name.clone(), wanted.detections());
        Ok((index, ScenarioTrial { scenario, right, detections, shown, untried }))
    });
    let trials: Vec<_> = trials.collect();
    let trials = stream::iter(trials).buffer_unordered(settings.parallel.max(1));
    let mut tried: Vec<_> = trials.try_collect().await?;
    tried.sort_by_key(|(index, _): &(usize, _)| *index);
    Ok(tried)
}

/// What faults have shown in a scenario so far.
struct Wanted<'a> {
    scenario: &'a Scenario,
    faults: &'a [Fault],
    /// Number of cases in which each fault must show.
    cases: usize,
    /// The counts of all scenarios together. `None` if the scenario tries every fault.
    found: Option<&'a Found>,
    shown: BTreeMap<&'static str, (Fault, Detection)>,
    /// The verdicts by fault and step, if every case is tried.
    verdicts: BTreeMap<(&'static str, usize), Vec<Verdict>>,
    untried: RefCell<BTreeSet<(&'static str, usize)>>,
}

impl<'a> Wanted<'a> {
    fn new(scenario: &'a Scenario, faults: &'a [Fault], cases: usize, found: Option<&'a Found>) -> Self {
        let (shown, verdicts, untried) = (BTreeMap::new(), BTreeMap::new(), RefCell::default());
        Self { scenario, faults, cases, found, shown, verdicts, untried }
    }

    fn detections(self) -> Vec<(Fault, Detection)> {
        self.shown.into_values().collect()
    }
}

impl Trials<Fault> for Wanted<'_> {
    fn wanted(&self, step: usize) -> Vec<Fault> {
        let found = self.found.map(RefCell::borrow);
        let is_found = |fault: &Fault| {
            found.as_ref().and_then(|found| found.get(fault.name)).is_some_and(|cases| *cases >= ENOUGH)
        };
        let is_open = |fault: &Fault| {
            self.shown.get(fault.name).is_none_or(|(_, detection)| detection.steps.len() < self.cases)
        };
        let (wanted, untried): (Vec<_>, Vec<_>) =
            self.faults.iter().copied().partition(|fault| !is_found(fault) && is_open(fault));
        self.untried.borrow_mut().extend(untried.into_iter().map(|fault| (fault.name, step)));
        wanted
    }

    fn seen(&mut self, fault: Fault, step: usize, verdicts: &[Verdict]) {
        let name = self.scenario.steps.get(step).map(|step| step.name.clone()).unwrap_or_default();
        let (_, detection) = self.shown.entry(fault.name).or_insert_with(|| (fault, Detection::default()));
        detection.tried += 1;
        if self.cases == usize::MAX {
            self.verdicts.insert((fault.name, step), verdicts.to_vec());
        }
        let mut is_detected = false;
        for verdict in verdicts {
            match verdict {
                Verdict::Leak => detection.leaks += 1,
                Verdict::Blocked => detection.blocked += 1,
                // Any other fault must show in other cells of the step.
                Verdict::Skipped(capability) if packets::needs(fault) == Some(*capability) => {
                    detection.unmeasurable.get_or_insert_with(|| format!("no {capability}"));
                }
                Verdict::Match
                | Verdict::Flaky
                | Verdict::Undefined
                | Verdict::Skipped(_)
                | Verdict::Inconclusive(_) => {}
            }
            is_detected |= matches!(verdict, Verdict::Leak | Verdict::Blocked);
        }
        if is_detected {
            if let Some(found) = self.found {
                *found.borrow_mut().entry(fault.name).or_default() += 1;
            }
            detection.steps.insert(name);
        }
    }
}

/// Names of steps.
pub(crate) type Steps = BTreeSet<String>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Capability;

    /// If a step has SCTP probes, every fault that is tried meets cells that the kernel cannot send.
    #[test]
    fn a_kernel_without_sctp_excuses_no_other_fault() {
        let head = "apiVersion: netproof.dev/v1alpha1\nkind: Scenario\nmetadata: {name: s}\n";
        let scenario =
            Scenario::from_text(&format!("{head}probes: [80/TCP, 80/SCTP]\nsteps: [{{name: s}}]\n"));
        let faults = ["ignore-sctp", "ignore-ingress", "ignore-ipv6"];
        let faults: [Fault; 3] = faults.map(|name| name.parse().unwrap());
        let mut wanted = Wanted::new(&scenario, &faults, 1, None);
        let unsent = Verdict::Skipped(Capability::Sctp);
        for fault in faults {
            wanted.seen(fault, 0, &[Verdict::Match, unsent.clone()]);
        }
        let excused: Vec<_> =
            wanted.detections().into_iter().map(|(f, d)| (f.name, d.unmeasurable)).collect();
        let sctp = ("ignore-sctp", Some("no sctp".to_owned()));
        assert_eq!(excused, [("ignore-ingress", None), ("ignore-ipv6", None), sctp]);
    }

    #[test]
    fn a_quick_self_test_tries_no_fault_that_two_cases_have_detected() {
        let head = "apiVersion: netproof.dev/v1alpha1\nkind: Scenario\nmetadata: {name: s}\n";
        let scenario = Scenario::from_text(&format!("{head}probes: [80/TCP]\nsteps: [{{name: s}}]\n"));
        let faults: [Fault; 2] = ["ignore-ingress", "ignore-egress"].map(|name| name.parse().unwrap());
        let found = Found::default();
        let detect = |verdict: Verdict| {
            let mut wanted = Wanted::new(&scenario, &faults, 1, Some(&found));
            wanted.seen(faults[0], 0, &[verdict]);
        };
        let tried = || {
            let wanted = Wanted::new(&scenario, &faults, 1, Some(&found)).wanted(0);
            wanted.into_iter().map(|fault| fault.name).collect::<Vec<_>>()
        };
        for verdict in [Verdict::Leak, Verdict::Match] {
            detect(verdict);
            assert_eq!(tried(), ["ignore-ingress", "ignore-egress"]);
        }
        detect(Verdict::Blocked);
        assert_eq!(tried(), ["ignore-egress"]);
    }
}

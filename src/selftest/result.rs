//! Results of a self-test.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::blamed::Blamed;
use super::{ENOUGH, Steps};
use crate::deviation::Fault;
use crate::verdict::{Outcome, ScenarioResult, Verdict};

/// Result of a self-test.
#[derive(Debug, Clone)]
pub struct SelfTest {
    /// Faults that were tried.
    pub faults: Vec<Fault>,
    /// Results of the scenarios, in order.
    pub scenarios: Vec<ScenarioTrial>,
    /// First results of the scenarios that ran twice, because they were inconclusive.
    pub unmeasured: Vec<ScenarioTrial>,
    /// Whether no fault was tried again after enough cases had detected it.
    pub is_quick: bool,
    /// What the cells of each fault are blamed on. Empty unless that was requested.
    pub blamed: Vec<(Fault, Option<Blamed>)>,
    /// Duration of the self-test.
    pub took: Duration,
}

/// Result of one scenario.
#[derive(Debug, Clone)]
pub struct ScenarioTrial {
    /// Name of the scenario.
    pub scenario: String,
    /// Result with correct enforcement.
    pub right: ScenarioResult,
    /// Results with the faults that change the rules.
    pub detections: Vec<(Fault, Detection)>,
    /// Verdicts of the cells with each fault that changes the rules, by the fault's name and the index of the step. Kept
    /// only for a diagnosis.
    pub shown: BTreeMap<(&'static str, usize), Vec<Verdict>>,
    /// Faults that were not tried in a step, although they may change its rules.
    pub untried: BTreeSet<(&'static str, usize)>,
}

/// Result of one fault in one scenario.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Detection {
    /// Number of steps in which it was tried.
    pub tried: usize,
    /// Steps that detected it. A scenario stops trying a fault after enough detections.
    pub steps: Steps,
    /// Number of leaks.
    pub leaks: usize,
    /// Number of blocked cells.
    pub blocked: usize,
    /// Why the kernel could not send some of the probes.
    pub unmeasurable: Option<String>,
}

impl ScenarioTrial {
    /// Returns whether the scenario is inconclusive with correct enforcement, and nothing else was observed.
    pub fn is_inconclusive(&self) -> bool {
        // Answers that differ are an observation.
        self.right.outcome() == Outcome::Inconclusive && self.right.counts().flaky == 0
    }

    /// Returns the result of a fault. `None` if the fault did not change the rules.
    pub fn detection(&self, fault: Fault) -> Option<&Detection> {
        let last = self.detections.iter().rev().find(|(other, _)| *other == fault);
        last.map(|(_, detection)| detection)
    }

    /// Returns whether the scenario detects a fault.
    pub fn detects(&self, fault: Fault) -> bool {
        self.detection(fault).is_some_and(|detection| !detection.steps.is_empty())
    }
}

impl SelfTest {
    /// Returns how many cases detect a fault, as far as they were counted. For each scenario only the first
    /// one is counted. If only one scenario detects the fault, up to [`ENOUGH`] of its cases are counted.
    pub fn cases(&self, fault: Fault) -> usize {
        let detections = self.scenarios.iter().filter_map(|trial| trial.detection(fault));
        detections.map(|detection| detection.steps.len()).sum()
    }

    /// Returns the faults that fewer than [`ENOUGH`] cases detect. Faults that this machine's kernel cannot
    /// show are left out.
    pub fn undetected(&self) -> Vec<Fault> {
        let is_undetected =
            |fault: &Fault| self.cases(*fault) < ENOUGH && self.unmeasurable(*fault).is_none();
        self.faults.iter().copied().filter(is_undetected).collect()
    }

    /// Returns why this machine's kernel cannot show a fault. `None` if it can.
    pub fn unmeasurable(&self, fault: Fault) -> Option<&str> {
        if self.scenarios.iter().any(|trial| trial.detects(fault)) {
            return None;
        }
        let detections = self.scenarios.iter().filter_map(|trial| trial.detection(fault));
        detections.into_iter().find_map(|detection| detection.unmeasurable.as_deref())
    }

    /// Returns what the cells of a fault are blamed on. `None` if that was not requested, or if nothing shows the fault.
    pub fn blamed(&self, fault: Fault) -> Option<&Blamed> {
        self.blamed.iter().find(|(other, _)| *other == fault)?.1.as_ref()
    }

    /// Returns the scenarios that detect no fault.
    pub fn idle(&self) -> Vec<&str> {
        let is_idle =
            |trial: &&ScenarioTrial| !self.is_quick && !self.faults.iter().any(|fault| trial.detects(*fault));
        self.scenarios.iter().filter(is_idle).map(|trial| trial.scenario.as_str()).collect()
    }

    /// Returns the scenarios that fail or are inconclusive with correct enforcement.
    pub fn accusing(&self) -> Vec<&ScenarioTrial> {
        self.scenarios
            .iter()
            .filter(|trial| !matches!(trial.right.outcome(), Outcome::Pass | Outcome::Skipped))
            .collect()
    }

    /// Returns how many cases the scenarios have.
    pub fn case_count(&self) -> usize {
        self.scenarios.iter().map(|trial| trial.right.steps.len()).sum()
    }
}

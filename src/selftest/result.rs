//! What a self-test found out.

use std::time::Duration;

use super::{ENOUGH, Steps};
use crate::backend::lab::Fault;
use crate::verdict::{Environment, Outcome, RunResult, ScenarioResult};

/// What a self-test found out.
#[derive(Debug, Clone)]
pub struct SelfTest {
    /// The faults that were tried.
    pub faults: Vec<Fault>,
    /// What each scenario showed, in order.
    pub scenarios: Vec<ScenarioTrial>,
    /// What those showed that were carried out once more, because they were inconclusive at first.
    pub unmeasured: Vec<ScenarioTrial>,
    /// How long it took.
    pub took: Duration,
}

/// What one scenario showed.
#[derive(Debug, Clone)]
pub struct ScenarioTrial {
    /// Its name.
    pub scenario: String,
    /// What it found where enforcement is right.
    pub right: ScenarioResult,
    /// What it found with the faults that make other rules in it.
    pub detections: Vec<(Fault, Detection)>,
}

/// What one fault showed in one scenario.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Detection {
    /// In how many steps it was tried.
    pub tried: usize,
    /// The steps that detected it. A scenario stops trying when it has detected a fault often enough.
    pub steps: Steps,
    /// How many cells leaked.
    pub leaks: usize,
    /// How many were blocked.
    pub blocked: usize,
    /// Why the kernel could not send some of the probes.
    pub unmeasurable: Option<String>,
}

impl ScenarioTrial {
    /// Whether not all could be measured where enforcement is right, and nothing was accused.
    pub fn is_inconclusive(&self) -> bool {
        // Answers that differ are something that was seen.
        self.right.outcome() == Outcome::Inconclusive && self.right.counts().flaky == 0
    }

    /// What a fault showed; `None` if it made no other rules.
    pub fn detection(&self, fault: Fault) -> Option<&Detection> {
        let last = self.detections.iter().rev().find(|(other, _)| *other == fault);
        last.map(|(_, detection)| detection)
    }

    /// Whether the scenario detects a fault.
    pub fn detects(&self, fault: Fault) -> bool {
        self.detection(fault).is_some_and(|detection| !detection.steps.is_empty())
    }
}

impl SelfTest {
    /// How many cases detect a fault, as far as they were counted: each scenario counts its first, and
    /// one that is alone counts [`ENOUGH`].
    pub fn cases(&self, fault: Fault) -> usize {
        let detections = self.scenarios.iter().filter_map(|trial| trial.detection(fault));
        detections.map(|detection| detection.steps.len()).sum()
    }

    /// How many scenarios detect a fault.
    pub fn detecting(&self, fault: Fault) -> usize {
        self.scenarios.iter().filter(|trial| trial.detects(fault)).count()
    }

    /// The faults that fewer than [`ENOUGH`] cases detect, apart from those that this machine's kernel
    /// cannot show.
    pub fn undetected(&self) -> Vec<Fault> {
        let is_undetected =
            |fault: &Fault| self.cases(*fault) < ENOUGH && self.unmeasurable(*fault).is_none();
        self.faults.iter().copied().filter(is_undetected).collect()
    }

    /// Why this machine's kernel cannot show a fault; `None` if it can.
    pub fn unmeasurable(&self, fault: Fault) -> Option<&str> {
        if self.detecting(fault) > 0 {
            return None;
        }
        let detections = self.scenarios.iter().filter_map(|trial| trial.detection(fault));
        detections.into_iter().find_map(|detection| detection.unmeasurable.as_deref())
    }

    /// The scenarios that detect no fault.
    pub fn idle(&self) -> Vec<&str> {
        let is_idle = |trial: &&ScenarioTrial| !self.faults.iter().any(|fault| trial.detects(*fault));
        self.scenarios.iter().filter(is_idle).map(|trial| trial.scenario.as_str()).collect()
    }

    /// The scenarios that do not pass where enforcement is right.
    pub fn accusing(&self) -> Vec<&ScenarioTrial> {
        self.scenarios
            .iter()
            .filter(|trial| !matches!(trial.right.outcome(), Outcome::Pass | Outcome::Skipped))
            .collect()
    }

    /// What some of the scenarios found where enforcement is right, as a run of their own.
    pub fn run_of<'a>(&self, trials: impl IntoIterator<Item = &'a ScenarioTrial>) -> RunResult {
        let scenarios: Vec<_> = trials.into_iter().map(|trial| trial.right.clone()).collect();
        RunResult {
            asked: scenarios.len(),
            scenarios,
            interrupted: false,
            stopped: false,
            unfinished: Vec::new(),
            environment: Environment::default(),
            profiles: Vec::new(),
            asked_share: None,
            took: self.took,
        }
    }

    /// How many cases the scenarios have.
    pub fn case_count(&self) -> usize {
        self.scenarios.iter().map(|trial| trial.right.steps.len()).sum()
    }

    /// Whether every fault is detected and none is seen where there is none.
    pub fn is_passed(&self) -> bool {
        self.undetected().is_empty() && self.accusing().is_empty()
    }
}

//! The result of `netproof selftest`.

#![expect(missing_docs, reason = "docs/json.md documents the fields")]

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Scenario, texts};
use crate::deviation::Fault;
use crate::selftest::{Detection, ScenarioTrial, SelfTest};

/// Which scenarios detect which faults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SelfTestDocument {
    pub passed: bool,
    pub cases: usize,
    pub scenarios: Vec<String>,
    pub undetected: Vec<String>,
    pub accusing: Vec<Scenario>,
    pub run_again: Vec<Scenario>,
    pub idle: Vec<String>,
    pub quick: bool,
    pub faults: Vec<TriedFault>,
    pub seconds: f64,
}

/// A fault, and what each scenario detects of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TriedFault {
    pub name: String,
    pub spec_rules: Vec<u8>,
    pub explanation: String,
    pub seen: Option<String>,
    pub cases: usize,
    pub unmeasurable: Option<String>,
    pub scenarios: Vec<FaultTrial>,
}

/// What a scenario detects of a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultTrial {
    pub scenario: String,
    pub tried: usize,
    pub steps: BTreeSet<String>,
    pub leaks: usize,
    pub blocked: usize,
}

impl TriedFault {
    fn new(fault: Fault, result: &SelfTest) -> Self {
        let trials = result.scenarios.iter().filter_map(|trial| {
            let Detection { tried, steps, leaks, blocked, .. } = trial.detection(fault)?.clone();
            Some(FaultTrial { scenario: trial.scenario.clone(), tried, steps, leaks, blocked })
        });
        Self {
            name: fault.name.to_owned(),
            spec_rules: fault.spec_rules.to_vec(),
            explanation: fault.explanation.to_owned(),
            seen: fault.seen.map(str::to_owned),
            cases: result.cases(fault),
            unmeasurable: result.unmeasurable(fault).map(str::to_owned),
            scenarios: trials.collect(),
        }
    }

    /// Returns what a scenario shows of the fault. `None` if the fault does not change its rules.
    pub fn trial(&self, scenario: &str) -> Option<&FaultTrial> {
        self.scenarios.iter().find(|trial| trial.scenario == scenario)
    }

    /// Returns how many scenarios detect the fault.
    pub fn detecting(&self) -> usize {
        self.scenarios.iter().filter(|trial| trial.is_detected()).count()
    }
}

impl FaultTrial {
    /// Returns whether the scenario detects the fault.
    pub fn is_detected(&self) -> bool {
        !self.steps.is_empty()
    }
}

impl From<&SelfTest> for SelfTestDocument {
    fn from(result: &SelfTest) -> Self {
        let right = |trial: &ScenarioTrial| Scenario::from(&trial.right);
        let (undetected, accusing) = (result.undetected(), result.accusing());
        Self {
            passed: undetected.is_empty() && accusing.is_empty(),
            cases: result.case_count(),
            scenarios: result.scenarios.iter().map(|trial| trial.scenario.clone()).collect(),
            undetected: texts(undetected),
            accusing: accusing.into_iter().map(right).collect(),
            run_again: result.unmeasured.iter().map(right).collect(),
            idle: texts(result.idle()),
            quick: result.is_quick,
            faults: result.faults.iter().map(|fault| TriedFault::new(*fault, result)).collect(),
            seconds: result.took.as_secs_f64(),
        }
    }
}

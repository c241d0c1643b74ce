//! The result of `netproof selftest`.

#![expect(missing_docs, reason = "docs/json.md documents the fields")]

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Scenario, names, texts};
use crate::deviation::Fault;
use crate::selftest::{Accuracy, Blamed, Detection, ScenarioTrial, SelfTest};

/// Which scenarios detect which faults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SelfTestDocument {
    pub passed: bool,
    pub cases: usize,
    pub scenarios: Vec<String>,
    pub undetected: Vec<String>,
    /// Faults that a diagnosis does not name, although they can be predicted.
    #[serde(default)]
    pub misdiagnosed: Vec<String>,
    pub accusing: Vec<Scenario>,
    pub run_again: Vec<Scenario>,
    pub idle: Vec<String>,
    pub quick: bool,
    pub faults: Vec<TriedFault>,
    pub seconds: f64,
}

/// What the cells of a fault are blamed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultDiagnosis {
    pub accuracy: FaultAccuracy,
    pub explanations: Vec<Vec<String>>,
    pub cells: usize,
    pub unexplained: usize,
}

names! {
    /// How well a diagnosis names a fault.
    FaultAccuracy {
        Itself = "itself",
        Equivalent = "equivalent",
        Missed = "missed",
        ByChance = "by-chance",
    }
}

impl FaultDiagnosis {
    fn new(fault: Fault, blamed: &Blamed) -> Self {
        let accuracy = match blamed.accuracy {
            Accuracy::Itself => FaultAccuracy::Itself,
            Accuracy::Equivalent => FaultAccuracy::Equivalent,
            Accuracy::Missed if !fault.is_predictable() => FaultAccuracy::ByChance,
            Accuracy::Missed => FaultAccuracy::Missed,
        };
        let Blamed { explanations, cells, unexplained, .. } = blamed.clone();
        Self { accuracy, explanations, cells, unexplained }
    }
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<FaultDiagnosis>,
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
            diagnosis: result.blamed(fault).map(|blamed| FaultDiagnosis::new(fault, blamed)),
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
        let faults: Vec<_> = result.faults.iter().map(|fault| TriedFault::new(*fault, result)).collect();
        let is_missed = |fault: &&TriedFault| {
            fault.diagnosis.as_ref().is_some_and(|diagnosis| diagnosis.accuracy == FaultAccuracy::Missed)
        };
        let missed = faults.iter().filter(is_missed).map(|fault| &fault.name);
        let misdiagnosed = texts(missed);
        Self {
            passed: undetected.is_empty() && accusing.is_empty() && misdiagnosed.is_empty(),
            cases: result.case_count(),
            scenarios: result.scenarios.iter().map(|trial| trial.scenario.clone()).collect(),
            undetected: texts(undetected),
            misdiagnosed,
            accusing: accusing.into_iter().map(right).collect(),
            run_again: result.unmeasured.iter().map(right).collect(),
            idle: texts(result.idle()),
            quick: result.is_quick,
            faults,
            seconds: result.took.as_secs_f64(),
        }
    }
}

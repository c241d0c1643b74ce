//! The diagnosis of a run: what explains its leaks and blocked cells.

#![expect(missing_docs, reason = "docs/json.md documents the fields")]

use serde::{Deserialize, Serialize};

use super::Verdict;
use crate::diagnosis;
use crate::policy::IpFamily;

/// What explains the differences of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    pub leaks: usize,
    pub blocked: usize,
    #[serde(default)]
    pub enforcement: Enforcement,
    #[serde(default)]
    pub explanations: Vec<Explanation>,
    #[serde(default)]
    pub unexplained: Vec<UnexplainedCell>,
}

/// Whether anything enforces policies at all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Enforcement {
    pub denials: usize,
    pub delivered: usize,
    pub absent: bool,
    /// What alone was asked, if that is why nothing is said about other traffic.
    pub only: Vec<String>,
}

/// An explanation of some or all differing cells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    pub causes: Vec<Cause>,
    pub leaks: usize,
    pub blocked: usize,
    #[serde(default)]
    pub uncertain: usize,
    pub scenarios: usize,
    pub differing_steps: usize,
    pub agreeing_steps: usize,
    #[serde(default)]
    pub alternatives: Vec<Vec<Cause>>,
}

/// Something that may be wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cause {
    pub name: String,
    pub explanation: String,
    #[serde(default)]
    pub spec_rules: Vec<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
    #[serde(default)]
    pub profiles: Vec<String>,
}

/// A differing cell that nothing explains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnexplainedCell {
    pub scenario: String,
    pub step: String,
    pub from: String,
    pub to: String,
    pub family: IpFamily,
    pub probe: String,
    pub verdict: Verdict,
}

impl From<&diagnosis::Diagnosis> for Diagnosis {
    fn from(diagnosis: &diagnosis::Diagnosis) -> Self {
        Self {
            leaks: diagnosis.leaks,
            blocked: diagnosis.blocked,
            enforcement: Enforcement::from(&diagnosis.enforcement),
            explanations: diagnosis.explanations.iter().map(Explanation::from).collect(),
            unexplained: diagnosis.unexplained.iter().map(UnexplainedCell::from).collect(),
        }
    }
}

impl From<&diagnosis::Enforcement> for Enforcement {
    fn from(enforcement: &diagnosis::Enforcement) -> Self {
        let is_all = enforcement.is_all_delivered();
        Self {
            denials: enforcement.denials,
            delivered: enforcement.delivered,
            absent: enforcement.is_absent(),
            only: if is_all { enforcement.one_sided() } else { Vec::new() },
        }
    }
}

impl From<&diagnosis::Explanation> for Explanation {
    fn from(explanation: &diagnosis::Explanation) -> Self {
        let causes = |causes: &Vec<diagnosis::Cause>| causes.iter().map(Cause::from).collect();
        Self {
            causes: causes(&explanation.causes),
            leaks: explanation.leaks,
            blocked: explanation.blocked,
            uncertain: explanation.uncertain,
            scenarios: explanation.scenarios,
            differing_steps: explanation.differing_cases,
            agreeing_steps: explanation.agreeing_cases,
            alternatives: explanation.alternatives.iter().map(causes).collect(),
        }
    }
}

impl From<&diagnosis::Cause> for Cause {
    fn from(cause: &diagnosis::Cause) -> Self {
        Self {
            name: cause.name.clone(),
            explanation: cause.explanation.clone(),
            spec_rules: cause.spec_rules.clone(),
            seen: cause.seen.clone(),
            profiles: cause.profiles.clone(),
        }
    }
}

impl From<&diagnosis::Unexplained> for UnexplainedCell {
    fn from(diagnosis::Unexplained { scenario, step, cell, shown }: &diagnosis::Unexplained) -> Self {
        Self {
            scenario: scenario.clone(),
            step: step.clone(),
            from: cell.from.to_string(),
            to: cell.to.to_string(),
            family: cell.family,
            probe: cell.probe.to_string(),
            verdict: match shown {
                diagnosis::Shown::Leak | diagnosis::Shown::LeakForAMoment => Verdict::Leak,
                diagnosis::Shown::Blocked => Verdict::Blocked,
                diagnosis::Shown::AsPromised => Verdict::Match,
            },
        }
    }
}

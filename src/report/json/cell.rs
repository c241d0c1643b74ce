//! A cell: what was expected, what was seen, and why.

use std::collections::BTreeMap;

use serde::Serialize;

use super::millis;
use crate::policy::{Direction, Reason};
use crate::verdict::{Cause, CellResult, Verdict};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CellDocument {
    from: String,
    to: String,
    family: &'static str,
    probe: String,
    verdict: &'static str,
    expected: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    deviation: Option<CellDifference>,
    observed: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asserted: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    intended: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    reasons: Vec<ReasonDocument>,
    /// What the place lacks, if the cell was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    requires: Option<&'static str>,
    attempts: u32,
    retries: u32,
    silences: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settled_ms: Option<u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    repeated: BTreeMap<&'static str, usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivered_until_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    opposed_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settled_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_node: Option<String>,
}

impl CellDocument {
    pub(super) fn new(result: &CellResult) -> Self {
        let settled = result.settled.as_ref();
        Self {
            from: result.cell.from.to_string(),
            to: result.cell.to.to_string(),
            family: result.cell.family.name(),
            probe: result.cell.probe.to_string(),
            verdict: result.verdict.name(),
            expected: result.decision().name(),
            deviation: result.excused.as_ref().map(|deviation| CellDifference {
                profile: deviation.profile.clone(),
                reason: deviation.reason.clone(),
                promised: result.expected.decision.name(),
            }),
            observed: result.observed.as_ref().map(|observed| observed.name()),
            asserted: result.asserted.map(|asserted| asserted.name()),
            intended: result.intended.map(|intended| intended.name()),
            cause: cause(&result.verdict).map(ToString::to_string),
            reasons: result.expected.reasons.iter().map(ReasonDocument::new).collect(),
            attempts: result.attempts,
            retries: result.retries,
            silences: result.silences,
            requires: match result.verdict {
                Verdict::Skipped(capability) => Some(capability.name()),
                Verdict::Match
                | Verdict::Leak
                | Verdict::Blocked
                | Verdict::Flaky
                | Verdict::Undefined
                | Verdict::Inconclusive(_) => None,
            },
            change: settled.map(|settled| settled.change.name()),
            settled_ms: settled.map(|settled| millis(settled.took)),
            opposed_ms: settled.and_then(|settled| settled.opposed).map(millis),
            settled_at: settled.and_then(|settled| settled.machine.clone()),
            limit_ms: settled.and_then(|settled| settled.limit).map(millis),
            delivered_until_ms: result.delivered_until.map(|until| millis(until.duration())),
            repeated: result.repeated.clone(),
            from_node: result.machines.from.clone(),
            to_node: result.machines.to.clone(),
        }
    }
}

/// Why a profile leaves a cell undefined.
#[derive(Serialize)]
struct CellDifference {
    profile: String,
    reason: String,
    /// What the policies promise of it.
    promised: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReasonDocument {
    text: String,
    /// `namespace/name` of each policy that the reason names, or `Kind name` of a cluster-scoped one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    policies: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    direction: Option<&'static str>,
    /// The rule's place in its list, counted from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<usize>,
    /// The point on which the specification is not clear, by its name in `docs/semantics.md`.
    #[serde(skip_serializing_if = "Option::is_none")]
    undefined: Option<&'static str>,
    /// The answer of one reading, where the readings disagree.
    #[serde(skip_serializing_if = "Option::is_none")]
    reading: Option<&'static str>,
}

impl ReasonDocument {
    fn new(reason: &Reason) -> Self {
        let (policies, rule) = match reason {
            Reason::AllowedBy { rule, .. } | Reason::DeniedBy(rule) | Reason::PassedBy(rule) => {
                (vec![rule.policy.to_string()], Some(rule.index))
            }
            Reason::Isolated { policies, .. } => (policies.iter().map(ToString::to_string).collect(), None),
            Reason::NotIsolated(_)
            | Reason::OwnAddress
            | Reason::OwnNode
            | Reason::NoPodNetwork
            | Reason::Undefined(_)
            | Reason::Reading { .. } => (Vec::new(), None),
        };
        let (undefined, reading) = match reason {
            Reason::Undefined(cause) => (Some(cause.kind().name()), None),
            Reason::Reading { decision, .. } => (None, Some(decision.name())),
            Reason::NotIsolated(_)
            | Reason::AllowedBy { .. }
            | Reason::DeniedBy(_)
            | Reason::PassedBy(_)
            | Reason::Isolated { .. }
            | Reason::OwnAddress
            | Reason::OwnNode
            | Reason::NoPodNetwork => (None, None),
        };
        let direction = reason.direction().map(Direction::name);
        Self { text: reason.to_string(), policies, direction, rule, undefined, reading }
    }
}

fn cause(verdict: &Verdict) -> Option<&Cause> {
    match verdict {
        Verdict::Inconclusive(cause) => Some(cause),
        Verdict::Match
        | Verdict::Leak
        | Verdict::Blocked
        | Verdict::Flaky
        | Verdict::Undefined
        | Verdict::Skipped(_) => None,
    }
}

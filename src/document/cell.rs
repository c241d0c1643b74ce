//! A cell: what was expected, what was observed, and why.

#![expect(missing_docs, reason = "docs/json.md documents the fields")]

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Millis, names, texts};
use crate::policy::{self, Decision, Direction, IpFamily, UndefinedCause};
use crate::verdict::{self, CellResult, Change, DeliveredUntil};

names! {
    /// Verdict on a cell.
    Verdict {
        Match = "match",
        Leak = "leak",
        Blocked = "blocked",
        Flaky = "flaky",
        Undefined = "undefined",
        Skipped = "skipped",
        Inconclusive = "inconclusive",
    }
}

names! {
    /// What became of a cell's probes.
    Observation {
        Connected = "connected",
        Dropped = "dropped",
        Rejected = "rejected",
        OneWay = "one-way",
        Misdelivered = "misdelivered",
        DnsFailure = "dns-failure",
        Unsupported = "unsupported",
        ProbeError = "probe-error",
    }
}

names! {
    /// A problem of a cell. The worst problem comes first in the order.
    Problem {
        /// Denied packets were delivered.
        Leak = "leak",
        /// Allowed packets were not delivered.
        Blocked = "blocked",
        /// The policies do not say what their owner wants.
        PolicyGap = "policyGap",
        /// The policy engine contradicts an assertion of the scenario.
        AssertionError = "assertionError",
        /// The change was in force after the limit.
        Late = "late",
        /// The answers differed after settling.
        Flaky = "flaky",
        /// The cell could not be measured.
        Inconclusive = "inconclusive",
    }
}

impl Problem {
    /// All problems, the worst first.
    pub const ALL: [Self; 7] = [
        Self::Leak,
        Self::Blocked,
        Self::PolicyGap,
        Self::AssertionError,
        Self::Late,
        Self::Flaky,
        Self::Inconclusive,
    ];

    /// Returns whether the problem proves nothing, so that the cell is only uncertain.
    pub fn is_doubt(self) -> bool {
        match self {
            Self::Flaky | Self::Inconclusive => true,
            Self::Leak | Self::Blocked | Self::PolicyGap | Self::AssertionError | Self::Late => false,
        }
    }
}

/// Result for a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cell {
    pub from: String,
    pub to: String,
    pub family: IpFamily,
    pub probe: String,
    pub verdict: Verdict,
    pub expected: Decision,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deviation: Option<CellDeviation>,
    pub observed: Option<Observation>,
    /// The observation with its details, as a text.
    #[serde(skip)]
    pub observed_text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asserted: Option<Decision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intended: Option<Decision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    #[serde(default)]
    pub reasons: Vec<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requires: Option<String>,
    #[serde(default)]
    pub attempts: u32,
    #[serde(default)]
    pub retries: u32,
    #[serde(default)]
    pub silences: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled_ms: Option<Millis>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub repeated: BTreeMap<String, usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alone: Option<Verdict>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered_until_ms: Option<Millis>,
    /// Whether `delivered_until_ms` counts from the first answer of a new pod, and not from the change.
    #[serde(skip)]
    pub is_delivered_to_new_pod: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opposed_ms: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_ms: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_node: Option<String>,
}

/// Deviation by which a profile makes a cell undefined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellDeviation {
    #[serde(default)]
    pub profile: String,
    #[serde(default)]
    pub reason: String,
    pub promised: Decision,
    /// Place of the deviation in its profile, which tells it from others with the same reason.
    #[serde(skip)]
    pub place: String,
}

/// Reason for what the policies promise.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Reason {
    pub text: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undefined: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reading: Option<Decision>,
}

/// Kind of the reason if an end of a cell has no address of the cell's family (docs/semantics.md).
const NO_ADDRESS: &str = "no-address";

impl Cell {
    /// Returns the key of the cell in its step.
    pub fn key(&self) -> (&str, &str, IpFamily, &str) {
        (&self.from, &self.to, self.family, &self.probe)
    }

    /// Returns what the policies promise, even if a profile makes the cell undefined.
    pub fn promised(&self) -> Decision {
        self.deviation.as_ref().map_or(self.expected, |deviation| deviation.promised)
    }

    /// Returns whether the packets decided the verdict.
    pub fn is_judged(&self) -> bool {
        match self.verdict {
            Verdict::Match | Verdict::Leak | Verdict::Blocked => true,
            Verdict::Flaky | Verdict::Undefined | Verdict::Skipped | Verdict::Inconclusive => false,
        }
    }

    /// Returns whether packets differed only while other scenarios ran.
    pub fn differs_only_beside_others(&self) -> bool {
        self.alone == Some(Verdict::Match)
    }

    /// Returns whether the cell has a problem.
    pub fn has(&self, problem: Problem) -> bool {
        match problem {
            Problem::Leak => self.verdict == Verdict::Leak,
            Problem::Blocked => self.verdict == Verdict::Blocked,
            Problem::PolicyGap => self.contradicts(self.intended) && !self.lacks_facts(),
            Problem::AssertionError => self.contradicts(self.asserted),
            Problem::Late => self.limit_ms.is_some_and(|limit| self.is_later_than(limit)),
            Problem::Flaky => self.verdict == Verdict::Flaky,
            Problem::Inconclusive => self.verdict == Verdict::Inconclusive,
        }
    }

    /// Returns whether the policies contradict a claim. They say nothing about an end without an address.
    fn contradicts(&self, claim: Option<Decision>) -> bool {
        let has_no_address =
            || self.reasons.iter().any(|reason| reason.undefined.as_deref() == Some(NO_ADDRESS));
        claim.is_some_and(|claim| claim != self.promised()) && !has_no_address()
    }

    /// Returns whether the policies' decision depends on facts that are not known.
    fn lacks_facts(&self) -> bool {
        let is_unknown = |reason: &Reason| {
            let kind = reason.undefined.as_deref();
            kind.is_some_and(|kind| UndefinedCause::FACTS.contains(&kind))
                || reason.reading == Some(Decision::Undefined)
        };
        self.promised() == Decision::Undefined && self.reasons.iter().any(is_unknown)
    }

    /// Returns whether a probe that was sent after a limit showed that the change was not in force yet.
    pub fn is_later_than(&self, limit: Millis) -> bool {
        self.settled_ms.is_some() && self.opposed_ms.is_some_and(|opposed| opposed > limit)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → {} {} ({})", self.from, self.to, self.probe, self.family)
    }
}

impl From<&CellResult> for Cell {
    fn from(result: &CellResult) -> Self {
        let (settled, observed) = (result.settled.as_ref(), result.observed.as_ref());
        let (requires, cause) = match &result.verdict {
            verdict::Verdict::Skipped(capability) => (Some(capability.to_string()), None),
            verdict::Verdict::Inconclusive(cause) => (None, Some(cause.to_string())),
            verdict::Verdict::Match
            | verdict::Verdict::Leak
            | verdict::Verdict::Blocked
            | verdict::Verdict::Flaky
            | verdict::Verdict::Undefined => (None, None),
        };
        let repeated = result.repeated.iter().map(|(verdict, count)| ((*verdict).to_owned(), *count));
        Self {
            from: result.cell.from.to_string(),
            to: result.cell.to.to_string(),
            family: result.cell.family,
            probe: result.cell.probe.to_string(),
            verdict: Verdict::from(&result.verdict),
            expected: result.decision(),
            deviation: result.excused.as_ref().map(|deviation| CellDeviation {
                profile: deviation.profile.clone(),
                reason: deviation.reason.clone(),
                promised: result.expected.decision,
                place: deviation.place.to_string(),
            }),
            observed: observed.map(Observation::from),
            observed_text: observed.map(ToString::to_string).unwrap_or_default(),
            asserted: result.asserted,
            intended: result.intended,
            cause,
            reasons: result.expected.reasons.iter().map(Reason::from).collect(),
            requires,
            attempts: result.attempts,
            retries: result.retries,
            silences: result.silences,
            change: settled.map(|settled| settled.change),
            settled_ms: settled.map(|settled| settled.took.into()),
            opposed_ms: settled.and_then(|settled| settled.opposed).map(Millis::from),
            settled_at: settled.and_then(|settled| settled.node.clone()),
            limit_ms: settled.and_then(|settled| settled.limit).map(Millis::from),
            delivered_until_ms: result.delivered_until.map(|until| until.duration().into()),
            is_delivered_to_new_pod: matches!(result.delivered_until, Some(DeliveredUntil::AfterNewPod(_))),
            repeated: repeated.collect(),
            alone: result.alone.as_ref().map(Verdict::from),
            from_node: result.nodes.from.clone(),
            to_node: result.nodes.to.clone(),
        }
    }
}

impl From<&verdict::Verdict> for Verdict {
    fn from(verdict: &verdict::Verdict) -> Self {
        match verdict {
            verdict::Verdict::Match => Self::Match,
            verdict::Verdict::Leak => Self::Leak,
            verdict::Verdict::Blocked => Self::Blocked,
            verdict::Verdict::Flaky => Self::Flaky,
            verdict::Verdict::Undefined => Self::Undefined,
            verdict::Verdict::Skipped(_) => Self::Skipped,
            verdict::Verdict::Inconclusive(_) => Self::Inconclusive,
        }
    }
}

impl From<&verdict::Observation> for Observation {
    fn from(observation: &verdict::Observation) -> Self {
        match observation {
            verdict::Observation::Connected => Self::Connected,
            verdict::Observation::Dropped => Self::Dropped,
            verdict::Observation::Rejected => Self::Rejected,
            verdict::Observation::OneWay => Self::OneWay,
            verdict::Observation::Misdelivered { .. } => Self::Misdelivered,
            verdict::Observation::DnsFailure { .. } => Self::DnsFailure,
            verdict::Observation::Unsupported { .. } => Self::Unsupported,
            verdict::Observation::ProbeError { .. } => Self::ProbeError,
        }
    }
}

impl From<&policy::Reason> for Reason {
    fn from(reason: &policy::Reason) -> Self {
        let base = Self { text: reason.to_string(), direction: reason.direction(), ..Self::default() };
        match reason {
            policy::Reason::AllowedBy { rule, .. }
            | policy::Reason::DeniedBy(rule)
            | policy::Reason::PassedBy(rule) => {
                Self { policies: vec![rule.policy.to_string()], rule: Some(rule.index), ..base }
            }
            policy::Reason::Isolated { policies, .. } => Self { policies: texts(policies), ..base },
            policy::Reason::Undefined(cause) => Self { undefined: Some(cause.kind().to_owned()), ..base },
            policy::Reason::Reading { decision, .. } => Self { reading: Some(*decision), ..base },
            policy::Reason::NotIsolated(_)
            | policy::Reason::OwnAddress
            | policy::Reason::OwnNode
            | policy::Reason::NoPodNetwork => base,
        }
    }
}

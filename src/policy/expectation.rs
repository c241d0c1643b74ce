//! Expectations: what the policies say about one flow, and why.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::joined;
use super::name::{PolicyName, RuleName};
use super::rule::Direction;
use super::undefined::UndefinedCause;

/// The decision of the policies about a flow, with all reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// The decision.
    pub decision: Decision,
    /// All reasons for the decision, in the order in which they apply to a packet. Never empty.
    pub reasons: Vec<Reason>,
}

impl Expectation {
    pub(super) fn allow(reason: Reason) -> Self {
        Self { decision: Decision::Allow, reasons: vec![reason] }
    }

    /// Returns the expectation of a flow that is undefined for one reason.
    pub fn undefined(cause: UndefinedCause) -> Self {
        Self { decision: Decision::Undefined, reasons: vec![Reason::Undefined(cause)] }
    }

    /// Returns the expectation with each reason once, where it occurs first.
    pub(crate) fn without_repetitions(self) -> Self {
        let mut reasons = Vec::new();
        for reason in self.reasons {
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        Self { reasons, ..self }
    }

    /// Returns whether an end has no address of the family. The policies then decide nothing.
    pub fn has_no_address(&self) -> bool {
        let is_it = |reason: &Reason| matches!(reason, Reason::Undefined(UndefinedCause::NoAddress { .. }));
        self.reasons.iter().any(is_it)
    }

    /// Returns what is not known, if the decision depends on it. Empty if the decision is known, or if the
    /// specification leaves it open.
    pub fn unknown_facts(&self) -> Vec<String> {
        if self.decision != Decision::Undefined {
            return Vec::new();
        }
        let is_unknown = |reason: &&Reason| match reason {
            Reason::Undefined(cause) => UndefinedCause::FACTS.contains(&cause.kind()),
            // A reading that is undefined itself does not say why.
            Reason::Reading { decision, .. } => *decision == Decision::Undefined,
            Reason::NotIsolated(_)
            | Reason::AllowedBy { .. }
            | Reason::DeniedBy(_)
            | Reason::PassedBy(_)
            | Reason::Isolated { .. }
            | Reason::OwnAddress
            | Reason::OwnNode
            | Reason::NoPodNetwork => false,
        };
        self.reasons.iter().filter(is_unknown).map(ToString::to_string).collect()
    }

    /// Returns the policies that allow or deny the flow, each with the direction in which it does so. Empty if no
    /// policy decides, and if the specification leaves the flow undefined.
    pub fn deciding_policies(&self) -> Vec<(&PolicyName, Direction)> {
        let deciding = self.reasons.iter().flat_map(|reason| match (reason, reason.rule()) {
            (Reason::Isolated { direction, policies }, _) => {
                policies.iter().map(|policy| (policy, *direction)).collect()
            }
            (Reason::PassedBy(_), _) | (_, None) => Vec::new(),
            (_, Some(rule)) => vec![(&rule.policy, rule.direction)],
        });
        deciding.collect()
    }

    /// Combines two expectations that must both allow the flow. If one of them denies it, the result is a denial,
    /// even if the other one is undefined.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let decision = self.decision.and(other.decision);
        let deciding = [self, other].into_iter().filter(|each| each.decision == decision);
        Self { decision, reasons: deciding.flat_map(|each| each.reasons).collect() }
    }
}

named! {
    /// Decision of an [`Expectation`].
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum Decision {
        /// The flow must be delivered.
        Allow = "allow",
        /// The flow must not be delivered.
        Deny = "deny",
        /// The specification leaves the flow to the implementation, or a fact is not known.
        Undefined = "undefined",
    }
}

impl Decision {
    /// Combines two decisions that must both allow the flow.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Deny, _) | (_, Self::Deny) => Self::Deny,
            (Self::Undefined, _) | (_, Self::Undefined) => Self::Undefined,
            (Self::Allow, Self::Allow) => Self::Allow,
        }
    }
}

/// A reason of an [`Expectation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// No policy isolates the subject for this direction.
    NotIsolated(Direction),
    /// This rule allows the flow in its direction.
    AllowedBy {
        /// The rule.
        rule: RuleName,
        /// Whether the rule matches only because an `ipBlock` contains a pod's address. Implementations differ: the
        /// documentation means `ipBlock` for addresses outside the cluster, but Kubernetes' own tests require that it
        /// matches pods.
        pod_in_ip_block: bool,
    },
    /// This rule of a cluster-scoped policy denies the flow in its direction.
    DeniedBy(RuleName),
    /// This rule of a cluster-scoped policy passes the flow to the next tier. The reasons after this one are those of
    /// the next tier.
    PassedBy(RuleName),
    /// These policies isolate the subject for this direction, and none of their rules matches.
    Isolated {
        /// The direction.
        direction: Direction,
        /// All policies that isolate the subject, in order of their names.
        policies: Vec<PolicyName>,
    },
    /// A pod's own address is not filtered.
    OwnAddress,
    /// Traffic between a pod and its own node is always allowed.
    OwnNode,
    /// Neither end is in the pod network, so no policy applies.
    NoPodNetwork,
    /// The specification leaves the flow to the implementation, or a fact is not known.
    Undefined(UndefinedCause),
    /// The decision of one reading of the specification, if the readings disagree.
    Reading {
        /// What the reading says about each point on which the flow depends, or which endpoint a Service chooses.
        interpretations: Vec<String>,
        /// The decision under this reading.
        decision: Decision,
    },
}

impl Reason {
    /// Returns the direction to which the reason applies, or `None` if the reason is neither a rule nor isolation.
    pub fn direction(&self) -> Option<Direction> {
        if let Self::NotIsolated(direction) | Self::Isolated { direction, .. } = self {
            return Some(*direction);
        }
        self.rule().map(|rule| rule.direction)
    }

    /// Returns the rule that the reason names as the one that decides.
    pub(super) fn rule(&self) -> Option<&RuleName> {
        match self {
            Self::AllowedBy { rule, .. } | Self::DeniedBy(rule) | Self::PassedBy(rule) => Some(rule),
            Self::NotIsolated(_)
            | Self::Isolated { .. }
            | Self::OwnAddress
            | Self::OwnNode
            | Self::NoPodNetwork
            | Self::Undefined(_)
            | Self::Reading { .. } => None,
        }
    }

    /// Returns the rule of a cluster-scoped policy, if this reason is its denial.
    pub(super) fn denying_rule(&self) -> Option<&RuleName> {
        self.rule().filter(|_| matches!(self, Self::DeniedBy(_)))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotIsolated(direction) => write!(f, "no policy isolates for {direction}"),
            Self::AllowedBy { rule, pod_in_ip_block: false } => write!(f, "allowed by {rule}"),
            Self::AllowedBy { rule, pod_in_ip_block: true } => {
                write!(f, "allowed by {rule} (ipBlock covers the pod's address; implementations differ)")
            }
            Self::DeniedBy(rule) => write!(f, "denied by {rule}"),
            Self::PassedBy(rule) => write!(f, "left to the next tier by {rule}"),
            Self::Isolated { direction, policies } => {
                write!(f, "isolated for {direction} by {}; no rule matches", joined(policies, ", "))
            }
            Self::OwnAddress => f.write_str("a pod's own address is not filtered"),
            Self::OwnNode => f.write_str("a pod and its own node always reach each other"),
            Self::NoPodNetwork => f.write_str("neither end is in the pod network"),
            Self::Undefined(cause) => write!(f, "undefined: {cause}"),
            Self::Reading { interpretations, decision } => {
                write!(f, "if {}: {decision}", interpretations.join(", and "))
            }
        }
    }
}

//! How long changes took until they were in force.
//!
//! A cell's time starts with the change. It ends with the first probe that did what is expected, provided
//! that all later probes did, too. A step's time is that of its slowest cell, because the change was not in
//! force until then.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::enforcers::{Nodes, denying, nodes_of, only};
use super::judge::Cause;
use crate::policy::{Decision, Direction, Expectation};

/// What a step changed for a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// The cell was not denied before, and is denied now.
    Enforce,
    /// The cell was not allowed before, and is allowed now.
    Admit,
    /// The cell did not exist before. Its time includes the start of a pod, so it does not count for the
    /// step's time.
    Appear,
}

impl Change {
    /// Returns `enforce`, `admit` or `appear`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Admit => "admit",
            Self::Appear => "appear",
        }
    }

    /// Returns what changed. `None` if nothing changed, or nothing that packets could show.
    pub fn since(before: Option<&Before>, after: Decision) -> Option<Self> {
        match (before.map(|before| before.decision), after) {
            (None, Decision::Allow | Decision::Deny) => Some(Self::Appear),
            (Some(Decision::Allow | Decision::Undefined), Decision::Deny) => Some(Self::Enforce),
            (Some(Decision::Deny | Decision::Undefined), Decision::Allow) => Some(Self::Admit),
            (Some(Decision::Allow), Decision::Allow) | (Some(Decision::Deny), Decision::Deny) => None,
            (None | Some(_), Decision::Undefined) => None,
        }
    }
}

/// Expectation of a cell before a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Before {
    /// What packets had to do.
    pub decision: Decision,
    /// Directions in which policies denied the cell.
    denied: Vec<Direction>,
}

impl Before {
    /// Creates the expectation of a cell from what the policies promised and from the decision by which the
    /// cell was judged.
    pub fn new(promised: &Expectation, decision: Decision) -> Self {
        Self { decision, denied: denying(promised).collect() }
    }

    /// Returns whether at least one end denies the cell before and after a step. If the denial moves from one
    /// end to the other, the specification does not say which end learns of the change first.
    pub fn is_denied_at_one_end_still(&self, promised: &Expectation) -> bool {
        denying(promised).any(|direction| self.denied.contains(&direction))
    }
}

/// Whether a change was in force within its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Punctuality {
    /// The change was in force within the limit, or there is no limit.
    InTime,
    /// A probe that was sent after the limit showed the opposite.
    Late,
    /// No probe shows whether the change was in force before or after the limit.
    Unknown,
}

/// How long a step's change took to be in force at a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settling {
    /// Kind of the change.
    pub change: Change,
    /// Time from the change to the first probe that did what is expected, provided that all later probes did,
    /// too. For a denial, it ends when that probe was sent. For an allowance, it ends when the probe was
    /// answered. It includes the time to hand the change over.
    pub took: Duration,
    /// Time from the change until the last probe was sent that showed the opposite. `None` if none did. The
    /// change came into force between `opposed` and `took`.
    pub opposed: Option<Duration>,
    /// Node to which the time belongs: the only node that must deny the cell, or that had to deny it before.
    /// `None` if the node is not known, or if two nodes deny the cell: its packets then show only when the
    /// first of them enforced the change.
    pub node: Option<String>,
    /// Limit for the change.
    pub limit: Option<Duration>,
}

impl Settling {
    /// Returns the time of a cell that has settled.
    pub fn new(
        change: Change,
        took: Duration,
        before: Option<&Before>,
        expected: &Expectation,
        nodes: &Nodes,
    ) -> Self {
        let denied: Vec<Direction> = match change {
            Change::Enforce => denying(expected).collect(),
            Change::Admit => before.map(|before| before.denied.clone()).unwrap_or_default(),
            Change::Appear => Vec::new(),
        };
        let node = nodes_of(denied, nodes).and_then(only).map(str::to_owned);
        Self { change, took, opposed: None, node, limit: None }
    }

    /// Returns whether the change was in force in time, in the milliseconds that reports show. Nothing is
    /// known about the time between the last probe that showed the opposite and the first that did not.
    pub fn punctuality(&self) -> Punctuality {
        let is_after_limit =
            |time: Duration| self.limit.is_some_and(|limit| time.as_millis() > limit.as_millis());
        if self.opposed.is_some_and(is_after_limit) {
            Punctuality::Late
        } else if is_after_limit(self.took) {
            Punctuality::Unknown
        } else {
            Punctuality::InTime
        }
    }

    /// Returns why it is not known whether the change was in force in time. `None` if it is known.
    pub fn doubt(&self) -> Option<Cause> {
        let Self { took, opposed, limit, .. } = *self;
        match self.punctuality() {
            Punctuality::InTime | Punctuality::Late => None,
            Punctuality::Unknown => Some(Cause::PunctualityUnknown { limit: limit?, opposed, took }),
        }
    }
}

/// A value for new denials, and one for new allowances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PerChange<T> {
    /// Value for new denials.
    pub enforce: Option<T>,
    /// Value for new allowances.
    pub admit: Option<T>,
}

/// Limits for the time until changes are in force. `None` without a limit.
pub type Limits = PerChange<Duration>;

/// Time until the last new denial was enforced, and the last new allowance was admitted. `None` without such changes.
pub type TimeToSettle = PerChange<Duration>;

impl<T: Copy> PerChange<T> {
    /// Returns the value for a change. `None` for the appearance of a cell, which has no value.
    pub fn get(&self, change: Change) -> Option<T> {
        match change {
            Change::Enforce => self.enforce,
            Change::Admit => self.admit,
            Change::Appear => None,
        }
    }
}

impl TimeToSettle {
    pub(super) fn slowest<'a>(times: impl IntoIterator<Item = &'a Settling>) -> Self {
        times.into_iter().fold(Self::default(), Self::with)
    }

    pub(super) fn with(mut self, settling: &Settling) -> Self {
        let slowest = match settling.change {
            Change::Enforce => &mut self.enforce,
            Change::Admit => &mut self.admit,
            Change::Appear => return self,
        };
        *slowest = (*slowest).max(Some(settling.took));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{PolicyName, Reason};

    fn nodes() -> Nodes {
        Nodes { from: Some("one".to_owned()), to: Some("two".to_owned()) }
    }

    fn denied(directions: &[Direction]) -> Expectation {
        let policies = vec![PolicyName::Namespaced { namespace: "x".to_owned(), name: "deny".to_owned() }];
        let reason = |&direction: &Direction| Reason::Isolated { direction, policies: policies.clone() };
        Expectation { decision: Decision::Deny, reasons: directions.iter().map(reason).collect() }
    }

    /// Regression: a policy changed from isolating for egress to isolating for ingress. One node had
    /// processed the change, the other had not, and the cell was reported as a leak.
    #[test]
    fn a_denial_that_passes_from_end_to_end_is_denied_by_nobody_all_the_time() {
        use Direction::{Egress, Ingress};
        for (before, after, is_still) in [
            (&[Egress][..], &[Ingress][..], false),
            (&[Egress], &[Egress], true),
            (&[Egress, Ingress], &[Ingress], true),
            (&[], &[Ingress], false),
        ] {
            let before = Before::new(&denied(before), Decision::Deny);
            assert_eq!(before.is_denied_at_one_end_still(&denied(after)), is_still, "{before:?} {after:?}");
        }
    }

    fn allowed() -> Expectation {
        let reasons = Direction::ALL.map(Reason::NotIsolated).into();
        Expectation { decision: Decision::Allow, reasons }
    }

    fn settling(before: &Expectation, after: &Expectation, nodes: &Nodes) -> Settling {
        let before = Before::new(before, before.decision);
        let change = Change::since(Some(&before), after.decision).unwrap();
        Settling::new(change, Duration::from_secs(1), Some(&before), after, nodes)
    }

    #[test]
    fn a_change_is_a_new_denial_or_a_new_allowance() {
        use Decision::{Allow, Deny, Undefined};
        let before = |decision| Some(Before { decision, denied: Vec::new() });
        for (decision, after, change) in [
            (before(Allow), Deny, Some(Change::Enforce)),
            (before(Undefined), Deny, Some(Change::Enforce)),
            (before(Deny), Allow, Some(Change::Admit)),
            (before(Undefined), Allow, Some(Change::Admit)),
            (before(Allow), Allow, None),
            (before(Deny), Deny, None),
            (before(Deny), Undefined, None),
            (None, Deny, Some(Change::Appear)),
            (None, Allow, Some(Change::Appear)),
            (None, Undefined, None),
        ] {
            assert_eq!(Change::since(decision.as_ref(), after), change, "{decision:?} {after}");
        }
    }

    #[test]
    fn a_denial_is_the_doing_of_the_node_that_has_to_deny() {
        for (directions, node) in [
            (&[Direction::Egress][..], Some("one")),
            (&[Direction::Ingress], Some("two")),
            // The node that denies first hides the other one.
            (&Direction::ALL, None),
        ] {
            let enforced = settling(&allowed(), &denied(directions), &nodes());
            assert_eq!(enforced.node.as_deref(), node, "{directions:?}");
            let admitted = settling(&denied(directions), &allowed(), &nodes());
            assert_eq!(admitted.node.as_deref(), node, "{directions:?}");
        }
        let same = Nodes { to: nodes().from, ..nodes() };
        let both = settling(&allowed(), &denied(&Direction::ALL), &same);
        assert_eq!(both.node.as_deref(), Some("one"));
        let service = Nodes { to: None, ..nodes() };
        assert_eq!(settling(&allowed(), &denied(&[Direction::Ingress]), &service).node, None);
    }

    #[test]
    fn late_is_what_was_seen_not_to_be_in_force_after_the_limit() {
        let settling = settling(&allowed(), &denied(&[Direction::Ingress]), &nodes());
        for (opposed, limit, punctuality) in [
            (None, None, Punctuality::InTime),
            (Some(900), None, Punctuality::InTime),
            (Some(900), Some(1_000), Punctuality::InTime),
            (Some(900), Some(999), Punctuality::Unknown),
            (Some(900), Some(900), Punctuality::Unknown),
            (Some(900), Some(899), Punctuality::Late),
            // The first probe was sent after the limit.
            (None, Some(0), Punctuality::Unknown),
        ] {
            let (opposed, limit) = (opposed.map(Duration::from_millis), limit.map(Duration::from_millis));
            let settling = Settling { opposed, limit, ..settling.clone() };
            assert_eq!(settling.punctuality(), punctuality, "{opposed:?} {limit:?}");
        }
        let limits = Limits { enforce: Some(Duration::ZERO), admit: None };
        assert_eq!(limits.get(Change::Enforce), Some(Duration::ZERO));
        assert_eq!((limits.get(Change::Admit), limits.get(Change::Appear)), (None, None));
    }

    #[test]
    fn the_time_of_several_cells_is_that_of_the_slowest() {
        let base = settling(&allowed(), &denied(&[Direction::Ingress]), &nodes());
        let took = |change, millis| Settling { change, took: Duration::from_millis(millis), ..base.clone() };
        let times = [took(Change::Enforce, 7), took(Change::Enforce, 40), took(Change::Appear, 900)];
        let expected = TimeToSettle { enforce: Some(Duration::from_millis(40)), admit: None };
        assert_eq!(TimeToSettle::slowest(&times), expected);
    }
}

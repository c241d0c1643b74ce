//! The readings that the specification allows.
//!
//! If the specification leaves a point to the implementation, a flow is evaluated under each reading of that point.
//! The flow is undefined only if the readings disagree. A reading stands for one implementation: it decides a point
//! in the same way wherever the point occurs in a flow.

use std::cell::RefCell;

use super::expectation::{Decision, Expectation, Reason};
use super::undefined::UndefinedCause;

/// A point on which the specification allows two readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Point {
    /// Whether a pod with `hostNetwork` counts as a pod. The documentation allows exactly two behaviours, for peers
    /// and subjects alike: it counts as every other pod, or as its node.
    /// <https://kubernetes.io/docs/concepts/services-networking/network-policies/#networkpolicy-and-hostnetwork-pods>
    HostNetwork,
    /// Whether an `ipBlock` is compared with a Service's virtual address. Policies may be applied before or after the
    /// address is translated.
    ServiceAddress,
    /// Whether a port name is resolved on a pod that only an `ipBlock` matches.
    PortName,
    /// Whether a connection of a pod to itself through a Service is filtered.
    Hairpin,
    /// Whether cluster-scoped policies can deny packets from a pod to its own node.
    OwnNode,
}

impl Point {
    /// Returns what a reading says that answers the point with no, and one that answers it with yes.
    fn interpretations(self) -> [&'static str; 2] {
        match self {
            Self::HostNetwork => {
                ["a pod with hostNetwork counts as its node", "a pod with hostNetwork counts as a pod"]
            }
            Self::ServiceAddress => ["blocks see the endpoint's address", "blocks see the Service's address"],
            Self::PortName => {
                ["port names are not resolved for an ipBlock", "port names are resolved for an ipBlock"]
            }
            Self::Hairpin => ["a pod always reaches itself", "a pod is filtered on its way to itself"],
            Self::OwnNode => {
                ["a pod always reaches its own node", "cluster-scoped policies apply to a pod's own node"]
            }
        }
    }
}

/// A reading, as the points that it answers with yes. It answers all other points with no.
type Yes = Vec<Point>;

/// A reading, and a record of the points on which an evaluation depended.
#[derive(Debug, Default)]
pub(super) struct Reading {
    yes: Yes,
    asked: RefCell<Vec<(Point, UndefinedCause)>>,
}

impl Reading {
    /// Returns the reading's answer to a point, and records the point. `cause` is the reason why the flow depends on
    /// it.
    pub(super) fn of(&self, point: Point, cause: impl FnOnce() -> UndefinedCause) -> bool {
        self.asked.borrow_mut().push((point, cause()));
        self.yes.contains(&point)
    }
}

/// Evaluates a flow under every reading of the points on which the evaluation depends. A reading may lead to further
/// points, so this repeats until there are no new ones.
pub(super) fn under_all_readings(evaluate: impl Fn(&Reading) -> Expectation) -> Expectation {
    let mut points: Vec<Point> = Vec::new();
    loop {
        let mut asked = Vec::new();
        let mut answers = Vec::new();
        for yes in subsets(&points) {
            let reading = Reading { yes, asked: RefCell::default() };
            let expectation = evaluate(&reading);
            asked.extend(reading.asked.into_inner());
            answers.push((reading.yes, expectation));
        }
        let known = points.len();
        for (point, _) in &asked {
            if !points.contains(point) {
                points.push(*point);
            }
        }
        if points.len() == known {
            return combine(&points, answers, asked);
        }
    }
}

/// Returns all subsets, the empty one first.
fn subsets(points: &[Point]) -> Vec<Yes> {
    points.iter().fold(vec![Vec::new()], |subsets, point| {
        let with = |subset: &Yes| subset.iter().copied().chain([*point]).collect();
        let others: Vec<Yes> = subsets.iter().map(with).collect();
        subsets.into_iter().chain(others).collect()
    })
}

/// Combines the answers of all readings. If the readings agree, the result is their decision. If not, it is
/// undefined, with the points that decide and each reading of them as reasons.
fn combine(
    points: &[Point],
    answers: Vec<(Yes, Expectation)>,
    asked: Vec<(Point, UndefinedCause)>,
) -> Expectation {
    let decisive: Vec<Point> = points.iter().copied().filter(|point| decides(*point, &answers)).collect();
    if decisive.is_empty() {
        let decision = answers.first().map_or(Decision::Undefined, |(_, first)| first.decision);
        let all = match decision {
            Decision::Undefined => answers.len(),
            Decision::Allow | Decision::Deny => 1,
        };
        let reasons = answers.into_iter().take(all).flat_map(|(_, answer)| answer.reasons).collect();
        return Expectation { decision, reasons }.without_repetitions();
    }
    let asked = asked.into_iter().filter(|(point, _)| decisive.contains(point));
    let mut reasons: Vec<_> = asked.map(|(_, cause)| Reason::Undefined(cause)).collect();
    let mut readings = Vec::new();
    for (yes, answer) in answers {
        let interpretations = decisive.iter().map(|point| {
            let [no, is_so] = point.interpretations();
            if yes.contains(point) { is_so } else { no }.to_owned()
        });
        let interpretations = interpretations.collect();
        readings.push(Reason::Reading { interpretations, decision: answer.decision });
        if answer.decision == Decision::Undefined {
            reasons
                .extend(answer.reasons.into_iter().filter(|reason| matches!(reason, Reason::Undefined(_))));
        }
    }
    reasons.extend(readings);
    Expectation { decision: Decision::Undefined, reasons }.without_repetitions()
}

/// Returns whether two readings that differ only in this point have different answers.
fn decides(point: Point, answers: &[(Yes, Expectation)]) -> bool {
    answers.iter().filter(|(yes, _)| yes.contains(&point)).any(|(yes, answer)| {
        let without: Yes = yes.iter().copied().filter(|other| *other != point).collect();
        answers.iter().any(|(other, of_other)| *other == without && of_other.decision != answer.decision)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(decision: Decision) -> Expectation {
        Expectation { decision, reasons: vec![Reason::OwnAddress] }
    }

    fn hairpin() -> UndefinedCause {
        UndefinedCause::Hairpin("x/web".to_owned())
    }

    fn host() -> UndefinedCause {
        UndefinedCause::HostNetwork("x/host".to_owned())
    }

    #[test]
    fn readings_that_agree_decide() {
        let agreed = under_all_readings(|reading| {
            let _ = reading.of(Point::HostNetwork, host);
            answer(Decision::Deny)
        });
        assert_eq!(agreed, answer(Decision::Deny));
    }

    #[test]
    fn readings_that_disagree_are_listed_with_their_answers() {
        let differing = under_all_readings(|reading| {
            let _ = reading.of(Point::HostNetwork, host);
            match reading.of(Point::Hairpin, hairpin) {
                true => answer(Decision::Deny),
                false => answer(Decision::Allow),
            }
        });
        assert_eq!(differing.decision, Decision::Undefined);
        let reasons: Vec<_> = differing.reasons.iter().map(ToString::to_string).collect();
        assert_eq!(
            reasons,
            [
                "undefined: the pod may reach itself through Service x/web",
                "if a pod always reaches itself: allow",
                "if a pod is filtered on its way to itself: deny",
            ]
        );
    }

    #[test]
    fn a_point_that_only_another_reading_asks_about_is_found() {
        let nested = under_all_readings(|reading| {
            let is_open = reading.of(Point::Hairpin, hairpin) && reading.of(Point::HostNetwork, host);
            answer(if is_open { Decision::Allow } else { Decision::Deny })
        });
        assert_eq!(nested.decision, Decision::Undefined);
        let readings = nested.reasons.iter().filter(|reason| matches!(reason, Reason::Reading { .. }));
        assert_eq!(readings.count(), 4);
    }
}

//! Judges the evidence about a cell.

use std::net::IpAddr;
use std::time::Duration;

use super::observation::{Control, Observation};
use crate::policy::Decision;
use crate::world::Capability;

/// Verdict on a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The packets do what the policies say.
    Match,
    /// The policies deny packets that were delivered: a breach.
    Leak,
    /// The policies allow packets that were not delivered: an outage.
    Blocked,
    /// The policies allow packets that were not always delivered after settling.
    Flaky,
    /// The cell is undefined. The observation is recorded.
    Undefined,
    /// The environment lacks a capability that the scenario requires.
    Skipped(Capability),
    /// The cell could not be measured.
    Inconclusive(Cause),
}

/// Reason why a cell could not be measured.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Cause {
    /// The kernel lacks something that the probe needs.
    #[error("the kernel cannot do it: {0}")]
    Kernel(String),
    /// The destination's listener was not seen up, so a dropped probe proves nothing.
    #[error("the destination's own listener was not seen up")]
    NoControl,
    /// No canary got through between the same nodes when the probe was dropped.
    #[error("no canary got through between the same nodes at the same time")]
    NoPath,
    /// The network replaces the source address, and with that address the policies say something else.
    #[error("the network replaces the source address by {0}, for which the policies say something else")]
    Translated(IpAddr),
    /// Nothing was delivered between the same addresses after the policies were removed.
    #[error("it did not get through after the policies were removed either")]
    NoControlAfterwards,
    /// This node still enforced the state before the step at the deadline, and the change makes no difference
    /// to the cell.
    #[error("{0} still enforced the state before the step when the settle time was over")]
    NotInForce(String),
    /// The change came into force between two probes, or before the first probe. The limit is in the same
    /// interval.
    #[error(
        "no probe shows whether it was in force within {} ms: the first that did what is promised is from {} ms \
         after the change, {}", .limit.as_millis(), .took.as_millis(), last_opposed(*.opposed)
    )]
    PunctualityUnknown {
        /// Limit for the change.
        limit: Duration,
        /// Time from the change until the last probe was sent that showed the opposite. `None` if none did.
        opposed: Option<Duration>,
        /// Time from the change until the first probe that did what is expected was sent or answered.
        took: Duration,
    },
    /// Probes that counted as dropped arrived later.
    #[error("its probes arrived after their round")]
    LateArrival,
    /// There are too few dropped probes to exclude loss: the network loses too many packets, or there was no
    /// time for more.
    #[error("it could not be probed often enough to tell silence from loss")]
    Unconfirmed,
    /// The probe did not get through in the control round, before there were policies. So a dropped probe
    /// proves nothing.
    #[error("it did not get through before there were policies either")]
    NoBaseline,
    /// Nothing was delivered to or from an end, and no other sign shows that its network works.
    #[error("nothing shows that the network of {0} works, so its silence proves nothing")]
    NoSignOfLife(String),
    /// No answer came back in the control round either, before there were policies. So a missing answer proves nothing.
    #[error("it arrived, and no answer came back before there were policies either")]
    NoAnswerBefore,
    /// What the policies say depends on facts that are not known.
    #[error("what the policies say depends on what is not known: {0}")]
    FactsUnknown(String),
    /// An end has no address of the family.
    #[error("one end has no address of this family")]
    NoAddress,
    /// The environment cannot contain an end of the cell.
    #[error("{0}")]
    Absent(String),
    /// The environment lacks a capability that the scenario does not declare.
    #[error("{0}; a scenario that says `requires: [{1}]` skips it")]
    Undeclared(Box<Cause>, Capability),
    /// Another endpoint answered.
    #[error("answered by {0}")]
    Misdelivered(String),
    /// The DNS lookup failed, and not because of the network.
    #[error("the lookup failed: {0}")]
    DnsFailure(String),
    /// netproof or its agent failed.
    #[error("{0}")]
    ProbeError(String),
}

fn last_opposed(opposed: Option<Duration>) -> String {
    match opposed {
        Some(opposed) => format!("the last that did not from {} ms", opposed.as_millis()),
        None => "and there is none before".to_owned(),
    }
}

impl Verdict {
    /// Returns the name in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::Leak => "leak",
            Self::Blocked => "blocked",
            Self::Flaky => "flaky",
            Self::Undefined => "undefined",
            Self::Skipped(_) => "skipped",
            Self::Inconclusive(_) => "inconclusive",
        }
    }
}

/// Evidence about a cell in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Decision of the policies.
    pub decision: Decision,
    /// Last observation.
    pub observation: Observation,
    /// Whether allowed probes went missing more often than the network loses packets.
    pub differed: bool,
    /// Whether at least one denied probe was delivered after the settle deadline.
    pub leaked: bool,
    /// Whether the dropped probes may be loss, because there are fewer than the network requires.
    pub unconfirmed: bool,
    /// Endpoint that answered a denied probe after the settle deadline instead of the destination. It is kept
    /// even if later probes show something else.
    pub misdelivered: Option<String>,
    /// Controls for dropped probes.
    pub control: Control,
    /// What the control round showed, before there were policies. `None` if the cell did not exist then.
    pub baseline: Option<AtFirst>,
}

/// What a cell showed in the control round, before there were policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtFirst {
    /// Nothing got through.
    Silent,
    /// Probes arrived, and no answer came back.
    OneWay,
    /// Probes were answered.
    Answered,
}

/// Returns the verdict that the evidence proves.
pub fn judge(evidence: &Evidence) -> Verdict {
    let Evidence { decision, observation, differed, leaked, .. } = evidence;
    match decision {
        Decision::Undefined => return Verdict::Undefined,
        // One delivered packet is enough.
        Decision::Deny if *leaked => return Verdict::Leak,
        Decision::Deny | Decision::Allow => {}
    }
    let Some(agrees) = observation.agrees_with(*decision) else {
        return Verdict::Inconclusive(cause(observation));
    };
    // Only dropped probes need a control. A delivered probe proves itself.
    if observation.is_silence()
        && let Some(cause) = doubt(evidence)
    {
        return Verdict::Inconclusive(cause);
    }
    // Without a path back, what the policies allow looks the same.
    let is_one_way = *observation == Observation::OneWay && evidence.baseline == Some(AtFirst::OneWay);
    match (agrees, decision) {
        (true, Decision::Allow) if *differed => Verdict::Flaky,
        (false, Decision::Allow) if is_one_way => Verdict::Inconclusive(Cause::NoAnswerBefore),
        (true, _) => Verdict::Match,
        (false, Decision::Deny) => Verdict::Leak,
        (false, Decision::Allow | Decision::Undefined) => Verdict::Blocked,
    }
}

/// Returns why dropped probes prove nothing. `None` if they are proof. For a denied cell, a dead path
/// explains dropped probes. For an allowed cell, a dead path is an outage.
fn doubt(evidence: &Evidence) -> Option<Cause> {
    let Evidence { decision, unconfirmed, misdelivered, control, baseline, .. } = evidence;
    if let Some(by) = misdelivered {
        Some(Cause::Misdelivered(by.clone()))
    } else if !control.listener {
        Some(Cause::NoControl)
    } else if *baseline == Some(AtFirst::Silent) {
        Some(Cause::NoBaseline)
    } else if !control.path && *decision == Decision::Deny {
        Some(Cause::NoPath)
    } else {
        unconfirmed.then_some(Cause::Unconfirmed)
    }
}

fn cause(observation: &Observation) -> Cause {
    match observation {
        Observation::Misdelivered { by } => Cause::Misdelivered(by.clone()),
        Observation::DnsFailure { message } => Cause::DnsFailure(message.clone()),
        Observation::Unsupported { message } => Cause::Kernel(message.clone()),
        Observation::ProbeError { message } => Cause::ProbeError(message.clone()),
        Observation::Connected | Observation::Dropped | Observation::Rejected | Observation::OneWay => {
            Cause::ProbeError(observation.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(decision: Decision, observation: Observation) -> Evidence {
        let (differed, leaked, unconfirmed) = (false, false, false);
        let (misdelivered, control, baseline) = (None, Control::ALIVE, Some(AtFirst::Answered));
        Evidence { decision, observation, differed, leaked, unconfirmed, misdelivered, control, baseline }
    }

    #[test]
    fn delivery_is_compared_with_the_promise() {
        use Decision::{Allow, Deny, Undefined};
        use Observation::{Connected, Dropped, OneWay, Rejected};
        for (decision, observation, verdict) in [
            (Allow, Connected, Verdict::Match),
            (Allow, Dropped, Verdict::Blocked),
            (Allow, Rejected, Verdict::Blocked),
            (Allow, OneWay, Verdict::Blocked),
            (Deny, Connected, Verdict::Leak),
            (Deny, OneWay, Verdict::Leak),
            (Deny, Dropped, Verdict::Match),
            (Deny, Rejected, Verdict::Match),
            (Undefined, Connected, Verdict::Undefined),
            (Undefined, Dropped, Verdict::Undefined),
        ] {
            assert_eq!(judge(&evidence(decision, observation.clone())), verdict, "{decision} {observation}");
        }
    }

    /// For an allowed cell, a dead path is an outage. For a denied cell, it explains the silence.
    #[test]
    fn silence_without_a_control_proves_nothing() {
        let silent = |decision| evidence(decision, Observation::Dropped);
        for decision in [Decision::Allow, Decision::Deny] {
            let inconclusive = |evidence: &Evidence, cause| {
                assert_eq!(judge(evidence), Verdict::Inconclusive(cause), "{decision}");
            };
            let control = Control { listener: false, path: true };
            inconclusive(&Evidence { control, ..silent(decision) }, Cause::NoControl);
            let baseline = Some(AtFirst::Silent);
            inconclusive(&Evidence { baseline, ..silent(decision) }, Cause::NoBaseline);
            inconclusive(&Evidence { unconfirmed: true, ..silent(decision) }, Cause::Unconfirmed);
            let misdelivered = Some("y/c".to_owned());
            inconclusive(
                &Evidence { misdelivered, ..silent(decision) },
                Cause::Misdelivered("y/c".to_owned()),
            );
        }
        let control = Control { listener: true, path: false };
        let dead = |decision| judge(&Evidence { control, ..silent(decision) });
        assert_eq!(dead(Decision::Deny), Verdict::Inconclusive(Cause::NoPath));
        assert_eq!(dead(Decision::Allow), Verdict::Blocked);
    }

    #[test]
    fn some_evidence_needs_no_control_and_no_baseline() {
        let delivered = evidence(Decision::Deny, Observation::OneWay);
        let denied = evidence(Decision::Deny, Observation::Dropped);
        let allowed = evidence(Decision::Allow, Observation::Connected);
        for (evidence, verdict, why) in [
            (
                Evidence { control: Control::default(), baseline: Some(AtFirst::Silent), ..delivered },
                Verdict::Leak,
                "a delivery proves itself",
            ),
            (Evidence { leaked: true, ..denied.clone() }, Verdict::Leak, "one delivered packet is enough"),
            (Evidence { baseline: None, ..denied }, Verdict::Match, "a pod that came later has no baseline"),
            (Evidence { differed: true, ..allowed }, Verdict::Flaky, "only an allowed cell is flaky"),
        ] {
            assert_eq!(judge(&evidence), verdict, "{why}");
        }
    }

    /// Regression: the host of an external had no route back to pods. Datagrams to it arrived, and were called blocked.
    #[test]
    fn a_missing_answer_is_no_outage_if_none_came_without_policies() {
        let baseline = Some(AtFirst::OneWay);
        let one_way = |decision| judge(&Evidence { baseline, ..evidence(decision, Observation::OneWay) });
        assert_eq!(one_way(Decision::Allow), Verdict::Inconclusive(Cause::NoAnswerBefore));
        assert_eq!(one_way(Decision::Deny), Verdict::Leak);
        let silent = Evidence { baseline, ..evidence(Decision::Allow, Observation::Dropped) };
        assert_eq!(judge(&silent), Verdict::Blocked, "without policies, it arrived");
    }

    #[test]
    fn errors_are_inconclusive_and_never_a_pass() {
        let error = Observation::ProbeError { message: "the agent is gone".to_owned() };
        for decision in [Decision::Allow, Decision::Deny] {
            let cause = Cause::ProbeError("the agent is gone".to_owned());
            assert_eq!(judge(&evidence(decision, error.clone())), Verdict::Inconclusive(cause));
        }
    }
}

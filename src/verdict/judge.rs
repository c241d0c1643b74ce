//! From evidence to a verdict.

use std::fmt;

use super::observation::Observation;
use crate::policy::Decision;

/// What is true of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The packets do what the policies say.
    Match,
    /// Denied by the policies, and delivered: a breach.
    Leak,
    /// Allowed by the policies, and not delivered: an outage.
    Blocked,
    /// The answers differed after settling.
    Flaky,
    /// The specification does not say; what was seen is recorded.
    Undefined,
    /// It could not be measured.
    Inconclusive(Cause),
}

/// Why a cell could not be measured.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The kernel does not have something that the probe needs.
    Kernel(String),
    /// The destination's listener was not seen up, so silence proves nothing.
    NoControl,
    /// The probe did not get through before there were policies, so its failing now proves nothing.
    NoBaseline,
    /// An end has no address of the family.
    NoAddress,
    /// An end cannot be had where the packets are sent.
    Absent(String),
    /// Somebody else answered.
    Misdelivered(String),
    /// The lookup failed for its own reasons.
    DnsFailure(String),
    /// Something of our own failed.
    ProbeError(String),
}

impl Cause {
    /// Whether there is nothing here that could be measured, and so nothing to mend.
    pub fn is_unsupported(&self) -> bool {
        match self {
            Self::Kernel(_) | Self::NoAddress | Self::Absent(_) => true,
            Self::NoControl
            | Self::NoBaseline
            | Self::Misdelivered(_)
            | Self::DnsFailure(_)
            | Self::ProbeError(_) => false,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel(message) => write!(f, "the kernel cannot do it: {message}"),
            Self::NoControl => f.write_str("the destination's own listener was not seen up"),
            Self::NoBaseline => f.write_str("it did not get through before there were policies either"),
            Self::NoAddress => f.write_str("one end has no address of this family"),
            Self::Absent(why) => f.write_str(why),
            Self::Misdelivered(by) => write!(f, "answered by {by}"),
            Self::DnsFailure(message) => write!(f, "the lookup failed: {message}"),
            Self::ProbeError(message) => f.write_str(message),
        }
    }
}

impl Verdict {
    /// A word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::Leak => "leak",
            Self::Blocked => "blocked",
            Self::Flaky => "flaky",
            Self::Undefined => "undefined",
            Self::Inconclusive(_) => "inconclusive",
        }
    }
}

/// Everything that was found out about a cell in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// What the policies promise.
    pub decision: Decision,
    /// The last observation.
    pub observation: Observation,
    /// Whether the observations after settling differed.
    pub differed: bool,
    /// Whether the destination's listener was seen up in this step.
    pub control: bool,
    /// Whether the probe got through before there were policies; `None` if the cell did not exist
    /// then.
    pub baseline: Option<bool>,
}

/// What the evidence proves.
pub fn judge(evidence: &Evidence) -> Verdict {
    let Evidence { decision, observation, differed, control, baseline } = evidence;
    if let Observation::Unsupported { message } = observation {
        return Verdict::Inconclusive(Cause::Kernel(message.clone()));
    }
    let agrees = match (decision, observation.agrees_with(*decision)) {
        (Decision::Undefined, _) => return Verdict::Undefined,
        (Decision::Allow | Decision::Deny, Some(agrees)) => agrees,
        (Decision::Allow | Decision::Deny, None) => return Verdict::Inconclusive(cause(observation)),
    };
    // Only silence needs a control: what was delivered proves itself.
    let silent = matches!(observation, Observation::Dropped | Observation::Rejected);
    if silent && !control {
        return Verdict::Inconclusive(Cause::NoControl);
    }
    if silent && *baseline == Some(false) {
        return Verdict::Inconclusive(Cause::NoBaseline);
    }
    match (agrees, differed, decision) {
        (_, true, _) => Verdict::Flaky,
        (true, false, _) => Verdict::Match,
        (false, false, Decision::Deny) => Verdict::Leak,
        (false, false, Decision::Allow | Decision::Undefined) => Verdict::Blocked,
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
        Evidence { decision, observation, differed: false, control: true, baseline: Some(true) }
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

    #[test]
    fn silence_without_a_control_proves_nothing() {
        for decision in [Decision::Allow, Decision::Deny] {
            let without = Evidence { control: false, ..evidence(decision, Observation::Dropped) };
            assert_eq!(judge(&without), Verdict::Inconclusive(Cause::NoControl));
            let never = Evidence { baseline: Some(false), ..evidence(decision, Observation::Dropped) };
            assert_eq!(judge(&never), Verdict::Inconclusive(Cause::NoBaseline));
        }
    }

    #[test]
    fn a_delivery_needs_no_control() {
        let leak = Evidence {
            control: false,
            baseline: Some(false),
            ..evidence(Decision::Deny, Observation::OneWay)
        };
        assert_eq!(judge(&leak), Verdict::Leak);
    }

    #[test]
    fn a_pod_that_came_later_has_no_baseline() {
        let later = Evidence { baseline: None, ..evidence(Decision::Deny, Observation::Dropped) };
        assert_eq!(judge(&later), Verdict::Match);
    }

    #[test]
    fn errors_are_inconclusive_and_never_a_pass() {
        let error = Observation::ProbeError { message: "the agent is gone".to_owned() };
        for decision in [Decision::Allow, Decision::Deny] {
            let cause = Cause::ProbeError("the agent is gone".to_owned());
            assert_eq!(judge(&evidence(decision, error.clone())), Verdict::Inconclusive(cause));
        }
    }

    #[test]
    fn answers_that_differ_after_settling_are_flaky() {
        for observation in [Observation::Connected, Observation::Dropped] {
            let flaky = Evidence { differed: true, ..evidence(Decision::Deny, observation) };
            assert_eq!(judge(&flaky), Verdict::Flaky);
        }
    }
}

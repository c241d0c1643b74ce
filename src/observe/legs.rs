//! The legs of a probe, and what a client sees of them together.

use std::time::Duration;

use netproof_probe::wire::{Nonce, ProbeResult};

use super::batch::Failure;
use crate::policy::Decision;
use crate::verdict::{Control, Observation};

/// A leg's probe, and what its agent says of it.
pub(crate) struct LegSent {
    pub(crate) nonce: Nonce,
    /// When it left at the latest, since the change.
    pub(crate) left: Option<Duration>,
    pub(crate) result: Result<ProbeResult, Failure>,
}

/// What a leg's probe showed.
pub(crate) struct LegSighting {
    /// Its probe.
    pub(crate) nonce: Nonce,
    pub(crate) observation: Observation,
    pub(crate) left: Option<Duration>,
    pub(crate) took: Duration,
    /// What vouches for all who may answer.
    pub(crate) control: Control,
    /// Whether it is the last leg, and so no lookup of its name failed.
    pub(crate) is_last: bool,
    pub(crate) is_final: bool,
}

/// What a client sees of legs: it goes no further than to the first that fails.
pub(crate) fn until_failure(legs: impl Iterator<Item = LegSighting>) -> Option<LegSighting> {
    let mut legs = legs.peekable();
    while let Some(leg) = legs.next() {
        let is_last = legs.peek().is_none();
        if is_last {
            return Some(leg);
        }
        if let Some(observation) = without_name(&leg.observation) {
            return Some(LegSighting { observation, is_last: false, ..leg });
        }
    }
    None
}

/// What the failure of a lookup makes of the connection that needs it; `None` if it did not fail. Wherever
/// the question went, nothing was sent to the Service.
fn without_name(lookup: &Observation) -> Option<Observation> {
    match lookup {
        Observation::Connected => None,
        Observation::OneWay => Some(Observation::Dropped),
        Observation::DnsFailure { message } => {
            Some(Observation::ProbeError { message: format!("its name was not found: {message}") })
        }
        Observation::Dropped
        | Observation::Rejected
        | Observation::Misdelivered { .. }
        | Observation::Unsupported { .. }
        | Observation::ProbeError { .. } => Some(lookup.clone()),
    }
}

/// Returns what the silence of a denied connection shows if a lookup comes first. `is_last` is whether the lookup was
/// answered.
pub(crate) fn silence_after(lookup: Option<Decision>, is_last: bool, silence: Observation) -> Observation {
    match (lookup, is_last) {
        // What is denied was never sent.
        (Some(Decision::Allow), false) => {
            Observation::ProbeError { message: "its lookup was not answered".to_owned() }
        }
        // The denied lookup got through. That the connection is denied as well changes nothing.
        (Some(Decision::Deny), true) => {
            Observation::DnsFailure { message: "its lookup was answered".to_owned() }
        }
        (Some(Decision::Allow), true)
        | (Some(Decision::Deny), false)
        | (Some(Decision::Undefined) | None, _) => silence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg(observation: Observation) -> LegSighting {
        let (left, took) = (None, Duration::ZERO);
        let control = Control::ALIVE;
        let (is_last, is_final) = (true, false);
        LegSighting { nonce: Nonce(7), observation, left, took, control, is_last, is_final }
    }

    /// A refused lookup is proved by who answers lookups, wherever the connection would have led.
    #[test]
    fn the_control_is_that_of_the_leg_that_decides() {
        let control = |lookup| {
            let nowhere = LegSighting { control: Control::default(), ..leg(Observation::Rejected) };
            until_failure([leg(lookup), nowhere].into_iter()).unwrap().control == Control::ALIVE
        };
        assert!(control(Observation::Dropped));
        assert!(!control(Observation::Connected));
    }

    /// What a lookup and a connection show together, and whether it is the connection that shows it.
    fn together(lookup: Observation, connection: Observation) -> (Observation, bool) {
        let seen = until_failure([leg(lookup), leg(connection)].into_iter()).unwrap();
        (seen.observation, seen.is_last)
    }

    #[test]
    fn a_connection_by_name_ends_with_its_lookup() {
        use Observation::{Connected, Dropped, OneWay, Rejected};
        assert_eq!(together(Connected, Connected), (Connected, true));
        assert_eq!(together(Connected, Dropped), (Dropped, true));
        assert_eq!(together(Connected, OneWay), (OneWay, true));
        assert_eq!(together(Rejected, Connected), (Rejected, false));
        // The question arrived; nothing was sent to the Service.
        assert_eq!(together(OneWay, Connected), (Dropped, false));
        let failed = Observation::DnsFailure { message: "response code 3".to_owned() };
        let (observation, _) = together(failed, Dropped);
        assert_eq!(observation.agrees_with(Decision::Deny), None, "nothing was learned");
    }
}

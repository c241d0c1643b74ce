//! The legs of a probe, and what they show together.

use std::time::Duration;

use netproof_probe::wire::{Nonce, ProbeResult};

use super::batch::Failure;
use crate::policy::Decision;
use crate::verdict::{Control, Observation};

/// The probe of a leg, and its result.
pub(super) struct LegSent {
    pub(super) nonce: Nonce,
    /// The latest time at which it was sent, since the change.
    pub(super) left: Option<Duration>,
    pub(super) result: Result<ProbeResult, Failure>,
}

/// What the probe of a leg showed.
pub(super) struct LegSighting {
    pub(super) nonce: Nonce,
    pub(super) observation: Observation,
    pub(super) left: Option<Duration>,
    pub(super) took: Duration,
    /// What the controls showed of all endpoints that may answer.
    pub(super) control: Control,
    /// Whether it is the last leg, so that the lookup was answered.
    pub(super) is_last: bool,
    pub(super) is_final: bool,
}

/// Returns what a client sees of the legs: it stops at the first leg that fails.
pub(super) fn until_failure(legs: impl Iterator<Item = LegSighting>) -> Option<LegSighting> {
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

/// Returns what the failure of a lookup means for its connection. `None` if the lookup did not fail. If it
/// failed, nothing was sent to the Service, wherever the question went.
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

/// Returns what the silence of a denied connection shows if a lookup comes first. `is_last` tells whether the
/// lookup was answered.
pub(super) fn silence_after(lookup: Option<Decision>, is_last: bool, silence: Observation) -> Observation {
    match (lookup, is_last) {
        // The denied connection was never sent.
        (Some(Decision::Allow), false) => {
            Observation::ProbeError { message: "its lookup was not answered".to_owned() }
        }
        // The denied lookup got through, whether the connection is denied as well or not.
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

    /// The control of a refused lookup is that of the DNS server, wherever the connection would have led.
    #[test]
    fn the_control_is_that_of_the_leg_that_decides() {
        let control = |lookup| {
            let nowhere = LegSighting { control: Control::default(), ..leg(Observation::Rejected) };
            until_failure([leg(lookup), nowhere].into_iter()).unwrap().control == Control::ALIVE
        };
        assert!(control(Observation::Dropped));
        assert!(!control(Observation::Connected));
    }

    /// Returns what a lookup and a connection show together, and whether the connection shows it.
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
        // The question arrived, and nothing was sent to the Service.
        assert_eq!(together(OneWay, Connected), (Dropped, false));
        let failed = Observation::DnsFailure { message: "response code 3".to_owned() };
        let (observation, _) = together(failed, Dropped);
        assert_eq!(observation.agrees_with(Decision::Deny), None, "nothing was learned");
    }
}

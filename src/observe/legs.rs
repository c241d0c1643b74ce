//! The legs of a probe, and what they show together.

use netproof_probe::wire::Nonce;

use super::track::Sighting;
use crate::policy::Decision;
use crate::verdict::Observation;

/// The probe of a leg, and what it showed of the cell.
pub(super) type LegSighting = (Nonce, Sighting);

/// Returns what a client sees of the legs: it stops at the first leg that fails.
pub(super) fn until_failure(legs: impl Iterator<Item = LegSighting>) -> Option<LegSighting> {
    let mut legs = legs.peekable();
    while let Some((nonce, leg)) = legs.next() {
        if legs.peek().is_none() {
            return Some((nonce, leg));
        }
        if let Some(observation) = without_name(&leg.observation) {
            return Some((nonce, Sighting { observation, found_name: false, ..leg }));
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

/// Returns what the silence of a denied connection shows if a lookup comes first. `found_name` tells whether
/// the lookup was answered.
pub(super) fn silence_after(lookup: Option<Decision>, found_name: bool, silence: Observation) -> Observation {
    match (lookup, found_name) {
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
    use std::time::Duration;

    use super::*;
    use crate::verdict::Control;

    fn leg(observation: Observation, control: Control) -> LegSighting {
        (Nonce(7), Sighting { control, ..Sighting::new(0, observation, Duration::ZERO) })
    }

    /// The control of a refused lookup is that of the DNS server, wherever the connection would have led.
    #[test]
    fn the_control_is_that_of_the_leg_that_decides() {
        let control = |lookup| {
            let nowhere = leg(Observation::Rejected, Control::default());
            let lookup = leg(lookup, Control::ALIVE);
            until_failure([lookup, nowhere].into_iter()).unwrap().1.control == Control::ALIVE
        };
        assert!(control(Observation::Dropped));
        assert!(!control(Observation::Connected));
    }

    /// Returns what a lookup and a connection show together, and whether the connection shows it.
    fn together(lookup: Observation, connection: Observation) -> (Observation, bool) {
        let legs = [lookup, connection].map(|observation| leg(observation, Control::ALIVE));
        let (_, seen) = until_failure(legs.into_iter()).unwrap();
        (seen.observation, seen.found_name)
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

//! Settling in a network that loses packets: how many silences a denial needs, and which cells may only have
//! been unlucky.

use super::settle::{CONFIRMED, Prober, RISK, Settling};
use super::track::{Expected, Loss, chance};
use crate::policy::Decision;

/// How many probes of an allowed cell may always go missing before the cell is flaky, because every network
/// may lose a packet.
const LOST: u32 = 2;

impl<P: Prober> Settling<'_, P> {
    /// Returns how often a cell has to be silent until loss hardly explains it. The number grows with the
    /// share of probes that go missing although they should be answered.
    pub(super) fn required_drops(&self) -> u32 {
        let loss = self.suspected_loss();
        if loss <= 0.0 {
            return CONFIRMED;
        }
        let mut silences = 1;
        let mut risk = loss;
        while risk > RISK {
            risk *= loss;
            silences += 1;
        }
        silences.max(CONFIRMED)
    }

    /// Returns the loss to expect: twice the measured loss, because the measurement may have met a good
    /// moment.
    pub(super) fn suspected_loss(&self) -> f64 {
        (self.loss() * 2.0).min(0.9)
    }

    /// Returns the share of probes that go missing: the larger of the present share and the share since the
    /// beginning. If everything is denied, only the past shows it.
    pub(super) fn loss(&self) -> f64 {
        let own = self.own_loss();
        own.share().max(own.plus(self.deadlines.loss).share())
    }

    /// Returns what was lost in this state: probes of allowed cells, and canaries.
    pub(super) fn own_loss(&self) -> Loss {
        let tells = |expected: &Expected| expected.decision == Decision::Allow && expected.crosses;
        let telling = self.tracks.iter().zip(self.expected).filter(|(_, expected)| tells(expected));
        let losses = telling.map(|(track, _)| Loss { missed: track.missed, agreed: track.agreed });
        losses.fold(self.prober.lost_canaries(), Loss::plus)
    }

    /// Marks the cells whose silence may be loss: denied cells, and allowed cells that have answered before.
    pub(super) fn find_unconfirmed(&mut self) {
        let (required, loss) = (self.required_drops(), self.suspected_loss());
        for (track, expected) in self.tracks.iter_mut().zip(self.expected) {
            let is_silent = track.agrees(Decision::Deny) == Some(true);
            track.unconfirmed = is_silent
                && match expected.decision {
                    Decision::Deny => track.is_suspect || track.streak < required,
                    Decision::Allow => {
                        let may_be_loss = chance(track.missing, track.missing, loss) > RISK;
                        track.agreed > 0 && track.missing > 0 && may_be_loss
                    }
                    Decision::Undefined => false,
                };
        }
    }

    /// Marks the allowed cells that missed more probes than loss explains.
    pub(super) fn find_intermittent(&mut self) {
        let loss = self.suspected_loss();
        for (track, expected) in self.tracks.iter_mut().zip(self.expected) {
            let is_heard = track.agrees(expected.decision) == Some(true);
            // Include the probes after the last answer.
            let missed = track.missed + track.missing;
            let by_chance = chance(missed, missed + track.agreed, loss);
            if expected.decision == Decision::Allow && is_heard && missed > LOST && by_chance < RISK {
                track.differed = true;
            }
        }
    }
}

//! The log of arrivals.

use std::collections::{HashSet, VecDeque};

use crate::wire::{Arrival, ArrivalsResponse, Nonce};

/// Maximum number of arrivals that are kept until a client requests them.
const CAPACITY: usize = 32_768;

/// Maximum number of nonces that are remembered, so that each arrives only once.
const REMEMBERED: usize = 32_768;

/// Numbered arrivals. If no client requests them, the oldest are dropped. Only messages that are signed with the
/// run's key are recorded, so no other program can fill the log.
#[derive(Debug, Default)]
pub(super) struct ArrivalLog {
    /// Number of the first arrival that is still kept.
    first: u64,
    arrivals: VecDeque<Arrival>,
    seen: HashSet<Nonce>,
    /// The nonces in `seen`, oldest first.
    order: VecDeque<Nonce>,
}

impl ArrivalLog {
    /// Records an arrival. Returns `false` if its nonce has arrived before. Every probe has its own nonce, so this is
    /// a copy, made by the network or by a stranger who saw the probe.
    pub(super) fn record(&mut self, arrival: Arrival) -> bool {
        if !self.seen.insert(arrival.nonce) {
            return false;
        }
        self.order.push_back(arrival.nonce);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        if self.arrivals.len() == CAPACITY {
            self.arrivals.pop_front();
            self.first += 1;
        }
        self.arrivals.push_back(arrival);
        true
    }

    /// Returns the arrivals from number `since` on. Forgets the arrivals before it.
    pub(super) fn since(&mut self, since: u64) -> ArrivalsResponse {
        let lost = self.first.saturating_sub(since);
        let seen =
            usize::try_from(since.saturating_sub(self.first)).unwrap_or(usize::MAX).min(self.arrivals.len());
        self.arrivals.drain(..seen);
        self.first += seen as u64;
        ArrivalsResponse {
            arrivals: self.arrivals.iter().cloned().collect(),
            next: self.first + self.arrivals.len() as u64,
            lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Listener, Transport};

    fn arrival(nonce: u64) -> Arrival {
        let listener = Listener { transport: Transport::Udp, port: 80 };
        Arrival { nonce: Nonce(nonce), listener, source: "127.0.0.1:1".parse().unwrap() }
    }

    #[test]
    fn each_arrival_is_told_until_the_next_question() {
        let mut log = ArrivalLog::default();
        log.record(arrival(1));
        log.record(arrival(2));
        let first = log.since(0);
        assert_eq!((first.arrivals.len(), first.next, first.lost), (2, 2, 0));
        // If the response is lost, the same request gets the same response.
        assert_eq!(log.since(0).lost, 0);
        log.record(arrival(3));
        let second = log.since(first.next);
        assert_eq!(second.arrivals, [arrival(3)]);
        assert_eq!((second.next, second.lost), (3, 0));
    }

    #[test]
    fn a_copy_of_a_probe_does_not_arrive() {
        let mut log = ArrivalLog::default();
        assert!(log.record(arrival(1)));
        assert!(!log.record(arrival(1)));
        assert_eq!(log.since(0).arrivals, [arrival(1)]);
        // Not even after the arrival has been reported.
        log.since(1);
        assert!(!log.record(arrival(1)));
        for nonce in 0..2 * REMEMBERED as u64 {
            log.record(arrival(nonce));
        }
        assert_eq!((log.seen.len(), log.order.len()), (REMEMBERED, REMEMBERED));
    }

    #[test]
    fn a_full_log_says_how_much_it_lost() {
        let mut log = ArrivalLog::default();
        for nonce in 0..CAPACITY as u64 + 5 {
            log.record(arrival(nonce));
        }
        let response = log.since(0);
        assert_eq!((response.arrivals.len(), response.lost), (CAPACITY, 5));
        assert_eq!(response.arrivals[0].nonce, Nonce(5));
    }
}

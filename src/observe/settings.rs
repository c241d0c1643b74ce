//! How a network is observed: how long to wait, and how sure to be.

use std::time::Duration;

use crate::verdict::Limits;

/// How long an observation waits, and how many probes it needs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long the first pods may take until they reach each other.
    pub start: Duration,
    /// How long after a change observations may differ from what is expected.
    pub settle: Duration,
    /// How long after a change there may be no path to new pods and Services. Until then, silence proves
    /// nothing about them.
    pub propagation: Duration,
    /// The shortest time to wait for an answer.
    pub shortest_timeout: Duration,
    /// The longest time to wait for an answer.
    pub longest_timeout: Duration,
    /// How long to wait for late arrivals after the last denied probe.
    pub linger: Duration,
    /// The requested share of leaking connections, above 0 and below 1. It has to be found with 95 % at every
    /// point that enforces a policy. Without a request, a run tries to find `LEAK_SHARE`.
    pub leak_share: Option<f64>,
    /// How long changes may take to be in force without being called late.
    pub limits: Limits,
}

/// The share of leaking connections that a run tries to find with 95 %, unless the user requests another.
pub(super) const LEAK_SHARE: f64 = 0.1;

impl Settings {
    /// Returns the defaults for the lab. Its pods reach each other as soon as it has started.
    pub fn lab() -> Self {
        let settle = Duration::from_millis(400);
        Self {
            start: settle,
            settle,
            propagation: Duration::ZERO,
            shortest_timeout: Duration::from_millis(80),
            longest_timeout: Duration::from_secs(1),
            linger: Duration::from_millis(300),
            leak_share: None,
            limits: Limits::default(),
        }
    }

    /// Returns the defaults for a cluster. There, pods take time until they reach each other. Routes, address
    /// sets and virtual addresses take time until every node has them.
    pub fn cluster() -> Self {
        Self {
            start: Duration::from_secs(30),
            settle: Duration::from_secs(15),
            propagation: Duration::from_secs(2),
            linger: Duration::from_secs(2),
            ..Self::lab()
        }
    }

    /// Returns how long to wait for an answer, if `slowest` is the slowest answer of a round without loss.
    /// The timeout is much longer, because a denial is only as certain as the time for which it was silent.
    pub(super) fn timeout(&self, slowest: Option<Duration>) -> Duration {
        const MARGIN: u32 = 5;
        let wanted = slowest.map_or(self.longest_timeout, |slowest| slowest * MARGIN);
        wanted.clamp(self.shortest_timeout, self.longest_timeout.max(self.shortest_timeout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_follows_the_network_within_its_bounds() {
        let settings = Settings::lab();
        let timeout = |millis| settings.timeout(Some(Duration::from_millis(millis))).as_millis();
        assert_eq!((timeout(1), timeout(30), timeout(900)), (80, 150, 1000));
        assert_eq!(settings.timeout(None), Duration::from_secs(1));
    }
}

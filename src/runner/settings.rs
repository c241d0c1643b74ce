//! How a run is carried out.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::profile::Profile;
use crate::verdict::Limits;
use crate::world::Capability;

/// How patient a run is, how much it does at once, and what it leaves open.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long pods may take until they reach each other for the first time.
    pub start: Duration,
    /// How long after a change observations may differ from what is expected.
    pub settle: Duration,
    /// How long after a change new pods and Services may be without a way to them. Until then, silence
    /// proves nothing about them.
    pub wiring: Duration,
    /// The shortest time to wait for an answer.
    pub shortest_timeout: Duration,
    /// The longest time to wait for an answer.
    pub longest_timeout: Duration,
    /// How long to wait after the last denied probe for arrivals that are late.
    pub linger: Duration,
    /// The share of leaking connections, above 0 and below 1, that has to be found with 95 % at every point
    /// that enforces a policy, if one is asked for; `LEAK_SHARE` is tried for otherwise.
    pub leak_share: Option<f64>,
    /// How long changes may take to be in force without being called late.
    pub limits: Limits,
    /// What the place must have, whatever scenarios declare: a lack of it is a failure.
    pub required: BTreeSet<Capability>,
    /// How many scenarios to carry out at once. At least 1.
    pub parallel: usize,
    /// Whether to end after the first scenario that fails.
    pub fail_fast: bool,
    /// What is known of the network plugin.
    pub profiles: Vec<Profile>,
}

/// The share of leaking connections that a run tries to find with 95 %, if none is asked for.
pub(super) const LEAK_SHARE: f64 = 0.1;

impl Settings {
    /// Those of the lab, whose pods are there when it has started.
    pub fn lab() -> Self {
        let settle = Duration::from_millis(400);
        Self {
            start: settle,
            settle,
            wiring: Duration::ZERO,
            shortest_timeout: Duration::from_millis(80),
            longest_timeout: Duration::from_secs(1),
            linger: Duration::from_millis(300),
            leak_share: None,
            limits: Limits::default(),
            required: BTreeSet::new(),
            parallel: 1,
            fail_fast: false,
            profiles: Vec::new(),
        }
    }

    /// Those of a cluster, where pods take time until they reach each other, and routes, sets of addresses and
    /// virtual addresses until they are on all nodes.
    pub fn cluster() -> Self {
        Self {
            start: Duration::from_secs(30),
            settle: Duration::from_secs(15),
            wiring: Duration::from_secs(2),
            linger: Duration::from_secs(2),
            ..Self::lab()
        }
    }

    /// How long to wait for an answer where `slowest` were the slowest answers of a round without
    /// loss: far beyond them, because a denial is only as sure as the patience it outlasted.
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

//! The events that the lab can be interfered with.

/// An event that affects a running lab, and persists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interference {
    /// One node and its pods lose all packets from and to other nodes.
    PathDies,
    /// Nodes lose 20 % of the packets that they forward.
    Loss,
    /// One agent is suspended for some time. Its answers and the arrivals at it are known late.
    Delay,
    /// One agent is killed.
    AgentKilled,
}

impl Interference {
    /// All kinds of interference.
    pub const ALL: [Self; 4] = [Self::PathDies, Self::Loss, Self::Delay, Self::AgentKilled];

    /// Returns the kind that a seed stands for.
    pub fn from_seed(seed: u64) -> Self {
        match fastrand::Rng::with_seed(seed).u8(0..4) {
            0 => Self::PathDies,
            1 => Self::Loss,
            2 => Self::Delay,
            _ => Self::AgentKilled,
        }
    }

    /// Returns the name for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::PathDies => "path-dies",
            Self::Loss => "loss-of-20-percent",
            Self::Delay => "delay",
            Self::AgentKilled => "agent-killed",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn seeds_stand_for_all_kinds_and_always_for_the_same() {
        let of_seeds = || (0..50).map(|seed| Interference::from_seed(seed).name());
        assert!(of_seeds().eq(of_seeds()));
        let names: BTreeSet<_> = Interference::ALL.map(Interference::name).into();
        assert_eq!(of_seeds().collect::<BTreeSet<_>>(), names);
    }
}

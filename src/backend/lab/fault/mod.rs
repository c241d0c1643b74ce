//! Faults: ways in which the lab can enforce wrongly, to prove that netproof would notice it.
//!
//! Every fault is something that an implementation has done, or a wrong reading of an item of the semantics.
//! Faults are grouped by the place where they occur: the interpretation of a policy, the handling of changes,
//! the compilation of rules, the order of the tiers, or the path of packets.

mod following;
mod misread;
mod packets;
mod reading;
mod rewrite;
mod rules;
mod tiers;

use std::fmt;
use std::str::FromStr;

pub use following::StaleFault;
pub(super) use following::{EnforcerState, Follower};
pub use packets::DatapathFault;
pub use reading::InterpretationFault;
pub use rules::CompileFault;
pub use tiers::TierFault;

/// A named way to enforce wrongly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Policies are interpreted wrongly.
    Reading(InterpretationFault),
    /// Changes are not followed.
    Following(StaleFault),
    /// Policies are compiled to wrong rules.
    Rules(CompileFault),
    /// Cluster-scoped policies are evaluated in the wrong order.
    Tiers(TierFault),
    /// Packets bypass the rules, or meet wrong ones.
    Packets(DatapathFault),
}

/// The name, items and explanation of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// Name for `--fault`.
    pub name: &'static str,
    /// Items of `docs/semantics.md` that the fault violates.
    pub items: &'static [u8],
    /// What goes wrong.
    pub explanation: &'static str,
    /// Where it has been seen. `None` if it is only a wrong reading of its items.
    pub seen: Option<&'static str>,
}

/// Describes a fault that has been seen in an implementation.
const fn seen(
    name: &'static str,
    items: &'static [u8],
    explanation: &'static str,
    at: &'static str,
) -> Description {
    Description { name, items, explanation, seen: Some(at) }
}

/// Describes a wrong reading of some items.
const fn wrong(name: &'static str, items: &'static [u8], explanation: &'static str) -> Description {
    Description { name, items, explanation, seen: None }
}

impl Fault {
    /// Returns all faults, in the order in which they are listed.
    pub fn all() -> impl Iterator<Item = Self> {
        let packets = DatapathFault::ALL.into_iter().map(Self::Packets);
        let reading = InterpretationFault::ALL.into_iter().map(Self::Reading);
        let rules = CompileFault::ALL.into_iter().map(Self::Rules);
        let following = StaleFault::ALL.into_iter().map(Self::Following);
        let tiers = TierFault::ALL.into_iter().map(Self::Tiers);
        packets.chain(reading).chain(rules).chain(tiers).chain(following)
    }

    /// Returns the description of the fault.
    pub fn description(self) -> Description {
        match self {
            Self::Reading(misreading) => misreading.description(),
            Self::Following(lapse) => lapse.description(),
            Self::Rules(miscompiling) => miscompiling.description(),
            Self::Tiers(misordering) => misordering.description(),
            Self::Packets(hole) => hole.description(),
        }
    }

    /// Returns the name for `--fault`.
    pub fn name(self) -> &'static str {
        self.description().name
    }

    /// Returns whether the self-test tries the fault. It tries faults that a single probe per cell can show,
    /// in scenarios that every cluster accepts.
    ///
    /// The other faults have their own tests. Faults that affect a share of the connections show by chance,
    /// and late packets or rules show later. API servers that validate strictly refuse a CIDR with host bits,
    /// so no scenario of the library has one.
    pub fn is_in_selftest(self) -> bool {
        match self {
            Self::Packets(hole) => !matches!(
                hole,
                DatapathFault::LeaksTenPercent | DatapathFault::LeaksOnePercent | DatapathFault::DeliversLate
            ),
            Self::Reading(misreading) => misreading != InterpretationFault::HostBitsDropPolicy,
            Self::Following(lapse) => !matches!(
                lapse,
                StaleFault::DeletionOpensLate
                    | StaleFault::DeletionOpensBriefly
                    | StaleFault::UpdateOpensBriefly
            ),
            Self::Rules(_) | Self::Tiers(_) => true,
        }
    }

    /// Returns whether it is this datapath fault.
    pub(super) fn is_hole(self, hole: DatapathFault) -> bool {
        self == Self::Packets(hole)
    }
}

/// The explanation, the items, and where the fault has been seen.
impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let items: Vec<_> = self.items.iter().map(u8::to_string).collect();
        let noun = if items.len() == 1 { "item" } else { "items" };
        write!(f, "{} ({noun} {}", self.explanation, items.join(", "))?;
        if let Some(seen) = self.seen {
            write!(f, "; seen: {seen}")?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::all()
            .find(|fault| fault.name() == text)
            .ok_or_else(|| format!("there is no fault `{text}`: see `netproof run --list-faults`"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::scenario::SpecRule;

    #[test]
    fn faults_have_names_of_their_own_and_items_that_exist() {
        let names: BTreeSet<_> = Fault::all().map(Fault::name).collect();
        assert_eq!(names.len(), Fault::all().count());
        for fault in Fault::all() {
            assert_eq!(fault.name().parse(), Ok(fault));
            let Description { items, .. } = fault.description();
            assert!(!items.is_empty(), "{fault}");
            assert!(items.iter().all(|item| SpecRule::new((*item).into()).is_some()), "{fault}");
        }
    }
}

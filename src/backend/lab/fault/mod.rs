//! Ways in which the lab can be told to enforce wrongly, to prove that it would be noticed.
//!
//! Every fault is something that an implementation has done, or one wrong reading of one item of the
//! semantics. They are told apart by where they are made: in what a policy is taken to mean, in how
//! changes are followed, in the rules that are made of it, or in the packets that meet them.

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
    /// A policy is taken to mean something else.
    Reading(InterpretationFault),
    /// Changes are not followed.
    Following(StaleFault),
    /// The rules are not what the policies mean together.
    Rules(CompileFault),
    /// Cluster-scoped policies do not come in their order.
    Tiers(TierFault),
    /// Packets do not meet the rules, or meet those of others.
    Packets(DatapathFault),
}

/// What there is to know of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// The name by which it is asked for.
    pub name: &'static str,
    /// The items of `docs/semantics.md` that it gets wrong.
    pub items: &'static [u8],
    /// What goes wrong.
    pub explanation: &'static str,
    /// Where it has been seen; `None` if it is just a wrong reading of its items.
    pub seen: Option<&'static str>,
}

/// A fault that has been seen.
const fn seen(
    name: &'static str,
    items: &'static [u8],
    explanation: &'static str,
    at: &'static str,
) -> Description {
    Description { name, items, explanation, seen: Some(at) }
}

/// A wrong reading of some items.
const fn wrong(name: &'static str, items: &'static [u8], explanation: &'static str) -> Description {
    Description { name, items, explanation, seen: None }
}

impl Fault {
    /// All faults, in the order in which they are listed.
    pub fn all() -> impl Iterator<Item = Self> {
        let packets = DatapathFault::ALL.into_iter().map(Self::Packets);
        let reading = InterpretationFault::ALL.into_iter().map(Self::Reading);
        let rules = CompileFault::ALL.into_iter().map(Self::Rules);
        let following = StaleFault::ALL.into_iter().map(Self::Following);
        let tiers = TierFault::ALL.into_iter().map(Self::Tiers);
        packets.chain(reading).chain(rules).chain(tiers).chain(following)
    }

    /// What there is to know of it.
    pub fn description(self) -> Description {
        match self {
            Self::Reading(misreading) => misreading.description(),
            Self::Following(lapse) => lapse.description(),
            Self::Rules(miscompiling) => miscompiling.description(),
            Self::Tiers(misordering) => misordering.description(),
            Self::Packets(hole) => hole.description(),
        }
    }

    /// The name by which it is asked for.
    pub fn name(self) -> &'static str {
        self.description().name
    }

    /// Whether one look at each cell shows it, in scenarios that every cluster accepts: then the self-test tries it. The
    /// others have tests of their own. A share of connections shows by chance, and what is late shows later; a CIDR with
    /// host bits is refused by API servers that validate strictly, so no scenario of the library has one.
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

    /// Whether it is this hole.
    pub(super) fn is_hole(self, hole: DatapathFault) -> bool {
        self == Self::Packets(hole)
    }
}

/// What goes wrong, which items that is about, and where it has been seen.
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

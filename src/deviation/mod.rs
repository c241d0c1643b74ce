//! One catalogue of the ways in which an implementation can misread or miss a rule.
//!
//! Every [`Deviation`] is something that an implementation has done, or a wrong reading of spec rules
//! (the rules of `docs/semantics.md`). The lab enforces with a deviation as its [`Fault`], profiles describe
//! network plugins with some of them, and the fuzzer counts a spec rule as covered if a deviation from it changes an
//! answer. Most deviations are functions that change the policies to what they are taken to mean. The tables are
//! grouped by subject.

mod blocks;
mod changes;
mod combining;
mod directions;
mod empty;
mod follower;
mod packets;
mod peers;
mod port_names;
mod ports;
mod quirks;
mod rewrite;
mod rules;
mod selectors;
mod services;
mod subjects;
mod tiers;
mod unmatched;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::str::FromStr;

use k8s_openapi::api::networking::v1::NetworkPolicySpec;

use crate::policy::Cluster;
use follower::Memory;

pub(crate) use combining::CompileFault;
pub(crate) use follower::{EnforcerState, Follower, Opening};
pub(crate) use packets::{DatapathFault, Passing, Traffic};
pub(crate) use quirks::RouteQuirk;
pub(crate) use services::untranslated;

/// All tables, in the order in which faults and quirks are listed.
const TABLES: [&[Deviation]; 16] = [
    packets::TABLE,
    directions::TABLE,
    empty::TABLE,
    peers::TABLE,
    rules::TABLE,
    ports::TABLE,
    blocks::TABLE,
    unmatched::TABLE,
    subjects::TABLE,
    selectors::TABLE,
    combining::TABLE,
    port_names::TABLE,
    tiers::TABLE,
    changes::TABLE,
    quirks::TABLE,
    services::TABLE,
];

/// A way to misread or miss a rule.
pub struct Deviation {
    /// Name for `--fault`, or in profiles.
    pub name: &'static str,
    /// Spec rules that it violates.
    pub spec_rules: &'static [u8],
    /// The mistake, as a text for users.
    pub explanation: &'static str,
    /// Where it has been seen. `None` if it is only a wrong reading of its spec rules.
    pub seen: Option<&'static str>,
    /// The part of enforcement that it changes.
    pub effect: Effect,
    user: User,
}

/// The part of enforcement that a deviation changes, and how.
#[derive(Clone, Copy)]
pub enum Effect {
    /// The meaning of policies.
    Meaning(fn(&mut Cluster)),
    /// The meaning of policies, and whether they are in force. It depends on the form in which they were written.
    WrittenMeaning(fn(&mut NetworkPolicySpec) -> bool),
    /// Which changes are followed.
    Changes(fn(&mut Memory, &mut EnforcerState)),
    /// The rules to which policies are compiled.
    Rules(CompileFault),
    /// Which packets meet the rules.
    Packets(DatapathFault),
    /// How profiles evaluate a route.
    Route(RouteQuirk),
}

/// Who uses a deviation, apart from the fuzzer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum User {
    /// The lab offers it as a fault, and the self-test tries it.
    SelfTest,
    /// The lab offers it as a fault. The self-test does not try it, because a single probe per cell cannot show it, or
    /// because not every cluster accepts the scenarios that show it. The fault has its own tests.
    Lab,
    /// Profiles offer it as a quirk.
    Profiles,
    /// Only the fuzzer uses it.
    Fuzzer,
}

/// A deviation without an effect.
struct Named {
    name: &'static str,
    spec_rules: &'static [u8],
    explanation: &'static str,
    seen: Option<&'static str>,
    user: User,
}

impl Named {
    const fn new(
        name: &'static str,
        spec_rules: &'static [u8],
        seen: Option<&'static str>,
        user: User,
    ) -> Self {
        Self { name, spec_rules, explanation: "", seen, user }
    }

    const fn says(self, explanation: &'static str) -> Self {
        Self { explanation, ..self }
    }

    const fn by(self, effect: Effect) -> Deviation {
        let Self { name, spec_rules, explanation, seen, user } = self;
        Deviation { name, spec_rules, explanation, seen, effect, user }
    }
}

/// Names a fault that is a wrong reading of some spec rules.
const fn wrong(name: &'static str, spec_rules: &'static [u8]) -> Named {
    Named::new(name, spec_rules, None, User::SelfTest)
}

/// Names a fault that has been seen in an implementation.
const fn seen(name: &'static str, spec_rules: &'static [u8], at: &'static str) -> Named {
    Named::new(name, spec_rules, Some(at), User::SelfTest)
}

/// Names a deviation that only profiles and the fuzzer use.
const fn quirk(name: &'static str, spec_rules: &'static [u8]) -> Named {
    Named::new(name, spec_rules, None, User::Profiles)
}

/// Names a wrong reading of some spec rules that only the fuzzer uses.
const fn misread(name: &'static str, spec_rules: &'static [u8]) -> Named {
    Named::new(name, spec_rules, None, User::Fuzzer)
}

impl Deviation {
    /// Returns whether it changes what an enforcer knows of a cluster, and not only what it does with packets.
    pub(crate) fn changes_state(&self) -> bool {
        match self.effect {
            Effect::Meaning(_) | Effect::WrittenMeaning(_) | Effect::Changes(_) => true,
            Effect::Rules(_) | Effect::Packets(_) | Effect::Route(_) => false,
        }
    }

    /// Returns whether its effect depends on earlier states of the cluster.
    pub(crate) fn depends_on_changes(&self) -> bool {
        matches!(self.effect, Effect::Changes(_))
    }

    /// Returns whether the cells in which it shows can be predicted. Some deviations show only by chance, or later.
    pub fn is_predictable(&self) -> bool {
        match self.effect {
            Effect::Packets(DatapathFault::Opens(Traffic::Share(_)) | DatapathFault::DeliversLate) => false,
            Effect::Packets(_)
            | Effect::Meaning(_)
            | Effect::WrittenMeaning(_)
            | Effect::Changes(_)
            | Effect::Rules(_)
            | Effect::Route(_) => true,
        }
    }

    /// Returns all deviations.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        TABLES.into_iter().flatten()
    }

    /// Returns the deviations that profiles offer as quirks.
    pub fn quirks() -> impl Iterator<Item = &'static Self> {
        Self::all().filter(|deviation| deviation.user == User::Profiles)
    }

    /// Returns how profiles evaluate a route. `None` if the deviation is a change of the policies.
    pub fn route(&self) -> Option<RouteQuirk> {
        let Effect::Route(quirk) = self.effect else { return None };
        Some(quirk)
    }

    const fn not_in_selftest(self) -> Self {
        Self { user: User::Lab, ..self }
    }
}

/// Deviations are equal if they have the same name.
impl PartialEq for Deviation {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Deviation {}

impl Hash for Deviation {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl fmt::Debug for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The explanation, the spec rules, and where the deviation has been seen.
impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spec_rules: Vec<_> = self.spec_rules.iter().map(u8::to_string).collect();
        let noun = if spec_rules.len() == 1 { "spec rule" } else { "spec rules" };
        write!(f, "{} ({noun} {}", self.explanation, spec_rules.join(", "))?;
        if let Some(seen) = self.seen {
            write!(f, "; seen: {seen}")?;
        }
        f.write_str(")")
    }
}

/// A deviation with which the lab can enforce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault(&'static Deviation);

impl Fault {
    /// Returns all faults, in the order in which they are listed.
    pub fn all() -> impl Iterator<Item = Self> {
        Deviation::all().filter(|d| matches!(d.user, User::SelfTest | User::Lab)).map(Self)
    }

    /// Returns the deviation.
    pub fn deviation(self) -> &'static Deviation {
        self.0
    }

    /// Returns whether the self-test tries the fault.
    pub fn is_in_selftest(self) -> bool {
        self.user == User::SelfTest
    }

    /// Returns how rules are compiled wrongly. `None` if the fault is elsewhere.
    pub fn compile(self) -> Option<CompileFault> {
        let Effect::Rules(fault) = self.effect else { return None };
        Some(fault)
    }

    /// Returns how packets bypass the rules. `None` if the fault is elsewhere.
    pub fn datapath(self) -> Option<DatapathFault> {
        let Effect::Packets(fault) = self.effect else { return None };
        Some(fault)
    }
}

impl Deref for Fault {
    type Target = Deviation;

    fn deref(&self) -> &Deviation {
        self.0
    }
}

/// The name.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A text that is not the name of a fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no fault `{0}`: see `netproof run --list-faults`")]
pub struct UnknownFault(String);

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        Self::all().find(|fault| fault.name == text).ok_or_else(|| UnknownFault(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::scenario::SpecRule;

    #[test]
    fn deviations_have_names_of_their_own_and_spec_rules_that_exist() {
        let names: BTreeSet<_> = Deviation::all().map(|deviation| deviation.name).collect();
        assert_eq!(names.len(), Deviation::all().count());
        for Deviation { name, spec_rules, .. } in Deviation::all() {
            assert!(!spec_rules.is_empty(), "{name}");
            assert!(spec_rules.iter().all(|rule| SpecRule::new((*rule).into()).is_some()), "{name}");
        }
        for fault in Fault::all() {
            assert_eq!(fault.name.parse(), Ok(fault));
        }
    }
}

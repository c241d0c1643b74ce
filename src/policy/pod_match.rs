//! Matches a peer of a rule with one pod, whose labels and addresses may be known only in part.

use super::address::IpFamily;
use super::compiled::{Coverage, Matched, MatchedAtoms, MatchedClasses};
use super::engine::{Engine, PodId};
use super::evaluate::{Direct, Match, MatchedBy};
use super::expectation::{RuleName, UndefinedCause};

impl Engine {
    /// Returns whether a selector matches a pod, whose labels may be known only in part. No selector matches a pod
    /// that counts as its node.
    pub(super) fn selector_matches(
        &self,
        classes: &MatchedClasses,
        pod: PodId,
        flow: &Direct<'_>,
        name: impl Fn() -> RuleName,
    ) -> Match {
        let matched = self.class_of(pod).and_then(|class| classes.of(class));
        match matched.filter(|_| self.counts_as_pod(&self.pods[pod], flow)) {
            None => Match::No,
            Some(Matched::Surely) => Match::Yes(MatchedBy::Selector),
            Some(Matched::Perhaps(facts)) => Match::Unknown(UndefinedCause::LabelsUnknown {
                rule: name(),
                facts: self.facts.get(facts).clone(),
            }),
        }
    }

    /// Returns whether a block contains a pod's address, of which only ranges may be known.
    pub(super) fn block_matches_pod(
        &self,
        atoms: &MatchedAtoms,
        pod: PodId,
        family: IpFamily,
        name: impl Fn() -> RuleName,
    ) -> Match {
        let class = self.class_of(pod).map(|class| &self.classes[class]);
        match class.map_or(Coverage::None, |class| class.coverage(family, atoms)) {
            Coverage::All => Match::Yes(MatchedBy::IpBlock),
            Coverage::Some => Match::Unknown(UndefinedCause::AddressUnknown(name())),
            Coverage::None => Match::No,
        }
    }
}

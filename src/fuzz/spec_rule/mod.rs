//! Which spec rules random scenarios can decide, and which of them a case decides.

mod witnesses;

use std::collections::{BTreeSet, HashSet};

use super::dry_run::{Case, ask_cell, ask_engine};
use crate::deviation::{Deviation, EnforcerState, Follower};
use crate::plan::{Cell, Router, cells};
use crate::policy::{Engine, Expectation, Reason, UndefinedCause};
use crate::scenario::SpecRule;
use crate::world::{Action, EndpointName, PodChange, World};

use witnesses::WITNESSES;

/// Returns why random scenarios cannot decide a spec rule. `None` if they can.
pub(super) fn out_of_reach(rule: SpecRule) -> Option<&'static str> {
    match rule.number() {
        35 => Some("what becomes of an open connection is told, never judged"),
        37 => Some("ICMP is not probed, and every probed port has a listener"),
        _ => None,
    }
}

/// Returns the numbers of the spec rules that a case decides.
pub(super) fn decided(case: &Case) -> BTreeSet<u8> {
    let found = Found { case, answers: ask_engine(&case.world, &case.probes) };
    let witnessed = WITNESSES.iter().filter(|(_, is_decided)| is_decided(&found)).map(|(rule, _)| *rule);
    found.with_deviations(witnessed.collect())
}

/// Returns the numbers of the spec rules whose misreading would change the answer for this cell.
pub(super) fn decided_for(case: &Case, cell: &Cell) -> BTreeSet<u8> {
    let mut answers = ask_engine(&case.world, &case.probes);
    answers.retain(|(other, _)| other == cell);
    Found { case, answers }.with_deviations(BTreeSet::new())
}

/// A case, and the engine's answers for it.
struct Found<'a> {
    case: &'a Case,
    answers: Vec<(Cell, Expectation)>,
}

impl Found<'_> {
    /// Adds the spec rules of all deviations that change the answer for any cell.
    fn with_deviations(&self, mut spec_rules: BTreeSet<u8>) -> BTreeSet<u8> {
        let right = self.seen_by(None);
        for deviation in Deviation::all() {
            if !deviation.changes_state() || deviation.spec_rules.iter().all(|rule| spec_rules.contains(rule))
            {
                continue;
            }
            // Most deviations change nothing in a case, and evaluating a cluster takes much longer than comparing it.
            let state = self.seen_by(Some(deviation));
            if !state.is_same(&right)
                && self.differs(&World { cluster: state.cluster, ..self.case.world.clone() })
            {
                spec_rules.extend(deviation.spec_rules);
            }
        }
        spec_rules
    }

    /// Returns what an enforcer knows after the step.
    fn seen_by(&self, deviation: Option<&'static Deviation>) -> EnforcerState {
        let mut follower = Follower::new(deviation);
        if deviation.is_some_and(Deviation::depends_on_changes) {
            follower.see(&self.case.before.cluster, &self.case.before.written);
        }
        follower.see(&self.case.world.cluster, &self.case.world.written)
    }

    /// Returns whether another state changes the answer for any cell that it has, too.
    fn differs(&self, world: &World) -> bool {
        let engine = Engine::new(world.cluster.clone());
        let router = Router::new(world, &engine);
        let others: HashSet<_> = cells(world, &self.case.probes).into_iter().collect();
        self.any(|cell, answer| {
            others.contains(cell) && ask_cell(&engine, &router, cell).decision != answer.decision
        })
    }

    fn any(&self, is_it: impl Fn(&Cell, &Expectation) -> bool) -> bool {
        self.answers.iter().any(|(cell, answer)| is_it(cell, answer))
    }

    fn any_undefined(&self, is_it: impl Fn(&UndefinedCause) -> bool) -> bool {
        self.any(|_, answer| {
            answer.reasons.iter().any(|reason| matches!(reason, Reason::Undefined(cause) if is_it(cause)))
        })
    }

    fn added(&self) -> impl Iterator<Item = EndpointName> {
        self.case.actions.iter().filter_map(Action::pod_change).filter_map(|change| match change {
            PodChange::Added(pod) => Some(EndpointName::of_pod(pod)),
            PodChange::Ended(_) | PodChange::Removed(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use crate::fuzz::dry_run::cases;
    use crate::{scenario, source};

    /// A step may be wrong about the spec rules that it names. For each spec rule, at least two of the steps that name
    /// it must have a cell whose answer changes if the spec rule is misread.
    #[test]
    fn the_library_decides_the_spec_rules_that_it_names() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let reached = SpecRule::all().filter(|rule| out_of_reach(*rule).is_none());
        let mut deciding: BTreeMap<u8, usize> = reached.map(|rule| (rule.number(), 0)).collect();
        for scenario in scenario::load(&source::read(&[folder]).unwrap()).unwrap() {
            for (step, case) in scenario.steps.iter().zip(cases(&scenario).unwrap()) {
                let decided = decided(&case);
                for (rule, steps) in &mut deciding {
                    let is_named = step.spec_rules.iter().any(|named| named.number() == *rule);
                    *steps += usize::from(is_named && decided.contains(rule));
                }
            }
        }
        let too_few: Vec<_> = deciding.into_iter().filter(|(_, steps)| *steps < 2).collect();
        assert!(too_few.is_empty(), "spec rules, and the steps that decide them: {too_few:?}");
    }
}

//! Searches the hypotheses that predict the differing cells, and no others: alone, then in pairs, then one after the
//! other.

use std::collections::{BTreeMap, BTreeSet};

use super::enforcement::Enforcement;
use super::enforcer::{Enforcer, Prediction};
use super::evidence::{Evidence, Seen, Shown};
use super::ground::{Ground, Knowledge};
use super::hypothesis::{Hypothesis, Parts};
use super::result::{Cause, Diagnosis, Explanation, Unexplained};
use crate::profile::Profile;

/// Count of the best groups of hypotheses of which pairs are tried.
const PAIRED: usize = 12;

/// Returns what explains the differences that a run has shown. `None` if there are none. `profiles` are the built-in
/// ones, which an explanation names.
pub(crate) fn diagnose(
    evidence: &Evidence<'_>,
    enforcement: Enforcement,
    profiles: &[Profile],
) -> Option<Diagnosis> {
    let search = Search::new(evidence);
    if search.differing.is_empty() {
        return None;
    }
    let explained = search.explain();
    let covered: BTreeSet<usize> =
        explained.iter().flat_map(|(group, _)| group.trial.explained.clone()).collect();
    let explanations = explained.iter().map(|(group, cases)| search.explanation(group, cases, profiles));
    let explanations = explanations.collect();
    let unexplained = search.differing.iter().enumerate().filter(|(index, _)| !covered.contains(index));
    let unexplained = unexplained.map(|(_, differing)| {
        let (case, seen) = (differing.case, differing.seen);
        let (scenario, step) = (case.scenario.to_owned(), case.step.to_owned());
        Unexplained { scenario, step, cell: seen.cell.clone(), shown: seen.shown }
    });
    let unexplained = unexplained.collect();
    let blocked = search.differing.iter().filter(|it| it.seen.shown == Shown::Blocked).count();
    let leaks = search.differing.len() - blocked;
    Some(Diagnosis { leaks, blocked, enforcement, explanations, unexplained })
}

/// A cell that differs.
struct Differing<'a> {
    case: &'a super::evidence::Case<'a>,
    seen: Seen<'a>,
}

/// What hypotheses predict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Trial {
    /// Indices of the differing cells that they explain.
    explained: BTreeSet<usize>,
    /// Count of explained cells for which they predict nothing certain.
    uncertain: usize,
}

/// In how many steps hypotheses were tested.
#[derive(Debug, Clone, Copy, Default)]
struct Tested {
    differing: usize,
    agreeing: usize,
}

/// Hypotheses that explain the same cells. Each is one hypothesis, or two together.
#[derive(Debug, Clone)]
struct Group {
    trial: Trial,
    members: Vec<Vec<Hypothesis>>,
}

struct Search<'a> {
    /// The cases of each scenario, with the index of the first differing cell of each.
    scenarios: Vec<Vec<(Option<Ground<'a>>, usize)>>,
    differing: Vec<Differing<'a>>,
}

impl<'a> Search<'a> {
    fn new(evidence: &'a Evidence<'a>) -> Self {
        let mut differing = Vec::new();
        let mut scenarios = Vec::new();
        for cases in &evidence.scenarios {
            let mut earlier = None;
            let mut grounds = Vec::new();
            for case in cases {
                let first = differing.len();
                let own = case.cells.iter().filter(|seen| seen.differs());
                differing.extend(own.map(|seen| Differing { case, seen: *seen }));
                grounds.push((Ground::new(case, earlier), first));
                earlier = case.states.last().map(AsRef::as_ref).or(earlier);
            }
            scenarios.push(grounds);
        }
        Self { scenarios, differing }
    }

    /// Returns the hypotheses to try.
    fn hypotheses(&self) -> Vec<Hypothesis> {
        let worlds = self.differing.iter().filter(|it| it.seen.shown == Shown::Leak);
        let ends = worlds.filter_map(|it| Some((it.case.states.last()?, it.seen.cell)));
        let nodes = ends.flat_map(|(world, cell)| [world.node_of(&cell.from), world.node_of(&cell.to)]);
        let nodes: BTreeSet<_> = nodes.flatten().collect();
        Hypothesis::all(nodes)
    }

    /// Returns the groups that explain most, each with the cases that tested it.
    fn explain(&self) -> Vec<(Group, Tested)> {
        let mut groups = BTreeMap::<BTreeSet<usize>, Group>::new();
        for hypothesis in self.hypotheses() {
            let member = vec![hypothesis];
            let Some((trial, _)) = self.test(&member) else { continue };
            let group = groups.entry(trial.explained.clone());
            let group = group.or_insert_with(|| Group { trial: trial.clone(), members: Vec::new() });
            group.trial.uncertain = group.trial.uncertain.min(trial.uncertain);
            group.members.push(member);
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by_key(|group| (usize::MAX - group.trial.explained.len(), group.trial.uncertain));
        if let Some(best) = groups.first().filter(|group| self.is_whole(&group.trial)) {
            return self.tested(vec![best.clone()]);
        }
        if let Some(pair) = self.pair(&groups) {
            return self.tested(vec![pair]);
        }
        self.tested(cover(&groups))
    }

    fn is_whole(&self, trial: &Trial) -> bool {
        trial.explained.len() == self.differing.len()
    }

    fn tested(&self, groups: Vec<Group>) -> Vec<(Group, Tested)> {
        let sorted = groups.into_iter().map(|mut group| {
            group.members.sort_by_key(|member| member.iter().map(Hypothesis::breadth).max());
            let tested = group.members.first().and_then(|member| self.test(member));
            (group, tested.map(|(_, tested)| tested).unwrap_or_default())
        });
        sorted.collect()
    }

    /// Returns the pairs that explain every differing cell together. `None` if there is none.
    fn pair(&self, groups: &[Group]) -> Option<Group> {
        let best: Vec<_> = groups.iter().take(PAIRED).filter_map(|group| group.members.first()).collect();
        let mut pairs: Option<Group> = None;
        for (index, one) in best.iter().enumerate() {
            for other in best.iter().skip(index + 1) {
                let member = [one.as_slice(), other.as_slice()].concat();
                let Some((trial, _)) = self.test(&member).filter(|(trial, _)| self.is_whole(trial)) else {
                    continue;
                };
                let group = pairs.get_or_insert_with(|| Group { trial, members: Vec::new() });
                group.members.push(member);
            }
        }
        pairs
    }

    /// Returns what hypotheses predict. `None` if they explain nothing for certain, or if they predict a difference
    /// where there was none.
    fn test(&self, hypotheses: &[Hypothesis]) -> Option<(Trial, Tested)> {
        let parts = Parts::new(hypotheses);
        let mut trial = Trial::default();
        self.each_case(&parts, true, |enforcer, first| {
            trial.explain(enforcer, first);
            true
        });
        if trial.explained.len() == trial.uncertain {
            return None;
        }
        let mut tested = Tested::default();
        let is_unrefuted = self.each_case(&parts, false, |enforcer, first| {
            let cells = &enforcer.ground.case.cells;
            if cells.is_empty() {
                return true;
            }
            let end = first + cells.iter().filter(|seen| seen.differs()).count();
            match trial.explained.range(first..end).next() {
                Some(_) => tested.differing += 1,
                None => tested.agreeing += 1,
            }
            let is_right = enforcer.is_right();
            let mut all = cells.iter().enumerate();
            let refuting =
                all.find(|(index, seen)| !is_right && refutes(**seen, || enforcer.predict(*index)));
            if let Some((_, seen)) = refuting {
                let case = enforcer.ground.case;
                tracing::debug!(?hypotheses, scenario = case.scenario, step = case.step, cell = %seen.cell, "refuted");
            }
            refuting.is_none()
        });
        is_unrefuted.then_some((trial, tested))
    }

    /// Visits the cases whose states are known, until `visit` returns `false`. Returns whether it never did. With
    /// `only_differing`, visits only cases that differ.
    fn each_case(
        &self,
        parts: &Parts,
        only_differing: bool,
        mut visit: impl FnMut(&Enforcer<'_>, usize) -> bool,
    ) -> bool {
        for cases in &self.scenarios {
            let differs = |ground: &Option<Ground<'_>>| ground.as_ref().is_some_and(|it| it.case.differs());
            if only_differing && !cases.iter().any(|(ground, _)| differs(ground)) {
                continue;
            }
            let mut knowledge = Knowledge::new(parts);
            for (ground, first) in cases {
                let Some(ground) = ground else { continue };
                let states = ground.case.states.iter().map(|world| knowledge.see(world));
                let Some(state) = states.last() else { continue };
                if only_differing && !ground.case.differs() {
                    continue;
                }
                if !visit(&Enforcer::new(ground, parts, state), *first) {
                    return false;
                }
            }
        }
        true
    }

    fn explanation(&self, group: &Group, tested: &Tested, profiles: &[Profile]) -> Explanation {
        let own: Vec<_> =
            group.trial.explained.iter().filter_map(|index| self.differing.get(*index)).collect();
        let blocked = own.iter().filter(|it| it.seen.shown == Shown::Blocked).count();
        let scenarios: BTreeSet<_> = own.iter().map(|it| it.case.scenario).collect();
        let causes = |member: &Vec<Hypothesis>| member.iter().map(|it| cause(it, profiles)).collect();
        let mut members = group.members.iter().map(causes);
        Explanation {
            causes: members.next().unwrap_or_default(),
            alternatives: members.collect(),
            leaks: own.len() - blocked,
            blocked,
            uncertain: group.trial.uncertain,
            scenarios: scenarios.len(),
            differing_cases: tested.differing,
            agreeing_cases: tested.agreeing,
        }
    }
}

impl Trial {
    /// Adds the differing cells of a case that the enforcers explain. `first` is the index of the first of them.
    fn explain(&mut self, enforcer: &Enforcer<'_>, first: usize) {
        if enforcer.is_right() {
            return;
        }
        let cells = enforcer.ground.case.cells.iter().enumerate().filter(|(_, seen)| seen.differs());
        for (place, (index, seen)) in cells.enumerate() {
            let prediction = enforcer.predict(index);
            let is_certain = match seen.shown {
                Shown::Leak => prediction == Prediction::Delivered,
                Shown::LeakForAMoment => prediction == Prediction::ForAMoment,
                Shown::Blocked => prediction == Prediction::Dropped,
                Shown::AsPromised => continue,
            };
            if is_certain || prediction == Prediction::Unclear {
                self.explained.insert(first + place);
                self.uncertain += usize::from(!is_certain);
            }
        }
    }
}

/// Returns whether a cell that is as promised contradicts a prediction.
fn refutes(seen: Seen<'_>, predict: impl FnOnce() -> Prediction) -> bool {
    if seen.differs() {
        return false;
    }
    match predict() {
        Prediction::Delivered => !seen.is_allowed,
        Prediction::Dropped => seen.is_allowed,
        Prediction::ForAMoment | Prediction::Unclear => false,
    }
}

/// Returns groups that explain more and more cells, the one with most first.
fn cover(groups: &[Group]) -> Vec<Group> {
    let mut covered = BTreeSet::new();
    let mut chosen = Vec::new();
    loop {
        let adds = |group: &&Group| group.trial.explained.difference(&covered).count();
        // Of several with the most, the first one is the most certain.
        let best = groups.iter().rev().max_by_key(adds).filter(|group| adds(group) > 0);
        let Some(best) = best else { return chosen };
        covered.extend(best.trial.explained.iter().copied());
        chosen.push(best.clone());
    }
}

fn cause(hypothesis: &Hypothesis, profiles: &[Profile]) -> Cause {
    match hypothesis {
        Hypothesis::Known(deviation) => {
            let has = |profile: &&Profile| profile.deviations.iter().any(|it| it.quirk() == Some(deviation));
            Cause {
                name: deviation.name.to_owned(),
                explanation: deviation.explanation.to_owned(),
                spec_rules: deviation.spec_rules.to_vec(),
                seen: deviation.seen.map(str::to_owned),
                profiles: profiles.iter().filter(has).map(|profile| profile.name.clone()).collect(),
            }
        }
        Hypothesis::OpenNode(node) => Cause {
            name: "open-node".to_owned(),
            explanation: format!("nothing is enforced on node {node}"),
            spec_rules: vec![1, 4],
            seen: None,
            profiles: Vec::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::diagnosis::Case;
    use crate::plan::{Cell, Router, cells};
    use crate::policy::{Decision, Engine};
    use crate::scenario::Scenario;
    use crate::world::World;

    /// Only x/b may send to x/a, TCP from 80 to 82.
    const CONTENT: &str = "\
apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {name: s}
topology:
  namespaces:
  - name: x
    pods: [{name: a, labels: {app: a}}, {name: b, labels: {app: b}}, {name: c, labels: {app: c}}]
probes: [80/TCP, 81/TCP, 82/TCP, 83/TCP, 80/UDP]
steps:
- name: only b
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: p, namespace: x}
    spec:
      podSelector: {matchLabels: {app: a}}
      ingress: [{from: [{podSelector: {matchLabels: {app: b}}}], ports: [{port: 80, endPort: 82}]}]
";

    /// Returns the state after the step, with addresses.
    fn world() -> Arc<World> {
        let scenario = Scenario::from_text(CONTENT);
        let mut world = scenario.worlds().next().unwrap().1;
        for (i, pod) in world.cluster.pods.iter_mut().enumerate() {
            pod.addresses = vec![format!("10.244.1.{}", i + 1).parse().unwrap()];
        }
        Arc::new(world)
    }

    /// Returns the diagnosis of a run in which these cells were delivered, and all others denied or delivered as the
    /// policies promise: the names of the causes of each explanation with how many cells it explains, and the cells that
    /// nothing explains.
    fn diagnosed(delivered: &[&str], dropped: &[&str]) -> (Vec<(Vec<String>, usize)>, Vec<String>) {
        let states = [world()];
        let world = states[0].as_ref();
        let engine = Engine::new(world.cluster.clone());
        let router = Router::new(world, &engine);
        let all: Vec<Cell> = cells(world, &Scenario::from_text(CONTENT).probes);
        let seen = all.iter().filter_map(|cell| {
            let decision = router.route(cell)?.evaluate(&engine).decision;
            let name = cell.to_string();
            let shown = match decision {
                Decision::Deny if delivered.contains(&name.as_str()) => Shown::Leak,
                Decision::Allow if dropped.contains(&name.as_str()) => Shown::Blocked,
                Decision::Deny | Decision::Allow => Shown::AsPromised,
                Decision::Undefined => return None,
            };
            Some(Seen { cell, is_allowed: decision == Decision::Allow, shown })
        });
        let case = Case { scenario: "s", step: "only b", states: &states, cells: seen.collect() };
        let evidence = Evidence { scenarios: vec![vec![case]] };
        let diagnosis = diagnose(&evidence, Enforcement::default(), &[]).unwrap();
        assert_eq!((diagnosis.leaks, diagnosis.blocked), (delivered.len(), dropped.len()));
        let names = |explanation: &Explanation| {
            (explanation.causes.iter().map(|cause| cause.name.clone()).collect(), explanation.cells())
        };
        let unexplained = diagnosis.unexplained.iter().map(|it| it.cell.to_string()).collect();
        (diagnosis.explanations.iter().map(names).collect(), unexplained)
    }

    fn only(names: &[&str], cells: usize) -> (Vec<(Vec<String>, usize)>, Vec<String>) {
        (vec![(names.iter().map(|name| (*name).to_owned()).collect(), cells)], Vec::new())
    }

    const UDP: [&str; 2] = ["x/b → x/a 80/UDP", "x/c → x/a 80/UDP"];
    const RANGE: [&str; 2] = ["x/b → x/a 81/TCP", "x/b → x/a 82/TCP"];

    #[test]
    fn the_deviation_that_predicts_exactly_the_differing_cells_is_the_cause() {
        assert_eq!(diagnosed(&UDP, &[]), only(&["ignore-udp"], 2));
        assert_eq!(diagnosed(&[], &RANGE), only(&["endport-first-only"], 2));
        assert_eq!(diagnosed(&[], &RANGE[1..]), only(&["endport-exclusive"], 1));
    }

    /// `ignore-udp` would also let c pass. A denial that was measured counts against it.
    #[test]
    fn a_deviation_that_predicts_a_difference_where_there_was_none_is_no_cause() {
        assert_eq!(diagnosed(&UDP[..1], &[]), only(&["protocol-ignored"], 1));
    }

    #[test]
    fn two_deviations_explain_together_what_neither_explains_alone() {
        assert_eq!(diagnosed(&UDP, &RANGE), only(&["endport-first-only", "ignore-udp"], 4));
    }

    #[test]
    fn a_cell_that_no_deviation_predicts_is_listed() {
        let odd = "x/c → x/a 81/TCP";
        let (explanations, unexplained) = diagnosed(&[UDP[0], UDP[1], odd], &[]);
        assert_eq!((explanations, Vec::new()), only(&["ignore-udp"], 2));
        assert_eq!(unexplained, [odd]);
    }

    #[test]
    fn a_run_without_differences_has_no_diagnosis() {
        assert!(diagnose(&Evidence::default(), Enforcement::default(), &[]).is_none());
    }
}

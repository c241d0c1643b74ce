//! Evaluates all policies of one end for one flow.
//!
//! If a fact is not known (such as an address), or the order is not specified (two policies with the same priority),
//! several rules may decide: see [`FlowOutcome`]. If they lead to different decisions, the flow is undefined.

use super::engine::Engine;
use super::expectation::{Decision, Expectation, Reason};
use super::flow::{Direct, Endpoint};
use super::matched::{PolicyId, RuleRef, Selecting};
use super::reading::Point;
use super::rule::{Action, Direction};
use super::rule_match::{FlowWalk, Match, MatchedBy};
use super::undefined::UndefinedCause;
use super::unknown::FactsId;
use super::walk::{Outcome, Walk};

/// What a set of policies may do with a flow.
#[derive(Debug)]
pub(super) struct FlowOutcome {
    /// Rules that may decide.
    steps: Vec<Step>,
    /// Whether it is possible that no rule matches.
    falls_through: bool,
    /// Reasons why more than one result is possible.
    causes: Vec<UndefinedCause>,
}

/// A rule that may decide, or another reason that decides.
#[derive(Debug)]
struct Step {
    action: Action,
    reason: Reason,
    /// Whether the rule matches for certain.
    is_sure: bool,
}

impl Engine {
    /// Evaluates the policies of one end.
    pub(super) fn direction(&self, flow: &Direct<'_>, direction: Direction) -> Expectation {
        let cohort = match flow.ends(direction) {
            (Endpoint::Pod(subject), _) => self.cohort_of(subject),
            (Endpoint::Node(_) | Endpoint::External(_), _) => None,
        };
        let policies = cohort.map_or(&[][..], |cohort| self.selecting(self.class(cohort), direction));
        self.walk(&FlowWalk { engine: self, flow, direction }, policies)
    }

    /// Evaluates a flow between a pod and its own node. NetworkPolicies always allow it. For cluster-scoped policies,
    /// the specification does not say that.
    pub(super) fn own_node(&self, flow: &Direct<'_>) -> Expectation {
        let expectation = self.direction(&Direct { is_own_node: true, ..*flow }, Direction::Egress);
        let denying = expectation.reasons.iter().find_map(Reason::denying_rule);
        let Some(rule) = denying.filter(|_| expectation.decision == Decision::Deny) else {
            return expectation;
        };
        match flow.reading.of(Point::OwnNode, || UndefinedCause::OwnNodeDenied(rule.clone())) {
            true => expectation,
            false => Expectation::allow(Reason::OwnNode),
        }
    }
}

impl Walk for FlowWalk<'_> {
    type Outcome = FlowOutcome;
    type Answer = Expectation;

    fn direction(&self) -> Direction {
        self.direction
    }

    fn rule(&self, rule: RuleRef<'_>) -> FlowOutcome {
        let (is_sure, by, cause) = match self.rule_matches(rule) {
            Match::No => return FlowOutcome::unmatched(),
            Match::Yes(_) if self.is_exempt(rule) => return FlowOutcome::unmatched(),
            Match::Yes(by) => (true, by, None),
            Match::Unknown(cause) => (false, MatchedBy::Selector, Some(cause)),
        };
        let reason = match rule.rule.action {
            Action::Accept => {
                let is_pod = matches!(self.flow.ends(self.direction).1, Endpoint::Pod(_));
                let pod_in_ip_block = by == MatchedBy::IpBlock && is_pod && rule.rule.blocks_exclude_pods;
                Reason::AllowedBy { rule: rule.name(), pod_in_ip_block }
            }
            Action::Deny => Reason::DeniedBy(rule.name()),
            Action::Pass => Reason::PassedBy(rule.name()),
        };
        FlowOutcome {
            steps: vec![Step { action: rule.rule.action, reason, is_sure }],
            falls_through: !is_sure,
            causes: cause.into_iter().collect(),
        }
    }

    fn uncertain(&self, policy: &Selecting, mut outcome: FlowOutcome) -> FlowOutcome {
        if let Some(facts) = policy.how.facts()
            && !outcome.steps.is_empty()
        {
            outcome.steps.iter_mut().for_each(|step| step.is_sure = false);
            outcome.falls_through = true;
            outcome.causes.push(self.subject_unknown(policy.policy, facts));
        }
        outcome
    }

    fn open(&self) -> Expectation {
        Expectation::allow(match self.flow.is_own_node {
            true => Reason::OwnNode,
            false => Reason::NotIsolated(self.direction),
        })
    }

    fn conclude(&self, tier: FlowOutcome, later: impl FnOnce() -> Expectation) -> Expectation {
        tier.conclude(later)
    }

    /// If it is not known which policies select the subject, evaluates each list that may be the right one.
    fn union(&self, policies: &[Selecting], later: impl Fn() -> Expectation) -> Expectation {
        let mut alternatives =
            self.engine.alternatives(policies).map(|policies| self.isolated_by(&policies).conclude(&later));
        let Some(mut all) = alternatives.next() else { return later() };
        let perhaps = policies.iter().filter_map(|each| Some((each.policy, each.how.facts()?)));
        let perhaps: Vec<_> = perhaps.collect();
        if perhaps.is_empty() {
            return all;
        }
        let unselected = all.decision;
        for ((id, facts), selected) in perhaps.into_iter().zip(alternatives) {
            if selected.decision != unselected {
                all.decision = Decision::Undefined;
                all.reasons.push(Reason::Undefined(self.subject_unknown(id, facts)));
            }
            all.reasons.extend(selected.reasons);
        }
        if all.decision == Decision::Undefined {
            all.reasons.retain(|reason| matches!(reason, Reason::Undefined(_) | Reason::Reading { .. }));
        }
        all.without_repetitions()
    }
}

impl FlowWalk<'_> {
    /// Evaluates the policies of a union, which all select the subject.
    fn isolated_by(&self, policies: &[Selecting]) -> FlowOutcome {
        let (subject, _) = self.flow.ends(self.direction);
        if policies.is_empty() || !self.engine.is_filtered(subject, self.flow) {
            return FlowOutcome::unmatched();
        }
        if self.flow.is_own_node {
            return FlowOutcome::decided(Action::Accept, Reason::OwnNode);
        }
        if !self.flow.is_filtered_hairpin() {
            return FlowOutcome::decided(Action::Accept, Reason::OwnAddress);
        }
        let rules = policies.iter().flat_map(|each| self.engine.rules(each.policy, self.direction));
        FlowOutcome::any_of(rules.map(|rule| self.rule(rule))).then(|| {
            let names = policies.iter().map(|each| self.engine.policies[each.policy].name.clone());
            let reason = Reason::Isolated { direction: self.direction, policies: names.collect() };
            FlowOutcome::decided(Action::Deny, reason)
        })
    }

    /// Returns whether the reading exempts the flow from a rule, because it is a connection of a pod to itself through
    /// a Service. A union is exempt as a whole.
    fn is_exempt(&self, rule: RuleRef<'_>) -> bool {
        let may_be = rule.policy.may_exempt_hairpins && !self.engine.is_in_union(rule.id);
        may_be && !self.flow.is_filtered_hairpin()
    }

    fn subject_unknown(&self, policy: PolicyId, facts: FactsId) -> UndefinedCause {
        let name = self.engine.policies[policy].name.clone();
        UndefinedCause::SubjectUnknown(name, self.engine.facts.get(facts).clone())
    }
}

impl Outcome for FlowOutcome {
    fn unmatched() -> Self {
        Self { steps: Vec::new(), falls_through: true, causes: Vec::new() }
    }

    fn then(mut self, next: impl FnOnce() -> Self) -> Self {
        if self.falls_through {
            let next = next();
            self.steps.extend(next.steps);
            self.causes.extend(next.causes);
            self.falls_through = next.falls_through;
        }
        self
    }

    fn any_of(outcomes: impl Iterator<Item = Self>) -> Self {
        let mut any = Self::unmatched();
        let matching: Vec<_> = outcomes.filter(|outcome| !outcome.steps.is_empty()).collect();
        let mut actions = matching.iter().flat_map(|outcome| &outcome.steps).map(|step| step.action);
        let first = actions.next();
        if matching.len() > 1 && actions.any(|action| Some(action) != first) {
            let rules = matching.iter().filter_map(|outcome| outcome.steps.first()?.reason.rule().cloned());
            any.causes.push(UndefinedCause::Unordered(rules.collect()));
        }
        for outcome in matching {
            any.falls_through &= outcome.falls_through;
            any.steps.extend(outcome.steps);
            any.causes.extend(outcome.causes);
        }
        any
    }
}

impl FlowOutcome {
    fn decided(action: Action, reason: Reason) -> Self {
        let steps = vec![Step { action, reason, is_sure: true }];
        Self { steps, falls_through: false, causes: Vec::new() }
    }

    /// Returns what each rule decides if it comes first. Empty if the order of the rules is specified.
    fn readings(&self, later: Option<&Expectation>) -> Vec<Reason> {
        if !self.causes.iter().any(|cause| matches!(cause, UndefinedCause::Unordered { .. })) {
            return Vec::new();
        }
        let decision = |action| match action {
            Action::Accept => Decision::Allow,
            Action::Deny => Decision::Deny,
            Action::Pass => later.map_or(Decision::Undefined, |later| later.decision),
        };
        let reading = |step: &Step| {
            let interpretations = vec![format!("{} comes first", step.reason.rule()?)];
            Some(Reason::Reading { interpretations, decision: decision(step.action) })
        };
        self.steps.iter().filter_map(reading).collect()
    }

    /// Returns the expectation. `later` evaluates the tiers after this one, if they may decide.
    fn conclude(self, later: impl FnOnce() -> Expectation) -> Expectation {
        let does = |action| self.steps.iter().any(|step| step.action == action);
        let later = (self.falls_through || does(Action::Pass)).then(later);
        let later_is = |decision| later.as_ref().is_some_and(|later| later.decision == decision);
        let undecided = later_is(Decision::Undefined);
        let may_allow = does(Action::Accept) || later_is(Decision::Allow) || undecided;
        let may_deny = does(Action::Deny) || later_is(Decision::Deny) || undecided;
        if may_allow == may_deny {
            let readings = self.readings(later.as_ref());
            let of_later = later.filter(|_| undecided).into_iter().flat_map(|later| later.reasons);
            let causes = self.causes.into_iter().map(Reason::Undefined);
            let reasons = causes.chain(of_later).chain(readings).collect();
            return Expectation { decision: Decision::Undefined, reasons };
        }
        let decision = if may_allow { Decision::Allow } else { Decision::Deny };
        let sure = self.steps.into_iter().filter(|step| step.is_sure).map(|step| step.reason);
        let reasons = sure.chain(later.into_iter().flat_map(|later| later.reasons)).collect();
        Expectation { decision, reasons }
    }
}

//! The order of all policies for one flow: the Admin tier, NetworkPolicies, the Baseline tier.
//!
//! Follows the API documentation of `policy.networking.k8s.io`. What is not known (an address) or
//! not specified (which of two policies with the same priority comes first) makes several
//! [outcomes](Outcome) possible; where they lead to different decisions, the flow is undefined.

use super::cluster_policy::{Action, ClusterPolicyKind, Tier};
use super::compiled::{CompiledRule, FactsId, Matched, PolicyId};
use super::engine::{Engine, Isolating, TierPolicy};
use super::evaluate::{Direct, Endpoint, Match, MatchedBy, Via, service_name};
use super::expectation::{Decision, Expectation, PolicyName, Reason, RuleName, UndefinedCause};
use super::model::Direction;
use super::reading::{Interpretation, Point};
use super::rule_ports;

/// What policies may do with a flow.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The rules that may decide.
    steps: Vec<Step>,
    /// Whether it may be that none does.
    falls_through: bool,
    /// Why there is more than one possibility.
    causes: Vec<UndefinedCause>,
}

/// A rule that may decide.
#[derive(Debug)]
struct Step {
    action: Action,
    rule: RuleName,
    /// Whether it matches for certain.
    is_sure: bool,
}

impl Engine {
    /// What the policies of one end say, in their order: `network_policies` is asked about those that
    /// isolate it, and `open` is the reason why it is open where nothing says otherwise.
    pub(super) fn in_order(
        &self,
        flow: &Direct<'_>,
        direction: Direction,
        network_policies: impl Fn(&[PolicyId]) -> Expectation,
        open: Reason,
    ) -> Expectation {
        let (Endpoint::Pod(subject), _) = flow.ends(direction) else {
            return Expectation::allow(open);
        };
        let Some(class) = self.class_of(subject) else { return Expectation::allow(open) };
        let isolating = self.isolating(class, direction);
        let isolated_by = |policies: &[PolicyId]| {
            if policies.is_empty() || !self.counts_as_pod(&self.pods[subject], flow) {
                let baseline = self.tier(flow, direction, Tier::Baseline);
                baseline.conclude(|| Expectation::allow(open.clone()))
            } else {
                network_policies(policies)
            }
        };
        self.tier(flow, direction, Tier::Admin).conclude(|| {
            if isolating.perhaps.is_empty() {
                return isolated_by(&isolating.surely);
            }
            self.whichever_isolate(isolating, isolated_by)
        })
    }

    /// What is said of a subject of which it is not known which of some policies select it. `isolated_by` is
    /// asked about each set of policies that may be those that do.
    fn whichever_isolate(
        &self,
        isolating: &Isolating,
        isolated_by: impl Fn(&[PolicyId]) -> Expectation,
    ) -> Expectation {
        let mut alternatives = isolating.alternatives().map(|policies| isolated_by(&policies));
        let Some(mut all) = alternatives.next() else { return isolated_by(&[]) };
        let unselected = all.decision;
        for ((id, facts), selected) in isolating.perhaps.iter().zip(alternatives) {
            if selected.decision == unselected {
                all.reasons.extend(selected.reasons);
                continue;
            }
            all.decision = Decision::Undefined;
            all.reasons.push(Reason::Undefined(self.subject_unknown(*id, *facts)));
            all.reasons.extend(selected.reasons);
        }
        if all.decision == Decision::Undefined {
            all.reasons.retain(|reason| matches!(reason, Reason::Undefined(_) | Reason::Reading { .. }));
        }
        let mut seen = Vec::new();
        all.reasons.retain(|reason| {
            let is_new = !seen.contains(reason);
            if is_new {
                seen.push(reason.clone());
            }
            is_new
        });
        all
    }

    fn subject_unknown(&self, id: PolicyId, facts: FactsId) -> UndefinedCause {
        let policy = PolicyName::from(&self.policies[id].policy);
        UndefinedCause::SubjectUnknown { policy, facts: self.facts.get(facts).clone() }
    }

    /// Between a pod and its own node everything is allowed, as far as NetworkPolicies are concerned.
    /// Of cluster-scoped policies the specification does not say so.
    pub(super) fn own_node(&self, flow: &Direct<'_>) -> Expectation {
        let allowed = |_: &[PolicyId]| Expectation::allow(Reason::OwnNode);
        let expectation = self.in_order(flow, Direction::Egress, allowed, Reason::OwnNode);
        let denying = expectation.reasons.iter().find_map(Reason::denying_rule);
        let Some(rule) = denying.filter(|_| expectation.decision == Decision::Deny) else {
            return expectation;
        };
        match flow.reading.of(Point::OwnNode, || UndefinedCause::OwnNodeDenied(rule.clone())) {
            true => expectation,
            false => Expectation::allow(Reason::OwnNode),
        }
    }

    /// What the cluster-scoped policies of a tier may do.
    pub(super) fn tier(&self, flow: &Direct<'_>, direction: Direction, tier: Tier) -> Outcome {
        let (subject, _) = flow.ends(direction);
        let class = match subject {
            Endpoint::Pod(id) => self.class_of(id),
            Endpoint::Node(_) | Endpoint::External(_) => None,
        };
        let policies: Vec<_> =
            class.into_iter().flat_map(|class| self.cluster_policies(class, direction)).collect();
        let kinds = self.in_tier(&policies, tier).into_iter().map(|priorities| {
            priorities.into_iter().fold(Outcome::none(), |before, equals| {
                before.then(|| {
                    let each = equals.iter().map(|policy| self.cluster_policy(*policy, flow, direction));
                    Outcome::any_of(each.collect())
                })
            })
        });
        Outcome::any_of(kinds.collect())
    }

    /// The first rule that matches, if the policy selects the subject.
    fn cluster_policy(&self, policy: TierPolicy, flow: &Direct<'_>, direction: Direction) -> Outcome {
        let mut outcome = self.first_match(policy, flow, direction);
        match policy.selects {
            Matched::Perhaps(facts) if !outcome.steps.is_empty() => {
                outcome.steps.iter_mut().for_each(|step| step.is_sure = false);
                outcome.falls_through = true;
                outcome.causes.push(UndefinedCause::SubjectUnknown {
                    policy: PolicyName::from(&self.cluster_policies[policy.id].policy),
                    facts: self.facts.get(facts).clone(),
                });
            }
            Matched::Perhaps(_) | Matched::Surely => {}
        }
        outcome
    }

    /// The first rule that matches, and those before it that may.
    fn first_match(&self, policy: TierPolicy, flow: &Direct<'_>, direction: Direction) -> Outcome {
        let compiled = &self.cluster_policies[policy.id];
        let policy = &compiled.policy;
        let mut outcome = Outcome::none();
        for (index, (rule, written)) in
            compiled.rules(direction).iter().zip(policy.rules(direction)).enumerate()
        {
            let name = || RuleName { policy: PolicyName::from(policy), direction, index };
            let matched = match self.cluster_rule_matches(rule, flow, direction, name) {
                Match::Yes(_) if flow.is_exempt_hairpin(policy.name.kind) => Match::No,
                Match::Yes(_) => Match::Yes(MatchedBy::Selector),
                Match::Unknown(cause) => Match::Unknown(cause),
                Match::No => Match::No,
            };
            let step = |is_sure| Step { action: written.action, rule: name(), is_sure };
            match matched {
                Match::Yes(_) => {
                    outcome.steps.push(step(true));
                    outcome.falls_through = false;
                    return outcome;
                }
                Match::Unknown(cause) => {
                    outcome.steps.push(step(false));
                    outcome.causes.push(cause);
                }
                Match::No => {}
            }
        }
        outcome
    }

    fn cluster_rule_matches(
        &self,
        rule: &CompiledRule,
        flow: &Direct<'_>,
        direction: Direction,
        name: impl Fn() -> RuleName,
    ) -> Match {
        let (_, remote) = flow.ends(direction);
        let held_by = |port, receiver| rule_ports::held_by(&rule.ports, flow.protocol, port, receiver);
        let on_port = held_by(flow.port, self.pod_at(flow.destination));
        match (self.sees_virtual_address(rule, flow, direction, &name), on_port) {
            // Selectors see the endpoint, blocks the Service.
            (Some((address, port)), _)
                if let Some(by) = on_port.max(held_by(port, None))
                    && self.has_block_with(rule, address) =>
            {
                by.leave_open(Match::Yes(MatchedBy::IpBlock), name)
            }
            (Some(_), Some(by)) => by.leave_open(self.selectors_match(rule, remote, flow, &name), name),
            (None, Some(by)) => by.leave_open(self.peers_match(rule, remote, flow, &name), name),
            (Some(_) | None, None) => Match::No,
        }
    }
}

impl Direct<'_> {
    /// Whether a pod reaches itself through a Service, and the reading says that policies of this kind do not
    /// apply to that. ClusterNetworkPolicy applies to it as to anything else.
    fn is_exempt_hairpin(&self, kind: ClusterPolicyKind) -> bool {
        let Some(Via { service, .. }) = self.via.filter(|_| self.source == self.destination) else {
            return false;
        };
        match kind {
            ClusterPolicyKind::AdminNetworkPolicy | ClusterPolicyKind::BaselineAdminNetworkPolicy => {
                let cause = || UndefinedCause::Hairpin { service: service_name(service) };
                !self.reading.of(Point::Hairpin, cause)
            }
            ClusterPolicyKind::ClusterNetworkPolicy => false,
        }
    }
}

impl Outcome {
    /// No rule matches.
    fn none() -> Self {
        Self { steps: Vec::new(), falls_through: true, causes: Vec::new() }
    }

    /// Whether it may be that the policies after these decide.
    pub(super) fn goes_on(&self) -> bool {
        self.falls_through || self.steps.iter().any(|step| step.action == Action::Pass)
    }

    /// These policies, and where none of their rules matches, the next ones.
    fn then(mut self, next: impl FnOnce() -> Self) -> Self {
        if self.falls_through {
            let next = next();
            self.steps.extend(next.steps);
            self.causes.extend(next.causes);
            self.falls_through = next.falls_through;
        }
        self
    }

    /// Any of these, if they match: nothing says which.
    fn any_of(outcomes: Vec<Self>) -> Self {
        let mut any = Self::none();
        let matching = || outcomes.iter().filter(|outcome| !outcome.steps.is_empty());
        let mut actions: Vec<_> =
            matching().flat_map(|outcome| &outcome.steps).map(|step| step.action).collect();
        actions.sort_unstable();
        actions.dedup();
        if matching().count() > 1 && actions.len() > 1 {
            let rules = matching().filter_map(|outcome| outcome.steps.first());
            let rules = rules.map(|step| step.rule.clone()).collect();
            any.causes.push(UndefinedCause::Unordered { rules });
        }
        for outcome in outcomes {
            any.falls_through &= outcome.falls_through;
            any.steps.extend(outcome.steps);
            any.causes.extend(outcome.causes);
        }
        any
    }

    /// What each rule decides if it comes first, where nothing says which one does.
    fn readings(&self, rest: Option<&Expectation>) -> Vec<Reason> {
        if !self.causes.iter().any(|cause| matches!(cause, UndefinedCause::Unordered { .. })) {
            return Vec::new();
        }
        let decision = |action| match action {
            Action::Accept => Decision::Allow,
            Action::Deny => Decision::Deny,
            Action::Pass => rest.map_or(Decision::Undefined, |rest| rest.decision),
        };
        let reading = |step: &Step| Reason::Reading {
            interpretations: vec![Interpretation::ComesFirst(step.rule.clone())],
            decision: decision(step.action),
        };
        self.steps.iter().map(reading).collect()
    }

    /// The decision, with `rest` for what goes on.
    fn conclude(self, rest: impl FnOnce() -> Expectation) -> Expectation {
        let rest = self.goes_on().then(rest);
        let does = |action| self.steps.iter().any(|step| step.action == action);
        let rest_is = |decision| rest.as_ref().is_some_and(|rest| rest.decision == decision);
        let undecided = rest_is(Decision::Undefined);
        let may_allow = does(Action::Accept) || rest_is(Decision::Allow) || undecided;
        let may_deny = does(Action::Deny) || rest_is(Decision::Deny) || undecided;
        if may_allow == may_deny {
            let readings = self.readings(rest.as_ref());
            let of_rest = rest.filter(|_| undecided).into_iter().flat_map(|rest| rest.reasons);
            let causes = self.causes.into_iter().map(Reason::Undefined);
            let reasons = causes.chain(of_rest).chain(readings).collect();
            return Expectation { decision: Decision::Undefined, reasons };
        }
        let decision = if may_allow { Decision::Allow } else { Decision::Deny };
        let sure = self.steps.into_iter().filter(|step| step.is_sure).map(|step| match step.action {
            Action::Accept => Reason::AllowedBy { rule: step.rule, pod_in_ip_block: false },
            Action::Deny => Reason::DeniedBy(step.rule),
            Action::Pass => Reason::PassedBy(step.rule),
        });
        let reasons = sure.chain(rest.into_iter().flat_map(|rest| rest.reasons)).collect();
        Expectation { decision, reasons }
    }
}

//! Evaluates all policies for one flow in their order: the Admin tier, NetworkPolicies, the Baseline tier.
//!
//! The order follows the API documentation of `policy.networking.k8s.io`. If a fact is not known (such as an
//! address), or the order is not specified (two policies with the same priority), several rules may decide: see
//! [`Outcome`]. If they lead to different decisions, the flow is undefined.

use super::cluster_policy::{Action, ClusterPolicyKind, Tier};
use super::compiled::{CompiledRule, FactsId, Matched, PolicyId};
use super::engine::{Engine, Isolating, TierPolicy};
use super::evaluate::{Direct, Endpoint, Match, MatchedBy, Via, service_name};
use super::expectation::{Decision, Expectation, PolicyName, Reason, RuleName, UndefinedCause};
use super::model::Direction;
use super::reading::{Interpretation, Point};
use super::rule_ports;

/// What a set of policies may do with a flow.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Rules that may decide.
    steps: Vec<Step>,
    /// Whether it is possible that no rule matches.
    falls_through: bool,
    /// Reasons why more than one result is possible.
    causes: Vec<UndefinedCause>,
}

/// A rule that may decide.
#[derive(Debug)]
struct Step {
    action: Action,
    rule: RuleName,
    /// Whether the rule matches for certain.
    is_sure: bool,
}

impl Engine {
    /// Evaluates the policies of one end in the order of their tiers. `network_policies` evaluates the
    /// NetworkPolicies that isolate the end. `open` is the reason for an allowance if no policy decides.
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

    /// Evaluates a subject for which it is not known which policies select it. `isolated_by` evaluates each set of
    /// policies that may be the set that selects it.
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

    /// Evaluates a flow between a pod and its own node. NetworkPolicies always allow it. For cluster-scoped policies,
    /// the specification does not say that.
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

    /// Evaluates the cluster-scoped policies of a tier.
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

    /// Evaluates one policy. If the policy only may select the subject, no rule matches for certain.
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

    /// Returns the first rule that matches for certain, and the rules before it that may match.
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
            // Selectors are compared with the endpoint, and blocks with the Service.
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
    /// Returns whether the reading exempts the flow from policies of this kind, because it is a connection of a pod
    /// to itself through a Service. ClusterNetworkPolicy always applies.
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
    /// Creates the outcome in which no rule matches.
    fn none() -> Self {
        Self { steps: Vec::new(), falls_through: true, causes: Vec::new() }
    }

    /// Returns whether the policies after these may decide.
    pub(super) fn goes_on(&self) -> bool {
        self.falls_through || self.steps.iter().any(|step| step.action == Action::Pass)
    }

    /// Returns the outcome of these policies, followed by the next ones if it is possible that no rule matches.
    fn then(mut self, next: impl FnOnce() -> Self) -> Self {
        if self.falls_through {
            let next = next();
            self.steps.extend(next.steps);
            self.causes.extend(next.causes);
            self.falls_through = next.falls_through;
        }
        self
    }

    /// Combines the outcomes of policies that have no specified order. Any of their matching rules may decide.
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

    /// Returns what each rule decides if it comes first. Empty if the order of the rules is specified.
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

    /// Returns the decision. `rest` evaluates the policies after these, if they may decide.
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

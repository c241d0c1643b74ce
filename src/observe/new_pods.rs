//! The pods that a change added.
//!
//! A policy that was in force before a pod was added has to isolate the pod before it starts, while what the
//! pod is allowed may follow later. The documentation of Kubernetes says: "newly created pods selected by a
//! given NetworkPolicy will be isolated before they are started". So one delivered packet is a leak.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::finding::Finding;
use super::planned::{NewPod, PlannedCell, ProbedCell};
use crate::backend::Backend;
use crate::plan::{Cell, Route};
use crate::policy::{Cluster, Decision, Direction, Engine, Expectation, Pod, Reason};
use crate::verdict::TimeToSettle;
use crate::world::{Action, EndpointName, PodChange, World};

/// The pods that a change added.
pub(super) struct NewPods {
    /// When the agent of each pod first answered, since the change.
    ready_at: BTreeMap<EndpointName, Duration>,
    /// The policies from before the change with the pods from after it. `None` without new pods, or if
    /// anything else changes, too.
    before: Option<Engine>,
}

impl NewPods {
    /// Returns the pods that these actions added. They led from the cluster `before` to the world.
    pub(super) fn new(
        actions: &[Action],
        before: &Cluster,
        world: &World,
        backend: &impl Backend,
        changed: Instant,
    ) -> Self {
        let added = actions.iter().filter_map(Action::pod_change).filter_map(|change| match change {
            PodChange::Added(pod) if !pod.host_network => Some(EndpointName::of_pod(pod)),
            PodChange::Added(_) | PodChange::Ended(_) | PodChange::Removed(_) => None,
        });
        let ready_at = added.filter_map(|pod| {
            let since = backend.agent(&pod)?.since();
            Some((pod, since.saturating_duration_since(changed)))
        });
        // If policies or labels change as well, there may be a moment in which nothing denies.
        let is_only_pods = actions.iter().all(|action| action.pod_change().is_some());
        Self::ready_at(ready_at.collect(), is_only_pods.then_some(before), &world.cluster)
    }

    fn ready_at(ready_at: BTreeMap<EndpointName, Duration>, before: Option<&Cluster>, now: &Cluster) -> Self {
        let before = before.filter(|_| !ready_at.is_empty());
        let before = before.map(|before| Engine::new(merged(before, now, &ready_at)));
        Self { ready_at, before }
    }

    /// Marks the cells of the new pods.
    pub(super) fn mark(&self, plan: &mut [PlannedCell]) {
        for planned in plan {
            let ends = [&planned.cell.from, &planned.cell.to];
            let ready_at = ends.into_iter().filter_map(|end| self.ready_at.get(end)).max();
            let at_once = self.must_be_isolated(planned);
            planned.new_pod = ready_at.map(|ready_at| NewPod { ready_at: *ready_at, at_once });
        }
    }

    /// Returns whether a new pod at an end of the cell is isolated now, and was isolated by the policies
    /// before it was added already. Then the cell must not be delivered even once.
    fn must_be_isolated(&self, planned: &PlannedCell) -> bool {
        let PlannedCell { cell, expectation, .. } = planned;
        let (Some(before), Some(route)) = (&self.before, &planned.route) else { return false };
        let new: Vec<_> = Direction::ALL.into_iter().filter(|it| self.is_new(cell, route, *it)).collect();
        if new.is_empty() || expectation.decision != Decision::Deny {
            return false;
        }
        let then = route.evaluate(before);
        new.into_iter().any(|direction| isolates(expectation, direction) && isolates(&then, direction))
    }

    /// Returns whether all pods are new that a policy of this direction would isolate in a cell.
    fn is_new(&self, cell: &Cell, route: &Route, direction: Direction) -> bool {
        match direction {
            Direction::Egress => self.ready_at.contains_key(&cell.from),
            Direction::Ingress => {
                let mut servers = route.all_servers().map(|(server, _)| server);
                !route.servers.is_empty() && servers.all(|server| self.ready_at.contains_key(server))
            }
        }
    }
}

/// Returns whether a cell is denied because NetworkPolicies isolate an end in this direction.
fn isolates(expectation: &Expectation, direction: Direction) -> bool {
    let is_isolated = |reason: &Reason| match reason {
        Reason::Isolated { direction: of, .. } => *of == direction,
        // The specification promises immediate isolation only for NetworkPolicies.
        Reason::DeniedBy(_)
        | Reason::PassedBy(_)
        | Reason::NotIsolated(_)
        | Reason::AllowedBy { .. }
        | Reason::OwnAddress
        | Reason::OwnNode
        | Reason::NoPodNetwork
        | Reason::Undefined(_)
        | Reason::Reading { .. } => false,
    };
    expectation.decision == Decision::Deny && expectation.reasons.iter().any(is_isolated)
}

/// Returns how long it took from the first answer of the new pods until the slowest was isolated, and until
/// the slowest was admitted.
pub(super) fn times(cells: &[ProbedCell], found: &[Finding]) -> TimeToSettle {
    let mut times = TimeToSettle::default();
    for (ProbedCell { planned, .. }, Finding { result, .. }) in cells.iter().zip(found) {
        let (Some(new_pod), Some(settled)) = (planned.new_pod, &result.settled) else { continue };
        let slowest = match result.expected.decision {
            Decision::Deny if new_pod.at_once => &mut times.enforce,
            Decision::Allow => &mut times.admit,
            Decision::Deny | Decision::Undefined => continue,
        };
        *slowest = (*slowest).max(Some(settled.took.saturating_sub(new_pod.ready_at)));
    }
    times
}

/// Returns the policies and labels from before with the pods of now.
fn merged(before: &Cluster, now: &Cluster, new: &BTreeMap<EndpointName, Duration>) -> Cluster {
    let is_old = |pod: &Pod| !new.contains_key(&EndpointName::of_pod(pod));
    let Cluster { policies, cluster_policies, namespaces, pods: old_pods, .. } = before;
    let mut merged = now.clone();
    merged.policies.clone_from(policies);
    merged.cluster_policies.clone_from(cluster_policies);
    merged.namespaces.clone_from(namespaces);
    for pod in merged.pods.iter_mut().filter(|pod| is_old(pod)) {
        let old = old_pods.iter().find(|old| old.namespace == pod.namespace && old.name == pod.name);
        if let Some(old) = old {
            pod.labels.clone_from(&old.labels);
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::planned::plan;
    use crate::plan::Questions;
    use crate::scenario::Scenario;

    fn network_policy(spec: &str) -> String {
        format!(
            "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p, namespace: x}}, spec: {spec}}}"
        )
    }

    /// Returns the cells over TCP in which a new pod `x/new` has to be isolated at once. `first` and `second`
    /// are the policies of two steps. The second step adds the pod.
    fn isolated_at_once(first: &str, second: &str) -> Vec<String> {
        let apply = |spec: &str| match spec {
            "" => String::new(),
            spec => format!("apply: [{}]", network_policy(spec)),
        };
        isolated_after(&apply(first), &apply(second))
    }

    /// The same, with the actions of both steps.
    fn isolated_after(first: &str, second: &str) -> Vec<String> {
        let scenario = Scenario::from_text(&format!(
            "apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {{name: new-pod}}
topology: {{namespaces: [{{name: x, pods: [{{name: a, labels: {{app: a}}}}]}}]}}
probes: [80/TCP]
steps:
- name: before
  {first}
- name: the pod comes
  {second}
  addPod: [{{namespace: x, name: new, labels: {{app: new}}}}]
"
        ));
        let mut world = scenario.world.clone();
        let mut before = world.cluster.clone();
        for step in &scenario.steps {
            before = world.cluster.clone();
            step.actions.iter().for_each(|action| world.apply(action).unwrap());
        }
        for (pod, address) in world.cluster.pods.iter_mut().zip(["10.0.0.1", "10.0.0.2"]) {
            pod.addresses = vec![address.parse().unwrap()];
        }
        let ready_at = [(EndpointName::pod("x", "new"), Duration::from_millis(5))].into();
        let new_pods = NewPods::ready_at(ready_at, Some(&before), &world.cluster);
        let plan = plan(&world, Questions::AllPairs(&scenario.probes));
        let isolated = plan.iter().filter(|planned| new_pods.must_be_isolated(planned));
        isolated.map(|planned| planned.cell.to_string()).collect()
    }

    const EVERYBODY: &str = "{podSelector: {}, policyTypes: [Ingress, Egress]}";

    #[test]
    fn a_new_pod_must_be_isolated_by_what_was_in_force_before_it() {
        assert_eq!(isolated_at_once(EVERYBODY, ""), ["x/a → x/new 80/TCP", "x/new → x/a 80/TCP"]);
        let ingress = "{podSelector: {matchLabels: {app: new}}}";
        assert_eq!(isolated_at_once(ingress, ""), ["x/a → x/new 80/TCP"]);
    }

    #[test]
    fn what_comes_with_the_pod_may_take_its_time() {
        assert_eq!(isolated_at_once("", EVERYBODY), Vec::<String>::new());
        // Its egress was allowed, and is not any more.
        let allowed = "{podSelector: {}, policyTypes: [Ingress, Egress], egress: [{}], ingress: [{}]}";
        assert_eq!(isolated_at_once(allowed, EVERYBODY), Vec::<String>::new());
    }

    #[test]
    fn what_a_cluster_scoped_policy_allowed_before_may_take_its_time() {
        let spec = "{priority: 1, subject: {namespaces: {}}, ingress: [{action: Allow, from: [{namespaces: {}}]}], \
                    egress: [{action: Allow, to: [{namespaces: {}}]}]}";
        let admin = format!(
            "{{apiVersion: policy.networking.k8s.io/v1alpha1, kind: AdminNetworkPolicy, metadata: {{name: p}}, spec: {spec}}}"
        );
        let first = format!("apply: [{}, {admin}]", network_policy(EVERYBODY));
        let second = "delete: [{kind: AdminNetworkPolicy, name: p}]";
        assert_eq!(isolated_after(&first, second), Vec::<String>::new());
    }

    #[test]
    fn the_isolation_of_others_is_not_about_the_new_pod() {
        let other = "{podSelector: {matchLabels: {app: a}}, policyTypes: [Ingress, Egress]}";
        assert_eq!(isolated_at_once(other, ""), Vec::<String>::new());
    }
}

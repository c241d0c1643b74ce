//! The pods that came with a step.
//!
//! A policy that was in force before a pod came has to isolate it before it starts, while what the pod
//! is allowed may follow later ("newly created pods selected by a given NetworkPolicy will be
//! isolated before they are started", says the documentation of Kubernetes). So one packet too many
//! is a breach, and nothing to be waited for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::track::Track;
use crate::backend::Backend;
use crate::plan::{Cell, Route};
use crate::policy::{Cluster, Decision, Direction, Engine, Expectation, Pod, Reason};
use crate::verdict::{CellResult, TimeToSettle};
use crate::world::{Action, EndpointName, PodChange, World};

/// The pods that came with a step.
pub(crate) struct NewPods {
    /// When the agent of each first answered, since the change.
    born: BTreeMap<EndpointName, Duration>,
    /// The policies from before the step, over the pods from after it; `None` without new pods, or if the step
    /// changes anything else.
    before: Option<Engine>,
}

/// What is special about a cell of a new pod.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewPod {
    /// When the last new pod among its ends first answered, since the change.
    pub(crate) born: Duration,
    /// Whether it must not be delivered even once.
    pub(crate) at_once: bool,
}

impl NewPod {
    /// Records one delivery as a leak where there must be none. Returns how long after the new pod's first
    /// answer it was, if it was the last.
    pub(crate) fn record_leak(&self, track: &mut Track, decision: Decision) -> Option<Duration> {
        if !self.at_once {
            return None;
        }
        Some(track.record_leak(decision)?.saturating_sub(self.born))
    }
}

impl NewPods {
    /// Those of a step that led from one cluster to a state.
    pub(crate) fn new(
        actions: &[Action],
        before: Cluster,
        world: &World,
        backend: &impl Backend,
        changed: Instant,
    ) -> Self {
        let added = actions.iter().filter_map(Action::pod_change).filter_map(|change| match change {
            PodChange::Added(pod) if !pod.host_network => Some(EndpointName::pod(&pod.namespace, &pod.name)),
            PodChange::Added(_) | PodChange::Ended(_) | PodChange::Removed(_) => None,
        });
        let born: BTreeMap<_, _> = added
            .filter_map(|pod| {
                let since = backend.agent(&pod)?.since();
                Some((pod, since.saturating_duration_since(changed)))
            })
            .collect();
        let mut born_at = Self::born_at(born, before, &world.cluster);
        // Where policies or labels change as well, there may be a moment that nothing denies.
        if !actions.iter().all(|action| action.pod_change().is_some()) {
            born_at.before = None;
        }
        born_at
    }

    fn born_at(born: BTreeMap<EndpointName, Duration>, before: Cluster, now: &Cluster) -> Self {
        let before = (!born.is_empty()).then(|| Engine::new(merged(before, now, &born)));
        Self { born, before }
    }

    /// What is special about each of these cells.
    pub(crate) fn cells(
        &self,
        cells: &[Cell],
        routes: &[Option<Route>],
        expectations: &[Expectation],
    ) -> Vec<Option<NewPod>> {
        let cells = cells.iter().zip(routes).zip(expectations);
        let new_pod = |((cell, route), expected): ((&Cell, &Option<Route>), &Expectation)| {
            let born = [&cell.from, &cell.to].into_iter().filter_map(|end| self.born.get(end)).max();
            let at_once = route.as_ref().is_some_and(|route| self.must_be_isolated(route, cell, expected));
            born.map(|born| NewPod { born: *born, at_once })
        };
        cells.map(new_pod).collect()
    }

    /// Whether a new pod at an end of the cell is isolated now, by what was in force before it came
    /// already, so that it must not be delivered even once.
    fn must_be_isolated(&self, route: &Route, cell: &Cell, expected: &Expectation) -> bool {
        let Some(before) = &self.before else { return false };
        let is_new = |direction: Direction| match direction {
            Direction::Egress => self.born.contains_key(&cell.from),
            Direction::Ingress => {
                let mut servers = route.all_servers().map(|(server, _)| server);
                !route.servers.is_empty() && servers.all(|server| self.born.contains_key(server))
            }
        };
        let isolated = |expectation: &Expectation, direction: Direction| {
            let is_isolated = |reason: &Reason| match reason {
                Reason::Isolated { direction: of, .. } => *of == direction,
                // What the specification says of new pods, it says of NetworkPolicies.
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
        };
        let new: Vec<Direction> = Direction::ALL.into_iter().filter(|direction| is_new(*direction)).collect();
        if new.is_empty() || expected.decision != Decision::Deny {
            return false;
        }
        let then = route.evaluate(before);
        new.into_iter().any(|direction| isolated(expected, direction) && isolated(&then, direction))
    }
}

/// How long it took since new pods first answered until the slowest was isolated, and until it was
/// admitted.
pub(crate) fn times<'a>(cells: impl Iterator<Item = (&'a CellResult, Option<NewPod>)>) -> TimeToSettle {
    let mut times = TimeToSettle::default();
    for (result, new_pod) in cells {
        let (Some(NewPod { born, at_once }), Some(settled)) = (new_pod, &result.settled) else { continue };
        let slowest = match result.expected.decision {
            Decision::Deny if at_once => &mut times.enforce,
            Decision::Allow => &mut times.admit,
            Decision::Deny | Decision::Undefined => continue,
        };
        *slowest = (*slowest).max(Some(settled.took.saturating_sub(born)));
    }
    times
}

/// The policies and labels of before, with the pods of now.
fn merged(before: Cluster, now: &Cluster, born: &BTreeMap<EndpointName, Duration>) -> Cluster {
    let is_old = |pod: &Pod| !born.contains_key(&EndpointName::pod(&pod.namespace, &pod.name));
    let Cluster { policies, cluster_policies, namespaces, pods: old_pods, .. } = before;
    let mut merged = Cluster { policies, cluster_policies, namespaces, ..now.clone() };
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
    use crate::plan::{Router, cells};
    use crate::scenario::Scenario;

    /// The cells over TCP that a new pod `x/new` has to be isolated in at once, after the second step of a
    /// scenario.
    fn isolated_at_once(first: &str, second: &str) -> Vec<String> {
        let policy = |text: &str| {
            format!(
                "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p, namespace: x}}, spec: {text}}}"
            )
        };
        let apply =
            |text: &str| if text.is_empty() { String::new() } else { format!("apply: [{}]", policy(text)) };
        isolated_after(&apply(first), &apply(second))
    }

    /// The same, with what happens in both steps.
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
        let born = [(EndpointName::pod("x", "new"), Duration::from_millis(5))].into();
        let new_pods = NewPods::born_at(born, before, &world.cluster);
        let engine = Engine::new(world.cluster.clone());
        let router = Router::new(&world, &engine);
        let is_isolated = |cell: &Cell| {
            let route = router.route(cell).unwrap();
            new_pods.must_be_isolated(&route, cell, &route.evaluate(&engine))
        };
        let cells = cells(&world, &scenario.probes);
        cells.iter().filter(|cell| is_isolated(cell)).map(ToString::to_string).collect()
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
        let network_policy = format!(
            "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p, namespace: x}}, spec: {EVERYBODY}}}"
        );
        let spec = "{priority: 1, subject: {namespaces: {}}, ingress: [{action: Allow, from: [{namespaces: {}}]}], \
                    egress: [{action: Allow, to: [{namespaces: {}}]}]}";
        let admin = format!(
            "{{apiVersion: policy.networking.k8s.io/v1alpha1, kind: AdminNetworkPolicy, metadata: {{name: p}}, spec: {spec}}}"
        );
        let first = format!("apply: [{network_policy}, {admin}]");
        let second = "delete: [{kind: AdminNetworkPolicy, name: p}]";
        assert_eq!(isolated_after(&first, second), Vec::<String>::new());
    }

    #[test]
    fn the_isolation_of_others_is_not_about_the_new_pod() {
        let other = "{podSelector: {matchLabels: {app: a}}, policyTypes: [Ingress, Egress]}";
        assert_eq!(isolated_at_once(other, ""), Vec::<String>::new());
    }
}

//! Marks the cells that profiles excuse.

use crate::observe::PlannedCell;
use crate::policy::Cluster;
use crate::profile::{
    Profile, Promised, View, excused, judged_endpoints, open_at_first, open_while_replaced,
};
use crate::scenario::{Scenario, Step};
use crate::world::World;

/// Marks the cells of a state that profiles make undefined, for good or only at first. `step` is the step that
/// led to the state, with the cluster before it. `None` for the initial state.
pub(super) fn excuse(
    profiles: &[Profile],
    scenario: &Scenario,
    step: Option<(&Step, &Cluster)>,
    world: &World,
    plan: &mut [PlannedCell],
) {
    let promised = plan.iter().map(|PlannedCell { cell, route, expectation, .. }| Promised {
        cell,
        route: route.as_ref(),
        expectation,
    });
    let promised: Vec<_> = promised.collect();
    let step_name = step.map(|(step, _)| step.name.as_str());
    let view = View { scenario: &scenario.name, step: step_name, world, cells: &promised };
    let endpoints = plan.iter().map(|planned| planned.endpoints.clone());
    let endpoints = judged_endpoints(profiles, view, endpoints);
    let excused = excused(profiles, view);
    let at_first = step.map(|(_, before)| {
        let of_new_pods = open_at_first(profiles, view);
        let of_others = open_while_replaced(profiles, view, before);
        of_new_pods.into_iter().zip(of_others)
    });
    for ((planned, endpoints), excused) in plan.iter_mut().zip(endpoints).zip(excused) {
        planned.endpoints = endpoints;
        planned.excuse(excused);
    }
    for (planned, (of_new_pod, of_other)) in plan.iter_mut().zip(at_first.into_iter().flatten()) {
        planned.excused_at_first = match planned.new_pod {
            // What the pod is allowed, and isolation that may be late, need no excuse.
            Some(new_pod) => of_new_pod.filter(|_| new_pod.at_once),
            None => of_other,
        };
    }
}

//! Marks the cells that profiles excuse.

use crate::observe::PlannedCell;
use crate::policy::Cluster;
use crate::profile::{Excuser, Profile, Promised};
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
    let step = step.map(|(step, before)| (step.name.as_str(), before));
    let excuser = Excuser::new(profiles, &scenario.name, step, &world.cluster);
    for planned in plan {
        // Nothing is sent without a route.
        let Some(route) = &planned.route else { continue };
        let promised =
            Promised { cell: &planned.cell, route, endpoint: None, expectation: &planned.expectation };
        planned.endpoints.retain(|(endpoint, expectation)| {
            excuser.excused(Promised { endpoint: Some(endpoint), expectation, ..promised }).is_none()
        });
        let excused = excuser.excused(promised);
        if step.is_some() {
            planned.excused_at_first = match planned.new_pod {
                // What the pod is allowed, and isolation that may be late, need no excuse.
                Some(new_pod) => excuser.open_at_first(promised).filter(|_| new_pod.at_once),
                None => excuser.open_while_replaced(promised),
            };
        }
        planned.excuse(excused);
    }
}

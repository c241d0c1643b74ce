//! A state of a cluster, and what each cell of it should do.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::observe::new_pods::NewPod;
use crate::plan::{Cell, Promises, Route, Router, cells};
use crate::policy::{Decision, Engine, Expectation, IpFamily, Reason, UndefinedCause};
use crate::profile::KnownDeviation;
use crate::scenario::Scenario;
use crate::verdict::{Before, Cause};
use crate::world::{Capability, World};

/// Why nothing can be sent for a cell.
#[derive(Debug, Clone)]
pub(super) struct Obstacle {
    pub(super) cause: Cause,
    /// What the place would need; `None` if no scenario can declare it.
    pub(super) capability: Option<Capability>,
}

/// The addresses of both ends: a pod that takes over a name is another one.
pub(super) type Way = (Option<IpAddr>, Option<SocketAddr>);

/// A state with everything that follows from it.
pub(super) struct StepPlan {
    pub(super) cells: Vec<Cell>,
    /// `None` where an obstacle is in the way.
    pub(super) routes: Vec<Option<Route>>,
    pub(super) obstacles: Vec<Option<Obstacle>>,
    pub(super) expectations: Vec<Expectation>,
    /// For a Service whose endpoints are promised different things: what each of them is promised, unless a profile
    /// leaves that undefined. Else empty.
    pub(super) backends: Vec<Promises>,
    /// What the policies promise of the lookup that comes first; `None` without one.
    pub(super) lookups: Vec<Option<Decision>>,
    /// The cells of pods that came with the step.
    pub(super) new_pods: Vec<Option<NewPod>>,
    /// The deviation of a profile that leaves a cell undefined.
    pub(super) excused: Vec<Option<Arc<KnownDeviation>>>,
    /// The deviation of a profile that leaves the first moment undefined: that of a new pod, or the one after a change.
    pub(super) open_at_first: Vec<Option<Arc<KnownDeviation>>>,
    /// What packets should do: what the policies promise, unless a profile leaves it undefined.
    pub(super) decisions: Vec<Decision>,
}

impl StepPlan {
    pub(super) fn new(scenario: &Scenario, world: &World, engine: &Engine, router: &Router<'_>) -> Self {
        let cells = cells(world, &scenario.probes);
        let mut routes: Vec<_> = cells.iter().map(|cell| router.route(cell)).collect();
        let expectations = cells.iter().zip(&routes).map(|(cell, route)| match route {
            Some(route) => route.evaluate(engine),
            None => Expectation {
                decision: Decision::Undefined,
                reasons: vec![Reason::Undefined(UndefinedCause::NoAddress { endpoint: cell.to.to_string() })],
            },
        });
        let expectations: Vec<_> = expectations.collect();
        let backends = expectations.iter().zip(&routes).map(|(expectation, route)| {
            let route = route.as_ref().filter(|_| backends_differ(expectation));
            route.map(|route| route.evaluate_servers(engine)).unwrap_or_default()
        });
        let backends: Vec<_> = backends.collect();
        let lookups = routes.iter().map(|route| {
            let first = route.as_ref().and_then(|route| route.first.as_ref())?;
            Some(first.evaluate(engine).decision)
        });
        let lookups = lookups.collect();
        let mut obstacles = Vec::new();
        for (cell, route) in cells.iter().zip(&mut routes) {
            let servers = route.iter().flat_map(Route::all_servers).map(|(server, _)| server);
            let ends = [&cell.from, &cell.to].into_iter().chain(servers);
            let absent = ends.into_iter().find_map(|end| world.absent.get(end));
            let obstacle = match (absent, &route) {
                (_, None) => Some(Obstacle {
                    cause: Cause::NoAddress,
                    capability: Some(match cell.family {
                        IpFamily::V4 => Capability::Ipv4,
                        IpFamily::V6 => Capability::Ipv6,
                    }),
                }),
                (Some(absence), Some(_)) => Some(Obstacle {
                    cause: Cause::Absent(absence.why.clone()),
                    capability: absence.capability,
                }),
                (None, Some(_)) => None,
            };
            if obstacle.is_some() {
                *route = None;
            }
            obstacles.push(obstacle);
        }
        let decisions = expectations.iter().map(|expectation| expectation.decision).collect();
        let new_pods = vec![None; cells.len()];
        let (excused, open_at_first) = (vec![None; cells.len()], vec![None; cells.len()]);
        Self {
            cells,
            routes,
            obstacles,
            expectations,
            backends,
            lookups,
            new_pods,
            excused,
            open_at_first,
            decisions,
        }
    }

    pub(super) fn ways(&self, router: &Router<'_>) -> Vec<Way> {
        let way = |(cell, route): (&Cell, &Option<Route>)| {
            (router.address(&cell.from, cell.family), route.as_ref().map(|route| route.address))
        };
        self.cells.iter().zip(&self.routes).map(way).collect()
    }

    /// The cells that are expected to be allowed, with their routes.
    pub(super) fn allowed(&self) -> impl Iterator<Item = (Cell, Route)> {
        let cells = self.cells.iter().zip(&self.routes).zip(&self.decisions);
        cells.filter_map(|((cell, route), decision)| {
            let route = route.as_ref().filter(|_| *decision == Decision::Allow)?;
            Some((cell.clone(), route.clone()))
        })
    }

    /// Leaves open what happens before new pods are isolated, where they have to be at once, and what happens to others
    /// while rules are replaced.
    pub(super) fn leave_first_moment_open(
        &mut self,
        of_new_pods: Vec<Option<Arc<KnownDeviation>>>,
        of_others: Vec<Option<Arc<KnownDeviation>>>,
    ) {
        let deviations = of_new_pods.into_iter().zip(of_others).zip(&self.new_pods);
        let open = deviations.map(|((of_new_pod, of_other), new_pod)| match new_pod {
            Some(new_pod) => of_new_pod.filter(|_| new_pod.at_once),
            None => of_other,
        });
        self.open_at_first = open.collect();
    }

    pub(super) fn leave_open(&mut self, excused: Vec<Option<Arc<KnownDeviation>>>) {
        for (decision, deviation) in self.decisions.iter_mut().zip(&excused) {
            if deviation.is_some() {
                *decision = Decision::Undefined;
            }
        }
        self.excused = excused;
    }

    /// Keeps these cells only, and expects all of them to be delivered.
    pub(super) fn only(self, is_kept: impl Fn(&Cell, usize) -> bool) -> Self {
        let cells = self.cells.iter().zip(&self.obstacles).enumerate();
        let kept = cells.map(|(index, (cell, obstacle))| obstacle.is_none() && is_kept(cell, index));
        let kept: Vec<bool> = kept.collect();
        let count = kept.iter().filter(|kept| **kept).count();
        Self {
            cells: filter(self.cells, &kept),
            routes: filter(self.routes, &kept),
            obstacles: filter(self.obstacles, &kept),
            expectations: filter(self.expectations, &kept),
            backends: vec![Vec::new(); count],
            lookups: vec![None; count],
            new_pods: filter(self.new_pods, &kept),
            excused: filter(self.excused, &kept),
            open_at_first: filter(self.open_at_first, &kept),
            decisions: vec![Decision::Allow; count],
        }
    }

    pub(super) fn expected(&self) -> HashMap<Cell, Before> {
        let before = self.expectations.iter().zip(&self.decisions);
        let before = before.map(|(expectation, decision)| Before::new(expectation, *decision));
        self.cells.iter().cloned().zip(before).collect()
    }
}

/// Whether nothing but the endpoint that a packet reaches decides.
fn backends_differ(expectation: &Expectation) -> bool {
    let is_why = |reason: &Reason| matches!(reason, Reason::Undefined(UndefinedCause::BackendsDiffer { .. }));
    expectation.decision == Decision::Undefined && expectation.reasons.iter().any(is_why)
}

/// The items that are kept.
fn filter<T>(items: Vec<T>, kept: &[bool]) -> Vec<T> {
    items.into_iter().zip(kept).filter(|(_, kept)| **kept).map(|(item, _)| item).collect()
}

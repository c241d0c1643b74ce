//! The plan of a state: its cells, the route of each probe, and what packets should do.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use netproof_probe::wire::Listener;

use super::track::Track;
use crate::plan::{Cell, Promises, Questions, Route, Router};
use crate::policy::{Decision, Engine, Expectation, IpFamily, Reason, UndefinedCause};
use crate::verdict::{Cause, Excuse, Nodes};
use crate::world::{Capability, EndpointName, World};

/// The reason why nothing can be sent for a cell.
#[derive(Debug, Clone)]
pub(super) struct Obstacle {
    pub(super) cause: Cause,
    /// What the environment would need. `None` if no scenario can declare it.
    pub(super) capability: Option<Capability>,
}

/// The addresses of a cell's ends. A pod that takes over a name may have another address.
pub(super) type Addresses = (Option<IpAddr>, Option<SocketAddr>);

/// The endpoints to which an address leads: those of a Service, or the endpoint itself.
pub(super) type Servers = BTreeSet<(EndpointName, Listener)>;

/// How a new pod takes part in a cell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewPod {
    /// When the last new pod among the ends first answered, since the change.
    pub(super) ready_at: Duration,
    /// Whether the cell must not be delivered even once.
    pub(crate) at_once: bool,
}

/// A cell of a state, and everything that follows from the state.
#[derive(Debug, Clone)]
pub(crate) struct PlannedCell {
    pub(crate) cell: Cell,
    /// `None` if there is an obstacle.
    pub(crate) route: Option<Route>,
    pub(super) addresses: Addresses,
    pub(super) obstacle: Option<Obstacle>,
    /// What the policies promise.
    pub(crate) expectation: Expectation,
    /// What the policies promise for each endpoint of a Service, if that differs and no profile excuses it.
    /// Empty for all other cells.
    pub(crate) endpoints: Promises,
    /// What the policies promise for the lookup before the probe. `None` without one.
    pub(super) lookup: Option<Decision>,
    /// Set if an end is a pod that the change added.
    pub(crate) new_pod: Option<NewPod>,
    /// The deviation that makes the cell undefined.
    pub(super) excused: Option<Arc<Excuse>>,
    /// The deviation that makes the first moment undefined: of a new pod, or after a change.
    pub(crate) excused_at_first: Option<Arc<Excuse>>,
    /// What packets should do: what the policies promise, unless a deviation makes it undefined.
    pub(super) decision: Decision,
}

/// Returns the plan of a state, in the order in which its cells are shown.
pub(super) fn plan(world: &World, questions: Questions<'_>) -> Vec<PlannedCell> {
    let engine = Engine::new(world.cluster.clone());
    let router = Router::new(world, &engine);
    let cells = questions.cells(world).into_iter();
    cells.map(|cell| PlannedCell::new(cell, world, &engine, &router)).collect()
}

impl PlannedCell {
    fn new(cell: Cell, world: &World, engine: &Engine, router: &Router<'_>) -> Self {
        let route = router.route(&cell);
        let expectation = cell.evaluate(route.as_ref(), engine);
        let mixed = route.as_ref().filter(|_| endpoints_differ(&expectation));
        let endpoints = mixed.map(|route| route.evaluate_servers(engine)).unwrap_or_default();
        let first = route.as_ref().and_then(|route| route.first.as_ref());
        let lookup = first.map(|first| first.evaluate(engine).decision);
        let obstacle = obstacle(&cell, route.as_ref(), world);
        let route = route.filter(|_| obstacle.is_none());
        Self {
            addresses: (router.address(&cell.from, cell.family), route.as_ref().map(|route| route.address)),
            decision: expectation.decision,
            cell,
            route,
            obstacle,
            expectation,
            endpoints,
            lookup,
            new_pod: None,
            excused: None,
            excused_at_first: None,
        }
    }

    /// Makes the cell undefined if a deviation excuses it.
    pub(crate) fn excuse(&mut self, deviation: Option<Arc<Excuse>>) {
        if deviation.is_some() {
            self.decision = Decision::Undefined;
        }
        self.excused = deviation;
    }

    /// Turns the cell into one that only has to be delivered, as without policies. `None` if nothing can be
    /// sent.
    pub(super) fn without_policies(self) -> Option<Self> {
        let is_sendable = self.obstacle.is_none();
        let delivered = Self { endpoints: Vec::new(), lookup: None, decision: Decision::Allow, ..self };
        is_sendable.then_some(delivered)
    }

    /// Returns the endpoints of the cell's Service that are denied although others are not.
    pub(super) fn denied_endpoints(&self) -> impl Iterator<Item = &(EndpointName, Expectation)> {
        self.endpoints.iter().filter(|(_, promised)| promised.decision == Decision::Deny)
    }

    /// Returns the servers of all legs of the route.
    pub(super) fn all_servers(&self) -> impl Iterator<Item = &EndpointName> {
        self.route.iter().flat_map(Route::all_servers).map(|(server, _)| server)
    }

    /// Returns the nodes of the cell's ends. The pods of a Service may all be on one node.
    pub(super) fn nodes(&self, world: &World) -> Nodes {
        let mut to = self.route.iter().flat_map(|route| &route.servers).map(|(it, _)| world.node_of(it));
        let first = to.next().unwrap_or_else(|| world.node_of(&self.cell.to));
        let is_one = to.all(|other| other == first);
        Nodes { from: world.node_of(&self.cell.from), to: first.filter(|_| is_one) }
    }
}

/// Returns where a route leads.
pub(super) fn servers(route: Option<&Route>) -> Servers {
    route.into_iter().flat_map(|route| route.servers.iter().cloned()).collect()
}

fn obstacle(cell: &Cell, route: Option<&Route>, world: &World) -> Option<Obstacle> {
    let Some(route) = route else {
        let capability = match cell.family {
            IpFamily::V4 => Capability::Ipv4,
            IpFamily::V6 => Capability::Ipv6,
        };
        return Some(Obstacle { cause: Cause::NoAddress, capability: Some(capability) });
    };
    let servers = route.all_servers().map(|(server, _)| server);
    let mut ends = [&cell.from, &cell.to].into_iter().chain(servers);
    let absence = ends.find_map(|end| world.absent.get(end))?;
    Some(Obstacle { cause: Cause::Absent(absence.why.clone()), capability: absence.capability })
}

/// Returns whether the expectation is undefined only because the endpoints of a Service have different ones.
fn endpoints_differ(expectation: &Expectation) -> bool {
    let is_why = |reason: &Reason| matches!(reason, Reason::Undefined(UndefinedCause::BackendsDiffer { .. }));
    expectation.decision == Decision::Undefined && expectation.reasons.iter().any(is_why)
}

/// A cell of a state, and what its probes have shown.
#[derive(Debug, Clone)]
pub(super) struct ProbedCell {
    pub(super) planned: PlannedCell,
    pub(super) track: Track,
}

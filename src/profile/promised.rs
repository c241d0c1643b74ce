//! What the policies promise, and where the packets of a route arrive.

use crate::plan::{Cell, Route};
use crate::policy::{Endpoint, Engine, Expectation, Flow};
use crate::world::EndpointName;

/// The expectation for a cell, or for one endpoint of the Service to which the cell leads.
#[derive(Clone, Copy)]
pub struct Promised<'a> {
    /// The cell.
    pub cell: &'a Cell,
    /// Its route.
    pub route: &'a Route,
    /// The only endpoint that is evaluated. `None` for all ends of the route.
    pub endpoint: Option<&'a EndpointName>,
    /// The expectation for these ends.
    pub expectation: &'a Expectation,
}

impl<'a> Promised<'a> {
    /// Returns the flow of each leg and, for each evaluated end, the engine's expectation for a packet that arrives
    /// there. For a lookup, these are the ends of all servers, because any server may answer it, whichever endpoint
    /// is called afterwards.
    pub(super) fn legs(
        self,
        engine: &Engine,
    ) -> impl Iterator<Item = (&'a Flow, Vec<(Endpoint, Expectation)>)> {
        let first = self.route.first.as_deref().map(|route| (route, None));
        first.into_iter().chain([(self.route, self.endpoint)]).map(|(route, endpoint)| {
            let mut ends = engine.evaluate_arrivals(&route.flow);
            ends.retain(|(end, _)| {
                endpoint.is_none_or(|own| route.server_at(engine, *end).as_ref() == Some(own))
            });
            (&route.flow, ends)
        })
    }
}

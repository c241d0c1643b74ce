//! Where the packets of a route arrive: at each of its ends, or at one endpoint of a Service.

use crate::plan::Route;
use crate::policy::{Endpoint, Engine, Expectation, Flow};
use crate::world::EndpointName;

/// A route, and the ends of it that are evaluated.
#[derive(Clone, Copy)]
pub(super) struct Arrival<'a> {
    route: &'a Route,
    /// The only endpoint that is evaluated. `None` for all ends.
    endpoint: Option<&'a EndpointName>,
}

impl<'a> Arrival<'a> {
    pub(super) fn anywhere(route: &'a Route) -> Self {
        Self { route, endpoint: None }
    }

    pub(super) fn at(route: &'a Route, endpoint: &'a EndpointName) -> Self {
        Self { route, endpoint: Some(endpoint) }
    }

    /// Returns the flow of each leg and, for each evaluated end, the engine's expectation for a packet that arrives
    /// there. For a lookup, these are the ends of all servers, because any server may answer it, whichever endpoint
    /// is called afterwards.
    pub(super) fn legs(
        self,
        engine: &Engine,
    ) -> impl Iterator<Item = (&'a Flow, Vec<(Endpoint, Expectation)>)> {
        let first = self.route.first.as_deref().map(Self::anywhere);
        first.into_iter().chain([self]).map(|Self { route, endpoint }| {
            let mut ends = engine.evaluate_arrivals(&route.flow);
            ends.retain(|(end, _)| {
                endpoint.is_none_or(|own| route.server_at(engine, *end).as_ref() == Some(own))
            });
            (&route.flow, ends)
        })
    }
}

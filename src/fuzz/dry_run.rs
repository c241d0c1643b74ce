//! Evaluates scenarios without packets: the states with the addresses of a lab, and the answers of engine and naive
//! evaluator for every cell.

use std::sync::Arc;

use crate::backend::Addresses;
use crate::plan::{Cell, Router, cells};
use crate::policy::{Engine, Expectation};
use crate::scenario::{Scenario, from_document};
use crate::source::{Error, Text};
use crate::world::{Action, Probe, World};

/// A state, and the changes that led to it.
#[derive(Debug, Clone)]
pub struct Case {
    /// The state before.
    pub before: World,
    /// The changes of the step.
    pub actions: Vec<Action>,
    /// The state after.
    pub world: World,
    /// The probes of the scenario.
    pub probes: Vec<Probe>,
}

/// Returns the cells of a state, each with the engine's answer.
pub(super) fn ask_engine(world: &World, probes: &[Probe]) -> Vec<(Cell, Expectation)> {
    let engine = Engine::new(world.cluster.clone());
    let router = Router::new(world, &engine);
    let answered = cells(world, probes).into_iter().map(|cell| {
        let answer = ask_cell(&engine, &router, &cell);
        (cell, answer)
    });
    answered.collect()
}

/// Returns the engine's answer for one cell.
pub(super) fn ask_cell(engine: &Engine, router: &Router<'_>, cell: &Cell) -> Expectation {
    cell.evaluate(router.route(cell).as_ref(), engine)
}

/// Reads a generated scenario.
///
/// # Errors
/// If it is not a valid scenario.
pub(super) fn read(value: &serde_json::Value) -> Result<Scenario, Error> {
    let text = Text { name: Arc::from("made by netproof fuzz"), content: value.to_string() };
    let documents = text.documents()?;
    let document = documents.first().ok_or_else(|| Error::whole(&text.name, "it is empty"))?;
    from_document(document)
}

/// Returns the steps of a scenario, with the addresses that a lab would assign.
///
/// # Errors
/// If a step cannot be applied. The loader refuses such scenarios.
pub fn cases(scenario: &Scenario) -> Result<Vec<Case>, String> {
    let mut addresses = Addresses::default();
    let mut world = scenario.world.clone();
    world.complete(&addresses.deploy(&scenario.world));
    let mut cases = Vec::new();
    for step in &scenario.steps {
        let before = world.clone();
        for action in &step.actions {
            world.apply(action).map_err(|error| error.to_string())?;
        }
        let deployed = addresses.apply(&step.actions, &world);
        world.complete(&deployed);
        let (actions, probes) = (step.actions.clone(), scenario.probes.clone());
        cases.push(Case { before, actions, world: world.clone(), probes });
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::world::Naive;
    use crate::generate::{self, Ground};

    #[test]
    fn engine_and_naive_evaluator_agree_on_paper() {
        let mut asked = 0;
        for seed in 0..60 {
            let value = generate::scenario(seed, 12, Ground::Lab);
            for (at, case) in cases(&read(&value).unwrap()).unwrap().iter().enumerate() {
                let naive = Naive::new(&case.world);
                for (cell, Expectation { decision, reasons }) in ask_engine(&case.world, &case.probes) {
                    asked += 1;
                    let place = format!("seed {seed}, case {}: {cell} {}", at + 1, cell.family);
                    let naive = naive.decide(&cell).unwrap_or(decision);
                    assert_eq!(decision, naive, "{place}: {reasons:?}");
                }
            }
        }
        assert!(asked > 20_000, "only {asked} cells");
    }
}

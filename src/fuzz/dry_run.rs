//! What a scenario comes to on paper: its states with the addresses of a lab, and what engine and naive
//! evaluator say about every cell. No packet is sent.

use std::sync::Arc;

use crate::backend::lab::DryRun;
use crate::plan::{Cell, Router, cells};
use crate::policy::{Decision, Engine, Expectation, Reason, UndefinedCause};
use crate::scenario::{Action, Probe, Scenario, State, from_document};
use crate::source::{Error, Text};

/// A state, and what led to it.
#[derive(Debug, Clone)]
pub struct Case {
    /// The state before.
    pub before: State,
    /// What happened.
    pub actions: Vec<Action>,
    /// The state now.
    pub state: State,
    /// What is probed.
    pub probes: Vec<Probe>,
}

/// What is said of each cell of a state.
pub(super) struct Answers {
    pub(super) cells: Vec<Cell>,
    pub(super) engine: Vec<Expectation>,
}

/// What the engine says of the cells of a state.
pub(super) fn ask_engine(state: &State, probes: &[Probe]) -> Answers {
    let engine = Engine::new(state.cluster.clone());
    let router = Router::new(state, &engine);
    let cells = cells(state, probes);
    let answers = cells.iter().map(|cell| match router.route(cell) {
        Some(route) => route.evaluate(&engine),
        None => Expectation {
            decision: Decision::Undefined,
            reasons: vec![Reason::Undefined(UndefinedCause::NoAddress { endpoint: cell.to.to_string() })],
        },
    });
    Answers { engine: answers.collect(), cells }
}

/// Reads a scenario that was made, not written.
///
/// # Errors
/// If it is none.
pub(super) fn read(value: &serde_json::Value) -> Result<Scenario, Error> {
    let text = Text { name: Arc::from("made by netproof fuzz"), content: value.to_string() };
    let documents = text.documents()?;
    let document = documents.first().ok_or_else(|| Error::whole(&text.name, "it is empty"))?;
    from_document(document)
}

/// The steps of a scenario, with the addresses that a lab would give.
///
/// # Errors
/// If a step cannot be carried out. The loader refuses such scenarios.
pub fn cases(scenario: &Scenario) -> Result<Vec<Case>, String> {
    let mut dry_run = DryRun::default();
    let mut state = State::new(&scenario.topology);
    dry_run.start(&mut state);
    let mut cases = Vec::new();
    for step in &scenario.steps {
        let before = state.clone();
        for action in &step.actions {
            state.apply(action)?;
        }
        dry_run.apply(&step.actions, &mut state);
        let (actions, probes) = (step.actions.clone(), scenario.probes.clone());
        cases.push(Case { before, actions, state: state.clone(), probes });
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::world::Naive;
    use crate::generate::{self, Ground};

    /// The cells of a case about which engine and naive evaluator differ, each with what they say.
    fn differing(case: &Case) -> Vec<(Cell, Decision, Decision)> {
        let Answers { cells, engine } = ask_engine(&case.state, &case.probes);
        let naive = Naive::new(&case.state);
        let pairs = cells.into_iter().zip(engine).filter_map(|(cell, expectation)| {
            let naive = naive.decide(&cell)?;
            Some((cell, expectation.decision, naive))
        });
        pairs.filter(|(_, engine, naive)| engine != naive).collect()
    }

    #[test]
    fn engine_and_naive_evaluator_agree_on_paper() {
        let mut asked = 0;
        for seed in 0..60 {
            let value = generate::scenario(seed, 12, Ground::Lab);
            for (at, case) in cases(&read(&value).unwrap()).unwrap().iter().enumerate() {
                asked += ask_engine(&case.state, &case.probes).cells.len();
                let differing = differing(case);
                assert!(differing.is_empty(), "seed {seed}, case {}: {differing:?}", at + 1);
            }
        }
        assert!(asked > 20_000, "only {asked} cells");
    }
}

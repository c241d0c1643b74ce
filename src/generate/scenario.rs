//! Generates random scenarios: a cluster, then one random change after the other.

use fastrand::Rng;
use serde_json::{Value, json};

use super::change::Changing;
use super::topology::Topology;
use super::universe::Ground;

/// Returns a scenario with `cases` steps. Each step changes something, and leaves a few policies in force. The same
/// seed returns the same scenario. With fewer cases, the steps are the first ones of the longer scenario.
pub fn scenario(seed: u64, cases: usize, ground: Ground) -> Value {
    let mut rng = Rng::with_seed(seed);
    let topology = Topology::random(&mut rng, ground);
    let (value, probes, requires) = (json!(topology), topology.probes.clone(), topology.capabilities());
    let mut changing = Changing::new(topology);
    let steps: Vec<_> = (1..=cases).map(|case| changing.step(&mut rng, &format!("case {case}"))).collect();
    json!({
        "apiVersion": "netproof.dev/v1alpha1",
        "kind": "Scenario",
        "metadata": {
            "name": format!("random-{seed}"),
            "description": "Random policies and changes: engine, naive evaluator and packets have to agree.",
            "tags": ["random"],
        },
        "requires": requires,
        "topology": value,
        "probes": probes,
        "steps": steps,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::from_document;
    use crate::source::Text;

    #[test]
    fn random_scenarios_are_valid_and_repeatable() {
        for ground in [Ground::Lab, Ground::Cluster] {
            for seed in 0..200 {
                let text = scenario(seed, 12, ground).to_string();
                assert_eq!(text, scenario(seed, 12, ground).to_string());
                let content = text.clone();
                let text = Text { name: format!("seed {seed}").into(), content };
                let read = from_document(&text.documents().unwrap()[0]).unwrap();
                assert_eq!(read.steps.len(), 12, "{}", text.content);
                // Cells that an environment cannot measure are skipped there.
                assert!(read.requires().is_superset(&read.needs()), "{}", text.content);
            }
        }
    }

    #[test]
    fn fewer_cases_are_the_first_of_more() {
        let steps = |cases| scenario(7, cases, Ground::Lab)["steps"].as_array().unwrap().clone();
        assert_eq!(steps(3), steps(9)[..3]);
    }
}

//! The number of cells that a scenario probes.

use super::Scenario;
use crate::plan::cells;
use crate::world::World;

/// Size of a scenario, in cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Cells before the first step.
    pub baseline: usize,
    /// Cells after all steps together. Reports count these.
    pub steps: usize,
}

impl Size {
    /// Returns the cost of running the scenario, relative to others.
    pub fn cost(self) -> usize {
        self.baseline + self.steps
    }
}

/// Returns the size of a scenario.
pub fn size(scenario: &Scenario) -> Size {
    let count = |world: &World| cells(world, &scenario.probes).len();
    Size { baseline: count(&scenario.world), steps: scenario.worlds().map(|(_, world)| count(&world)).sum() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;
    use crate::source::Text;

    #[test]
    fn cells_are_counted_before_the_first_step_and_after_every_step() {
        let content = "\
apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {name: a}
topology: {namespaces: [{name: x, pods: [{name: a}, {name: b}]}]}
probes: [80/TCP]
steps:
- name: one more
  addPod: [{namespace: x, name: c}]
- name: nothing changes
";
        let text = Text { name: "a.yaml".into(), content: content.to_owned() };
        let scenarios = scenario::load(&[text]).unwrap();
        assert_eq!(size(&scenarios[0]), Size { baseline: 4, steps: 9 + 9 });
        assert_eq!(size(&scenarios[0]).cost(), 22);
    }
}

//! The number of cells that a scenario probes.

use super::Scenario;
use crate::plan::cells;
use crate::source::Error;

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
///
/// # Errors
/// If a step cannot be applied. This does not happen for a scenario that was loaded.
pub fn size(scenario: &Scenario) -> Result<Size, Error> {
    let mut world = scenario.world.clone();
    let mut size = Size { baseline: cells(&world, &scenario.probes).len(), steps: 0 };
    for step in &scenario.steps {
        scenario.apply(step, &mut world)?;
        size.steps += cells(&world, &scenario.probes).len();
    }
    Ok(size)
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
        assert_eq!(size(&scenarios[0]).unwrap(), Size { baseline: 4, steps: 9 + 9 });
        assert_eq!(size(&scenarios[0]).unwrap().cost(), 22);
    }
}

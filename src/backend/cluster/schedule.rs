//! Order of the scenarios on a cluster. Pods are the most expensive objects, so the next scenario is the
//! one that can reuse most of its pods.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::deployment::Deployment;
use super::node_agents::Needs;
use crate::world::World;

/// Nodes of the cluster on which a scenario runs, in the order of its logical nodes.
pub(super) type Group = Vec<String>;

/// A scenario that waits for its turn.
pub(super) struct Turn {
    /// Its index in the run.
    pub(super) index: usize,
    pub(super) group: Group,
    /// Its initial state.
    pub(super) world: World,
    /// The parts of nodes that it uses.
    pub(super) needs: Needs,
}

/// Scenarios that wait, and deployments that are idle. A scenario can use any deployment on the same nodes.
/// The deployment is brought to the scenario's topology, and keeps the pods that it can reuse.
#[derive(Default)]
pub(super) struct Schedule {
    waiting: Vec<Turn>,
    idle: HashMap<Group, Vec<Deployment>>,
}

impl Schedule {
    pub(super) fn add(&mut self, turn: Turn) {
        self.waiting.push(turn);
    }

    /// Returns the next scenario, with the deployment that it should use. Without one, it needs a new
    /// deployment. Scenarios that would have to wait for others come later than the rest.
    pub(super) fn next(&mut self, is_free: impl Fn(&Turn) -> bool) -> Option<(Turn, Option<Deployment>)> {
        let free: Vec<usize> = self
            .waiting
            .iter()
            .enumerate()
            .filter(|(_, turn)| is_free(turn))
            .map(|(place, _)| place)
            .collect();
        let candidates = if free.is_empty() { (0..self.waiting.len()).collect() } else { free };
        let turns = candidates.iter().filter_map(|place| self.waiting.get(*place));
        let (chosen, deployment) = best(turns.map(|turn| {
            let idle = self.idle.get(&turn.group).into_iter().flatten();
            let kept = idle.map(|deployment| deployment.kept(&turn.world));
            (turn.world.cluster.pods.len(), kept.collect())
        }))?;
        let place = *candidates.get(chosen)?;
        let turn = self.waiting.remove(place);
        let idle = self.idle.get_mut(&turn.group);
        let deployment = deployment.zip(idle).map(|(deployment, idle)| idle.swap_remove(deployment));
        Some((turn, deployment))
    }

    /// Keeps a deployment for the next scenario on its nodes. Returns the deployment if no such scenario
    /// waits.
    pub(super) fn give_back(&mut self, group: Group, deployment: Deployment) -> Option<Deployment> {
        if !self.waiting.iter().any(|turn| turn.group == group) {
            return Some(deployment);
        }
        self.idle.entry(group).or_default().push(deployment);
        None
    }
}

/// Returns the index of the next scenario, and the index of the deployment that it should use.
///
/// The scenario that can reuse most pods comes first, then the one that lacks the fewest pods. If no
/// deployment can be used, the scenario with the most pods comes first, so that others can reuse them.
/// `waiting` yields for each scenario the number of its pods, and for each of its possible deployments the
/// number of pods that it can reuse.
fn best(waiting: impl Iterator<Item = (usize, Vec<usize>)>) -> Option<(usize, Option<usize>)> {
    let fits = waiting.enumerate().flat_map(|(place, (pods, kept))| {
        let of_deployments = kept.into_iter().enumerate();
        let reused = of_deployments
            .map(move |(deployment, kept)| ((1, kept, Reverse(pods)), Reverse(place), Some(deployment)));
        let alone = ((0, pods, Reverse(0)), Reverse(place), None);
        reused.chain([alone])
    });
    let (_, Reverse(place), deployment) = fits.max()?;
    Some((place, deployment))
}

#[cfg(test)]
mod tests {
    use super::best;

    #[test]
    fn the_scenario_comes_next_that_finds_most_of_its_pods() {
        let best =
            |waiting: &[(usize, &[usize])]| best(waiting.iter().map(|(pods, kept)| (*pods, kept.to_vec())));
        assert_eq!(best(&[(3, &[1, 2]), (9, &[0, 0]), (2, &[0, 1])]), Some((0, Some(1))));
        assert_eq!(best(&[(3, &[2]), (2, &[2])]), Some((1, Some(0))), "the fewest are missing");
        assert_eq!(best(&[(3, &[2]), (3, &[2])]), Some((0, Some(0))), "the order that was asked for");
        assert_eq!(best(&[(1, &[]), (4, &[]), (2, &[])]), Some((1, None)), "nothing is there yet");
        assert_eq!(best(&[(1, &[]), (2, &[0])]), Some((1, Some(0))), "nodes of its own");
        assert_eq!(best(&[]), None);
    }
}

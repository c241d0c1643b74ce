//! How many scenarios a cluster can run at the same time.

use std::collections::BTreeMap;

use super::survey::SurveyedNode;

/// The count of scenarios at the same time. Fewer would mostly wait, and more would be a burden for the API server.
const LEAST: usize = 3;
const MOST: usize = 8;

/// Returns how many scenarios should run at the same time on these nodes: one per processor, within limits. On
/// nodes that are busy with too many, probes are late, and their repetitions take more time than is gained.
pub(super) fn parallel<'a>(nodes: impl Iterator<Item = &'a SurveyedNode>) -> usize {
    // Nodes that are containers of one machine, as with kind, report all of its processors.
    let mut machines: BTreeMap<&str, usize> = BTreeMap::new();
    for node in nodes {
        let of_machine = machines.entry(&node.boot_id).or_default();
        *of_machine = node.processors.max(*of_machine);
    }
    machines.into_values().sum::<usize>().clamp(LEAST, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_on_one_machine_share_its_processors() {
        let parallel = |nodes: &[(&str, usize)]| {
            let node = |(boot_id, processors): &(&str, usize)| SurveyedNode {
                boot_id: (*boot_id).to_owned(),
                processors: *processors,
                ..SurveyedNode::ready("node")
            };
            let nodes: Vec<SurveyedNode> = nodes.iter().map(node).collect();
            parallel(nodes.iter())
        };
        assert_eq!(parallel(&[("a", 2), ("a", 2), ("a", 2)]), 3);
        assert_eq!(parallel(&[("a", 2), ("b", 2), ("c", 1)]), 5);
        assert_eq!(parallel(&[("a", 64), ("b", 64)]), 8);
        assert_eq!(parallel(&[("a", 0)]), 3, "unknown");
    }
}

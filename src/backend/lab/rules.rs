//! The rules of a lab's nodes, and how they are applied.
//!
//! The rules also isolate the sentinels. This isolation is not a policy, so that no fault misinterprets it:
//! it only shows which changes a node has processed.

use std::io;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::nft::Program;
use super::{Lab, enforce};
use crate::backend::{Backend, Canary, Error, Place};
use crate::deviation::{EnforcerState, Fault, Opening};
use crate::policy::Node;
use crate::world::World;

/// Time for which pods are open, in a fault that opens them briefly.
const BRIEFLY: Duration = Duration::from_millis(150);

/// Delay of the rules in a fault that applies them late.
const LATE: Duration = Duration::from_secs(1);

impl Lab {
    /// Lets the enforcer process a state, and applies the rules of every node.
    pub(super) async fn enforce(&mut self, world: &World) -> Result<(), Error> {
        self.view = self.follower.see(&world.cluster, &world.written);
        for variant in &mut self.variants {
            variant.view = variant.follower.see(&world.cluster, &world.written);
        }
        self.changes = self.changes.wrapping_add(1);
        let rules = self.rules(&self.view, self.fault);
        if self.view.opening == Opening::Late {
            self.late = self.replace_rules_after(rules, LATE);
            return Ok(());
        }
        self.replace_rules(rules).await?;
        if self.view.opening == Opening::Briefly {
            self.isolate_after(BRIEFLY);
        }
        Ok(())
    }

    /// Returns the rules of every node, with a placeholder for the generation in the table's name.
    pub(super) fn rules(&self, view: &EnforcerState, fault: Option<Fault>) -> Vec<Program> {
        let last = self.nodes.len().saturating_sub(1);
        let nodes = self.view.cluster.nodes.iter().enumerate();
        let rules = |(i, node): (usize, &Node)| {
            let view = view.frozen.as_deref().filter(|_| i == last).unwrap_or(view);
            enforce::program(view, node, fault)
        };
        nodes.map(rules).collect()
    }

    /// Replaces the rules of the nodes where they differ, and waits until this is done.
    pub(super) async fn replace_rules(&mut self, rules: Vec<Program>) -> Result<(), Error> {
        finished(std::mem::take(&mut self.late)).await?;
        finished(self.replace_rules_after(rules, Duration::ZERO)).await
    }

    /// Isolates new pods only after a delay, if the lab has this fault.
    pub(super) fn isolate_late(&mut self) {
        if self.view.opening == Opening::AtFirst {
            self.isolate_after(LATE);
        }
    }

    /// Isolates all pods again after a delay.
    fn isolate_after(&mut self, delay: Duration) {
        self.view.unguarded.clear();
        self.view.opening = Opening::Always;
        let rules = self.rules(&self.view, self.fault);
        self.late = self.replace_rules_after(rules, delay);
    }

    fn replace_rules_after(
        &mut self,
        rules: Vec<Program>,
        delay: Duration,
    ) -> Vec<JoinHandle<io::Result<()>>> {
        let mut running = Vec::new();
        let sentinels = self.sentinels();
        let is_frozen = self.view.frozen.is_some();
        let last = self.nodes.len().saturating_sub(1);
        for (index, (node, mut rules)) in self.nodes.iter_mut().zip(rules).enumerate() {
            // A node that does not follow changes does not follow this one either.
            if !(is_frozen && index == last && node.generation > 0) {
                node.open = sentinels.open;
            }
            let at = |pod: &&Canary| matches!(&pod.place, Place::Node(name) if *name == node.name);
            let addresses = sentinels.pods.iter().filter(at).flat_map(|pod| &pod.addresses);
            enforce::isolate(&mut rules, addresses, node.open);
            if node.rules == rules {
                continue;
            }
            node.generation += 1;
            node.rules = rules;
            let (nft, netns, generation) = (self.nft.clone(), node.space.netns.clone(), node.generation);
            let rules = node.rules.clone();
            running.push(tokio::spawn(async move {
                sleep(delay).await;
                nft.run(&netns, &rules, generation).await
            }));
        }
        running
    }
}

/// Waits until rules have been applied.
async fn finished(rules: Vec<JoinHandle<io::Result<()>>>) -> Result<(), Error> {
    for node in rules {
        let result = node.await.map_err(io::Error::other).and_then(|result| result);
        result.map_err(|error| Error::failed("enforce the policies", error))?;
    }
    Ok(())
}

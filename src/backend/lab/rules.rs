//! The rules of a lab's nodes, and putting them into force.
//!
//! With them comes what isolates the sentinels. It is no policy, so that no fault reads it wrongly: it only says
//! which changes a node has worked off.

use std::io;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::fault::{EnforcerState, Fault, StaleFault};
use super::nft::Program;
use super::{Lab, enforce};
use crate::backend::{Backend, Canary, Error, Place};
use crate::policy::Node;
use crate::scenario::State;

/// How long a moment is for which a fault opens pods.
const BRIEFLY: Duration = Duration::from_millis(150);

/// How late the rules are that a fault makes late.
const LATE: Duration = Duration::from_secs(1);

impl Lab {
    /// Lets the enforcer look at a state, and puts the rules of every node into force.
    pub(super) async fn enforce(&mut self, state: &State) -> Result<(), Error> {
        self.view = self.follower.see(state);
        for variant in &mut self.variants {
            variant.view = variant.follower.see(state);
        }
        self.changes = self.changes.wrapping_add(1);
        let rules = self.rules(&self.view, self.fault);
        let fault = self.fault.filter(|_| !self.view.unguarded.is_empty());
        if fault == Some(Fault::Following(StaleFault::DeletionOpensLate)) {
            self.late = self.replace_rules_after(rules, LATE);
            return Ok(());
        }
        self.replace_rules(rules).await?;
        let is_brief = |fault| {
            matches!(
                fault,
                Fault::Following(StaleFault::DeletionOpensBriefly | StaleFault::UpdateOpensBriefly)
            )
        };
        if fault.is_some_and(is_brief) {
            self.isolate_after(BRIEFLY);
        }
        Ok(())
    }

    /// The rules of every node, as those of the first generation.
    pub(super) fn rules(&self, view: &EnforcerState, fault: Option<Fault>) -> Vec<Program> {
        let last = self.nodes.len().saturating_sub(1);
        let nodes = self.view.cluster.nodes.iter().enumerate();
        let rules = |(i, node): (usize, &Node)| {
            let view = view.frozen.as_deref().filter(|_| i == last).unwrap_or(view);
            enforce::program(view, node, fault)
        };
        nodes.map(rules).collect()
    }

    /// Puts rules into force where there are others.
    pub(super) async fn replace_rules(&mut self, rules: Vec<Program>) -> Result<(), Error> {
        finished(std::mem::take(&mut self.late)).await?;
        finished(self.replace_rules_after(rules, Duration::ZERO)).await
    }

    /// Lets the pods that came with a step be isolated late, if that is the fault.
    pub(super) fn isolate_late(&mut self) {
        if self.fault == Some(Fault::Following(StaleFault::NewPodsOpen)) && !self.view.unguarded.is_empty() {
            self.isolate_after(LATE);
        }
    }

    /// Isolates all pods again, later.
    fn isolate_after(&mut self, delay: Duration) {
        self.view.unguarded.clear();
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
            // A node that follows no changes does not follow this one either.
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

/// Waits until rules are in force.
async fn finished(rules: Vec<JoinHandle<io::Result<()>>>) -> Result<(), Error> {
    for node in rules {
        let result = node.await.map_err(io::Error::other).and_then(|result| result);
        result.map_err(|error| Error::failed("enforce the policies", error))?;
    }
    Ok(())
}

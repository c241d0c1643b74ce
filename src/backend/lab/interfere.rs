//! Interference with a running lab: events that happen in real networks during a measurement.
//!
//! The enforcer causes none of them. So none of them may be reported as a leak or as blocked by the policies,
//! and what cannot be measured because of them must not pass. A seed determines where they happen, so that a
//! run can be repeated.

use std::time::Duration;

use tokio::time::sleep;

use super::Lab;
use super::netns::Netns;
use crate::backend::{Error, Interference};
use crate::world::EndpointName;

/// Time for which an agent is suspended. It is much longer than the shortest timeout, and shorter than the
/// longest.
const DELAY: Duration = Duration::from_millis(700);

const TABLE: &str = "inet interference";

impl Lab {
    /// Interferes with the lab at a location that the seed determines. Returns the location.
    ///
    /// # Errors
    /// If the lab has not been started, or if the kernel refuses.
    pub async fn interfere(&mut self, interference: Interference, seed: u64) -> Result<String, Error> {
        let mut random = fastrand::Rng::with_seed(seed);
        match interference {
            Interference::PathDies => {
                let node = random.usize(..self.nodes.len().max(1));
                let rules = ["iifname eth0 drop", "oifname eth0 drop"];
                self.drop_packets(node, &rules).await?;
                Ok(format!("node-{}", node + 1))
            }
            Interference::Loss => {
                for node in 0..self.nodes.len() {
                    self.drop_packets(node, &["numgen random mod 100 < 20 drop"]).await?;
                }
                Ok("every node".to_owned())
            }
            Interference::Delay => {
                let name = self.any_agent(&mut random)?;
                if let Some(process) = self.processes.get(&name) {
                    let failed = |error| Error::failed(format!("stop the agent of {name}"), error);
                    let stopped = process.stop().map_err(failed)?;
                    tokio::spawn(async move {
                        sleep(DELAY).await;
                        drop(stopped);
                    });
                }
                Ok(name.to_string())
            }
            Interference::AgentKilled => {
                let name = self.any_agent(&mut random)?;
                // The lab holds the agent's network namespace, so that the network remains.
                self.processes.remove(&name);
                Ok(name.to_string())
            }
        }
    }

    /// Chooses an agent. Sorts them first, so that a seed always chooses the same one.
    fn any_agent(&self, random: &mut fastrand::Rng) -> Result<EndpointName, Error> {
        let mut names: Vec<_> = self.processes.keys().collect();
        names.sort_unstable();
        let chosen = random.choice(names).cloned();
        chosen.ok_or_else(|| Error::failed("interfere with an agent", "the lab has none"))
    }

    /// Lets a node drop the forwarded packets that these rules match.
    async fn drop_packets(&self, node: usize, rules: &[&str]) -> Result<(), Error> {
        let netns: Option<&Netns> = self.nodes.get(node).map(|node| &node.space.netns);
        let netns = netns.ok_or_else(|| Error::failed("interfere with a node", "it has not been started"))?;
        let mut commands = vec![
            format!("add table {TABLE}"),
            // The chain comes before those that enforce policies, so that these do not seem to drop the
            // packets.
            format!("add chain {TABLE} forward {{ type filter hook forward priority -10; policy accept; }}"),
        ];
        commands.extend(rules.iter().map(|rule| format!("add rule {TABLE} forward {rule}")));
        let applied = self.nft.apply(netns, commands).await;
        applied.map_err(|error| Error::failed("interfere with a node", error))
    }
}

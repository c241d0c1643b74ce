//! What a round's probes showed at their destinations, and the answers sorted by what they were sent for.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use netproof_probe::wire::{Listener, Nonce, Outcome};

use super::batch::{Failure, OwnListener, Purpose, Sent};
use super::canary::Path;
use super::legs::LegSent;
use crate::world::EndpointName;

/// The name of an agent, and its listener.
pub(crate) type ArrivedAt = (String, Listener);

/// The legs of one probe, by their indices.
pub(crate) type Legs = BTreeMap<usize, LegSent>;

/// What the destinations of a round show.
#[derive(Default)]
pub(crate) struct Arrived {
    /// Each with the places where it arrived.
    pub(crate) nonces: HashMap<Nonce, Vec<ArrivedAt>>,
    /// The destinations whose logs could not be read.
    pub(crate) unread: HashMap<EndpointName, Failure>,
    /// The listeners that answered their own agents.
    pub(crate) listeners: HashSet<OwnListener>,
    /// The paths on which a canary was sent.
    pub(crate) sent: HashSet<Path>,
    /// Those of them on which it got through.
    pub(crate) paths: HashSet<Path>,
}

/// Returns every arrival with its agent.
pub(crate) fn places(nonces: &HashMap<Nonce, Vec<ArrivedAt>>) -> impl Iterator<Item = (Nonce, &str)> {
    nonces.iter().flat_map(|(nonce, places)| places.iter().map(move |(agent, _)| (*nonce, agent.as_str())))
}

impl Arrived {
    /// Whether a probe arrived at any of these agents.
    pub(crate) fn is_at(&self, nonce: Nonce, agents: &[String]) -> bool {
        let places = self.nonces.get(&nonce).into_iter().flatten();
        places.into_iter().any(|(agent, _)| agents.contains(agent))
    }

    /// The first agent at which a probe arrived.
    pub(crate) fn elsewhere(&self, nonce: Nonce) -> Option<&str> {
        let (agent, _) = self.nonces.get(&nonce)?.first()?;
        Some(agent)
    }

    /// Sorts what the agents say of a round's probes.
    pub(crate) fn sort(&mut self, results: Vec<(Option<Duration>, Vec<Sent>)>) -> BTreeMap<usize, Legs> {
        let mut probes = BTreeMap::<usize, Legs>::new();
        for (left, batch) in results {
            for (purpose, result) in batch {
                let is_answered = result.as_ref().is_ok_and(|result| {
                    // What no agent signed proves nothing.
                    let is_signed = |outcome: &Outcome| match outcome {
                        Outcome::Answered { .. } => true,
                        Outcome::DnsAnswered { agent, .. } => agent.is_some(),
                        Outcome::Silent { .. }
                        | Outcome::Refused
                        | Outcome::Cut { .. }
                        | Outcome::Unreachable { .. }
                        | Outcome::Garbled { .. }
                        | Outcome::Unsupported { .. }
                        | Outcome::Failed { .. } => false,
                    };
                    is_signed(&result.outcome)
                });
                match purpose {
                    Purpose::Leg { probe, leg, nonce } => {
                        probes.entry(probe).or_default().insert(leg, LegSent { nonce, left, result });
                    }
                    Purpose::Listener(own) if is_answered => drop(self.listeners.insert(own)),
                    Purpose::Listener(_) => {}
                    Purpose::Canary(path, nonce) => {
                        if result.is_ok() {
                            self.sent.insert(path);
                        }
                        // That the answer is lost says nothing against the way there.
                        if is_answered || self.nonces.contains_key(&nonce) {
                            self.paths.insert(path);
                        }
                    }
                }
            }
        }
        probes
    }
}

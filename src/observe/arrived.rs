//! What the probes of a round showed at their destinations, and their results by purpose.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use netproof_probe::wire::{Listener, Nonce, Outcome};

use super::batch::{Answer, OwnListener, Purpose};
use super::canary::Path;
use crate::backend::Error;

/// The name of an agent, and its listener.
pub(super) type ArrivedAt = (String, Listener);

/// The legs of one probe, by index: the nonce of each, and its result.
pub(super) type Legs = BTreeMap<usize, (Nonce, Result<Answer, Error>)>;

/// What the destinations of a round have received.
#[derive(Default)]
pub(super) struct Arrived {
    /// Each nonce with the places where it arrived.
    pub(super) nonces: HashMap<Nonce, Vec<ArrivedAt>>,
    /// The source addresses of canaries, as their receivers saw them.
    pub(super) sources: HashMap<Nonce, IpAddr>,
    /// The agents whose logs could not be read.
    pub(super) unread: HashMap<String, Error>,
    /// The listeners that answered their own agents.
    pub(super) listeners: HashSet<OwnListener>,
    /// The paths on which a canary was sent.
    pub(super) sent: HashSet<Path>,
    /// The paths on which a canary got through.
    pub(super) paths: HashSet<Path>,
    /// The source address of a canary on each path, where it arrived.
    pub(super) path_sources: HashMap<Path, IpAddr>,
}

/// Returns every arrival with its agent.
pub(super) fn places(nonces: &HashMap<Nonce, Vec<ArrivedAt>>) -> impl Iterator<Item = (Nonce, &str)> {
    nonces.iter().flat_map(|(nonce, places)| places.iter().map(move |(agent, _)| (*nonce, agent.as_str())))
}

impl Arrived {
    /// Returns whether a probe arrived at any of these agents.
    pub(super) fn is_at(&self, nonce: Nonce, agents: &[String]) -> bool {
        let places = self.nonces.get(&nonce).into_iter().flatten();
        places.into_iter().any(|(agent, _)| agents.contains(agent))
    }

    /// Returns the first agent at which a probe arrived.
    pub(super) fn elsewhere(&self, nonce: Nonce) -> Option<&str> {
        let (agent, _) = self.nonces.get(&nonce)?.first()?;
        Some(agent)
    }

    /// Sorts the results of a round by purpose. Returns the legs of each probe.
    pub(super) fn sort(&mut self, results: Vec<(Purpose, Result<Answer, Error>)>) -> BTreeMap<usize, Legs> {
        let mut probes = BTreeMap::<usize, Legs>::new();
        for (purpose, result) in results {
            // An answer that no agent signed proves nothing.
            let is_answered = result.as_ref().is_ok_and(|answer| match &answer.result.outcome {
                Outcome::Answered { .. } | Outcome::Accepted => true,
                Outcome::DnsAnswered { agent, .. } => agent.is_some(),
                Outcome::Silent { .. }
                | Outcome::Refused
                | Outcome::Cut { .. }
                | Outcome::Unreachable { .. }
                | Outcome::Garbled { .. }
                | Outcome::Unsupported { .. }
                | Outcome::Failed { .. } => false,
            });
            match purpose {
                Purpose::Leg { probe, leg, nonce } => {
                    probes.entry(probe).or_default().insert(leg, (nonce, result));
                }
                Purpose::Listener(own) if is_answered => drop(self.listeners.insert(own)),
                Purpose::Listener(_) => {}
                Purpose::Canary(path, nonce) => {
                    if result.is_ok() {
                        self.sent.insert(path);
                    }
                    if let Some(source) = self.sources.get(&nonce) {
                        self.path_sources.insert(path, *source);
                    }
                    // A lost answer says nothing about the path to the receiver.
                    if is_answered || self.nonces.contains_key(&nonce) {
                        self.paths.insert(path);
                    }
                }
            }
        }
        probes
    }
}

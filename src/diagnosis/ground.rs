//! A case, prepared for predictions: the routes of its cells, and what the enforcers of its nodes know.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use super::evidence::{Case, Seen};
use crate::deviation::{EnforcerState, Follower, Opening};
use crate::plan::{Route, Router};
use crate::policy::{
    Cluster, ClusterPeer, Direction, Engine, IpFamily, NamespaceScope, Peer, Peers, Pod, Requirement,
};
use crate::profile::one_direction;
use crate::snapshot::Identity;
use crate::world::World;

use super::hypothesis::Parts;

/// A case, prepared for predictions.
pub(super) struct Ground<'a> {
    pub(super) case: &'a Case<'a>,
    pub(super) world: &'a World,
    /// The state before the case's own.
    pub(super) before: Option<&'a World>,
    prepared: OnceCell<Prepared>,
}

/// The engine of a case's state, and the route of each judged cell.
pub(super) struct Prepared {
    pub(super) engine: Engine,
    pub(super) routes: Vec<Option<Route>>,
    /// The rules of each direction alone.
    egress: OnceCell<Rc<Vec<Engine>>>,
    ingress: OnceCell<Rc<Vec<Engine>>>,
}

impl<'a> Ground<'a> {
    /// Prepares a case. `None` if the states of the case are not known.
    pub(super) fn new(case: &'a Case<'a>, earlier: Option<&'a World>) -> Option<Self> {
        let world = case.states.last()?;
        let before = case.states.iter().rev().nth(1).map(AsRef::as_ref).or(earlier);
        Some(Self { case, world, before, prepared: OnceCell::new() })
    }

    pub(super) fn prepared(&self) -> &Prepared {
        self.prepared.get_or_init(|| {
            let engine = Engine::new(self.world.cluster.clone());
            let router = Router::new(self.world, &engine);
            let routes = self.case.cells.iter().map(|Seen { cell, .. }| router.route(cell)).collect();
            Prepared { routes, engine, egress: OnceCell::new(), ingress: OnceCell::new() }
        })
    }

    /// Returns the rules of one direction, as they are.
    pub(super) fn rules(&self, direction: Direction) -> Rc<Vec<Engine>> {
        let Prepared { egress, ingress, .. } = self.prepared();
        let rules = match direction {
            Direction::Egress => egress,
            Direction::Ingress => ingress,
        };
        let compile = || Rc::new(vec![Engine::new(one_direction(&self.world.cluster, direction))]);
        Rc::clone(rules.get_or_init(compile))
    }
}

/// The enforcers of a scenario's nodes: what they know after each state.
pub(super) struct Knowledge {
    followers: Vec<Follower>,
}

impl Knowledge {
    pub(super) fn new(parts: &Parts) -> Self {
        Self { followers: parts.knowledge.iter().map(|deviation| Follower::new(Some(deviation))).collect() }
    }

    /// Processes the next state. Returns what the enforcers know after it.
    pub(super) fn see(&mut self, world: &World) -> EnforcerState {
        let right = EnforcerState { cluster: world.cluster.clone(), ..EnforcerState::default() };
        self.followers.iter_mut().fold(right, |state, follower| {
            let next = follower.see(&state.cluster, &world.written);
            let opening = if next.unguarded.is_empty() { state.opening } else { next.opening };
            EnforcerState {
                cluster: next.cluster,
                strangers: state.strangers.into_iter().chain(next.strangers).collect(),
                unguarded: state.unguarded.into_iter().chain(next.unguarded).collect(),
                opening,
                without_ipv4: state.without_ipv4.into_iter().chain(next.without_ipv4).collect(),
                frozen: next.frozen.or(state.frozen),
            }
        })
    }
}

/// Returns what a node knows that no longer follows changes: an earlier state, with the pods of the present one. Pods
/// that it has never seen are peers of nothing, and nothing isolates them.
pub(super) fn frozen(earlier: &EnforcerState, now: &World) -> EnforcerState {
    let mut state = earlier.clone();
    state.cluster.nodes.clone_from(&now.cluster.nodes);
    state.cluster.services.clone_from(&now.cluster.services);
    state.opening = Opening::Always;
    let known = std::mem::take(&mut state.cluster.pods);
    for pod in &now.cluster.pods {
        let is_it =
            |old: &&Pod| Identity::of_pod(old) == Identity::of_pod(pod) && old.addresses == pod.addresses;
        match known.iter().find(is_it) {
            Some(old) => state.cluster.pods.push(Pod { ended: pod.ended, ..old.clone() }),
            None => {
                state.strangers.insert(Identity::of_pod(pod));
                state.unguarded.insert(Identity::of_pod(pod));
                state.cluster.pods.push(pod.clone());
            }
        }
    }
    state
}

/// Label of pods that no peer matches.
const STRANGER: &str = "netproof.dev/stranger";

/// Makes the peers of all policies match none of these pods.
pub(super) fn hide(cluster: &mut Cluster, strangers: &BTreeSet<Identity>) {
    if strangers.is_empty() {
        return;
    }
    for pod in cluster.pods.iter_mut().filter(|pod| strangers.contains(&Identity::of_pod(pod))) {
        pod.labels.insert(STRANGER.to_owned(), String::new());
    }
    let known = |selector: &crate::policy::LabelSelector| {
        let requirement = Requirement::DoesNotExist(STRANGER.to_owned());
        selector.requirements().cloned().chain([requirement]).collect()
    };
    for policy in &mut cluster.policies {
        for rule in policy.ingress.iter_mut().chain(&mut policy.egress).flatten() {
            let Peers::Only(peers) = &mut rule.peers else { continue };
            for peer in peers {
                match peer {
                    Peer::Pods { namespaces: NamespaceScope::Own | NamespaceScope::Selected(_), pods } => {
                        *pods = known(pods);
                    }
                    Peer::IpBlock(_) => {}
                }
            }
        }
    }
    for policy in &mut cluster.cluster_policies {
        for peer in policy.ingress.iter_mut().chain(&mut policy.egress).flat_map(|rule| &mut rule.peers) {
            match peer {
                ClusterPeer::Pods(selector) => selector.pods = known(&selector.pods),
                ClusterPeer::Nodes(_) | ClusterPeer::DomainNames(_) | ClusterPeer::Network(_) => {}
            }
        }
    }
}

/// Returns the pods whose first address has another family.
pub(super) fn without_first_address(cluster: &Cluster, family: IpFamily) -> BTreeSet<Identity> {
    let is_other = |pod: &&Pod| pod.addresses.first().is_some_and(|first| IpFamily::of(*first) != family);
    cluster.pods.iter().filter(is_other).map(Identity::of_pod).collect()
}

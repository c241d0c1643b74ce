//! Which connections a change may have changed.

use std::collections::HashSet;

use super::arena::Id;
use super::ends::Group;
use super::engine::{Engine, PodId};
use super::matched::{CompiledPeer, Matched, PolicyId, Selecting};
use super::ordered::PeerId;
use super::rule::Direction;
use super::scopes::SubjectId;

/// The connections that may be others than before a change. All others are the same.
///
/// The ids are those of after the change.
#[derive(Debug, Default)]
pub struct Changed {
    /// The pods that the change created or put into another group: all of their connections may be others.
    pub pods: Vec<PodId>,
    /// From any of the first ends to any of the second ones.
    pub pairs: Vec<(Ends, Ends)>,
}

/// Ends of connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ends {
    /// All pods and all addresses.
    All,
    /// Pods and addresses of these groups.
    These(HashSet<Group>),
}

impl Ends {
    /// Returns whether the ends of a group are included.
    pub fn include(&self, group: Group) -> bool {
        match self {
            Self::All => true,
            Self::These(groups) => groups.contains(&group),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::All => false,
            Self::These(groups) => groups.is_empty(),
        }
    }
}

impl Changed {
    /// Returns whether the connections between two groups may be others than before, for pods that are not in
    /// [`Changed::pods`].
    pub fn includes(&self, source: Group, destination: Group) -> bool {
        self.pairs.iter().any(|(from, to)| from.include(source) && to.include(destination))
    }

    /// Returns whether all connections are the same as before.
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty() && self.pairs.is_empty()
    }

    /// Adds the connections between subjects and their remote ends.
    pub(super) fn add(&mut self, direction: Direction, subjects: Ends, remotes: Ends) {
        if subjects.is_empty() || remotes.is_empty() {
            return;
        }
        self.pairs.push(match direction {
            Direction::Egress => (subjects, remotes),
            Direction::Ingress => (remotes, subjects),
        });
    }

    /// Adds the connections to and from some ends.
    pub(super) fn add_both(&mut self, ends: &Ends, others: &Ends) {
        for direction in Direction::ALL {
            self.add(direction, ends.clone(), others.clone());
        }
    }

    /// Replaces the group of each pod of `before`, which has one pod for each group, by the group that this pod has now.
    pub(super) fn renamed(self, before: &[Option<PodId>], engine: &Engine) -> Self {
        let now = |group: Group| match group {
            Group::External(_) => Some(group),
            Group::Pods(cohort) => {
                let pod = before.get(cohort.index()).copied().flatten()?;
                engine.cohort_of(pod).map(Group::Pods)
            }
        };
        let renamed = |ends| match ends {
            Ends::All => Ends::All,
            Ends::These(groups) => Ends::These(groups.into_iter().filter_map(now).collect()),
        };
        let pairs = self.pairs.into_iter().map(|(from, to)| (renamed(from), renamed(to)));
        Self { pairs: pairs.collect(), ..self }
    }
}

/// A policy that comes or goes.
#[derive(Clone, Copy)]
pub(super) struct Edited {
    pub(super) id: PolicyId,
    pub(super) subject: SubjectId,
}

impl Engine {
    /// Returns one pod of each group, by the index of the cohort.
    pub(super) fn representatives(&self) -> Vec<Option<PodId>> {
        let mut all = vec![None; self.cohorts.pool.bound()];
        for (at, cohort) in self.cohort_of.iter().enumerate() {
            if let Some(slot) = all.get_mut(cohort.index()) {
                *slot = Some(Id::new(at));
            }
        }
        all
    }

    /// Returns the groups of pods with `hostNetwork`.
    pub(super) fn host_groups(&self) -> Ends {
        self.groups_where(|group| self.is_host_group(group))
    }

    fn is_host_group(&self, group: Group) -> bool {
        group.cohort().is_some_and(|cohort| self.class(cohort).host_network)
    }

    /// Returns the ends whose ports may lead to Services and to other pods: pods with `hostNetwork`, and addresses of
    /// nodes.
    pub(super) fn ends_with_node_ports(&self) -> Ends {
        let Ends::These(mut groups) = self.host_groups() else { return Ends::All };
        let atoms = self.space.atoms().ids().filter(|atom| self.node_addresses.touch(*atom));
        groups.extend(atoms.map(Group::External));
        Ends::These(groups)
    }

    /// Returns all addresses.
    pub(super) fn outside(&self) -> Ends {
        Ends::These(self.space.atoms().ids().map(Group::External).collect())
    }

    fn groups_where(&self, is_it: impl Fn(Group) -> bool) -> Ends {
        let groups = self.cohorts.pool.iter().map(|(cohort, _)| Group::Pods(cohort));
        Ends::These(groups.filter(|group| is_it(*group)).collect())
    }

    /// Returns which connections two versions of a policy may decide. Both of them must be compiled.
    ///
    /// The rules of a policy only matter between a subject and a remote end that a peer matches. Only if the policy may be
    /// the one that isolates a subject, it matters for all remote ends.
    pub(super) fn decided_by(&self, versions: &[Edited]) -> Changed {
        let mut changed = Changed::default();
        for direction in Direction::ALL {
            let versions: Vec<_> = versions
                .iter()
                .copied()
                .filter(|version| self.policies[version.id].rules(direction).is_some())
                .collect();
            let (mut isolated, mut others) = (HashSet::new(), HashSet::new());
            for (cohort, _) in self.cohorts.pool.iter() {
                let set = &self.subject_sets[self.class(cohort).subjects];
                let is_subject = |version: &&Edited| {
                    set.binary_search_by_key(&version.subject, |(subject, _)| *subject).is_ok()
                };
                if versions.iter().find(is_subject).is_none() {
                    continue;
                }
                let group = Group::Pods(cohort);
                match self.may_decide_all(&versions, self.selecting(self.class(cohort), direction)) {
                    true => isolated.insert(group),
                    false => others.insert(group),
                };
            }
            changed.add(direction, Ends::These(isolated), Ends::All);
            if !others.is_empty() {
                let remotes = self.remotes(&versions, direction);
                changed.add(direction, Ends::These(others), remotes);
            }
        }
        changed
    }

    /// Returns whether versions of a policy may decide about all remote ends of a subject, which the policies of `list`
    /// select: because they may be the ones that isolate it, or because it is not known whether they select it.
    fn may_decide_all(&self, versions: &[Edited], list: &[Selecting]) -> bool {
        let is_edited = |each: &Selecting| versions.iter().any(|version| version.id == each.policy);
        let isolates = |each: &Selecting| each.how == Matched::Surely && self.is_in_union(each.policy);
        let (edited, others): (Vec<&Selecting>, Vec<&Selecting>) =
            list.iter().partition(|each| is_edited(each));
        if edited.iter().any(|each| each.how != Matched::Surely) {
            return true;
        }
        let is_isolated = others.into_iter().any(isolates);
        let stays_isolating = edited.len() == 2 && edited.iter().all(|each| isolates(each));
        let is_in_union = edited.iter().any(|each| self.is_in_union(each.policy));
        is_in_union && !is_isolated && !stays_isolating
    }

    /// Returns the remote ends that the rules of some policies may match.
    fn remotes(&self, versions: &[Edited], direction: Direction) -> Ends {
        let mut selectors: Vec<PeerId> = Vec::new();
        for rule in versions.iter().flat_map(|version| self.rules(version.id, direction)) {
            let Some(peers) = &rule.rule.peers else { return Ends::All };
            for peer in peers {
                match self.peer(*peer) {
                    CompiledPeer::Pods => selectors.push(*peer),
                    CompiledPeer::IpBlock(..) | CompiledPeer::Nodes(_) | CompiledPeer::DomainNames => {
                        return Ends::All;
                    }
                }
            }
        }
        self.groups_where(|group| {
            let Some(cohort) = group.cohort() else { return false };
            selectors.iter().any(|peer| self.matches(*peer, self.class(cohort)).is_some())
        })
    }
}

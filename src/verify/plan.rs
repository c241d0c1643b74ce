//! The plan of a check: the twins that it adds to a cluster, and the questions that it asks.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::class::{Class, classes, twin};
use super::label_leak::{LabelLeak, label_leaks};
use super::outside::Outside;
use super::ports::{PortOf, edges, is_free, of_intent, served, unnamed};
use super::question::{Question, tenants_of};
use crate::plan::Cell;
use crate::policy::{Cluster, Engine, IpFamily, Pod, PodId, Reach};
use crate::snapshot::{Identity, Snapshot};
use crate::tenants::{Party, Tenancy, Wish};
use crate::world::{EndpointName, Probe, World};

/// What a check does.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The cluster with the twins.
    pub world: World,
    /// What is asked, in the order in which it is shown.
    pub questions: Vec<Question>,
    /// Labels by which tenants would enter each other.
    pub label_leaks: Vec<LabelLeak>,
    /// How much of what could be asked is asked.
    pub coverage: Coverage,
}

/// How much of what could be asked is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// Count of running pods for which twins stand.
    pub pods: usize,
    /// Count of twins.
    pub twins: usize,
    /// Count of ordered pairs of twins.
    pub pairs: usize,
    /// Count of questions that are asked.
    pub asked: usize,
    /// Count of questions that `--max-probes` leaves out.
    pub left_out: usize,
}

/// Why there is nothing to check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The cluster has no node on which a twin could run.
    #[error("the cluster has no nodes, so no probe pod can run: check that nodes can be listed")]
    NoNodes,
    /// There are no two ends between which something could be asked.
    #[error("the tenants have no two pods between which anything could be asked")]
    NoPairs,
}

/// Twins by the class for which they stand.
struct Twins {
    list: Vec<(Class, Pod)>,
}

impl Plan {
    /// Plans a check. At most `most` questions are asked.
    ///
    /// # Errors
    /// If there is nothing to check.
    pub fn new(snapshot: &Snapshot, tenancy: &Tenancy, most: Option<usize>) -> Result<Self, Error> {
        if snapshot.cluster.nodes.is_empty() {
            return Err(Error::NoNodes);
        }
        let twins = Twins::new(snapshot, tenancy);
        let mut cluster = snapshot.cluster.clone();
        let first = cluster.pods.len();
        cluster.pods.extend(twins.list.iter().map(|(_, pod)| pod.clone()));
        let families = families(&snapshot.cluster);
        let (mut questions, pairs) = twins.questions(&cluster, first, tenancy, &families);
        let outside = Outside::new(&cluster, tenancy);
        questions.extend(outside.questions(twins.list.iter().map(|(_, pod)| pod), tenancy, &families));
        if questions.is_empty() {
            return Err(Error::NoPairs);
        }
        let left_out = cut(&mut questions, most);
        let coverage = Coverage {
            pods: twins.list.iter().map(|(class, _)| class.members.len()).sum(),
            twins: twins.list.len(),
            pairs,
            asked: questions.len(),
            left_out,
        };
        let world = World {
            cluster,
            externals: outside.externals(),
            families,
            twins: twins.list.iter().map(|(_, pod)| Identity::of_pod(pod)).collect(),
            ..World::default()
        };
        let label_leaks = label_leaks(&snapshot.cluster, tenancy);
        Ok(Self { world, questions, label_leaks, coverage })
    }

    /// Returns the cells of all questions.
    pub fn cells(&self) -> Vec<Cell> {
        self.questions.iter().map(|question| question.cell.clone()).collect()
    }
}

/// Returns the families of the pods' addresses; IPv4 if no address is known.
fn families(cluster: &Cluster) -> Vec<IpFamily> {
    let has = |family: &IpFamily| cluster.pods.iter().any(|pod| pod.address(*family).is_some());
    let known: Vec<IpFamily> = IpFamily::ALL.into_iter().filter(has).collect();
    if known.is_empty() { vec![IpFamily::V4] } else { known }
}

/// Removes the questions of the highest ranks until at most `most` remain, evenly from all pairs. Returns how many were
/// removed.
fn cut(questions: &mut Vec<Question>, most: Option<usize>) -> usize {
    let Some(excess) = most.and_then(|most| questions.len().checked_sub(most)).filter(|excess| *excess > 0)
    else {
        return 0;
    };
    let mut of_pair = BTreeMap::<(EndpointName, EndpointName), usize>::new();
    let mut ranks: Vec<(u8, usize, usize)> = Vec::new();
    for (index, question) in questions.iter().enumerate() {
        let pair = (question.cell.from.clone(), question.cell.to.clone());
        let number = of_pair.entry(pair).or_default();
        ranks.push((question.rank(), *number, index));
        *number += 1;
    }
    ranks.sort_unstable();
    let removed: BTreeSet<usize> = ranks.iter().rev().take(excess).map(|(.., index)| *index).collect();
    let mut index = 0;
    questions.retain(|_| {
        index += 1;
        !removed.contains(&(index - 1))
    });
    excess
}

impl Twins {
    fn new(snapshot: &Snapshot, tenancy: &Tenancy) -> Self {
        let tenants = tenancy.tenants();
        let namespaces: BTreeSet<String> =
            tenants.iter().flat_map(|tenant| tenant.namespaces.iter().cloned()).collect();
        let partners = Partners::new(tenancy, &snapshot.cluster, &namespaces);
        let is_wanted = |pod: &Pod| namespaces.contains(&pod.namespace) || partners.include(pod);
        let classes = classes(snapshot, tenancy, &namespaces, is_wanted);
        let mut list: Vec<(Class, Pod)> = Vec::new();
        let mut names = BTreeSet::new();
        let mut add = |class: Class, list: &mut Vec<(Class, Pod)>| {
            let base = format!("{}@{}", class.name, class.node);
            let numbered = (2..).map(|number| format!("{}~{number}@{}", class.name, class.node));
            let mut candidates = std::iter::once(base).chain(numbered);
            let name = candidates.find(|name| names.insert((class.namespace.clone(), name.clone())));
            let pod = twin(&class, &snapshot.cluster, name.unwrap_or_default());
            list.push((class, pod));
        };
        let mut count = BTreeMap::<String, usize>::new();
        for class in &classes {
            *count.entry(class.namespace.clone()).or_default() += 1;
        }
        for class in classes {
            // Within a namespace, it takes two pods to ask anything.
            let is_alone = count.get(&class.namespace) == Some(&1) && namespaces.contains(&class.namespace);
            if is_alone {
                add(Class { members: Vec::new(), ..class.clone() }, &mut list);
            }
            add(class, &mut list);
        }
        Self { list }
    }

    /// Returns the questions between all pairs of twins, and the count of pairs. The twins are the pods of the cluster
    /// from index `first` on.
    fn questions(
        &self,
        cluster: &Cluster,
        first: usize,
        tenancy: &Tenancy,
        families: &[IpFamily],
    ) -> (Vec<Question>, usize) {
        let engine = Engine::new(cluster.clone());
        let ids: Vec<PodId> = engine.pods().map(|(id, _)| id).skip(first).collect();
        let mut reach = engine.reach();
        let of_intent = of_intent(tenancy);
        let served: Vec<BTreeSet<PortOf>> = self
            .list
            .iter()
            .map(|(class, _)| {
                served(class.members.iter().filter_map(|member| cluster.pods.get(*member)), cluster)
            })
            .collect();
        let (mut questions, mut pairs) = (Vec::new(), 0);
        for (source, from) in self.list.iter().zip(&ids) {
            for ((target, to), served) in self.list.iter().zip(&ids).zip(&served) {
                if from == to {
                    continue;
                }
                let mut ports = served.clone();
                ports.extend(of_intent.iter().copied().chain(unnamed()));
                ports.extend(allowed_edges(&mut reach, *from, *to));
                let before = questions.len();
                for (protocol, port) in ports.into_iter().filter(is_free) {
                    let (from, to) = (&source.1, &target.1);
                    let intent = tenancy.intent(Party::of_pod(from), Party::of_pod(to), port, protocol);
                    let cell = |family: &IpFamily| Cell {
                        from: EndpointName::of_pod(from),
                        to: EndpointName::of_pod(to),
                        family: *family,
                        probe: Probe::Port { port, protocol },
                    };
                    questions.extend(families.iter().map(cell).map(|cell| Question {
                        cell,
                        intent: intent.clone(),
                        from: tenants_of(tenancy, from),
                        to: tenants_of(tenancy, to),
                    }));
                }
                // Nothing is wanted of pods of no tenant among themselves.
                if questions
                    .iter()
                    .skip(before)
                    .all(|question| question.from.is_empty() && question.to.is_empty())
                {
                    questions.truncate(before);
                } else {
                    pairs += 1;
                }
            }
        }
        (questions, pairs)
    }
}

/// Returns the ports at which the policies change their mind between two pods.
fn allowed_edges(reach: &mut Reach<'_>, from: PodId, to: PodId) -> BTreeSet<PortOf> {
    let Some((from, to)) = reach.pod(from).zip(reach.pod(to)) else { return BTreeSet::new() };
    let id = reach.between(&[from], &[to]);
    let connections = reach.connections(id);
    edges(&connections.allowed).into_iter().chain(edges(&connections.undefined)).collect()
}

/// Finds the pods of no tenant that tenants must reach, or that must reach tenants, such as those of shared services.
struct Partners<'a> {
    tenancy: &'a Tenancy,
    /// One pod for each namespace and set of labels of the tenants.
    tenants: Vec<Pod>,
    ports: BTreeSet<PortOf>,
}

impl<'a> Partners<'a> {
    fn new(tenancy: &'a Tenancy, cluster: &Cluster, namespaces: &BTreeSet<String>) -> Self {
        let pods = cluster.pods.iter().filter(|pod| namespaces.contains(&pod.namespace) && !pod.host_network);
        let bare = namespaces.iter().map(|namespace| (namespace.clone(), BTreeMap::new()));
        let distinct: BTreeSet<_> =
            pods.map(|pod| (pod.namespace.clone(), pod.labels.clone())).chain(bare).collect();
        let pod = |(namespace, labels)| Pod { namespace, labels, ..Pod::default() };
        Self { tenancy, tenants: distinct.into_iter().map(pod).collect(), ports: of_intent(tenancy) }
    }

    fn include(&self, pod: &Pod) -> bool {
        let party = Party::of_pod(pod);
        self.tenants.iter().any(|tenant| {
            let own = Party::of_pod(tenant);
            let mut ports = self.ports.iter().copied().chain(unnamed());
            ports.any(|(protocol, port)| {
                [(party, own), (own, party)].into_iter().any(|(from, to)| {
                    let intent = self.tenancy.intent(from, to, port, protocol);
                    intent.is_some_and(|intent| intent.wish == Wish::Required)
                })
            })
        })
    }
}

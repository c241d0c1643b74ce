//! The plan of a check: the twins that it adds to a cluster, and the questions that it asks.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::class::{Class, classes, twin};
use super::closed_by_sender::{ClosedBySender, closed_by_sender};
use super::end::End;
use super::gap::{Compared, Gap, gaps};
use super::label_leak::{LabelLeak, label_leaks};
use super::lack::lacks;
use super::matrix::Party as Owner;
use super::note::notes;
use super::options::Options;
use super::outside::Outside;
use super::ports::{PortOf, any_port, edges, is_free, of_intent, served, unnamed};
use super::question::{Ends, Question};
use super::stranger::strangers;
use super::workload;
use crate::plan::Cell;
use crate::policy::{Cluster, Engine, IpFamily, Pod, PodId, Reach};
use crate::snapshot::{Identity, Snapshot};
use crate::tenants::{Party, Tenancy, Wish};
use crate::world::{EndpointName, World};

/// What a check does.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The cluster with the twins.
    pub world: World,
    /// What is asked, in the order in which it is shown.
    pub questions: Vec<Question>,
    /// Policy gaps of all connections, also of those that are not asked.
    pub gaps: Vec<Gap>,
    /// Source and destination, each a tenant or none, of connections of which the policies allow some.
    pub open: BTreeSet<(Owner, Owner)>,
    /// Connections to other tenants that only the policies of their senders deny, one for each pair of tenants.
    pub closed_by_sender: Vec<ClosedBySender>,
    /// What is not asked, and why.
    pub notes: Vec<String>,
    /// Labels by which tenants would enter each other.
    pub label_leaks: Vec<LabelLeak>,
    /// How much of what could be asked is asked.
    pub coverage: Coverage,
    /// What no question asks, although a pass needs it.
    pub lacks: Vec<String>,
    /// Indices of the twins in the cluster's pods, each with those of the running pods for which it stands.
    members: Vec<(usize, Vec<usize>)>,
}

/// How much of what could be asked is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// Count of running pods for which twins stand.
    pub pods: usize,
    /// Count of twins.
    pub twins: usize,
    /// Count of running pods whose networks are used.
    pub entered: usize,
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

impl Plan {
    /// Plans a check.
    ///
    /// # Errors
    /// If there is nothing to check.
    pub fn new(snapshot: &Snapshot, tenancy: &Tenancy, options: &Options) -> Result<Self, Error> {
        if snapshot.cluster.nodes.is_empty() {
            return Err(Error::NoNodes);
        }
        let mut cluster = snapshot.cluster.clone();
        let families = options.families.clone();
        let mut twins = twins(snapshot, tenancy, &options.unusable, &mut cluster);
        // With the twins, because a namespace may have no pod yet.
        let Compared { gaps, open, undefined } = gaps(&cluster, &options.strangers, tenancy, &families);
        let closed_by_sender = closed_by_sender(&cluster, tenancy, &families, &gaps);
        let of_workloads = match options.to_workloads {
            true => workload::questions(&twins, &snapshot.cluster, tenancy, &families),
            false => Vec::new(),
        };
        let entered = if options.through_nodes { entered(&twins, &cluster) } else { Vec::new() };
        let strangers = strangers(&options.strangers, &twins, &options.unusable, &mut cluster);
        twins.extend(strangers);
        let members: Vec<_> = twins.iter().map(|end| (end.index, end.class.members.clone())).collect();
        let [twin_names, entered_names] = [&twins, &entered].map(|ends| identities(ends));
        let ends: Vec<End> = twins.into_iter().chain(entered).collect();
        let (mut questions, pairs) = questions(&ends, &cluster, tenancy, &families);
        let outside = Outside::new(&cluster, tenancy);
        // No rule of the tenants is about strangers.
        let own: Vec<&Pod> = ends.iter().filter(|end| !end.is_stranger).map(|end| &end.pod).collect();
        questions.extend(of_workloads);
        questions.extend(outside.questions(own.iter().copied(), tenancy, &families));
        if questions.is_empty() {
            return Err(Error::NoPairs);
        }
        let before = pairs_of_tenants(&questions);
        let left_out = cut(&mut questions, options.most);
        let mut lacks = lacks(snapshot, tenancy, &own, &outside, &families);
        let after = pairs_of_tenants(&questions);
        let unasked = before.difference(&after);
        lacks.extend(unasked.map(|(from, to)| format!("nothing is asked from {from} to {to}")));
        lacks.extend(undefined);
        let coverage = Coverage {
            pods: members.iter().map(|(_, members)| members.len()).sum(),
            twins: twin_names.len(),
            entered: entered_names.len(),
            pairs,
            asked: questions.len(),
            left_out,
        };
        let world = World {
            externals: outside.externals(),
            cluster,
            families,
            twins: twin_names,
            strangers: Some(options.strangers.clone()),
            entered: entered_names,
            ..World::default()
        };
        let label_leaks = label_leaks(&snapshot.cluster, tenancy);
        let notes = notes(&snapshot.cluster, tenancy, options);
        Ok(Self {
            world,
            questions,
            gaps,
            open,
            closed_by_sender,
            notes,
            label_leaks,
            coverage,
            lacks,
            members,
        })
    }

    /// Returns the twins, each with the running pods for which it stands.
    pub fn twins(&self) -> impl Iterator<Item = (&Pod, Vec<&Pod>)> {
        let pods = &self.world.cluster.pods;
        let members = |members: &Vec<usize>| members.iter().filter_map(|index| pods.get(*index)).collect();
        self.members.iter().filter_map(move |(twin, own)| Some((pods.get(*twin)?, members(own))))
    }

    /// Returns the cells of all questions.
    pub fn cells(&self) -> Vec<Cell> {
        self.questions.iter().map(|question| question.cell.clone()).collect()
    }
}

fn identities(ends: &[End]) -> BTreeSet<Identity> {
    ends.iter().map(|end| Identity::of_pod(&end.pod)).collect()
}

/// Returns the ordered pairs of tenants about whose isolation something is asked.
fn pairs_of_tenants(questions: &[Question]) -> BTreeSet<(String, String)> {
    let pairs = questions.iter().filter(|it| it.is_between_tenants() && !it.monitored).flat_map(|question| {
        let to = |from: &String| question.to.iter().map(|to| (from.clone(), to.clone())).collect::<Vec<_>>();
        question.from.iter().flat_map(to)
    });
    pairs.collect()
}

/// Removes the questions of the highest ranks until at most `most` remain, evenly from all pairs of tenants. Returns how
/// many were removed.
fn cut(questions: &mut Vec<Question>, most: Option<usize>) -> usize {
    let Some(excess) = most.and_then(|most| questions.len().checked_sub(most)).filter(|excess| *excess > 0)
    else {
        return 0;
    };
    let mut of_pair = BTreeMap::<(u8, Vec<String>, Vec<String>), usize>::new();
    let mut ranks: Vec<(u8, usize, usize)> = Vec::new();
    for (index, question) in questions.iter().enumerate() {
        let rank = question.rank();
        let number = of_pair.entry((rank, question.from.clone(), question.to.clone())).or_default();
        ranks.push((rank, *number, index));
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

/// Returns the twins, and adds them to the cluster.
fn twins(
    snapshot: &Snapshot,
    tenancy: &Tenancy,
    unusable: &BTreeSet<String>,
    cluster: &mut Cluster,
) -> Vec<End> {
    let tenants = tenancy.tenants();
    let namespaces: BTreeSet<String> =
        tenants.iter().flat_map(|tenant| tenant.namespaces.iter().cloned()).collect();
    let partners = Partners::new(tenancy, &snapshot.cluster, &namespaces);
    let is_wanted = |pod: &Pod| namespaces.contains(&pod.namespace) || partners.include(pod);
    let classes = classes(snapshot, tenancy, &namespaces, is_wanted, unusable);
    let mut count = BTreeMap::<&str, usize>::new();
    for class in &classes {
        *count.entry(&class.namespace).or_default() += 1;
    }
    // Within a namespace, it takes two pods to ask anything.
    let is_alone = |class: &Class| {
        count.get(class.namespace.as_str()) == Some(&1) && namespaces.contains(&class.namespace)
    };
    let siblings = classes.iter().filter(|class| is_alone(class));
    let siblings = siblings.map(|class| Class { members: Vec::new(), ..class.clone() });
    let mut names = BTreeSet::new();
    let mut ends = Vec::new();
    for class in classes.iter().cloned().chain(siblings) {
        let numbered = (2..).map(|number| format!("{}~{number}@{}", class.name, class.node));
        let mut candidates = std::iter::once(format!("{}@{}", class.name, class.node)).chain(numbered);
        let name = candidates.find(|name| names.insert((class.namespace.clone(), name.clone())));
        let members = class.members.iter().filter_map(|member| cluster.pods.get(*member));
        let served = served(members, cluster);
        let pod = twin(&class, cluster, name.unwrap_or_default());
        let index = cluster.pods.len();
        cluster.pods.push(pod.clone());
        ends.push(End { class, pod, served, taken: BTreeSet::new(), is_stranger: false, index });
    }
    ends
}

/// Returns one running pod of each class that has some.
fn entered(twins: &[End], cluster: &Cluster) -> Vec<End> {
    // In the lab, no pod has an address yet.
    let has_addresses = cluster.pods.iter().any(|pod| !pod.addresses.is_empty());
    let first = |twin: &End| {
        let members = twin.class.members.iter().filter_map(|index| Some((*index, cluster.pods.get(*index)?)));
        // A pod without an address does not run yet.
        let mut running = members.filter(|(_, pod)| !has_addresses || !pod.addresses.is_empty());
        let (index, pod) = running.next().map(|(index, pod)| (index, pod.clone()))?;
        let taken = pod.ports.iter().map(|port| (port.protocol, port.port)).collect();
        let taken = twin.served.union(&taken).copied().collect();
        let (class, served) = (twin.class.clone(), BTreeSet::new());
        Some(End { class, pod, served, taken, is_stranger: false, index })
    };
    twins.iter().filter_map(first).collect()
}

/// Returns the questions between all pairs of ends, and the count of pairs.
fn questions(
    ends: &[End],
    cluster: &Cluster,
    tenancy: &Tenancy,
    families: &[IpFamily],
) -> (Vec<Question>, usize) {
    let engine = Engine::new(cluster.clone());
    let ids: Vec<PodId> = engine.pods().map(|(id, _)| id).collect();
    let mut reach = engine.reach();
    let of_intent = of_intent(tenancy);
    let (mut questions, mut pairs) = (Vec::new(), 0);
    for from in ends {
        for to in ends.iter().filter(|to| to.index != from.index) {
            let pair = Ends::new(tenancy, &from.pod, EndpointName::of_pod(&to.pod), Some(&to.pod.namespace));
            // Strangers show for each other that their networks work. Nothing is asked of other pods of no tenant among
            // themselves.
            let are_strangers = from.is_stranger && to.is_stranger;
            if pair.are_of_no_tenant() && !are_strangers {
                continue;
            }
            pairs += 1;
            let mut ports = BTreeSet::from_iter(any_port());
            if !are_strangers {
                ports.extend(to.served.iter().chain(&of_intent).copied().chain(unnamed()));
                let ends = ids.get(from.index).zip(ids.get(to.index));
                ports.extend(ends.into_iter().flat_map(|(from, to)| allowed_edges(&mut reach, *from, *to)));
            }
            for at in ports.into_iter().filter(|port| is_free(port) && !to.taken.contains(port)) {
                // What is wanted of pods of no tenant is compared by the engine. No rule is about netproof's own.
                let is_wanted = !from.is_stranger && !to.is_stranger;
                let (source, destination) = (Party::of_pod(&from.pod), Party::of_pod(&to.pod));
                let intent = is_wanted.then(|| tenancy.intent(source, destination, at.1, at.0)).flatten();
                questions.extend(pair.questions(at, families.iter(), intent));
            }
        }
    }
    (questions, pairs)
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

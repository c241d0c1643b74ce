//! Rows: what one subject may exchange with every remote end.
//!
//! A row has no cell for each remote end. It has the connections that each peer of its rules adds, and a remote end knows
//! which peers match it. So rows of a thousand namespaces are not a matrix of a thousand times a thousand namespaces.

use super::address::AtomId;
use super::arena::Id;
use super::bounds::{Algebra, Bounds, BoundsId, Truth};
use super::class::Class;
use super::ends::Group;
use super::engine::Engine;
use super::map::HashMap;
use super::matched::{CompiledPeer, PolicyId, RuleRef, Selecting};
use super::membership::{AddressSet, MatchedAtoms, Membership};
use super::ordered::{OrderedRule, PeerId};
use super::rule::Direction;
use super::rule_peers::{HeldByPeers, RulePeers, View};
use super::rule_ports::HeldPorts;
use super::tier_sets::SetWalk;

/// What the subjects of some policies may exchange with every remote end.
#[derive(Debug)]
pub(super) struct Row<'a> {
    /// All policies, if some of them are not in a union. Otherwise empty.
    policies: Vec<Selecting>,
    /// What the policies of a union allow. `None` if there are none.
    union: Option<UnionRow<'a>>,
    /// The peers of each rule of the other policies.
    ordered: HashMap<(PolicyId, usize), RulePeers>,
}

/// What the rules of a union allow.
#[derive(Debug)]
struct UnionRow<'a> {
    /// Rules that match every remote end, for certain or perhaps.
    anything: Added<'a>,
    perhaps_anything: Added<'a>,
    /// Rules that match pods by selectors, by peer, ascending.
    pods: Vec<(PeerId, Added<'a>)>,
    /// Rules that match nodes, for certain or perhaps.
    nodes: Vec<(Truth, Added<'a>)>,
    blocks: Blocks<'a>,
}

/// What rules with `ipBlock`s allow.
#[derive(Debug, Default)]
struct Blocks<'a> {
    /// For each atom at which the result changes, what is allowed from there on, ascending.
    atoms: Vec<(usize, BoundsId)>,
    /// What is allowed to an unknown address in each [`AddressSet`], by the index of the set.
    among: Vec<BoundsId>,
    /// Rules whose ports depend on the remote end.
    named: Vec<(&'a MatchedAtoms, &'a OrderedRule)>,
}

/// What rules allow if they match a remote end.
#[derive(Debug, Default, Clone)]
struct Added<'a> {
    /// If they match perhaps, and for certain. Egress rules without their port names, which only pods have.
    fixed: Vec<[BoundsId; 2]>,
    /// Egress rules with port names.
    named: Vec<&'a OrderedRule>,
}

impl<'a> Row<'a> {
    /// Computes the row of a subject that exactly these policies select. Only for policies outside a union, their match
    /// may be uncertain.
    pub(super) fn new(
        engine: &'a Engine,
        subject: &Class,
        direction: Direction,
        policies: &[Selecting],
        algebra: &mut Algebra,
    ) -> Self {
        let (union, ordered): (Vec<Selecting>, Vec<Selecting>) =
            policies.iter().partition(|each| engine.is_in_union(each.policy));
        let rules = |each: &Selecting| engine.rules(each.policy, direction);
        let with_peers = |rule: RuleRef<'_>| {
            let peers = RulePeers::new(engine, rule.rule.peers.as_deref());
            ((rule.id, rule.index), peers)
        };
        let peers = ordered.iter().flat_map(rules).map(with_peers).collect();
        let union = (!union.is_empty()).then(|| {
            let rules = union.iter().flat_map(rules).map(|rule| rule.rule);
            UnionRow::new(engine, subject, direction, rules, algebra)
        });
        let policies = if ordered.is_empty() { Vec::new() } else { policies.to_vec() };
        Self { policies, union, ordered: peers }
    }

    /// Returns whether the row needs so much time for a remote end that the result should be kept.
    pub(super) fn is_costly(&self) -> bool {
        !self.policies.is_empty()
    }

    /// Returns what a subject and a remote end may exchange.
    pub(super) fn bounds(&self, view: View<'_>, remote: Group, algebra: &mut Algebra) -> BoundsId {
        let union = self.union.as_ref().map(|union| union.bounds(view, remote, algebra));
        let View { engine, direction, .. } = view;
        if self.policies.is_empty() {
            return union.unwrap_or(algebra.everything);
        }
        let walk = SetWalk {
            direction,
            rule: |rule: RuleRef<'_>| {
                let held = self.ordered.get(&(rule.id, rule.index))?.hold(view, remote);
                (held.any() != Truth::No).then(|| matched(view, rule.rule, held, remote))
            },
            union: union.map(|id| algebra.bounds.arena()[id].clone()),
            is_isolated: true,
        };
        let bounds = engine.walk(&walk, &self.policies);
        algebra.bounds.intern(bounds)
    }
}

impl<'a> UnionRow<'a> {
    fn new(
        engine: &'a Engine,
        subject: &Class,
        direction: Direction,
        rules: impl Iterator<Item = &'a OrderedRule>,
        algebra: &mut Algebra,
    ) -> Self {
        let (mut anything, mut perhaps_anything, mut nodes) =
            (Added::default(), Added::default(), Vec::new());
        let (mut pods, mut blocks) = (Vec::new(), Vec::new());
        let mut named = Vec::new();
        for rule in rules {
            let added = Added::new(engine, subject, direction, rule, algebra);
            let Some(peers) = &rule.peers else {
                anything.extend(&added);
                continue;
            };
            for id in peers {
                match engine.peer(*id) {
                    CompiledPeer::Pods => pods.push((*id, added.clone())),
                    CompiledPeer::IpBlock(_, atoms) => {
                        named.extend(added.named.iter().map(|rule| (atoms, *rule)));
                        blocks.extend(added.fixed.iter().map(|fixed| (atoms, *fixed)));
                    }
                    CompiledPeer::Nodes(are_all) => nodes.push((*are_all, added.clone())),
                    CompiledPeer::DomainNames => perhaps_anything.extend(&added),
                }
            }
        }
        pods.sort_by_key(|(id, _)| *id);
        pods.dedup_by(|(next, added), (last, all)| {
            let is_same = next == last;
            if is_same {
                all.extend(added);
            }
            is_same
        });
        let lists = pods.iter_mut().map(|(_, added)| added).chain([&mut anything, &mut perhaps_anything]);
        lists.for_each(|added| added.sum_up(algebra));
        let blocks = Blocks { named, ..Blocks::new(&blocks, algebra) };
        Self { anything, perhaps_anything, pods, nodes, blocks }
    }

    fn bounds(&self, view: View<'_>, remote: Group, algebra: &mut Algebra) -> BoundsId {
        let engine = view.engine;
        let mut all = Sum { view, remote, algebra, ids: Vec::new() };
        all.add(&self.anything, Truth::Yes);
        all.add(&self.perhaps_anything, Truth::Perhaps);
        match remote {
            Group::External(atom) => {
                if !self.nodes.is_empty() {
                    let is_node = engine.node_addresses.hold(atom);
                    self.nodes.iter().for_each(|(are_all, added)| all.add(added, is_node.min(*are_all)));
                }
                all.ids.extend(self.blocks.at(atom));
            }
            Group::Pods(cohort) => {
                let class = engine.class(cohort);
                self.add_selected(class, &mut all);
                if class.host_network {
                    // Pods with `hostNetwork` have the addresses of their nodes.
                    self.nodes.iter().for_each(|(are_all, added)| all.add(added, *are_all));
                }
                self.blocks.add(class.membership(view.family), &mut all);
            }
        }
        let ids = std::mem::take(&mut all.ids);
        algebra.total(ids)
    }

    /// Adds what the rules allow whose selectors match a remote class.
    fn add_selected(&self, class: &Class, all: &mut Sum<'_, '_>) {
        let View { engine, .. } = all.view;
        let matching = &engine.peer_sets[class.peers];
        // Of two ascending lists, the elements of the shorter one are looked up in the longer one.
        if matching.len() < self.pods.len() {
            for (peer, how) in matching {
                let Ok(at) = self.pods.binary_search_by_key(peer, |(id, _)| *id) else { continue };
                let Some((_, added)) = self.pods.get(at) else { continue };
                all.add(added, all.view.certainty(*how, class));
            }
            return;
        }
        for (peer, added) in &self.pods {
            if let Some(how) = engine.matches(*peer, class) {
                all.add(added, all.view.certainty(how, class));
            }
        }
    }
}

/// What rules allow between a subject and one remote end, as far as it was added up.
struct Sum<'a, 'b> {
    view: View<'a>,
    remote: Group,
    algebra: &'b mut Algebra,
    ids: Vec<BoundsId>,
}

impl Sum<'_, '_> {
    /// Adds rules that match by a peer other than an `ipBlock`.
    fn add(&mut self, added: &Added<'_>, by_selector: Truth) {
        let pick = |[perhaps, surely]: &[BoundsId; 2]| match by_selector {
            Truth::No => None,
            Truth::Perhaps => Some(*perhaps),
            Truth::Yes => Some(*surely),
        };
        self.ids.extend(added.fixed.iter().filter_map(pick));
        for rule in &added.named {
            self.add_named(rule, HeldByPeers { by_selector, by_block: Truth::No });
        }
    }

    fn add_named(&mut self, rule: &OrderedRule, held: HeldByPeers) {
        let is_pod = self.remote.cohort().is_some();
        if is_pod && held.any() != Truth::No {
            let bounds = matched(self.view, rule, held, self.remote);
            self.ids.push(self.algebra.bounds.intern(bounds));
        }
    }
}

impl<'a> Added<'a> {
    fn new(
        engine: &Engine,
        subject: &Class,
        direction: Direction,
        rule: &'a OrderedRule,
        algebra: &mut Algebra,
    ) -> Self {
        let receiver = match direction {
            Direction::Ingress => engine.ports_of(subject),
            Direction::Egress => &[],
        };
        let ports = HeldPorts::of(&rule.ports, receiver);
        let depends = direction == Direction::Egress && rule.ports.have_names();
        let fixed = [Truth::Perhaps, Truth::Yes].map(|held| {
            let held = HeldByPeers { by_selector: held, by_block: Truth::No };
            algebra.bounds.intern(bounds_of(&ports, held, held.any()))
        });
        Self { fixed: vec![fixed], named: if depends { vec![rule] } else { Vec::new() } }
    }

    fn extend(&mut self, other: &Self) {
        self.fixed.extend(&other.fixed);
        self.named.extend(&other.named);
    }

    /// Unites what is fixed.
    fn sum_up(&mut self, algebra: &mut Algebra) {
        if self.fixed.len() > 1 {
            let [perhaps, surely] = [0, 1].map(|at: usize| {
                let pick = |[perhaps, surely]: &[BoundsId; 2]| if at == 0 { *perhaps } else { *surely };
                algebra.total(self.fixed.iter().map(pick).collect())
            });
            self.fixed = vec![[perhaps, surely]];
        }
    }
}

impl Blocks<'_> {
    fn new(blocks: &[(&MatchedAtoms, [BoundsId; 2])], algebra: &mut Algebra) -> Self {
        let mut edges = Vec::new();
        for (atoms, [_, surely]) in blocks {
            for range in atoms.inside.ranges() {
                edges.extend([(range.start, *surely, 1), (range.end, *surely, -1)]);
            }
        }
        edges.sort_unstable();
        let mut inside = HashMap::<BoundsId, isize>::default();
        let mut atoms = Vec::new();
        for of_atom in edges.chunk_by(|(a, ..), (b, ..)| a == b) {
            for (_, id, change) in of_atom {
                *inside.entry(*id).or_default() += change;
            }
            inside.retain(|_, count| *count > 0);
            let total = algebra.total(inside.keys().copied().collect());
            atoms.extend(of_atom.first().map(|(at, ..)| (*at, total)));
        }
        let sets = blocks.iter().map(|(atoms, _)| atoms.among.len()).max().unwrap_or_default();
        let among = (0..sets).map(|set| {
            let covered = blocks.iter().filter_map(|(atoms, [perhaps, surely])| {
                match atoms.coverage(Id::<AddressSet>::new(set)) {
                    Truth::No => None,
                    Truth::Perhaps => Some(*perhaps),
                    Truth::Yes => Some(*surely),
                }
            });
            algebra.total(covered.collect())
        });
        let among = among.collect();
        Self { atoms, among, named: Vec::new() }
    }

    /// Returns what is allowed to the addresses of an atom, or `None` if no block contains them.
    fn at(&self, atom: AtomId) -> Option<BoundsId> {
        let after = self.atoms.partition_point(|(at, _)| *at <= atom.index());
        after.checked_sub(1).and_then(|at| self.atoms.get(at)).map(|(_, id)| *id)
    }

    /// Adds what is allowed to a pod with an address that is known in this way.
    fn add(&self, membership: Membership, all: &mut Sum<'_, '_>) {
        match membership {
            Membership::NoAddress => return,
            Membership::In(atom) => all.ids.extend(self.at(atom)),
            Membership::Among(set) | Membership::Perhaps(set) => {
                all.ids.extend(self.among.get(set.index()));
            }
        }
        for (atoms, rule) in &self.named {
            let by_block = membership.coverage(atoms);
            all.add_named(rule, HeldByPeers { by_selector: Truth::No, by_block });
        }
    }
}

/// Returns the connections between the subject and a group that a rule matches. `held` is whether its peers match.
fn matched(view: View<'_>, rule: &OrderedRule, held: HeldByPeers, group: Group) -> Bounds {
    let ports = view.ports(rule, group);
    // Not every implementation resolves a name on a pod that only a block matches. Ingress rules always resolve a name
    // on the subject.
    let resolved = match view.direction {
        Direction::Egress if rule.blocks_exclude_pods => held.by_selector,
        Direction::Egress | Direction::Ingress => held.any(),
    };
    bounds_of(&ports, held, resolved)
}

/// Returns what a rule with these ports allows. `resolved` is whether its port names count.
fn bounds_of(ports: &HeldPorts, held: HeldByPeers, resolved: Truth) -> Bounds {
    let names = ports.by_name.union(&ports.by_repeated_name);
    Bounds::of(held.any(), &ports.by_number)
        .union(&Bounds::of(resolved, &ports.by_name))
        .union(&Bounds::of(held.any().min(Truth::Perhaps), &names))
}

//! The rows of all classes. Classes with equal policies share their rows.

use super::address::IpFamily;
use super::arena::{Arena, Id};
use super::bounds::{Algebra, BoundsId};
use super::class::{Class, ClassId};
use super::ends::Group;
use super::engine::{Engine, PolicyList};
use super::map::HashMap;
use super::matched::Selecting;
use super::model::ContainerPort;
use super::row::Row;
use super::rule::Direction;
use super::rule_peers::View;

/// What the row of a subject depends on, in addition to the policies that select it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Subject {
    direction: Direction,
    host_network: bool,
    /// Named ports of the class, if rules resolve port names on it.
    ports: Option<Vec<ContainerPort>>,
}

/// Rows of subjects of which it may not be known which policies select them: one row for each list of policies that may
/// be the right one.
#[derive(Debug)]
pub(super) struct Alternatives {
    rows: Vec<RowId>,
    is_costly: bool,
}

/// Index of a row.
type RowId = usize;

pub(super) type RowsId = Id<Alternatives>;

/// The rows that were needed so far.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    engine: &'a Engine,
    rows: Vec<Row<'a>>,
    /// Rows by the list of policies, which may be one of several alternatives.
    row_ids: HashMap<(Vec<Selecting>, Subject), RowId>,
    alternatives: Arena<Alternatives>,
    ids: HashMap<(Id<PolicyList>, Subject), RowsId>,
    /// By class, for egress and ingress. `None` if no policy selects the class.
    of_class: HashMap<(ClassId, Direction), Option<RowsId>>,
    /// Whether rules of a list of policies have port names.
    have_names: HashMap<(Id<PolicyList>, Direction), bool>,
    /// Cache of costly cells of rows.
    cells: HashMap<(RowsId, Group, IpFamily), BoundsId>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(engine: &'a Engine) -> Self {
        Self {
            engine,
            rows: Vec::new(),
            row_ids: HashMap::default(),
            alternatives: Arena::default(),
            ids: HashMap::default(),
            of_class: HashMap::default(),
            have_names: HashMap::default(),
            cells: HashMap::default(),
        }
    }

    /// Returns the count of rows.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.rows.len()
    }

    /// Returns the rows of a class, or `None` if no policy selects it.
    pub(super) fn of(
        &mut self,
        class: ClassId,
        direction: Direction,
        algebra: &mut Algebra,
    ) -> Option<RowsId> {
        if let Some(known) = self.of_class.get(&(class, direction)) {
            return *known;
        }
        let engine = self.engine;
        let (id, class) = (class, &engine.classes[class]);
        let list = engine.list_of(class, direction).filter(|list| !engine.lists[*list].is_empty());
        let found = list.map(|list| {
            let ports = self.have_names(list, direction).then(|| engine.ports_of(class).to_vec());
            let subject = Subject { direction, host_network: class.host_network, ports };
            let key = (list, subject);
            match self.ids.get(&key) {
                Some(known) => *known,
                None => {
                    let rows = self.create(list, class, &key.1, algebra);
                    self.ids.insert(key, rows);
                    rows
                }
            }
        });
        self.of_class.insert((id, direction), found);
        found
    }

    /// Returns whether port names of these policies are resolved on their subjects.
    fn have_names(&mut self, list: Id<PolicyList>, direction: Direction) -> bool {
        let engine = self.engine;
        direction == Direction::Ingress
            && *self.have_names.entry((list, direction)).or_insert_with(|| {
                let mut rules =
                    engine.lists[list].iter().flat_map(|each| engine.rules(each.policy, direction));
                rules.any(|rule| rule.rule.ports.have_names())
            })
    }

    fn create(
        &mut self,
        list: Id<PolicyList>,
        class: &Class,
        subject: &Subject,
        algebra: &mut Algebra,
    ) -> RowsId {
        let Self { engine, rows, row_ids, .. } = self;
        let policies = &engine.lists[list];
        let is_known = |each: &Selecting| each.how.facts().is_none() || !engine.is_in_union(each.policy);
        let (mut ids, mut is_costly) = (Vec::new(), false);
        if policies.iter().all(is_known) {
            rows.push(Row::new(engine, class, subject.direction, policies, algebra));
            ids.push(rows.len() - 1);
        } else {
            for policies in engine.alternatives(policies) {
                let id = row_ids.entry((policies, subject.clone()));
                let id = id.or_insert_with_key(|(policies, _)| {
                    rows.push(Row::new(engine, class, subject.direction, policies, algebra));
                    rows.len() - 1
                });
                ids.push(*id);
            }
            is_costly = true;
        }
        is_costly |= ids.iter().filter_map(|id| rows.get(*id)).any(Row::is_costly);
        self.alternatives.push(Alternatives { rows: ids, is_costly })
    }

    /// Returns what a subject and a remote end may exchange, or `None` if no policy selects the subject.
    pub(super) fn look_up(
        &mut self,
        subject: Group,
        direction: Direction,
        remote: Group,
        family: IpFamily,
        algebra: &mut Algebra,
    ) -> Option<BoundsId> {
        let engine = self.engine;
        let class = engine.class_id(subject.cohort()?);
        let id = self.of(class, direction, algebra)?;
        let Self { rows, alternatives, cells, .. } = self;
        let Alternatives { rows: ids, is_costly } = &alternatives[id];
        if let Some(known) = cells.get(&(id, remote, family)).filter(|_| *is_costly) {
            return Some(*known);
        }
        let view = View { engine, subject: &engine.classes[class], direction, family };
        let mut all = ids.iter().filter_map(|id| rows.get(*id));
        let first = all.next()?.bounds(view, remote, algebra);
        let bounds = all.fold(first, |bounds, row| {
            let other = row.bounds(view, remote, algebra);
            algebra.either(bounds, other)
        });
        if *is_costly {
            cells.insert((id, remote, family), bounds);
        }
        Some(bounds)
    }
}

//! The rules of a class: the policies that select it.

use super::class::ClassId;
use super::compiled::{CompiledRule, PolicyId};
use super::engine::{Engine, Isolating, TierPolicy};
use super::model::{ContainerPort, Direction};
use super::rule_ports::has_names;

/// The policies that decide about a class in one direction. Classes with equal rules depend on the same unknown
/// facts. They also have equal rows, if all or none of them have `hostNetwork`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Rules {
    isolating: Isolating,
    tiers: Vec<TierPolicy>,
    /// Named ports of the class, if rules resolve port names on it.
    ports: Option<Vec<ContainerPort>>,
}

impl Engine {
    /// Returns the policies that decide about a class in a direction.
    pub(super) fn rules_of(&self, class: ClassId, direction: Direction) -> Rules {
        let isolating = self.isolating(class, direction);
        let tiers: Vec<_> = self.cluster_policies(class, direction).collect();
        let ports = self.resolved_ports(class, direction, isolating.all(), &tiers);
        Rules { isolating: isolating.clone(), tiers, ports }
    }

    /// Returns the named ports of a class, or `None` if no rule of these policies resolves port names on it.
    pub(super) fn resolved_ports(
        &self,
        class: ClassId,
        direction: Direction,
        mut isolating: impl Iterator<Item = PolicyId>,
        tiers: &[TierPolicy],
    ) -> Option<Vec<ContainerPort>> {
        let have_names = |rules: &[CompiledRule]| rules.iter().any(|rule| has_names(&rule.ports));
        let names_resolve_here = match direction {
            Direction::Egress => false,
            Direction::Ingress => {
                isolating.any(|id| have_names(self.policies[id].rules(direction)))
                    || tiers.iter().any(|tier| have_names(self.cluster_policies[tier.id].rules(direction)))
            }
        };
        let named = self.classes[class].ports.iter().filter(|port| port.name.is_some());
        names_resolve_here.then(|| named.cloned().collect())
    }
}

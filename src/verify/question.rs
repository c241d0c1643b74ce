//! Questions: one cell each, with what the owners want of it.

use crate::plan::Cell;
use crate::policy::{Decision, Pod};
use crate::tenants::{Intent, Mode, Tenancy, Wish};

/// Returns the names of the tenants to which a pod belongs.
pub(super) fn tenants_of(tenancy: &Tenancy, pod: &Pod) -> Vec<String> {
    tenancy.tenants_of(&pod.namespace).map(|tenant| tenant.name.clone()).collect()
}

/// Returns whether all tenants of these pods are only monitored, and there is one.
pub(super) fn are_monitored(tenancy: &Tenancy, pods: &[&Pod]) -> bool {
    let mut tenants = pods.iter().flat_map(|pod| tenancy.tenants_of(&pod.namespace)).peekable();
    tenants.peek().is_some() && tenants.all(|tenant| tenant.mode == Mode::Monitor)
}

/// A cell that is probed, and what is wanted of it.
#[derive(Debug, Clone)]
pub struct Question {
    /// The cell.
    pub cell: Cell,
    /// What is wanted. `None` if nothing is said about it.
    pub intent: Option<Intent>,
    /// Tenants of the source. Empty if it belongs to none.
    pub from: Vec<String>,
    /// Tenants of the destination.
    pub to: Vec<String>,
    /// Whether all tenants of both ends are only monitored. Then not even a leak fails the check.
    pub monitored: bool,
}

impl Question {
    /// Returns what packets should do according to the owners. `None` if they do not care.
    pub fn wanted(&self) -> Option<Decision> {
        match self.intent.as_ref()?.wish {
            Wish::Required => Some(Decision::Allow),
            Wish::Permitted => None,
            Wish::Forbidden => Some(Decision::Deny),
        }
    }

    /// Returns whether a policy gap fails the check.
    pub fn is_enforced(&self) -> bool {
        self.intent.as_ref().is_none_or(|intent| intent.mode == Mode::Enforce)
    }

    /// Returns whether the ends belong to tenants and have none in common.
    pub fn is_between_tenants(&self) -> bool {
        !self.from.is_empty()
            && !self.to.is_empty()
            && !self.from.iter().any(|tenant| self.to.contains(tenant))
    }

    /// Returns the rank of the question: if not all can be asked, the lowest ranks are asked first.
    pub(super) fn rank(&self) -> u8 {
        match (self.intent.as_ref().map(|intent| intent.wish), self.is_between_tenants()) {
            (Some(Wish::Forbidden), true) => 0,
            (Some(Wish::Required), _) => 1,
            (Some(Wish::Forbidden), false) => 2,
            (Some(Wish::Permitted) | None, _) => 3,
        }
    }
}

//! Questions: one cell each, with what the owners want of it.

use super::ports::{PortOf, any_port};
use crate::plan::Cell;
use crate::policy::{Decision, IpFamily, Pod};
use crate::tenants::{Intent, Mode, Tenancy, Tenant, Wish};
use crate::world::{EndpointName, Probe};

/// Returns the names of the tenants to which a pod belongs.
pub(super) fn tenants_of(tenancy: &Tenancy, pod: &Pod) -> Vec<String> {
    tenancy.tenants_of(&pod.namespace).map(|tenant| tenant.name.clone()).collect()
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

/// The ends of a connection, with the tenants to which they belong.
pub(super) struct Ends {
    from: EndpointName,
    to: EndpointName,
    from_tenants: Vec<String>,
    to_tenants: Vec<String>,
    monitored: bool,
}

impl Ends {
    /// Returns the ends of connections from a pod. `namespace` is that of the destination, if it is in one.
    pub(super) fn new(tenancy: &Tenancy, from: &Pod, to: EndpointName, namespace: Option<&str>) -> Self {
        let owners = |namespace: &str| tenancy.tenants_of(namespace).collect::<Vec<_>>();
        let (own, other) = (owners(&from.namespace), namespace.map(owners).unwrap_or_default());
        let mut all = own.iter().chain(&other).peekable();
        let monitored = all.peek().is_some() && all.all(|tenant| tenant.mode == Mode::Monitor);
        let names = |tenants: &[&Tenant]| tenants.iter().map(|tenant| tenant.name.clone()).collect();
        Self {
            from: EndpointName::of_pod(from),
            to,
            from_tenants: names(&own),
            to_tenants: names(&other),
            monitored,
        }
    }

    /// Returns whether neither end belongs to a tenant.
    pub(super) fn are_of_no_tenant(&self) -> bool {
        self.from_tenants.is_empty() && self.to_tenants.is_empty()
    }

    /// Returns the questions about a port, one for each of these families.
    pub(super) fn questions<'a>(
        &self,
        (protocol, port): PortOf,
        families: impl Iterator<Item = &'a IpFamily>,
        intent: Option<Intent>,
    ) -> impl Iterator<Item = Question> {
        families.map(move |family| Question {
            cell: Cell {
                from: self.from.clone(),
                to: self.to.clone(),
                family: *family,
                probe: Probe::Port { port, protocol },
            },
            intent: intent.clone(),
            from: self.from_tenants.clone(),
            to: self.to_tenants.clone(),
            monitored: self.monitored,
        })
    }
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

    fn is_with_nobody(&self) -> bool {
        self.from.is_empty() || self.to.is_empty()
    }

    fn is_about(&self, at: Option<PortOf>) -> bool {
        at.is_some_and(|(protocol, port)| self.cell.probe == Probe::Port { port, protocol })
    }

    /// Returns whether the ends belong to tenants and have none in common.
    pub(super) fn is_between_tenants(&self) -> bool {
        !self.from.is_empty()
            && !self.to.is_empty()
            && !self.from.iter().any(|tenant| self.to.contains(tenant))
    }

    /// Returns the rank of the question: if not all can be asked, the lowest ranks are asked first.
    pub(super) fn rank(&self) -> u8 {
        match (self.intent.as_ref().map(|intent| intent.wish), self.is_between_tenants()) {
            (Some(Wish::Forbidden), true) => 0,
            (Some(Wish::Required), _) => 1,
            // A stranger shows one direction by itself.
            (None, false) if self.is_with_nobody() && self.is_about(any_port()) => 0,
            (Some(Wish::Forbidden), false) => 2,
            (Some(Wish::Permitted) | None, _) => 3,
        }
    }
}

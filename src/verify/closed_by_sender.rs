//! Connections to other tenants that only the policies of the sending tenant deny. A tenant that changes its own policies
//! gets in. Found by the engine alone; no packet is sent.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::gap::{End, Gap, named_ports, pods, reasons, segments};
use crate::policy::{Cluster, Decision, Engine, IpFamily, Port, Protocol};
use crate::tenants::{Tenancy, Tenant, Wish};

/// A connection to another tenant that only the policies of the sender deny, so that it depends on them alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClosedBySender {
    /// The tenant that sends.
    pub tenant: String,
    /// The tenant that would receive.
    pub into: String,
    /// A pod that would send.
    pub from: String,
    /// A pod that would receive.
    pub to: String,
    /// The first port, such as `TCP 8080`.
    pub port: String,
    /// What the policies say without those of the sender.
    pub reasons: Vec<String>,
}

/// Returns an example for each ordered pair of tenants between which some forbidden connection is denied by the
/// NetworkPolicies in the sender's namespaces only. `gaps` are the connections that are open today.
pub(super) fn closed_by_sender(
    cluster: &Cluster,
    tenancy: &Tenancy,
    families: &[IpFamily],
    gaps: &[Gap],
) -> Vec<ClosedBySender> {
    tenancy.tenants().iter().flat_map(|tenant| of_tenant(tenant, cluster, tenancy, families, gaps)).collect()
}

fn of_tenant(
    tenant: &Tenant,
    cluster: &Cluster,
    tenancy: &Tenancy,
    families: &[IpFamily],
    gaps: &[Gap],
) -> Vec<ClosedBySender> {
    let mut without = cluster.clone();
    without.policies.retain(|policy| !tenant.namespaces.contains(&policy.namespace));
    if without.policies.len() == cluster.policies.len() {
        return Vec::new();
    }
    let engine = Engine::new(without);
    let mut reach = engine.reach();
    let (ends, named) = (pods(&engine, &reach, tenancy), named_ports(tenancy));
    let is_open = |into: &String| {
        gaps.iter().any(|gap| {
            gap.wanted == Decision::Deny
                && gap.from_tenants.contains(&tenant.name)
                && gap.to_tenants.contains(into)
        })
    };
    let (mut found, mut known) = (Vec::new(), BTreeSet::new());
    for from in ends.iter().filter(|end| end.tenants.contains(&tenant.name)) {
        for to in ends.iter().filter(|end| !end.tenants.contains(&tenant.name)) {
            let Some(into) = to.tenants.first().filter(|into| !known.contains(*into) && !is_open(into))
            else {
                continue;
            };
            let id = reach.between(&[from.group], &[to.group]);
            let allowed = reach.connections(id).allowed.clone();
            let is_forbidden = |at: &(_, _)| {
                let (protocol, port) = *at;
                let intent = tenancy.intent(from.party(), to.party(), port, protocol);
                intent.is_some_and(|intent| intent.wish == Wish::Forbidden)
            };
            let segments = segments(&[&allowed], &named).into_iter();
            let mut ports = segments.map(|(protocol, range)| (protocol, range.first()));
            let at = ports.find(|at| allowed.contains(at.0, at.1) && is_forbidden(at));
            if let Some(at) = at {
                known.insert(into.clone());
                found.push(example(tenant, into, [from, to], at, reasons(&engine, families, [from, to], at)));
            }
        }
    }
    found
}

fn example(
    tenant: &Tenant,
    into: &str,
    [from, to]: [&End; 2],
    (protocol, port): (Protocol, Port),
    reasons: Vec<String>,
) -> ClosedBySender {
    ClosedBySender {
        tenant: tenant.name.clone(),
        into: into.to_owned(),
        from: from.name.clone(),
        to: to.name.clone(),
        port: format!("{protocol} {port}"),
        reasons,
    }
}

//! Connections to other tenants that only the policies of the sending tenant deny. A tenant that changes its own policies
//! gets in. Found by the engine alone; no packet is sent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::gap::{End, Gap, named_ports, pods, reasons, segments};
use crate::policy::{Cluster, Decision, Engine, IpFamily, Port, Protocol};
use crate::tenants::{Tenancy, Wish};

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
    // What a tenant receives from another one depends on no other egress rules than these.
    let mut cluster = cluster.clone();
    for policy in &mut cluster.policies {
        policy.egress =
            policy.egress.take().filter(|_| tenancy.tenants_of(&policy.namespace).next().is_none());
    }
    let engine = Engine::new(cluster);
    let mut reach = engine.reach();
    let (ends, named) = (pods(&engine, &reach, tenancy), named_ports(tenancy));
    let mut found: BTreeMap<(&String, &String), ClosedBySender> = BTreeMap::new();
    for from in &ends {
        for to in &ends {
            let (Some(tenant), Some(into)) = (from.tenants.first(), to.tenants.first()) else { continue };
            let pair = (tenant, into);
            if to.tenants.contains(tenant) || found.contains_key(&pair) || is_open(gaps, pair) {
                continue;
            }
            let id = reach.between(&[from.group], &[to.group]);
            let allowed = reach.connections(id).allowed.clone();
            let is_forbidden = |(protocol, port)| {
                let intent = tenancy.intent(from.party(), to.party(), port, protocol);
                intent.is_some_and(|intent| intent.wish == Wish::Forbidden)
            };
            let segments = segments(&[&allowed], &named).into_iter();
            let mut ports = segments.map(|(protocol, range)| (protocol, range.first()));
            if let Some(at) = ports.find(|at| allowed.contains(at.0, at.1) && is_forbidden(*at)) {
                let reasons = reasons(&engine, families, [from, to], at);
                found.insert(pair, example(pair, [from, to], at, reasons));
            }
        }
    }
    found.into_values().collect()
}

/// Returns whether the policies let something forbidden through between two tenants today.
fn is_open(gaps: &[Gap], (tenant, into): (&String, &String)) -> bool {
    gaps.iter().any(|gap| {
        gap.wanted == Decision::Deny && gap.from_tenants.contains(tenant) && gap.to_tenants.contains(into)
    })
}

fn example(
    (tenant, into): (&String, &String),
    [from, to]: [&End; 2],
    (protocol, port): (Protocol, Port),
    reasons: Vec<String>,
) -> ClosedBySender {
    ClosedBySender {
        tenant: tenant.clone(),
        into: into.clone(),
        from: from.name.clone(),
        to: to.name.clone(),
        port: format!("{protocol} {port}"),
        reasons,
    }
}

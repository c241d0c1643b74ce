//! Converts cluster-scoped policies.
//!
//! Defaults are applied here and nowhere else. Everything that the definitions of these kinds (their CRDs) refuse is
//! refused.

mod dialect;
mod peers;
mod ports;
mod rule;

use super::{ClusterPolicyObject, EgressPeer, v1alpha1, v1alpha2};
use crate::policy::{ClusterPolicy, ClusterRule, Tier};
use crate::snapshot::field::{Field, Problem};
use crate::source::quote;

use dialect::{ADMIN, BASELINE, CLUSTER, Dialect};
use ports::{v1alpha1_ports, v1alpha2_ports};

/// The highest priority number.
const LAST_PRIORITY: u16 = 1000;

/// The only name that a BaselineAdminNetworkPolicy may have.
const BASELINE_NAME: &str = "default";

/// Converts a policy of any kind.
pub(in crate::snapshot) fn convert(object: &ClusterPolicyObject) -> Result<ClusterPolicy, Problem> {
    match object {
        ClusterPolicyObject::AdminNetworkPolicy(policy) => admin_network_policy(policy),
        ClusterPolicyObject::BaselineAdminNetworkPolicy(policy) => baseline_admin_network_policy(policy),
        ClusterPolicyObject::ClusterNetworkPolicy(policy) => cluster_network_policy(policy),
    }
}

fn admin_network_policy(policy: &v1alpha1::AdminNetworkPolicy) -> Result<ClusterPolicy, Problem> {
    let (root, dialect) = (Field::ROOT, ADMIN);
    let at = root.field("spec");
    let spec = &policy.spec;
    let rule = |rule: &v1alpha1::EgressRule<EgressPeer>, at: &Field<'_>| {
        let peers = dialect.peers(&rule.to, &at.field("to"), Dialect::egress_peer)?;
        dialect.egress_rule(&rule.name, &rule.action, peers, v1alpha1_ports(dialect, &rule.ports, at)?, at)
    };
    Ok(ClusterPolicy {
        name: dialect.name(policy.metadata.name.as_deref())?,
        tier: Tier::Admin,
        priority: priority(spec.priority, &at.field("priority"))?,
        subjects: dialect.subject(&spec.subject, &at.field("subject"))?,
        ingress: dialect
            .rules(&spec.ingress, &at.field("ingress"), |r, at| v1alpha1_ingress(dialect, r, at))?,
        egress: dialect.rules(&spec.egress, &at.field("egress"), rule)?,
    })
}

fn baseline_admin_network_policy(
    policy: &v1alpha1::BaselineAdminNetworkPolicy,
) -> Result<ClusterPolicy, Problem> {
    let (root, dialect) = (Field::ROOT, BASELINE);
    let at = root.field("spec");
    let spec = &policy.spec;
    let name = dialect.name(policy.metadata.name.as_deref())?;
    if name.name != BASELINE_NAME {
        let message = format!("must be {BASELINE_NAME}: a cluster has one {}", dialect.kind);
        return Err(root.field("metadata").field("name").problem(message));
    }
    let peer = |dialect: Dialect, peer: &v1alpha1::BaselineEgressPeer, at: &Field<'_>| {
        let v1alpha1::BaselineEgressPeer { namespaces, pods, nodes, networks } = peer.clone();
        dialect.egress_peer(&EgressPeer { namespaces, pods, nodes, networks, domain_names: None }, at)
    };
    let rule = |rule: &v1alpha1::EgressRule<v1alpha1::BaselineEgressPeer>, at: &Field<'_>| {
        let peers = dialect.peers(&rule.to, &at.field("to"), peer)?;
        dialect.egress_rule(&rule.name, &rule.action, peers, v1alpha1_ports(dialect, &rule.ports, at)?, at)
    };
    Ok(ClusterPolicy {
        name,
        tier: Tier::Baseline,
        priority: 0,
        subjects: dialect.subject(&spec.subject, &at.field("subject"))?,
        ingress: dialect
            .rules(&spec.ingress, &at.field("ingress"), |r, at| v1alpha1_ingress(dialect, r, at))?,
        egress: dialect.rules(&spec.egress, &at.field("egress"), rule)?,
    })
}

fn cluster_network_policy(policy: &v1alpha2::ClusterNetworkPolicy) -> Result<ClusterPolicy, Problem> {
    let (root, dialect) = (Field::ROOT, CLUSTER);
    let at = root.field("spec");
    let spec = &policy.spec;
    let tier = match spec.tier.as_str() {
        "Admin" => Tier::Admin,
        "Baseline" => Tier::Baseline,
        other => {
            return Err(at.field("tier").problem(format!("{} is neither Admin nor Baseline", quote(other))));
        }
    };
    let ingress = |rule: &v1alpha2::IngressRule, at: &Field<'_>| {
        let peers = dialect.peers(&rule.from, &at.field("from"), Dialect::ingress_peer)?;
        let (ports, _) = v1alpha2_ports(dialect, &rule.protocols, at)?;
        dialect.rule(&rule.name, &rule.action, peers, ports, at)
    };
    let egress = |rule: &v1alpha2::EgressRule, at: &Field<'_>| {
        let peers = dialect.peers(&rule.to, &at.field("to"), Dialect::egress_peer)?;
        dialect.egress_rule(
            &rule.name,
            &rule.action,
            peers,
            v1alpha2_ports(dialect, &rule.protocols, at)?,
            at,
        )
    };
    Ok(ClusterPolicy {
        name: dialect.name(policy.metadata.name.as_deref())?,
        tier,
        priority: priority(spec.priority, &at.field("priority"))?,
        subjects: dialect.subject(&spec.subject, &at.field("subject"))?,
        ingress: dialect.rules(&spec.ingress, &at.field("ingress"), ingress)?,
        egress: dialect.rules(&spec.egress, &at.field("egress"), egress)?,
    })
}

fn priority(priority: i32, at: &Field<'_>) -> Result<u16, Problem> {
    let valid = u16::try_from(priority).ok().filter(|priority| *priority <= LAST_PRIORITY);
    valid.ok_or_else(|| at.problem(format!("must be between 0 and {LAST_PRIORITY}, found {priority}")))
}

fn v1alpha1_ingress(
    dialect: Dialect,
    rule: &v1alpha1::IngressRule,
    at: &Field<'_>,
) -> Result<ClusterRule, Problem> {
    let peers = dialect.peers(&rule.from, &at.field("from"), Dialect::ingress_peer)?;
    let (ports, _) = v1alpha1_ports(dialect, &rule.ports, at)?;
    dialect.rule(&rule.name, &rule.action, peers, ports, at)
}

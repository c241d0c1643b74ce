//! Converts cluster-scoped policies.
//!
//! Defaults are applied here and nowhere else. Everything that the definitions of these kinds (their CRDs) refuse is
//! refused.

use super::dialect::{ADMIN, BASELINE, CLUSTER, Dialect};
use super::{
    AdminNetworkPolicySpec, BaselineAdminNetworkPolicySpec, ClusterNetworkPolicySpec, EgressPeer, Spec,
    v1alpha1, v1alpha2,
};
use crate::policy::{Action, ClusterPeer, ClusterPolicy, ClusterRule, Ports, Tier};
use crate::snapshot::field::{Field, Problem};
use crate::source::quote;

/// The highest priority number.
const LAST_PRIORITY: u16 = 1000;

/// The only name that a BaselineAdminNetworkPolicy may have.
const BASELINE_NAME: &str = "default";

/// Maximum length of a rule's name, in characters.
const RULE_NAME: usize = 100;

impl Spec for AdminNetworkPolicySpec {
    fn convert(&self, name: Option<&str>) -> Result<ClusterPolicy, Problem> {
        let at = Field::ROOT.field("spec");
        let egress = |rule: &v1alpha1::EgressRule<EgressPeer>, at: &Field<'_>| {
            let peers = ADMIN.peers(&rule.to, &at.field("to"), Dialect::egress_peer)?;
            ADMIN.rule(&rule.name, &rule.action, peers, ADMIN.v1alpha1_ports(&rule.ports, at)?, at)
        };
        Ok(ClusterPolicy {
            name: ADMIN.name(name)?,
            tier: Tier::Admin,
            priority: priority(self.priority, &at.field("priority"))?,
            subjects: ADMIN.subject(&self.subject, &at.field("subject"))?,
            ingress: ADMIN.v1alpha1_ingress(&self.ingress, &at.field("ingress"))?,
            egress: ADMIN.rules(&self.egress, &at.field("egress"), egress)?,
        })
    }
}

impl Spec for BaselineAdminNetworkPolicySpec {
    fn convert(&self, name: Option<&str>) -> Result<ClusterPolicy, Problem> {
        let at = Field::ROOT.field("spec");
        let name = BASELINE.name(name)?;
        if name.name != BASELINE_NAME {
            let message = format!("must be {BASELINE_NAME}: a cluster has one {}", BASELINE.kind);
            return Err(Field::ROOT.field("metadata").field("name").problem(message));
        }
        let peer = |dialect: Dialect, peer: &v1alpha1::BaselineEgressPeer, at: &Field<'_>| {
            let v1alpha1::BaselineEgressPeer { namespaces, pods, nodes, networks } = peer.clone();
            dialect.egress_peer(&EgressPeer { namespaces, pods, nodes, networks, domain_names: None }, at)
        };
        let egress = |rule: &v1alpha1::EgressRule<v1alpha1::BaselineEgressPeer>, at: &Field<'_>| {
            let peers = BASELINE.peers(&rule.to, &at.field("to"), peer)?;
            BASELINE.rule(&rule.name, &rule.action, peers, BASELINE.v1alpha1_ports(&rule.ports, at)?, at)
        };
        Ok(ClusterPolicy {
            name,
            tier: Tier::Baseline,
            priority: 0,
            subjects: BASELINE.subject(&self.subject, &at.field("subject"))?,
            ingress: BASELINE.v1alpha1_ingress(&self.ingress, &at.field("ingress"))?,
            egress: BASELINE.rules(&self.egress, &at.field("egress"), egress)?,
        })
    }
}

impl Spec for ClusterNetworkPolicySpec {
    fn convert(&self, name: Option<&str>) -> Result<ClusterPolicy, Problem> {
        let at = Field::ROOT.field("spec");
        let tier = match self.tier.as_str() {
            "Admin" => Tier::Admin,
            "Baseline" => Tier::Baseline,
            other => {
                let message = format!("{} is neither Admin nor Baseline", quote(other));
                return Err(at.field("tier").problem(message));
            }
        };
        let ingress = |rule: &v1alpha2::IngressRule, at: &Field<'_>| {
            let peers = CLUSTER.peers(&rule.from, &at.field("from"), Dialect::ingress_peer)?;
            CLUSTER.rule(&rule.name, &rule.action, peers, CLUSTER.v1alpha2_ports(&rule.protocols, at)?, at)
        };
        let egress = |rule: &v1alpha2::EgressRule, at: &Field<'_>| {
            let peers = CLUSTER.peers(&rule.to, &at.field("to"), Dialect::egress_peer)?;
            CLUSTER.rule(&rule.name, &rule.action, peers, CLUSTER.v1alpha2_ports(&rule.protocols, at)?, at)
        };
        Ok(ClusterPolicy {
            name: CLUSTER.name(name)?,
            tier,
            priority: priority(self.priority, &at.field("priority"))?,
            subjects: CLUSTER.subject(&self.subject, &at.field("subject"))?,
            ingress: CLUSTER.rules(&self.ingress, &at.field("ingress"), ingress)?,
            egress: CLUSTER.rules(&self.egress, &at.field("egress"), egress)?,
        })
    }
}

fn priority(priority: i32, at: &Field<'_>) -> Result<u16, Problem> {
    let valid = u16::try_from(priority).ok().filter(|priority| *priority <= LAST_PRIORITY);
    valid.ok_or_else(|| at.problem(format!("must be between 0 and {LAST_PRIORITY}, found {priority}")))
}

impl Dialect {
    fn v1alpha1_ingress(
        self,
        rules: &Option<Vec<v1alpha1::IngressRule>>,
        at: &Field<'_>,
    ) -> Result<Vec<ClusterRule>, Problem> {
        self.rules(rules, at, |rule, at| {
            let peers = self.peers(&rule.from, &at.field("from"), Self::ingress_peer)?;
            self.rule(&rule.name, &rule.action, peers, self.v1alpha1_ports(&rule.ports, at)?, at)
        })
    }

    fn rules<R>(
        self,
        rules: &Option<Vec<R>>,
        at: &Field<'_>,
        convert: impl Fn(&R, &Field<'_>) -> Result<ClusterRule, Problem>,
    ) -> Result<Vec<ClusterRule>, Problem> {
        self.each(rules.as_deref().unwrap_or_default(), at, convert)
    }

    /// Converts a rule. It may name a port only if all of its peers are pods. It may have domain names as peers only
    /// if it accepts. `named_at` is the index of the first port that is a name.
    fn rule(
        self,
        name: &Option<String>,
        action: &str,
        peers: Vec<ClusterPeer>,
        (ports, named_at): (Ports, Option<usize>),
        at: &Field<'_>,
    ) -> Result<ClusterRule, Problem> {
        if let Some(named_at) = named_at
            && !peers.iter().all(|peer| matches!(peer, ClusterPeer::Pods(_)))
        {
            let message = "names a port, which only pods have: the rule's other peers need a number";
            return Err(at.field(self.ports).index(named_at).problem(message));
        }
        if name.as_ref().is_some_and(|name| name.chars().count() > RULE_NAME) {
            return Err(at.field("name").problem(format!("must have at most {RULE_NAME} characters")));
        }
        let Some((_, action)) = self.actions.iter().find(|(name, _)| *name == action) else {
            let names: Vec<_> = self.actions.iter().map(|(name, _)| *name).collect();
            let message = format!("{} is not one of {}", quote(action), names.join(", "));
            return Err(at.field("action").problem(message));
        };
        let has_domains = |peer: &ClusterPeer| matches!(peer, ClusterPeer::DomainNames(_));
        if *action != Action::Accept && peers.iter().any(has_domains) {
            return Err(at.field("action").problem("must not be Deny or Pass where domainNames are peers"));
        }
        Ok(ClusterRule { action: *action, peers, ports })
    }
}

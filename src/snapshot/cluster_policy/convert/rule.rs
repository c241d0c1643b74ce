//! Converts the rules of cluster-scoped policies.

use super::dialect::Dialect;
use super::ports::NamedAt;
use crate::policy::{Action, ClusterPeer, ClusterPolicyKind, ClusterRule, Ports};
use crate::snapshot::field::{Field, Problem};
use crate::source::quote;

/// Maximum length of a rule's name, in characters.
const RULE_NAME: usize = 100;

impl Dialect {
    pub(super) fn rules<R>(
        self,
        rules: &Option<Vec<R>>,
        at: &Field<'_>,
        convert: impl Fn(&R, &Field<'_>) -> Result<ClusterRule, Problem>,
    ) -> Result<Vec<ClusterRule>, Problem> {
        let rules = self.list(rules.as_deref().unwrap_or_default(), at)?;
        rules.iter().enumerate().map(|(i, rule)| convert(rule, &at.index(i))).collect()
    }

    /// Converts an egress rule. It may name ports only if all of its peers are pods. It may have domain names as
    /// peers only if it accepts.
    pub(super) fn egress_rule(
        self,
        name: &Option<String>,
        action: &str,
        peers: Vec<ClusterPeer>,
        (ports, named_at): (Ports, NamedAt),
        at: &Field<'_>,
    ) -> Result<ClusterRule, Problem> {
        let is_pods = |peer: &ClusterPeer| match peer {
            ClusterPeer::Pods(_) => true,
            ClusterPeer::Nodes(_) | ClusterPeer::Network(_) | ClusterPeer::DomainNames(_) => false,
        };
        if let Some(named_at) = named_at
            && !peers.iter().all(is_pods)
        {
            let list = match self.kind {
                ClusterPolicyKind::AdminNetworkPolicy | ClusterPolicyKind::BaselineAdminNetworkPolicy => {
                    "ports"
                }
                ClusterPolicyKind::ClusterNetworkPolicy => "protocols",
            };
            let message = "names a port, which only pods have: the rule's other peers need a number";
            return Err(at.field(list).index(named_at).problem(message));
        }
        let rule = self.rule(name, action, peers, ports, at)?;
        let has_domains = |peer: &ClusterPeer| matches!(peer, ClusterPeer::DomainNames(_));
        if rule.action != Action::Accept && rule.peers.iter().any(has_domains) {
            return Err(at.field("action").problem("must not be Deny or Pass where domainNames are peers"));
        }
        Ok(rule)
    }

    pub(super) fn rule(
        self,
        name: &Option<String>,
        action: &str,
        peers: Vec<ClusterPeer>,
        ports: Ports,
        at: &Field<'_>,
    ) -> Result<ClusterRule, Problem> {
        if name.as_ref().is_some_and(|name| name.chars().count() > RULE_NAME) {
            return Err(at.field("name").problem(format!("must have at most {RULE_NAME} characters")));
        }
        let Some((_, action)) = self.actions.iter().find(|(name, _)| *name == action) else {
            let names: Vec<_> = self.actions.iter().map(|(name, _)| *name).collect();
            let message = format!("{} is not one of {}", quote(action), names.join(", "));
            return Err(at.field("action").problem(message));
        };
        Ok(ClusterRule { action: *action, peers, ports })
    }
}

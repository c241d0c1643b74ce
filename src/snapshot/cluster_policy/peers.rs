//! Converts the subjects and peers of cluster-scoped policies.

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;

use super::dialect::Dialect;
use super::{EgressPeer, IngressPeer, NamespacedPod, Subject};
use crate::policy::{ClusterPeer, IpBlock, LabelSelector, PodSelector};
use crate::snapshot::field::{Field, Problem};
use crate::snapshot::network_policy::selector;
use crate::snapshot::rules;
use crate::source::quote;

/// Maximum number of ranges or domain names of one peer.
const LIST: usize = 25;

impl Dialect {
    pub(super) fn peers<P>(
        self,
        peers: &[P],
        at: &Field<'_>,
        convert: impl Fn(Self, &P, &Field<'_>) -> Result<Vec<ClusterPeer>, Problem>,
    ) -> Result<Vec<ClusterPeer>, Problem> {
        if peers.is_empty() {
            return Err(at.problem("must have at least one entry"));
        }
        Ok(self.each(peers, at, |peer, at| convert(self, peer, at))?.concat())
    }

    pub(super) fn subject(self, subject: &Subject, at: &Field<'_>) -> Result<PodSelector, Problem> {
        match (&subject.namespaces, &subject.pods) {
            (Some(namespaces), None) => all_pods_of(namespaces, &at.field("namespaces")),
            (None, Some(pods)) => self.pods(pods, &at.field("pods")),
            (None, None) | (Some(_), Some(_)) => {
                Err(at.problem("must have exactly one of namespaces and pods"))
            }
        }
    }

    fn pods(self, pods: &NamespacedPod, at: &Field<'_>) -> Result<PodSelector, Problem> {
        let namespaces_at = at.field("namespaceSelector");
        let namespaces = match &pods.namespace_selector {
            Some(namespaces) => selector(namespaces, &namespaces_at)?,
            None if self.needs_namespaces => {
                return Err(namespaces_at.problem("is missing: write {} for all namespaces"));
            }
            None => LabelSelector::everything(),
        };
        Ok(PodSelector { namespaces, pods: selector(&pods.pod_selector, &at.field("podSelector"))? })
    }

    pub(super) fn ingress_peer(
        self,
        peer: &IngressPeer,
        at: &Field<'_>,
    ) -> Result<Vec<ClusterPeer>, Problem> {
        Ok(vec![ClusterPeer::Pods(self.subject(peer, at)?)])
    }

    pub(super) fn egress_peer(self, peer: &EgressPeer, at: &Field<'_>) -> Result<Vec<ClusterPeer>, Problem> {
        let EgressPeer { namespaces, pods, nodes, networks, domain_names } = peer;
        let one = |peer| Ok(vec![peer]);
        match (namespaces, pods, nodes, networks, domain_names) {
            (Some(namespaces), None, None, None, None) => {
                one(ClusterPeer::Pods(all_pods_of(namespaces, &at.field("namespaces"))?))
            }
            (None, Some(pods), None, None, None) => {
                one(ClusterPeer::Pods(self.pods(pods, &at.field("pods"))?))
            }
            (None, None, Some(nodes), None, None) => {
                one(ClusterPeer::Nodes(selector(nodes, &at.field("nodes"))?))
            }
            (None, None, None, Some(networks), None) => networks_of(networks, &at.field("networks")),
            (None, None, None, None, Some(names)) => {
                domains(names, &at.field("domainNames"))?;
                one(ClusterPeer::DomainNames(names.clone()))
            }
            (None | Some(_), None | Some(_), None | Some(_), None | Some(_), None | Some(_)) => {
                Err(at.problem(format!("must have exactly one of {}", self.egress_peers)))
            }
        }
    }
}

fn all_pods_of(namespaces: &meta::LabelSelector, at: &Field<'_>) -> Result<PodSelector, Problem> {
    Ok(PodSelector { namespaces: selector(namespaces, at)?, pods: LabelSelector::everything() })
}

fn networks_of(networks: &[String], at: &Field<'_>) -> Result<Vec<ClusterPeer>, Problem> {
    some(networks, at)?;
    at.each(networks, |text, at| Ok(ClusterPeer::Network(IpBlock::new(rules::cidr(text, at)?, []))))
}

/// Checks domain names against the pattern of `DomainName`: labels with dots between them, perhaps after `*.`. The
/// API server also accepts `[`, `\\`, `]`, `^`, `_` and a backtick at the beginning of a label, because the pattern
/// says `A-z`.
fn domains(names: &[String], at: &Field<'_>) -> Result<(), Problem> {
    let is_first = |c: char| c.is_ascii_alphanumeric() || "[\\]^_`".contains(c);
    let is_label = |label: &str| {
        let mut rest = label.chars();
        rest.next().is_some_and(is_first)
            && rest.all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
            && (label.chars().count() == 1 || label.ends_with(|c: char| c.is_ascii_alphanumeric()))
    };
    let is_domain = |name: &String| {
        let name = name.strip_prefix("*.").unwrap_or(name);
        let name = name.strip_suffix('.').unwrap_or(name);
        name.contains('.') && name.split('.').all(is_label)
    };
    some(names, at)?;
    let invalid = names.iter().enumerate().find(|(_, name)| !is_domain(name));
    invalid.map_or(Ok(()), |(i, name)| {
        let what = "is not the name of a domain such as `example.com` or `*.example.com`";
        Err(at.index(i).problem(format!("{} {what}", quote(name))))
    })
}

/// Checks that a list has at least one entry, not too many, and no entry twice.
fn some(entries: &[String], at: &Field<'_>) -> Result<(), Problem> {
    if entries.is_empty() || entries.len() > LIST {
        return Err(at.problem(format!("must have 1 to {LIST} entries, found {}", entries.len())));
    }
    let twice = entries.iter().enumerate().find(|(i, entry)| entries.iter().take(*i).any(|e| e == *entry));
    match twice {
        Some((i, entry)) => Err(at.index(i).problem(format!("{} is there twice", quote(entry)))),
        None => Ok(()),
    }
}

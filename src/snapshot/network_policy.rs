//! `networking.k8s.io/v1 NetworkPolicy` → [`policy::NetworkPolicy`](NetworkPolicy).
//!
//! Defaults are applied here and nowhere else. Everything that the API server would refuse is refused
//! (`pkg/apis/networking/validation`).

use std::sync::Arc;

use k8s_openapi::api::networking::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;

use super::field::{Field, Problem};
use super::identity::Identity;
use super::rules::{self, NumberOrName};
use crate::policy::{
    IpBlock, LabelSelector, NamespaceScope, NetworkPolicy, Peer, Peers, PortMatch, PortRange, PortSpec,
    Ports, Requirement, Rule,
};
use crate::source::{Error, Node, decode, quote};

pub(super) fn convert(policy: &api::NetworkPolicy, identity: Identity) -> Result<NetworkPolicy, Problem> {
    let at = Field::ROOT.field("spec");
    rules::subdomain(&identity.name, &Field::ROOT.field("metadata").field("name"))?;
    let default = api::NetworkPolicySpec::default();
    let spec = policy.spec.as_ref().unwrap_or(&default);
    let everything = meta::LabelSelector::default();
    let pod_selector = spec.pod_selector.as_ref().unwrap_or(&everything);
    let subjects = selector(pod_selector, &at.field("podSelector"))?;
    let (isolates_ingress, isolates_egress) = directions(spec, &at.field("policyTypes"))?;

    // Rules are checked even if `policyTypes` makes the API ignore them.
    let ingress = at.field("ingress").each(spec.ingress.iter().flatten(), |r, at| {
        rule(r.from.as_deref(), &at.field("from"), r.ports.as_deref(), &at.field("ports"))
    })?;
    let egress = at.field("egress").each(spec.egress.iter().flatten(), |r, at| {
        rule(r.to.as_deref(), &at.field("to"), r.ports.as_deref(), &at.field("ports"))
    })?;
    Ok(NetworkPolicy {
        namespace: identity.namespace,
        name: identity.name,
        subjects,
        ingress: isolates_ingress.then_some(ingress),
        egress: isolates_egress.then_some(egress),
    })
}

/// Returns whether the policy isolates for ingress, and for egress. Without `policyTypes`, every policy isolates for
/// ingress. A policy with egress rules isolates for egress, too.
fn directions(spec: &api::NetworkPolicySpec, at: &Field<'_>) -> Result<(bool, bool), Problem> {
    let types = spec.policy_types.as_deref().unwrap_or_default();
    if types.is_empty() {
        return Ok((true, spec.egress.as_ref().is_some_and(|rules| !rules.is_empty())));
    }
    if types.len() > 2 {
        return Err(at.problem("must hold at most Ingress and Egress"));
    }
    let (mut ingress, mut egress) = (false, false);
    for (i, policy_type) in types.iter().enumerate() {
        match policy_type.as_str() {
            "Ingress" => ingress = true,
            "Egress" => egress = true,
            other => {
                return Err(at.index(i).problem(format!("{} is neither Ingress nor Egress", quote(other))));
            }
        }
    }
    Ok((ingress, egress))
}

fn rule(
    peers: Option<&[api::NetworkPolicyPeer]>,
    peers_at: &Field<'_>,
    ports: Option<&[api::NetworkPolicyPort]>,
    ports_at: &Field<'_>,
) -> Result<Rule, Problem> {
    let peers = match peers.unwrap_or_default() {
        [] => Peers::Any,
        peers => Peers::Only(peers_at.each(peers, peer)?),
    };
    let ports = match ports.unwrap_or_default() {
        [] => Ports::Any,
        ports => Ports::Only(ports_at.each(ports, port)?),
    };
    Ok(Rule { peers, ports })
}

fn peer(peer: &api::NetworkPolicyPeer, at: &Field<'_>) -> Result<Peer, Problem> {
    match (&peer.ip_block, &peer.namespace_selector, &peer.pod_selector) {
        (Some(block), None, None) => ip_block(block, &at.field("ipBlock")).map(Peer::IpBlock),
        (Some(_), _, _) => Err(at.field("ipBlock").problem("must stand alone, without a selector beside it")),
        (None, None, None) => Err(at.problem(
            "must have a podSelector, a namespaceSelector or an ipBlock: an empty peer is not allowed",
        )),
        (None, namespaces, pods) => Ok(Peer::Pods {
            namespaces: match namespaces {
                Some(namespaces) => {
                    NamespaceScope::Selected(selector(namespaces, &at.field("namespaceSelector"))?)
                }
                None => NamespaceScope::Own,
            },
            pods: match pods {
                Some(pods) => selector(pods, &at.field("podSelector"))?,
                None => LabelSelector::everything(),
            },
        }),
    }
}

fn ip_block(block: &api::IPBlock, at: &Field<'_>) -> Result<IpBlock, Problem> {
    let net = rules::cidr(&block.cidr, &at.field("cidr"))?;
    let holes = at.field("except").each(block.except.iter().flatten(), |text, at| {
        let hole = rules::cidr(text, at)?;
        if !(net.trunc().contains(&hole.trunc()) && hole.prefix_len() > net.prefix_len()) {
            return Err(at.problem(format!("{hole} must lie inside the cidr {net} and be smaller than it")));
        }
        Ok(hole)
    })?;
    Ok(IpBlock::new(net, holes))
}

fn port(port: &api::NetworkPolicyPort, at: &Field<'_>) -> Result<PortMatch, Problem> {
    let protocol = rules::protocol(port.protocol.as_deref(), &at.field("protocol"))?;
    let first = port.port.as_ref().map(|port| rules::port(port, &at.field("port"))).transpose()?;
    let end_at = at.field("endPort");
    let ports = match (first, port.end_port) {
        (None, None) => PortSpec::Any,
        (Some(NumberOrName::Number(first)), None) => PortSpec::Range(PortRange::single(first)),
        (Some(NumberOrName::Name(name)), None) => PortSpec::Named(name),
        (Some(NumberOrName::Number(first)), Some(end)) => {
            let last = rules::port_number(end, &end_at)?;
            let range = PortRange::new(first, last)
                .ok_or_else(|| end_at.problem(format!("{last} must not be below the port {first}")))?;
            PortSpec::Range(range)
        }
        (Some(NumberOrName::Name(_)), Some(_)) => {
            return Err(end_at.problem("needs a port that is a number, not a name"));
        }
        (None, Some(_)) => return Err(end_at.problem("needs a port to begin at")),
    };
    Ok(PortMatch { protocol, ports })
}

/// Reads a label selector of one of netproof's own formats. `field` is its field there.
///
/// # Errors
/// If it is not a selector that the API server would accept.
pub(crate) fn read_selector(file: &Arc<str>, node: &Node, field: &str) -> Result<LabelSelector, Error> {
    let read: meta::LabelSelector = decode(node).map_err(|error| error.within(file).about(field))?;
    let at = Field::ROOT.field(field);
    selector(&read, &at).map_err(|problem| {
        // The path begins with the field, which `node` is the value of.
        let within = problem.path.get(1..).unwrap_or_default();
        Error::at(file, node.locate(within), problem.with_path()).because(problem)
    })
}

pub(crate) fn selector(selector: &meta::LabelSelector, at: &Field<'_>) -> Result<LabelSelector, Problem> {
    let mut requirements = Vec::new();
    let labels_at = at.field("matchLabels");
    for (key, value) in selector.match_labels.iter().flatten() {
        rules::label_key(key, &labels_at)?;
        rules::label_value(value, &labels_at.field(key))?;
        requirements.push(Requirement::In(key.clone(), [value.clone()].into()));
    }
    let expressions = selector.match_expressions.iter().flatten();
    requirements.extend(at.field("matchExpressions").each(expressions, requirement)?);
    Ok(requirements.into_iter().collect())
}

fn requirement(expression: &meta::LabelSelectorRequirement, at: &Field<'_>) -> Result<Requirement, Problem> {
    let key = expression.key.clone();
    rules::label_key(&key, &at.field("key"))?;
    let values = expression.values.as_deref().unwrap_or_default();
    at.field("values").each(values, |value, at| rules::label_value(value, at))?;
    let some = || match values {
        [] => Err(at.problem(format!("{} needs values", expression.operator))),
        values => Ok(values.iter().cloned().collect()),
    };
    let none = || match values {
        [] => Ok(()),
        [_, ..] => Err(at.field("values").problem(format!("{} takes no values", expression.operator))),
    };
    match expression.operator.as_str() {
        "In" => Ok(Requirement::In(key, some()?)),
        "NotIn" => Ok(Requirement::NotIn(key, some()?)),
        "Exists" => none().map(|()| Requirement::Exists(key)),
        "DoesNotExist" => none().map(|()| Requirement::DoesNotExist(key)),
        other => Err(at
            .field("operator")
            .problem(format!("{} is not one of In, NotIn, Exists and DoesNotExist", quote(other)))),
    }
}

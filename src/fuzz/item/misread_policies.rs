//! Wrong readings of the items of the semantics, for single policies.
//!
//! An item decides something in a case, if the answer for a cell changes when the item is misread. Each reading here
//! changes a policy into what it would mean to a reader who misreads the item.

use k8s_openapi::api::networking::v1::{
    NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

type Peers = Option<Vec<NetworkPolicyPeer>>;
type Ports = Option<Vec<NetworkPolicyPort>>;

/// Function that changes a policy to its misread meaning.
pub(super) type Misread = fn(&mut NetworkPolicySpec);

/// Wrong readings of single policies, each with the number of the item.
pub(super) const POLICIES: [(u8, Misread); 29] = [
    (1, |spec| spec.policy_types = types(true, true)),
    (2, |spec| {
        if has_no_types(spec) {
            spec.policy_types = types(true, false);
        }
    }),
    (2, |spec| {
        if has_no_types(spec) {
            spec.policy_types = types(true, true);
        }
    }),
    (2, |spec| {
        if has_no_types(spec) {
            spec.policy_types = types(is_some(&spec.ingress), is_some(&spec.egress));
        }
    }),
    (3, |spec| {
        if !has_no_types(spec) {
            spec.policy_types = types(
                names(spec, "Ingress") || is_some(&spec.ingress),
                names(spec, "Egress") || is_some(&spec.egress),
            );
        }
    }),
    (4, |spec| {
        if !is_some(&spec.ingress) {
            spec.ingress = Some(vec![NetworkPolicyIngressRule::default()]);
        }
        if !is_some(&spec.egress) && names(spec, "Egress") {
            spec.egress = Some(vec![NetworkPolicyEgressRule::default()]);
        }
    }),
    (4, |spec| keep_rules(spec, |peers, ports| is_some(peers) || is_some(ports))),
    (5, |spec| {
        each_rule(spec, |peers, _| {
            if !is_some(peers) {
                *peers = Some(vec![own_namespace()]);
            }
        });
    }),
    (5, |spec| {
        each_rule(spec, |peers, _| {
            if *peers == Some(vec![own_namespace()]) {
                *peers = None;
            }
        });
    }),
    (6, |spec| keep_rules(spec, |_, ports| is_some(ports))),
    (7, |spec| each_port_list(spec, |ports| multiply(ports, |port| port.protocol.is_none()))),
    (7, |spec| each_port_list(spec, |ports| ports.retain(|port| port.port.is_some()))),
    (8, |spec| {
        each_peer(spec, |peer| {
            if is_everything(&peer.namespace_selector) {
                peer.namespace_selector = None;
                peer.pod_selector.get_or_insert_default();
            }
        });
    }),
    (8, |spec| {
        each_rule(spec, |peers, _| {
            let is_all = |peer: &NetworkPolicyPeer| {
                is_everything(&peer.namespace_selector) && peer.pod_selector.is_none()
            };
            if peers.iter().flatten().any(is_all) {
                *peers = None;
            }
        });
    }),
    (9, |spec| each_rule(spec, |peers, _| split_selectors(peers))),
    (9, |spec| {
        each_rule(spec, |peers, _| {
            if let Some(peers) = peers {
                peers.truncate(1);
            }
        });
    }),
    (10, |spec| {
        each_peer(spec, |peer| {
            if peer.pod_selector.is_some() {
                peer.namespace_selector.get_or_insert_default();
            }
        });
    }),
    (12, merge_rules),
    (15, |spec| each_port_list(spec, |ports| multiply(ports, |_| true))),
    (16, |spec| each_port_list(spec, |ports| ports.iter_mut().for_each(|port| port.end_port = None))),
    // Every port name means 80.
    (17, |spec| {
        each_port_list(spec, |ports| {
            for port in ports.iter_mut().filter(|port| is_named(port)) {
                port.port = Some(IntOrString::Int(80));
            }
        });
    }),
    // Ports with a name are ignored.
    (17, |spec| each_port_list(spec, |ports| ports.retain(|port| !is_named(port)))),
    // For ingress, names are resolved on the sender, and an address has no names.
    (18, |spec| {
        for rule in spec.ingress.iter_mut().flatten().filter(|rule| has_names(&rule.ports)) {
            drop_blocks(&mut rule.from);
        }
    }),
    (22, |spec| {
        each_peer(spec, |peer| {
            if let Some(block) = &mut peer.ip_block {
                block.except = None;
            }
        });
    }),
    (23, |spec| each_rule(spec, |peers, _| both_families(peers))),
    (24, |spec| each_selector(spec, |selector| need_the_key(&mut selector.match_expressions))),
    (24, |spec| {
        each_selector(spec, |selector| {
            if let Some(labels) = &mut selector.match_labels {
                labels.retain(|_, value| !value.is_empty());
            }
        });
    }),
    (38, |spec| each_selector(spec, lower_case)),
    (38, |spec| {
        each_peer(spec, |peer| {
            if let Some(block) = &mut peer.ip_block {
                take_host_bits_literally(&mut block.cidr);
            }
        });
    }),
];

fn types(ingress: bool, egress: bool) -> Option<Vec<String>> {
    let all = [("Ingress", ingress), ("Egress", egress)];
    Some(all.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| name.to_owned()).collect())
}

fn has_no_types(spec: &NetworkPolicySpec) -> bool {
    !is_some(&spec.policy_types)
}

fn names(spec: &NetworkPolicySpec, direction: &str) -> bool {
    spec.policy_types.iter().flatten().any(|name| name == direction)
}

/// Returns whether a list exists and is not empty.
fn is_some<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_some_and(|list| !list.is_empty())
}

fn is_everything(selector: &Option<LabelSelector>) -> bool {
    *selector == Some(LabelSelector::default())
}

fn own_namespace() -> NetworkPolicyPeer {
    NetworkPolicyPeer { pod_selector: Some(LabelSelector::default()), ..NetworkPolicyPeer::default() }
}

fn is_named(port: &NetworkPolicyPort) -> bool {
    matches!(port.port, Some(IntOrString::String(_)))
}

pub(super) fn has_names(ports: &Ports) -> bool {
    ports.iter().flatten().any(is_named)
}

fn each_rule(spec: &mut NetworkPolicySpec, mut change: impl FnMut(&mut Peers, &mut Ports)) {
    for NetworkPolicyIngressRule { from, ports } in spec.ingress.iter_mut().flatten() {
        change(from, ports);
    }
    for NetworkPolicyEgressRule { to, ports } in spec.egress.iter_mut().flatten() {
        change(to, ports);
    }
}

fn keep_rules(spec: &mut NetworkPolicySpec, keep: impl Fn(&Peers, &Ports) -> bool) {
    keep_direction(spec);
    spec.ingress.iter_mut().for_each(|rules| rules.retain(|rule| keep(&rule.from, &rule.ports)));
    spec.egress.iter_mut().for_each(|rules| rules.retain(|rule| keep(&rule.to, &rule.ports)));
}

/// Names the directions that the policy isolates, so that it still isolates them without its rules.
fn keep_direction(spec: &mut NetworkPolicySpec) {
    if has_no_types(spec) {
        spec.policy_types = types(true, is_some(&spec.egress));
    }
}

fn each_peer(spec: &mut NetworkPolicySpec, mut change: impl FnMut(&mut NetworkPolicyPeer)) {
    each_rule(spec, |peers, _| peers.iter_mut().flatten().for_each(&mut change));
}

/// Changes every list of ports. If a list becomes empty, adds a port that no pod has: an empty list would mean all
/// ports.
fn each_port_list(spec: &mut NetworkPolicySpec, mut change: impl FnMut(&mut Vec<NetworkPolicyPort>)) {
    each_rule(spec, |_, ports| {
        let Some(ports) = ports.as_mut().filter(|ports| !ports.is_empty()) else { return };
        change(ports);
        if ports.is_empty() {
            ports.push(NetworkPolicyPort { port: Some(IntOrString::Int(1)), ..NetworkPolicyPort::default() });
        }
    });
}

fn each_selector(spec: &mut NetworkPolicySpec, mut change: impl FnMut(&mut LabelSelector)) {
    spec.pod_selector.iter_mut().for_each(&mut change);
    each_peer(spec, |peer| {
        peer.pod_selector.iter_mut().for_each(&mut change);
        peer.namespace_selector.iter_mut().for_each(&mut change);
    });
}

/// Adds the wanted entries again for every protocol.
fn multiply(ports: &mut Vec<NetworkPolicyPort>, is_wanted: impl Fn(&NetworkPolicyPort) -> bool) {
    let of_all = |port: &NetworkPolicyPort| {
        let port = port.clone();
        ["TCP", "UDP", "SCTP"]
            .map(|protocol| NetworkPolicyPort { protocol: Some(protocol.to_owned()), ..port.clone() })
    };
    let more: Vec<_> = ports.iter().filter(|port| is_wanted(port)).flat_map(of_all).collect();
    ports.extend(more);
}

/// Splits a peer with two selectors into two peers.
fn split_selectors(peers: &mut Peers) {
    let split = |peer: &NetworkPolicyPeer| match (&peer.namespace_selector, &peer.pod_selector) {
        (Some(namespaces), Some(pods)) => vec![
            NetworkPolicyPeer {
                namespace_selector: Some(namespaces.clone()),
                ..NetworkPolicyPeer::default()
            },
            NetworkPolicyPeer { pod_selector: Some(pods.clone()), ..NetworkPolicyPeer::default() },
        ],
        (Some(_), None) | (None, Some(_)) | (None, None) => vec![peer.clone()],
    };
    if let Some(peers) = peers {
        *peers = peers.iter().flat_map(split).collect();
    }
}

/// Merges the rules of a direction: any peer of any rule, on any port of any rule.
fn merge_rules(spec: &mut NetworkPolicySpec) {
    if let Some(rules) = spec.ingress.as_mut().filter(|rules| rules.len() > 1) {
        let from = united(rules.iter().map(|rule| &rule.from));
        let ports = united(rules.iter().map(|rule| &rule.ports));
        *rules = vec![NetworkPolicyIngressRule { from, ports }];
    }
    if let Some(rules) = spec.egress.as_mut().filter(|rules| rules.len() > 1) {
        let to = united(rules.iter().map(|rule| &rule.to));
        let ports = united(rules.iter().map(|rule| &rule.ports));
        *rules = vec![NetworkPolicyEgressRule { to, ports }];
    }
}

/// Returns the entries of all lists. An empty list means everything. So if one of the lists is empty, the result
/// means everything.
fn united<'a, T: Clone + 'a>(lists: impl Iterator<Item = &'a Option<Vec<T>>>) -> Option<Vec<T>> {
    let mut all = Vec::new();
    for list in lists {
        all.extend(list.clone().filter(|list| !list.is_empty())?);
    }
    Some(all)
}

/// Removes the address ranges from a list of peers. If no peer is left, the list matches no pod.
fn drop_blocks(peers: &mut Peers) {
    let Some(peers) = peers else { return };
    let had_some = !peers.is_empty();
    peers.retain(|peer| peer.ip_block.is_none());
    if had_some && peers.is_empty() {
        peers.push(NetworkPolicyPeer { pod_selector: Some(nobody()), ..NetworkPolicyPeer::default() });
    }
}

fn nobody() -> LabelSelector {
    let key = "nobody-has-this".to_owned();
    let wanted = LabelSelectorRequirement { key, operator: "Exists".to_owned(), values: None };
    LabelSelector { match_expressions: Some(vec![wanted]), match_labels: None }
}

/// Makes a range with all addresses of one family match all addresses of the other family, too.
fn both_families(peers: &mut Peers) {
    let Some(peers) = peers else { return };
    let other = |peer: &NetworkPolicyPeer| {
        let mut other = peer.clone();
        let block = other.ip_block.as_mut()?;
        block.cidr = match block.cidr.as_str() {
            "0.0.0.0/0" => "::/0".to_owned(),
            "::/0" => "0.0.0.0/0".to_owned(),
            _ => return None,
        };
        block.except = None;
        Some(other)
    };
    let others: Vec<_> = peers.iter().filter_map(other).collect();
    peers.extend(others);
}

/// Makes `NotIn` and `DoesNotExist` require the key.
fn need_the_key(expressions: &mut Option<Vec<LabelSelectorRequirement>>) {
    let Some(expressions) = expressions else { return };
    let keys: Vec<_> = expressions
        .iter()
        .filter(|wanted| wanted.operator == "NotIn" || wanted.operator == "DoesNotExist")
        .map(|wanted| wanted.key.clone())
        .collect();
    let exists = |key| LabelSelectorRequirement { key, operator: "Exists".to_owned(), values: None };
    expressions.extend(keys.into_iter().map(exists));
}

fn lower_case(selector: &mut LabelSelector) {
    selector.match_labels.iter_mut().flatten().for_each(|(_, value)| value.make_ascii_lowercase());
    let wanted = selector.match_expressions.iter_mut().flatten();
    wanted.flat_map(|wanted| &mut wanted.values).flatten().for_each(|value| value.make_ascii_lowercase());
}

/// Makes a range with host bits match only that address.
fn take_host_bits_literally(cidr: &mut String) {
    if let Ok(net) = cidr.parse::<ipnet::IpNet>()
        && net.addr() != net.network()
    {
        *cidr = ipnet::IpNet::from(net.addr()).to_string();
    }
}

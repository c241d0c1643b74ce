//! Carrying wrong readings out: policies that mean something else than they say.

use std::collections::BTreeSet;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use k8s_openapi::api::networking::v1::NetworkPolicySpec;

use super::reading::Misreading;
use super::rewrite::{
    blocks, each, everybody, in_namespaces, lists, peers, pod_peers, ports, ranges, rules, selectors,
};
use crate::backend::lab::enforce::selects;
use crate::policy::{
    Cluster, IpBlock, LabelSelector, Labels, NAMESPACE_NAME_LABEL, NamespaceScope, NetworkPolicy, Peer,
    Peers, PortMatch, PortRange, PortSpec, Ports, Protocol, Requirement, Rule,
};
use crate::snapshot::WrittenPolicy;

/// How many rules of a policy fit into a table that is too small.
const FEW_RULES: usize = 16;

/// Lets a cluster's policies mean what they are taken to mean. `written` are the same policies, as they
/// were written.
pub(super) fn misread(misreading: Misreading, cluster: &mut Cluster, written: &[WrittenPolicy]) {
    use Misreading as M;
    let has_rules = |rules: Option<usize>| rules.is_some_and(|count| count > 0);
    match misreading {
        M::OmittedTypesAreBoth => retype(cluster, written, |types, _| types.unwrap_or((true, true))),
        M::OmittedTypesAreIngress => retype(cluster, written, |types, _| types.unwrap_or((true, false))),
        M::OmittedTypesFollowRules => retype(cluster, written, |types, (ingress, egress)| {
            types.unwrap_or((has_rules(ingress) || !has_rules(egress), has_rules(egress)))
        }),
        M::TypesIgnored => retype(cluster, written, |types, (ingress, egress)| {
            let (for_ingress, for_egress) = types.unwrap_or((true, false));
            (for_ingress || has_rules(ingress), for_egress || has_rules(egress))
        }),
        M::NoIngressRulesIgnored => each(cluster, |policy| {
            policy.ingress.take_if(|rules| rules.is_empty());
        }),
        M::NoEgressRulesIgnored => each(cluster, |policy| {
            policy.egress.take_if(|rules| rules.is_empty());
        }),
        M::EmptyRuleDenies => lists(cluster, |rules| {
            rules.retain(|rule| *rule != Rule { peers: Peers::Any, ports: Ports::Any });
        }),
        M::EmptyPeersDeny => lists(cluster, |rules| {
            rules.retain(|rule| rule.peers != Peers::Any || rule.ports == Ports::Any);
        }),
        M::EmptyPeersArePods => rules(cluster, |rule| {
            if rule.peers == Peers::Any {
                rule.peers = Peers::Only(vec![everybody()]);
            }
        }),
        M::EmptyPortsDeny => lists(cluster, |rules| {
            rules.retain(|rule| rule.ports != Ports::Any || rule.peers == Peers::Any);
        }),
        M::AllNamespacesAreEverybody => rules(cluster, |rule| {
            if matches!(&rule.peers, Peers::Only(peers) if peers.contains(&everybody())) {
                rule.peers = Peers::Any;
            }
        }),
        M::SelectorsOr => pod_peers(cluster, |namespaces, pods| {
            let alone = Peer::Pods { namespaces: NamespaceScope::Own, pods };
            vec![in_namespaces(namespaces, LabelSelector::everything()), alone]
        }),
        M::PodSelectorLost => {
            pod_peers(cluster, |namespaces, _| vec![in_namespaces(namespaces, LabelSelector::everything())]);
        }
        M::NamespaceSelectorLost => {
            pod_peers(cluster, |_, pods| vec![Peer::Pods { namespaces: NamespaceScope::Own, pods }]);
        }
        M::PodSelectorEverywhere => peers(cluster, |peer| match peer {
            Peer::Pods { namespaces: NamespaceScope::Own, pods } => {
                vec![in_namespaces(LabelSelector::everything(), pods)]
            }
            Peer::Pods { .. } | Peer::IpBlock(_) => vec![peer],
        }),
        M::FirstPeerOnly => rules(cluster, |rule| {
            if let Peers::Only(peers) = &mut rule.peers {
                peers.truncate(1);
            }
        }),
        M::FirstRuleOnly => lists(cluster, |rules| rules.truncate(1)),
        M::FewRules => lists(cluster, |rules| rules.truncate(FEW_RULES)),
        M::CrossedRules => lists(cluster, cross),
        M::ZippedPeersAndPorts => lists(cluster, zip),
        M::IgnorePorts => rules(cluster, |rule| rule.ports = Ports::Any),
        M::IgnorePeers => rules(cluster, |rule| {
            if rule.ports != Ports::Any {
                rule.peers = Peers::Any;
            }
        }),
        M::FirstPortOnly => rules(cluster, |rule| {
            if let Ports::Only(ports) = &mut rule.ports {
                ports.truncate(1);
            }
        }),
        M::ProtocolIgnored => {
            ports(cluster, |port| {
                Protocol::ALL.map(|protocol| PortMatch { protocol, ..port.clone() }).into()
            });
        }
        M::NumberlessIsEveryProtocol => ports(cluster, |port| match port.ports {
            PortSpec::Any => {
                Protocol::ALL.map(|protocol| PortMatch { protocol, ports: PortSpec::Any }).into()
            }
            PortSpec::Range(_) | PortSpec::Named(_) => vec![port],
        }),
        M::PortBesideAllOverrides => rules(cluster, override_all),
        M::SctpPolicyIgnored => cluster.policies.retain(|policy| !is_of_sctp(policy)),
        M::EndPortFirstOnly => ranges(cluster, |range| PortRange::single(range.first())),
        M::EndPortExclusive => ranges(cluster, without_last),
        M::EndPortOpen => ranges(cluster, |range| match range.first() == range.last() {
            true => range,
            false => PortRange::new(range.first(), PortRange::ALL.last()).unwrap_or(range),
        }),
        M::IgnoreExcept => blocks(cluster, |block| IpBlock::new(block.net(), [])),
        M::FirstExceptOnly => {
            blocks(cluster, |block| IpBlock::new(block.net(), block.except().first().copied()));
        }
        M::ExceptAcrossPeers => each(cluster, share_holes),
        M::ZeroHoldsIpv6 => rules(cluster, |rule| {
            let zero = |peer: &Peer| matches!(peer, Peer::IpBlock(block) if block.is_whole_family());
            if matches!(&rule.peers, Peers::Only(peers) if peers.iter().any(zero)) {
                rule.peers = Peers::Any;
            }
        }),
        M::UnmatchedPeersIgnored => {
            let unmatched: BTreeSet<_> = cluster
                .policies
                .iter()
                .filter(|policy| is_unmatched(policy, cluster))
                .map(|policy| (policy.namespace.clone(), policy.name.clone()))
                .collect();
            let is_matched = |p: &NetworkPolicy| !unmatched.contains(&(p.namespace.clone(), p.name.clone()));
            cluster.policies.retain(is_matched);
        }
        M::UnmatchedPeersAreEverybody => {
            let known = cluster.clone();
            each(cluster, |policy| {
                let namespace = policy.namespace.clone();
                let is_unmatched = |peers: &Peers| match peers {
                    Peers::Any => false,
                    Peers::Only(peers) => !peers.iter().any(|peer| matches_any(peer, &namespace, &known)),
                };
                for rule in [&mut policy.ingress, &mut policy.egress].into_iter().flatten().flatten() {
                    if is_unmatched(&rule.peers) {
                        rule.peers = Peers::Any;
                    }
                }
            });
        }
        M::SubjectsIgnored => each(cluster, |policy| policy.subjects = LabelSelector::everything()),
        M::SubjectsEverywhere => {
            let names: Vec<_> = cluster.namespaces.iter().map(|namespace| namespace.name.clone()).collect();
            let everywhere = cluster.policies.iter().flat_map(|policy| in_all(policy, &names));
            cluster.policies = everywhere.collect();
        }
        M::SameNameCollides => {
            let names: Vec<_> = cluster.policies.iter().map(|policy| policy.name.clone()).collect();
            let mut later = names.iter();
            cluster.policies.retain(|policy| {
                later.next();
                !later.as_slice().contains(&policy.name)
            });
        }
        M::NotInNeedsKey => selectors(cluster, |requirement| match &requirement {
            Requirement::NotIn(key, _) => vec![Requirement::Exists(key.clone()), requirement],
            Requirement::In(..) | Requirement::Exists(_) | Requirement::DoesNotExist(_) => vec![requirement],
        }),
        M::NotInAnyValue => selectors(cluster, |requirement| match &requirement {
            Requirement::NotIn(_, values) if values.len() > 1 => Vec::new(),
            Requirement::NotIn(..)
            | Requirement::In(..)
            | Requirement::Exists(_)
            | Requirement::DoesNotExist(_) => vec![requirement],
        }),
        M::NegationsMatchOutside => {
            let outside = outside(cluster);
            peers(cluster, |peer| {
                let is_negative = matches!(&peer, Peer::Pods { namespaces, .. } if is_negation(namespaces));
                let also = if is_negative { outside.to_vec() } else { Vec::new() };
                [vec![peer], also].concat()
            });
        }
        M::AnyLabel => peers(cluster, |peer| match peer {
            Peer::Pods { namespaces, pods } if !pods.is_everything() => {
                let alone = |requirement: &Requirement| Peer::Pods {
                    namespaces: namespaces.clone(),
                    pods: [requirement.clone()].into_iter().collect(),
                };
                pods.requirements().map(alone).collect()
            }
            Peer::Pods { .. } | Peer::IpBlock(_) => vec![peer],
        }),
        M::DoesNotExistIgnored => selectors(cluster, |requirement| match requirement {
            Requirement::DoesNotExist(_) => Vec::new(),
            Requirement::In(..) | Requirement::NotIn(..) | Requirement::Exists(_) => vec![requirement],
        }),
        M::InFirstValueOnly => selectors(cluster, |requirement| match requirement {
            Requirement::In(key, values) => vec![Requirement::In(key, values.into_iter().take(1).collect())],
            Requirement::NotIn(..) | Requirement::Exists(_) | Requirement::DoesNotExist(_) => {
                vec![requirement]
            }
        }),
        M::ExpressionsIgnored => selectors(cluster, |requirement| match &requirement {
            Requirement::In(_, values) if values.len() == 1 => vec![requirement],
            Requirement::In(..)
            | Requirement::NotIn(..)
            | Requirement::Exists(_)
            | Requirement::DoesNotExist(_) => Vec::new(),
        }),
        M::EmptyMatchesMissing => {
            let values = all_values(cluster);
            selectors(cluster, |requirement| vec![or_missing(requirement, &values)]);
        }
        M::CaseIgnored => ignore_case(cluster),
        M::NameLabelUnknown => {
            for namespace in &mut cluster.namespaces {
                namespace.labels.remove(NAMESPACE_NAME_LABEL);
            }
        }
    }
}

/// The directions of a policy, ingress first.
type Directions = (bool, bool);

/// Decides for which directions each policy isolates: by those that `policyTypes` names, if it is
/// there, and the numbers of rules.
fn retype(
    cluster: &mut Cluster,
    written: &[WrittenPolicy],
    directions: impl Fn(Option<Directions>, (Option<usize>, Option<usize>)) -> Directions,
) {
    let retyped = written.iter().filter_map(|written| {
        let mut object = (*written.object).clone();
        let spec: &mut NetworkPolicySpec = object.spec.get_or_insert_default();
        let names = |name: &str| spec.policy_types.iter().flatten().any(|of_policy| of_policy == name);
        let types = (names("Ingress"), names("Egress"));
        let types = (types != (false, false)).then_some(types);
        let counts = (spec.ingress.as_ref().map(Vec::len), spec.egress.as_ref().map(Vec::len));
        let (ingress, egress) = directions(types, counts);
        let taken = [("Ingress", ingress), ("Egress", egress)];
        let taken = taken.into_iter().filter(|(_, is_taken)| *is_taken);
        spec.policy_types = Some(taken.map(|(name, _)| name.to_owned()).collect());
        // What was read once can be read again.
        WrittenPolicy::new(object).ok().map(|written| written.policy)
    });
    cluster.policies = retyped.collect();
}

/// Every rule's peers with every rule's ports.
fn cross(rules: &mut Vec<Rule>) {
    let crossed = rules.iter().flat_map(|with_peers| {
        let peers = &with_peers.peers;
        rules.iter().map(|with_ports| Rule { peers: peers.clone(), ports: with_ports.ports.clone() })
    });
    *rules = crossed.collect();
}

fn without_last(range: PortRange) -> PortRange {
    let before = |port: crate::policy::Port| crate::policy::Port::new(port.get() - 1);
    before(range.last()).and_then(|last| PortRange::new(range.first(), last)).unwrap_or(range)
}

/// Whether a policy names ports, and all of them are SCTP's.
fn is_of_sctp(policy: &NetworkPolicy) -> bool {
    let rules: Vec<_> = policy.ingress.iter().chain(&policy.egress).flatten().collect();
    let is_of_sctp = |rule: &&Rule| match &rule.ports {
        Ports::Any => false,
        Ports::Only(ports) => ports.iter().all(|port| port.protocol == Protocol::Sctp),
    };
    !rules.is_empty() && rules.iter().all(is_of_sctp)
}

/// Takes what one block of a direction excepts out of its others.
fn share_holes(policy: &mut NetworkPolicy) {
    for rules in [&mut policy.ingress, &mut policy.egress].into_iter().flatten() {
        let all_peers = rules.iter().filter_map(|rule| match &rule.peers {
            Peers::Only(peers) => Some(peers),
            Peers::Any => None,
        });
        let holes = all_peers.flatten().filter_map(|peer| match peer {
            Peer::IpBlock(block) => Some(block.except().to_vec()),
            Peer::Pods { .. } => None,
        });
        let holes: Vec<_> = holes.flatten().collect();
        for rule in rules {
            let Peers::Only(peers) = &mut rule.peers else { continue };
            for peer in peers {
                if let Peer::IpBlock(block) = peer {
                    let net = block.net();
                    let of_family = |hole: &&IpNet| hole.addr().is_ipv4() == net.addr().is_ipv4();
                    *block = IpBlock::new(net, holes.iter().filter(of_family).copied());
                }
            }
        }
    }
}

/// Whether a policy has rules, and none of them matches any pod.
fn is_unmatched(policy: &NetworkPolicy, cluster: &Cluster) -> bool {
    let rules: Vec<_> = policy.ingress.iter().chain(&policy.egress).flatten().collect();
    let is_unmatched = |rule: &&Rule| match &rule.peers {
        Peers::Any => false,
        Peers::Only(peers) => !peers.iter().any(|peer| matches_any(peer, &policy.namespace, cluster)),
    };
    !rules.is_empty() && rules.iter().all(is_unmatched)
}

/// Whether a peer of a policy of a namespace may match anybody.
fn matches_any(peer: &Peer, namespace: &str, cluster: &Cluster) -> bool {
    let Peer::Pods { namespaces, pods } = peer else { return true };
    cluster.pods.iter().any(|pod| {
        let in_scope = match namespaces {
            NamespaceScope::Own => pod.namespace == namespace,
            NamespaceScope::Selected(selector) => cluster
                .namespaces
                .iter()
                .any(|namespace| namespace.name == pod.namespace && selects(selector, &namespace.labels)),
        };
        in_scope && selects(pods, &pod.labels)
    })
}

/// Whether namespaces are selected by negations alone.
fn is_negation(namespaces: &NamespaceScope) -> bool {
    let NamespaceScope::Selected(selector) = namespaces else { return false };
    let is_negative = |requirement: &Requirement| {
        matches!(requirement, Requirement::NotIn(..) | Requirement::DoesNotExist(_))
    };
    !selector.is_everything() && selector.requirements().all(is_negative)
}

/// What is neither a pod nor a node, in both families.
fn outside(cluster: &Cluster) -> [Peer; 2] {
    let pods = cluster.pods.iter().flat_map(|pod| &pod.addresses);
    let inside = pods.chain(cluster.nodes.iter().flat_map(|node| &node.addresses));
    let inside: Vec<_> = inside.map(|address| IpNet::from(*address)).collect();
    [IpNet::from(Ipv4Net::default()), IpNet::from(Ipv6Net::default())].map(|everything| {
        let of_family = |net: &&IpNet| net.addr().is_ipv4() == everything.addr().is_ipv4();
        Peer::IpBlock(IpBlock::new(everything, inside.iter().filter(of_family).copied()))
    })
}

/// Each peer of a rule with one of its ports.
fn zip(rules: &mut Vec<Rule>) {
    let zipped = rules.drain(..).flat_map(|rule| match (&rule.peers, &rule.ports) {
        (Peers::Only(peers), Ports::Only(ports)) => {
            let pairs = peers.iter().zip(ports);
            let pair = |(peer, port): (&Peer, &PortMatch)| Rule {
                peers: Peers::Only(vec![peer.clone()]),
                ports: Ports::Only(vec![port.clone()]),
            };
            pairs.map(pair).collect()
        }
        (Peers::Any, _) | (_, Ports::Any) => vec![rule],
    });
    *rules = zipped.collect();
}

/// Drops entries for all ports of a protocol beside one for some.
fn override_all(rule: &mut Rule) {
    let Ports::Only(ports) = &mut rule.ports else { return };
    let some: Vec<_> =
        ports.iter().filter(|port| port.ports != PortSpec::Any).map(|port| port.protocol).collect();
    ports.retain(|port| port.ports != PortSpec::Any || !some.contains(&port.protocol));
}

/// A policy in every namespace, each with the peers of the first.
fn in_all(policy: &NetworkPolicy, namespaces: &[String]) -> Vec<NetworkPolicy> {
    let name = Requirement::In(NAMESPACE_NAME_LABEL.to_owned(), [policy.namespace.clone()].into());
    let own: LabelSelector = [name].into_iter().collect();
    let mut single = Cluster { policies: vec![policy.clone()], ..Cluster::default() };
    peers(&mut single, |peer| match peer {
        Peer::Pods { namespaces: NamespaceScope::Own, pods } => vec![in_namespaces(own.clone(), pods)],
        Peer::Pods { .. } | Peer::IpBlock(_) => vec![peer],
    });
    let copy = |namespace: &String| {
        let policy = single.policies.first()?;
        // Named after its origin: policies of one name are one.
        let name = format!("{}.{}", policy.namespace, policy.name);
        Some(NetworkPolicy { namespace: namespace.clone(), name, ..policy.clone() })
    };
    namespaces.iter().filter_map(copy).collect()
}

/// All values of all labels.
fn all_values(cluster: &Cluster) -> BTreeSet<String> {
    let pods = cluster.pods.iter().map(|pod| &pod.labels);
    let labels = pods.chain(cluster.namespaces.iter().map(|namespace| &namespace.labels));
    labels.flat_map(Labels::values).cloned().collect()
}

/// Lets an empty value stand for a missing label, too. `values` are all that there are.
fn or_missing(requirement: Requirement, values: &BTreeSet<String>) -> Requirement {
    match requirement {
        Requirement::In(key, wanted) if wanted.contains("") => {
            Requirement::NotIn(key, values.difference(&wanted).cloned().collect())
        }
        Requirement::In(..)
        | Requirement::NotIn(..)
        | Requirement::Exists(_)
        | Requirement::DoesNotExist(_) => requirement,
    }
}

fn ignore_case(cluster: &mut Cluster) {
    let lower = |text: &String| text.to_lowercase();
    let lower_all = |values: BTreeSet<String>| values.iter().map(lower).collect();
    let labels = |labels: &mut Labels| {
        *labels = labels.iter().map(|(key, value)| (lower(key), lower(value))).collect();
    };
    cluster.pods.iter_mut().for_each(|pod| labels(&mut pod.labels));
    cluster.namespaces.iter_mut().for_each(|namespace| labels(&mut namespace.labels));
    selectors(cluster, |requirement| {
        vec![match requirement {
            Requirement::In(key, values) => Requirement::In(lower(&key), lower_all(values)),
            Requirement::NotIn(key, values) => Requirement::NotIn(lower(&key), lower_all(values)),
            Requirement::Exists(key) => Requirement::Exists(lower(&key)),
            Requirement::DoesNotExist(key) => Requirement::DoesNotExist(lower(&key)),
        }]
    });
}

//! Faults in the meaning of labels and their selectors.

use std::collections::BTreeSet;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::super::rewrite::{peers, selectors};
use crate::policy::{Cluster, IpBlock, Labels, NAMESPACE_NAME_LABEL, NamespaceScope, Peer, Requirement};

pub(super) fn not_in_needs_key(cluster: &mut Cluster) {
    selectors(cluster, |requirement| match &requirement {
        Requirement::NotIn(key, _) => vec![Requirement::Exists(key.clone()), requirement],
        Requirement::In(..) | Requirement::Exists(_) | Requirement::DoesNotExist(_) => vec![requirement],
    });
}

pub(super) fn not_in_any_value(cluster: &mut Cluster) {
    selectors(cluster, |requirement| match &requirement {
        Requirement::NotIn(_, values) if values.len() > 1 => Vec::new(),
        Requirement::NotIn(..)
        | Requirement::In(..)
        | Requirement::Exists(_)
        | Requirement::DoesNotExist(_) => vec![requirement],
    });
}

pub(super) fn negations_match_outside(cluster: &mut Cluster) {
    let outside = outside(cluster);
    peers(cluster, |peer| {
        let is_negative = matches!(&peer, Peer::Pods { namespaces, .. } if is_negation(namespaces));
        let also = if is_negative { outside.to_vec() } else { Vec::new() };
        [vec![peer], also].concat()
    });
}

pub(super) fn any_label(cluster: &mut Cluster) {
    peers(cluster, |peer| match peer {
        Peer::Pods { namespaces, pods } if !pods.is_everything() => {
            let alone = |requirement: &Requirement| Peer::Pods {
                namespaces: namespaces.clone(),
                pods: [requirement.clone()].into_iter().collect(),
            };
            pods.requirements().map(alone).collect()
        }
        Peer::Pods { .. } | Peer::IpBlock(_) => vec![peer],
    });
}

pub(super) fn does_not_exist_ignored(cluster: &mut Cluster) {
    selectors(cluster, |requirement| match requirement {
        Requirement::DoesNotExist(_) => Vec::new(),
        Requirement::In(..) | Requirement::NotIn(..) | Requirement::Exists(_) => vec![requirement],
    });
}

pub(super) fn in_first_value_only(cluster: &mut Cluster) {
    selectors(cluster, |requirement| match requirement {
        Requirement::In(key, values) => vec![Requirement::In(key, values.into_iter().take(1).collect())],
        Requirement::NotIn(..) | Requirement::Exists(_) | Requirement::DoesNotExist(_) => {
            vec![requirement]
        }
    });
}

pub(super) fn expressions_ignored(cluster: &mut Cluster) {
    selectors(cluster, |requirement| match &requirement {
        Requirement::In(_, values) if values.len() == 1 => vec![requirement],
        Requirement::In(..)
        | Requirement::NotIn(..)
        | Requirement::Exists(_)
        | Requirement::DoesNotExist(_) => Vec::new(),
    });
}

pub(super) fn empty_matches_missing(cluster: &mut Cluster) {
    let values = all_values(cluster);
    selectors(cluster, |requirement| vec![or_missing(requirement, &values)]);
}

pub(super) fn case_ignored(cluster: &mut Cluster) {
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

pub(super) fn name_label_unknown(cluster: &mut Cluster) {
    for namespace in &mut cluster.namespaces {
        namespace.labels.remove(NAMESPACE_NAME_LABEL);
    }
}

/// Returns whether a namespace selector consists only of negations.
fn is_negation(namespaces: &NamespaceScope) -> bool {
    let NamespaceScope::Selected(selector) = namespaces else { return false };
    let is_negative = |requirement: &Requirement| {
        matches!(requirement, Requirement::NotIn(..) | Requirement::DoesNotExist(_))
    };
    !selector.is_everything() && selector.requirements().all(is_negative)
}

/// Returns all addresses that belong to neither a pod nor a node, as one peer per family.
fn outside(cluster: &Cluster) -> [Peer; 2] {
    let pods = cluster.pods.iter().flat_map(|pod| &pod.addresses);
    let inside = pods.chain(cluster.nodes.iter().flat_map(|node| &node.addresses));
    let inside: Vec<_> = inside.map(|address| IpNet::from(*address)).collect();
    [IpNet::from(Ipv4Net::default()), IpNet::from(Ipv6Net::default())].map(|everything| {
        let of_family = |net: &&IpNet| net.addr().is_ipv4() == everything.addr().is_ipv4();
        Peer::IpBlock(IpBlock::new(everything, inside.iter().filter(of_family).copied()))
    })
}

/// Returns all values of all labels.
fn all_values(cluster: &Cluster) -> BTreeSet<String> {
    let pods = cluster.pods.iter().map(|pod| &pod.labels);
    let labels = pods.chain(cluster.namespaces.iter().map(|namespace| &namespace.labels));
    labels.flat_map(Labels::values).cloned().collect()
}

/// Lets an empty value also match a missing label. `values` contains all values that exist.
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

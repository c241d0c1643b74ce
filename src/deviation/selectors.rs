//! Deviations in the meaning of labels and their selectors.

use std::collections::BTreeSet;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Effect::Meaning;
use super::rewrite::{replace_peers, replace_requirements};
use super::{Deviation, seen, wrong};
use crate::policy::{Cluster, IpBlock, Labels, NAMESPACE_NAME_LABEL, NamespaceScope, Peer, Requirement};

pub(super) const TABLE: &[Deviation] = &[
    seen("notin-needs-key", &[24], "mattfenwick/cyclonus")
        .says("NotIn does not match objects that lack the key")
        .by(Meaning(|cluster| {
            replace_requirements(cluster, |requirement| match &requirement {
                Requirement::NotIn(key, _) => vec![Requirement::Exists(key.clone()), requirement],
                Requirement::In(..) | Requirement::Exists(_) | Requirement::DoesNotExist(_) => {
                    vec![requirement]
                }
            });
        })),
    seen("notin-any-value", &[24], "Azure/azure-container-networking#4866")
        .says(
            "NotIn with several values matches if the label differs from any one value: it matches \
             everything",
        )
        .by(Meaning(|cluster| {
            without(cluster, |it| matches!(it, Requirement::NotIn(_, values) if values.len() > 1));
        })),
    seen("negations-match-outside", &[8, 24], "cilium/cilium#46996, Azure/azure-container-networking#4868")
        .says("a namespaceSelector with NotIn or DoesNotExist also matches addresses outside the cluster")
        .by(Meaning(|cluster| {
            let [v4, v6] = outside(cluster);
            replace_peers(cluster, |peer| match &peer {
                Peer::Pods { namespaces, .. } if is_negation(namespaces) => {
                    vec![peer, v4.clone(), v6.clone()]
                }
                Peer::Pods { .. } | Peer::IpBlock(_) => vec![peer],
            });
        })),
    seen("any-label", &[24], "Azure/AKS#1135")
        .says("a peer with several labels matches if one of them matches")
        .by(Meaning(|cluster| {
            replace_peers(cluster, |peer| match peer {
                Peer::Pods { namespaces, pods } if !pods.is_everything() => {
                    let alone = |requirement: &Requirement| Peer::Pods {
                        namespaces: namespaces.clone(),
                        pods: [requirement.clone()].into_iter().collect(),
                    };
                    pods.requirements().map(alone).collect()
                }
                Peer::Pods { .. } | Peer::IpBlock(_) => vec![peer],
            });
        })),
    wrong("does-not-exist-ignored", &[24])
        .says("DoesNotExist is not evaluated: it matches everything")
        .by(Meaning(|cluster| without(cluster, |it| matches!(it, Requirement::DoesNotExist(_))))),
    wrong("in-first-value-only", &[24]).says("of the values of In only the first counts").by(Meaning(
        |cluster| {
            replace_requirements(cluster, |requirement| match requirement {
                Requirement::In(key, values) => {
                    vec![Requirement::In(key, values.into_iter().take(1).collect())]
                }
                Requirement::NotIn(..) | Requirement::Exists(_) | Requirement::DoesNotExist(_) => {
                    vec![requirement]
                }
            });
        },
    )),
    wrong("expressions-ignored", &[24]).says("matchExpressions are not evaluated beside matchLabels").by(
        Meaning(|cluster| {
            without(cluster, |it| !matches!(it, Requirement::In(_, values) if values.len() == 1));
        }),
    ),
    wrong("empty-matches-missing", &[24, 38])
        .says("a label with an empty value also matches objects that do not have it")
        .by(Meaning(|cluster| {
            let existing = all_values(cluster);
            replace_requirements(cluster, |requirement| match requirement {
                Requirement::In(key, wanted) if wanted.contains("") => {
                    vec![Requirement::NotIn(key, existing.difference(&wanted).cloned().collect())]
                }
                Requirement::In(..)
                | Requirement::NotIn(..)
                | Requirement::Exists(_)
                | Requirement::DoesNotExist(_) => vec![requirement],
            });
        })),
    wrong("case-ignored", &[38]).says("labels are compared without regard to case").by(Meaning(|cluster| {
        each_label_set(cluster, |labels| {
            *labels = labels.iter().map(|(key, value)| (lower(key), lower(value))).collect();
        });
        replace_requirements(cluster, |requirement| {
            vec![match requirement {
                Requirement::In(key, values) => Requirement::In(lower(&key), lower_all(&values)),
                Requirement::NotIn(key, values) => Requirement::NotIn(lower(&key), lower_all(&values)),
                Requirement::Exists(key) => Requirement::Exists(lower(&key)),
                Requirement::DoesNotExist(key) => Requirement::DoesNotExist(lower(&key)),
            }]
        });
    })),
    wrong("name-label-unknown", &[25])
        .says("kubernetes.io/metadata.name is not known: namespaces cannot be named")
        .by(Meaning(|cluster| {
            for namespace in &mut cluster.namespaces {
                namespace.labels.remove(NAMESPACE_NAME_LABEL);
            }
        })),
];

/// Removes requirements from all selectors.
fn without(cluster: &mut Cluster, is_removed: impl Fn(&Requirement) -> bool) {
    replace_requirements(cluster, |it| if is_removed(&it) { Vec::new() } else { vec![it] });
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

fn each_label_set(cluster: &mut Cluster, change: impl Fn(&mut Labels)) {
    cluster.pods.iter_mut().for_each(|pod| change(&mut pod.labels));
    cluster.namespaces.iter_mut().for_each(|namespace| change(&mut namespace.labels));
}

/// Returns all values of all labels.
fn all_values(cluster: &Cluster) -> BTreeSet<String> {
    let pods = cluster.pods.iter().map(|pod| &pod.labels);
    let labels = pods.chain(cluster.namespaces.iter().map(|namespace| &namespace.labels));
    labels.flat_map(Labels::values).cloned().collect()
}

fn lower(text: &str) -> String {
    text.to_lowercase()
}

fn lower_all(values: &BTreeSet<String>) -> BTreeSet<String> {
    values.iter().map(|value| lower(value)).collect()
}

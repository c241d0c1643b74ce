//! Leaks by a label: labels that a tenant may set on its own pods or namespaces, and that would let it into another
//! tenant. Found from the selectors alone; no packet is sent.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::policy::{
    Cluster, Direction, LabelSelector, Labels, NAMESPACE_NAME_LABEL, Namespace, Namespaces, PeerSpec, Pod,
    PodScope, Policies, Port, PortMatch, PortSpec, Ports, Protocol, Requirement,
};
use crate::tenants::{Party, Tenancy, Wish};

/// A label by which a tenant would enter another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelLeak {
    /// The tenant that would get in.
    pub tenant: String,
    /// The tenant that it would reach.
    pub into: String,
    /// Labels that its pods need.
    pub pod_labels: Labels,
    /// Labels that its namespace needs.
    pub namespace_labels: Labels,
    /// The policy whose rule lets it in.
    pub policy: String,
    /// Index of the rule among those for ingress.
    pub rule: usize,
}

/// A value for a label that must exist, with any value.
const ANY: &str = "any";

/// Greatest count of labels that a tenant would have to add. More labels are no accident.
const MOST_LABELS: usize = 2;

/// Returns the labels by which tenants would enter each other, although that is forbidden.
pub(super) fn label_leaks(cluster: &Cluster, tenancy: &Tenancy) -> Vec<LabelLeak> {
    let Policies { list, peers } = cluster.all_policies();
    let namespaces: BTreeMap<&str, &Namespace> =
        cluster.namespaces.iter().map(|namespace| (namespace.name.as_str(), namespace)).collect();
    let mut found = BTreeSet::new();
    for policy in &list {
        for (rule, content) in policy.rules(Direction::Ingress).unwrap_or_default().iter().enumerate() {
            if !content.allows() {
                continue;
            }
            let scopes = content.peers.iter().flatten().filter_map(|peer| match &peers[*peer] {
                PeerSpec::Pods(scope) => Some(scope),
                PeerSpec::IpBlock(_) | PeerSpec::Nodes(_) | PeerSpec::DomainNames => None,
            });
            for scope in scopes {
                let ways = ways_in(scope, &namespaces, tenancy);
                for subject in subjects(&policy.subjects, cluster, &namespaces, tenancy) {
                    for way in &ways {
                        let leak = way.reaches(&subject, tenancy, &content.ports);
                        found.extend(leak.map(|(tenant, into)| LabelLeak {
                            tenant,
                            into,
                            pod_labels: way.pod_labels.clone(),
                            namespace_labels: way.namespace_labels.clone(),
                            policy: policy.name.to_string(),
                            rule,
                        }));
                    }
                }
            }
        }
    }
    found.into_iter().collect()
}

/// How a pod of a tenant would become a peer of a rule.
struct Way<'a> {
    namespace: &'a str,
    pod_labels: Labels,
    namespace_labels: Labels,
}

impl Way<'_> {
    /// Returns the names of both tenants, if the way leads from one to another, and that is forbidden.
    fn reaches(&self, subject: &Pod, tenancy: &Tenancy, ports: &Ports) -> Option<(String, String)> {
        let from = tenancy.tenants_of(self.namespace).next()?;
        let into = tenancy.tenants_of(&subject.namespace).next()?;
        let is_own = tenancy.tenants_of(&subject.namespace).any(|tenant| tenant.name == from.name);
        let party = Party::Pod { namespace: self.namespace, labels: &self.pod_labels, node: None };
        let is_forbidden = |(protocol, port)| {
            let intent = tenancy.intent(party, Party::of_pod(subject), port, protocol);
            intent.is_some_and(|intent| intent.wish == Wish::Forbidden)
        };
        let is_forbidden = allowed_ports(ports, subject).into_iter().any(is_forbidden);
        (!is_own && is_forbidden).then(|| (from.name.clone(), into.name.clone()))
    }
}

/// Returns the ways in which pods of tenants would become peers by adding labels.
fn ways_in<'a>(
    scope: &PodScope,
    namespaces: &BTreeMap<&'a str, &Namespace>,
    tenancy: &'a Tenancy,
) -> Vec<Way<'a>> {
    let Some(pod_labels) = added(&scope.pods, &Labels::new()) else { return Vec::new() };
    let mut ways = Vec::new();
    for namespace in tenancy.tenants().iter().flat_map(|tenant| &tenant.namespaces) {
        let empty = Labels::new();
        let labels = namespaces.get(namespace.as_str()).map_or(&empty, |namespace| &namespace.labels);
        let namespace_labels = match &scope.namespaces {
            Namespaces::Named(name) if name == namespace => Some(Labels::new()),
            Namespaces::Named(_) => None,
            Namespaces::Selected(selector) => added(selector, labels),
        };
        let Some(namespace_labels) = namespace_labels else { continue };
        let is_spoofable = !namespace_labels.contains_key(NAMESPACE_NAME_LABEL);
        let count = namespace_labels.len() + pod_labels.len();
        // Without a label to add, the engine knows that the rule matches: that is a policy gap.
        if is_spoofable && (1..=MOST_LABELS).contains(&count) {
            ways.push(Way { namespace, pod_labels: pod_labels.clone(), namespace_labels });
        }
    }
    ways
}

/// Returns the labels that an object with these labels must add so that the selector matches. `None` if that needs
/// more than adding labels.
fn added(selector: &LabelSelector, labels: &Labels) -> Option<Labels> {
    let mut added = Labels::new();
    for requirement in selector.requirements().filter(|requirement| !requirement.matches(labels)) {
        let value = match requirement {
            Requirement::In(_, values) => values.first()?.clone(),
            Requirement::Exists(_) => ANY.to_owned(),
            Requirement::NotIn(..) | Requirement::DoesNotExist(_) => return None,
        };
        added.insert(requirement.key().clone(), value);
    }
    let mut all = labels.clone();
    all.extend(added.clone());
    selector.matches(&all).then_some(added)
}

/// Returns one pod for each namespace and set of labels of tenants that a policy protects.
fn subjects(
    scope: &PodScope,
    cluster: &Cluster,
    namespaces: &BTreeMap<&str, &Namespace>,
    tenancy: &Tenancy,
) -> Vec<Pod> {
    let is_in = |name: &str| match &scope.namespaces {
        Namespaces::Named(own) => own == name,
        Namespaces::Selected(selector) => {
            namespaces.get(name).is_some_and(|namespace| selector.matches(&namespace.labels))
        }
    };
    let owned = tenancy.tenants().iter().flat_map(|tenant| &tenant.namespaces);
    let owned: BTreeSet<&String> = owned.filter(|name| is_in(name)).collect();
    let mut distinct = BTreeMap::new();
    for pod in cluster.pods.iter().filter(|pod| owned.contains(&pod.namespace) && !pod.ended) {
        if scope.pods.matches(&pod.labels) {
            distinct.entry((&pod.namespace, &pod.labels)).or_insert_with(|| pod.clone());
        }
    }
    distinct.into_values().collect()
}

/// Returns one port of each entry of a rule, at a pod.
fn allowed_ports(ports: &Ports, pod: &Pod) -> Vec<(Protocol, Port)> {
    let resolved = |PortMatch { protocol, ports }: &PortMatch| match ports {
        PortSpec::Any => Some((*protocol, Port::MIN)),
        PortSpec::Range(range) => Some((*protocol, range.first())),
        PortSpec::Named(name) => Some((*protocol, pod.named_port(name, *protocol)?)),
    };
    match ports {
        Ports::Any => vec![(Protocol::Tcp, Port::MIN)],
        Ports::Only(matches) => matches.iter().filter_map(resolved).collect(),
    }
}

//! Unknown facts, compared with every value that they can have.
//!
//! The tests evaluate a cluster with gaps, and each cluster that results if its gaps are filled from a small universe. An
//! answer is definite only if all of these clusters have it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use fastrand::Rng;
use netproof::policy::{
    Action, Cluster, ClusterPeer, ClusterPolicy, ClusterPolicyKind, ClusterPolicyName, ClusterRule, Decision,
    Destination, Endpoint, Engine, Flow, IpBlock, IpFamily, LabelSelector, Labels, Namespace, NamespaceScope,
    NetworkPolicy, Peer, Peers, Pod, PodId, PodSelector, Port, PortMatch, PortRange, PortSpec, Ports,
    Protocol, Requirement, Rule, Tier, UnknownFact, UnknownFacts, UnknownLabels,
};

/// Number of random clusters.
const CLUSTERS: u64 = 6_000;
/// Maximum number of ways to fill the gaps of one flow.
const MOST_COMPLETIONS: usize = 400;

const KEYS: [&str; 2] = ["app", "hash"];
const NAMESPACE_KEYS: [&str; 2] = ["team", "env"];
const VALUES: [&str; 2] = ["1", "2"];
/// A value for all values that no selector names.
const OTHER: &str = "other";
/// Each address is in another part of the address space, as far as the blocks below divide it.
const ADDRESSES: [&str; 8] =
    ["10.0.1.1", "10.0.2.1", "10.0.3.1", "10.1.0.1", "192.0.2.1", "198.51.100.1", "fd00:1::1", "fd01::1"];
const BLOCKS: [(&str, &[&str]); 7] = [
    ("0.0.0.0/0", &[]),
    ("0.0.0.0/0", &["10.0.1.0/24"]),
    ("10.0.0.0/16", &["10.0.2.0/24"]),
    ("10.0.0.0/8", &[]),
    ("::/0", &[]),
    ("fd00::/16", &[]),
    ("192.0.2.0/24", &[]),
];
const RANGES: [&[&str]; 4] =
    [&[], &["10.0.0.0/16", "fd00::/16"], &["10.0.1.0/24"], &["10.0.2.0/24", "10.1.0.0/16", "fd01::/16"]];

fn selector(rng: &mut Rng, keys: &[&str]) -> LabelSelector {
    let requirement = |rng: &mut Rng| {
        let key = (*rng.choice(keys).unwrap()).to_owned();
        let values = BTreeSet::from([(*rng.choice(&VALUES).unwrap()).to_owned()]);
        match rng.u8(..6) {
            0 => Requirement::Exists(key),
            1 => Requirement::DoesNotExist(key),
            2 => Requirement::NotIn(key, values),
            _ => Requirement::In(key, values),
        }
    };
    (0..rng.usize(..3)).map(|_| requirement(rng)).collect()
}

fn block(rng: &mut Rng) -> IpBlock {
    let (net, except) = rng.choice(BLOCKS).unwrap();
    IpBlock::new(net.parse().unwrap(), except.iter().map(|hole| hole.parse().unwrap()))
}

fn ports(rng: &mut Rng) -> Ports {
    match rng.bool() {
        true => Ports::Any,
        false => Ports::Only(vec![PortMatch {
            protocol: Protocol::Tcp,
            ports: PortSpec::Range(PortRange::single(Port::new(80).unwrap())),
        }]),
    }
}

fn rules(rng: &mut Rng) -> Option<Vec<Rule>> {
    let peer = |rng: &mut Rng| match rng.u8(..4) {
        0 => Peer::IpBlock(block(rng)),
        1 => Peer::Pods { namespaces: NamespaceScope::Own, pods: selector(rng, &KEYS) },
        _ => Peer::Pods {
            namespaces: NamespaceScope::Selected(selector(rng, &NAMESPACE_KEYS)),
            pods: selector(rng, &KEYS),
        },
    };
    let rule = |rng: &mut Rng| Rule {
        peers: match rng.u8(..8) {
            0 => Peers::Any,
            _ => Peers::Only((0..rng.usize(1..3)).map(|_| peer(rng)).collect()),
        },
        ports: ports(rng),
    };
    (rng.u8(..3) > 0).then(|| (0..rng.usize(..3)).map(|_| rule(rng)).collect())
}

fn cluster_rules(rng: &mut Rng) -> Vec<ClusterRule> {
    let rule = |rng: &mut Rng| ClusterRule {
        action: rng.choice([Action::Accept, Action::Deny, Action::Pass]).unwrap(),
        peers: vec![match rng.u8(..4) {
            0 => ClusterPeer::Network(block(rng)),
            _ => ClusterPeer::Pods(pod_selector(rng)),
        }],
        ports: ports(rng),
    };
    (0..rng.usize(..3)).map(|_| rule(rng)).collect()
}

fn pod_selector(rng: &mut Rng) -> PodSelector {
    PodSelector { namespaces: selector(rng, &NAMESPACE_KEYS), pods: selector(rng, &KEYS) }
}

/// Returns labels. Of each, the value is known, only the key is known, or nothing is known.
fn labels(rng: &mut Rng, keys: &[&str], gaps: bool) -> (Labels, UnknownLabels) {
    let mut labels = Labels::new();
    let mut unknown = UnknownLabels { others: gaps && rng.u8(..3) == 0, ..UnknownLabels::default() };
    for key in keys {
        match rng.u8(..4) {
            0 => {}
            1 if gaps => {
                let of = if rng.bool() { &mut unknown.values } else { &mut unknown.perhaps };
                of.insert((*key).to_owned());
            }
            _ => {
                labels.insert((*key).to_owned(), (*rng.choice(&VALUES).unwrap()).to_owned());
            }
        }
    }
    (labels, unknown)
}

fn cluster(rng: &mut Rng) -> Cluster {
    let mut cluster = Cluster::default();
    for name in ["x", "y"] {
        let gaps = rng.u8(..3) == 0;
        let (labels, unknown_labels) = labels(rng, &NAMESPACE_KEYS, gaps);
        cluster.namespaces.push(Namespace { unknown_labels, ..Namespace::new(name, labels) });
    }
    for (i, namespace) in ["x", "x", "y"].into_iter().enumerate() {
        let gaps = rng.u8(..3) == 0;
        let (labels, unknown_labels) = labels(rng, &KEYS, gaps);
        let mut pod = Pod {
            namespace: namespace.to_owned(),
            name: format!("pod-{i}"),
            labels,
            unknown_labels,
            host_network: rng.u8(..12) == 0,
            ..Pod::default()
        };
        if rng.u8(..3) > 0 {
            let v4 = rng.choice(&ADDRESSES[..6]).unwrap();
            let v6 = rng.choice(&ADDRESSES[6..]).unwrap();
            pod.addresses = [v4, v6].map(|address| address.parse().unwrap()).to_vec();
        } else {
            pod.address_ranges = rng.choice(RANGES).unwrap().iter().map(|net| net.parse().unwrap()).collect();
        }
        cluster.pods.push(pod);
    }
    for i in 0..rng.usize(..4) {
        cluster.policies.push(NetworkPolicy {
            namespace: (*rng.choice(&["x", "y"]).unwrap()).to_owned(),
            name: format!("policy-{i}"),
            subjects: selector(rng, &KEYS),
            ingress: rules(rng),
            egress: rules(rng),
        });
    }
    for i in 0..rng.usize(..8).saturating_sub(5) {
        cluster.cluster_policies.push(ClusterPolicy {
            name: ClusterPolicyName {
                kind: ClusterPolicyKind::ClusterNetworkPolicy,
                name: format!("all-{i}"),
            },
            tier: rng.choice([Tier::Admin, Tier::Baseline]).unwrap(),
            priority: rng.u16(..3),
            subjects: pod_selector(rng),
            ingress: cluster_rules(rng),
            egress: cluster_rules(rng),
        });
    }
    cluster
}

/// Returns every way to fill the gaps of these labels.
fn all_labels(keys: &[&str], known: &Labels, unknown: &UnknownLabels) -> Vec<Labels> {
    let mut all = vec![known.clone()];
    for key in keys.iter().filter(|key| !known.contains_key(**key)) {
        let is_there = unknown.values.contains(*key);
        let mut values: Vec<Option<&str>> = Vec::new();
        if is_there || unknown.perhaps.contains(*key) || unknown.others {
            values.extend(VALUES.into_iter().chain([OTHER]).map(Some));
        }
        if !is_there {
            values.push(None);
        }
        let with = |labels: &Labels, value: &Option<&str>| {
            let value = value.map(|value| ((*key).to_owned(), value.to_owned()));
            labels.clone().into_iter().chain(value).collect::<Labels>()
        };
        all = all.iter().flat_map(|labels| values.iter().map(|value| with(labels, value))).collect();
    }
    all
}

/// Returns every address of a family that a pod can have.
fn all_addresses(pod: &Pod, family: IpFamily) -> Vec<Vec<IpAddr>> {
    if !pod.addresses.is_empty() {
        return vec![pod.addresses.clone()];
    }
    let addresses = ADDRESSES.iter().map(|address| address.parse::<IpAddr>().unwrap());
    let is_possible = |address: &IpAddr| {
        IpFamily::of(*address) == family
            && (pod.address_ranges.is_empty() || pod.address_ranges.iter().any(|net| net.contains(address)))
    };
    addresses.filter(is_possible).map(|address| vec![address]).collect()
}

/// Returns every cluster that this one can be, as far as it matters for a flow between two pods. Returns `None` if there
/// are too many.
fn completions(cluster: &Cluster, ends: [usize; 2], family: IpFamily) -> Option<Vec<Cluster>> {
    let mut all = vec![cluster.clone()];
    for (at, namespace) in cluster.namespaces.iter().enumerate() {
        if ends.iter().any(|end| cluster.pods[*end].namespace == namespace.name) {
            let labels = all_labels(&NAMESPACE_KEYS, &namespace.labels, &namespace.unknown_labels);
            all = filled(&all, &labels, |cluster, labels| {
                cluster.namespaces[at].labels.clone_from(labels);
                cluster.namespaces[at].unknown_labels = UnknownLabels::default();
            })?;
        }
    }
    for end in ends {
        let pod = &cluster.pods[end];
        let labels = all_labels(&KEYS, &pod.labels, &pod.unknown_labels);
        all = filled(&all, &labels, |cluster, labels| {
            cluster.pods[end].labels.clone_from(labels);
            cluster.pods[end].unknown_labels = UnknownLabels::default();
        })?;
        let addresses = all_addresses(pod, family);
        all = filled(&all, &addresses, |cluster, addresses| {
            cluster.pods[end].addresses.clone_from(addresses);
        })?;
    }
    Some(all)
}

fn filled<T>(all: &[Cluster], values: &[T], fill: impl Fn(&mut Cluster, &T)) -> Option<Vec<Cluster>> {
    if all.len() * values.len() > MOST_COMPLETIONS {
        return None;
    }
    let with = |cluster: &Cluster, value: &T| {
        let mut cluster = cluster.clone();
        fill(&mut cluster, value);
        cluster
    };
    Some(all.iter().flat_map(|cluster| values.iter().map(move |value| with(cluster, value))).collect())
}

fn pod_id(engine: &Engine, at: usize) -> PodId {
    engine.pods().nth(at).unwrap().0
}

fn decide(engine: &Engine, ends: [usize; 2], family: IpFamily, port: Port) -> Decision {
    let [source, destination] = ends.map(|end| Endpoint::Pod(pod_id(engine, end)));
    let destination = Destination::Endpoint(destination);
    engine.evaluate(&Flow { source, destination, family, protocol: Protocol::Tcp, port }).decision
}

#[test]
fn an_answer_is_definite_only_if_it_is_the_answer_whatever_is_not_known() {
    let mut counts = BTreeMap::<&str, usize>::new();
    for seed in 0..CLUSTERS {
        let mut rng = Rng::with_seed(seed);
        let cluster = cluster(&mut rng);
        let engine = Engine::new(cluster.clone());
        let mut ends = [0, 1, 2];
        rng.shuffle(&mut ends);
        let ends = [ends[0], ends[1]];
        let family = rng.choice(IpFamily::ALL).unwrap();
        let port = Port::new(rng.choice([80, 81]).unwrap()).unwrap();
        let Some(completions) = completions(&cluster, ends, family).filter(|all| !all.is_empty()) else {
            continue;
        };
        let count = completions.len();
        let answer = decide(&engine, ends, family, port);
        let decide_for = |cluster| decide(&Engine::new(cluster), ends, family, port);
        let all: BTreeSet<_> = completions.into_iter().map(decide_for).collect();
        let joined = if all.len() == 1 { *all.first().unwrap() } else { Decision::Undefined };
        let kind = match (answer, joined) {
            (answer, joined) if answer == joined && count == 1 => "all is known",
            (answer, joined) if answer == joined => answer.name(),
            (Decision::Undefined, Decision::Allow | Decision::Deny) => "more careful than needed",
            (answer, joined) => {
                panic!("seed {seed}: {answer}, but {joined} {all:?}: {ends:?} {family} {port} {cluster:#?}")
            }
        };
        *counts.entry(kind).or_default() += 1;
    }
    // The answer for one selector is exact. Several selectors can exclude each other, and single ones do not show this.
    let of = |kind| counts.get(kind).copied().unwrap_or_default();
    let with_gaps = of("allow") + of("deny") + of("undefined") + of("more careful than needed");
    assert!(of("more careful than needed") * 100 < with_gaps, "{counts:?}");
    for kind in ["allow", "deny", "undefined"] {
        assert!(of(kind) * 20 > with_gaps, "{kind}: {counts:?}");
    }
}

/// The sets of flows of a pair contain the same flows as single evaluations. Undefined flows name the unknown facts.
#[test]
fn sets_agree_with_single_flows_where_facts_are_not_known() {
    let mut named = std::collections::HashSet::new();
    for seed in 0..CLUSTERS {
        let mut rng = Rng::with_seed(seed);
        let cluster = cluster(&mut rng);
        let engine = Engine::new(cluster.clone());
        let mut reach = engine.reach();
        for ends in [[0, 1], [1, 0], [0, 2], [2, 0]] {
            let [source, destination] = ends.map(|end| reach.pod(pod_id(&engine, end)).unwrap());
            let id = reach.between(&[source], &[destination]);
            let pair = reach.connections(id);
            for port in [80, 81].map(|port| Port::new(port).unwrap()) {
                let families = IpFamily::ALL.into_iter().filter(|family| {
                    ends.iter().all(|end| !all_addresses(&cluster.pods[*end], *family).is_empty())
                });
                let decisions: Vec<_> = families.map(|family| decide(&engine, ends, family, port)).collect();
                // The nodes of the pods are unknown, and a pod reaches hostNetwork on its own node.
                let has_host = ends.iter().any(|end| cluster.pods[*end].host_network);
                let has_families = ends.iter().all(|end| {
                    let pod = &cluster.pods[*end];
                    !(pod.addresses.is_empty() && pod.address_ranges.is_empty())
                });
                let expected = over_families(&decisions, has_families, has_host);
                let found = (
                    pair.allowed.contains(Protocol::Tcp, port),
                    pair.undefined.contains(Protocol::Tcp, port),
                );
                assert_eq!(found, expected, "seed {seed} {ends:?} {port}: {decisions:?} {cluster:#?}");
            }
            assert!(pair.assumptions.is_subset(&gaps(&cluster, ends)), "seed {seed}: {pair:?} {cluster:#?}");
            let regular = ends.iter().all(|end| !cluster.pods[*end].host_network);
            if regular && cluster.cluster_policies.len() < 2 {
                let is_open = !pair.undefined.is_empty();
                assert_eq!(is_open, !pair.assumptions.is_empty(), "seed {seed} {ends:?}: {cluster:#?}");
            }
            named.extend(pair.assumptions.iter().map(std::mem::discriminant));
        }
    }
    assert_eq!(named.len(), 6, "some kind of fact never mattered");
}

/// Returns whether a connection is allowed, and whether it is undefined, from the decisions over each family that two pods
/// can have in common. If their families are unknown, each family can be the only one. With `has_host`, a denied flow can
/// still be allowed.
pub(crate) fn over_families(decisions: &[Decision], has_families: bool, has_host: bool) -> (bool, bool) {
    let has = |decision| decisions.contains(&decision);
    let is_allowed = if has_families {
        has(Decision::Allow)
    } else {
        has(Decision::Allow) && !has(Decision::Undefined) && !has(Decision::Deny)
    };
    let may_be = has(Decision::Allow) || has(Decision::Undefined) || (has_host && has(Decision::Deny));
    (is_allowed, !is_allowed && may_be)
}

/// Returns the unknown facts about two pods.
fn gaps(cluster: &Cluster, ends: [usize; 2]) -> UnknownFacts {
    let mut gaps = UnknownFacts::new();
    if ends.iter().any(|end| cluster.pods[*end].host_network) {
        gaps.extend([UnknownFact::HostNetwork, UnknownFact::PodNodes]);
    }
    for pod in ends.map(|end| &cluster.pods[end]) {
        let keys = KEYS.iter().map(|key| (*key).to_owned());
        let is_open = |key: &String| {
            let UnknownLabels { values, perhaps, others } = &pod.unknown_labels;
            values.contains(key) || perhaps.contains(key) || (*others && !pod.labels.contains_key(key))
        };
        gaps.extend(keys.filter(is_open).map(|key| UnknownFact::PodLabel { key }));
        if pod.addresses.is_empty() {
            gaps.insert(if pod.host_network {
                UnknownFact::NodeAddresses
            } else {
                UnknownFact::PodAddresses
            });
        }
        let namespace = cluster.namespaces.iter().find(|namespace| namespace.name == pod.namespace).unwrap();
        if !namespace.unknown_labels.is_empty() {
            gaps.insert(UnknownFact::NamespaceLabels { namespace: namespace.name.clone() });
        }
    }
    gaps
}

//! A cluster that changes: the engine that follows the changes answers as one that is compiled from scratch.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use netproof::policy::{
    Action, Backends, Change, Changed, Cluster, ClusterPeer, ClusterPolicy, ClusterPolicyKind,
    ClusterPolicyName, ClusterRule, ContainerPort, Destination, Endpoint, Engine, Flow, Group, IpBlock,
    IpFamily, LabelSelector, Labels, Live, Namespace, NamespaceScope, NetworkPolicy, Node, PairConnections,
    Peer, Peers, Pod, PodSelector, PolicyName, Port, PortMatch, PortRange, PortSpec, Ports, Protocol,
    Requirement, Rule, Service, ServicePort, TargetPort, Tier, UnknownLabels,
};

/// Variable with the count of changes.
const CHANGES: &str = "NETPROOF_CHANGES";
/// Changes of one cluster, before another one is made.
const OF_ONE_CLUSTER: usize = 50;

const KEYS: [&str; 3] = ["app", "hash", "tier"];
const NAMESPACE_KEYS: [&str; 2] = ["team", "env"];
const VALUES: [&str; 2] = ["1", "2"];
const NAMESPACES: [&str; 3] = ["x", "y", "z"];
const NAMES: [&str; 2] = ["http", "admin"];
const BLOCKS: [(&str, &[&str]); 6] = [
    ("0.0.0.0/0", &[]),
    ("0.0.0.0/0", &["10.0.1.0/24"]),
    ("10.0.0.0/16", &["10.0.2.0/24"]),
    ("::/0", &[]),
    ("fd00::/16", &[]),
    ("172.18.0.0/24", &[]),
];
const ADDRESSES: [&str; 5] = ["10.0.1.1", "10.0.2.1", "10.1.0.1", "192.0.2.1", "fd00:1::1"];
const RANGES: [&[&str]; 3] = [&[], &["10.0.0.0/16", "fd00::/16"], &["10.0.1.0/24"]];
const PORTS: [u16; 4] = [53, 80, 81, 30080];

fn one_of(rng: &mut Rng, of: &[&str]) -> String {
    (*rng.choice(of).unwrap()).to_owned()
}

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

fn selector(rng: &mut Rng, keys: &[&str]) -> LabelSelector {
    let count = rng.choice([0, 1, 1, 2]).unwrap();
    let requirement = |_| {
        let (key, values) = (one_of(rng, keys), BTreeSet::from([one_of(rng, &VALUES)]));
        match rng.u8(..8) {
            0 => Requirement::Exists(key),
            1 => Requirement::DoesNotExist(key),
            2 => Requirement::NotIn(key, values),
            3 => Requirement::In(key, BTreeSet::from(VALUES.map(str::to_owned))),
            _ => Requirement::In(key, values),
        }
    };
    (0..count).map(requirement).collect()
}

fn block(rng: &mut Rng) -> IpBlock {
    let (net, except) = rng.choice(BLOCKS).unwrap();
    IpBlock::new(net.parse().unwrap(), except.iter().map(|hole| hole.parse().unwrap()))
}

fn ports(rng: &mut Rng) -> Ports {
    let entry = |rng: &mut Rng| PortMatch {
        protocol: Protocol::Tcp,
        ports: match rng.u8(..3) {
            0 => PortSpec::Range(PortRange::single(port(rng.choice(PORTS).unwrap()))),
            1 => PortSpec::Range(PortRange::new(port(80), port(90)).unwrap()),
            _ => PortSpec::Named(one_of(rng, &NAMES)),
        },
    };
    if rng.bool() { Ports::Any } else { Ports::Only((0..rng.usize(1..3)).map(|_| entry(rng)).collect()) }
}

fn rules(rng: &mut Rng) -> Option<Vec<Rule>> {
    let peer = |rng: &mut Rng| match rng.u8(..5) {
        0 => Peer::IpBlock(block(rng)),
        1 | 2 => Peer::Pods { namespaces: NamespaceScope::Own, pods: selector(rng, &KEYS) },
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
    let peer = |rng: &mut Rng| match rng.u8(..8) {
        0 => ClusterPeer::Network(block(rng)),
        1 => ClusterPeer::Nodes(LabelSelector::everything()),
        _ => ClusterPeer::Pods(pod_selector(rng)),
    };
    let rule = |rng: &mut Rng| ClusterRule {
        action: rng.choice([Action::Accept, Action::Deny, Action::Pass]).unwrap(),
        peers: vec![peer(rng)],
        ports: ports(rng),
    };
    (0..rng.usize(..3)).map(|_| rule(rng)).collect()
}

fn pod_selector(rng: &mut Rng) -> PodSelector {
    PodSelector { namespaces: selector(rng, &NAMESPACE_KEYS), pods: selector(rng, &KEYS) }
}

fn labels(rng: &mut Rng, keys: &[&str]) -> (Labels, UnknownLabels) {
    let gaps = rng.u8(..4) == 0;
    let mut labels = Labels::new();
    let mut unknown = UnknownLabels { others: gaps && rng.u8(..3) == 0, ..UnknownLabels::default() };
    for key in keys {
        match rng.u8(..4) {
            0 => {}
            1 if gaps => drop(unknown.values.insert((*key).to_owned())),
            _ => drop(labels.insert((*key).to_owned(), one_of(rng, &VALUES))),
        }
    }
    (labels, unknown)
}

fn pod(rng: &mut Rng) -> Pod {
    let (labels, unknown_labels) = labels(rng, &KEYS);
    let host_network = rng.u8(..12) == 0;
    let (mut addresses, mut address_ranges) = (Vec::new(), Vec::new());
    match rng.u8(..3) {
        0 => address_ranges = rng.choice(RANGES).unwrap().iter().map(|net| net.parse().unwrap()).collect(),
        _ if host_network => addresses = vec!["172.18.0.1".parse().unwrap()],
        _ => addresses = vec![one_of(rng, &ADDRESSES).parse().unwrap()],
    }
    let container = |rng: &mut Rng| ContainerPort {
        name: rng.bool().then(|| one_of(rng, &NAMES)),
        port: port(rng.choice([80, 81]).unwrap()),
        protocol: Protocol::Tcp,
    };
    Pod {
        namespace: one_of(rng, &NAMESPACES),
        name: format!("pod-{}", rng.u8(..5)),
        labels,
        unknown_labels,
        addresses,
        address_ranges,
        ports: (0..rng.usize(..3)).map(|_| container(rng)).collect(),
        host_ports: if !host_network && rng.u8(..8) == 0 {
            vec![(Protocol::Tcp, port(81))]
        } else {
            Vec::new()
        },
        host_network,
        node: (rng.u8(..4) > 0).then(|| one_of(rng, &["node-1", "node-2"])),
        ended: rng.u8(..12) == 0,
    }
}

fn service(rng: &mut Rng) -> Service {
    Service {
        namespace: one_of(rng, &NAMESPACES),
        name: format!("service-{}", rng.u8(..2)),
        addresses: vec!["10.96.0.1".parse().unwrap()],
        ports: vec![ServicePort {
            name: None,
            protocol: Protocol::Tcp,
            port: port(80),
            target: TargetPort::Name("http".to_owned()),
            node_port: rng.bool().then(|| port(30080)),
        }],
        backends: match rng.u8(..3) {
            0 => Backends::Addresses(vec![one_of(rng, &ADDRESSES).parse().unwrap()]),
            _ => Backends::Selected(Labels::from([(one_of(rng, &KEYS), one_of(rng, &VALUES))])),
        },
        ..Service::default()
    }
}

fn cluster_policy(rng: &mut Rng) -> ClusterPolicy {
    let kind =
        rng.choice([ClusterPolicyKind::ClusterNetworkPolicy, ClusterPolicyKind::AdminNetworkPolicy]).unwrap();
    ClusterPolicy {
        name: ClusterPolicyName { kind, name: format!("all-{}", rng.u8(..2)) },
        tier: match kind {
            ClusterPolicyKind::ClusterNetworkPolicy if rng.bool() => Tier::Baseline,
            ClusterPolicyKind::ClusterNetworkPolicy
            | ClusterPolicyKind::AdminNetworkPolicy
            | ClusterPolicyKind::BaselineAdminNetworkPolicy => Tier::Admin,
        },
        priority: rng.u16(..3),
        subjects: pod_selector(rng),
        ingress: cluster_rules(rng),
        egress: cluster_rules(rng),
    }
}

fn change(rng: &mut Rng) -> Change {
    match rng.u8(..20) {
        0..6 => Change::SetPod(Box::new(pod(rng))),
        6..8 => {
            Change::DeletePod { namespace: one_of(rng, &NAMESPACES), name: format!("pod-{}", rng.u8(..5)) }
        }
        8 => {
            let (labels, unknown_labels) = labels(rng, &NAMESPACE_KEYS);
            Change::SetNamespace(Namespace {
                unknown_labels,
                ..Namespace::new(one_of(rng, &NAMESPACES), labels)
            })
        }
        9 => Change::DeleteNamespace(one_of(rng, &NAMESPACES)),
        10..14 => Change::SetPolicy(NetworkPolicy {
            namespace: one_of(rng, &NAMESPACES),
            name: format!("policy-{}", rng.u8(..2)),
            subjects: selector(rng, &KEYS),
            ingress: rules(rng),
            egress: rules(rng),
        }),
        14 => Change::DeletePolicy(PolicyName::Namespaced {
            namespace: one_of(rng, &NAMESPACES),
            name: format!("policy-{}", rng.u8(..2)),
        }),
        15 => Change::SetClusterPolicy(cluster_policy(rng)),
        16 => Change::DeletePolicy(PolicyName::Cluster(cluster_policy(rng).name)),
        17 => Change::SetService(Box::new(service(rng))),
        18 => {
            let Service { namespace, name, .. } = service(rng);
            Change::DeleteService { namespace, name }
        }
        _ => Change::SetNodes {
            nodes: (1..3)
                .map(|number| Node {
                    name: format!("node-{number}"),
                    addresses: if rng.bool() {
                        vec![format!("172.18.0.{number}").parse().unwrap()]
                    } else {
                        vec![]
                    },
                    external_addresses: Vec::new(),
                })
                .collect(),
            ranges: if rng.bool() { vec!["172.18.0.0/24".parse().unwrap()] } else { Vec::new() },
        },
    }
}

/// Sets an object in a list.
fn set<T>(list: &mut Vec<T>, item: T, is_it: impl Fn(&T) -> bool) {
    match list.iter().position(is_it) {
        Some(at) => list[at] = item,
        None => list.push(item),
    }
}

/// Applies a change to the objects of a cluster.
fn apply(cluster: &mut Cluster, change: &Change) {
    match change.clone() {
        Change::SetPod(pod) => {
            let name = (pod.namespace.clone(), pod.name.clone());
            set(&mut cluster.pods, *pod, |other| (&other.namespace, &other.name) == (&name.0, &name.1));
        }
        Change::DeletePod { namespace, name } => {
            if let Some(at) =
                cluster.pods.iter().position(|pod| pod.namespace == namespace && pod.name == name)
            {
                cluster.pods.swap_remove(at);
            }
        }
        Change::SetNamespace(namespace) => {
            let name = namespace.name.clone();
            set(&mut cluster.namespaces, namespace, |other| other.name == name);
        }
        Change::DeleteNamespace(name) => cluster.namespaces.retain(|namespace| namespace.name != name),
        Change::SetPolicy(policy) => {
            let name = PolicyName::from(&policy);
            set(&mut cluster.policies, policy, |other| PolicyName::from(other) == name);
        }
        Change::SetClusterPolicy(policy) => {
            let name = policy.name.clone();
            set(&mut cluster.cluster_policies, policy, |other| other.name == name);
        }
        Change::DeletePolicy(name) => {
            cluster.policies.retain(|policy| PolicyName::from(policy) != name);
            cluster.cluster_policies.retain(|policy| PolicyName::from(policy) != name);
        }
        Change::SetService(service) => {
            let name = (service.namespace.clone(), service.name.clone());
            set(&mut cluster.services, *service, |other| {
                (&other.namespace, &other.name) == (&name.0, &name.1)
            });
        }
        Change::DeleteService { namespace, name } => {
            let is_it = |service: &Service| service.namespace == namespace && service.name == name;
            if let Some(at) = cluster.services.iter().position(is_it) {
                cluster.services.swap_remove(at);
            }
        }
        Change::SetNodes { nodes, ranges } => (cluster.nodes, cluster.node_ranges) = (nodes, ranges),
    }
}

/// Names of ends, with their groups.
fn groups(engine: &Engine) -> Vec<(String, Group)> {
    let reach = engine.reach();
    let pods =
        engine.pods().map(|(id, pod)| (format!("{}/{}", pod.namespace, pod.name), reach.pod(id).unwrap()));
    let external = reach.external();
    let of_address = |address: &&str| {
        let is_in = |(_, range): &&(Group, netproof::policy::AddressRange)| {
            let address: std::net::IpAddr = address.parse().unwrap();
            range.first() <= address && address <= range.last()
        };
        ((*address).to_owned(), external.iter().find(is_in).unwrap().0)
    };
    let addresses = ADDRESSES.iter().chain(&["172.18.0.1", "172.18.0.9"]).map(of_address);
    pods.chain(addresses).collect()
}

/// Returns what each pair of ends may exchange, by their names.
fn connections(engine: &Engine) -> BTreeMap<(String, String), PairConnections> {
    let groups = groups(engine);
    let mut reach = engine.reach();
    let mut all = BTreeMap::new();
    for (from, source) in &groups {
        for (to, destination) in &groups {
            let id = reach.between(&[*source], &[*destination]);
            all.insert((from.clone(), to.clone()), reach.connections(id).clone());
        }
    }
    all
}

/// Returns a random flow between ends of a cluster.
fn flow(rng: &mut Rng, engine: &Engine) -> Flow {
    let pods = engine.pods().map(|(id, _)| Endpoint::Pod(id));
    let nodes = engine.nodes().map(|(id, _)| Endpoint::Node(id));
    let addresses = ADDRESSES.iter().map(|address| Endpoint::External(address.parse().unwrap()));
    let ends: Vec<_> = pods.chain(nodes).chain(addresses).collect();
    let services: Vec<_> = engine.services().map(|(id, _)| Destination::Service(id)).collect();
    let destination = match rng.u8(..4) {
        0 if !services.is_empty() => rng.choice(services).unwrap(),
        _ => Destination::Endpoint(*rng.choice(&ends).unwrap()),
    };
    Flow {
        source: *rng.choice(&ends).unwrap(),
        destination,
        family: rng.choice(IpFamily::ALL).unwrap(),
        protocol: Protocol::Tcp,
        port: port(rng.choice(PORTS).unwrap()),
    }
}

/// Checks that pairs whose connections changed are reported.
fn check_report(
    changed: &Changed,
    engine: &Engine,
    before: &BTreeMap<(String, String), PairConnections>,
    now: &BTreeMap<(String, String), PairConnections>,
    place: &str,
) -> usize {
    let groups: BTreeMap<_, _> = groups(engine).into_iter().collect();
    let name = |pod: &Pod| format!("{}/{}", pod.namespace, pod.name);
    let moved: BTreeSet<_> = changed.pods.iter().map(|id| name(engine.pod(*id))).collect();
    let mut others = 0;
    for ((from, to), connections) in now {
        let Some(was) = before.get(&(from.clone(), to.clone())) else { continue };
        if was != connections {
            others += 1;
            let is_reported =
                moved.contains(from) || moved.contains(to) || changed.includes(groups[from], groups[to]);
            assert!(is_reported, "{place}: {from} -> {to}: {was:?}, and now {connections:?}; {changed:?}");
        }
    }
    others
}

#[test]
fn an_engine_that_follows_changes_answers_as_one_from_scratch() {
    let count = std::env::var(CHANGES).map_or(600, |count| count.parse().unwrap());
    let (mut others, mut quiet) = (0, 0);
    for seed in 0..u64::try_from(usize::div_ceil(count, OF_ONE_CLUSTER)).unwrap() {
        let mut rng = Rng::with_seed(seed);
        let mut cluster = Cluster::default();
        for _ in 0..rng.usize(..20) {
            apply(&mut cluster, &change(&mut rng));
        }
        let mut live = Live::new(cluster.clone());
        let mut before = connections(live.engine());
        for step in 0..OF_ONE_CLUSTER {
            let change = change(&mut rng);
            apply(&mut cluster, &change);
            let changed = live.apply(change.clone());
            let place = format!("seed {seed}, step {step}, {change:?}");
            let scratch = Engine::new(cluster.clone());
            let names = |engine: &Engine| engine.pods().map(|(_, pod)| pod.clone()).collect::<Vec<_>>();
            assert_eq!(names(live.engine()), names(&scratch), "{place}");
            let now = connections(live.engine());
            for (pair, connections) in connections(&scratch) {
                assert_eq!(now.get(&pair), Some(&connections), "{place}: {pair:?} {cluster:#?}");
            }
            for _ in 0..8 {
                let flow = flow(&mut rng, &scratch);
                assert_eq!(live.engine().evaluate(&flow), scratch.evaluate(&flow), "{place}: {flow:?}");
            }
            assert_eq!(live.engine().class_count(), scratch.class_count(), "{place}");
            others += check_report(&changed, live.engine(), &before, &now, &place);
            quiet += usize::from(changed.is_empty());
            before = now;
        }
    }
    assert!(
        others > count && quiet > count / 20,
        "{others} pairs changed, {quiet} changes were without effect"
    );
}

fn simple_pod(name: &str, app: &str) -> Pod {
    let labels = Labels::from([("app".to_owned(), app.to_owned())]);
    Pod { namespace: "x".to_owned(), name: name.to_owned(), labels, ..Pod::default() }
}

fn app(app: &str) -> LabelSelector {
    [Requirement::In("app".to_owned(), BTreeSet::from([app.to_owned()]))].into_iter().collect()
}

fn web_policy(from: &[&str]) -> NetworkPolicy {
    let peer = |from: &&str| Peer::Pods { namespaces: NamespaceScope::Own, pods: app(from) };
    NetworkPolicy {
        namespace: "x".to_owned(),
        name: "web".to_owned(),
        subjects: app("web"),
        ingress: Some(vec![Rule { peers: Peers::Only(from.iter().map(peer).collect()), ports: Ports::Any }]),
        egress: None,
    }
}

/// Returns the names of the pairs of pods that a change reports.
fn reported(live: &Live, changed: &Changed) -> Vec<String> {
    let reach = live.engine().reach();
    let pods: Vec<_> =
        live.engine().pods().map(|(id, pod)| (pod.name.clone(), reach.pod(id).unwrap())).collect();
    let pairs = pods.iter().flat_map(|from| pods.iter().map(move |to| (from, to)));
    let pairs = pairs.filter(|(from, to)| changed.includes(from.1, to.1));
    pairs.map(|(from, to)| format!("{} -> {}", from.0, to.0)).collect()
}

/// A report that names every pair would be of no use.
#[test]
fn a_change_is_reported_for_the_pairs_that_it_concerns() {
    // It tells the pods apart.
    let everyone = NetworkPolicy {
        name: "everyone".to_owned(),
        subjects: app("nobody"),
        ..web_policy(&["web", "api", "db"])
    };
    let cluster = Cluster {
        pods: vec![simple_pod("web", "web"), simple_pod("api", "api"), simple_pod("db", "db")],
        policies: vec![web_policy(&["api"]), everyone],
        ..Cluster::default()
    };
    let mut live = Live::new(cluster);
    // Another peer of a policy that isolates in any case: only pairs with the old and the new peer.
    let changed = live.apply(Change::SetPolicy(web_policy(&["db"])));
    assert_eq!(reported(&live, &changed), ["api -> web", "db -> web"]);
    // The policy isolates: pairs with all pods.
    let changed = live.apply(Change::DeletePolicy(PolicyName::from(&web_policy(&[]))));
    assert_eq!(reported(&live, &changed), ["web -> web", "api -> web", "db -> web"]);
    // A pod that no policy tells apart changes nothing for others.
    let mut db = simple_pod("db", "db");
    db.labels.insert("version".to_owned(), "2".to_owned());
    let changed = live.apply(Change::SetPod(Box::new(db)));
    assert!(changed.is_empty(), "{changed:?}");
    let changed = live.apply(Change::SetPod(Box::new(simple_pod("new", "web"))));
    assert_eq!((changed.pods.len(), changed.pairs.len()), (1, 0), "{changed:?}");
}

/// Regression test: pods that no policy told apart stayed together when a policy read a label that only one of them has,
/// and all of them were isolated.
#[test]
fn a_label_that_is_read_for_the_first_time_tells_pods_apart() {
    let bare = Pod { labels: Labels::new(), ..simple_pod("bare", "") };
    let cluster = Cluster { pods: vec![simple_pod("web", "web"), bare], ..Cluster::default() };
    let mut live = Live::new(cluster);
    live.apply(Change::SetPolicy(web_policy(&[])));
    let mut reach = live.engine().reach();
    let [web, bare] = ["web", "bare"].map(|name| reach.pod(live.pod("x", name).unwrap()).unwrap());
    let may_be_sent = |reach: &mut netproof::policy::Reach<'_>, to| {
        let id = reach.between(&[web], &[to]);
        !reach.connections(id).is_empty()
    };
    assert_eq!([web, bare].map(|to| may_be_sent(&mut reach, to)), [false, true]);
}

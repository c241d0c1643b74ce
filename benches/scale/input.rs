//! Large clusters from a seed.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use fastrand::Rng;
use ipnet::{IpNet, Ipv4Net};
use netproof::policy::{
    Cluster, ContainerPort, IpBlock, LabelSelector, Labels, Namespace, NamespaceScope, NetworkPolicy, Node,
    Peer, Peers, Pod, Port, PortMatch, PortRange, PortSpec, Ports, Protocol, Requirement, Rule,
    UnknownLabels,
};

/// Pods of one Deployment.
const REPLICAS: usize = 10;
/// Values of the namespaces' label `team`.
const TEAMS: usize = 50;
/// Label whose value is different on each pod.
const UNIQUE: &str = "statefulset.kubernetes.io/pod-name";

/// The size and the shape of a cluster.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) pods: usize,
    pub(crate) namespaces: usize,
    pub(crate) policies: usize,
    /// Whether each pod has a label that no other pod has. One of a hundred policies then selects by it.
    pub(crate) unique_labels: bool,
    /// `ipBlock`s of each policy that no other policy has.
    pub(crate) blocks: usize,
    /// Whether each policy selects all pods of its namespace.
    pub(crate) select_all: bool,
    /// Whether a pod with `hostNetwork` runs on each node, instead of the first pods.
    pub(crate) hosts: bool,
}

impl Shape {
    /// The shape of a usual cluster: Deployments of ten pods, fifty pods and five policies in each namespace.
    pub(crate) fn usual(pods: usize) -> Self {
        Self {
            pods,
            namespaces: pods.div_ceil(50),
            policies: pods / 10,
            unique_labels: false,
            blocks: 0,
            select_all: false,
            hosts: false,
        }
    }

    /// Returns the cluster of this shape. The same shape always makes the same cluster.
    pub(crate) fn cluster(self) -> Cluster {
        let mut rng = Rng::with_seed(1);
        let deployments = self.pods.div_ceil(REPLICAS);
        let nodes = self.pods.div_ceil(100).max(1);
        Cluster {
            namespaces: (0..self.namespaces).map(|at| namespace(at, at)).collect(),
            nodes: (0..nodes).map(node).collect(),
            pods: (0..self.pods).map(|at| self.pod(at, nodes, &mut rng)).collect(),
            policies: (0..self.policies).map(|at| self.policy(at, deployments, &mut rng)).collect(),
            ..Cluster::default()
        }
    }

    /// Returns a pod. The pods of a Deployment follow each other, and the Deployments are dealt to the namespaces.
    pub(crate) fn pod(self, at: usize, nodes: usize, rng: &mut Rng) -> Pod {
        let deployment = at / REPLICAS;
        let mut labels = labels(&[
            ("app", format!("app-{deployment}")),
            ("tier", ["web", "api", "db"][deployment % 3].to_owned()),
            ("pod-template-hash", format!("{:x}", deployment * 7919)),
            ("app.kubernetes.io/version", format!("1.{}", deployment % 40)),
        ]);
        if self.unique_labels {
            labels.insert(UNIQUE.to_owned(), format!("pod-{at}"));
        }
        let port = |name: &str, number| ContainerPort {
            name: Some(name.to_owned()),
            port: number,
            protocol: Protocol::Tcp,
        };
        Pod {
            namespace: format!("ns-{}", deployment % self.namespaces),
            name: format!("pod-{at}"),
            labels,
            unknown_labels: UnknownLabels::default(),
            addresses: vec![Ipv4Addr::from(0x0a00_0000 + u32::try_from(at).unwrap_or(0)).into()],
            ports: vec![port("http", number(8000 + deployment % 5)), port("metrics", number(9090))],
            host_network: self.hosts && at < nodes,
            node: Some(format!("node-{}", if self.hosts && at < nodes { at } else { rng.usize(..nodes) })),
            ..Pod::default()
        }
    }

    /// Returns a policy: who may send to a Deployment, and where it may send to.
    pub(crate) fn policy(self, at: usize, deployments: usize, rng: &mut Rng) -> NetworkPolicy {
        let namespace = at % self.namespaces;
        // The Deployments of this namespace have the numbers `namespace`, `namespace + namespaces`, and so on.
        let own = |rng: &mut Rng| {
            let of_namespace = deployments.saturating_sub(namespace).div_ceil(self.namespaces).max(1);
            namespace + self.namespaces * rng.usize(..of_namespace)
        };
        let app = |deployment: usize| is("app", &format!("app-{deployment}"));
        let neighbour = Peer::Pods { namespaces: NamespaceScope::Own, pods: app(own(rng)) };
        let team = NamespaceScope::Selected(is("team", &format!("t-{}", rng.usize(..TEAMS))));
        let tier =
            Peer::Pods { namespaces: team, pods: is("tier", rng.choice(["web", "api", "db"]).unwrap_or("")) };
        let dns = NamespaceScope::Selected(is("kubernetes.io/metadata.name", "ns-0"));
        let dns = Peer::Pods { namespaces: dns, pods: LabelSelector::everything() };
        let mut blocks: Vec<_> = (0..self.blocks)
            .map(|block| {
                let at = u32::try_from(at * self.blocks + block).unwrap_or(0);
                let net = Ipv4Net::new_assert(Ipv4Addr::from(0x2000_0000 + 1024 * at), 24);
                Peer::IpBlock(IpBlock::new(IpNet::V4(net), []))
            })
            .collect();
        if blocks.is_empty() {
            let net = |text: &str| text.parse().ok();
            let holes = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"].into_iter().filter_map(net);
            blocks.extend(net("0.0.0.0/0").map(|all| Peer::IpBlock(IpBlock::new(all, holes))));
        }
        let rule =
            |peers: Vec<Peer>, ports: &[PortSpec]| Rule { peers: Peers::Only(peers), ports: tcp(ports) };
        let range = |number| PortSpec::Range(PortRange::single(number));
        let rest = at / self.namespaces;
        NetworkPolicy {
            namespace: format!("ns-{namespace}"),
            name: format!("policy-{at}"),
            subjects: match rest {
                _ if self.select_all => LabelSelector::everything(),
                0 => LabelSelector::everything(),
                _ if self.unique_labels && at.is_multiple_of(100) => {
                    is(UNIQUE, &format!("pod-{}", REPLICAS * own(rng) + rng.usize(..REPLICAS)))
                }
                _ => app(own(rng)),
            },
            ingress: Some(vec![
                rule(vec![neighbour.clone()], &[PortSpec::Named("http".to_owned())]),
                rule(vec![tier], &[range(number(8000 + rng.usize(..5)))]),
            ]),
            egress: rng.bool().then(|| {
                vec![
                    rule(vec![neighbour], &[]),
                    rule(vec![dns], &[range(number(53))]),
                    rule(blocks, &[range(number(443))]),
                ]
            }),
        }
    }
}

/// Returns a namespace of a team.
pub(crate) fn namespace(at: usize, team: usize) -> Namespace {
    Namespace::new(format!("ns-{at}"), labels(&[("team", format!("t-{}", team % TEAMS))]))
}

fn node(at: usize) -> Node {
    let address = Ipv4Addr::from(0xac10_0000 + u32::try_from(at).unwrap_or(0));
    Node { name: format!("node-{at}"), addresses: vec![address.into()], external_addresses: Vec::new() }
}

fn labels(pairs: &[(&str, String)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}

fn is(key: &str, value: &str) -> LabelSelector {
    [Requirement::In(key.to_owned(), BTreeSet::from([value.to_owned()]))].into_iter().collect()
}

fn number(number: usize) -> Port {
    u16::try_from(number).ok().and_then(Port::new).unwrap_or(Port::MIN)
}

fn tcp(ports: &[PortSpec]) -> Ports {
    if ports.is_empty() {
        return Ports::Any;
    }
    let entry = |ports: &PortSpec| PortMatch { protocol: Protocol::Tcp, ports: ports.clone() };
    Ports::Only(ports.iter().map(entry).collect())
}

//! Ways to read policies that are not theirs, and the cells for which that makes a difference.
//!
//! A cell is decided by a mechanism if the policies promise something else when they are read in that
//! way. So a difference is said once, and holds for scenarios that nobody has written yet.

use std::cell::OnceCell;
use std::collections::HashSet;

use crate::plan::Route;
use crate::policy::{
    Cluster, Decision, Destination, Direction, Engine, Expectation, Flow, IpBlock, NamespaceScope,
    NetworkPolicy, Peer, Peers, Pod, PolicyName, Port, PortMatch, PortRange, PortSpec, Ports, Protocol,
    Reason, Rule,
};

/// A way to read policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// An `ipBlock` never matches a pod, whatever the pod's address.
    PodAddressInIpBlock,
    /// A rule with pods as peers, whose ports are all names that none of the receiving pods has, is a rule
    /// without ports.
    UnresolvedPortName,
    /// Port names stand for every port of their protocol, or for none where a rule has numbers of that
    /// protocol, too.
    PortNameIsProtocol,
    /// A port name in an egress rule without peers stands for the numbers that the pods of the policy's own
    /// namespace give it, wherever the packet goes.
    PortNameOfOwnNamespace,
    /// Where two of a rule's receiving pods give a name the same number, a port name stands for every number that
    /// any of the receiving pods gives it, in all of them.
    PortNamesMixed,
    /// What one direction's rules of a policy allow passes the other direction of the same policy, too.
    OtherDirectionOfSamePolicy,
    /// The source's policies see a Service's own port where it differs from the pod's.
    ServicePortDiffers,
    /// A new pod is isolated a moment after it has started. Only the moment is left open: what is delivered
    /// afterwards is a leak.
    NewPodsOpenAtFirst,
}

impl Mechanism {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::PodAddressInIpBlock,
        Self::UnresolvedPortName,
        Self::PortNameIsProtocol,
        Self::PortNameOfOwnNamespace,
        Self::PortNamesMixed,
        Self::OtherDirectionOfSamePolicy,
        Self::ServicePortDiffers,
        Self::NewPodsOpenAtFirst,
    ];

    /// The name in a profile.
    pub fn name(self) -> &'static str {
        match self {
            Self::PodAddressInIpBlock => "pod-address-in-ip-block",
            Self::UnresolvedPortName => "unresolved-port-name",
            Self::PortNameIsProtocol => "port-name-is-protocol",
            Self::PortNameOfOwnNamespace => "port-name-of-own-namespace",
            Self::PortNamesMixed => "port-names-mixed",
            Self::OtherDirectionOfSamePolicy => "other-direction-of-same-policy",
            Self::ServicePortDiffers => "service-port-differs",
            Self::NewPodsOpenAtFirst => "new-pods-open-at-first",
        }
    }
}

/// The policies of one state, read in other ways. Each is compiled when it is needed.
pub(super) struct Readings<'a> {
    cluster: &'a Cluster,
    without_pods_in_blocks: OnceCell<Engine>,
    names_dropped: OnceCell<Engine>,
    names_as_protocols: OnceCell<Engine>,
    names_of_own_namespace: OnceCell<Engine>,
    names_mixed: OnceCell<Engine>,
    egress: OnceCell<Engine>,
    ingress: OnceCell<Engine>,
}

impl<'a> Readings<'a> {
    pub(super) fn new(cluster: &'a Cluster) -> Self {
        Self {
            cluster,
            without_pods_in_blocks: OnceCell::new(),
            names_dropped: OnceCell::new(),
            names_as_protocols: OnceCell::new(),
            names_of_own_namespace: OnceCell::new(),
            names_mixed: OnceCell::new(),
            egress: OnceCell::new(),
            ingress: OnceCell::new(),
        }
    }

    /// Whether a mechanism makes a difference for a route of which the policies promise this.
    pub(super) fn differ(&self, mechanism: Mechanism, route: &Route, promised: &Expectation) -> bool {
        let differs = |engine: &Engine| route.evaluate(engine).decision != promised.decision;
        let mut flows = route.legs().map(|leg| &leg.flow);
        match mechanism {
            Mechanism::PodAddressInIpBlock => differs(self.without_pods_in_blocks()),
            Mechanism::UnresolvedPortName => differs(self.names_dropped()),
            Mechanism::PortNameIsProtocol => differs(self.names_as_protocols()),
            Mechanism::PortNameOfOwnNamespace => differs(self.names_of_own_namespace()),
            Mechanism::PortNamesMixed => differs(self.names_mixed()),
            Mechanism::OtherDirectionOfSamePolicy => {
                flows.all(|flow| self.passes_by_other_direction(flow, promised))
            }
            // Not by how policies are read, and not for as long as the step lasts.
            Mechanism::NewPodsOpenAtFirst => false,
            Mechanism::ServicePortDiffers => {
                flows.any(|flow| self.is_port_translated(flow) && self.is_source_isolated(flow))
            }
        }
    }

    fn without_pods_in_blocks(&self) -> &Engine {
        self.without_pods_in_blocks.get_or_init(|| {
            let pods = self.cluster.pods.iter().filter(|pod| !pod.host_network);
            let holes: Vec<_> =
                pods.flat_map(|pod| &pod.addresses).map(|address| (*address).into()).collect();
            self.read(|_, _, mut rule| {
                if let Peers::Only(peers) = &mut rule.peers {
                    for peer in peers {
                        if let Peer::IpBlock(block) = peer {
                            let own = block.except().iter().copied();
                            *block = IpBlock::new(block.net(), own.chain(holes.iter().copied()));
                        }
                    }
                }
                vec![rule]
            })
        })
    }

    fn names_dropped(&self) -> &Engine {
        self.names_dropped.get_or_init(|| {
            self.read(|policy, direction, rule| {
                if !self.are_unresolved(policy, direction, &rule) {
                    return vec![rule];
                }
                let Peers::Only(peers) = &rule.peers else { return vec![rule] };
                let pods = peers.iter().filter(|peer| matches!(peer, Peer::Pods { .. })).cloned().collect();
                vec![Rule { peers: Peers::Only(pods), ports: Ports::Any }, rule]
            })
        })
    }

    fn names_as_protocols(&self) -> &Engine {
        self.names_as_protocols.get_or_init(|| {
            self.read(|_, _, mut rule| {
                if let Ports::Only(ports) = &mut rule.ports {
                    let is_number = |port: &PortMatch| matches!(port.ports, PortSpec::Range(_));
                    let numbered: Vec<_> =
                        ports.iter().filter(|port| is_number(port)).map(|port| port.protocol).collect();
                    ports.retain(|port| {
                        !matches!(port.ports, PortSpec::Named(_)) || !numbered.contains(&port.protocol)
                    });
                    for port in ports.iter_mut().filter(|port| matches!(port.ports, PortSpec::Named(_))) {
                        port.ports = PortSpec::Any;
                    }
                }
                vec![rule]
            })
        })
    }

    fn names_of_own_namespace(&self) -> &Engine {
        self.names_of_own_namespace.get_or_init(|| {
            self.read(|policy, direction, rule| {
                let Rule { peers: Peers::Any, ports: Ports::Only(ports) } = &rule else { return vec![rule] };
                if direction == Direction::Ingress {
                    return vec![rule];
                }
                let pods = self.filtered_pods();
                let own: Vec<_> = pods.filter(|pod| pod.namespace == policy.namespace).collect();
                vec![Rule { peers: Peers::Any, ports: numbers(ports, &own) }]
            })
        })
    }

    fn names_mixed(&self) -> &Engine {
        self.names_mixed.get_or_init(|| {
            self.read(|policy, direction, rule| {
                let receivers = self.receivers(policy, direction, &rule);
                match &rule.ports {
                    Ports::Only(ports) if share_a_number(&receivers) => {
                        vec![Rule { peers: rule.peers.clone(), ports: numbers(ports, &receivers) }]
                    }
                    Ports::Only(_) | Ports::Any => vec![rule],
                }
            })
        })
    }

    /// The cluster with every rule replaced.
    fn read(&self, change: impl Fn(&NetworkPolicy, Direction, Rule) -> Vec<Rule>) -> Engine {
        let policies = self.cluster.policies.iter().map(|policy| {
            let rules = |direction| {
                let rules = policy.rules(direction)?.iter().cloned();
                Some(rules.flat_map(|rule| change(policy, direction, rule)).collect())
            };
            NetworkPolicy {
                ingress: rules(Direction::Ingress),
                egress: rules(Direction::Egress),
                ..policy.clone()
            }
        });
        Engine::new(Cluster { policies: policies.collect(), ..self.cluster.clone() })
    }

    /// Whether all ports of a rule are names that no pod has that receives by it.
    fn are_unresolved(&self, policy: &NetworkPolicy, direction: Direction, rule: &Rule) -> bool {
        let Ports::Only(ports) = &rule.ports else { return false };
        let receivers = self.receivers(policy, direction, rule);
        let is_unresolved = |port: &PortMatch| match &port.ports {
            PortSpec::Named(name) => {
                receivers.iter().all(|pod| pod.named_port(name, port.protocol).is_none())
            }
            PortSpec::Any | PortSpec::Range(_) => false,
        };
        ports.iter().all(is_unresolved)
    }

    /// The pods that policies can select.
    fn filtered_pods(&self) -> impl Iterator<Item = &'a Pod> {
        self.cluster.pods.iter().filter(|pod| !pod.ended && !pod.host_network)
    }

    /// The pods that receive by a rule.
    fn receivers(&self, policy: &NetworkPolicy, direction: Direction, rule: &Rule) -> Vec<&'a Pod> {
        let receives = |pod: &Pod| match direction {
            Direction::Ingress => pod.namespace == policy.namespace && policy.subjects.matches(&pod.labels),
            Direction::Egress => match &rule.peers {
                Peers::Any => true,
                Peers::Only(peers) => peers.iter().any(|peer| self.is_peer(policy, peer, pod)),
            },
        };
        self.filtered_pods().filter(|pod| receives(pod)).collect()
    }

    fn is_peer(&self, policy: &NetworkPolicy, peer: &Peer, pod: &Pod) -> bool {
        let Peer::Pods { namespaces, pods } = peer else { return false };
        let in_namespace = match namespaces {
            NamespaceScope::Own => pod.namespace == policy.namespace,
            NamespaceScope::Selected(selector) => self
                .cluster
                .namespaces
                .iter()
                .any(|namespace| namespace.name == pod.namespace && selector.matches(&namespace.labels)),
        };
        in_namespace && pods.matches(&pod.labels)
    }

    /// The policies of one direction alone.
    fn only(&self, direction: Direction) -> &Engine {
        let engine = match direction {
            Direction::Egress => &self.egress,
            Direction::Ingress => &self.ingress,
        };
        engine.get_or_init(|| {
            let policies = self.cluster.policies.iter().cloned().map(|policy| match direction {
                Direction::Egress => NetworkPolicy { ingress: None, ..policy },
                Direction::Ingress => NetworkPolicy { egress: None, ..policy },
            });
            Engine::new(Cluster { policies: policies.collect(), ..self.cluster.clone() })
        })
    }

    /// Whether each direction that denies would let the flow pass by a rule of the other direction of a
    /// policy that denies it.
    fn passes_by_other_direction(&self, flow: &Flow, promised: &Expectation) -> bool {
        let allows = |direction: Direction, policies: &[PolicyName]| {
            self.only(direction).evaluate(flow).reasons.iter().any(
                |reason| matches!(reason, Reason::AllowedBy { rule, .. } if policies.contains(&rule.policy)),
            )
        };
        let passes = |reason: &Reason| match reason {
            Reason::Isolated { direction: Direction::Egress, policies } => {
                allows(Direction::Ingress, policies)
            }
            Reason::Isolated { direction: Direction::Ingress, policies } => {
                allows(Direction::Egress, policies)
            }
            // Of another kind of policy.
            Reason::DeniedBy(_) => false,
            Reason::NotIsolated(_)
            | Reason::AllowedBy { .. }
            | Reason::PassedBy(_)
            | Reason::OwnAddress
            | Reason::OwnNode
            | Reason::NoPodNetwork
            | Reason::Undefined(_) => true,
        };
        promised.decision == Decision::Deny && promised.reasons.iter().all(passes)
    }

    /// Whether the flow goes to a Service, and arrives at another port.
    fn is_port_translated(&self, flow: &Flow) -> bool {
        let Destination::Service(id) = flow.destination else { return false };
        let service = self.only(Direction::Egress).services().find(|(other, _)| *other == id);
        let is_it = |protocol: Protocol, port: Port| protocol == flow.protocol && port == flow.port;
        let ports = service.into_iter().flat_map(|(_, service)| &service.ports);
        ports.filter(|port| is_it(port.protocol, port.port)).any(|port| {
            let pods = self.cluster.pods.iter();
            let mut targets = pods.filter_map(|pod| port.target.resolve(pod, port.protocol));
            targets.any(|target| target != port.port)
        })
    }

    /// Whether policies isolate the source for egress.
    fn is_source_isolated(&self, flow: &Flow) -> bool {
        let reasons = self.only(Direction::Egress).evaluate(flow).reasons;
        !reasons.iter().all(|reason| matches!(reason, Reason::NotIsolated(_)))
    }
}

/// The ports with every name replaced by the numbers that any of these pods gives it.
fn numbers(ports: &[PortMatch], pods: &[&Pod]) -> Ports {
    let numbers = |port: &PortMatch| match &port.ports {
        PortSpec::Named(name) => pods
            .iter()
            .filter_map(|pod| pod.named_port(name, port.protocol))
            .map(|number| PortSpec::Range(PortRange::single(number)))
            .map(|ports| PortMatch { protocol: port.protocol, ports })
            .collect(),
        PortSpec::Any | PortSpec::Range(_) => vec![port.clone()],
    };
    Ports::Only(ports.iter().flat_map(numbers).collect())
}

/// Whether two of the pods have a port of the same name, protocol and number.
fn share_a_number(pods: &[&Pod]) -> bool {
    let mut seen = HashSet::new();
    pods.iter().any(|pod| {
        let named = pod.ports.iter().filter(|port| port.name.is_some());
        let own: HashSet<_> = named.map(|port| (&port.name, port.protocol, port.port)).collect();
        let is_shared = own.iter().any(|port| seen.contains(port));
        seen.extend(own);
        is_shared
    })
}

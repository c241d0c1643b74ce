//! Faults in how policies are compiled, as policies that mean the same to a correct enforcer.
//!
//! An enforcer compiles the policies of one pod for one direction at a time. So the policies depend on the pod, and for
//! port names on the other end. Nothing here knows the rules of the lab, so that a test can compare both.

use crate::deviation::CompileFault;
use crate::policy::{
    Action, Cluster, ClusterPolicy, Direction, IpBlock, LabelSelector, NetworkPolicy, Peer, Peers, Pod,
    PodSelector, PortMatch, PortRange, PortSpec, Ports, Rule, Tier,
};

/// Highest priority number of a cluster-scoped policy.
const LAST: u16 = 1000;
/// Count of policies of one pod in a table that is too small for more, as in the fault of the lab.
const FEW: usize = 8;

/// The pod whose policies are compiled, and the flow for which they are asked.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) pod: &'a Pod,
    pub(super) direction: Direction,
    /// The pod that sends. `None` if it is no pod.
    pub(super) sender: Option<&'a Pod>,
    /// The pod that receives. `None` if it is no pod.
    pub(super) receiver: Option<&'a Pod>,
}

impl Subject<'_> {
    /// Returns whether a policy isolates the pod.
    fn is_isolated_by(&self, policy: &NetworkPolicy) -> bool {
        policy.selects(self.pod) && policy.rules(self.direction).is_some()
    }

    fn isolating<'c>(&self, cluster: &'c Cluster) -> Vec<&'c NetworkPolicy> {
        cluster.policies.iter().filter(|policy| self.is_isolated_by(policy)).collect()
    }

    /// Returns whether a selector of a cluster-scoped policy matches the pod.
    fn is_selected_by(&self, cluster: &Cluster, selector: &PodSelector) -> bool {
        let mut namespaces = cluster.namespaces.iter().filter(|it| it.name == self.pod.namespace);
        namespaces.any(|namespace| selector.namespaces.matches(&namespace.labels))
            && selector.pods.matches(&self.pod.labels)
    }

    /// Returns whether cluster-scoped policies of a tier have rules for the pod.
    fn has_tier(&self, cluster: &Cluster, tier: Tier) -> bool {
        cluster
            .cluster_policies
            .iter()
            .any(|policy| policy.tier == tier && self.has_rules_of(cluster, policy))
    }

    fn has_rules_of(&self, cluster: &Cluster, policy: &ClusterPolicy) -> bool {
        !policy.rules(self.direction).is_empty() && self.is_selected_by(cluster, &policy.subjects)
    }

    /// Returns the states to which a fault changes a cluster for this pod. All of them must allow a packet.
    pub(super) fn compile(&self, fault: CompileFault, cluster: &Cluster) -> Vec<Cluster> {
        let isolating = self.isolating(cluster);
        let is_isolated = !isolating.is_empty();
        let mut changed = cluster.clone();
        match fault {
            CompileFault::FirstPolicyOnly => self.keep_first(&mut changed, 1),
            CompileFault::FewPolicies => self.keep_first(&mut changed, FEW),
            CompileFault::EveryPolicy if is_isolated => {
                let others = cluster.policies.iter().filter(|policy| !self.is_isolated_by(policy));
                let others: Vec<_> = others.cloned().collect();
                let alone = |policy: &&NetworkPolicy| {
                    let policies = others.iter().chain([*policy]).cloned().collect();
                    Cluster { policies, ..cluster.clone() }
                };
                return isolating.iter().map(alone).collect();
            }
            CompileFault::BothWays if is_isolated => {
                let added = cluster.policies.iter().filter(|policy| policy.selects(self.pod));
                let added =
                    added.flat_map(|policy| policy.rules(self.direction.reverse()).unwrap_or_default());
                let added = added.map(|rule| Rule { ports: Ports::Any, ..rule.clone() }).collect();
                self.set_rules(&mut changed, |_| added);
            }
            CompileFault::ExceptDenies if is_isolated => {
                return [changed].into_iter().chain(self.without_holes(cluster, &isolating)).collect();
            }
            CompileFault::UnselectedIsolated => {
                let has_policies = !cluster.policies.is_empty() || !cluster.cluster_policies.is_empty();
                let has_tiers =
                    [Tier::Admin, Tier::Baseline].into_iter().any(|tier| self.has_tier(cluster, tier));
                if has_policies && !is_isolated && !has_tiers {
                    changed.policies.push(self.policy(Vec::new()));
                }
            }
            CompileFault::AdminAfterNetworkPolicies if is_isolated => {
                changed.cluster_policies.retain(|policy| policy.tier != Tier::Admin);
            }
            CompileFault::BaselineBeforeNetworkPolicies if is_isolated => {
                for policy in changed.cluster_policies.iter_mut().filter(|it| it.tier == Tier::Baseline) {
                    (policy.tier, policy.priority) = (Tier::Admin, policy.priority + LAST + 1);
                }
            }
            CompileFault::BaselineNotOverridden if is_isolated => {
                let without = cluster.policies.iter().filter(|policy| !self.is_isolated_by(policy));
                let baseline = Cluster { policies: without.cloned().collect(), ..cluster.clone() };
                return vec![changed, baseline];
            }
            CompileFault::BaselineLeavesSelected if !is_isolated => {
                if cluster.policies.iter().any(|policy| policy.selects(self.pod)) {
                    changed.cluster_policies.retain(|policy| policy.tier != Tier::Baseline);
                }
            }
            CompileFault::OnePolicyOnly => self.keep_most_important(&mut changed),
            CompileFault::PassSkipsBaseline if !is_isolated => {
                let rules = changed.cluster_policies.iter_mut().filter(|it| it.tier == Tier::Admin);
                let rules = rules.flat_map(|policy| policy.ingress.iter_mut().chain(&mut policy.egress));
                rules
                    .filter(|rule| rule.action == Action::Pass)
                    .for_each(|rule| rule.action = Action::Accept);
            }
            CompileFault::IpBlockWithoutPods => without_pods(&mut changed),
            CompileFault::NameOfFirstPort => {
                self.number_names(&mut changed, |pod, _| Some(pod.ports.first()?.port));
            }
            CompileFault::NameOfAnyProtocol => self.number_names(&mut changed, |pod, port| {
                let PortSpec::Named(name) = &port.ports else { return None };
                let named = pod.ports.iter().find(|own| own.name.as_ref() == Some(name));
                named.map(|own| own.port)
            }),
            CompileFault::NameOfSender => {
                let sender = self.sender;
                each_port(&mut changed, |port| {
                    let PortSpec::Named(name) = &port.ports else { return Some(port) };
                    let number = sender?.named_port(name, port.protocol)?;
                    Some(PortMatch { ports: PortSpec::Range(PortRange::single(number)), ..port })
                });
            }
            CompileFault::NameIsAnyPort => self.open_names(&mut changed),
            // `OneAddress` is about peers, and `SharedChains` about the rules of the other direction: the enforcer
            // evaluates both.
            CompileFault::OneAddress
            | CompileFault::SharedChains
            | CompileFault::EveryPolicy
            | CompileFault::BothWays
            | CompileFault::ExceptDenies
            | CompileFault::AdminAfterNetworkPolicies
            | CompileFault::BaselineBeforeNetworkPolicies
            | CompileFault::BaselineNotOverridden
            | CompileFault::BaselineLeavesSelected
            | CompileFault::PassSkipsBaseline => {}
        }
        vec![changed]
    }

    /// Removes the policies that isolate the pod, except for the first ones.
    fn keep_first(&self, cluster: &mut Cluster, count: usize) {
        let mut kept = 0;
        cluster.policies.retain(|policy| {
            let counts = self.is_isolated_by(policy);
            kept += usize::from(counts);
            !counts || kept <= count
        });
    }

    /// Keeps only the cluster-scoped policy of each tier that comes first for the pod.
    fn keep_most_important(&self, cluster: &mut Cluster) {
        let all = std::mem::take(&mut cluster.cluster_policies);
        let mut own: Vec<_> = all.into_iter().filter(|policy| self.has_rules_of(cluster, policy)).collect();
        own.sort_by_key(|policy| policy.priority);
        for tier in [Tier::Admin, Tier::Baseline] {
            cluster.cluster_policies.extend(own.iter().find(|policy| policy.tier == tier).cloned());
        }
    }

    /// Returns a policy that isolates all pods of the pod's namespace in this direction, with these rules.
    fn policy(&self, rules: Vec<Rule>) -> NetworkPolicy {
        let (ingress, egress) = match self.direction {
            Direction::Ingress => (Some(rules), None),
            Direction::Egress => (None, Some(rules)),
        };
        NetworkPolicy {
            namespace: self.pod.namespace.clone(),
            name: "diagnosis".to_owned(),
            subjects: LabelSelector::everything(),
            ingress,
            egress,
        }
    }

    /// Adds a policy for the pod, with rules that `rules` returns.
    fn set_rules(&self, cluster: &mut Cluster, rules: impl FnOnce(&Cluster) -> Vec<Rule>) {
        let added = self.policy(rules(cluster));
        cluster.policies.push(added);
    }

    /// Returns a state in which the policies allow the pod everything but what their blocks except. `None` if they
    /// except nothing.
    fn without_holes(&self, cluster: &Cluster, isolating: &[&NetworkPolicy]) -> Option<Cluster> {
        let rules = isolating.iter().flat_map(|policy| policy.rules(self.direction).unwrap_or_default());
        let blocks = rules.filter_map(|rule| match &rule.peers {
            Peers::Only(peers) => Some(peers),
            Peers::Any => None,
        });
        let blocks = blocks.flatten().filter_map(|peer| match peer {
            Peer::IpBlock(block) => Some(block),
            Peer::Pods { .. } => None,
        });
        let holes: Vec<_> = blocks.flat_map(IpBlock::except).copied().collect();
        if holes.is_empty() {
            return None;
        }
        let everything = ["0.0.0.0/0", "::/0"].into_iter().filter_map(|net| net.parse().ok());
        let peers = everything.map(|net| Peer::IpBlock(IpBlock::new(net, holes.iter().copied()))).collect();
        let rule = Rule { peers: Peers::Only(peers), ports: Ports::Any };
        let others = cluster.policies.iter().filter(|policy| !self.is_isolated_by(policy)).cloned();
        let policies = others.chain([self.policy(vec![rule])]).collect();
        Some(Cluster { policies, ..cluster.clone() })
    }

    /// Replaces each port name by the number that `number` finds in the receiving pod. Without one, the entry allows
    /// nothing.
    fn number_names(
        &self,
        cluster: &mut Cluster,
        number: impl Fn(&Pod, &PortMatch) -> Option<crate::policy::Port>,
    ) {
        let receiver = self.receiver;
        each_port(cluster, |port| match port.ports {
            PortSpec::Named(_) => {
                let number = number(receiver?, &port)?;
                Some(PortMatch { ports: PortSpec::Range(PortRange::single(number)), ..port })
            }
            PortSpec::Any | PortSpec::Range(_) => Some(port),
        });
    }

    /// Lets a rule with a port name allow every port if the receiving pod has the name.
    fn open_names(&self, cluster: &mut Cluster) {
        let has = |name: &String| {
            let mut ports = self.receiver.into_iter().flat_map(|pod| &pod.ports);
            ports.any(|port| port.name.as_ref() == Some(name))
        };
        let opens = |port: &PortMatch| matches!(&port.ports, PortSpec::Named(name) if has(name));
        each_ports(cluster, |ports| {
            let Ports::Only(matches) = ports else { return };
            if matches.iter().any(opens) {
                *ports = Ports::Any;
            } else {
                matches.retain(|port| !matches!(port.ports, PortSpec::Named(_)));
            }
        });
    }
}

fn each_ports(cluster: &mut Cluster, mut change: impl FnMut(&mut Ports)) {
    for policy in &mut cluster.policies {
        let rules = policy.ingress.iter_mut().chain(&mut policy.egress).flatten();
        rules.for_each(|rule| change(&mut rule.ports));
    }
    for policy in &mut cluster.cluster_policies {
        policy.ingress.iter_mut().chain(&mut policy.egress).for_each(|rule| change(&mut rule.ports));
    }
}

/// Replaces each entry of each list of ports. An entry without a replacement is removed.
pub(super) fn each_port(cluster: &mut Cluster, mut replace: impl FnMut(PortMatch) -> Option<PortMatch>) {
    each_ports(cluster, |ports| {
        if let Ports::Only(matches) = ports {
            *matches = matches.drain(..).filter_map(&mut replace).collect();
        }
    });
}

/// Makes every block of a NetworkPolicy match no pod's address.
fn without_pods(cluster: &mut Cluster) {
    let pods: Vec<_> = cluster.pods.iter().flat_map(|pod| &pod.addresses).map(|it| (*it).into()).collect();
    for policy in &mut cluster.policies {
        for rule in policy.ingress.iter_mut().chain(&mut policy.egress).flatten() {
            let Peers::Only(peers) = &mut rule.peers else { continue };
            for peer in peers {
                if let Peer::IpBlock(block) = peer {
                    *block = IpBlock::new(block.net(), block.except().iter().chain(&pods).copied());
                }
            }
        }
    }
}

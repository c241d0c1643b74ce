//! The chain of one pod for one direction. It has the rules of all policies that isolate the pod, each of
//! which returns, and a `drop` at the end.

use std::net::IpAddr;

use ipnet::IpNet;

use super::select::{is_peer, is_subject};
use super::table::{FAMILIES, Family, Table};
use crate::deviation::{CompileFault, DatapathFault, EnforcerState, Fault};
use crate::policy::{Direction, IpBlock, NetworkPolicy, Peer, Peers, Pod, Ports, Rule};

/// Number of policies per pod in a table that is too small for more.
const FEW_POLICIES: usize = 8;

/// Maximum number of chains that follow each other. The kernel allows 16, and two lead here.
const NESTED: usize = 12;

/// Writer of the chain of one pod for one direction.
pub(super) struct Writer<'a> {
    pub(super) table: &'a mut Table,
    pub(super) view: &'a EnforcerState,
    pub(super) direction: Direction,
    pub(super) subject: &'a Pod,
    pub(super) fault: Option<Fault>,
}

impl Writer<'_> {
    /// Writes the chain for the policies that isolate the pod in this direction. `others` are the policies
    /// that select the pod in any direction. Returns the name of the chain.
    pub(super) fn chain(&mut self, isolating: &[&NetworkPolicy], others: &[&NetworkPolicy]) -> String {
        let isolating = match self.compile_fault() {
            Some(CompileFault::FirstPolicyOnly) => isolating.get(..1).unwrap_or(isolating),
            Some(CompileFault::FewPolicies) => isolating.get(..FEW_POLICIES).unwrap_or(isolating),
            Some(CompileFault::EveryPolicy) => return self.chain_of_every(isolating),
            Some(_) | None => isolating,
        };
        let mut lines = Vec::new();
        if self.compile_fault() == Some(CompileFault::ExceptDenies) {
            lines.extend(isolating.iter().flat_map(|policy| self.holes(policy)));
        }
        let allowed = self.allowed();
        for policy in isolating {
            lines.extend(self.policy(policy, allowed));
        }
        match self.compile_fault() {
            Some(CompileFault::SharedChains) => {
                for policy in isolating {
                    lines.extend(self.other_direction(policy));
                }
            }
            Some(CompileFault::BothWays) => {
                for policy in others {
                    lines.extend(self.reversed(policy));
                }
            }
            Some(_) | None => {}
        }
        lines.push("drop".to_owned());
        self.table.chain(lines)
    }

    pub(super) fn compile_fault(&self) -> Option<CompileFault> {
        self.fault.and_then(Fault::compile)
    }

    /// Returns the verdict for a packet that a rule matches.
    pub(super) fn allowed(&self) -> &'static str {
        let is_final = self.fault.and_then(Fault::datapath) == Some(DatapathFault::EgressShortcut);
        if is_final && self.direction == Direction::Egress { "accept" } else { "return" }
    }

    /// Returns the rules of a policy. They end in this verdict.
    fn policy(&mut self, policy: &NetworkPolicy, allowed: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for rule in policy.rules(self.direction).unwrap_or_default() {
            lines.extend(self.rule(policy, rule, allowed));
        }
        lines
    }

    fn rule(&mut self, policy: &NetworkPolicy, rule: &Rule, allowed: &str) -> Vec<String> {
        let (view, subject) = (self.view, self.subject);
        let families = FAMILIES.into_iter().filter(|family| view.can_allow(subject, family.ipv6));
        self.lines(families, &rule.ports, allowed, |writer, family| writer.peers(policy, &rule.peers, family))
    }

    /// Returns one rule for each pair of peer and port. `peers` returns the conditions on the other end.
    pub(super) fn lines(
        &mut self,
        families: impl IntoIterator<Item = Family>,
        ports: &Ports,
        verdict: &str,
        peers: impl Fn(&mut Self, Family) -> Vec<String>,
    ) -> Vec<String> {
        let mut lines = Vec::new();
        for family in families {
            let peers = peers(self, family);
            let ports = self.ports(ports, family);
            for peer in &peers {
                lines.extend(ports.iter().map(|port| format!("{peer} {port} {verdict}")));
            }
        }
        lines
    }

    pub(super) fn remote(&self) -> &'static str {
        match self.direction {
            Direction::Egress => "daddr",
            Direction::Ingress => "saddr",
        }
    }

    fn peers(&mut self, policy: &NetworkPolicy, peers: &Peers, family: Family) -> Vec<String> {
        match peers {
            Peers::Any => vec![family.only.to_owned()],
            Peers::Only(peers) => peers.iter().filter_map(|peer| self.peer(policy, peer, family)).collect(),
        }
    }

    fn peer(&mut self, policy: &NetworkPolicy, peer: &Peer, family: Family) -> Option<String> {
        match peer {
            Peer::Pods { namespaces, pods } => {
                let cluster = &self.view.cluster;
                self.pods(|pod| is_peer(cluster, policy, namespaces, pods, pod), family)
            }
            Peer::IpBlock(block) => self.block(block, family),
        }
    }

    /// Returns the condition that the other end is one of these pods, and that the enforcer knows it.
    pub(super) fn pods(&mut self, is_member: impl Fn(&Pod) -> bool, family: Family) -> Option<String> {
        let view = self.view;
        let pods = view.cluster.pods.iter().filter(|pod| view.knows(pod) && is_member(pod));
        let members: Vec<_> = pods.flat_map(|pod| self.known_addresses(pod, family)).collect();
        self.members(self.remote(), members, family)
    }

    /// Returns the condition that an address is one of these. `None` if there are no addresses.
    pub(super) fn members(&mut self, end: &str, members: Vec<&IpAddr>, family: Family) -> Option<String> {
        if members.is_empty() {
            return None;
        }
        let set = self.table.set(family.address, members);
        Some(format!("{} {end} @{set}", family.header))
    }

    fn block(&mut self, block: &IpBlock, family: Family) -> Option<String> {
        let (header, remote) = (family.header, self.remote());
        let mut expression = self.network(block, family)?;
        for hole in block.except() {
            expression.push_str(&format!(" {header} {remote} != {hole}"));
        }
        if self.compile_fault() == Some(CompileFault::IpBlockWithoutPods) {
            let pods = self.view.cluster.pods.iter().flat_map(|pod| family.among(&pod.addresses));
            let set = self.table.set(family.address, pods);
            expression.push_str(&format!(" {header} {remote} != @{set}"));
        }
        Some(expression)
    }

    /// Returns the condition that the other end is in the range of a block. `None` if it has another family.
    pub(super) fn network(&self, block: &IpBlock, family: Family) -> Option<String> {
        let condition = match block.net().prefix_len() {
            0 => family.only.to_owned(),
            _ => format!("{} {} {}", family.header, self.remote(), block.net()),
        };
        (block.net().addr().is_ipv6() == family.ipv6).then_some(condition)
    }

    /// Returns the addresses by which the enforcer knows a peer.
    pub(super) fn known_addresses<'p>(
        &self,
        pod: &'p Pod,
        family: Family,
    ) -> impl Iterator<Item = &'p IpAddr> + use<'p> {
        let count = match self.compile_fault() {
            Some(CompileFault::OneAddress) => 1,
            Some(_) | None => pod.addresses.len(),
        };
        let can_allow = self.view.can_allow(pod, family.ipv6);
        let known = pod.addresses.get(..count).filter(|_| can_allow).unwrap_or_default();
        family.among(known)
    }

    /// Writes one chain per policy, one after the other. A packet must match every policy.
    fn chain_of_every(&mut self, policies: &[&NetworkPolicy]) -> String {
        let mut next = None;
        for policy in policies.iter().take(NESTED).rev() {
            let allowed = next.map_or("return".to_owned(), |chain| format!("goto {chain}"));
            let mut lines = self.policy(policy, &allowed);
            lines.push("drop".to_owned());
            next = Some(self.table.chain(lines));
        }
        next.unwrap_or_else(|| self.table.chain(vec!["drop".to_owned()]))
    }

    /// Returns rules that deny what the blocks of a policy except.
    fn holes(&self, policy: &NetworkPolicy) -> Vec<String> {
        let rules = policy.rules(self.direction).unwrap_or_default();
        let peers = rules.iter().filter_map(|rule| match &rule.peers {
            Peers::Only(peers) => Some(peers),
            Peers::Any => None,
        });
        let holes = peers.flatten().filter_map(|peer| match peer {
            Peer::IpBlock(block) => Some(block.except()),
            Peer::Pods { .. } => None,
        });
        let deny = |hole: &IpNet| format!("{} {} {hole} drop", Family::of(hole.addr()).header, self.remote());
        holes.flatten().map(deny).collect()
    }

    /// Returns the rules of the other direction, as they would be in a chain that is shared by both. They
    /// match packets from the policy's pods to its peers, or the reverse.
    fn other_direction(&mut self, policy: &NetworkPolicy) -> Vec<String> {
        let own_end = self.remote();
        let Self { view, subject, fault, .. } = *self;
        let direction = self.direction.reverse();
        let mut other = Writer { table: &mut *self.table, view, direction, subject, fault };
        let mut lines = Vec::new();
        for rule in policy.rules(direction).unwrap_or_default() {
            lines.extend(other.lines(FAMILIES, &rule.ports, "return", |writer, family| {
                let subjects = view.cluster.pods.iter().filter(|pod| is_subject(policy, pod));
                let members = subjects.flat_map(|pod| family.among(&pod.addresses)).collect();
                let Some(from) = writer.members(own_end, members, family) else { return Vec::new() };
                let peers = writer.peers(policy, &rule.peers, family);
                peers.into_iter().map(|peer| format!("{from} {peer}")).collect()
            }));
        }
        lines
    }

    /// Returns rules that allow the peers of the other direction on every port.
    fn reversed(&mut self, policy: &NetworkPolicy) -> Vec<String> {
        let mut lines = Vec::new();
        for rule in policy.rules(self.direction.reverse()).unwrap_or_default() {
            let anywhere = Rule { peers: rule.peers.clone(), ports: Ports::Any };
            lines.extend(self.rule(policy, &anywhere, "return"));
        }
        lines
    }
}

//! The chain of one pod for one direction. It has the rules of all policies that isolate the pod, each of
//! which returns, and a `drop` at the end.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::select::{addresses, pods_of_peer, subjects_of};
use super::table::Table;
use crate::deviation::{CompileFault, DatapathFault, EnforcerState, Fault};
use crate::policy::{Direction, IpBlock, NetworkPolicy, Peer, Peers, Pod, Ports, Rule};

/// An IP family with its names in nftables.
#[derive(Clone, Copy)]
pub(super) struct Family {
    pub(super) ipv6: bool,
    pub(super) header: &'static str,
    pub(super) address: &'static str,
    pub(super) only: &'static str,
}

pub(super) const FAMILIES: [Family; 2] = [
    Family { ipv6: false, header: "ip", address: "ipv4_addr", only: "meta nfproto ipv4" },
    Family { ipv6: true, header: "ip6", address: "ipv6_addr", only: "meta nfproto ipv6" },
];

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

impl<'a> Writer<'a> {
    /// Writes the chain for the policies that isolate the pod in this direction. `others` are the policies
    /// that select the pod in any direction. Returns the name of the chain.
    pub(super) fn chain(mut self, isolating: &[&'a NetworkPolicy], others: &[&'a NetworkPolicy]) -> String {
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
        for policy in isolating {
            self.policy(policy, &mut lines);
        }
        match self.compile_fault() {
            Some(CompileFault::SharedChains) => {
                for policy in isolating {
                    self.other_direction(policy, &mut lines);
                }
            }
            Some(CompileFault::BothWays) => {
                for policy in others {
                    self.reversed(policy, &mut lines);
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

    fn policy(&mut self, policy: &NetworkPolicy, lines: &mut Vec<String>) {
        let allowed = self.allowed();
        for rule in policy.rules(self.direction).unwrap_or_default() {
            lines
                .extend(self.matches(policy, rule).into_iter().map(|matched| format!("{matched} {allowed}")));
        }
    }

    /// Returns the conditions under which a packet matches a rule: one for each pair of peer and port.
    fn matches(&mut self, policy: &NetworkPolicy, rule: &Rule) -> Vec<String> {
        let mut matches = Vec::new();
        for family in FAMILIES {
            if !self.view.can_allow(self.subject, family.ipv6) {
                continue;
            }
            let peers = self.peers(policy, &rule.peers, family);
            let ports = self.ports(&rule.ports, family);
            for peer in &peers {
                matches.extend(ports.iter().map(|port| format!("{peer} {port}")));
            }
        }
        matches
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
                let named = pods_of_peer(self.view, policy, namespaces, pods);
                let members = named.flat_map(|pod| self.known_addresses(pod, family)).map(IpAddr::to_string);
                self.members(self.remote(), members.collect(), family)
            }
            Peer::IpBlock(block) => {
                (block.net().addr().is_ipv6() == family.ipv6).then(|| self.block(block, family))
            }
        }
    }

    /// Returns the condition that an address is one of these. `None` if there are no addresses.
    pub(super) fn members(&mut self, end: &str, members: BTreeSet<String>, family: Family) -> Option<String> {
        if members.is_empty() {
            return None;
        }
        let set = self.table.set(family.address, members);
        Some(format!("{} {end} @{set}", family.header))
    }

    fn block(&mut self, block: &IpBlock, family: Family) -> String {
        let (header, remote) = (family.header, self.remote());
        let mut expression = match block.net().prefix_len() {
            0 => family.only.to_owned(),
            _ => format!("{header} {remote} {}", block.net()),
        };
        for hole in block.except() {
            expression.push_str(&format!(" {header} {remote} != {hole}"));
        }
        if self.compile_fault() == Some(CompileFault::IpBlockWithoutPods) {
            let pods = self.view.cluster.pods.iter().flat_map(|pod| addresses(pod, family.ipv6));
            let pods = pods.map(IpAddr::to_string).collect();
            let set = self.table.set(family.address, pods);
            expression.push_str(&format!(" {header} {remote} != @{set}"));
        }
        expression
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
        let is_known = move |address: &&IpAddr| can_allow && address.is_ipv6() == family.ipv6;
        pod.addresses.iter().take(count).filter(is_known)
    }

    /// Writes one chain per policy, one after the other. A packet must match every policy.
    fn chain_of_every(mut self, policies: &[&NetworkPolicy]) -> String {
        let mut next = None;
        for policy in policies.iter().take(NESTED).rev() {
            let mut lines = Vec::new();
            let allowed = next.map_or("return".to_owned(), |chain| format!("goto {chain}"));
            for rule in policy.rules(self.direction).unwrap_or_default() {
                let matches = self.matches(policy, rule);
                lines.extend(matches.into_iter().map(|matched| format!("{matched} {allowed}")));
            }
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
        let blocks = peers.flatten().filter_map(|peer| match peer {
            Peer::IpBlock(block) => Some(block),
            Peer::Pods { .. } => None,
        });
        let deny = |hole: &ipnet::IpNet| {
            let header = if hole.addr().is_ipv6() { "ip6" } else { "ip" };
            format!("{header} {} {hole} drop", self.remote())
        };
        blocks.flat_map(|block| block.except().iter().map(deny)).collect()
    }

    /// Appends the rules of the other direction, as they would be in a chain that is shared by both. They
    /// match packets from the policy's pods to its peers, or the reverse.
    fn other_direction(&mut self, policy: &NetworkPolicy, lines: &mut Vec<String>) {
        let own_end = self.remote();
        let direction = match self.direction {
            Direction::Egress => Direction::Ingress,
            Direction::Ingress => Direction::Egress,
        };
        let subjects: Vec<_> = subjects_of(&self.view.cluster, policy).collect();
        for family in FAMILIES {
            let members = subjects.iter().flat_map(|pod| addresses(pod, family.ipv6)).map(IpAddr::to_string);
            let Some(from) = self.members(own_end, members.collect(), family) else { continue };
            let Self { view, subject, fault, .. } = *self;
            let mut other = Writer { table: &mut *self.table, view, direction, subject, fault };
            for rule in policy.rules(direction).unwrap_or_default() {
                let peers = other.peers(policy, &rule.peers, family);
                let ports = other.ports(&rule.ports, family);
                for peer in &peers {
                    lines.extend(ports.iter().map(|port| format!("{from} {peer} {port} return")));
                }
            }
        }
    }

    /// Appends rules that allow the peers of the other direction on every port.
    fn reversed(&mut self, policy: &NetworkPolicy, lines: &mut Vec<String>) {
        let direction = match self.direction {
            Direction::Egress => Direction::Ingress,
            Direction::Ingress => Direction::Egress,
        };
        for rule in policy.rules(direction).unwrap_or_default() {
            let anywhere = Rule { peers: rule.peers.clone(), ports: Ports::Any };
            lines.extend(
                self.matches(policy, &anywhere).into_iter().map(|matched| format!("{matched} return")),
            );
        }
    }
}

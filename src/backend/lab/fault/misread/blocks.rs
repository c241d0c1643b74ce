//! Faults in the addresses that an `ipBlock` contains.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use k8s_openapi::api::networking::v1 as networking;

use super::super::rewrite::{blocks, each, peers, rules};
use crate::policy::{Cluster, IpBlock, NetworkPolicy, Peer, Peers};
use crate::snapshot::{Identity, WrittenPolicy};

pub(super) fn ignore_except(cluster: &mut Cluster) {
    blocks(cluster, |block| IpBlock::new(block.net(), []));
}

pub(super) fn first_except_only(cluster: &mut Cluster) {
    blocks(cluster, |block| IpBlock::new(block.net(), block.except().first().copied()));
}

pub(super) fn except_across_peers(cluster: &mut Cluster) {
    each(cluster, share_holes);
}

pub(super) fn zero_holds_ipv6(cluster: &mut Cluster) {
    // Blocks with `except` are included, too: an exception of one family says nothing about the other family.
    peers(cluster, |peer| match &peer {
        Peer::IpBlock(block) if block.net().prefix_len() == 0 => {
            let other = match block.net() {
                IpNet::V4(_) => Ipv6Net::default().into(),
                IpNet::V6(_) => Ipv4Net::default().into(),
            };
            vec![Peer::IpBlock(IpBlock::new(other, [])), peer]
        }
        Peer::IpBlock(_) | Peer::Pods { .. } => vec![peer],
    });
}

pub(super) fn ip_blocks_are_everybody(cluster: &mut Cluster) {
    rules(cluster, |rule| {
        let is_block = |peer: &Peer| matches!(peer, Peer::IpBlock(_));
        if matches!(&rule.peers, Peers::Only(peers) if peers.iter().all(is_block)) {
            rule.peers = Peers::Any;
        }
    });
}

pub(super) fn host_bits_drop_policy(cluster: &mut Cluster, written: &[WrittenPolicy]) {
    let dropped = written.iter().filter(|written| has_host_bits(&written.object));
    let dropped: Vec<_> = dropped.map(|written| Identity::of_policy(&written.policy)).collect();
    cluster.policies.retain(|policy| !dropped.contains(&Identity::of_policy(policy)));
}

fn has_host_bits(policy: &networking::NetworkPolicy) -> bool {
    let Some(spec) = &policy.spec else { return false };
    let from = spec.ingress.iter().flatten().flat_map(|rule| rule.from.iter().flatten());
    let to = spec.egress.iter().flatten().flat_map(|rule| rule.to.iter().flatten());
    let blocks = from.chain(to).filter_map(|peer| peer.ip_block.as_ref());
    let mut ranges =
        blocks.flat_map(|block| std::iter::once(&block.cidr).chain(block.except.iter().flatten()));
    ranges.any(|range| range.parse::<IpNet>().is_ok_and(|net| net.trunc() != net))
}

/// Applies the exceptions of each block to all blocks of the same direction.
fn share_holes(policy: &mut NetworkPolicy) {
    for rules in [&mut policy.ingress, &mut policy.egress].into_iter().flatten() {
        let all_peers = rules.iter().filter_map(|rule| match &rule.peers {
            Peers::Only(peers) => Some(peers),
            Peers::Any => None,
        });
        let holes = all_peers.flatten().filter_map(|peer| match peer {
            Peer::IpBlock(block) => Some(block.except().to_vec()),
            Peer::Pods { .. } => None,
        });
        let holes: Vec<_> = holes.flatten().collect();
        for rule in rules {
            let Peers::Only(peers) = &mut rule.peers else { continue };
            for peer in peers {
                if let Peer::IpBlock(block) = peer {
                    let net = block.net();
                    let of_family = |hole: &&IpNet| hole.addr().is_ipv4() == net.addr().is_ipv4();
                    *block = IpBlock::new(net, holes.iter().filter(of_family).copied());
                }
            }
        }
    }
}

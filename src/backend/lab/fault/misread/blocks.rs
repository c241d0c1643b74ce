//! Which addresses an `ipBlock` is taken to hold.

use ipnet::IpNet;

use super::super::rewrite::{blocks, each, rules};
use crate::policy::{Cluster, IpBlock, NetworkPolicy, Peer, Peers};

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
    rules(cluster, |rule| {
        let zero = |peer: &Peer| matches!(peer, Peer::IpBlock(block) if block.is_whole_family());
        if matches!(&rule.peers, Peers::Only(peers) if peers.iter().any(zero)) {
            rule.peers = Peers::Any;
        }
    });
}

/// Takes what one block of a direction excepts out of its others.
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

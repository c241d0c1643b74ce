//! Deviations in the addresses that an `ipBlock` contains.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicySpec};

use super::Effect::{Meaning, WrittenMeaning};
use super::rewrite::{blocks, lists, replace_peers, rules};
use super::{Deviation, misread, seen, wrong};
use crate::policy::{IpBlock, Peer, Peers, Rule};

pub(super) const TABLE: &[Deviation] = &[
    seen("ignore-except", &[22], "cloudnativelabs/kube-router#326, aws/amazon-vpc-cni-k8s#2609")
        .says("the addresses that an ipBlock excepts are allowed like the rest of it")
        .by(Meaning(|cluster| {
            blocks(rules(cluster)).for_each(|block| *block = IpBlock::new(block.net(), []));
        })),
    wrong("first-except-only", &[22]).says("only the first range that an ipBlock excepts is denied").by(
        Meaning(|cluster| {
            for block in blocks(rules(cluster)) {
                *block = IpBlock::new(block.net(), block.except().first().copied());
            }
        }),
    ),
    seen("except-across-peers", &[22], "ovn-kubernetes/ovn-kubernetes#845, kubeovn/kube-ovn#3193")
        .says("the except of one ipBlock also applies to the other blocks of the policy in that direction")
        .by(Meaning(|cluster| lists(cluster).for_each(|rules| share_exceptions(rules)))),
    wrong("zero-holds-ipv6", &[23]).says("0.0.0.0/0, with or without except, also allows IPv6").by(Meaning(
        |cluster| {
            // An exception of one family says nothing about the other family.
            replace_peers(cluster, |peer| match &peer {
                Peer::IpBlock(block) if block.net().prefix_len() == 0 => {
                    let other = match block.net() {
                        IpNet::V4(_) => Ipv6Net::default().into(),
                        IpNet::V6(_) => Ipv4Net::default().into(),
                    };
                    vec![Peer::IpBlock(IpBlock::new(other, [])), peer]
                }
                Peer::IpBlock(_) | Peer::Pods { .. } => vec![peer],
            });
        },
    )),
    seen("ipblocks-are-everybody", &[13, 22], "weaveworks/weave#3347")
        .says(
            "ipBlock is not supported: a rule with only ipBlocks counts as a rule without peers and \
             allows pods, too",
        )
        .by(Meaning(|cluster| {
            let is_block = |peer: &Peer| matches!(peer, Peer::IpBlock(_));
            for rule in rules(cluster) {
                if matches!(&rule.peers, Peers::Only(peers) if peers.iter().all(is_block)) {
                    rule.peers = Peers::Any;
                }
            }
        })),
    seen("host-bits-drop-policy", &[38], "Azure/azure-container-networking#4867")
        .says("a policy with a CIDR that has host bits, such as 10.0.0.0/0, is dropped: it isolates nobody")
        .by(WrittenMeaning(|spec| {
            !written_blocks(spec).any(|block| {
                let mut ranges = std::iter::once(&block.cidr).chain(block.except.iter().flatten());
                ranges.any(|range| host_address(range).is_some())
            })
        }))
        .not_in_selftest(),
    misread("host-bits-are-one-address", &[38])
        .says("a CIDR that has host bits means only the address as it is written")
        .by(WrittenMeaning(|spec| {
            for block in written_blocks(spec) {
                if let Some(address) = host_address(&block.cidr) {
                    block.cidr = address.to_string();
                }
            }
            true
        })),
];

/// Returns the blocks of a policy as they were written.
fn written_blocks(spec: &mut NetworkPolicySpec) -> impl Iterator<Item = &mut IPBlock> {
    let from = spec.ingress.iter_mut().flatten().flat_map(|rule| &mut rule.from);
    let to = spec.egress.iter_mut().flatten().flat_map(|rule| &mut rule.to);
    from.chain(to).flatten().filter_map(|peer| peer.ip_block.as_mut())
}

/// Returns the range with only the written address, if the range has host bits.
fn host_address(cidr: &str) -> Option<IpNet> {
    let net: IpNet = cidr.parse().ok()?;
    (net.trunc() != net).then(|| net.addr().into())
}

/// Applies the exceptions of each block to all blocks of these rules.
fn share_exceptions(rules: &mut [Rule]) {
    let all: Vec<_> = blocks(rules.iter_mut()).flat_map(|block| block.except().to_vec()).collect();
    for block in blocks(rules.iter_mut()) {
        let net = block.net();
        let of_family = |hole: &&IpNet| hole.addr().is_ipv4() == net.addr().is_ipv4();
        *block = IpBlock::new(net, all.iter().filter(of_family).copied());
    }
}

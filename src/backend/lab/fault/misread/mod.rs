//! Implementation of the interpretation faults: policies get another meaning than they should have.

mod blocks;
mod directions;
mod peers;
mod ports;
mod rules;
mod selectors;
mod subjects;

use super::reading::InterpretationFault;
use crate::policy::Cluster;
use crate::snapshot::WrittenPolicy;

/// Changes a cluster's policies to what the fault takes them to mean. `written` contains the same policies as
/// they were written.
pub(super) fn misread(misreading: InterpretationFault, cluster: &mut Cluster, written: &[WrittenPolicy]) {
    use InterpretationFault as M;
    match misreading {
        M::OmittedTypesAreBoth => directions::omitted_types_are_both(cluster, written),
        M::OmittedTypesAreIngress => directions::omitted_types_are_ingress(cluster, written),
        M::OmittedTypesFollowRules => directions::omitted_types_follow_rules(cluster, written),
        M::TypesIgnored => directions::types_ignored(cluster, written),
        M::NoIngressRulesIgnored => directions::no_ingress_rules_ignored(cluster),
        M::NoEgressRulesIgnored => directions::no_egress_rules_ignored(cluster),
        M::EmptyRuleDenies => rules::empty_rule_denies(cluster),
        M::EmptyPeersDeny => peers::empty_peers_deny(cluster),
        M::EmptyPeersArePods => peers::empty_peers_are_pods(cluster),
        M::EmptyPortsDeny => ports::empty_ports_deny(cluster),
        M::AllNamespacesAreEverybody => peers::all_namespaces_are_everybody(cluster),
        M::SelectorsOr => peers::selectors_or(cluster),
        M::PodSelectorLost => peers::pod_selector_lost(cluster),
        M::NamespaceSelectorLost => peers::namespace_selector_lost(cluster),
        M::PodSelectorEverywhere => peers::pod_selector_everywhere(cluster),
        M::FirstPeerOnly => peers::first_peer_only(cluster),
        M::FirstRuleOnly => rules::first_rule_only(cluster),
        M::FewRules => rules::few_rules(cluster),
        M::CrossedRules => rules::crossed_rules(cluster),
        M::ZippedPeersAndPorts => rules::zipped_peers_and_ports(cluster),
        M::IgnorePorts => rules::ignore_ports(cluster),
        M::IgnorePeers => rules::ignore_peers(cluster),
        M::FirstPortOnly => ports::first_port_only(cluster),
        M::ProtocolIgnored => ports::protocol_ignored(cluster),
        M::NumberlessIsEveryProtocol => ports::numberless_is_every_protocol(cluster),
        M::PortBesideAllOverrides => ports::port_beside_all_overrides(cluster),
        M::SctpPolicyIgnored => ports::sctp_policy_ignored(cluster),
        M::EndPortFirstOnly => ports::end_port_first_only(cluster),
        M::EndPortExclusive => ports::end_port_exclusive(cluster),
        M::EndPortOpen => ports::end_port_open(cluster),
        M::IgnoreExcept => blocks::ignore_except(cluster),
        M::FirstExceptOnly => blocks::first_except_only(cluster),
        M::ExceptAcrossPeers => blocks::except_across_peers(cluster),
        M::ZeroHoldsIpv6 => blocks::zero_holds_ipv6(cluster),
        M::IpBlocksAreEverybody => blocks::ip_blocks_are_everybody(cluster),
        M::HostBitsDropPolicy => blocks::host_bits_drop_policy(cluster, written),
        M::UnmatchedPeersIgnored => peers::unmatched_peers_ignored(cluster),
        M::UnmatchedPeersAreEverybody => peers::unmatched_peers_are_everybody(cluster),
        M::SubjectsIgnored => subjects::subjects_ignored(cluster),
        M::SubjectsEverywhere => subjects::subjects_everywhere(cluster),
        M::SameNameCollides => subjects::same_name_collides(cluster),
        M::NotInNeedsKey => selectors::not_in_needs_key(cluster),
        M::NotInAnyValue => selectors::not_in_any_value(cluster),
        M::NegationsMatchOutside => selectors::negations_match_outside(cluster),
        M::AnyLabel => selectors::any_label(cluster),
        M::DoesNotExistIgnored => selectors::does_not_exist_ignored(cluster),
        M::InFirstValueOnly => selectors::in_first_value_only(cluster),
        M::ExpressionsIgnored => selectors::expressions_ignored(cluster),
        M::EmptyMatchesMissing => selectors::empty_matches_missing(cluster),
        M::CaseIgnored => selectors::case_ignored(cluster),
        M::NameLabelUnknown => selectors::name_label_unknown(cluster),
    }
}

//! The ways to read policies that a profile can name.

use std::time::Duration;

/// A way to read policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quirk {
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
    /// Where two of a rule's receiving pods give its name different numbers, or any name the same one, a port name
    /// stands for every number that any of the receiving pods gives it, in all of them.
    PortNamesMixed,
    /// What one direction's rules of a policy allow passes the other direction of the same policy, too.
    OtherDirectionOfSamePolicy,
    /// Egress rules see a Service's port in the place of the pod's. Ingress rules see the pod's.
    ServicePortDiffers,
    /// A new pod is isolated a moment after it has started. Only the moment is left open: what is delivered
    /// afterwards is a leak. No other way to read the policies.
    NewPodsOpenAtFirst,
    /// The parts of a policy's rules are replaced one after the other: for a moment of at most two seconds, the peers of
    /// some rules, old or new, can use the ports of others. What is delivered later is a leak. No other way to read
    /// the policies.
    RulesReplacedInParts,
}

impl Quirk {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::PodAddressInIpBlock,
        Self::UnresolvedPortName,
        Self::PortNameIsProtocol,
        Self::PortNameOfOwnNamespace,
        Self::PortNamesMixed,
        Self::OtherDirectionOfSamePolicy,
        Self::ServicePortDiffers,
        Self::NewPodsOpenAtFirst,
        Self::RulesReplacedInParts,
    ];

    /// Whether it leaves a moment open, and is no other way to read the policies.
    pub fn is_momentary(self) -> bool {
        match self {
            Self::NewPodsOpenAtFirst | Self::RulesReplacedInParts => true,
            Self::PodAddressInIpBlock
            | Self::UnresolvedPortName
            | Self::PortNameIsProtocol
            | Self::PortNameOfOwnNamespace
            | Self::PortNamesMixed
            | Self::OtherDirectionOfSamePolicy
            | Self::ServicePortDiffers => false,
        }
    }

    /// How long the moment may be that it leaves open. `None` if it may last until the settle deadline, or if it leaves
    /// no moment open.
    pub fn longest_moment(self) -> Option<Duration> {
        match self {
            Self::RulesReplacedInParts => Some(Duration::from_secs(2)),
            Self::NewPodsOpenAtFirst
            | Self::PodAddressInIpBlock
            | Self::UnresolvedPortName
            | Self::PortNameIsProtocol
            | Self::PortNameOfOwnNamespace
            | Self::PortNamesMixed
            | Self::OtherDirectionOfSamePolicy
            | Self::ServicePortDiffers => None,
        }
    }

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
            Self::RulesReplacedInParts => "rules-replaced-in-parts",
        }
    }
}

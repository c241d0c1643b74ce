//! Quirks: different ways to read policies, which a profile can name.

use std::time::Duration;

/// A different way to read policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quirk {
    /// An `ipBlock` never matches a pod, whatever the pod's address.
    PodAddressInIpBlock,
    /// If the peers of a rule are pods, its ports are all names, and no receiving pod has any of the names, the rule
    /// counts as a rule without ports.
    UnresolvedPortName,
    /// A port name stands for every port of its protocol. If the rule also has port numbers of that protocol, the
    /// name stands for no port.
    PortNameIsProtocol,
    /// A port name in an egress rule without peers stands for the numbers that pods of the policy's own namespace
    /// give it, at every address.
    PortNameOfOwnNamespace,
    /// If two receiving pods of a rule give its port name different numbers, or give any name the same number, the
    /// port name stands for every number that any receiving pod gives it, in all receiving pods.
    PortNamesMixed,
    /// If the rules of one direction allow a packet, it also passes the other direction of the same policy.
    OtherDirectionOfSamePolicy,
    /// Egress rules see a Service's port instead of the pod's. Ingress rules see the pod's port.
    ServicePortDiffers,
    /// A new pod is isolated a moment after its start. Only this moment is excused: a later delivery is a leak. This
    /// quirk does not change how policies are read.
    NewPodsOpenAtFirst,
    /// The parts of a policy's rules are replaced one after the other. For a moment of at most two seconds, the peers
    /// of some rules, old or new, can use the ports of others. A later delivery is a leak. This quirk does not change
    /// how policies are read.
    RulesReplacedInParts,
}

impl Quirk {
    /// All quirks.
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

    /// Returns whether the quirk excuses only a moment, and does not change how policies are read.
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

    /// Returns the longest moment that the quirk excuses. `None` if the moment may last until the settle deadline, or
    /// if the quirk excuses no moment.
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

    /// Returns the name in a profile.
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

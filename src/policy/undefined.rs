//! The reasons why a flow is undefined, and their kinds, as listed in `docs/semantics.md`.

use std::fmt;

use super::name::{PolicyName, RuleName};
use super::unknown::UnknownFacts;

/// Reason why a flow is undefined.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UndefinedCause {
    /// An end is a pod with `hostNetwork`. Implementations may treat it as a pod or as its node.
    HostNetwork {
        /// `namespace/name`
        pod: String,
    },
    /// A rule's `ipBlock` must be compared with a Service's virtual address. Implementations may do that before or
    /// after the translation to a pod's address.
    ServiceAddressInIpBlock(RuleName),
    /// A pod reaches itself through a Service.
    Hairpin {
        /// `namespace/name` of the Service.
        service: String,
    },
    /// The policies have different decisions for the endpoints of the Service.
    BackendsDiffer {
        /// `namespace/name` of the Service.
        service: String,
    },
    /// The endpoints of the Service are not known.
    BackendsUnknown {
        /// `namespace/name` of the Service.
        service: String,
    },
    /// The Service has no endpoints for the sender.
    NoBackends {
        /// `namespace/name` of the Service.
        service: String,
    },
    /// The Service does not have the port.
    NoServicePort {
        /// `namespace/name` of the Service.
        service: String,
    },
    /// The port of the node is a Service's `nodePort`. The receiving pod may see a node as the source.
    NodePort {
        /// `namespace/name` of the Service.
        service: String,
    },
    /// The port of the node is a pod's `hostPort`. That pod may see the node as the source.
    HostPort {
        /// `namespace/name` of the pod.
        pod: String,
    },
    /// A rule's `ipBlock` must be compared with an address that is not known.
    AddressUnknown(RuleName),
    /// It depends on unknown labels whether a rule matches the other end.
    LabelsUnknown {
        /// The rule.
        rule: RuleName,
        /// The unknown facts.
        facts: UnknownFacts,
    },
    /// It depends on unknown labels whether a policy selects the pod.
    SubjectUnknown {
        /// The policy.
        policy: PolicyName,
        /// The unknown facts.
        facts: UnknownFacts,
    },
    /// An egress rule matches the port only by its name, and the pod only by an `ipBlock`. A block says nothing about
    /// pods, so some implementations have no pod on which to resolve the name. Others resolve it on every pod in the
    /// block.
    PortNameForIpBlock(RuleName),
    /// A rule matches the port only by a name that two containers of the pod give to different numbers, and the port
    /// is not the first of them.
    PortNameRepeated(RuleName),
    /// Rules of cluster-scoped policies disagree, and their order is not specified: their policies have the same
    /// priority, or are of different kinds.
    Unordered {
        /// The rules, at least two.
        rules: Vec<RuleName>,
    },
    /// A rule of a cluster-scoped policy denies packets from a pod to its own node. NetworkPolicies always allow
    /// these packets.
    OwnNodeDenied(RuleName),
    /// A rule selects nodes by labels. The labels of nodes are not known.
    NodeLabelsUnknown(RuleName),
    /// A rule names domains. Their addresses are not known.
    DomainNames(RuleName),
    /// An end has no address of this family.
    NoAddress {
        /// The end.
        endpoint: String,
    },
}

impl fmt::Display for UndefinedCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostNetwork { pod } => write!(f, "{pod} uses its node's network"),
            Self::ServiceAddressInIpBlock(rule) => {
                write!(f, "{rule} compares an ipBlock with a Service's virtual address")
            }
            Self::Hairpin { service } => write!(f, "the pod may reach itself through Service {service}"),
            Self::BackendsDiffer { service } => {
                write!(f, "the policies treat the endpoints of Service {service} differently")
            }
            Self::BackendsUnknown { service } => {
                write!(f, "the endpoints of Service {service} are not known")
            }
            Self::NoBackends { service } => write!(f, "Service {service} has no endpoints"),
            Self::NoServicePort { service } => write!(f, "Service {service} has no such port"),
            Self::NodePort { service } => {
                write!(f, "the port is a node port of Service {service}, which may hide the source")
            }
            Self::HostPort { pod } => {
                write!(f, "the port is a hostPort of pod {pod}, where the source may be hidden")
            }
            Self::AddressUnknown(rule) => write!(f, "{rule} needs an address that is not known"),
            Self::LabelsUnknown { rule, facts } => {
                write!(f, "{rule} needs to know what is not known: {}", listed(facts))
            }
            Self::SubjectUnknown { policy, facts } => {
                write!(f, "{policy} may or may not select the pod: {}", listed(facts))
            }
            Self::PortNameForIpBlock(rule) => {
                write!(
                    f,
                    "{rule} names the port for an ipBlock, for which not every implementation resolves it"
                )
            }
            Self::PortNameRepeated(rule) => {
                write!(f, "{rule} names the port, and another container gives the name to another port")
            }
            Self::Unordered { rules } => {
                for (i, rule) in rules.iter().enumerate() {
                    write!(f, "{}{rule}", if i == 0 { "" } else { " and " })?;
                }
                f.write_str(" disagree, and nothing says which comes first")
            }
            Self::OwnNodeDenied(rule) => write!(f, "{rule} denies what the pod sends to its own node"),
            Self::NodeLabelsUnknown(rule) => write!(f, "{rule} names nodes by labels, which are not known"),
            Self::DomainNames(rule) => {
                write!(f, "{rule} names domains, and it is not known which addresses those have")
            }
            Self::NoAddress { endpoint } => write!(f, "{endpoint} has no address of this family"),
        }
    }
}

fn listed(facts: &UnknownFacts) -> String {
    facts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

macro_rules! undefined_kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// Kind of an [`UndefinedCause`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum UndefinedKind {
            $($(#[$doc])* $kind,)*
        }

        impl UndefinedKind {
            /// All kinds, in the order of `docs/semantics.md`.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// Returns the kind's name in JSON and in `docs/semantics.md`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

undefined_kinds! {
    /// A pod with `hostNetwork` may count as a pod or as its node.
    HostNetwork = "host-network",
    /// An `ipBlock` may be compared with a Service's address or with its endpoint's address.
    ServiceAddress = "service-address",
    /// A connection of a pod to itself through a Service may be filtered or not.
    Hairpin = "hairpin",
    /// A port name may or may not be resolved for an `ipBlock`, or several ports have the name.
    PortName = "port-name",
    /// Cluster-scoped policies may or may not apply to packets from a pod to its own node.
    OwnNode = "own-node",
    /// Several rules have no order.
    Unordered = "unordered",
    /// The endpoints of a Service have different answers.
    BackendsDiffer = "backends-differ",
    /// The destination is a port of a node that leads to a Service or a pod.
    NodePort = "node-port",
    /// The endpoints of a Service are not known.
    BackendsUnknown = "backends-unknown",
    /// A Service has no endpoints for the sender.
    NoBackends = "no-backends",
    /// A Service does not have the port.
    NoServicePort = "no-service-port",
    /// An address is not known, and an `ipBlock` must be compared with it.
    AddressUnknown = "address-unknown",
    /// Labels on which a rule's selector depends are not known.
    LabelsUnknown = "labels-unknown",
    /// Labels are not known that decide whether a policy selects an end.
    SubjectUnknown = "subject-unknown",
    /// The labels of nodes are not known.
    NodeLabels = "node-labels",
    /// The addresses of a domain name are not known.
    DomainNames = "domain-names",
    /// An end has no address of the family.
    NoAddress = "no-address",
}

impl UndefinedCause {
    /// Returns the kind of the reason.
    pub fn kind(&self) -> UndefinedKind {
        match self {
            Self::HostNetwork { .. } => UndefinedKind::HostNetwork,
            Self::ServiceAddressInIpBlock(_) => UndefinedKind::ServiceAddress,
            Self::Hairpin { .. } => UndefinedKind::Hairpin,
            Self::PortNameForIpBlock(_) | Self::PortNameRepeated(_) => UndefinedKind::PortName,
            Self::OwnNodeDenied(_) => UndefinedKind::OwnNode,
            Self::Unordered { .. } => UndefinedKind::Unordered,
            Self::BackendsDiffer { .. } => UndefinedKind::BackendsDiffer,
            Self::NodePort { .. } | Self::HostPort { .. } => UndefinedKind::NodePort,
            Self::BackendsUnknown { .. } => UndefinedKind::BackendsUnknown,
            Self::NoBackends { .. } => UndefinedKind::NoBackends,
            Self::NoServicePort { .. } => UndefinedKind::NoServicePort,
            Self::AddressUnknown(_) => UndefinedKind::AddressUnknown,
            Self::LabelsUnknown { .. } => UndefinedKind::LabelsUnknown,
            Self::SubjectUnknown { .. } => UndefinedKind::SubjectUnknown,
            Self::NodeLabelsUnknown(_) => UndefinedKind::NodeLabels,
            Self::DomainNames(_) => UndefinedKind::DomainNames,
            Self::NoAddress { .. } => UndefinedKind::NoAddress,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An undocumented kind would excuse cells without an explanation that users can read.
    #[test]
    fn the_documentation_lists_every_kind_of_undefined_cell() {
        let documented = include_str!("../../docs/semantics.md");
        let (_, documented) = documented.split_once("## Undefined cells").unwrap();
        let rows = documented.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let listed: Vec<_> = rows.map(|(name, _)| name).collect();
        let all: Vec<_> = UndefinedKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(listed, all);
    }
}

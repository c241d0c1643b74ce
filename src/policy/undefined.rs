//! The kinds of reasons why a flow is undefined, as listed in `docs/semantics.md`.

use super::expectation::UndefinedCause;

/// Kind of an [`UndefinedCause`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UndefinedKind {
    /// A pod with `hostNetwork` may count as a pod or as its node.
    HostNetwork,
    /// An `ipBlock` may be compared with a Service's address or with its endpoint's address.
    ServiceAddress,
    /// A connection of a pod to itself through a Service may be filtered or not.
    Hairpin,
    /// A port name may or may not be resolved for an `ipBlock`, or several ports have the name.
    PortName,
    /// Cluster-scoped policies may or may not apply to packets from a pod to its own node.
    OwnNode,
    /// Several rules have no order.
    Unordered,
    /// The endpoints of a Service have different answers.
    BackendsDiffer,
    /// The destination is a port of a node that leads to a Service or a pod.
    NodePort,
    /// The endpoints of a Service are not known.
    BackendsUnknown,
    /// A Service has no endpoints for the sender.
    NoBackends,
    /// A Service does not have the port.
    NoServicePort,
    /// An address is not known, and an `ipBlock` must be compared with it.
    AddressUnknown,
    /// Labels on which a rule's selector depends are not known.
    LabelsUnknown,
    /// Labels are not known that decide whether a policy selects an end.
    SubjectUnknown,
    /// The labels of nodes are not known.
    NodeLabels,
    /// The addresses of a domain name are not known.
    DomainNames,
    /// An end has no address of the family.
    NoAddress,
}

impl UndefinedKind {
    /// All kinds, in the order of `docs/semantics.md`.
    pub const ALL: [Self; 17] = [
        Self::HostNetwork,
        Self::ServiceAddress,
        Self::Hairpin,
        Self::PortName,
        Self::OwnNode,
        Self::Unordered,
        Self::BackendsDiffer,
        Self::NodePort,
        Self::BackendsUnknown,
        Self::NoBackends,
        Self::NoServicePort,
        Self::AddressUnknown,
        Self::LabelsUnknown,
        Self::SubjectUnknown,
        Self::NodeLabels,
        Self::DomainNames,
        Self::NoAddress,
    ];

    /// Returns the kind's name in JSON and in `docs/semantics.md`.
    pub fn name(self) -> &'static str {
        match self {
            Self::HostNetwork => "host-network",
            Self::ServiceAddress => "service-address",
            Self::Hairpin => "hairpin",
            Self::PortName => "port-name",
            Self::OwnNode => "own-node",
            Self::Unordered => "unordered",
            Self::BackendsDiffer => "backends-differ",
            Self::NodePort => "node-port",
            Self::BackendsUnknown => "backends-unknown",
            Self::NoBackends => "no-backends",
            Self::NoServicePort => "no-service-port",
            Self::AddressUnknown => "address-unknown",
            Self::LabelsUnknown => "labels-unknown",
            Self::SubjectUnknown => "subject-unknown",
            Self::NodeLabels => "node-labels",
            Self::DomainNames => "domain-names",
            Self::NoAddress => "no-address",
        }
    }
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
        // `NoAddress` is the last variant. If a new variant is missing in `ALL`, the counts differ.
        assert_eq!(UndefinedKind::NoAddress as usize + 1, UndefinedKind::ALL.len());
        let documented = include_str!("../../docs/semantics.md");
        let (_, documented) = documented.split_once("## Undefined cells").unwrap();
        let rows = documented.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let listed: Vec<_> = rows.map(|(name, _)| name).collect();
        assert_eq!(listed, UndefinedKind::ALL.map(UndefinedKind::name));
    }
}

//! The kinds of reasons for which a flow is undefined, as `docs/semantics.md` lists them.

use super::expectation::UndefinedCause;

/// A kind of [`UndefinedCause`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UndefinedKind {
    /// A pod with `hostNetwork` counts as a pod or as its node.
    HostNetwork,
    /// Blocks see a Service's address or its endpoint's.
    ServiceAddress,
    /// A pod that reaches itself through a Service is filtered or not.
    Hairpin,
    /// A port's name beside an `ipBlock` is resolved or not, or is that of several ports.
    PortName,
    /// Cluster-scoped policies apply to a pod's own node or not.
    OwnNode,
    /// Nothing says which of several rules comes first.
    Unordered,
    /// The endpoints of a Service have different answers.
    BackendsDiffer,
    /// A port of a node leads to a Service or a pod.
    NodePort,
    /// The endpoints of a Service are not known.
    BackendsUnknown,
    /// A Service has no endpoints for the sender.
    NoBackends,
    /// A Service has no such port.
    NoServicePort,
    /// An address is not known.
    AddressUnknown,
    /// Labels that a rule's selector depends on are not known.
    LabelsUnknown,
    /// It is not known whether a policy selects an end.
    SubjectUnknown,
    /// The labels of nodes are not known.
    NodeLabels,
    /// The addresses of a domain are not known.
    DomainNames,
    /// An end has no address of the family.
    NoAddress,
}

impl UndefinedKind {
    /// All kinds, in the order in which `docs/semantics.md` lists them.
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

    /// Its name in JSON and in `docs/semantics.md`.
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
    /// The kind of the reason.
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

    /// A kind that the documentation does not list would be an excuse that nobody has read.
    #[test]
    fn the_documentation_lists_every_kind_of_undefined_cell() {
        // The last one: a new kind that is not in ALL moves it.
        assert_eq!(UndefinedKind::NoAddress as usize + 1, UndefinedKind::ALL.len());
        let documented = include_str!("../../docs/semantics.md");
        let (_, documented) = documented.split_once("## Undefined cells").unwrap();
        let rows = documented.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let listed: Vec<_> = rows.map(|(name, _)| name).collect();
        assert_eq!(listed, UndefinedKind::ALL.map(UndefinedKind::name));
    }
}

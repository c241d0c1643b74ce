//! The reasons why a flow is undefined, and their kinds, as listed in `docs/semantics.md`.

use std::fmt;

use super::joined;
use super::name::{PolicyName, RuleName};
use super::unknown::UnknownFacts;

/// Declares the reasons, by kind. Each has the facts that its text names, and the arguments of `write!` for the text.
macro_rules! causes {
    ($($kind:literal {
        $($(#[$doc:meta])* $cause:ident($($fact:ident: $type:ty),+) = ($($text:tt)+);)+
    })+) => {
        /// Reason why a flow is undefined.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum UndefinedCause {
            $($($(#[$doc])* $cause($($type),+),)+)+
        }

        impl UndefinedCause {
            /// The names of all kinds, in the order of `docs/semantics.md`.
            pub const KINDS: &[&str] = &[$($kind),+];

            /// The names of the kinds for which something is missing: a fact that is not known, or an endpoint that
            /// could receive packets. The policies are not to blame for it.
            pub const FACTS: &[&str] = &[
                "backends-unknown",
                "no-backends",
                "no-service-port",
                "address-unknown",
                "labels-unknown",
                "subject-unknown",
                "node-labels",
                "domain-names",
            ];

            /// Returns the name of the reason's kind in JSON and in `docs/semantics.md`.
            pub fn kind(&self) -> &'static str {
                match self {
                    $($(Self::$cause(..) => $kind,)+)+
                }
            }
        }

        impl fmt::Display for UndefinedCause {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $($(Self::$cause($($fact),+) => write!(f, $($text)+),)+)+
                }
            }
        }
    };
}

causes! {
    "host-network" {
        /// An end is a pod with `hostNetwork`. Implementations may treat it as a pod or as its node.
        HostNetwork(pod: String) = ("{pod} uses its node's network");
    }
    "service-address" {
        /// A rule's `ipBlock` must be compared with a Service's virtual address. Implementations may do that before or
        /// after the translation to a pod's address.
        ServiceAddressInIpBlock(rule: RuleName) =
            ("{rule} compares an ipBlock with a Service's virtual address");
    }
    "hairpin" {
        /// A pod reaches itself through a Service. The connection may be filtered or not.
        Hairpin(service: String) = ("the pod may reach itself through Service {service}");
    }
    "port-name" {
        /// An egress rule matches the port only by its name, and the pod only by an `ipBlock`. A block says nothing
        /// about pods, so some implementations have no pod on which to resolve the name. Others resolve it on every
        /// pod in the block.
        PortNameForIpBlock(rule: RuleName) =
            ("{rule} names the port for an ipBlock, for which not every implementation resolves it");
        /// A rule matches the port only by a name that two containers of the pod give to different numbers, and the
        /// port is not the first of them.
        PortNameRepeated(rule: RuleName) =
            ("{rule} names the port, and another container gives the name to another port");
    }
    "own-node" {
        /// A rule of a cluster-scoped policy denies packets from a pod to its own node. NetworkPolicies always allow
        /// these packets.
        OwnNodeDenied(rule: RuleName) = ("{rule} denies what the pod sends to its own node");
    }
    "unordered" {
        /// At least two rules of cluster-scoped policies disagree, and their order is not specified: their policies
        /// have the same priority, or are of different kinds.
        Unordered(rules: Vec<RuleName>) =
            ("{} disagree, and nothing says which comes first", joined(rules, " and "));
    }
    "backends-differ" {
        /// The policies have different decisions for the endpoints of the Service.
        BackendsDiffer(service: String) =
            ("the policies treat the endpoints of Service {service} differently");
    }
    "node-port" {
        /// The port of the node is a Service's `nodePort`. The receiving pod may see a node as the source.
        NodePort(service: String) =
            ("the port is a node port of Service {service}, which may hide the source");
        /// The port of the node is a pod's `hostPort`. That pod may see the node as the source.
        HostPort(pod: String) = ("the port is a hostPort of pod {pod}, where the source may be hidden");
    }
    "backends-unknown" {
        /// The endpoints of the Service are not known.
        BackendsUnknown(service: String) = ("the endpoints of Service {service} are not known");
    }
    "no-backends" {
        /// The Service has no endpoints for the sender.
        NoBackends(service: String) = ("Service {service} has no endpoints");
    }
    "no-service-port" {
        /// The Service does not have the port.
        NoServicePort(service: String) = ("Service {service} has no such port");
    }
    "address-unknown" {
        /// A rule's `ipBlock` must be compared with an address that is not known.
        AddressUnknown(rule: RuleName) = ("{rule} needs an address that is not known");
    }
    "labels-unknown" {
        /// It depends on unknown labels whether a rule matches the other end.
        LabelsUnknown(rule: RuleName, facts: UnknownFacts) =
            ("{rule} needs to know what is not known: {}", joined(facts, "; "));
    }
    "subject-unknown" {
        /// It depends on unknown labels whether a policy selects the pod.
        SubjectUnknown(policy: PolicyName, facts: UnknownFacts) =
            ("{policy} may or may not select the pod: {}", joined(facts, "; "));
    }
    "node-labels" {
        /// A rule selects nodes by labels. The labels of nodes are not known.
        NodeLabelsUnknown(rule: RuleName) = ("{rule} names nodes by labels, which are not known");
    }
    "domain-names" {
        /// A rule names domains. Their addresses are not known.
        DomainNames(rule: RuleName) =
            ("{rule} names domains, and it is not known which addresses those have");
    }
    "no-address" {
        /// An end has no address of this family.
        NoAddress(endpoint: String) = ("{endpoint} has no address of this family");
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
        assert_eq!(listed, UndefinedCause::KINDS);
    }

    #[test]
    fn kinds_of_missing_facts_are_kinds() {
        assert!(UndefinedCause::FACTS.iter().all(|kind| UndefinedCause::KINDS.contains(kind)));
    }
}

//! Expectations: what the policies say about one flow, and why.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::cluster_policy::{ClusterPolicy, ClusterPolicyName};
use super::model::{Direction, NetworkPolicy};
use super::reading::Interpretation;
use super::unknown::UnknownFacts;

/// What the policies in force say about a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// The decision.
    pub decision: Decision,
    /// All reasons for the decision, in the order in which they apply to a packet. Never empty.
    pub reasons: Vec<Reason>,
}

impl Expectation {
    pub(super) fn allow(reason: Reason) -> Self {
        Self { decision: Decision::Allow, reasons: vec![reason] }
    }

    pub(super) fn undefined(cause: UndefinedCause) -> Self {
        Self { decision: Decision::Undefined, reasons: vec![Reason::Undefined(cause)] }
    }

    /// Returns whether an end has no address of the family. The policies then decide nothing.
    pub fn has_no_address(&self) -> bool {
        let is_it = |reason: &Reason| matches!(reason, Reason::Undefined(UndefinedCause::NoAddress { .. }));
        self.reasons.iter().any(is_it)
    }

    /// Returns the policies that allow or deny the flow, each with the direction in which it does so. Empty if no
    /// policy decides, and if the specification leaves the flow undefined.
    pub fn deciding_policies(&self) -> Vec<(&PolicyName, Direction)> {
        let deciding = self.reasons.iter().flat_map(|reason| match reason {
            Reason::Isolated { direction, policies } => {
                policies.iter().map(|policy| (policy, *direction)).collect()
            }
            Reason::DeniedBy(rule) | Reason::AllowedBy { rule, .. } => vec![(&rule.policy, rule.direction)],
            Reason::NotIsolated(_)
            | Reason::PassedBy(_)
            | Reason::OwnAddress
            | Reason::OwnNode
            | Reason::NoPodNetwork
            | Reason::Undefined(_)
            | Reason::Reading { .. } => Vec::new(),
        });
        deciding.collect()
    }

    /// Combines two expectations that must both allow the flow. If one of them denies it, the result is a denial,
    /// even if the other one is undefined.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let decision = self.decision.and(other.decision);
        let deciding = [self, other].into_iter().filter(|each| each.decision == decision);
        Self { decision, reasons: deciding.flat_map(|each| each.reasons).collect() }
    }
}

/// Decision of an [`Expectation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// The flow must be delivered.
    Allow,
    /// The flow must not be delivered.
    Deny,
    /// The specification leaves the flow to the implementation, or a fact is not known.
    Undefined,
}

impl Decision {
    /// Combines two decisions that must both allow the flow.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Deny, _) | (_, Self::Deny) => Self::Deny,
            (Self::Undefined, _) | (_, Self::Undefined) => Self::Undefined,
            (Self::Allow, Self::Allow) => Self::Allow,
        }
    }

    /// Returns `allow`, `deny` or `undefined`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Undefined => "undefined",
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Name of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PolicyName {
    /// A NetworkPolicy.
    Namespaced {
        /// `metadata.namespace`
        namespace: String,
        /// `metadata.name`
        name: String,
    },
    /// A cluster-scoped policy.
    Cluster(ClusterPolicyName),
}

impl From<&NetworkPolicy> for PolicyName {
    fn from(policy: &NetworkPolicy) -> Self {
        Self::Namespaced { namespace: policy.namespace.clone(), name: policy.name.clone() }
    }
}

impl From<&ClusterPolicy> for PolicyName {
    fn from(policy: &ClusterPolicy) -> Self {
        Self::Cluster(policy.name.clone())
    }
}

/// `namespace/name`, or `AdminNetworkPolicy name`.
impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespaced { namespace, name } => write!(f, "{namespace}/{name}"),
            Self::Cluster(name) => name.fmt(f),
        }
    }
}

/// Name of a rule: its policy, direction and index.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleName {
    /// The policy.
    pub policy: PolicyName,
    /// The list that contains the rule.
    pub direction: Direction,
    /// Index of the rule in that list, counted from 0 as in `spec.ingress[0]`.
    pub index: usize,
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}[{}]", self.policy, self.direction, self.index)
    }
}

/// A reason of an [`Expectation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// No policy isolates the subject for this direction.
    NotIsolated(Direction),
    /// This rule allows the flow in its direction.
    AllowedBy {
        /// The rule.
        rule: RuleName,
        /// Whether the rule matches only because an `ipBlock` contains a pod's address. Implementations differ: the
        /// documentation means `ipBlock` for addresses outside the cluster, but Kubernetes' own tests require that it
        /// matches pods.
        pod_in_ip_block: bool,
    },
    /// This rule of a cluster-scoped policy denies the flow in its direction.
    DeniedBy(RuleName),
    /// This rule of a cluster-scoped policy passes the flow to the next tier. The reasons after this one are those of
    /// the next tier.
    PassedBy(RuleName),
    /// These policies isolate the subject for this direction, and none of their rules matches.
    Isolated {
        /// The direction.
        direction: Direction,
        /// All policies that isolate the subject, in order of their names.
        policies: Vec<PolicyName>,
    },
    /// A pod's own address is not filtered.
    OwnAddress,
    /// Traffic between a pod and its own node is always allowed.
    OwnNode,
    /// Neither end is in the pod network, so no policy applies.
    NoPodNetwork,
    /// The specification leaves the flow to the implementation, or a fact is not known.
    Undefined(UndefinedCause),
    /// The decision of one reading of the specification, if the readings disagree.
    Reading {
        /// What the reading says about each point on which the flow depends.
        interpretations: Vec<Interpretation>,
        /// The decision under this reading.
        decision: Decision,
    },
}

impl Reason {
    /// Returns the direction to which the reason applies, or `None` if the reason is neither a rule nor isolation.
    pub fn direction(&self) -> Option<Direction> {
        match self {
            Self::NotIsolated(direction) | Self::Isolated { direction, .. } => Some(*direction),
            Self::AllowedBy { rule, .. } | Self::DeniedBy(rule) | Self::PassedBy(rule) => {
                Some(rule.direction)
            }
            Self::OwnAddress
            | Self::OwnNode
            | Self::NoPodNetwork
            | Self::Undefined(_)
            | Self::Reading { .. } => None,
        }
    }

    /// Returns the rule of a cluster-scoped policy, if this reason is its denial.
    pub(super) fn denying_rule(&self) -> Option<&RuleName> {
        match self {
            Self::DeniedBy(rule) => Some(rule),
            Self::NotIsolated(_)
            | Self::AllowedBy { .. }
            | Self::PassedBy(_)
            | Self::Isolated { .. }
            | Self::OwnAddress
            | Self::OwnNode
            | Self::NoPodNetwork
            | Self::Undefined(_)
            | Self::Reading { .. } => None,
        }
    }
}

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

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotIsolated(direction) => write!(f, "no policy isolates for {direction}"),
            Self::AllowedBy { rule, pod_in_ip_block: false } => write!(f, "allowed by {rule}"),
            Self::AllowedBy { rule, pod_in_ip_block: true } => {
                write!(f, "allowed by {rule} (ipBlock covers the pod's address; implementations differ)")
            }
            Self::DeniedBy(rule) => write!(f, "denied by {rule}"),
            Self::PassedBy(rule) => write!(f, "left to the next tier by {rule}"),
            Self::Isolated { direction, policies } => {
                write!(f, "isolated for {direction} by ")?;
                for (i, policy) in policies.iter().enumerate() {
                    write!(f, "{}{policy}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str("; no rule matches")
            }
            Self::OwnAddress => f.write_str("a pod's own address is not filtered"),
            Self::OwnNode => f.write_str("a pod and its own node always reach each other"),
            Self::NoPodNetwork => f.write_str("neither end is in the pod network"),
            Self::Undefined(cause) => write!(f, "undefined: {cause}"),
            Self::Reading { interpretations, decision } => {
                f.write_str("if ")?;
                for (i, interpretation) in interpretations.iter().enumerate() {
                    write!(f, "{}{interpretation}", if i == 0 { "" } else { ", and " })?;
                }
                write!(f, ": {decision}")
            }
        }
    }
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

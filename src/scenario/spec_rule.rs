//! The spec rules, which cases decide.

use std::fmt;

/// A spec rule, by its number: one of the numbered rules of `docs/semantics.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpecRule(u8);

/// Titles of the spec rules, in the order of their numbers, which start at 1.
const TITLES: [&str; 43] = [
    "directions that no policy selects are open, each for itself",
    "policyTypes left out",
    "rules of a direction that policyTypes does not name",
    "no rules deny, an empty rule allows",
    "from and to: empty, or a selector of everything",
    "ports: empty or left out",
    "entries of ports that leave something out",
    "namespaceSelector: {}",
    "two selectors in one peer, and two peers",
    "podSelector alone means the policy's namespace",
    "policies are a union, and both directions have to allow",
    "peers and ports of one rule belong together",
    "selectors that match nothing",
    "replies",
    "the same port of another protocol, and SCTP",
    "endPort",
    "named ports, resolved in the pod that receives",
    "named ports and addresses",
    "Service ports are translated before policies apply",
    "a Service's virtual address in ipBlock",
    "pod addresses in ipBlock",
    "except",
    "families",
    "NotIn, DoesNotExist, and labels that are missing or empty",
    "kubernetes.io/metadata.name",
    "hostNetwork pods",
    "a pod and its own node",
    "a pod's own address, and hairpin traffic",
    "DNS",
    "Services that lead to host endpoints",
    "NodePort and LoadBalancer",
    "pods that have ended, and addresses that are used again",
    "policies that are changed or deleted",
    "labels that are added or removed",
    "connections that were open before a change",
    "new pods",
    "ICMP, and ports that nobody listens on",
    "case, empty values, and host bits",
    "cluster-scoped policies isolate nobody by themselves",
    "the order of the tiers: Admin, NetworkPolicy, Baseline",
    "priorities and the order of rules within a tier",
    "Pass",
    "equal priorities that overlap are ambiguous",
];

impl SpecRule {
    /// Returns all spec rules, by number.
    pub fn all() -> impl Iterator<Item = Self> {
        (1u8..).zip(TITLES).map(|(number, _)| Self(number))
    }

    /// Returns the spec rule with this number. `None` if there is none.
    pub fn new(number: i64) -> Option<Self> {
        Self::all().find(|rule| i64::from(rule.0) == number)
    }

    /// Returns its number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Returns its title.
    pub fn title(self) -> &'static str {
        TITLES.get(usize::from(self.0) - 1).copied().unwrap_or_default()
    }
}

impl fmt::Display for SpecRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

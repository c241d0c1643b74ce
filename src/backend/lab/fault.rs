//! Ways in which the lab can be told to enforce wrongly.

use std::fmt;
use std::str::FromStr;

/// A named way to enforce wrongly, to prove that it would be noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Policies are accepted and not enforced.
    NoEnforcement,
    /// Ingress is not enforced.
    IgnoreIngress,
    /// Egress is not enforced.
    IgnoreEgress,
    /// Rules allow their peers on every port.
    IgnorePorts,
    /// UDP is not enforced.
    IgnoreUdp,
    /// The holes of an `ipBlock` are allowed.
    IgnoreExcept,
    /// Of a range of ports, only the first is allowed.
    EndportFirstOnly,
    /// Deleted policies stay in force.
    PoliciesNeverRemoved,
    /// Replies to UDP datagrams are lost.
    DropReplies,
    /// One node stops following changes after the start.
    FrozenNode,
}

impl Fault {
    /// All faults, in the order in which they are listed.
    pub const ALL: [Self; 10] = [
        Self::NoEnforcement,
        Self::IgnoreIngress,
        Self::IgnoreEgress,
        Self::IgnorePorts,
        Self::IgnoreUdp,
        Self::IgnoreExcept,
        Self::EndportFirstOnly,
        Self::PoliciesNeverRemoved,
        Self::DropReplies,
        Self::FrozenNode,
    ];

    /// The name by which it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoEnforcement => "no-enforcement",
            Self::IgnoreIngress => "ignore-ingress",
            Self::IgnoreEgress => "ignore-egress",
            Self::IgnorePorts => "ignore-ports",
            Self::IgnoreUdp => "ignore-udp",
            Self::IgnoreExcept => "ignore-except",
            Self::EndportFirstOnly => "endport-first-only",
            Self::PoliciesNeverRemoved => "policies-never-removed",
            Self::DropReplies => "drop-replies",
            Self::FrozenNode => "frozen-node",
        }
    }

    /// What goes wrong, and where that has been seen.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::NoEnforcement => {
                "policies are accepted and nothing enforces them, as with a CNI plugin that does not implement NetworkPolicy: every denial is a leak"
            }
            Self::IgnoreIngress => {
                "ingress rules are not enforced: whatever a destination should refuse arrives"
            }
            Self::IgnoreEgress => {
                "egress rules are not enforced, as by implementations that only ever had ingress: pods send wherever they like"
            }
            Self::IgnorePorts => "rules allow their peers on every port and protocol",
            Self::IgnoreUdp => "UDP passes whatever the policies say, DNS over UDP included",
            Self::IgnoreExcept => "the addresses that an ipBlock excepts are allowed like the rest of it",
            Self::EndportFirstOnly => {
                "of port and endPort only port is allowed, as by implementations from before endPort: the rest of the range is blocked"
            }
            Self::PoliciesNeverRemoved => "a deleted policy goes on isolating and allowing",
            Self::DropReplies => {
                "UDP datagrams arrive and their replies are lost, as without connection tracking: to the sender it looks like a denial, but the datagram was delivered"
            }
            Self::FrozenNode => {
                "the last node stops following changes once its pods run, as with a crashed agent: its pods keep the policies of before"
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|fault| fault.name() == text)
            .ok_or_else(|| format!("there is no fault `{text}`: see --list-faults"))
    }
}

//! What became of a probe, from what both of its ends observed.

use std::fmt;
use std::net::IpAddr;

use netproof_probe::wire::Outcome;

use crate::policy::Decision;

/// What became of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Observation {
    /// The destination's agent answered with the probe's nonce.
    Connected,
    /// No answer in time, and nothing arrived.
    Dropped,
    /// A reset or an ICMP message, and nothing arrived.
    Rejected,
    /// The destination received the nonce, but the source got no answer.
    OneWay,
    /// Another endpoint answered.
    Misdelivered {
        /// Agent that answered, or the beginning of the answer.
        by: String,
    },
    /// The DNS lookup was answered, but not with the right addresses.
    DnsFailure {
        /// The answer.
        message: String,
    },
    /// The kernel lacks the protocol.
    Unsupported {
        /// Error of the system.
        message: String,
    },
    /// The probe could not be sent, or its result is not known. Never a denial.
    ProbeError {
        /// The reason.
        message: String,
    },
}

/// Controls for a probe that was not answered. Without both, a dropped probe proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Control {
    /// Whether the destination's own listener answered its own agent.
    pub listener: bool,
    /// Whether canaries of the same family and protocol got through between the same nodes in the same round.
    pub path: bool,
}

impl Control {
    /// A listener that is up, and a path that is alive.
    pub const ALIVE: Self = Self { listener: true, path: true };
}

impl Observation {
    /// Returns whether the probe was neither delivered nor answered by an agent.
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Dropped | Self::Rejected)
    }

    /// Returns whether the observation agrees with a decision. `None` if it does not show that.
    pub fn agrees_with(&self, decision: Decision) -> Option<bool> {
        let delivered = match self {
            Self::Connected | Self::OneWay | Self::DnsFailure { .. } => true,
            Self::Dropped | Self::Rejected => false,
            Self::Misdelivered { .. } | Self::Unsupported { .. } | Self::ProbeError { .. } => return None,
        };
        match decision {
            Decision::Deny => Some(!delivered),
            // A wrong DNS answer is no outage of the network.
            Decision::Allow if matches!(self, Self::DnsFailure { .. }) => None,
            Decision::Allow => Some(*self == Self::Connected),
            Decision::Undefined => Some(true),
        }
    }
}

impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("connected"),
            Self::Dropped => f.write_str("dropped"),
            Self::Rejected => f.write_str("rejected"),
            Self::OneWay => f.write_str("arrived, but no answer came back"),
            Self::Misdelivered { by } => write!(f, "answered by {by}"),
            Self::DnsFailure { message } => write!(f, "the lookup failed: {message}"),
            Self::Unsupported { message } => write!(f, "not supported: {message}"),
            Self::ProbeError { message } => write!(f, "could not be probed: {message}"),
        }
    }
}

/// Agents from which an answer may come.
pub struct Agents<'a> {
    /// Agents that may answer this probe, by the names in their answers.
    pub servers: &'a [String],
    /// Returns what reports call the agent with a name. `None` if the run has no such agent.
    pub endpoint: &'a dyn Fn(&str) -> Option<String>,
}

impl Agents<'_> {
    fn may_answer(&self, agent: &str) -> bool {
        self.servers.iter().any(|server| server == agent)
    }

    /// An answer from an agent that should not have got the probe. Only names that the run gave itself reach
    /// a report.
    fn misdelivered(&self, agent: &str) -> Observation {
        let by = (self.endpoint)(agent).unwrap_or_else(|| "an unknown agent".to_owned());
        Observation::Misdelivered { by }
    }
}

/// The longest text of an answer that a report shows, in characters.
const SHOWN: usize = 80;

/// Shortens what somebody else said, and makes it visible: in quotes, with escapes.
fn quote(text: &str) -> String {
    let shown: String = text.chars().take(SHOWN).collect();
    let rest = if shown.len() < text.len() { "…" } else { "" };
    format!("{shown:?}{rest}")
}

/// Takes both ends' testimony together. `arrived` is whether one of the agents that may answer received the
/// nonce, and `addresses` is what a lookup has to give.
pub fn observe(outcome: &Outcome, agents: &Agents<'_>, arrived: bool, addresses: &[IpAddr]) -> Observation {
    match outcome {
        Outcome::Answered { agent } if agents.may_answer(agent) => Observation::Connected,
        // Only destinations without an agent are asked to accept a connection.
        Outcome::Accepted => Observation::Connected,
        Outcome::Answered { agent } => agents.misdelivered(agent),
        Outcome::DnsAnswered { agent: Some(agent), .. } if !agents.may_answer(agent) => {
            agents.misdelivered(agent)
        }
        // Anybody can give the right addresses.
        Outcome::DnsAnswered { agent: None, .. } => {
            Observation::Misdelivered { by: "a DNS server that is no agent of this run".to_owned() }
        }
        Outcome::DnsAnswered { code: 0, addresses: given, .. }
            if given.iter().any(|a| addresses.contains(a)) =>
        {
            Observation::Connected
        }
        Outcome::DnsAnswered { code: 0, addresses: given, .. } => {
            let shown: Vec<_> = given.iter().take(4).collect();
            Observation::DnsFailure { message: format!("the answer was {shown:?} and not {addresses:?}") }
        }
        Outcome::DnsAnswered { code, .. } => {
            Observation::DnsFailure { message: format!("response code {code}") }
        }
        Outcome::Silent { .. } | Outcome::Refused | Outcome::Cut { .. } | Outcome::Unreachable { .. }
            if arrived =>
        {
            Observation::OneWay
        }
        Outcome::Silent { connected: false } => Observation::Dropped,
        // A connection was established with somebody who then said nothing.
        Outcome::Silent { connected: true } => {
            Observation::Misdelivered { by: "something that accepts connections".to_owned() }
        }
        Outcome::Cut { .. } => Observation::Misdelivered {
            by: "something that accepts connections and breaks them off".to_owned(),
        },
        Outcome::Refused | Outcome::Unreachable { .. } => Observation::Rejected,
        Outcome::Garbled { text } => {
            Observation::Misdelivered { by: format!("something that said {}", quote(text)) }
        }
        Outcome::Unsupported { message } => Observation::Unsupported { message: message.clone() },
        Outcome::Failed { message } => Observation::ProbeError { message: message.clone() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(outcome: &Outcome, arrived: bool) -> Observation {
        let endpoint = |name: &str| (name == "x/b").then(|| "pod x/b".to_owned());
        let agents = Agents { servers: &["x/a".to_owned()], endpoint: &endpoint };
        observe(outcome, &agents, arrived, &["10.96.0.10".parse().unwrap()])
    }

    fn answered(agent: &str) -> Outcome {
        Outcome::Answered { agent: agent.to_owned() }
    }

    #[test]
    fn an_answer_counts_only_from_the_intended_agent() {
        assert_eq!(seen(&answered("x/a"), true), Observation::Connected);
        assert_eq!(seen(&answered("x/b"), false), Observation::Misdelivered { by: "pod x/b".to_owned() });
    }

    /// Seen: a responder that answered with escape sequences painted a green PASS over the report.
    #[test]
    fn nothing_that_a_stranger_says_is_taken_for_a_name() {
        let hostile = "\u{1b}[2J\u{1b}[32mPASS\u{202e}\u{9b}\n".repeat(20);
        for outcome in [answered(&hostile), Outcome::Garbled { text: hostile.clone() }] {
            let text = seen(&outcome, true).to_string();
            assert!(text.chars().count() < 800 && text.is_ascii() || text.ends_with('…'), "{text}");
            assert!(!text.contains(['\u{1b}', '\n', '\u{202e}', '\u{9b}']), "{text:?}");
        }
        assert_eq!(seen(&answered(&hostile), true).to_string(), "answered by an unknown agent");
    }

    #[test]
    fn what_both_ends_saw_agrees_with_a_decision_or_not_or_says_nothing() {
        let lookup = |agent: Option<&str>, code, address: &str| Outcome::DnsAnswered {
            agent: agent.map(str::to_owned),
            code,
            addresses: vec![address.parse().unwrap()],
        };
        let agent = Some("x/a");
        let (silent, accepted) = (Outcome::Silent { connected: false }, Outcome::Silent { connected: true });
        let cut = Outcome::Cut { message: "reset".to_owned() };
        for (outcome, arrived, allow, deny) in [
            // A datagram that arrived was delivered, whatever the source saw.
            (silent.clone(), true, Some(false), Some(false)),
            (Outcome::Refused, true, Some(false), Some(false)),
            (accepted.clone(), true, Some(false), Some(false)),
            (cut.clone(), true, Some(false), Some(false)),
            // Drop and reject both deny.
            (silent, false, Some(false), Some(true)),
            (Outcome::Refused, false, Some(false), Some(true)),
            // A connection that was established is no denial. Kubernetes' own tests call it connected.
            (accepted, false, None, None),
            (cut, false, None, None),
            // An error of our own is never a denial.
            (Outcome::Failed { message: "too many open files".to_owned() }, false, None, None),
            (Outcome::Unsupported { message: "protocol not supported".to_owned() }, false, None, None),
            (Outcome::Garbled { text: "SSH-2.0".to_owned() }, false, None, None),
            // A lookup needs the right addresses, from an agent.
            (lookup(agent, 0, "10.96.0.10"), true, Some(true), Some(false)),
            (lookup(agent, 0, "10.96.0.11"), true, None, Some(false)),
            (lookup(agent, 3, "10.96.0.10"), true, None, Some(false)),
            (lookup(None, 0, "10.96.0.10"), false, None, None),
        ] {
            let observation = seen(&outcome, arrived);
            assert_eq!(observation.agrees_with(Decision::Allow), allow, "{outcome:?} {arrived}");
            assert_eq!(observation.agrees_with(Decision::Deny), deny, "{outcome:?} {arrived}");
            let is_delivered_silence = arrived && !matches!(outcome, Outcome::DnsAnswered { .. });
            assert_eq!(observation == Observation::OneWay, is_delivered_silence, "{outcome:?} {arrived}");
        }
    }
}

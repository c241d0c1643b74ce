//! The text of probes and answers, and the codes that prove who sent them.

use crate::mac::{Key, LENGTH, Mac, Purpose};
use crate::wire::{Nonce, Transport};

/// Maximum length of a message, in bytes. The name of an agent is `namespace/name`.
pub(crate) const LONGEST: usize = 400;

/// The first word of every message. It changes with [`WIRE_VERSION`](crate::wire::WIRE_VERSION).
const MAGIC: &str = "netproof2";
const KEEP: &str = "keep";

/// The request of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The nonce to echo.
    pub(crate) nonce: Nonce,
    /// Whether its connection will be used again.
    pub(crate) keep: bool,
}

impl Asked {
    /// Returns the request of a probe over a fresh socket.
    pub(crate) fn once(nonce: Nonce) -> Self {
        Self { nonce, keep: false }
    }

    /// Signs the probe. The code covers the transport, so that a stranger who sees a datagram cannot use it for a
    /// connection. It cannot cover the destination, because Services rewrite addresses and ports.
    fn code(self, key: &Key, transport: Transport) -> Mac {
        let purpose = if self.keep { Purpose::KeepingProbe } else { Purpose::Probe };
        key.sign(purpose, &[&[transport_byte(transport)], &self.nonce.0.to_be_bytes()])
    }
}

/// Returns a probe: one line.
pub(crate) fn probe(key: &Key, transport: Transport, asked: Asked) -> String {
    let code = asked.code(key, transport);
    let Asked { nonce, keep } = asked;
    if keep { format!("{MAGIC} {KEEP} {nonce} {code}\n") } else { format!("{MAGIC} {nonce} {code}\n") }
}

/// Returns the answer to a probe: one line that echoes the nonce and names the agent.
pub(crate) fn answer(key: &Key, transport: Transport, nonce: Nonce, agent: &str) -> String {
    let code = answer_code(key, transport, nonce, agent);
    format!("{MAGIC} {nonce} {code} {agent}\n")
}

/// Reads a probe. Returns `None` if it is not from an agent that has the key.
pub(crate) fn read_probe(key: &Key, transport: Transport, message: &[u8]) -> Option<Asked> {
    let text = std::str::from_utf8(message).ok()?.strip_suffix('\n')?;
    let mut words = text.split(' ');
    let (MAGIC, mut word) = (words.next()?, words.next()?) else { return None };
    let keep = word == KEEP;
    if keep {
        word = words.next()?;
    }
    let asked = Asked { nonce: read_nonce(word)?, keep };
    let code = Mac::parse(words.next()?)?;
    (words.next().is_none() && code.matches(&asked.code(key, transport))).then_some(asked)
}

/// Reads the answer to the probe with this nonce. Returns the agent's name, or `None` if the answer is not from an
/// agent that has the key.
pub(crate) fn read_answer<'a>(
    key: &Key,
    transport: Transport,
    nonce: Nonce,
    message: &'a [u8],
) -> Option<&'a str> {
    let text = std::str::from_utf8(message).ok()?.strip_suffix('\n')?;
    let mut words = text.splitn(4, ' ');
    let (MAGIC, echo, code, agent) = (words.next()?, words.next()?, words.next()?, words.next()?) else {
        return None;
    };
    let is_echo = read_nonce(echo) == Some(nonce) && !agent.is_empty();
    let is_signed = Mac::parse(code)?.matches(&answer_code(key, transport, nonce, agent));
    (is_echo && is_signed).then_some(agent)
}

fn answer_code(key: &Key, transport: Transport, nonce: Nonce, agent: &str) -> Mac {
    let parts: [&[u8]; 3] = [&[transport_byte(transport)], &nonce.0.to_be_bytes(), agent.as_bytes()];
    key.sign(Purpose::Answer, &parts)
}

/// Returns the byte for a transport in signed messages.
pub(crate) fn transport_byte(transport: Transport) -> u8 {
    match transport {
        Transport::Tcp => 1,
        Transport::Udp => 2,
        Transport::Sctp => 3,
        Transport::DnsUdp => 4,
        Transport::DnsTcp => 5,
        Transport::Handshake => 6,
    }
}

fn read_nonce(text: &str) -> Option<Nonce> {
    (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok().map(Nonce)).flatten()
}

// The longest answer has a name of 63 + 1 + 253 characters.
const _: () = assert!(MAGIC.len() + 1 + 16 + 1 + 2 * LENGTH + 1 + 317 < LONGEST);

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: Nonce = Nonce(0xfeed);

    fn key() -> Key {
        Key::from_token("token")
    }

    fn probe_of(transport: Transport, keep: bool) -> String {
        probe(&key(), transport, Asked { nonce: NONCE, keep })
    }

    fn read(message: &str) -> Option<Asked> {
        read_probe(&key(), Transport::Tcp, message.as_bytes())
    }

    #[test]
    fn messages_are_read_as_they_were_written() {
        for keep in [false, true] {
            assert_eq!(read(&probe_of(Transport::Tcp, keep)), Some(Asked { nonce: NONCE, keep }));
        }
        let answer = answer(&key(), Transport::Tcp, NONCE, "x/a");
        assert_eq!(read_answer(&key(), Transport::Tcp, NONCE, answer.as_bytes()), Some("x/a"));
    }

    #[test]
    fn a_probe_without_the_right_code_is_none() {
        let right = probe_of(Transport::Tcp, false);
        assert_eq!(read(&format!("netproof2 {NONCE}\n")), None, "missing");
        assert_eq!(read(&format!("netproof1 {NONCE}\n")), None, "of an earlier version");
        let wrong = right.replacen("0000feed", "0000feee", 1);
        assert_eq!(read(&wrong), None, "of another nonce");
        assert_eq!(read(&right.replacen("netproof2 ", "netproof2 keep ", 1)), None, "asks to be kept");
        assert_eq!(read(&probe_of(Transport::Udp, false)), None, "of another transport");
        let foreign = probe(&Key::from_token("other"), Transport::Tcp, Asked::once(NONCE));
        assert_eq!(read(&foreign), None, "of another run");
        assert_eq!(read(&right.replace('\n', " x\n")), None, "with more behind it");
    }

    #[test]
    fn an_answer_without_the_right_code_is_none() {
        let read = |message: &str, nonce| {
            read_answer(&key(), Transport::Tcp, nonce, message.as_bytes()).map(str::to_owned)
        };
        let right = answer(&key(), Transport::Tcp, NONCE, "x/a");
        assert_eq!(read(&right, Nonce(1)), None, "to another probe");
        assert_eq!(read(&right.replace("x/a", "x/b"), NONCE), None, "in another agent's name");
        assert_eq!(read(&format!("netproof2 {NONCE} x/a\n"), NONCE), None, "missing");
        let foreign = answer(&Key::from_token("other"), Transport::Tcp, NONCE, "x/a");
        assert_eq!(read(&foreign, NONCE), None, "of another run");
    }

    #[test]
    fn an_echo_server_is_not_an_agent() {
        for keep in [false, true] {
            let echo = probe_of(Transport::Tcp, keep);
            assert_eq!(read_answer(&key(), Transport::Tcp, NONCE, echo.as_bytes()), None);
            // Not even an echo server that adds a name.
            let named = echo.replace('\n', " x/a\n");
            assert_eq!(read_answer(&key(), Transport::Tcp, NONCE, named.as_bytes()), None);
        }
    }

    #[test]
    fn anything_else_is_nothing() {
        for message in [&b""[..], b"\n", b"netproof2 12\n", b"HTTP/1.1 400 Bad Request\r\n", b"\xff\xfe\n"] {
            assert_eq!(read_probe(&key(), Transport::Tcp, message), None);
            assert_eq!(read_answer(&key(), Transport::Tcp, NONCE, message), None);
        }
    }
}

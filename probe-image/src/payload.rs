//! What a probe and its answer say.

use crate::wire::Nonce;

/// The longest message: the name of an agent is `namespace/name`.
pub(crate) const LONGEST: usize = 400;

const MAGIC: &str = "netproof1";
const KEEP: &str = "keep";

/// What a probe asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    /// What to echo.
    pub(crate) nonce: Nonce,
    /// Whether its connection will be used again.
    pub(crate) keep: bool,
}

/// A probe: one line.
pub(crate) fn probe(nonce: Nonce) -> String {
    format!("{MAGIC} {nonce}\n")
}

/// A probe over a connection that will be used again: one line.
pub(crate) fn keeping_probe(nonce: Nonce) -> String {
    format!("{MAGIC} {KEEP} {nonce}\n")
}

/// The answer to a probe: one line that echoes the nonce and names the agent.
pub(crate) fn answer(nonce: Nonce, agent: &str) -> String {
    format!("{MAGIC} {nonce} {agent}\n")
}

/// What a probe asks for; `None` if this is none.
pub(crate) fn read_probe(message: &[u8]) -> Option<Asked> {
    let text = std::str::from_utf8(message).ok()?.strip_suffix('\n')?;
    match text.split(' ').collect::<Vec<_>>().as_slice() {
        [MAGIC, nonce] => Some(Asked { nonce: read_nonce(nonce)?, keep: false }),
        [MAGIC, KEEP, nonce] => Some(Asked { nonce: read_nonce(nonce)?, keep: true }),
        _ => None,
    }
}

/// The nonce and the agent's name of an answer; `None` if this is none.
pub(crate) fn read_answer(message: &[u8]) -> Option<(Nonce, &str)> {
    let text = std::str::from_utf8(message).ok()?.strip_suffix('\n')?;
    let mut words = text.splitn(3, ' ');
    match (words.next(), words.next().and_then(read_nonce), words.next()) {
        (Some(MAGIC), Some(nonce), Some(agent)) if !agent.is_empty() => Some((nonce, agent)),
        _ => None,
    }
}

fn read_nonce(text: &str) -> Option<Nonce> {
    (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok().map(Nonce)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_written() {
        let nonce = Nonce(0xfeed);
        assert_eq!(read_probe(probe(nonce).as_bytes()), Some(Asked { nonce, keep: false }));
        assert_eq!(read_probe(keeping_probe(nonce).as_bytes()), Some(Asked { nonce, keep: true }));
        assert_eq!(read_answer(answer(nonce, "x/a").as_bytes()), Some((nonce, "x/a")));
    }

    #[test]
    fn an_echo_server_is_not_an_agent() {
        assert_eq!(read_answer(probe(Nonce(1)).as_bytes()), None);
        assert_eq!(read_answer(keeping_probe(Nonce(1)).as_bytes()), None);
    }

    #[test]
    fn anything_else_is_nothing() {
        for message in [&b""[..], b"\n", b"netproof1 12\n", b"HTTP/1.1 400 Bad Request\r\n", b"\xff\xfe\n"] {
            assert_eq!(read_probe(message), None);
            assert_eq!(read_answer(message), None);
        }
    }
}

//! Random numbers from the operating system's generator. No program outside of a run can guess them.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::mac::Key;
use crate::wire::Nonce;

/// Draws a token for the control API of agents: 256 bits, as text.
///
/// # Errors
/// If the operating system has no random numbers.
pub fn token() -> io::Result<String> {
    Ok(draw()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Draws a word of lower-case letters.
///
/// # Errors
/// If the operating system has no random numbers.
pub fn word(length: usize) -> io::Result<String> {
    let bytes = draw()?;
    // A byte has 256 values and the alphabet 26: some letters are a little more frequent.
    Ok(bytes.iter().cycle().take(length).map(|byte| char::from(b'a' + byte % 26)).collect())
}

fn draw() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// A sequence of nonces. The operating system is asked once, at the beginning, where a failure can still be reported.
/// After that, a keyed hash of a counter is as unpredictable, never repeats a nonce because a request failed, and
/// cannot fail.
#[derive(Debug)]
pub struct Nonces {
    key: Key,
    count: AtomicU64,
}

impl Nonces {
    /// Draws a fresh sequence of nonces.
    ///
    /// # Errors
    /// If the operating system has no random numbers.
    pub fn draw() -> io::Result<Self> {
        Ok(Self { key: Key::new(&draw()?), count: AtomicU64::new(0) })
    }

    /// Returns the next nonce.
    pub fn next(&self) -> Nonce {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let [a, b, c, d, e, f, g, h, ..] = self.key.digest(&[&count.to_be_bytes()]);
        Nonce(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_draws_are_alike() {
        let (one, other) = (Nonces::draw().unwrap(), Nonces::draw().unwrap());
        let nonces: HashSet<Nonce> = (0..1_000).flat_map(|_| [one.next(), other.next()]).collect();
        assert_eq!(nonces.len(), 2_000);
        assert_ne!(token().unwrap(), token().unwrap());
        assert_eq!(token().unwrap().len(), 64);
    }

    #[test]
    fn a_word_is_as_long_as_requested() {
        let word = word(5).unwrap();
        assert!(word.len() == 5 && word.bytes().all(|byte| byte.is_ascii_lowercase()), "{word}");
    }
}

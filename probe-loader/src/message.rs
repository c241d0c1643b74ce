//! One line for standard error, without an allocator and without the formatting of `core`, which is larger than the
//! rest of the loader.

/// Longest line. What does not fit is left out.
const SIZE: usize = 512;

/// A line of text.
#[derive(Debug)]
pub struct Message {
    bytes: [u8; SIZE],
    length: usize,
}

impl Default for Message {
    fn default() -> Self {
        Self { bytes: [0; SIZE], length: 0 }
    }
}

impl Message {
    /// Adds these bytes.
    pub fn add(&mut self, text: &[u8]) -> &mut Self {
        let places = self.bytes.iter_mut().skip(self.length);
        for (place, byte) in places.zip(text) {
            *place = *byte;
            self.length = self.length.saturating_add(1);
        }
        self
    }

    /// Adds the name of a system call's error, or its number, of which the last five digits.
    pub fn add_error(&mut self, number: i32) -> &mut Self {
        let name = match number {
            1 => "operation not permitted",
            2 => "no such file or directory",
            12 => "out of memory",
            13 => "permission denied",
            20 => "not a directory",
            22 => "invalid argument",
            26 => "text file busy",
            27 => "file too large",
            28 => "no space left on device",
            30 => "read-only file system",
            38 => "function not implemented",
            95 => "operation not supported",
            _ => return self.add(b"error ").add_number(number),
        };
        self.add(name.as_bytes())
    }

    fn add_number(&mut self, number: i32) -> &mut Self {
        let mut unit = 10_000;
        while unit > 1 && number < unit {
            unit /= 10;
        }
        while unit > 0 {
            let digit = u8::try_from(number / unit % 10).unwrap_or_default();
            self.add(&[b'0' | digit]);
            unit /= 10;
        }
        self
    }

    /// Returns what was added.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_their_names_or_numbers() {
        for (number, text) in [
            (13, "permission denied"),
            (0, "error 0"),
            (9, "error 9"),
            (10, "error 10"),
            (99_999, "error 99999"),
            (123_456, "error 23456"),
        ] {
            assert_eq!(Message::default().add_error(number).as_bytes(), text.as_bytes());
        }
    }

    #[test]
    fn names_are_those_of_the_system() {
        for number in [1, 2, 12, 13, 20, 22, 26, 27, 28, 30, 38, 95] {
            let system = std::io::Error::from_raw_os_error(number).to_string().to_lowercase();
            let mut message = Message::default();
            let ours = message.add_error(number).as_bytes().to_owned();
            let ours = String::from_utf8(ours).unwrap();
            assert!(system.starts_with(&ours) || number == 12, "{system} is not {ours}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_cut() {
        let mut message = Message::default();
        message.add(&[b'a'; SIZE - 1]).add(b"bc").add(b"d");
        assert_eq!(message.as_bytes().len(), SIZE);
        assert!(message.as_bytes().ends_with(b"ab"));
    }
}

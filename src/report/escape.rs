//! Texts of others on a terminal: names, labels, YAML, and messages of servers and agents.
//!
//! A terminal obeys control characters, so a text of others could clear the report and print another one.
//! Every writer for people makes such characters visible. JSON and XML have their own escapes.

use std::borrow::Cow;
use std::fmt::{self, Display, Write};

use serde::Serialize;

/// Returns a text on one line, with visible escapes for characters that a terminal would obey, or that hide
/// or reorder others.
pub fn plain(text: &str) -> Cow<'_, str> {
    escape(text, is_unsafe, push)
}

/// Like [`plain`], for any value that can be shown.
pub(crate) fn shown(value: impl Display) -> String {
    let text = value.to_string();
    if text.contains(is_unsafe) { plain(&text).into_owned() } else { text }
}

/// Escapes some characters of a text. `push` adds the escape of a character. Most texts have none, and are not
/// copied.
fn escape(text: &str, is_unsafe: impl Fn(char) -> bool, push: impl Fn(&mut String, char)) -> Cow<'_, str> {
    if !text.contains(&is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_unsafe(character) { push(&mut safe, character) } else { safe.push(character) }
    }
    Cow::Owned(safe)
}

fn push(safe: &mut String, character: char) {
    safe.extend(character.escape_unicode());
}

/// Like [`plain`], for a message that may have several lines. All lines but the first are indented, so that
/// none looks like a line of the report.
pub(crate) fn lines(message: &str) -> String {
    message.lines().map(plain).collect::<Vec<_>>().join("\n    ")
}

/// Makes a whole message safe. Its lines stay, and it has no colours. All lines but the first are indented,
/// so that none looks like another message. YAML stays valid: a line that is indented already keeps its distance from the
/// line above it.
pub fn message(message: &str) -> String {
    let mut is_shifted = false;
    let lines = message.split('\n').enumerate().map(|(i, line)| {
        if !line.starts_with(' ') {
            is_shifted = i > 0 && !line.is_empty();
        }
        format!("{}{}", if is_shifted { "    " } else { "" }, plain(line))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Writes a document as JSON. Characters that a terminal would obey are escaped, so that the document can be
/// shown on a terminal.
///
/// # Errors
/// If it has something that JSON lacks.
pub fn json(document: &impl Serialize) -> serde_json::Result<String> {
    let mut text = escape_json(&serde_json::to_string_pretty(document)?).into_owned();
    text.push('\n');
    Ok(text)
}

/// Escapes characters that a terminal would obey. In JSON, they only occur in strings.
pub(super) fn escape_json(json: &str) -> Cow<'_, str> {
    let push = |safe: &mut String, character: char| {
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a string never fails.
            let _ = write!(safe, "\\u{unit:04x}");
        }
    };
    escape(json, is_unsafe_in_lines, push)
}

/// Returns whether a terminal obeys a character instead of showing it (category Cc), or the character is
/// invisible or reorders others (Cf, Zl, Zp and similar ones). Letters of all scripts are safe.
fn is_unsafe(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_control();
    }
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

fn is_unsafe_in_lines(character: char) -> bool {
    is_unsafe(character) && character != '\n'
}

/// Makes a whole report safe that has its own lines and colours. Only line feeds and sequences that set
/// colours stay. This is the last guard before a terminal, for text that no writer made safe.
pub fn guard(report: &str) -> Cow<'_, str> {
    if !report.contains(is_unsafe_in_lines) {
        return Cow::Borrowed(report);
    }
    let mut safe = String::with_capacity(report.len() + 16);
    for (i, part) in report.split(ESCAPE).enumerate() {
        if i > 0 && sets_colour(part) {
            safe.push(ESCAPE);
        } else if i > 0 {
            push(&mut safe, ESCAPE);
        }
        safe.push_str(&escape(part, is_unsafe_in_lines, push));
    }
    Cow::Owned(safe)
}

const ESCAPE: char = '\u{1b}';

/// Returns whether a text begins with the rest of a sequence that sets a colour, after its escape character.
fn sets_colour(text: &str) -> bool {
    let after =
        text.strip_prefix('[').map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';'));
    after.is_some_and(|after| after.starts_with('m'))
}

/// A value that is shown as by [`plain`].
pub(super) struct Plain<T>(pub(super) T);

impl<T: Display> Display for Plain<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&shown(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_becomes_visible() {
        assert_eq!(plain("\u{1b}[32mPASS\u{7}"), "\\u{1b}[32mPASS\\u{7}");
        assert_eq!(plain("a\nb\r\tc\u{9b}2J"), "a\\u{a}b\\u{d}\\u{9}c\\u{9b}2J");
        assert_eq!(plain("\u{202e}kaeL\u{2066}\u{200b}"), "\\u{202e}kaeL\\u{2066}\\u{200b}");
        for ordinary in ["tenant-a/web", "Größe", "東京 › النص", "a → b", "\\u{1b}"] {
            assert_eq!(plain(ordinary), ordinary);
        }
    }

    #[test]
    fn json_has_escapes_of_its_own() {
        let hostile = "\u{1b}[32m\u{202e}\u{9b}\u{e0041}\n\"é";
        let text = json(&[hostile]).unwrap();
        assert_eq!(text, "[\n  \"\\u001b[32m\\u202e\\u009b\\udb40\\udc41\\n\\\"é\"\n]\n");
        assert_eq!(serde_json::from_str::<[String; 1]>(&text).unwrap(), [hostile]);
    }

    #[test]
    fn no_line_of_a_message_passes_for_one_of_the_report() {
        assert_eq!(lines("refused\nPASS\r\n\u{1b}[2J"), "refused\n    PASS\n    \\u{1b}[2J");
        assert_eq!(message("a:\n  b\u{1b}[32m\n"), "a:\n  b\\u{1b}[32m\n");
        assert_eq!(message("a:\nPASS\n\tPASS"), "a:\n    PASS\n    \\u{9}PASS");
        assert_eq!(message("a:\n- b:\n  c:\n\nd"), "a:\n    - b:\n      c:\n\n    d");
    }

    #[test]
    fn the_guard_leaves_a_reports_own_lines_and_colours() {
        let own = "\u{1b}[1m\u{1b}[31mFAIL\u{1b}[0m  1 leak\n  next line\n";
        assert_eq!(guard(own), own);
        assert_eq!(guard("\u{1b}[2J\u{1b}]0;title\u{7}"), "\\u{1b}[2J\\u{1b}]0;title\\u{7}");
        assert_eq!(guard("\u{1b}[31m\u{1b}[1;1H\u{202e}"), "\u{1b}[31m\\u{1b}[1;1H\\u{202e}");
        assert_eq!(guard("\u{1b}["), "\\u{1b}[");
    }
}

//! Refuses text that `kubectl` reads differently from YAML 1.2. Such a manifest would mean something else here than
//! in the cluster.
//!
//! `kubectl` splits a text at its `---` lines (`YAMLReader` of k8s.io/apimachinery) and reads the first document of
//! each part with a port of libyaml (go.yaml.in/yaml/v2), a parser of YAML 1.1. It reads JSON with another parser.

use super::node::{Location, quote};
use super::syntax::{SyntaxError, SyntaxProblem};

/// Characters that end a line only in YAML 1.1, with their escapes in double quotes.
const LINE_ENDS: [(char, &str); 3] = [('\u{85}', "\\N"), ('\u{2028}', "\\L"), ('\u{2029}', "\\P")];

/// Checks the lines of a text that begins at `start`.
///
/// # Errors
/// At the first location that `kubectl` reads differently.
pub(super) fn check_lines(text: &str, start: Location) -> Result<(), SyntaxError> {
    let location = |offset: usize| start.after(text.get(..offset).unwrap_or_default());
    let line_end = |c: char| LINE_ENDS.into_iter().find(|(end, _)| *end == c);
    if let Some((offset, (end, escape))) = text.char_indices().find_map(|(i, c)| Some((i, line_end(c)?))) {
        let message = format!(
            "kubectl ends the line here, at the invisible character U+{:04X}: write a line feed, or `{escape}` in double quotes",
            u32::from(end)
        );
        return Err(SyntaxProblem::refused(message).at(location(offset)));
    }
    let (mut lines, mut offset) = (Lines::default(), 0);
    for line in text.split_inclusive(['\n', '\r']) {
        lines.check(line).map_err(|why| SyntaxProblem::refused(why).at(location(offset)))?;
        offset += line.len();
    }
    Ok(())
}

/// State of the check between two lines.
#[derive(Default)]
struct Lines {
    /// Whether the document already has content. Directives are only possible before it.
    has_content: bool,
    /// Whether `...` has ended the document.
    has_ended: bool,
    /// Whether the previous line ended with a carriage return. A line feed may follow it.
    is_after_return: bool,
}

impl Lines {
    /// Returns why `kubectl` reads a line differently, if it does.
    fn check(&mut self, line: &str) -> Result<(), &'static str> {
        let is_after_return = self.is_after_return && line != "\n";
        self.is_after_return = line.ends_with('\r');
        let content = line.trim_end_matches(['\n', '\r']);
        if let Some(rest) = content.strip_prefix("---") {
            if !is_end(rest) {
                return Err("kubectl allows nothing but a comment behind `---`: write it on the next line");
            }
            if is_after_return {
                return Err(
                    "kubectl ignores this document, because the line before it has no line feed: end all lines with line feeds",
                );
            }
            (self.has_content, self.has_ended) = (false, false);
            return Ok(());
        }
        let after_dots =
            content.strip_prefix("...").filter(|rest| rest.is_empty() || begins_with_space(rest));
        self.has_ended |= after_dots.is_some();
        let content = after_dots.unwrap_or(content);
        if is_end(content) || content.trim_start().starts_with('#') {
            return Ok(());
        }
        if self.has_ended {
            return Err("kubectl ignores what follows `...`: write `---` on a line of its own before it");
        }
        if content.starts_with('%') && !self.has_content {
            return Err("kubectl reads no directives: remove this line");
        }
        self.has_content = true;
        Ok(())
    }
}

/// Returns whether `rest` contains nothing but space and a comment.
fn is_end(rest: &str) -> bool {
    let after = rest.trim_start_matches([' ', '\t']);
    after.is_empty() || (begins_with_space(rest) && after.starts_with('#'))
}

fn begins_with_space(text: &str) -> bool {
    text.starts_with([' ', '\t'])
}

/// Checks an unquoted scalar in braces or brackets. `rest` is the text after it.
///
/// # Errors
/// If `kubectl` reads it differently.
pub(super) fn check_flow_scalar(text: &str, rest: &str) -> Result<(), SyntaxProblem> {
    let shown = quote(text);
    let refused = |why| {
        let message =
            format!("kubectl does not read {shown} in braces or brackets, because it {why}: quote it");
        Err(SyntaxProblem::refused(message))
    };
    if text.is_empty() {
        Ok(())
    } else if text.starts_with(':') {
        refused("begins with `:`")
    } else if text.contains('?') {
        refused("contains `?`")
    } else if rest
        .trim_start()
        .strip_prefix(':')
        .is_some_and(|rest| rest.starts_with([',', '[', ']', '{', '}']))
    {
        let message = format!(
            "kubectl takes the colon behind {shown} for a part of it: write a space behind the colon"
        );
        Err(SyntaxProblem::refused(message))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::source::{Dialect, parse, parse_as};

    /// Returns where a manifest is refused, and why. netproof's own formats are YAML 1.2 and are not refused.
    fn refused(text: &str) -> String {
        parse_as(text, Dialect::Kubectl).unwrap_err().to_string()
    }

    fn documents(text: &str) -> usize {
        parse_as(text, Dialect::Kubectl).unwrap().len()
    }

    #[test]
    fn characters_that_end_lines_for_kubectl_only_are_refused() {
        for (end, code, escape) in
            [("\u{85}", "U+0085", "\\N"), ("\u{2028}", "U+2028", "\\L"), ("\u{2029}", "U+2029", "\\P")]
        {
            let text = format!("a: 1\n# é{end}  b: 2\n");
            let message = format!(
                "2:4: kubectl ends the line here, at the invisible character {code}: write a line feed, or `{escape}` in double quotes"
            );
            assert_eq!(refused(&text), message);
            assert_eq!(parse(&text).unwrap().len(), 1);
            // In JSON, they are ordinary characters.
            assert_eq!(documents(&format!("{{\"a\": \"b{end}c\"}}\n")), 1);
            assert_eq!(documents(&format!("{{\"a\": \"b{end}c\"}}\n{{\"a\": 1}}\n")), 2);
            assert!(parse_as(&format!("{{\"a\": \"b{end}c\"}}\n---\na: 1\n"), Dialect::Kubectl).is_err());
            assert_eq!(documents(&format!("a: \"b{escape}c\"\n")), 1);
        }
    }

    #[test]
    fn documents_that_kubectl_ignores_are_refused() {
        let after_end = "kubectl ignores what follows `...`: write `---` on a line of its own before it";
        assert_eq!(refused("a: 1\n...\n# next\nb: 2\n"), format!("4:1: {after_end}"));
        assert_eq!(refused("a: 1\n... b\n"), format!("2:1: {after_end}"));
        assert!(refused("a: 1\r---\rb: 2\r").contains("kubectl ignores this document"));
        for text in [
            "a: 1\n...\n---\nb: 2\n",
            "a: 1\r\n...\r\n---\r\nb: 2\r\n...\r\n",
            "---\na: 1\n--- # b\nb: 2\n... # c\n",
        ] {
            assert_eq!(documents(text), 2, "{text}");
        }
        assert_eq!(documents("a: |\n  ...\n  b\n"), 1);
        assert_eq!(documents("...a: 1\n"), 1);
        assert_eq!(documents("a: 1\rb: 2\r"), 1);
    }

    #[test]
    fn directives_and_documents_that_begin_behind_a_separator_are_refused() {
        let directive = "kubectl reads no directives: remove this line";
        for text in ["%YAML 1.2\n---\na: 1\n", "%YAML 1.1\n---\na: 1\n", "%TAG ! tag:x:\n---\na: 1\n"] {
            assert_eq!(refused(text), format!("1:1: {directive}"));
            assert_eq!(parse(text).unwrap().len(), 1);
        }
        assert_eq!(refused("a: 1\n---\n# b\n%YAML 1.1\n---\nb: 2\n"), format!("4:1: {directive}"));
        let separator = "kubectl allows nothing but a comment behind `---`: write it on the next line";
        for behind in [" {b: 2}", " !!map", "b: 2", "#b"] {
            assert_eq!(refused(&format!("a: 1\n---{behind}\n")), format!("2:1: {separator}"));
        }
    }

    #[test]
    fn unquoted_text_in_braces_is_read_as_kubectl_does_or_refused() {
        for (text, why) in [
            ("::/0", "begins with `:`"),
            (":a", "begins with `:`"),
            ("?a", "contains `?`"),
            ("a?b", "contains `?`"),
        ] {
            let message =
                format!("kubectl does not read `{text}` in braces or brackets, because it {why}: quote it");
            assert_eq!(refused(&format!("a: {{b: {text}}}\n")), format!("1:8: {message}"));
            assert_eq!(refused(&format!("- [&a {text}, b]\n")), format!("1:7: {message}"));
            assert_eq!(documents(&format!("a: {text}\nb: {{c: \"{text}\"}}\n")), 1);
            assert_eq!(parse(&format!("a: {{b: {text}}}\n")).unwrap().len(), 1);
        }
        for text in ["{a:}", "{b: c, a:, d: e}", "[a:]", "{a :}"] {
            let message =
                "kubectl takes the colon behind `a` for a part of it: write a space behind the colon";
            assert!(refused(&format!("x: {text}\n")).ends_with(message), "{text}");
        }
        for text in [
            "{a: }",
            "{\"a\":}",
            "{a: b:c}",
            "{a: fd00::/8}",
            "{a: x ::y, b: c}",
            "[a: b]",
            "{a: , b: c}",
            "{? a : b}",
        ] {
            assert_eq!(documents(&format!("x: {text}\n")), 1, "{text}");
        }
    }
}

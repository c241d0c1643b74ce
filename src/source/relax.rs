//! Rewrites text that `kubectl` reads although YAML 1.2 does not allow it.
//!
//! `kubectl`'s parser is a port of libyaml. It ignores the indentation of the lines of a quoted scalar. It also
//! ignores tabs at the beginning of the lines of a flow collection. Such space has no meaning, so it is replaced by
//! space that every parser accepts. Columns stay as they are, except inside quoted scalars.

/// Maximum growth of a text, in bytes.
const GROWTH: usize = 1 << 20;

/// Returns a text with the same meaning that a strict parser accepts. Returns `None` if there is nothing to rewrite,
/// or if the text would grow by more than [`GROWTH`].
pub(super) fn relax(text: &str) -> Option<String> {
    let mut relaxer =
        Relaxer { written: String::with_capacity(text.len()), is_changed: false, ..Relaxer::default() };
    for line in text.split_inclusive('\n') {
        relaxer.line(line);
        if relaxer.written.len() > text.len() + GROWTH {
            return None;
        }
    }
    relaxer.is_changed.then_some(relaxer.written)
}

#[derive(Default)]
struct Relaxer {
    written: String,
    is_changed: bool,
    /// Number of open flow collections.
    flow: usize,
    /// Column of the innermost key or dash of the last line. Its value is indented further than this column.
    block: Option<usize>,
    state: State,
}

/// The construct that is open at the beginning of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// None: a node may begin.
    #[default]
    Node,
    /// A plain scalar. It continues if the line is indented.
    Plain,
    /// A quoted scalar.
    Quoted(char),
    /// A literal or folded scalar. It ends at the first line that is not indented.
    Block,
}

impl Relaxer {
    fn line(&mut self, line: &str) {
        let rest = line.trim_start_matches([' ', '\t']);
        let (space, is_blank) = (line.len() - rest.len(), rest.trim().is_empty());
        if is_blank {
            self.blank_line(line);
            return;
        }
        let is_separator = is_separator(line);
        if is_separator && !matches!(self.state, State::Quoted(_)) {
            *self = Self {
                written: std::mem::take(&mut self.written),
                is_changed: self.is_changed,
                ..Self::default()
            };
        }
        let is_inside = self.block.is_none_or(|block| space > block);
        if self.state == State::Block && is_inside && !is_separator {
            self.written.push_str(line);
            return;
        }
        let width = match self.state {
            // For every parser, this line ends the document.
            State::Quoted(_) if is_separator => space,
            State::Quoted(_) if self.flow == 0 => space.max(self.block.map_or(0, |block| block + 1)),
            State::Node | State::Plain | State::Quoted(_) | State::Block => space,
        };
        self.write_space(line.get(..space).unwrap_or_default(), width);
        self.written.push_str(rest);
        match self.state {
            State::Quoted(quote) => {
                let at = self.quoted(rest, 0, quote);
                self.scan(rest, at, space, false);
            }
            State::Plain if self.flow > 0 || is_inside => {
                let starts_node = rest.starts_with([',', ']', '}', '#', ':']);
                let end = if starts_node { Some(0) } else { self.plain(rest, 0) };
                if let Some(at) = end {
                    self.scan(rest, at, space, false);
                }
            }
            State::Node | State::Plain | State::Block => {
                self.state = State::Node;
                let marker = if is_separator { SEPARATOR_WIDTH } else { 0 };
                self.scan(rest, marker, space, true);
            }
        }
    }

    /// Writes a blank line. In a quoted scalar, it is a line break, whatever space it contains.
    fn blank_line(&mut self, line: &str) {
        let line_break = line.trim_start_matches([' ', '\t']);
        if matches!(self.state, State::Quoted(_)) && line.contains('\t') {
            self.is_changed = true;
            self.written.push_str(line_break);
        } else {
            self.written.push_str(line);
        }
    }

    /// Writes space of this width at the beginning of a line. Keeps tabs in block context, where they are errors.
    fn write_space(&mut self, space: &str, width: usize) {
        let may_be_tabs = self.flow == 0 && !matches!(self.state, State::Quoted(_));
        if may_be_tabs || (width == space.len() && !space.contains('\t')) {
            self.written.push_str(space);
            return;
        }
        self.is_changed = true;
        self.written.extend(std::iter::repeat_n(' ', width));
    }

    /// Scans a line from `at`. `indent` is the column at which `line` begins. `is_start` says whether a node may
    /// begin at `at`.
    fn scan(&mut self, line: &str, mut at: usize, indent: usize, mut is_start: bool) {
        while let Some(rest) = line.get(at..) {
            let mut characters = rest.chars();
            let Some(c) = characters.next() else { break };
            let ends = characters.next().is_none_or(char::is_whitespace);
            let after_space = at == 0 || line.get(..at).is_some_and(|before| before.ends_with([' ', '\t']));
            match c {
                '#' if after_space => break,
                ' ' | '\t' | '\r' | '\n' => {}
                '-' | '?' if is_start && ends && self.flow == 0 => self.block = Some(indent + at),
                ':' if ends || self.flow > 0 => is_start = true,
                ',' if self.flow > 0 => is_start = true,
                ']' | '}' if self.flow > 0 => {
                    self.flow -= 1;
                    is_start = false;
                }
                '[' | '{' if is_start => self.flow += 1,
                '&' | '!' | '*' if is_start => {
                    at += rest
                        .find(|c: char| c.is_whitespace() || (self.flow > 0 && is_flow(c)))
                        .unwrap_or(rest.len());
                    continue;
                }
                '\'' | '"' if is_start => {
                    self.key_at(line, at, indent);
                    at = self.quoted(line, at + 1, c);
                    is_start = false;
                    continue;
                }
                '|' | '>' if is_start && self.flow == 0 => {
                    self.state = State::Block;
                    break;
                }
                _ if is_start => {
                    self.key_at(line, at, indent);
                    let Some(end) = self.plain(line, at) else { break };
                    at = end;
                    is_start = false;
                    continue;
                }
                _ => {}
            }
            at += c.len_utf8();
        }
    }

    /// Stores the column of a key, if a key begins at `at`. After a colon on the same line, no key can begin. After a
    /// dash, one can.
    fn key_at(&mut self, line: &str, at: usize, indent: usize) {
        let before = line.get(..at).unwrap_or_default();
        let begins = before.trim_end_matches([' ', '\t', '-', '?']).is_empty();
        let is_key =
            || line.get(at..).is_some_and(|rest| rest.contains(": ") || rest.trim_end().ends_with(':'));
        if self.flow == 0 && begins && is_key() {
            self.block = Some(indent + at);
        }
    }

    /// Scans a plain scalar. Returns the index of its end, or `None` if it may continue on the next line.
    fn plain(&mut self, line: &str, start: usize) -> Option<usize> {
        self.state = State::Plain;
        let rest = line.get(start..)?;
        let mut previous = ' ';
        for (i, c) in rest.char_indices() {
            let ends = rest
                .get(i + c.len_utf8()..)
                .and_then(|rest| rest.chars().next())
                .is_none_or(|next| next.is_whitespace() || (self.flow > 0 && is_flow(next)));
            let is_end = match c {
                ':' => ends,
                '#' => previous.is_whitespace() && i > 0,
                c => self.flow > 0 && is_flow(c),
            };
            if is_end {
                self.state = State::Node;
                return Some(start + i);
            }
            previous = c;
        }
        None
    }

    /// Scans a quoted scalar from the character after its opening quote. Returns the index after its closing quote,
    /// or the end of the line.
    fn quoted(&mut self, line: &str, start: usize, quote: char) -> usize {
        self.state = State::Quoted(quote);
        let mut at = start;
        while let Some(c) = line.get(at..).and_then(|rest| rest.chars().next()) {
            at += c.len_utf8();
            let next = line.get(at..).and_then(|rest| rest.chars().next());
            if (quote == '"' && c == '\\') || (quote == '\'' && c == '\'' && next == Some('\'')) {
                at += next.map_or(0, char::len_utf8);
            } else if c == quote {
                self.state = State::Node;
                return at;
            }
        }
        at
    }
}

/// Width of `---` and `...`.
const SEPARATOR_WIDTH: usize = 3;

/// Returns whether a line ends or begins a document.
fn is_separator(line: &str) -> bool {
    let after = line.strip_prefix("---").or_else(|| line.strip_prefix("..."));
    after.is_some_and(|after| after.is_empty() || after.starts_with(char::is_whitespace))
}

fn is_flow(c: char) -> bool {
    matches!(c, ',' | '[' | ']' | '{' | '}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_space_without_a_meaning_is_rewritten() {
        for (text, relaxed) in [
            ("a:\n  b: \"one\ntwo\"\n  c: 1\n", "a:\n  b: \"one\n   two\"\n  c: 1\n"),
            ("- 'it''s\n  one\nmore'\n", "- 'it''s\n  one\n more'\n"),
            ("a: [\n\t1,\n\t\t2\n]\n", "a: [\n 1,\n  2\n]\n"),
            ("a:\n- b: {\n\t\"c\": 'd',\n\t}\n", "a:\n- b: {\n \"c\": 'd',\n }\n"),
            ("a: \"\\\n\tb\"\n", "a: \"\\\n b\"\n"),
            ("---\na: 'b\n\t\nc'\n", "---\na: 'b\n\n c'\n"),
            ("---\na: [\n\t]\n--- {\n\ta: b}\n", "---\na: [\n ]\n--- {\n a: b}\n"),
        ] {
            assert_eq!(relax(text).as_deref(), Some(relaxed), "{text}");
        }
        for text in [
            // Literal scalars, comments and plain scalars whose content looks like something else.
            "a: |\n  \"one\n  {\n  \ttwo\nb: 1\n",
            "- |\n \"one\n- key: >-\n   [\n   \ttwo\n",
            "a: it's\n\tb\n",
            "# it's [ \"\n\ta: 1\n",
            "a: b # \"\n\tc: 1\n",
            "a: x [ \"y\n  {\n\tb: 1\n",
            "a: b\n  'c\n\td: 1\n",
            "a: \"one\n  two\"\nb:\n\tc: 1\n",
            "a: [1]\n\tb: 1\n",
            "a: &x 'b'\n\tc: 1\n",
            // The end of a document ends a quoted scalar, too.
            "a:\n  b: \"one\n---\n",
        ] {
            assert_eq!(relax(text), None, "{text}");
        }
    }

    #[test]
    fn a_text_does_not_grow_without_bounds() {
        let text = format!("{}a: \"x\n{}\"\n", " ".repeat(10_000), "y\n".repeat(10_000));
        assert_eq!(relax(&text), None);
    }
}

//! Colours, numbers, times and tables. Colours are removed later if the output is not a terminal.

use std::fmt::Display;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Modify, Style as TableStyle};

/// Style of passes.
pub(super) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Style of failures.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
/// Style of what is not decided.
pub(super) const UNSURE: Style = AnsiColor::Yellow.on_default().bold();
/// Style of headings.
pub(super) const STRONG: Style = Style::new().bold();
/// Style of explanations.
pub(super) const FAINT: Style = Style::new().dimmed();

/// Returns a text in a style.
pub(super) fn paint(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Returns a count with its noun: `1 leak`, `2 leaks`.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{} {}", thousands(number), if number == 1 { one } else { many })
}

/// Returns the counts that are not 0, with their nouns: `2 leaks, 1 blocked`.
pub(super) fn join<'a>(parts: impl IntoIterator<Item = (usize, &'a str, &'a str)>) -> String {
    let parts = parts.into_iter().filter(|(number, _, _)| *number > 0);
    parts.map(|(number, one, many)| count(number, one, many)).collect::<Vec<_>>().join(", ")
}

/// Returns a count with separators: `12,345`.
pub(crate) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a time: `0.31 s`, `45 ms`.
pub(crate) fn duration(time: impl Into<Duration>) -> String {
    let time = time.into();
    if time.as_millis() < 100 {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.2} s", time.as_secs_f64())
    }
}

/// A table without lines.
pub(super) struct Table(Builder);

impl Table {
    pub(super) fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self(Builder::from_iter([headings]))
    }

    /// Returns a table with any number of columns.
    pub(super) fn of(headings: impl IntoIterator<Item = String>) -> Self {
        Self(Builder::from_iter([headings.into_iter().collect::<Vec<_>>()]))
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push_record(cells);
    }

    /// Returns the lines of the table. Columns of numbers are aligned right.
    pub(super) fn lines(self, numbers: impl IntoIterator<Item = usize>) -> String {
        let mut table = self.0.build();
        table.with(TableStyle::blank());
        for column in numbers {
            table.with(Modify::new(Columns::one(column)).with(Alignment::right()));
        }
        table.to_string().lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_000), "1,000");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(count(1, "leak", "leaks"), "1 leak");
        assert_eq!(count(0, "leak", "leaks"), "0 leaks");
    }

    #[test]
    fn durations_are_as_exact_as_they_are_interesting() {
        assert_eq!(duration(Duration::from_micros(4_900)), "4 ms");
        assert_eq!(duration(Duration::from_millis(1_234)), "1.23 s");
    }
}

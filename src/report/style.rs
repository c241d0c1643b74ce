//! Colours. Whoever prints a report takes them out where they do not belong.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};

/// Good news.
pub(super) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Breaches and outages.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What could not be decided.
pub(super) const UNSURE: Style = AnsiColor::Yellow.on_default().bold();
/// Headings.
pub(super) const STRONG: Style = Style::new().bold();
/// Explanations.
pub(super) const FAINT: Style = Style::new().dimmed();

/// A text in a style.
pub(super) fn paint(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// `1 leak`, `2 leaks`
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{} {}", thousands(number), if number == 1 { one } else { many })
}

/// `2 leaks, 1 blocked`: what there is none of is left out.
pub(super) fn join<const N: usize>(parts: [(usize, &str, &str); N]) -> String {
    let parts = parts.into_iter().filter(|(number, _, _)| *number > 0);
    parts.map(|(number, one, many)| count(number, one, many)).collect::<Vec<_>>().join(", ")
}

/// `12,345`
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

/// `0.31 s`, `45 ms`
pub(crate) fn duration(duration: std::time::Duration) -> String {
    if duration.as_millis() < 100 {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.2} s", duration.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

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

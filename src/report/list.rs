//! Names and what they mean.

use std::fmt::Write;

/// Names with their explanations, one a paragraph.
pub fn list(items: &[(&str, String)]) -> String {
    let widest = items.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for (name, explanation) in items {
        let _ = writeln!(text, "{name:widest$}  {explanation}");
    }
    text
}

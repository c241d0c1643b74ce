//! Lists of names with explanations.

use std::fmt::Write;

/// Returns a line for each name, with its explanation.
pub fn list(items: &[(&str, String)]) -> String {
    let widest = items.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for (name, explanation) in items {
        let _ = writeln!(text, "{name:widest$}  {explanation}");
    }
    text
}

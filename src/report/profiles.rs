//! The list of profiles.

use std::fmt::Write;

use super::escape::Plain;
use super::style::{FAINT, STRONG, paint};
use crate::document::Profile;

/// Returns the list of profiles with their deviations.
pub fn profiles(profiles: &[Profile]) -> String {
    let mut text = String::new();
    for (i, profile) in profiles.iter().enumerate() {
        let space = if i == 0 { "" } else { "\n" };
        let _ =
            writeln!(text, "{space}{}  {}", paint(STRONG, Plain(&profile.name)), Plain(&profile.description));
        for deviation in &profile.deviations {
            let _ = writeln!(text, "  - {}", Plain(&deviation.reason));
            for reference in &deviation.references {
                let _ = writeln!(text, "    {}", paint(FAINT, Plain(reference)));
            }
        }
    }
    text
}

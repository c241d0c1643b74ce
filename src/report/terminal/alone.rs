//! Scenarios that failed beside others, and were run again without them.

use super::Report;
use crate::report::escape::Plain;
use crate::report::style::{FAINT, UNSURE, paint};
use crate::report::view;

impl Report<'_> {
    /// Shows which differences are those of a scenario itself.
    pub(super) fn alone(&mut self) {
        let mut has_title = false;
        for scenario in &self.run.scenarios {
            let Some(alone) = &scenario.alone else { continue };
            if !has_title {
                let explanation = "packets differed while other scenarios ran on the same nodes";
                self.page.title(UNSURE, "Run again alone", paint(FAINT, explanation));
                has_title = true;
            }
            let shown = view::alone(scenario, alone);
            self.page.line(Plain(format!("  {}: {shown}", scenario.name)));
        }
    }
}

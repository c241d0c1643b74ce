//! What decides no verdict: new pods, open connections, and ignored objects.

use std::collections::BTreeMap;

use super::Report;
use crate::document::{Millis, Step};
use crate::report::escape::Plain;
use crate::report::style::{FAINT, duration, paint};
use crate::report::view;

impl Report<'_> {
    pub(super) fn notes(&mut self) {
        self.new_pods();
        self.open_connections();
        let mut ignored = BTreeMap::<&str, usize>::new();
        for (kind, number) in self.run.scenarios.iter().flat_map(|scenario| &scenario.ignored) {
            *ignored.entry(kind).or_default() += number;
        }
        if !ignored.is_empty() {
            let kinds: Vec<_> = ignored.iter().map(|(kind, number)| format!("{kind} ({number})")).collect();
            let note =
                format!("Objects without a part in NetworkPolicy were not looked at: {}", kinds.join(", "));
            self.page.line(format!("\n{}", paint(FAINT, Plain(note))));
        }
    }

    /// Shows how long the slowest new pod took, if there was one.
    fn new_pods(&mut self) {
        let slowest =
            |time: fn(&Step) -> Option<Millis>| self.run.steps().filter_map(|(_, step)| time(step)).max();
        let times = [
            ("isolated", slowest(|step| step.new_pods_isolated_ms)),
            ("admitted", slowest(|step| step.new_pods_admitted_ms)),
        ];
        let times =
            times.into_iter().filter_map(|(what, time)| Some(format!("{what} after {}", duration(time?))));
        let times: Vec<_> = times.collect();
        if !times.is_empty() {
            let times = format!("New pods, counted from their first answer: {}", times.join(", "));
            self.page.line(format!("\n{}", paint(FAINT, times)));
        }
    }

    /// Shows a line for each step that found connections open.
    fn open_connections(&mut self) {
        let kept = self.run.steps().filter(|(_, step)| !step.open_connections.is_empty());
        let lines = kept.map(|(scenario, step)| {
            format!("  {} › {}: {}", scenario.name, step.name, view::open_connections(step))
        });
        let lines: Vec<_> = lines.collect();
        if lines.is_empty() {
            return;
        }
        let title =
            "Connections that were open before a step: what becomes of them is left to the implementation";
        self.page.line(format!("\n{}", paint(FAINT, title)));
        self.page.list(FAINT, &lines, "  ");
    }
}

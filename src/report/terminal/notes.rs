//! What decides no verdict: new pods, open connections, and the objects that were not looked at.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{LINES, Report, steps};
use crate::report::escape::{Plain, shown};
use crate::report::open;
use crate::report::style::{FAINT, duration, paint};
use crate::verdict::{RunResult, ScenarioResult, StepResult};

impl<'a> Report<'a> {
    pub(super) fn notes(&mut self) {
        if let Some(times) = new_pods(self.result) {
            self.line(format!("\n{}", paint(FAINT, times)));
        }
        self.open_connections();
        let mut ignored = BTreeMap::<&str, usize>::new();
        for scenario in &self.result.scenarios {
            for (kind, number) in &scenario.ignored {
                *ignored.entry(kind).or_default() += number;
            }
        }
        if !ignored.is_empty() {
            let kinds: Vec<_> = ignored.iter().map(|(kind, number)| format!("{kind} ({number})")).collect();
            let note =
                format!("Objects without a part in NetworkPolicy were not looked at: {}", kinds.join(", "));
            self.line(format!("\n{}", paint(FAINT, Plain(note))));
        }
    }

    /// One line a step that found connections open.
    fn open_connections(&mut self) {
        let kept = |(scenario, step): (&'a ScenarioResult, &'a StepResult)| {
            Some(shown(format!("  {} › {}: {}", scenario.name, step.name, open::summary(step)?)))
        };
        let lines: Vec<_> = steps(self.result).filter_map(kept).collect();
        if lines.is_empty() {
            return;
        }
        let title =
            "Connections that were open before a step: what becomes of them is left to the implementation";
        self.line(format!("\n{}", paint(FAINT, title)));
        let most = self.most(LINES);
        for line in lines.iter().take(most) {
            self.line(paint(FAINT, line));
        }
        if lines.len() > most {
            self.line(paint(FAINT, format!("  … and {} more (--verbose shows all)", lines.len() - most)));
        }
    }
}

/// How long the slowest new pod took, if there was one.
fn new_pods(result: &RunResult) -> Option<String> {
    let slowest =
        |time: fn(&StepResult) -> Option<Duration>| steps(result).filter_map(|(_, step)| time(step)).max();
    let isolated =
        slowest(|step| step.new_pods.enforce).map(|time| format!("isolated after {}", duration(time)));
    let admitted =
        slowest(|step| step.new_pods.admit).map(|time| format!("admitted after {}", duration(time)));
    let times: Vec<_> = [isolated, admitted].into_iter().flatten().collect();
    (!times.is_empty()).then(|| format!("New pods, counted from their first answer: {}", times.join(", ")))
}

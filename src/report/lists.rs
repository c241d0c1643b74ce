//! What `netproof run` can list: faults, profiles and scenarios.

use std::fmt::Write;

use super::escape::{Plain, shown};
use super::style::{FAINT, STRONG, Table, count, paint, thousands};
use crate::document::{Deciding, ListedRule, ListedScenario, Profile, ScenarioListDocument};

/// Returns a line for each name, with its explanation.
pub fn list(items: &[(&str, String)]) -> String {
    let widest = items.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for (name, explanation) in items {
        let _ = writeln!(text, "{name:widest$}  {explanation}");
    }
    text
}

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

/// Returns the list for people: a line for each scenario, then the counts by tag and by spec rule.
pub fn scenarios_table(list: &ScenarioListDocument) -> String {
    let ScenarioListDocument { scenarios, tags, spec_rules, .. } = list;
    let mut table = Table::new(["scenario", "steps", "cases", "cells", "spec rules", "tags"]);
    for scenario in scenarios {
        let spec_rules: Vec<_> = scenario.spec_rules.iter().map(u8::to_string).collect();
        let numbers = [scenario.steps, scenario.cases, scenario.cells].map(thousands);
        let texts = [spec_rules.join(", "), shown(scenario.tags.join(", "))];
        table.row([shown(&scenario.name)].into_iter().chain(numbers).chain(texts));
    }
    let mut text = table.lines(1..4);
    let total = |number: fn(&ListedScenario) -> usize| scenarios.iter().map(number).sum();
    let _ = writeln!(
        text,
        "\n{}: {}, {}, {}",
        count(scenarios.len(), "scenario", "scenarios"),
        count(total(|scenario| scenario.steps), "step", "steps"),
        count(total(|scenario| scenario.cases), "case", "cases"),
        count(total(|scenario| scenario.cells), "cell", "cells"),
    );
    let mut table = Table::new(["tag", "scenarios", "cases"]);
    for (tag, Deciding { scenarios, cases }) in tags {
        table.row([shown(tag), thousands(*scenarios), thousands(*cases)]);
    }
    let _ = write!(text, "\n{}", table.lines(1..3));
    let (decided, undecided): (Vec<_>, Vec<_>) = spec_rules.iter().partition(|rule| rule.cases > 0);
    let mut table = Table::new(["spec rule", "scenarios", "cases", "about"]);
    for ListedRule { spec_rule, title, scenarios, cases } in decided {
        table.row([spec_rule.to_string(), thousands(*scenarios), thousands(*cases), title.clone()]);
    }
    let _ = write!(text, "\n{}", table.lines(0..3));
    if !undecided.is_empty() {
        let undecided: Vec<_> = undecided.iter().map(|rule| rule.spec_rule.to_string()).collect();
        let _ = writeln!(text, "\nwithout a case: {}", undecided.join(", "));
    }
    text
}

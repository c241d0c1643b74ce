//! Selects scenarios.

use std::borrow::Borrow;

use super::shard::Shard;
use crate::scenario::{Scenario, SpecRule, size};
use crate::source::{near, wildcard};

/// Conditions for a scenario to be run. All fields must match. If a field has several values, it is enough if one of
/// them matches.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    /// Tags, of which the scenario has one.
    pub tags: Vec<String>,
    /// Tags that the scenario does not have.
    pub skipped_tags: Vec<String>,
    /// Spec rules, of which a case of the scenario decides one.
    pub spec_rules: Vec<SpecRule>,
    /// Patterns of the scenario's name, in which `*` stands for any text.
    pub names: Vec<String>,
    /// Patterns that the scenario's name does not match.
    pub skipped_names: Vec<String>,
    /// Shard of the scenarios that match all other fields.
    pub shard: Option<Shard>,
}

/// Reason why there is nothing to run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Nothing {
    /// No scenario has the name.
    #[error("{place}: no scenario has such a name{}", hint(.near))]
    Name {
        /// The option and its value, or the name.
        place: String,
        /// Similar names.
        near: Vec<String>,
    },
    /// Another condition matches no scenario, no scenario matches all conditions, or the shard is empty. The message
    /// says which.
    #[error("{0}")]
    Conditions(String),
}

impl Selection {
    /// Returns the selected scenarios, in their order. At least one.
    ///
    /// # Errors
    /// If no scenario is selected, or if a tag, spec rule or name matches no scenario.
    pub(crate) fn select(&self, scenarios: Vec<Scenario>) -> Result<Vec<Scenario>, Nothing> {
        self.check(&scenarios)?;
        let all = scenarios.len();
        let mut left = Vec::new();
        let mut selected = scenarios;
        let mut keep = |flag: &str, values: Vec<String>, fits: &dyn Fn(&Scenario) -> bool| {
            if !values.is_empty() {
                selected.retain(fits);
                let values = values.join(&format!(" {flag} "));
                left.push(format!("{flag} {values} leaves {}", selected.len()));
            }
        };
        keep("--name", self.names.clone(), &|scenario| {
            self.names.iter().any(|pattern| wildcard(pattern, &scenario.name))
        });
        keep("--tag", self.tags.clone(), &|scenario| has_one(scenario, &self.tags));
        let spec_rules = self.spec_rules.iter().map(ToString::to_string).collect();
        keep("--spec-rule", spec_rules, &|scenario| {
            decided(scenario).any(|rule| self.spec_rules.contains(rule))
        });
        keep("--skip-tag", self.skipped_tags.clone(), &|scenario| !has_one(scenario, &self.skipped_tags));
        keep("--skip-name", self.skipped_names.clone(), &|scenario| {
            !self.skipped_names.iter().any(|pattern| wildcard(pattern, &scenario.name))
        });
        if selected.is_empty() {
            let left = left.join(", then ");
            return Err(Nothing::Conditions(format!("nothing to run: of {all} scenarios, {left}")));
        }
        match self.shard {
            None => Ok(selected),
            Some(shard) => in_shard(shard, selected),
        }
    }

    /// Checks that every value matches a scenario. Skipped tags and names are not checked, because it does no harm
    /// to skip what no scenario has.
    fn check(&self, scenarios: &[Scenario]) -> Result<(), Nothing> {
        for pattern in &self.names {
            choose_names(&format!("--name {pattern}"), pattern, scenarios)?;
        }
        for tag in &self.tags {
            let tags = scenarios.iter().flat_map(|scenario| &scenario.tags).map(String::as_str);
            if !tags.clone().any(|other| other == tag) {
                let hint = hint(&near(tag, tags));
                return Err(Nothing::Conditions(format!("--tag {tag}: no scenario has this tag{hint}")));
            }
        }
        for rule in &self.spec_rules {
            if !scenarios.iter().flat_map(decided).any(|other| other == rule) {
                let message =
                    format!("--spec-rule {rule}: no case decides this spec rule ({})", rule.title());
                return Err(Nothing::Conditions(message));
            }
        }
        Ok(())
    }
}

/// Returns the scenarios whose names match a pattern, in which `*` stands for any text. `place` names the pattern in
/// the error.
///
/// # Errors
/// If no scenario has such a name.
pub(crate) fn choose_names<'a>(
    place: &str,
    pattern: &str,
    scenarios: &'a [Scenario],
) -> Result<Vec<&'a Scenario>, Nothing> {
    let chosen: Vec<_> = scenarios.iter().filter(|scenario| wildcard(pattern, &scenario.name)).collect();
    if chosen.is_empty() {
        let near = near(pattern, scenarios.iter().map(|scenario| scenario.name.as_str()));
        let near = near.into_iter().map(str::to_owned).collect();
        return Err(Nothing::Name { place: place.to_owned(), near });
    }
    Ok(chosen)
}

fn has_one(scenario: &Scenario, tags: &[String]) -> bool {
    scenario.tags.iter().any(|tag| tags.contains(tag))
}

/// Returns the spec rules that the steps of a scenario decide.
fn decided(scenario: &Scenario) -> impl Iterator<Item = &SpecRule> {
    scenario.steps.iter().flat_map(|step| &step.spec_rules)
}

fn in_shard(shard: Shard, scenarios: Vec<Scenario>) -> Result<Vec<Scenario>, Nothing> {
    let things = scenarios.iter().map(|scenario| (scenario.name.as_str(), size(scenario).cost()));
    let holds = shard.holds(&things.collect::<Vec<_>>());
    let all = scenarios.len();
    let held = scenarios.into_iter().zip(holds).filter_map(|(scenario, holds)| holds.then_some(scenario));
    let held: Vec<_> = held.collect();
    if held.is_empty() {
        let message =
            format!("--shard {shard}: this shard is empty: there are only {all} scenarios to share");
        return Err(Nothing::Conditions(message));
    }
    Ok(held)
}

/// Returns `; near: a, b`, or an empty text if there are no similar names.
fn hint<S: Borrow<str>>(near: &[S]) -> String {
    if near.is_empty() { String::new() } else { format!("; near: {}", near.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;
    use crate::source::Text;

    fn library() -> Vec<Scenario> {
        let scenario = |name: &str, tags: &str, spec_rules: &str| {
            let content = format!(
                "apiVersion: netproof.dev/v1alpha1\nkind: Scenario\nmetadata: {{name: {name}, tags: [{tags}], specRules: [{spec_rules}]}}\nsteps: [{{name: a}}]\n"
            );
            Text { name: format!("{name}.yaml").into(), content }
        };
        let texts = [
            scenario("default-deny", "ingress, egress", "1, 4"),
            scenario("named-ports", "ingress, ports", "17"),
            scenario("dns", "egress, dns", "29"),
        ];
        scenario::load(&texts).unwrap()
    }

    fn names(selection: &Selection) -> Result<Vec<String>, String> {
        let selected = selection.select(library()).map_err(|nothing| nothing.to_string())?;
        Ok(selected.into_iter().map(|scenario| scenario.name).collect())
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn tagged(tags: &[&str]) -> Selection {
        Selection { tags: strings(tags), ..Selection::default() }
    }

    #[test]
    fn nothing_said_selects_everything() {
        assert_eq!(names(&Selection::default()).unwrap(), ["default-deny", "named-ports", "dns"]);
    }

    #[test]
    fn one_of_several_values_suffices_and_all_kinds_are_needed() {
        assert_eq!(names(&tagged(&["ports", "dns"])).unwrap(), ["named-ports", "dns"]);
        let skipping = Selection { skipped_tags: strings(&["dns", "unknown"]), ..tagged(&["egress"]) };
        assert_eq!(names(&skipping).unwrap(), ["default-deny"]);
        let named = Selection { names: strings(&["d*"]), ..tagged(&["ingress"]) };
        assert_eq!(names(&named).unwrap(), ["default-deny"]);
        let spec_rules = [17, 29].map(|number| SpecRule::new(number).unwrap()).to_vec();
        assert_eq!(names(&Selection { spec_rules, ..Selection::default() }).unwrap(), ["named-ports", "dns"]);
    }

    #[test]
    fn what_fits_nothing_is_named() {
        assert_eq!(
            names(&tagged(&["egress", "port"])).unwrap_err(),
            "--tag port: no scenario has this tag; near: ports"
        );
        let misspelt = Selection { names: strings(&["named-*", "dsn"]), ..Selection::default() };
        assert_eq!(names(&misspelt).unwrap_err(), "--name dsn: no scenario has such a name; near: dns");
        let spec_rules = vec![SpecRule::new(2).unwrap()];
        assert_eq!(
            names(&Selection { spec_rules, ..Selection::default() }).unwrap_err(),
            "--spec-rule 2: no case decides this spec rule (policyTypes left out)"
        );
    }

    #[test]
    fn what_is_left_by_each_is_told_if_nothing_is() {
        let spec_rules = vec![SpecRule::new(29).unwrap()];
        let selection = Selection { spec_rules, ..tagged(&["ingress", "ports"]) };
        assert_eq!(
            names(&selection).unwrap_err(),
            "nothing to run: of 3 scenarios, --tag ingress --tag ports leaves 2, then --spec-rule 29 leaves 0"
        );
        let shard = |text: &str| Selection { shard: Some(text.parse().unwrap()), ..Selection::default() };
        assert_eq!(
            names(&shard("4/4")).unwrap_err(),
            "--shard 4/4: this shard is empty: there are only 3 scenarios to share"
        );
        assert_eq!(names(&shard("1/1")).unwrap().len(), 3);
    }
}

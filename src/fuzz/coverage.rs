//! Which spec rules and which fields random cases have covered.

use std::collections::BTreeMap;

use serde_json::Value;

use super::dry_run::Case;
use super::field::{self, fields};
use super::spec_rule::{self, out_of_reach};
use crate::scenario::SpecRule;

/// The spec rules and fields that some random cases have covered.
#[derive(Debug, Clone, Default)]
pub struct Coverage {
    spec_rules: BTreeMap<u8, usize>,
    fields: BTreeMap<String, usize>,
}

impl Coverage {
    /// Counts one case. `at` is the index of its step in `scenario`, which is the scenario as it was generated.
    pub fn add(&mut self, at: usize, scenario: &Value, case: &Case) {
        self.add_fields(at, scenario);
        for rule in spec_rule::decided(case) {
            *self.spec_rules.entry(rule).or_default() += 1;
        }
    }

    /// Counts the fields of one case.
    fn add_fields(&mut self, at: usize, scenario: &Value) {
        if let Some(topology) = scenario.get("topology").filter(|_| at == 0) {
            field::count_topology(topology, &mut self.fields);
        }
        if let Some(step) = scenario.get("steps").and_then(|steps| steps.get(at)) {
            field::count_step(step, &mut self.fields);
        }
    }

    /// Adds the counts of another coverage.
    pub fn merge(&mut self, other: Self) {
        for (rule, count) in other.spec_rules {
            *self.spec_rules.entry(rule).or_default() += count;
        }
        for (field, count) in other.fields {
            *self.fields.entry(field).or_default() += count;
        }
    }

    /// Returns every spec rule, with the number of cases in which it decided a cell, or why it never can.
    pub fn spec_rules(&self) -> impl Iterator<Item = (SpecRule, Result<usize, &'static str>)> {
        SpecRule::all().map(|rule| match out_of_reach(rule) {
            None => (rule, Ok(self.spec_rules.get(&rule.number()).copied().unwrap_or_default())),
            Some(why) => (rule, Err(why)),
        })
    }

    /// Returns every field, with how often it was generated. Fields that are not in the list come last.
    pub fn fields(&self) -> Vec<(String, usize)> {
        let known = fields();
        let others: Vec<_> = self.fields.keys().filter(|field| !known.contains(field)).cloned().collect();
        let count = |field: String| {
            let count = self.fields.get(&field).copied().unwrap_or_default();
            (field, count)
        };
        known.into_iter().chain(others).map(count).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::fuzz::dry_run::{cases, read};
    use crate::generate::{self, Ground};

    /// Number of cases of each seed.
    const CASES: usize = 12;

    fn fields_of(seeds: std::ops::Range<u64>, ground: Ground) -> Coverage {
        let mut coverage = Coverage::default();
        for seed in seeds {
            let value = generate::scenario(seed, CASES, ground);
            (0..CASES).for_each(|at| coverage.add_fields(at, &value));
        }
        coverage
    }

    /// Checks at most 840 cases with fixed seeds. A spec rule that they do not reach is not tested.
    #[test]
    fn random_cases_decide_every_spec_rule() {
        let mut coverage = Coverage::default();
        for seed in 1..71 {
            let value = generate::scenario(seed, CASES, Ground::Lab);
            for (at, case) in cases(&read(&value).unwrap()).unwrap().iter().enumerate() {
                coverage.add(at, &value, case);
            }
            if coverage.spec_rules().all(|(_, count)| count != Ok(0)) {
                break;
            }
        }
        let missing: Vec<_> = coverage.spec_rules().filter(|(_, count)| *count == Ok(0)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn random_cases_have_every_field_and_no_unknown_one() {
        let coverage = fields_of(1..71, Ground::Lab);
        let missing: Vec<_> = coverage.fields().into_iter().filter(|(_, count)| *count == 0).collect();
        assert!(missing.is_empty(), "{missing:#?}");
        let known: BTreeSet<_> = fields().into_iter().collect();
        let unknown: Vec<_> = coverage.fields.into_keys().filter(|field| !known.contains(field)).collect();
        assert!(unknown.is_empty(), "not in the list: {unknown:#?}");
    }

    #[test]
    fn on_a_cluster_nothing_is_generated_that_it_does_not_have() {
        let coverage = fields_of(1..31, Ground::Cluster);
        let absent = ["nodeEndpoints", "externals", "hostNetwork", "nodePort", "type"];
        let found: Vec<_> =
            coverage.fields.keys().filter(|f| absent.iter().any(|a| f.ends_with(a))).collect();
        assert!(found.is_empty(), "{found:?}");
    }
}

//! The option that accepts unmodelled kinds.

use std::collections::BTreeMap;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::library;
use crate::expect::misspelt;
use crate::scenario::Scenario;
use crate::snapshot::Unmodelled;
use crate::source::{did_you_mean, near};
use crate::verdict::Environment;

/// The unmodelled kinds that the user accepts.
#[derive(Debug, Args)]
pub(super) struct AcceptOptions {
    /// Accept that objects of these kinds are not modelled: Kind, or Kind.group. Without this option, the exit
    /// code is 3 if there are objects that decide about packets or create pods, and that netproof does not model
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    accept_unmodelled: Vec<String>,
}

impl AcceptOptions {
    /// Returns the kinds, with the accepted ones marked.
    pub(super) fn mark(&self, kinds: &[Unmodelled]) -> Vec<Unmodelled> {
        let mut kinds = kinds.to_vec();
        for kind in &mut kinds {
            kind.accept(&self.accept_unmodelled);
        }
        kinds
    }

    /// Returns a warning for each name that accepts none of these kinds.
    pub(super) fn unused(&self, kinds: &[Unmodelled]) -> Vec<String> {
        let unused =
            self.accept_unmodelled.iter().filter(|name| !kinds.iter().any(|kind| kind.has_name(name)));
        let warning = |name: &String| {
            let has_group = name.contains('.');
            let known = kinds.iter().map(|kind| if has_group { kind.kind.as_str() } else { kind.name() });
            let hint = did_you_mean(&near(name, known));
            format!(
                "--accept-unmodelled {name} accepts nothing: netproof leaves out no objects of this kind{hint}"
            )
        };
        unused.map(warning).collect()
    }

    /// Adds the unmodelled kinds and the warnings of scenarios to those of the environment.
    pub(super) fn complete(&self, mut environment: Environment, scenarios: &[Scenario]) -> Environment {
        let mut kinds: BTreeMap<String, Unmodelled> = BTreeMap::new();
        // The repetitions of a scenario have the same objects, which count once.
        let scenarios: BTreeMap<&str, &Scenario> =
            scenarios.iter().map(|scenario| (scenario.name.as_str(), scenario)).collect();
        let written = scenarios.values().flat_map(|scenario| &scenario.unmodelled);
        for kind in environment.unmodelled.iter().chain(written) {
            match kinds.get_mut(&kind.kind) {
                Some(known) => known.count = known.count.zip(kind.count).map(|(a, b)| a + b),
                None => {
                    kinds.insert(kind.kind.clone(), kind.clone());
                }
            }
        }
        environment.unmodelled = self.mark(&kinds.into_values().collect::<Vec<_>>());
        environment.warnings.extend(self.unused(&environment.unmodelled));
        for (name, scenario) in scenarios {
            // The scenarios of the library contain mistakes on purpose.
            let misspelt = if library::has(&scenario.file) { Vec::new() } else { misspelt(&scenario.ever()) };
            let warnings = scenario.warnings.iter().chain(&misspelt);
            environment.warnings.extend(warnings.map(|warning| format!("{name}: {warning}")));
        }
        environment
    }
}

//! Compares the environments of two runs.

use std::collections::{BTreeMap, BTreeSet};

use crate::document::{EnvironmentChange, RunDocument};

/// Returns the differences between the environments of two runs.
pub(super) fn environment_changes(before: &RunDocument, after: &RunDocument) -> Vec<EnvironmentChange> {
    let facts = |run: &RunDocument| -> BTreeMap<String, String> { run.facts.iter().cloned().collect() };
    let (facts_before, facts_after) = (facts(before), facts(after));
    let names: BTreeSet<&String> = facts_before.keys().chain(facts_after.keys()).collect();
    let values = [
        ("netproof", before.version.as_ref(), after.version.as_ref()),
        ("backend", Some(&before.backend), Some(&after.backend)),
    ];
    let facts = names.into_iter().map(|name| (name.as_str(), facts_before.get(name), facts_after.get(name)));
    let mut changes = values.into_iter().chain(facts).collect::<Vec<_>>();

    let profiles = |run: &RunDocument| run.profiles.iter().map(|profile| profile.name.clone()).collect();
    let unaccepted = |run: &RunDocument| run.unaccepted().map(|kind| kind.kind.clone()).collect();
    let lists: [(&str, Vec<String>, Vec<String>); 3] = [
        ("profile", profiles(before), profiles(after)),
        ("warning", before.warnings.clone(), after.warnings.clone()),
        (EnvironmentChange::NOT_MODELLED, unaccepted(before), unaccepted(after)),
    ];
    for (what, before, after) in &lists {
        changes.extend(before.iter().filter(|one| !after.contains(one)).map(|one| (*what, Some(one), None)));
        changes.extend(after.iter().filter(|one| !before.contains(one)).map(|one| (*what, None, Some(one))));
    }
    changes.retain(|(_, before, after)| before != after);
    let owned = changes.into_iter().map(|(what, before, after)| EnvironmentChange {
        what: what.to_owned(),
        before: before.cloned(),
        after: after.cloned(),
    });
    owned.collect()
}

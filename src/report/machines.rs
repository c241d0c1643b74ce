//! What reports say of machines.

use std::collections::BTreeSet;

use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Modify, Style};

use super::escape::shown;
use super::style::thousands;
use crate::verdict::{Environment, RunResult};

/// What is worth knowing of where packets were sent, and how many of a cluster's nodes are among the machines at which
/// cells were judged.
pub(super) fn facts<'a>(place: &'a Environment, judged: &BTreeSet<&str>) -> Vec<(&'a str, String)> {
    let facts = place.facts.iter().map(|(name, value)| (name.as_str(), value.clone()));
    let nodes = place.coverage(judged).map(|coverage| ("nodes", coverage.to_string()));
    nodes.into_iter().chain(facts).collect()
}

/// Where the leaks are, if that is one machine among several.
pub(super) fn place_of_leaks(result: &RunResult) -> Option<String> {
    let machine = result.leaking_machine()?;
    Some(format!("every leak is at {machine}: other nodes denied everything that they had to deny"))
}

/// One line a machine, where there are several.
pub(super) fn table(result: &RunResult) -> Option<String> {
    let machines = result.machines();
    if machines.len() < 2 {
        return None;
    }
    let mut table = Builder::new();
    table.push_record(["node", "as source", "as destination", "leaks", "blocked"]);
    for (name, counts) in machines {
        let numbers = [counts.source, counts.destination, counts.leaks, counts.blocked];
        table.push_record(std::iter::once(shown(name)).chain(numbers.map(thousands)));
    }
    let mut table = table.build();
    table.with(Style::blank());
    table.with(Modify::new(Columns::new(1..)).with(Alignment::right()));
    Some(table.to_string().lines().map(|line| format!("{}\n", line.trim_end())).collect())
}

//! What became of connections that were open before a step.

use serde::Serialize;

use super::style::{count, join, thousands};
use crate::verdict::{Fate, OpenConnection, OpenCounts, StepResult};

/// `3 survived (2 denied now), 1 cut`; `None` if the step kept none open.
pub(super) fn summary(step: &StepResult) -> Option<String> {
    if step.open_connections.is_empty() {
        return None;
    }
    let OpenCounts { survived, denied_now, cut, ended, not_measured } =
        OpenCounts::of(&step.open_connections);
    let denied =
        if denied_now > 0 { format!(" ({} denied now)", thousands(denied_now)) } else { String::new() };
    let rest = join([
        (cut, "cut", "cut"),
        (ended, "ended with its pod", "ended with their pods"),
        (not_measured, "not measured", "not measured"),
    ]);
    let survived = (survived > 0).then(|| format!("{}{denied}", count(survived, "survived", "survived")));
    let parts = survived.into_iter().chain((!rest.is_empty()).then_some(rest));
    Some(parts.collect::<Vec<_>>().join(", "))
}

/// A connection, as the report for machines writes it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OpenConnectionDocument {
    from: String,
    to: String,
    family: &'static str,
    probe: String,
    fate: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    /// What the policies say about a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<&'static str>,
}

impl OpenConnectionDocument {
    pub(super) fn new(connection: &OpenConnection) -> Self {
        let OpenConnection { cell, decision, fate } = connection;
        Self {
            from: cell.from.to_string(),
            to: cell.to.to_string(),
            family: cell.family.name(),
            probe: cell.probe.to_string(),
            fate: fate.name(),
            cause: match fate {
                Fate::NotMeasured(why) => Some(why.clone()),
                Fate::Survived | Fate::Cut | Fate::Ended => None,
            },
            expected: decision.map(|decision| decision.name()),
        }
    }
}

/// The properties of a test case, by name; none if the step kept no connection open.
pub(super) fn properties(step: &StepResult) -> Vec<(&'static str, usize)> {
    if step.open_connections.is_empty() {
        return Vec::new();
    }
    let OpenCounts { survived, denied_now: _, cut, ended, not_measured } =
        OpenCounts::of(&step.open_connections);
    let all = [
        ("openConnectionsSurvived", survived),
        ("openConnectionsCut", cut),
        ("openConnectionsEnded", ended),
        ("openConnectionsNotMeasured", not_measured),
    ];
    all.into()
}

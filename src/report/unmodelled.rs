//! Kinds of objects that netproof does not model, as all reports name them.

use serde::Serialize;

use crate::snapshot::Unmodelled;

/// A kind, as JSON.
#[derive(Debug, Serialize)]
pub(super) struct UnmodelledDocument<'a> {
    kind: &'a str,
    /// Null if the objects could not be counted.
    count: Option<usize>,
    why: &'a str,
    accepted: bool,
}

/// Kinds, as JSON.
pub(super) fn documents(kinds: &[Unmodelled]) -> Vec<UnmodelledDocument<'_>> {
    kinds.iter().map(document).collect()
}

fn document(kind: &Unmodelled) -> UnmodelledDocument<'_> {
    let Unmodelled { kind, count, why, is_accepted } = kind;
    UnmodelledDocument { kind, count: *count, why, accepted: *is_accepted }
}

/// A kind, as a line for a person.
pub(super) fn line(kind: &Unmodelled) -> String {
    if kind.is_accepted {
        return format!("not modelled, and accepted: {kind}");
    }
    format!("not modelled: {kind}; --accept-unmodelled {} accepts that", kind.kind)
}

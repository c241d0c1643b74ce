//! Objects that may decide about packets and that the engine does not model.

use kube::Client;
use serde_json::Value;

use super::super::foreign::Candidate;
use super::list::{self, Content};
use crate::snapshot::{Part, STAGED, Unseen};

/// The objects in a namespace, or everywhere. An error says why they could not be listed.
pub(super) type Found<'a> = (Option<&'a str>, Result<Vec<Value>, String>);

/// Lists the names of objects of a kind that the engine does not model. If the user may not list them everywhere, lists
/// them in each of the namespaces.
pub(super) async fn list<'a>(
    client: &Client,
    candidate: &Candidate,
    namespaces: &'a [String],
) -> Vec<Found<'a>> {
    let Some(served) = &candidate.served else {
        return vec![(None, Err("the cluster does not say whether it has this kind".to_owned()))];
    };
    let listed = async |namespace| {
        let listed = list::list(client, &served.resource, namespace, Content::Names).await;
        listed.map_err(|error| list::reason(&error))
    };
    let everywhere = listed(None).await;
    if everywhere.is_ok() || namespaces.is_empty() || !served.is_namespaced {
        return vec![(None, everywhere)];
    }
    let mut found = Vec::new();
    for namespace in namespaces {
        found.push((Some(namespace.as_str()), listed(Some(namespace)).await));
    }
    found
}

/// Returns the note that objects of a kind could not be listed. `None` if that does not matter.
pub(super) fn unseen(candidate: &Candidate, namespace: Option<&str>, why: String) -> Option<Unseen> {
    let (effect, is_needed) = match &candidate.part {
        Part::None => return None,
        Part::Unmodelled(effect) => (effect.to_string(), true),
        Part::Perhaps(effect) => (effect.to_string(), false),
        Part::Staged => (STAGED.to_owned(), false),
    };
    let namespace = namespace.map(str::to_owned);
    Some(Unseen { kind: candidate.name(), namespace, outside: Vec::new(), effect, why, is_needed })
}

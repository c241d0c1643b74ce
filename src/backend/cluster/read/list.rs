//! Lists objects page by page, as they are.

use kube::api::{ApiResource, DynamicObject, GetParams, ListParams};
use kube::core::Request;
use kube::{Client, Error, Resource};
use serde_json::Value;

use super::super::request::{persistently, say, status_code};
use crate::snapshot::saved;

/// Number of objects on a page, as many as `kubectl` requests.
const PAGE: u32 = 500;

/// How often a list that expired before its last page is begun again.
const RESTARTS: usize = 3;

/// Why objects could not be listed that the user may not list. The server's answer is longer and says no more.
pub(super) const DENIED: &str = "this user may not list them";

/// How much of each object is requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Everything. Only what netproof reads is kept.
    Read,
    /// Everything, and all of it is kept.
    Whole,
    /// Only the metadata.
    Names,
}

/// Returns whether the user may not list objects.
pub(super) fn is_denied(error: &Error) -> bool {
    status_code(error) == Some(403)
}

/// Returns why objects could not be read.
pub(super) fn reason(error: &Error) -> String {
    if is_denied(error) { DENIED.to_owned() } else { say(error) }
}

/// Lists the objects of a kind, in one namespace or everywhere.
///
/// The API server forgets the state that the pages of a list belong to after some minutes. Then the list is begun
/// again, the last time as one page, which cannot expire.
pub(super) async fn list(
    client: &Client,
    resource: &ApiResource,
    namespace: Option<&str>,
    content: Content,
) -> Result<Vec<Value>, Error> {
    for _ in 0..RESTARTS {
        match pages(client, resource, namespace, content, Some(PAGE)).await {
            Err(error) if status_code(&error) == Some(410) => {}
            result => return result,
        }
    }
    pages(client, resource, namespace, content, None).await
}

async fn pages(
    client: &Client,
    resource: &ApiResource,
    namespace: Option<&str>,
    content: Content,
    limit: Option<u32>,
) -> Result<Vec<Value>, Error> {
    let request = Request::new(DynamicObject::url_path(resource, namespace));
    let (mut objects, mut parameters) = (Vec::new(), ListParams { limit, ..ListParams::default() });
    loop {
        let mut page: Value = persistently(async || {
            let request = match content {
                Content::Read | Content::Whole => request.list(&parameters),
                Content::Names => request.list_metadata(&parameters),
            };
            client.request(request.map_err(Error::BuildRequest)?).await
        })
        .await?;
        match page.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => {
                objects.extend(items.into_iter().map(|item| typed(item, resource, content)));
            }
            // Go writes `null` for an empty list.
            Some(Value::Null) => {}
            Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) | None => {
                let message = format!("the list of {} has no items", resource.plural);
                return Err(Error::Service(message.into()));
            }
        }
        let next = page.get("metadata").and_then(|metadata| metadata.get("continue")?.as_str());
        match next.filter(|next| !next.is_empty()) {
            Some(next) => parameters.continue_token = Some(next.to_owned()),
            None => return Ok(objects),
        }
    }
}

/// Returns an item of a list with its kind, which items do not repeat.
fn typed(mut object: Value, resource: &ApiResource, content: Content) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".to_owned(), resource.api_version.clone().into());
        fields.insert("kind".to_owned(), resource.kind.clone().into());
    }
    match content {
        Content::Read | Content::Names => saved::strip(&mut object),
        Content::Whole => {}
    }
    object
}

/// Returns one object.
pub(super) async fn get(
    client: &Client,
    resource: &ApiResource,
    namespace: Option<&str>,
    name: &str,
) -> Result<Value, Error> {
    let request = Request::new(DynamicObject::url_path(resource, namespace));
    let found = persistently(async || {
        let request = request.get(name, &GetParams::default()).map_err(Error::BuildRequest)?;
        client.request(request).await
    });
    found.await.map(|object| typed(object, resource, Content::Whole))
}

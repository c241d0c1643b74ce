//! Writes a tenants file from AKS Managed Namespaces.

use super::draft::{HEAD, scalar};
use super::tenancy::Access;
use crate::source::{Error, Node, Text, Value, quote};

/// Returns a tenants file in which each managed namespace is a tenant. `text` is what `az aks namespace list -o json`
/// prints.
///
/// # Errors
/// If the text is something else, or a mode is not known.
pub fn aks(text: &Text) -> Result<String, Error> {
    let documents = text.documents()?;
    let [document] = documents.as_slice() else {
        return Err(Error::whole(&text.name, "expected one JSON document"));
    };
    let Value::Sequence(namespaces) = &document.node.value else {
        let message = format!(
            "expected the list that `az aks namespace list -o json` prints, found {}",
            document.node.value.describe()
        );
        return Err(Error::at(&text.name, document.node.at, message));
    };
    if namespaces.is_empty() {
        return Err(Error::at(
            &text.name,
            document.node.at,
            "the list is empty: there is no managed namespace",
        ));
    }
    let mut file = format!("# From the managed namespaces of AKS.\n{HEAD}tenants:\n");
    for namespace in namespaces {
        file.push_str(&tenant(text, namespace)?);
    }
    file.push_str(
        "# The metadata address, kubelets, etcd, the API server and node ports of other tenants are forbidden, too. The\n\
         # AllowAll of AKS does not deny them. `standing: false` asks only for what AKS promises.\n",
    );
    Ok(file)
}

fn tenant(text: &Text, namespace: &Node) -> Result<String, Error> {
    let error = |node: &Node, message: String| Error::at(&text.name, node.at, message);
    let Some(name) = namespace.get("name").and_then(Node::as_str) else {
        return Err(error(namespace, "a managed namespace has no `name`".to_owned()));
    };
    // Names of nested resources may contain those of their parents.
    let name = scalar(name.rsplit('/').next().unwrap_or(name));
    let Some(properties) = namespace.get("properties") else {
        let message =
            "a managed namespace has no `properties`: is this what `az aks namespace list -o json` prints?";
        return Err(error(namespace, message.to_owned()));
    };
    let policy = properties.get("defaultNetworkPolicy");
    let mode = |field: &str, default: Access| {
        let Some(node) = policy.and_then(|policy| policy.get(field)).filter(|node| !node.is_null()) else {
            return Ok(default);
        };
        let known = [Access::AllowAll, Access::AllowSameNamespace, Access::DenyAll];
        let found = known.into_iter().find(|mode| node.as_str() == Some(mode.name()));
        found.ok_or_else(|| {
            let found = node.as_str().map_or_else(|| node.value.describe(), quote);
            error(
                node,
                format!("{field}: {found} is not a mode of AKS: AllowAll, AllowSameNamespace or DenyAll"),
            )
        })
    };
    let ingress = mode("ingress", Access::AllowSameNamespace)?;
    let egress = mode("egress", Access::AllowAll)?;
    Ok(format!("- {{name: {name}, namespaces: [{name}], ingress: {ingress}, egress: {egress}}}\n"))
}

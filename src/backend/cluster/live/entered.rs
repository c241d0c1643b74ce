//! Running pods whose networks a check uses: whether they are still what the state says.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;
use kube::Client;
use kube::api::Api;

use super::helper_pod::Entry;
use crate::backend::Error;
use crate::backend::cluster::request::{bounded, failed, persistently};
use crate::policy::{Labels, Pod};
use crate::snapshot::Identity;
use crate::world::World;

/// A running pod on the cluster, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EnteredPod {
    /// What its helper needs to know.
    pub(super) entry: Entry,
    /// `spec.nodeName`
    pub(super) node: String,
    labels: Labels,
}

impl EnteredPod {
    /// Reads a pod object. Returns why the pod cannot be used if it is not the pod of the state.
    fn new(found: &core::Pod, known: &Pod) -> Result<Self, &'static str> {
        let (spec, status) = (found.spec.as_ref(), found.status.as_ref());
        if found.metadata.deletion_timestamp.is_some() {
            return Err("it is being deleted");
        }
        if status.and_then(|status| status.phase.as_deref()) != Some("Running") {
            return Err("it does not run");
        }
        if spec.and_then(|spec| spec.host_network) == Some(true) {
            return Err("it uses the network of its node (hostNetwork)");
        }
        let addresses = status.iter().flat_map(|status| status.pod_ips.iter().flatten());
        let running = Self {
            entry: Entry {
                uid: found.metadata.uid.clone().unwrap_or_default(),
                addresses: addresses.filter_map(|address| address.ip.parse().ok()).collect(),
            },
            node: spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
            labels: found.metadata.labels.clone().unwrap_or_default(),
        };
        // The expectations are about what the state says.
        if running.entry.uid.is_empty() || running.entry.addresses.is_empty() {
            return Err("it has no address");
        }
        if !known.addresses.is_empty() && known.addresses != running.entry.addresses {
            return Err("its addresses have changed since the cluster was read");
        }
        if known.node.as_ref().is_some_and(|node| *node != running.node) {
            return Err("it is on another node than when the cluster was read");
        }
        if known.labels != running.labels {
            return Err("its labels have changed since the cluster was read");
        }
        Ok(running)
    }
}

/// Reads the running pods whose networks are used in a state.
///
/// # Errors
/// If one of them does not run, or is not what the state says. The message names all such pods.
pub(super) async fn read(client: &Client, world: &World) -> Result<BTreeMap<Identity, EnteredPod>, Error> {
    let asked = world.entered.iter().map(async |identity| {
        let pods: Api<core::Pod> = Api::namespaced(client.clone(), &identity.namespace);
        let found = persistently(async || pods.get_opt(&identity.name).await).await;
        Ok::<_, Error>((identity, found.map_err(failed(format!("read pod {identity}")))?))
    });
    let (mut running, mut problems) = (BTreeMap::new(), Vec::new());
    for (identity, found) in bounded(asked).await? {
        let read = match (found, world.pod(&identity.namespace, &identity.name)) {
            (Some(found), Some(known)) => EnteredPod::new(&found, known),
            (None, _) => Err("it does not exist any more"),
            (Some(_), None) => Err("the state has no such pod"),
        };
        match read {
            Ok(pod) => drop(running.insert(identity.clone(), pod)),
            Err(why) => problems.push(format!("pod {identity}: {why}")),
        }
    }
    match problems.as_slice() {
        [] => Ok(running),
        problems => {
            let message = format!("{}: repeat the check", problems.join("; "));
            Err(Error::failed("use the networks of running pods", message))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(change: impl FnOnce(&mut Value)) -> Result<EnteredPod, &'static str> {
        let mut pod = json!({
            "metadata": {"name": "web-0", "namespace": "shop", "uid": "1-2", "labels": {"app": "web"}},
            "spec": {"nodeName": "n", "containers": []},
            "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]},
        });
        change(&mut pod);
        let known = Pod {
            labels: Labels::from([("app".to_owned(), "web".to_owned())]),
            addresses: ["10.0.0.1", "fd00::1"].map(|it| it.parse().unwrap()).to_vec(),
            node: Some("n".to_owned()),
            ..Pod::default()
        };
        EnteredPod::new(&serde_json::from_value(pod).unwrap(), &known)
    }

    #[test]
    fn a_pod_that_is_not_what_the_state_says_is_refused() {
        assert_eq!(read(|_| ()).unwrap().entry.uid, "1-2");
        for (pointer, value, why) in [
            ("/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"), "it is being deleted"),
            ("/status/phase", json!("Failed"), "it does not run"),
            ("/spec/hostNetwork", json!(true), "it uses the network of its node"),
            ("/status/podIPs", json!([]), "it has no address"),
            ("/status/podIPs", json!([{"ip": "10.0.0.2"}]), "its addresses have changed"),
            ("/spec/nodeName", json!("m"), "it is on another node"),
            ("/metadata/labels", json!({"app": "db"}), "its labels have changed"),
        ] {
            let refused = read(|pod| {
                let (object, field) = pointer.rsplit_once('/').unwrap();
                pod.pointer_mut(object).unwrap()[field] = value;
            });
            assert!(refused.as_ref().is_err_and(|error| error.starts_with(why)), "{pointer}: {refused:?}");
        }
    }
}

//! Checks that the run's objects on the cluster are what netproof sent, and that its namespaces have no other
//! policies or pods. Otherwise the packets follow other policies than those that the verdicts are about.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join3;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::PartialObjectMeta;
use serde_json::Value;

use super::Deployment;
use crate::backend::Error;
use crate::backend::cluster::cluster_policies;
use crate::backend::cluster::objects::AGENT;
use crate::backend::cluster::request::{Namespaced, bounded, failed, persistently, status_code};
use crate::backend::cluster::shared::Shared;
use crate::policy::{Backends, Labels, NAMESPACE_NAME_LABEL};
use crate::snapshot::Identity;
use crate::world::World;

/// Advice for the error message.
pub(in crate::backend::cluster) const ADVICE: &str =
    "exempt the namespaces with label app.kubernetes.io/managed-by=netproof from what did it";

impl Deployment {
    /// Reads the run's objects back and compares them with a state.
    ///
    /// # Errors
    /// If an admission webhook or a controller changed or added objects, or if the objects cannot be read.
    pub(in crate::backend::cluster) async fn check_intact(&self, world: &World) -> Result<(), Error> {
        let (namespaces, pods, policies) =
            try_join3(self.read_namespaces(), self.list(), self.list()).await?;
        let selected = self.selected_labels(world)?;
        let mut changes: Vec<String> = self.changed_namespaces(&namespaces, &selected);
        changes.extend(self.changed_pods(&pods, &selected));
        changes.extend(self.changed_policies(&policies, world));
        changes.extend(self.changed_cluster_policies(world).await?);
        changes.extend(self.foreign_policies().await?);
        match changes.as_slice() {
            [] => Ok(()),
            _ => {
                let message = format!("{}: {ADVICE}", changes.join("; "));
                Err(Error::failed("measure what the scenario's policies do", message))
            }
        }
    }

    async fn read_namespaces(&self) -> Result<BTreeMap<String, ObjectMeta>, Error> {
        let namespaces: Api<core::Namespace> = Api::all(self.shared.client.clone());
        let found = bounded(self.namespaces().into_iter().map(async |name| {
            let found = persistently(async || namespaces.get_metadata_opt(&name).await).await;
            let found = found.map_err(failed(format!("read namespace {name}")))?;
            Ok::<_, Error>(found.map(|namespace| (name, namespace.metadata)))
        }));
        Ok(found.await?.into_iter().flatten().collect())
    }

    /// Lists objects in the namespaces of the deployment, including those of other users.
    async fn list<K: Namespaced>(&self) -> Result<BTreeMap<Identity, K>, Error> {
        let kind = K::kind(&());
        let lists = bounded(self.namespaces().into_iter().map(async |namespace| {
            let objects: Api<K> = Api::namespaced(self.shared.client.clone(), &namespace);
            let listed = persistently(async || objects.list(&ListParams::default()).await).await;
            let doing = || format!("list objects of kind {kind} in {namespace}");
            let items = listed.map_err(|error| failed(doing())(error))?.items;
            let identity = |object: &K| Identity::new(&namespace, &object.name_any());
            Ok::<_, Error>(items.into_iter().map(|object| (identity(&object), object)).collect::<Vec<_>>())
        }));
        Ok(lists.await?.into_iter().flatten().collect())
    }

    /// Describes the policies in the deployment's namespaces whose kinds netproof does not model. Only a
    /// generator creates policies there.
    async fn foreign_policies(&self) -> Result<Vec<String>, Error> {
        let namespaces = self.namespaces();
        let is_accepted = |kind: &&ApiResource| {
            let accepted = self.shared.accepted.get();
            accepted.is_some_and(|accepted| accepted.contains(&format!("{}.{}", kind.kind, kind.group)))
        };
        let kinds = self.shared.survey.foreign.kinds.iter().filter(|kind| !is_accepted(kind));
        let kinds = kinds.flat_map(|kind| namespaces.iter().map(move |namespace| (kind, namespace)));
        let lists = bounded(kinds.map(async |(kind, namespace)| {
            let objects: Api<DynamicObject> =
                Api::namespaced_with(self.shared.client.clone(), namespace, kind);
            let listed = persistently(async || objects.list_metadata(&ListParams::default()).await).await;
            let doing = || format!("list objects of kind {} in {namespace}", kind.kind);
            let items = match listed {
                Ok(list) => list.items,
                // The kind was removed from the cluster after it was found.
                Err(error) if status_code(&error) == Some(404) => Vec::new(),
                Err(error) => return Err(failed(doing())(error)),
            };
            let say = |object: &PartialObjectMeta<DynamicObject>| {
                let (name, writers) = (object.name_any(), writers(&object.metadata));
                format!("{}.{} {namespace}/{name} is not the run's ({writers})", kind.kind, kind.group)
            };
            Ok::<_, Error>(items.iter().map(say).collect::<Vec<_>>())
        }));
        Ok(lists.await?.concat())
    }

    /// Returns the label keys that selectors of the state use. No other label decides about packets.
    fn selected_labels(&self, world: &World) -> Result<BTreeSet<String>, Error> {
        let mut keys = BTreeSet::new();
        for written in &world.written {
            add_keys(&to_json(&*written.object), &mut keys);
        }
        for written in &world.written_for_cluster {
            let object = self.shared.maker.cluster_policy(written, &self.names, &self.namespaces())?;
            add_keys(&object.data, &mut keys);
        }
        for service in &world.cluster.services {
            match &service.backends {
                Backends::Selected(selector) => keys.extend(selector.keys().cloned()),
                Backends::Addresses(_) | Backends::Unknown => {}
            }
        }
        // The API server sets this label to the namespace's name on the cluster.
        keys.remove(NAMESPACE_NAME_LABEL);
        Ok(keys)
    }

    fn changed_namespaces(
        &self,
        found: &BTreeMap<String, ObjectMeta>,
        selected: &BTreeSet<String>,
    ) -> Vec<String> {
        let sent = self.namespaces.iter().map(|(name, labels)| (self.names.namespace(name), labels));
        let changed = sent.filter_map(|(real, labels)| {
            let what = format!("namespace {real}");
            let Some(metadata) = found.get(&real) else { return Some(format!("{what} is gone")) };
            changed_labels(&what, labels, metadata, selected)
        });
        changed.collect()
    }

    fn changed_pods(
        &self,
        found: &BTreeMap<Identity, core::Pod>,
        selected: &BTreeSet<String>,
    ) -> Vec<String> {
        let changed = self.pods.values().filter(|running| !running.pod.ended).filter_map(|running| {
            let what = format!("pod {}", running.real);
            let Some(pod) = found.get(&running.real) else { return Some(format!("{what} is gone")) };
            changed_labels(&what, &running.pod.labels, &pod.metadata, selected)
                .or_else(|| added_containers(&what, pod))
        });
        let own: BTreeSet<&Identity> = self.pods.values().map(|running| &running.real).collect();
        let foreign = found
            .iter()
            .filter(|(real, _)| !own.contains(real))
            .map(|(real, pod)| format!("pod {real} is not the scenario's ({})", writers(&pod.metadata)));
        changed.chain(foreign).collect()
    }

    fn changed_policies(&self, found: &BTreeMap<Identity, NetworkPolicy>, world: &World) -> Vec<String> {
        let sent: BTreeMap<Identity, NetworkPolicy> = world
            .written
            .iter()
            .map(|written| {
                let identity = Identity::of_policy(&written.policy);
                let policy = self.shared.maker.policy(&written.object, &identity.namespace, &self.names);
                (self.real(&identity), policy)
            })
            .collect();
        let foreign = found.iter().filter(|(real, _)| !sent.contains_key(real)).map(|(real, policy)| {
            format!("NetworkPolicy {real} is not the run's ({})", writers(&policy.metadata))
        });
        let changed = sent.iter().filter_map(|(real, policy)| {
            let Some(found) = found.get(real) else { return Some(format!("NetworkPolicy {real} is gone")) };
            let difference = first_difference("spec", &spec(policy), &spec(found))?;
            Some(format!("NetworkPolicy {real} was changed: {difference} ({})", writers(&found.metadata)))
        });
        foreign.chain(changed).collect()
    }
}

impl Deployment {
    /// Describes the cluster-scoped policies that differ from what was sent. Ignores the defaults of their
    /// definitions.
    async fn changed_cluster_policies(&self, world: &World) -> Result<Vec<String>, Error> {
        let Shared { client, maker, .. } = &*self.shared;
        let made = world
            .written_for_cluster
            .iter()
            .filter(|written| self.cluster_policies.get(&written.policy.name).is_some_and(Option::is_some));
        let changes = bounded(made.map(async |written| {
            let name = &written.policy.name;
            let sent = maker.cluster_policy(written, &self.names, &self.namespaces())?;
            let policies = cluster_policies::api(client, name.kind);
            let real = self.names.cluster_policy(name);
            let found = persistently(async || policies.get_opt(&real).await).await;
            let Some(found) = found.map_err(failed(format!("read {} {real} back", name.kind)))? else {
                return Ok(Some(format!("{} {real} is gone", name.kind)));
            };
            let spec = |data: &Value| data.get("spec").cloned().unwrap_or_default();
            let (sent, mut now) = (spec(&sent.data), spec(&found.data));
            leave_out_defaults(&sent, &mut now);
            let difference = first_difference("spec", &sent, &now);
            Ok(difference.map(|difference| {
                format!("{} {real} was changed: {difference} ({})", name.kind, writers(&found.metadata))
            }))
        }));
        Ok(changes.await?.into_iter().flatten().collect())
    }
}

/// Describes the first label that differs from what was sent. Ignores added labels that no selector uses:
/// they change nothing, and many platforms label every namespace.
fn changed_labels(
    what: &str,
    sent: &Labels,
    found: &ObjectMeta,
    selected: &BTreeSet<String>,
) -> Option<String> {
    let none = Labels::new();
    let now = found.labels.as_ref().unwrap_or(&none);
    let is_own = |key: &&String| *key != NAMESPACE_NAME_LABEL;
    let changed = sent.keys().filter(is_own).find(|key| sent.get(*key) != now.get(*key));
    let added = || now.keys().find(|key| selected.contains(*key) && !sent.contains_key(*key));
    let key = changed.or_else(added)?;
    let shown = |labels: &Labels| labels.get(key).map_or("missing".to_owned(), |value| format!("`{value}`"));
    let (before, now) = (shown(sent), shown(now));
    Some(format!("label {key} of {what} was changed from {before} to {now} ({})", writers(found)))
}

/// Describes the containers that an injector added. Their packet rules would decide instead of the policies.
pub(in crate::backend::cluster) fn added_containers(what: &str, pod: &core::Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let added: Vec<&str> =
        all.map(|container| container.name.as_str()).filter(|name| *name != AGENT).collect();
    (!added.is_empty()).then(|| format!("{what} was given the containers {}", added.join(", ")))
}

/// Describes who wrote an object, according to the API server's records.
fn writers(metadata: &ObjectMeta) -> String {
    let managers = metadata.managed_fields.iter().flatten().filter_map(|entry| entry.manager.as_deref());
    let managers: BTreeSet<&str> = managers.collect();
    if managers.is_empty() {
        return "written by somebody whom the API server does not name".to_owned();
    }
    format!("written by {}", managers.into_iter().collect::<Vec<_>>().join(", "))
}

fn to_json(value: &impl serde::Serialize) -> Value {
    // JSON can represent all values of Kubernetes' own types.
    serde_json::to_value(value).unwrap_or_default()
}

/// Adds the label keys that selectors in an object use.
fn add_keys(value: &Value, keys: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::Object(labels)) = fields.get("matchLabels") {
                keys.extend(labels.keys().cloned());
            }
            if let Some(Value::Array(requirements)) = fields.get("matchExpressions") {
                let named = requirements.iter().filter_map(|r| r.get("key").and_then(Value::as_str));
                keys.extend(named.map(str::to_owned));
            }
            fields.values().for_each(|value| add_keys(value, keys));
        }
        Value::Array(items) => items.iter().for_each(|item| add_keys(item, keys)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Returns the spec of a policy in a normal form: with the values that the API server fills in, and without
/// those that it omits. Two specs then mean the same if they are equal.
fn spec(policy: &NetworkPolicy) -> Value {
    let mut spec = policy.spec.clone().unwrap_or_default();
    let is_egress = spec.egress.as_ref().is_some_and(|rules| !rules.is_empty());
    let default =
        || ["Ingress"].into_iter().chain(is_egress.then_some("Egress")).map(str::to_owned).collect();
    let types = spec.policy_types.filter(|types| !types.is_empty()).unwrap_or_else(default);
    spec.pod_selector.get_or_insert_default();
    spec.policy_types = Some(types.into_iter().collect::<BTreeSet<_>>().into_iter().collect());
    let ingress = spec.ingress.iter_mut().flatten().filter_map(|rule| rule.ports.as_mut());
    let egress = spec.egress.iter_mut().flatten().filter_map(|rule| rule.ports.as_mut());
    for port in ingress.chain(egress).flatten() {
        port.protocol.get_or_insert_with(|| "TCP".to_owned());
    }
    let mut spec = to_json(&spec);
    leave_out_empty(&mut spec);
    spec
}

/// Removes values that mean the same as their absence: empty lists and empty `matchLabels`. An empty selector
/// has a meaning of its own, so it stays.
fn leave_out_empty(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(leave_out_empty);
            fields.retain(|key, value| match value {
                Value::Null => false,
                Value::Array(items) => !items.is_empty(),
                Value::Object(labels) => key != "matchLabels" || !labels.is_empty(),
                Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
            });
        }
        Value::Array(items) => items.iter_mut().for_each(leave_out_empty),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Fields that the definitions of cluster-scoped policies fill in, with their values. Every other field that
/// was not sent may decide about packets. For example, ports that a webhook added to a rule narrow the rule.
const DEFAULTS: [(&str, &str); 2] = [("protocol", "TCP"), ("name", "")];

/// Removes fields that were not sent, if they have a default value of the definition or mean nothing.
fn leave_out_defaults(sent: &Value, found: &mut Value) {
    match (sent, found) {
        (Value::Object(sent), Value::Object(found)) => {
            let is_default = |key: &str, value: &Value| match value {
                Value::String(value) => DEFAULTS.contains(&(key, value.as_str())),
                Value::Null => true,
                Value::Array(items) => items.is_empty(),
                Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
            };
            found.retain(|key, value| sent.contains_key(key) || !is_default(key, value));
            for (key, found) in found {
                if let Some(sent) = sent.get(key) {
                    leave_out_defaults(sent, found);
                }
            }
        }
        (Value::Array(sent), Value::Array(found)) => {
            sent.iter().zip(found).for_each(|(sent, found)| leave_out_defaults(sent, found));
        }
        _ => {}
    }
}

/// Describes the first difference between two values.
fn first_difference(path: &str, sent: &Value, found: &Value) -> Option<String> {
    if sent == found {
        return None;
    }
    match (sent, found) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let field =
                |key: &String| (a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null));
            keys.into_iter().find_map(|key| {
                let (sent, found) = field(key);
                first_difference(&format!("{path}.{key}"), sent, found)
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let mut pairs = a.iter().zip(b).enumerate();
            pairs.find_map(|(i, (sent, found))| first_difference(&format!("{path}[{i}]"), sent, found))
        }
        _ => Some(format!("{path} was sent as {} and is {}", short(sent), short(found))),
    }
}

/// Returns a value on one line, cut off at `LONGEST` characters.
fn short(value: &Value) -> String {
    const LONGEST: usize = 120;
    let text = match value {
        Value::Null => return "absent".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use kube::core::GroupVersionKind;
    use serde_json::json;

    use super::*;
    use crate::backend::cluster::cluster_policies::Support;
    use crate::backend::cluster::deployment::Running;
    use crate::backend::cluster::mocked::{client, deployment, list, state_after, status};

    const SCENARIO: &str = "
topology: {namespaces: [{name: x, labels: {team: red}, pods: [{name: a, labels: {app: a}}]}]}
steps:
- name: one
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: web, namespace: x}
    spec: {podSelector: {matchLabels: {app: a}}, ingress: [{from: [], ports: [{port: 80}]}], egress: []}
";

    fn namespace() -> Value {
        let labels = json!({"team": "red", "netproof.dev/run": "r", "kubernetes.io/metadata.name": "netproof-r-1-x",
            "cattle.io/project": "p", "app.kubernetes.io/managed-by": "netproof"});
        json!({"metadata": {"name": "netproof-r-1-x", "labels": labels}})
    }

    fn pod() -> Value {
        let labels = json!({"app": "a", "netproof.dev/run": "r", "app.kubernetes.io/managed-by": "netproof"});
        json!({"metadata": {"namespace": "netproof-r-1-x", "name": "a", "labels": labels},
            "spec": {"containers": [{"name": "agent"}]}})
    }

    fn policy() -> Value {
        let spec = json!({"podSelector": {"matchLabels": {"app": "a"}}, "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"port": 80, "protocol": "TCP"}]}]});
        json!({"metadata": {"namespace": "netproof-r-1-x", "name": "web"}, "spec": spec})
    }

    fn foreign_policy() -> Value {
        json!({"metadata": {"namespace": "netproof-r-1-x", "name": "default-deny", "managedFields": [
            {"manager": "kyverno", "operation": "Update"}]}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}})
    }

    /// The objects that a cluster has.
    struct Found {
        namespace: Value,
        pods: Vec<Value>,
        policies: Vec<Value>,
        cilium: Vec<Value>,
    }

    /// Returns the objects that netproof sent, with what the API server fills in and labels that nothing selects.
    fn sent() -> Found {
        Found { namespace: namespace(), pods: vec![pod()], policies: vec![policy()], cilium: Vec::new() }
    }

    /// Returns the error for a cluster with these objects.
    async fn judged(found: Found) -> Option<String> {
        let client = client(move |_, path| match path {
            "/api/v1/namespaces/netproof-r-1-x" => (200, found.namespace.clone()),
            "/api/v1/namespaces/netproof-r-1-x/pods" => list(&found.pods),
            "/apis/networking.k8s.io/v1/namespaces/netproof-r-1-x/networkpolicies" => list(&found.policies),
            "/apis/cilium.io/v2/namespaces/netproof-r-1-x/ciliumnetworkpolicies" => list(&found.cilium),
            _ => status(404, path),
        });
        let kind = GroupVersionKind::gvk("cilium.io", "v2", "CiliumNetworkPolicy");
        let kind = ApiResource::from_gvk_with_plural(&kind, "ciliumnetworkpolicies");
        let (mut deployment, world) =
            (deployment(client, Support::new(), vec![kind]), state_after(SCENARIO, &[]));
        let labels = |(key, value): (&str, &str)| -> Labels {
            let run = [("netproof.dev/run", "r"), ("app.kubernetes.io/managed-by", "netproof")];
            run.iter().chain([&(key, value)]).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        deployment.namespaces.insert("x".to_owned(), labels(("team", "red")));
        for pod in &world.cluster.pods {
            let identity = Identity::of_pod(pod);
            let real = Identity::new("netproof-r-1-x", &pod.name);
            let pod = crate::policy::Pod { labels: labels(("app", "a")), ..pod.clone() };
            deployment.pods.insert(identity.clone(), Running { pod, real, annotated: identity });
        }
        deployment.check_intact(&world).await.err().map(|error| error.to_string())
    }

    fn changed(mut object: Value, pointer: &str, value: Value) -> Value {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap()[key.replace("~1", "/")] = value;
        object
    }

    #[tokio::test]
    async fn what_the_api_server_fills_in_and_unselected_labels_change_nothing() {
        assert_eq!(judged(sent()).await, None);
    }

    #[tokio::test]
    async fn what_somebody_else_changed_or_added_is_named() {
        let with_policy = |policy| Found { policies: vec![policy], ..sent() };
        let with_namespace = |namespace| Found { namespace, ..sent() };
        let with_pod = |pod| Found { pods: vec![pod], ..sent() };
        let from = json!([{"from": [{"podSelector": {}}], "ports": [{"port": 80, "protocol": "TCP"}]}]);
        let sidecar = json!([{"name": "agent"}, {"name": "istio-proxy"}]);
        let other_pod = changed(changed(pod(), "/metadata/name", json!("b")), "/metadata/labels", json!({}));
        let cases = [
            // Seen in practice: Kyverno generates a default deny in every new namespace.
            (
                Found { policies: vec![policy(), foreign_policy()], ..sent() },
                "NetworkPolicy netproof-r-1-x/default-deny is not the run's (written by kyverno)",
            ),
            // The policy may also have a kind that netproof does not model and that had no objects when the run
            // began.
            (
                Found { cilium: vec![foreign_policy()], ..sent() },
                "CiliumNetworkPolicy.cilium.io netproof-r-1-x/default-deny is not the run's (written by kyverno)",
            ),
            // The labels of such a pod may match a selector, and the verdicts would not account for the pod.
            (
                Found { pods: vec![pod(), other_pod], ..sent() },
                "pod netproof-r-1-x/b is not the scenario's (written by",
            ),
            // An admission webhook can change everything.
            (
                with_policy(changed(policy(), "/spec/ingress", from)),
                "web was changed: spec.ingress[0].from was sent as absent and is [{",
            ),
            (Found { policies: Vec::new(), ..sent() }, "web is gone"),
            (
                with_namespace(changed(namespace(), "/metadata/labels/team", json!("blue"))),
                "label team of namespace netproof-r-1-x was changed from `red` to `blue`",
            ),
            // With a label that a policy uses, the namespace belongs to another set of peers.
            (
                with_namespace(changed(namespace(), "/metadata/labels/app", json!("a"))),
                "label app of namespace netproof-r-1-x was changed from missing to `a`",
            ),
            (
                with_pod(changed(pod(), "/metadata/labels/app", json!("b"))),
                "label app of pod netproof-r-1-x/a was changed from `a` to `b`",
            ),
            (Found { pods: Vec::new(), ..sent() }, "pod netproof-r-1-x/a is gone"),
            (with_pod(changed(pod(), "/spec/containers", sidecar)), "was given the containers istio-proxy"),
        ];
        for (found, expected) in cases {
            let message = judged(found).await.unwrap();
            assert!(message.contains(expected) && message.contains("exempt"), "{message}");
        }
    }

    #[test]
    fn defaults_of_a_definition_are_no_change() {
        let sent = json!({"priority": 1, "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}]});
        let changed = |mut found: Value| {
            leave_out_defaults(&sent, &mut found);
            first_difference("spec", &sent, &found)
        };
        let same = json!({"priority": 1, "egress": [], "ingress": [{"action": "Deny", "name": "",
            "from": [{"namespaces": {}}]}]});
        assert_eq!(changed(same), None);
        let narrower = json!({"priority": 1, "ingress": [{"action": "Deny", "from": [{"namespaces": {}}],
            "ports": [{"portNumber": {"port": 80}}]}]});
        let expected = r#"spec.ingress[0].ports was sent as absent and is [{"portNumber":{"port":80}}]"#;
        assert_eq!(changed(narrower).as_deref(), Some(expected));
        let wider = json!({"priority": 1, "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}],
            "egress": [{"action": "Accept", "to": [{"namespaces": {}}]}]});
        assert!(changed(wider).is_some());
        let other = json!({"priority": 1, "ingress": [{"action": "Accept", "from": [{"namespaces": {}}]}]});
        let expected = "spec.ingress[0].action was sent as \"Deny\" and is \"Accept\"";
        assert_eq!(changed(other).as_deref(), Some(expected));
        let more = json!({"priority": 1, "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}, {}]});
        assert!(changed(more).is_some());
    }
}

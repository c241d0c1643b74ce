//! The Kubernetes objects of a run.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use netproof_probe::wire::{CONTROL_PORT, TOKEN_VARIABLE};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::agent_source::{AgentSource, FILE, FOLDER};
use super::names::Names;
use super::settings::{PullPolicy, Settings};
use super::site::{TaintEffect, Toleration};
use crate::backend::Error;
use crate::policy::{Backends, ContainerPort, Labels, Pod, Port, Service, ServicePort, TargetPort};
use crate::snapshot::Identity;

/// Label of everything that netproof created: key and value.
pub(crate) const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "netproof");

/// Label with the id of the run that created an object.
pub(crate) const RUN: &str = "netproof.dev/run";

/// Annotation of a pod with its namespace and name in the scenario that currently uses it.
pub(super) const POD: &str = "netproof.dev/pod";

/// Label that enforces a Pod Security level: key, and the value of most namespaces.
pub(super) const POD_SECURITY: (&str, &str) = ("pod-security.kubernetes.io/enforce", "restricted");

/// Pod Security level of namespaces whose pods use networks that are not their own.
pub(super) const PRIVILEGED: &str = "privileged";

/// Returns the label that lets a namespace have such pods.
pub(super) fn privileged() -> Labels {
    let (key, _) = POD_SECURITY;
    Labels::from([(key.to_owned(), PRIVILEGED.to_owned())])
}

/// Annotations of pods that keep the sidecars of service meshes away: keys and values.
pub const NO_SIDECARS: [(&str, &str); 2] =
    [("sidecar.istio.io/inject", "false"), ("linkerd.io/inject", "disabled")];

/// Name of the Secret with which the image is pulled.
pub(super) const PULL_SECRET: &str = "netproof-pull";

/// Name of a pod's only container.
pub(super) const AGENT: &str = "agent";

/// Names of a pod's volumes: the ConfigMap with the agent, and memory.
const PROGRAM_VOLUME: &str = "program";
const MEMORY_VOLUME: &str = "memory";

/// Where a pod can write. The agent is unpacked there if the node lets no program run from memory without a
/// file.
const WRITABLE: &str = "/tmp";

/// User id and group id of the agents. They belong to no account.
const NOBODY: i64 = 65_532;

/// Data that all objects of a run have in common.
#[derive(Debug, Clone)]
pub(super) struct Maker {
    pub(super) run: String,
    pub(super) token: String,
    pub(super) settings: Settings,
    pub(super) source: AgentSource,
}

impl Maker {
    /// Returns the labels of an object: its own, and those by which netproof recognizes it.
    pub(super) fn labels(&self, own: &Labels) -> Labels {
        let mut labels = own.clone();
        let (key, value) = MANAGED_BY;
        labels.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        labels.insert(RUN.to_owned(), self.run.clone());
        labels
    }

    /// Returns the labels of a pod: its own, those of the site, and those by which netproof recognizes it.
    /// Policies see all of them. Its own labels precede those of the site.
    pub(super) fn pod_labels(&self, own: &Labels) -> Labels {
        let mut labels = self.settings.site.pod_labels.clone();
        labels.extend(self.labels(own));
        labels
    }

    /// Like `pod_labels`, for a namespace.
    pub(super) fn namespace_labels(&self, own: &Labels) -> Labels {
        let mut labels = self.settings.site.namespace_labels.clone();
        labels.extend(self.labels(own));
        let (key, value) = POD_SECURITY;
        labels.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        labels
    }

    fn metadata(&self, namespace: Option<String>, name: &str, labels: Labels) -> ObjectMeta {
        ObjectMeta { name: Some(name.to_owned()), namespace, labels: Some(labels), ..ObjectMeta::default() }
    }

    /// Returns a Namespace object. `labels` must not contain the label that the API server sets itself.
    pub(super) fn namespace(&self, name: &str, labels: Labels) -> core::Namespace {
        let annotations = self.settings.site.namespace_annotations.clone();
        let annotations = Some(annotations).filter(|annotations| !annotations.is_empty());
        let metadata = ObjectMeta { annotations, ..self.metadata(None, name, labels) };
        core::Namespace { metadata, ..core::Namespace::default() }
    }

    pub(super) fn service(&self, service: &Service, names: &Names) -> Result<core::Service, Error> {
        let selector = match &service.backends {
            Backends::Selected(labels) => Some(labels),
            Backends::Addresses(_) | Backends::Unknown => None,
        };
        let port = |(i, port): (usize, &ServicePort)| {
            let target = match &port.target {
                TargetPort::Number(port) => json!(port.get()),
                TargetPort::Name(name) => json!(name),
            };
            // The API requires names if there are several ports.
            let name = port.name.clone().unwrap_or_else(|| format!("port-{i}"));
            let (number, protocol) = (port.port.get(), port.protocol.name());
            // Ports of nodes are taken only from those who allow it.
            let node_port = port.node_port.filter(|_| self.settings.host_network).map(Port::get);
            json!({"name": name, "port": number, "protocol": protocol, "targetPort": target, "nodePort": node_port})
        };
        let has_node_port = service.ports.iter().any(|port| port.node_port.is_some());
        let labels = self.labels(&Labels::new());
        object(json!({
            "metadata": self.metadata(Some(names.namespace(&service.namespace)), &service.name, labels),
            "spec": {
                "type": (has_node_port && self.settings.host_network).then_some("NodePort"),
                "selector": selector,
                "ports": service.ports.iter().enumerate().map(port).collect::<Vec<_>>(),
                "ipFamilyPolicy": "PreferDualStack",
                "internalTrafficPolicy": service.only_local.then_some("Local"),
            },
        }))
    }

    /// Returns the policy as it was written, in its namespace on the cluster.
    pub(super) fn policy(&self, written: &NetworkPolicy, namespace: &str, names: &Names) -> NetworkPolicy {
        let mut policy = written.clone();
        names.rewrite(&mut policy);
        let labels = self.labels(&written.metadata.labels.clone().unwrap_or_default());
        let name = written.metadata.name.clone().unwrap_or_default();
        policy.metadata = self.metadata(Some(names.namespace(namespace)), &name, labels);
        policy
    }

    /// Returns a policy that allows ingress to pods with this label at one TCP port only.
    pub(super) fn open_port(
        &self,
        namespace: &str,
        name: &str,
        (key, value): (&str, &str),
        port: u16,
    ) -> Result<NetworkPolicy, Error> {
        let labels = self.labels(&Labels::new());
        object(json!({
            "metadata": self.metadata(Some(namespace.to_owned()), name, labels),
            "spec": {
                "podSelector": {"matchLabels": {key: value}},
                "policyTypes": ["Ingress"],
                "ingress": [{"ports": [{"port": port, "protocol": "TCP"}]}],
            },
        }))
    }

    /// Returns a copy of the Secret with which the image is pulled.
    pub(super) fn pull_secret(&self, original: &core::Secret, namespace: &str) -> core::Secret {
        core::Secret {
            metadata: self.metadata(Some(namespace.to_owned()), PULL_SECRET, self.labels(&Labels::new())),
            type_: original.type_.clone(),
            data: original.data.clone(),
            ..core::Secret::default()
        }
    }

    /// Returns the ConfigMap that brings the agent for an architecture to a namespace. `None` if the run
    /// brings no such agent.
    pub(super) fn agent(&self, architecture: &str, namespace: &str) -> Option<core::ConfigMap> {
        let packed = self.source.agent(architecture)?.to_vec();
        let labels = self.labels(&Labels::new());
        Some(core::ConfigMap {
            metadata: self.metadata(Some(namespace.to_owned()), &self.agent_name(architecture), labels),
            binary_data: Some([(FILE.to_owned(), ByteString(packed))].into()),
            // The kubelet does not watch such a ConfigMap, and no user can replace the program in it.
            immutable: Some(true),
            ..core::ConfigMap::default()
        })
    }

    /// Returns the name of this ConfigMap. It contains the run's id, because a prepared namespace may have
    /// ConfigMaps of others.
    fn agent_name(&self, architecture: &str) -> String {
        format!("netproof-{}-{architecture}", self.run)
    }

    /// Returns the object for a scenario's pod on a node, with this image. Its agent signs with the pod's name on the
    /// cluster.
    pub(super) fn pod(
        &self,
        pod: &Pod,
        real: &Identity,
        node: &str,
        image: &str,
    ) -> Result<core::Pod, Error> {
        let Settings { image_pull_secret, deadline, site, .. } = &self.settings;
        let labels = self.pod_labels(&pod.labels);
        let mut metadata = self.metadata(Some(real.namespace.clone()), &real.name, labels);
        let mut annotations = site.pod_annotations.clone();
        annotations.extend(NO_SIDECARS.map(|(key, value)| (key.to_owned(), value.to_owned())));
        annotations.insert(POD.to_owned(), Identity::of_pod(pod).to_string());
        metadata.annotations = Some(annotations);
        let on_node = json!({"key": "metadata.name", "operator": "In", "values": [node]});
        object(json!({
            "metadata": metadata,
            "spec": {
                "containers": [self.container(pod, &real.to_string(), image)],
                "volumes": self.source.architecture(node).map(|architecture| json!([
                    {
                        "name": PROGRAM_VOLUME,
                        "configMap": {"name": self.agent_name(architecture), "defaultMode": 0o555},
                    },
                    {"name": MEMORY_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}},
                ])),
                "restartPolicy": "Never",
                "activeDeadlineSeconds": i64::try_from(deadline.as_secs()).unwrap_or(i64::MAX).max(1),
                "terminationGracePeriodSeconds": 1,
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "dnsPolicy": "Default",
                // Unlike `nodeName`, an affinity makes the scheduler check for room.
                "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchFields": [on_node]}],
                }}},
                "nodeSelector": Some(&site.node_selector).filter(|selector| !selector.is_empty()),
                "tolerations": tolerations(&site.tolerations),
                "priorityClassName": site.priority_class,
                "imagePullSecrets": image_pull_secret.as_ref().map(|_| [json!({"name": PULL_SECRET})]),
                "securityContext": {
                    "runAsNonRoot": true,
                    "runAsUser": NOBODY,
                    "runAsGroup": NOBODY,
                    "seccompProfile": {"type": "RuntimeDefault"},
                    "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}],
                },
            },
        }))
    }

    fn container(&self, pod: &Pod, agent: &str, image: &str) -> Value {
        let Settings { image_pull_policy, resources, .. } = &self.settings;
        let policy = image_pull_policy.unwrap_or(PullPolicy::IfNotPresent);
        let carried = match &self.source {
            AgentSource::Image(_) => None,
            AgentSource::ConfigMaps(_) => Some(self.source.program()),
        };
        let mut env = vec![json!({"name": TOKEN_VARIABLE, "value": self.token})];
        // The image may set it, too.
        env.extend(carried.map(|_| json!({"name": "TMPDIR", "value": WRITABLE})));
        let port = |port: &ContainerPort| {
            let (number, protocol) = (port.port.get(), port.protocol.name());
            json!({"name": port.name, "containerPort": number, "protocol": protocol})
        };
        let ports: Vec<Value> = pod.ports.iter().map(port).collect();
        json!({
            "name": AGENT,
            "image": image,
            "imagePullPolicy": policy.name(),
            "command": carried.map(|program| [program]),
            "args": ["--name", agent, "--listen", format!("127.0.0.1:{CONTROL_PORT}")],
            // That of the image may be one that this user cannot enter.
            "workingDir": carried.map(|_| "/"),
            "env": env,
            "volumeMounts": carried.map(|_| json!([
                {"name": PROGRAM_VOLUME, "mountPath": FOLDER, "readOnly": true},
                {"name": MEMORY_VOLUME, "mountPath": WRITABLE},
            ])),
            // If the agent cannot be unpacked, the last line of its output says why.
            "terminationMessagePolicy": carried.map(|_| "FallbackToLogsOnError"),
            "ports": Some(ports).filter(|ports| !ports.is_empty()),
            "resources": {"requests": resources.requests, "limits": resources.limits},
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            },
        })
    }
}

/// Returns the tolerations of a pod. Without requested ones, it tolerates every taint.
fn tolerations(requested: &[Toleration]) -> Vec<Value> {
    if requested.is_empty() {
        return vec![json!({"operator": "Exists"})];
    }
    let toleration = |Toleration { key, value, effect }: &Toleration| {
        let operator = if value.is_some() { "Equal" } else { "Exists" };
        json!({"key": key, "operator": operator, "value": value, "effect": effect.map(TaintEffect::name)})
    };
    requested.iter().map(toleration).collect()
}

/// Returns the object with this JSON. A field that its type does not know would be lost, so the test below
/// must read every object that is made here.
fn object<K: DeserializeOwned>(json: Value) -> Result<K, Error> {
    serde_json::from_value(json).map_err(|error| Error::failed("make an object", error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cluster::mocked::{scenario, settings};
    use crate::backend::cluster::site::Site;

    const TOPOLOGY: &str = "topology:
  namespaces:
  - name: x
    pods:
    - {name: a, labels: {app: a}, ports: [{name: http, port: 80}, {port: 53, protocol: UDP}]}
    - {name: b}
    services:
    - {name: web, selector: {app: a}, ports: [{port: 80, targetPort: http}, {name: dns, port: 53, protocol: UDP}]}
    - {name: local, selector: {app: a}, ports: [{port: 80}]}
steps: [{name: s}]
";

    /// A field with a wrong name would be ignored.
    #[test]
    fn objects_have_every_field_that_they_need() {
        let maker = |settings| {
            let source = AgentSource::Image("probe".to_owned());
            Maker { run: "r".to_owned(), token: "t".to_owned(), settings, source }
        };
        let plain = maker(settings());
        let carrying = Maker { source: AgentSource::fake(&[("n", "arm64")]), ..plain.clone() };
        let pulled = maker(Settings {
            image_pull_policy: Some(PullPolicy::Always),
            image_pull_secret: Some(Identity::new("y", "secret")),
            ..settings()
        });
        let labels = |key: &str| Labels::from([(key.to_owned(), "x".to_owned())]);
        let toleration = |value: Option<&str>, effect| Toleration {
            key: "dedicated".to_owned(),
            value: value.map(str::to_owned),
            effect,
        };
        // The pod has its own value of the label `app`.
        let pod_labels: Labels = labels("owner").into_iter().chain(labels("app")).collect();
        let site = maker(Settings {
            site: Site {
                namespace_labels: labels("cost-centre"),
                namespace_annotations: labels("contact"),
                pod_labels,
                pod_annotations: labels("mesh"),
                node_selector: labels("pool"),
                tolerations: vec![
                    toleration(None, None),
                    toleration(Some("test"), Some(TaintEffect::NoSchedule)),
                ],
                priority_class: Some("low".to_owned()),
            },
            ..settings()
        });
        let of_site = site.namespace_labels(&labels("env"));
        let (mut cluster, names) = (scenario(TOPOLOGY).world.cluster, Names::new("p".to_owned()));
        cluster.services[1].only_local = true;
        let real = Identity::new("p-x", "a-2");
        let objects = json!({
            "pod": plain.pod(&cluster.pods[0], &real, "n", "probe").unwrap(),
            "carried agent": carrying.agent("arm64", "p-x").unwrap(),
            "carrying pod": carrying.pod(&cluster.pods[1], &real, "n", "pause").unwrap(),
            "pulled": pulled.pod(&cluster.pods[1], &real, "n", "probe").unwrap(),
            "namespace of a site": site.namespace("p-x", of_site),
            "pod of a site": site.pod(&cluster.pods[0], &real, "n", "probe").unwrap(),
            "local service of a site": site.service(&cluster.services[1], &names).unwrap(),
            "service": plain.service(&cluster.services[0], &names).unwrap(),
            "local service": plain.service(&cluster.services[1], &names).unwrap(),
            "open port": plain.open_port("p-x", "sentinel-0", ("role", "sentinel"), 15_121).unwrap(),
        });
        insta::assert_snapshot!(serde_json::to_string_pretty(&objects).unwrap());
    }
}

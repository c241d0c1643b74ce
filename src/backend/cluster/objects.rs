//! The Kubernetes objects of a run.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use netproof_probe::wire::{CONTROL_PORT, TOKEN_VARIABLE};

use super::names::Names;
use super::settings::Settings;
use crate::policy::{Backends, Labels, Pod, Service, TargetPort};
use crate::snapshot::Identity;

/// Label of everything that netproof created: key and value.
pub(super) const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "netproof");

/// Label with the id of the run that created an object.
pub(super) const RUN: &str = "netproof.dev/run";

/// Annotation of a pod with its namespace and name in the scenario that currently uses it.
pub(super) const POD: &str = "netproof.dev/pod";

/// Label that enforces a Pod Security level, which all namespaces have: key and value.
pub(super) const POD_SECURITY: (&str, &str) = ("pod-security.kubernetes.io/enforce", "restricted");

/// Name of the Secret with which the image is pulled.
pub(super) const PULL_SECRET: &str = "netproof-pull";

/// Path of the agent in the image.
pub(super) const PROGRAM: &str = "/netproof-probe";

/// Name of a pod's only container.
pub(super) const AGENT: &str = "agent";

/// User id and group id of the agents. They belong to no account.
const NOBODY: i64 = 65_532;

/// Data that all objects of a run have in common.
#[derive(Debug, Clone)]
pub(super) struct Maker {
    pub(super) run: String,
    pub(super) token: String,
    pub(super) settings: Settings,
}

impl Maker {
    /// Returns the labels of a pod or namespace: its own, and those by which netproof recognizes it. Policies
    /// see both.
    pub(super) fn labels(&self, own: &Labels, is_namespace: bool) -> Labels {
        let mut labels = own.clone();
        let (key, value) = MANAGED_BY;
        labels.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        if is_namespace {
            let (key, value) = POD_SECURITY;
            labels.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        }
        labels.insert(RUN.to_owned(), self.run.clone());
        labels
    }

    fn metadata(&self, namespace: Option<String>, name: &str, labels: Labels) -> ObjectMeta {
        ObjectMeta { name: Some(name.to_owned()), namespace, labels: Some(labels), ..ObjectMeta::default() }
    }

    /// Returns a Namespace object. `labels` must not contain the label that the API server sets itself.
    pub(super) fn namespace(&self, name: &str, labels: Labels) -> core::Namespace {
        core::Namespace { metadata: self.metadata(None, name, labels), ..core::Namespace::default() }
    }

    pub(super) fn service(&self, service: &Service, names: &Names) -> core::Service {
        let selector = match &service.backends {
            Backends::Selected(labels) => Some(labels.clone()),
            Backends::Addresses(_) | Backends::Unknown => None,
        };
        let port = |(i, port): (usize, &crate::policy::ServicePort)| core::ServicePort {
            // The API requires names if there are several ports.
            name: Some(port.name.clone().unwrap_or_else(|| format!("port-{i}"))),
            port: port.port.get().into(),
            protocol: Some(port.protocol.name().to_owned()),
            target_port: Some(match &port.target {
                TargetPort::Number(port) => IntOrString::Int(port.get().into()),
                TargetPort::Name(name) => IntOrString::String(name.clone()),
            }),
            ..core::ServicePort::default()
        };
        let labels = self.labels(&Labels::new(), false);
        core::Service {
            metadata: self.metadata(Some(names.namespace(&service.namespace)), &service.name, labels),
            spec: Some(core::ServiceSpec {
                selector,
                ports: Some(service.ports.iter().enumerate().map(port).collect()),
                ip_family_policy: Some("PreferDualStack".to_owned()),
                internal_traffic_policy: service.only_local.then(|| "Local".to_owned()),
                ..core::ServiceSpec::default()
            }),
            ..core::Service::default()
        }
    }

    /// Returns the policy as it was written, in its namespace on the cluster.
    pub(super) fn policy(&self, written: &NetworkPolicy, namespace: &str, names: &Names) -> NetworkPolicy {
        let mut policy = written.clone();
        names.rewrite(&mut policy);
        let labels = self.labels(&written.metadata.labels.clone().unwrap_or_default(), false);
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
    ) -> NetworkPolicy {
        let port = NetworkPolicyPort {
            port: Some(IntOrString::Int(port.into())),
            protocol: Some("TCP".to_owned()),
            ..NetworkPolicyPort::default()
        };
        let selector = LabelSelector {
            match_labels: Some([(key.to_owned(), value.to_owned())].into()),
            ..LabelSelector::default()
        };
        let spec = NetworkPolicySpec {
            pod_selector: Some(selector),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![NetworkPolicyIngressRule { ports: Some(vec![port]), from: None }]),
            egress: None,
        };
        let labels = self.labels(&Labels::new(), false);
        NetworkPolicy { metadata: self.metadata(Some(namespace.to_owned()), name, labels), spec: Some(spec) }
    }

    /// Returns a copy of the Secret with which the image is pulled.
    pub(super) fn pull_secret(&self, original: &core::Secret, namespace: &str) -> core::Secret {
        core::Secret {
            metadata: self.metadata(
                Some(namespace.to_owned()),
                PULL_SECRET,
                self.labels(&Labels::new(), false),
            ),
            type_: original.type_.clone(),
            data: original.data.clone(),
            ..core::Secret::default()
        }
    }

    /// Returns the object for a scenario's pod on a node. Its agent signs with the pod's name on the cluster.
    pub(super) fn pod(&self, pod: &Pod, real: &Identity, node: &str) -> core::Pod {
        let no_sidecars = [("sidecar.istio.io/inject", "false"), ("linkerd.io/inject", "disabled")];
        let annotations = no_sidecars.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let annotated = (POD.to_owned(), Identity::of_pod(pod).to_string());
        let labels = self.labels(&pod.labels, false);
        let mut metadata = self.metadata(Some(real.namespace.clone()), &real.name, labels);
        metadata.annotations = Some(annotations.into_iter().chain([annotated]).collect());
        let pull_secret = core::LocalObjectReference { name: PULL_SECRET.to_owned() };
        let deadline = i64::try_from(self.settings.deadline.as_secs()).unwrap_or(i64::MAX);
        core::Pod {
            metadata,
            spec: Some(core::PodSpec {
                containers: vec![self.container(pod, &real.to_string())],
                restart_policy: Some("Never".to_owned()),
                active_deadline_seconds: Some(deadline.max(1)),
                termination_grace_period_seconds: Some(1),
                automount_service_account_token: Some(false),
                enable_service_links: Some(false),
                dns_policy: Some("Default".to_owned()),
                affinity: Some(on_node(node)),
                tolerations: Some(vec![core::Toleration {
                    operator: Some("Exists".to_owned()),
                    ..core::Toleration::default()
                }]),
                image_pull_secrets: self.settings.image_pull_secret.as_ref().map(|_| vec![pull_secret]),
                security_context: Some(pod_security()),
                ..core::PodSpec::default()
            }),
            ..core::Pod::default()
        }
    }

    fn container(&self, pod: &Pod, agent: &str) -> core::Container {
        let arguments = ["--name", agent, "--listen", &format!("127.0.0.1:{CONTROL_PORT}")];
        let port = |port: &crate::policy::ContainerPort| core::ContainerPort {
            name: port.name.clone(),
            container_port: port.port.get().into(),
            protocol: Some(port.protocol.name().to_owned()),
            ..core::ContainerPort::default()
        };
        core::Container {
            name: AGENT.to_owned(),
            image: Some(self.settings.image.clone()),
            image_pull_policy: self.settings.image_pull_policy.map(|policy| policy.name().to_owned()),
            args: Some(arguments.map(str::to_owned).into()),
            env: Some(vec![core::EnvVar {
                name: TOKEN_VARIABLE.to_owned(),
                value: Some(self.token.clone()),
                ..core::EnvVar::default()
            }]),
            ports: (!pod.ports.is_empty()).then(|| pod.ports.iter().map(port).collect()),
            resources: Some(resources()),
            security_context: Some(container_security()),
            ..core::Container::default()
        }
    }
}

/// Returns an affinity to one node. Unlike `nodeName`, an affinity makes the scheduler check for room.
fn on_node(node: &str) -> core::Affinity {
    let requirement = core::NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = core::NodeSelectorTerm { match_fields: Some(vec![requirement]), ..Default::default() };
    core::Affinity {
        node_affinity: Some(core::NodeAffinity {
            required_during_scheduling_ignored_during_execution: Some(core::NodeSelector {
                node_selector_terms: vec![term],
            }),
            ..core::NodeAffinity::default()
        }),
        ..core::Affinity::default()
    }
}

fn resources() -> core::ResourceRequirements {
    let quantities = |cpu: &str, memory: &str| -> BTreeMap<String, Quantity> {
        [("cpu", cpu), ("memory", memory)]
            .map(|(key, value)| (key.to_owned(), Quantity(value.to_owned())))
            .into()
    };
    core::ResourceRequirements {
        requests: Some(quantities("5m", "16Mi")),
        limits: Some(quantities("500m", "64Mi")),
        ..core::ResourceRequirements::default()
    }
}

fn pod_security() -> core::PodSecurityContext {
    let low_ports = ("net.ipv4.ip_unprivileged_port_start", "0");
    core::PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(NOBODY),
        run_as_group: Some(NOBODY),
        seccomp_profile: Some(core::SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..core::SeccompProfile::default()
        }),
        sysctls: Some(vec![core::Sysctl { name: low_ports.0.to_owned(), value: low_ports.1.to_owned() }]),
        ..core::PodSecurityContext::default()
    }
}

fn container_security() -> core::SecurityContext {
    core::SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(core::Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            ..core::Capabilities::default()
        }),
        ..core::SecurityContext::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::backend::cluster::mocked::settings;
    use crate::backend::cluster::settings::PullPolicy;
    use crate::scenario::Scenario;

    const TOPOLOGY: &str = "apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {name: s}
topology:
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
        let maker = |settings| Maker { run: "r".to_owned(), token: "t".to_owned(), settings };
        let plain = maker(settings());
        let pulled = maker(Settings {
            image_pull_policy: Some(PullPolicy::Always),
            image_pull_secret: Some(Identity::new("y", "secret")),
            ..settings()
        });
        let (mut cluster, names) = (Scenario::from_text(TOPOLOGY).world.cluster, Names::new("p".to_owned()));
        cluster.services[1].only_local = true;
        let real = Identity::new("p-x", "a-2");
        let objects = json!({
            "pods": cluster.pods.iter().map(|pod| plain.pod(pod, &real, "n")).collect::<Vec<_>>(),
            "pulled": pulled.pod(&cluster.pods[1], &real, "n"),
            "services": cluster.services.iter().map(|it| plain.service(it, &names)).collect::<Vec<_>>(),
            "open port": plain.open_port("p-x", "sentinel-0", ("role", "sentinel"), 15_121),
        });
        insta::assert_snapshot!(serde_json::to_string_pretty(&objects).unwrap());
    }
}

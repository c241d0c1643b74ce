//! Converts a state to Kubernetes' own objects, for the naive evaluator.

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use crate::naive::{self, Answer, End, Objects, Question, Target};
use crate::plan::Cell;
use crate::policy::{
    Backends, ClusterPolicyKind, ContainerPort, Decision, IpFamily, Labels, Pod, Port, Protocol, Service,
    TargetPort,
};
use crate::snapshot::cluster_policy::GROUP;
use crate::snapshot::{Identity, WrittenClusterPolicy, WrittenService};
use crate::world::{EndpointName, Probe, World};

/// The naive evaluator with one state.
pub(super) struct Naive<'a> {
    world: &'a World,
    objects: Objects,
}

impl<'a> Naive<'a> {
    pub(super) fn new(world: &'a World) -> Self {
        let cluster = &world.cluster;
        let namespaces = cluster.namespaces.iter().map(|namespace| api::Namespace {
            metadata: metadata(None, &namespace.name, &namespace.labels),
            ..api::Namespace::default()
        });
        let objects = Objects {
            namespaces: namespaces.collect(),
            nodes: cluster.nodes.iter().map(|node| (node.name.clone(), node.addresses.clone())).collect(),
            pods: cluster.pods.iter().map(pod).collect(),
            services: cluster.services.iter().map(|service| service_of(world, service)).collect(),
            // The policies as they were written, because the engine's version of them may be the mistake.
            policies: world.written.iter().map(|written| (*written.object).clone()).collect(),
            cluster_policies: world.written_for_cluster.iter().map(cluster_policy).collect(),
        };
        Self { world, objects }
    }

    /// Returns its decision for a cell. Returns `None` if an end of the cell does not exist.
    pub(super) fn decide(&self, cell: &Cell) -> Option<Decision> {
        let (target, protocol, port) = match cell.probe {
            Probe::Port { port, protocol } => (self.target(&cell.to, cell.family)?, protocol, port),
            Probe::Dns { over } => {
                let service = self.world.dns.as_ref()?.service_name();
                (self.target(&service, cell.family)?, over, Port::new(53)?)
            }
            Probe::ByName { port, protocol } => {
                let one = |probe| self.decide(&Cell { probe, ..cell.clone() });
                let lookup = one(Probe::Dns { over: Protocol::Udp })?;
                return Some(match (lookup, one(Probe::Port { port, protocol })?) {
                    (Decision::Deny, _) | (_, Decision::Deny) => Decision::Deny,
                    (Decision::Undefined, _) | (_, Decision::Undefined) => Decision::Undefined,
                    (Decision::Allow, Decision::Allow) => Decision::Allow,
                });
            }
        };
        let Target::End(source) = self.target(&cell.from, cell.family)? else { return None };
        let ipv6 = cell.family == IpFamily::V6;
        let question = Question { source, target, ipv6, protocol: protocol.name(), port: port.get() };
        Some(match naive::evaluate(&self.objects, question) {
            Answer::Allow => Decision::Allow,
            Answer::Deny => Decision::Deny,
            Answer::Undefined => Decision::Undefined,
        })
    }

    fn target(&self, name: &EndpointName, family: IpFamily) -> Option<Target> {
        let cluster = &self.world.cluster;
        let target = match name {
            EndpointName::Pod { namespace, name } => {
                let is_it = |pod: &Pod| pod.namespace == *namespace && pod.name == *name;
                End::Pod(cluster.pods.iter().position(is_it)?)
            }
            EndpointName::Node(name) => End::Node(cluster.nodes.iter().position(|node| node.name == *name)?),
            EndpointName::External(name) => {
                let external = self.world.externals.iter().find(|external| external.name == *name)?;
                End::External(family.first_of(&external.addresses)?)
            }
            EndpointName::Service { namespace, name } => {
                let is_it = |service: &Service| service.namespace == *namespace && service.name == *name;
                return Some(Target::Service(cluster.services.iter().position(is_it)?));
            }
        };
        Some(Target::End(target))
    }
}

/// Returns a cluster-scoped policy as JSON.
pub(super) fn cluster_policy(written: &WrittenClusterPolicy) -> Value {
    let version = match written.policy.name.kind {
        ClusterPolicyKind::AdminNetworkPolicy | ClusterPolicyKind::BaselineAdminNetworkPolicy => "v1alpha1",
        ClusterPolicyKind::ClusterNetworkPolicy => "v1alpha2",
    };
    json!({
        "apiVersion": format!("{GROUP}/{version}"),
        "kind": written.policy.name.kind.name(),
        "metadata": { "name": written.policy.name.name },
        "spec": written.object.spec,
    })
}

fn metadata(namespace: Option<&str>, name: &str, labels: &Labels) -> ObjectMeta {
    ObjectMeta {
        namespace: namespace.map(str::to_owned),
        name: Some(name.to_owned()),
        labels: Some(labels.clone()),
        ..ObjectMeta::default()
    }
}

fn pod(pod: &Pod) -> api::Pod {
    let ports = pod.ports.iter().map(|port: &ContainerPort| api::ContainerPort {
        name: port.name.clone(),
        container_port: port.port.get().into(),
        protocol: Some(port.protocol.name().to_owned()),
        ..api::ContainerPort::default()
    });
    let container = api::Container { ports: Some(ports.collect()), ..api::Container::default() };
    let addresses = pod.addresses.iter().map(|address| api::PodIP { ip: address.to_string() });
    api::Pod {
        metadata: metadata(Some(&pod.namespace), &pod.name, &pod.labels),
        spec: Some(api::PodSpec {
            containers: vec![container],
            host_network: Some(pod.host_network),
            node_name: pod.node.clone(),
            ..api::PodSpec::default()
        }),
        status: Some(api::PodStatus {
            phase: Some(if pod.ended { "Succeeded" } else { "Running" }.to_owned()),
            pod_ips: Some(addresses.collect()),
            ..api::PodStatus::default()
        }),
    }
}

/// Returns a Service as it was written, with its assigned addresses. A Service of the topology is converted, because
/// it was not written as an object.
fn service_of(world: &World, known: &Service) -> api::Service {
    let is_it =
        |written: &&WrittenService| Identity::of_service(&written.service) == Identity::of_service(known);
    let Some(written) = world.written_services.iter().find(is_it) else { return service(known) };
    let mut object = (*written.object).clone();
    let addresses = known.addresses.iter().map(ToString::to_string).collect();
    object.spec.get_or_insert_default().cluster_ips = Some(addresses);
    object
}

fn service(service: &Service) -> api::Service {
    let selector = match &service.backends {
        Backends::Selected(selector) => Some(selector.clone()),
        Backends::Addresses(_) | Backends::Unknown => None,
    };
    let number = |port: Port| i32::from(port.get());
    let protocol = |protocol: Protocol| Some(protocol.name().to_owned());
    let ports = service.ports.iter().map(|port| api::ServicePort {
        name: port.name.clone(),
        port: number(port.port),
        protocol: protocol(port.protocol),
        node_port: port.node_port.map(number),
        target_port: Some(match &port.target {
            TargetPort::Number(target) => IntOrString::Int(number(*target)),
            TargetPort::Name(name) => IntOrString::String(name.clone()),
        }),
        ..api::ServicePort::default()
    });
    api::Service {
        metadata: metadata(Some(&service.namespace), &service.name, &Labels::new()),
        spec: Some(api::ServiceSpec {
            selector,
            cluster_ips: Some(service.addresses.iter().map(ToString::to_string).collect()),
            ports: Some(ports.collect()),
            internal_traffic_policy: service.only_local.then(|| "Local".to_owned()),
            ..api::ServiceSpec::default()
        }),
        ..api::Service::default()
    }
}

//! Converts `v1 Pod`, and the pods that a template makes.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1 as api;

use super::controller_labels;
use super::field::{Field, Problem};
use super::identity::Identity;
use super::rules;
use crate::policy::{ContainerPort, Labels, Pod, Port, Protocol};
use crate::source::quote;

/// Converts a pod of the API.
pub(super) fn convert(pod: &api::Pod, identity: Identity) -> Result<Pod, Problem> {
    let root = Field::ROOT;
    rules::subdomain(&identity.name, &root.field("metadata").field("name"))?;
    let mut converted =
        from_template(&pod.metadata.labels.clone().unwrap_or_default(), pod.spec.as_ref(), identity, &root)?;
    let mut is_bound = false;
    if let Some(status) = &pod.status {
        let at = root.field("status");
        let listed = status.pod_ips.iter().flatten();
        converted.addresses =
            at.field("podIPs").each(listed, |address, at| rules::address(&address.ip, &at.field("ip")))?;
        if let (true, Some(address)) = (converted.addresses.is_empty(), &status.pod_ip) {
            converted.addresses.push(rules::address(address, &at.field("podIP"))?);
        }
        is_bound = converted.node.is_some() || !converted.addresses.is_empty();
        converted.ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    }
    if !is_bound {
        controller_labels::bind_later(&mut converted);
    }
    Ok(converted)
}

/// Converts the pod of a template. It has no addresses. `at` is the template or the pod.
pub(super) fn from_template(
    labels: &Labels,
    spec: Option<&api::PodSpec>,
    identity: Identity,
    at: &Field<'_>,
) -> Result<Pod, Problem> {
    rules::labels(labels, &at.field("metadata").field("labels"))?;
    let spec_at = at.field("spec");
    let host_network = spec.and_then(|spec| spec.host_network).unwrap_or(false);
    let host_ports = spec.filter(|_| !host_network).map(|spec| host_ports(spec, &spec_at));
    Ok(Pod {
        namespace: identity.namespace,
        name: identity.name,
        labels: labels.clone(),
        ports: spec.map(|spec| container_ports(spec, &spec_at)).transpose()?.unwrap_or_default(),
        host_ports: host_ports.transpose()?.unwrap_or_default(),
        host_network,
        node: spec.and_then(|spec| spec.node_name.clone()),
        ..Pod::default()
    })
}

/// The list of a container, and its index there.
type ContainerIndex = (&'static str, usize);

/// Calls `visit` with each port of the containers that can serve: the containers, then the init containers that keep
/// running.
fn for_each_port<'a>(
    spec: &'a api::PodSpec,
    at: &Field<'_>,
    mut visit: impl FnMut(ContainerIndex, &'a api::ContainerPort, &Field<'_>) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let containers = spec.containers.iter().enumerate().map(|(i, c)| (("containers", i), c));
    let init_containers = spec.init_containers.iter().flatten().enumerate();
    let sidecars = init_containers.filter(|(_, c)| c.restart_policy.as_deref() == Some("Always"));
    let sidecars = sidecars.map(|(i, c)| (("initContainers", i), c));
    for ((list, index), container) in containers.chain(sidecars) {
        for (i, port) in container.ports.iter().flatten().enumerate() {
            visit((list, index), port, &at.field(list).index(index).field("ports").index(i))?;
        }
    }
    Ok(())
}

/// Returns the ports of the node that lead to the pod (`hostPort`).
fn host_ports(spec: &api::PodSpec, at: &Field<'_>) -> Result<Vec<(Protocol, Port)>, Problem> {
    let mut ports = Vec::new();
    for_each_port(spec, at, |_, port, at| {
        if let Some(number) = port.host_port.filter(|number| *number != 0) {
            let protocol = rules::protocol(port.protocol.as_deref(), &at.field("protocol"))?;
            ports.push((protocol, rules::port_number(number, &at.field("hostPort"))?));
        }
        Ok(())
    })?;
    Ok(ports)
}

/// Returns the ports that names are resolved to, in the order of the containers (`podutil.FindPort`).
fn container_ports(spec: &api::PodSpec, at: &Field<'_>) -> Result<Vec<ContainerPort>, Problem> {
    // A name may occur once in a container, whatever the protocol (`validateContainerPorts`). Other containers may
    // repeat it.
    let (mut ports, mut names) = (Vec::new(), BTreeSet::new());
    for_each_port(spec, at, |container, port, at| {
        if let Some(name) = &port.name {
            rules::port_name(name, &at.field("name"))?;
            if !names.insert((container, name)) {
                let message =
                    format!("{} is there twice: each port of a container has its own name", quote(name));
                return Err(at.field("name").problem(message));
            }
        }
        ports.push(ContainerPort {
            name: port.name.clone(),
            port: rules::port_number(port.container_port, &at.field("containerPort"))?,
            protocol: rules::protocol(port.protocol.as_deref(), &at.field("protocol"))?,
        });
        Ok(())
    })?;
    Ok(ports)
}

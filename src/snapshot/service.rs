//! `v1 Service`.

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::field::{Field, Problem};
use super::object::Identity;
use super::rules::{self, NumberOrName};
use crate::policy::{Backends, Exposure, Service, ServicePort, TargetPort};

/// Converts a Service.
pub(super) fn convert(service: &api::Service, identity: Identity) -> Result<Service, Problem> {
    let root = Field::ROOT;
    rules::dns_label(&identity.name, &root.field("metadata").field("name"))?;
    let default = api::ServiceSpec::default();
    let spec = service.spec.as_ref().unwrap_or(&default);
    let at = root.field("spec");

    let ports_at = at.field("ports");
    let ports = spec.ports.iter().flatten().enumerate().map(|(i, p)| port(p, &ports_at.index(i)));
    let ports = ports.collect::<Result<_, _>>()?;

    let addresses_at = at.field("clusterIPs");
    let mut addresses = Vec::new();
    let listed = spec.cluster_ips.as_deref().unwrap_or(spec.cluster_ip.as_slice());
    for (i, address) in listed.iter().enumerate().filter(|(_, a)| !a.is_empty() && *a != "None") {
        addresses.push(rules::address(address, &addresses_at.index(i))?);
    }

    let selector = spec.selector.clone().unwrap_or_default();
    rules::labels(&selector, &at.field("selector"))?;
    let backends = if selector.is_empty() || spec.type_.as_deref() == Some("ExternalName") {
        Backends::Unknown
    } else {
        Backends::Selected(selector)
    };
    let exposures = [Exposure::NodePort, Exposure::LoadBalancer];
    let exposure = exposures.into_iter().find(|exposure| {
        // With `Local` the nodes keep the client's address.
        spec.type_.as_deref() == Some(exposure.name())
            && spec.external_traffic_policy.as_deref() != Some("Local")
    });
    let Identity { namespace, name } = identity;
    Ok(Service { namespace, name, addresses, ports, backends, exposure })
}

fn port(port: &api::ServicePort, at: &Field<'_>) -> Result<ServicePort, Problem> {
    let number = rules::port_number(port.port, &at.field("port"))?;
    let target = match &port.target_port {
        // The API server puts the port where the target is left out or zero.
        None | Some(IntOrString::Int(0)) => TargetPort::Number(number),
        Some(target) => match rules::port(target, &at.field("targetPort"))? {
            NumberOrName::Number(number) => TargetPort::Number(number),
            NumberOrName::Name(name) => TargetPort::Name(name),
        },
    };
    let node_port = match port.node_port {
        None | Some(0) => None,
        Some(number) => Some(rules::port_number(number, &at.field("nodePort"))?),
    };
    Ok(ServicePort {
        name: port.name.clone(),
        protocol: rules::protocol(port.protocol.as_deref(), &at.field("protocol"))?,
        port: number,
        target,
        node_port,
    })
}

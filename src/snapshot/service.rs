//! `v1 Service`.

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::field::{Field, Problem};
use super::name::{self, NumberOrName};
use super::object::Identity;
use crate::policy::{Backends, Service, ServicePort, TargetPort};

/// Converts a Service.
pub(super) fn convert(service: &api::Service, identity: Identity) -> Result<Service, Problem> {
    let root = Field::ROOT;
    name::dns_label(&identity.name, &root.field("metadata").field("name"))?;
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
        addresses.push(name::address(address, &addresses_at.index(i))?);
    }

    let selector = spec.selector.clone().unwrap_or_default();
    name::labels(&selector, &at.field("selector"))?;
    let backends = if selector.is_empty() || spec.type_.as_deref() == Some("ExternalName") {
        Backends::Unknown
    } else {
        Backends::Selected(selector)
    };
    Ok(Service { namespace: identity.namespace, name: identity.name, addresses, ports, backends })
}

fn port(port: &api::ServicePort, at: &Field<'_>) -> Result<ServicePort, Problem> {
    let number = name::port_number(port.port, &at.field("port"))?;
    let target = match &port.target_port {
        // The API server puts the port where the target is left out or zero.
        None | Some(IntOrString::Int(0)) => TargetPort::Number(number),
        Some(target) => match name::port(target, &at.field("targetPort"))? {
            NumberOrName::Number(number) => TargetPort::Number(number),
            NumberOrName::Name(name) => TargetPort::Name(name),
        },
    };
    let node_port = match port.node_port {
        None | Some(0) => None,
        Some(number) => Some(name::port_number(number, &at.field("nodePort"))?),
    };
    Ok(ServicePort {
        name: port.name.clone(),
        protocol: name::protocol(port.protocol.as_deref(), &at.field("protocol"))?,
        port: number,
        target,
        node_port,
    })
}

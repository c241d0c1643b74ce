//! Converts `v1 Service`.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::field::{Field, Problem};
use super::identity::Identity;
use super::rules::{self, NumberOrName};
use crate::policy::{Backends, Exposure, Service, ServicePort, TargetPort};
use crate::source::quote;

const EXTERNAL_NAME: &str = "ExternalName";
const LOAD_BALANCER: &str = Exposure::LoadBalancer.name();
const NODE_PORT: &str = Exposure::NodePort.name();

const LOCAL: &str = "Local";

/// Values of `spec.internalTrafficPolicy` and of `spec.externalTrafficPolicy`.
const TRAFFIC_POLICIES: [&str; 2] = ["Cluster", LOCAL];

/// Values of `spec.ipFamilies`.
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];

/// Values of `spec.type`.
const KINDS: [&str; 4] = ["ClusterIP", NODE_PORT, LOAD_BALANCER, EXTERNAL_NAME];

pub(super) fn convert(service: &api::Service, identity: Identity) -> Result<Service, Problem> {
    rules::dns_label(&identity.name, &Field::ROOT.field("metadata").field("name"))?;
    let default = api::ServiceSpec::default();
    let spec = service.spec.as_ref().unwrap_or(&default);
    let at = Field::ROOT.field("spec");

    let ports = at.field("ports").each(spec.ports.iter().flatten(), port)?;
    let addresses = at.field("clusterIPs").each(listed_addresses(spec), |address, at| {
        let is_address = !address.is_empty() && address != "None";
        is_address.then(|| rules::address(address, at)).transpose()
    })?;

    let kind = spec.type_.as_deref().filter(|kind| !kind.is_empty()).unwrap_or("ClusterIP");
    check_values(spec, &at)?;
    let policy = spec.internal_traffic_policy.as_deref();
    let selector = spec.selector.clone().unwrap_or_default();
    rules::labels(&selector, &at.field("selector"))?;
    let backends = if selector.is_empty() || kind == EXTERNAL_NAME {
        Backends::Unknown
    } else {
        Backends::Selected(selector)
    };
    let exposure = [Exposure::NodePort, Exposure::LoadBalancer].into_iter().find(|exposure| {
        // With `Local`, nodes keep the client's address.
        kind == exposure.name() && spec.external_traffic_policy.as_deref() != Some(LOCAL)
    });
    Ok(Service {
        namespace: identity.namespace,
        name: identity.name,
        addresses: addresses.into_iter().flatten().collect(),
        ports,
        backends,
        exposure,
        headless: kind == "ClusterIP" && is_headless(spec),
        only_local: policy == Some(LOCAL),
        chooses_node_ports: kind == NODE_PORT
            || (kind == LOAD_BALANCER && spec.allocate_load_balancer_node_ports != Some(false)),
    })
}

/// Refuses values that the API server refuses. If they were read as something else, the answer would be about another
/// Service.
fn check_values(spec: &api::ServiceSpec, at: &Field<'_>) -> Result<(), Problem> {
    let closed: [(&str, &Option<String>, &[&str]); 5] = [
        ("type", &spec.type_, &KINDS),
        ("internalTrafficPolicy", &spec.internal_traffic_policy, &TRAFFIC_POLICIES),
        ("externalTrafficPolicy", &spec.external_traffic_policy, &TRAFFIC_POLICIES),
        ("sessionAffinity", &spec.session_affinity, &["None", "ClientIP"]),
        ("ipFamilyPolicy", &spec.ip_family_policy, &["SingleStack", "PreferDualStack", "RequireDualStack"]),
    ];
    let check = |value: &str, known: &[&str], at: &Field<'_>| {
        let refused = || at.problem(format!("{} is none of {}", quote(value), known.join(", ")));
        known.contains(&value).then_some(()).ok_or_else(refused)
    };
    for (field, value, known) in closed {
        // The API server sets the default if a value is omitted or empty.
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            check(value, known, &at.field(field))?;
        }
    }
    at.field("ipFamilies")
        .each(spec.ip_families.iter().flatten(), |family, at| check(family, &FAMILIES, at))?;
    let mut seen = BTreeSet::new();
    for (i, port) in spec.ports.iter().flatten().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        if !seen.insert((protocol, port.port)) {
            let message = format!("{}/{protocol} is there twice: a Service has each port once", port.port);
            return Err(at.field("ports").index(i).field("port").problem(message));
        }
    }
    Ok(())
}

/// Returns the addresses that nodes translate, in addition to those in the Service range.
pub(super) fn external_addresses(service: &api::Service) -> Result<Vec<IpAddr>, Problem> {
    let at = Field::ROOT.field("spec");
    let external = service.spec.iter().flat_map(|spec| spec.external_ips.iter().flatten());
    let mut addresses = at.field("externalIPs").each(external, |address, at| rules::address(address, at))?;
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.into_iter().flat_map(|balancer| balancer.ingress.iter().flatten());
    let at = Field::ROOT.field("status");
    let of_balancer = at.field("loadBalancer").field("ingress").each(ingress, |ingress, at| {
        ingress.ip.as_deref().map(|ip| rules::address(ip, &at.field("ip"))).transpose()
    })?;
    addresses.extend(of_balancer.into_iter().flatten());
    Ok(addresses)
}

fn listed_addresses(spec: &api::ServiceSpec) -> &[String] {
    spec.cluster_ips.as_deref().unwrap_or(spec.cluster_ip.as_slice())
}

fn is_headless(spec: &api::ServiceSpec) -> bool {
    listed_addresses(spec).iter().any(|address| address == "None")
}

/// Returns the part of a Service that no scenario can test, because neither the lab nor a cluster's matrix would do
/// what it says. Returns `None` if there is no such part.
pub(super) fn untestable(service: &api::Service) -> Option<Problem> {
    let spec = service.spec.as_ref()?;
    let has_type = |name: &str| spec.type_.as_deref() == Some(name);
    let is_set =
        |value: &Option<String>, default: &str| value.as_deref().is_some_and(|value| value != default);
    let is_listed = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let refused = [
        (
            has_type(EXTERNAL_NAME),
            "type",
            "ExternalName is not supported in scenarios: it is a name of something else: probe an external address instead",
        ),
        (
            has_type(LOAD_BALANCER),
            "type",
            "LoadBalancer is not supported in scenarios: nothing here balances: write NodePort or ClusterIP",
        ),
        (
            is_headless(spec),
            if spec.cluster_ips.is_some() { "clusterIPs" } else { "clusterIP" },
            "a headless Service is not supported in scenarios: it has no address of its own: probe its pods instead",
        ),
        (
            is_set(&spec.external_traffic_policy, "Cluster"),
            "externalTrafficPolicy",
            "not supported in scenarios: what comes from outside is not probed by node ports: leave it out, or write Cluster",
        ),
        (
            is_set(&spec.session_affinity, "None"),
            "sessionAffinity",
            "not supported in scenarios: the choice of an endpoint is not modelled: leave it out, or write None",
        ),
        (
            spec.publish_not_ready_addresses == Some(true),
            "publishNotReadyAddresses",
            "not supported in scenarios: pods of scenarios are ready: leave it out",
        ),
        (
            is_set(&spec.traffic_distribution, ""),
            "trafficDistribution",
            "not supported in scenarios: the choice of an endpoint is not modelled: leave it out",
        ),
        (is_set(&spec.ip_family_policy, "PreferDualStack"), "ipFamilyPolicy", HAS_ALL_FAMILIES),
        (is_listed(&spec.ip_families), "ipFamilies", HAS_ALL_FAMILIES),
        (
            is_listed(&spec.external_ips),
            "externalIPs",
            "not supported in scenarios: Services of scenarios have no other addresses: leave it out",
        ),
        (is_set(&spec.load_balancer_ip, ""), "loadBalancerIP", NOT_BALANCED),
        (is_listed(&spec.load_balancer_source_ranges), "loadBalancerSourceRanges", NOT_BALANCED),
    ];
    let (_, field, why) = refused.into_iter().find(|(is_refused, ..)| *is_refused)?;
    Some(Field::ROOT.field("spec").field(field).problem(why))
}

const HAS_ALL_FAMILIES: &str =
    "not supported in scenarios: Services of scenarios have an address of every family: leave it out";
const NOT_BALANCED: &str = "not supported in scenarios: nothing here balances: leave it out";

/// Returns why the expected matrix does not show everything that a Service does with connections.
pub(super) fn unshown(object: &api::Service, service: &Service) -> Vec<Unshown> {
    let Some(spec) = &object.spec else { return Vec::new() };
    if spec.type_.as_deref() == Some(EXTERNAL_NAME) {
        return vec![Unshown::ExternalName];
    }
    let is_open = match (&service.backends, service.exposure) {
        (Backends::Unknown, Some(Exposure::NodePort | Exposure::LoadBalancer)) => true,
        (Backends::Unknown | Backends::Selected(_) | Backends::Addresses(_), _) => false,
    };
    let has_addresses = spec.external_ips.as_ref().is_some_and(|list| !list.is_empty());
    let all = [(is_open, Unshown::NoSelector), (has_addresses, Unshown::ExternalAddresses)];
    all.into_iter().filter(|(holds, _)| *holds).map(|(_, why)| why).collect()
}

/// Reason why the expected matrix does not show what a Service does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unshown {
    /// `type: ExternalName`
    ExternalName,
    /// `externalIPs`
    ExternalAddresses,
    /// A `NodePort` or `LoadBalancer` without a selector.
    NoSelector,
}

impl fmt::Display for Unshown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ExternalName => {
                "type ExternalName: a name of something else, whose addresses are not known here; what its clients may send there is in the rows of these addresses"
            }
            Self::ExternalAddresses => {
                "externalIPs: what comes through these addresses may have a node's address or the client's, and both have to be allowed at its pods"
            }
            Self::NoSelector => {
                "no selector: what comes from outside through the nodes to its endpoints is not in the table"
            }
        })
    }
}

fn port(port: &api::ServicePort, at: &Field<'_>) -> Result<ServicePort, Problem> {
    let number = rules::port_number(port.port, &at.field("port"))?;
    let target = match &port.target_port {
        // The API server sets the port if the target is omitted or zero.
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

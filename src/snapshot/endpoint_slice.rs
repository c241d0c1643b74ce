//! `discovery.k8s.io/v1 EndpointSlice`: where Services without a selector lead.
//!
//! For a Service with a selector, the pods and the selector say that already.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::discovery::v1 as api;

use super::field::Field;
use super::identity::{Identity, metadata, namespace_of};
use super::other::OtherObject;
use super::rules;
use crate::policy::{Backends, Port, Protocol, Service, TargetPort};
use crate::source::{DecodeError, Node, decode_live};

const KIND: &str = "EndpointSlice.discovery.k8s.io";

/// Label with the name of the Service to which a slice belongs.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// An EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSlice {
    /// The slice itself.
    pub object: OtherObject,
    /// The Service to which it belongs. `None` if it belongs to none.
    service: Option<Identity>,
    /// What it contains. `None` if that is not known.
    content: Option<Content>,
}

/// What a slice contains.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Content {
    /// Addresses to which connections may be sent.
    addresses: BTreeSet<IpAddr>,
    /// Ports at these addresses, by the name and protocol of the Service's port.
    ports: BTreeMap<(String, Protocol), Port>,
}

/// Reads a slice. Returns `None` if the object has another kind.
///
/// # Errors
/// If a user has written the object, and it cannot be decoded. What a server has written, and cannot be
/// decoded, is a slice with unknown content.
pub(super) fn read(
    kind: &str,
    node: &Node,
    namespace: Option<&str>,
    is_live: bool,
) -> Result<Option<EndpointSlice>, DecodeError> {
    if kind != KIND {
        return Ok(None);
    }
    let namespace = namespace_of(metadata(node, "namespace"), namespace);
    let labels = node.get("metadata").and_then(|metadata| metadata.get("labels"));
    let service = labels.and_then(|labels| labels.get(SERVICE_NAME)?.as_str());
    let content = match decode_live::<api::EndpointSlice>(node) {
        Ok((slice, _)) => content(&slice),
        Err(_) if is_live => None,
        Err(error) => return Err(error),
    };
    Ok(Some(EndpointSlice {
        object: OtherObject::new(kind.to_owned(), node),
        service: service.map(|name| Identity::new(namespace, name)),
        content,
    }))
}

/// Returns the content of a slice. `None` if a part of it cannot be known from the slice: names instead of
/// addresses, or a port without a number, which stands for all ports.
fn content(slice: &api::EndpointSlice) -> Option<Content> {
    let mut content = Content::default();
    for endpoint in slice.endpoints.iter().flatten().filter(|endpoint| is_used(endpoint)) {
        for address in &endpoint.addresses {
            content.addresses.insert(address.parse().ok()?);
        }
    }
    for port in slice.ports.iter().flatten() {
        let number = u16::try_from(port.port?).ok().and_then(Port::new)?;
        let protocol = rules::protocol(port.protocol.as_deref(), &Field::ROOT).ok()?;
        content.ports.insert((port.name.clone().unwrap_or_default(), protocol), number);
    }
    Some(content)
}

/// Returns whether connections may be sent to an endpoint: it is ready, or it ends and still serves. Nodes use
/// endpoints of the second kind if there is none of the first.
fn is_used(endpoint: &api::Endpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    // An unknown condition counts as ready
    // (<https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/>).
    let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
    ready || conditions.and_then(|conditions| conditions.serving).unwrap_or(false)
}

/// Sets the endpoints of the Services that have none yet, and to which slices belong. `is_name` returns whether
/// a Service is only a name of something else.
///
/// The slices, not the `targetPort` of the Service, say to which ports connections are sent. So a Service whose
/// slices disagree about a port, or lack it, keeps its unknown endpoints.
pub(super) fn apply(slices: &[EndpointSlice], services: &mut [Service], is_name: impl Fn(&Identity) -> bool) {
    let mut by_service: BTreeMap<&Identity, Vec<Option<&Content>>> = BTreeMap::new();
    for slice in slices {
        if let Some(service) = &slice.service {
            by_service.entry(service).or_default().push(slice.content.as_ref());
        }
    }
    for service in services.iter_mut().filter(|service| service.backends == Backends::Unknown) {
        let identity = Identity::of_service(service);
        let Some(contents) = by_service.get(&identity).filter(|_| !is_name(&identity)) else { continue };
        let Some(contents) = contents.iter().copied().collect::<Option<Vec<_>>>() else { continue };
        if let Some(resolved) = resolved(service, &contents) {
            *service = resolved;
        }
    }
}

/// Returns a Service with the endpoints of its slices. `None` if the slices do not say to which port each port
/// leads. Connections to a headless Service keep their port.
fn resolved(service: &Service, contents: &[&Content]) -> Option<Service> {
    let mut service = service.clone();
    let is_translated = !service.headless;
    for port in service.ports.iter_mut().filter(|_| is_translated) {
        let name = (port.name.clone().unwrap_or_default(), port.protocol);
        // The ports of a slice without endpoints lead nowhere.
        let used = contents.iter().filter(|content| !content.addresses.is_empty());
        let numbers = used.map(|content| content.ports.get(&name).copied());
        let mut numbers = numbers.collect::<Option<BTreeSet<Port>>>()?.into_iter();
        match (numbers.next(), numbers.next()) {
            (Some(number), None) => port.target = TargetPort::Number(number),
            (None, _) => {}
            (Some(_), Some(_)) => return None,
        }
    }
    let addresses: BTreeSet<IpAddr> =
        contents.iter().flat_map(|content| &content.addresses).copied().collect();
    service.backends = Backends::Addresses(addresses.into_iter().collect());
    Some(service)
}

#[cfg(test)]
mod tests {
    use super::super::Snapshot;
    use super::*;
    use crate::policy::{Decision, Destination, Endpoint, Engine, Flow, IpFamily};
    use crate::source::Text;

    const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: x}\n\
                           spec: {ports: [{name: sql, port: 5432, targetPort: 1}]}\n";
    const SQL: &str = "{name: sql, port: 6432}";

    fn slice(service: &str, endpoints: &str, ports: &str) -> String {
        format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: s{}\n  namespace: x\n  \
             labels: {{kubernetes.io/service-name: {service}}}\naddressType: IPv4\nendpoints: [{endpoints}]\nports: \
             [{ports}]\n",
            // Names of slices differ.
            endpoints.len(),
        )
    }

    fn endpoint(address: &str, conditions: &str) -> String {
        format!("{{addresses: [{address}], conditions: {{{conditions}}}}}")
    }

    fn service(manifests: String) -> Service {
        let text = Text { name: "m.yaml".into(), content: manifests };
        Snapshot::read(&text.manifests().unwrap(), None).unwrap().cluster.services.remove(0)
    }

    fn addresses(all: &[&str]) -> Backends {
        Backends::Addresses(all.iter().map(|address| address.parse().unwrap()).collect())
    }

    #[test]
    fn a_service_without_a_selector_leads_to_the_endpoints_that_serve() {
        let endpoints = [
            endpoint("10.0.0.1", ""),
            endpoint("10.0.0.2", "ready: true"),
            endpoint("10.0.0.3", "ready: false"),
            endpoint("10.0.0.4", "ready: false, serving: true, terminating: true"),
            endpoint("10.0.0.5", "ready: false, serving: false"),
        ];
        let found = service(SERVICE.to_owned() + &slice("db", &endpoints.join(", "), SQL));
        assert_eq!(found.backends, addresses(&["10.0.0.1", "10.0.0.2", "10.0.0.4"]));
        // Nodes send connections to the port of the slice.
        assert_eq!(found.ports[0].target, TargetPort::Number(Port::new(6432).unwrap()));
        let two = slice("db", &endpoints[0], SQL) + &slice("db", &endpoints[1], SQL);
        assert_eq!(service(SERVICE.to_owned() + &two).backends, addresses(&["10.0.0.1", "10.0.0.2"]));
        assert_eq!(service(SERVICE.to_owned() + &slice("db", "", "")).backends, addresses(&[]));
    }

    #[test]
    fn endpoints_stay_unknown_if_the_slices_do_not_say_them() {
        let one = endpoint("10.0.0.1", "");
        for slices in [
            String::new(),
            slice("other", &one, SQL),
            slice("db", &one, "{name: other, port: 6432}"),
            slice("db", &one, "{name: sql, port: 6432, protocol: UDP}"),
            slice("db", &one, "{name: sql}"),
            slice("db", &endpoint("db.example", ""), SQL),
            slice("db", &one, SQL) + &slice("db", &endpoint("10.0.0.22", ""), "{name: sql, port: 1}"),
            slice("db", &one, SQL) + &slice("db", &endpoint("10.0.0.22", ""), ""),
        ] {
            assert_eq!(service(SERVICE.to_owned() + &slices).backends, Backends::Unknown, "{slices}");
        }
        let named = SERVICE.replace("spec: {", "spec: {type: ExternalName, externalName: db.example, ");
        assert_eq!(service(named + &slice("db", &one, SQL)).backends, Backends::Unknown);
    }

    #[test]
    fn a_selector_counts_more_than_slices() {
        let selects = SERVICE.replace("spec: {", "spec: {selector: {app: db}, ");
        let found = service(selects + &slice("db", &endpoint("10.0.0.1", ""), SQL));
        assert!(matches!(found.backends, Backends::Selected(_)));
        assert_eq!(found.ports[0].target, TargetPort::Number(Port::new(1).unwrap()));
    }

    #[test]
    fn a_slice_that_cannot_be_decoded_is_an_error_only_in_a_file_of_a_user() {
        let wrong = slice("db", "{addresses: 1}", SQL);
        let text = Text { name: "m.yaml".into(), content: SERVICE.to_owned() + &wrong };
        let error = Snapshot::read(&text.manifests().unwrap(), None).unwrap_err().to_string();
        assert!(error.contains("m.yaml") && error.contains("EndpointSlice"), "{error}");
        let live = "name: s\n  uid: u\n  resourceVersion: '1'\n  creationTimestamp: '2026-01-01T00:00:00Z'\n";
        let wrong = wrong.replace("name: s14\n", live);
        assert!(wrong.contains("uid"), "{wrong}");
        let right = slice("db", &endpoint("10.0.0.1", ""), SQL);
        assert_eq!(service(SERVICE.to_owned() + &wrong + &right).backends, Backends::Unknown);
    }

    /// What policies say about a pod counts whichever Service leads to it.
    #[test]
    fn an_address_of_a_slice_is_the_pod_or_the_node_that_has_it() {
        let pod = |namespace: &str, address: &str| {
            format!(
                "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p, namespace: {namespace}}}\nspec: {{nodeName: node-1, containers: [{{name: c, image: c}}]}}\n\
                 status: {{podIP: {address}, podIPs: [{{ip: {address}}}]}}\n"
            )
        };
        let policy = |direction: &str, namespace: &str| {
            format!(
                "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: deny, namespace: \
                 {namespace}}}\nspec: {{podSelector: {{}}, policyTypes: [{direction}]}}\n"
            )
        };
        let others = "---\napiVersion: v1\nkind: Node\nmetadata: {name: other}\n\
                      status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}\n";
        let decide = |address: &str, policy: String| {
            let manifests = [
                SERVICE,
                &slice("db", &endpoint(address, ""), SQL),
                &pod("x", "10.0.0.1"),
                &pod("z", "10.0.0.2"),
                others,
                &policy,
            ];
            let text = Text { name: "m.yaml".into(), content: manifests.concat() };
            let engine = Engine::new(Snapshot::read(&text.manifests().unwrap(), None).unwrap().cluster);
            let (source, _) = engine.pods().find(|(_, pod)| pod.namespace == "z").unwrap();
            let (service, _) = engine.services().next().unwrap();
            let flow = Flow {
                source: Endpoint::Pod(source),
                destination: Destination::Service(service),
                family: IpFamily::V4,
                protocol: Protocol::Tcp,
                port: Port::new(5432).unwrap(),
            };
            engine.evaluate(&flow).decision
        };
        assert_eq!(decide("10.0.0.1", policy("Ingress", "x")), Decision::Deny);
        for other in ["10.0.0.7", "192.168.0.1"] {
            assert_eq!(decide(other, policy("Ingress", "x")), Decision::Allow, "{other}");
            assert_eq!(decide(other, policy("Egress", "z")), Decision::Deny, "{other}");
        }
    }
}

//! Converts a state to a scenario with one step, without the changes that led to the state.

use serde_json::{Map, Value, json};

use super::world::cluster_policy;
use crate::policy::{
    Backends, ContainerPort, NAMESPACE_NAME_LABEL, Namespace, Pod, Protocol, Service, ServicePort, TargetPort,
};
use crate::snapshot::Identity;
use crate::world::{Capability, Probe, World};

/// Returns a scenario that begins with the state, but without its policies and the Services that manifests contained.
/// Its only step applies those.
pub(super) fn flatten(world: &World, probes: &[Probe]) -> Value {
    let namespaces = world.cluster.namespaces.iter().map(|namespace| self::namespace(world, namespace));
    let externals = world.externals.iter().map(|e| json!({ "name": e.name, "ip": e.addresses }));
    let written = world.written_services.iter();
    let mut apply: Vec<Value> = written.filter_map(|w| serde_json::to_value(&*w.object).ok()).collect();
    apply.extend(world.written_for_cluster.iter().map(cluster_policy));
    apply.extend(world.written.iter().filter_map(|written| serde_json::to_value(&*written.object).ok()));
    let families: Vec<_> = world.families.iter().map(|family| family.name()).collect();
    json!({
        "apiVersion": "netproof.dev/v1alpha1",
        "kind": "Scenario",
        "metadata": { "name": "still" },
        "requires": Capability::ALL.map(Capability::name),
        "topology": {
            "nodes": world.cluster.nodes.len(),
            "families": families,
            "nodeEndpoints": world.node_endpoints,
            "namespaces": namespaces.collect::<Vec<_>>(),
            "externals": externals.collect::<Vec<_>>(),
        },
        "probes": probes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "steps": [{ "name": "the policies", "apply": apply }],
    })
}

fn namespace(world: &World, namespace: &Namespace) -> Value {
    let mut labels = namespace.labels.clone();
    labels.remove(NAMESPACE_NAME_LABEL);
    // Pods that have ended are neither subjects nor peers.
    let pods = world.cluster.pods.iter().filter(|pod| pod.namespace == namespace.name && !pod.ended);
    // The Service of the DNS server is created with the server.
    let is_dns = |service: &Service| {
        world
            .dns
            .as_ref()
            .is_some_and(|dns| dns.service.namespace == service.namespace && dns.service.name == service.name)
    };
    let is_written = |service: &Service| {
        let identity = Identity::of_service(service);
        world.written_services.iter().any(|written| Identity::of_service(&written.service) == identity)
    };
    let services =
        world.cluster.services.iter().filter(|service| {
            service.namespace == namespace.name && !is_dns(service) && !is_written(service)
        });
    let services = services.map(|service| {
        let mut value = spec(service);
        value.insert("name".to_owned(), json!(service.name));
        Value::Object(value)
    });
    json!({
        "name": namespace.name,
        "labels": labels,
        "pods": pods.map(|pod| self::pod(world, pod)).collect::<Vec<_>>(),
        "services": services.collect::<Vec<_>>(),
    })
}

fn pod(world: &World, pod: &Pod) -> Value {
    let mut value = Map::new();
    value.insert("name".to_owned(), json!(pod.name));
    value.insert("labels".to_owned(), json!(pod.labels));
    let node = world.cluster.nodes.iter().position(|node| Some(&node.name) == pod.node.as_ref());
    if let Some(node) = node {
        value.insert("node".to_owned(), json!(node + 1));
    }
    value.insert("ports".to_owned(), pod.ports.iter().map(container_port).collect());
    if pod.host_network {
        value.insert("hostNetwork".to_owned(), json!(true));
    }
    let dns = world.dns.as_ref().filter(|dns| dns.pod.namespace == pod.namespace && dns.pod.name == pod.name);
    if let Some(dns) = dns {
        value.insert("dns".to_owned(), json!({ "port": dns.port.get() }));
    }
    Value::Object(value)
}

fn container_port(port: &ContainerPort) -> Value {
    let mut value = Map::new();
    if let Some(name) = &port.name {
        value.insert("name".to_owned(), json!(name));
    }
    value.insert("port".to_owned(), json!(port.port.get()));
    add_protocol(port.protocol, &mut value);
    Value::Object(value)
}

fn spec(service: &Service) -> Map<String, Value> {
    let mut value = Map::new();
    match &service.backends {
        Backends::Selected(selector) => drop(value.insert("selector".to_owned(), json!(selector))),
        Backends::Addresses(_) | Backends::Unknown => {}
    }
    value.insert("ports".to_owned(), service.ports.iter().map(service_port).collect());
    value
}

fn service_port(port: &ServicePort) -> Value {
    let mut value = Map::new();
    if let Some(name) = &port.name {
        value.insert("name".to_owned(), json!(name));
    }
    value.insert("port".to_owned(), json!(port.port.get()));
    match &port.target {
        TargetPort::Number(number) if *number == port.port => {}
        TargetPort::Number(number) => drop(value.insert("targetPort".to_owned(), json!(number.get()))),
        TargetPort::Name(name) => drop(value.insert("targetPort".to_owned(), json!(name))),
    }
    add_protocol(port.protocol, &mut value);
    Value::Object(value)
}

fn add_protocol(protocol: Protocol, value: &mut Map<String, Value>) {
    if protocol != Protocol::Tcp {
        value.insert("protocol".to_owned(), json!(protocol.name()));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::fuzz::dry_run::{ask_engine, cases, read};
    use crate::generate::{self, Ground};
    use crate::policy::Decision;

    /// The decisions may differ only for ranges that contain some of the lab's addresses, because these addresses
    /// depend on earlier pods.
    #[test]
    fn a_state_without_its_past_means_the_same() {
        let decisions = |world: &World, probes: &[Probe]| -> BTreeMap<String, Decision> {
            let answers = ask_engine(world, probes);
            let named = answers.cells.iter().map(|cell| format!("{cell} {}", cell.family));
            named.zip(answers.engine.iter().map(|answer| answer.decision)).collect()
        };
        let (mut same, mut all) = (0, 0);
        for seed in 0..20 {
            let scenario = read(&generate::scenario(seed, 6, Ground::Lab)).unwrap();
            let Some(last) = cases(&scenario).unwrap().pop() else { continue };
            let still = read(&flatten(&last.world, &last.probes)).unwrap();
            let [only] = cases(&still).unwrap().try_into().unwrap();
            all += 1;
            same += usize::from(decisions(&only.world, &only.probes) == decisions(&last.world, &last.probes));
        }
        assert!(same * 10 >= all * 8, "{same} of {all}");
    }
}

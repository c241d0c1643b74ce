//! Converts a state to a scenario with one step, without the changes that led to the state.

use serde_json::{Value, json};

use super::world::cluster_policy;
use crate::policy::{
    Backends, ContainerPort, NAMESPACE_NAME_LABEL, Namespace, Pod, Protocol, Service, ServicePort, TargetPort,
};
use crate::snapshot::{Identity, WrittenService};
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
    let is_of_topology = |service: &&Service| {
        let identity = Identity::of_service(service);
        let is_written = |written: &WrittenService| Identity::of_service(&written.service) == identity;
        // The Service of the DNS server is created with the server.
        let is_dns = world.dns.as_ref().is_some_and(|dns| dns.service == identity);
        identity.namespace == namespace.name && !is_dns && !world.written_services.iter().any(is_written)
    };
    json!({
        "name": namespace.name,
        "labels": labels,
        "pods": pods.map(|pod| self::pod(world, pod)).collect::<Vec<_>>(),
        "services": world.cluster.services.iter().filter(is_of_topology).map(service).collect::<Vec<_>>(),
    })
}

fn pod(world: &World, pod: &Pod) -> Value {
    let node = world.cluster.nodes.iter().position(|node| Some(&node.name) == pod.node.as_ref());
    let dns = world.dns.as_ref().filter(|dns| dns.pod == Identity::of_pod(pod));
    without_nulls(json!({
        "name": pod.name,
        "labels": pod.labels,
        "node": node.map(|index| index + 1),
        "ports": pod.ports.iter().map(container_port).collect::<Vec<_>>(),
        "hostNetwork": pod.host_network.then_some(true),
        "dns": dns.map(|dns| json!({ "port": dns.port.get() })),
    }))
}

fn container_port(port: &ContainerPort) -> Value {
    without_nulls(json!({
        "name": port.name,
        "port": port.port.get(),
        "protocol": protocol(port.protocol),
    }))
}

fn service(service: &Service) -> Value {
    let selector = match &service.backends {
        Backends::Selected(selector) => Some(selector),
        Backends::Addresses(_) | Backends::Unknown => None,
    };
    without_nulls(json!({
        "name": service.name,
        "selector": selector,
        "ports": service.ports.iter().map(service_port).collect::<Vec<_>>(),
    }))
}

fn service_port(port: &ServicePort) -> Value {
    let target = match &port.target {
        TargetPort::Number(number) => (*number != port.port).then(|| json!(number.get())),
        TargetPort::Name(name) => Some(json!(name)),
    };
    without_nulls(json!({
        "name": port.name,
        "port": port.port.get(),
        "targetPort": target,
        "protocol": protocol(port.protocol),
    }))
}

/// Returns a protocol, or `None` if it is the default.
fn protocol(protocol: Protocol) -> Option<&'static str> {
    (protocol != Protocol::Tcp).then(|| protocol.name())
}

/// Leaves out the fields that have no value.
fn without_nulls(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    object
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
            let answers = ask_engine(world, probes).into_iter();
            answers.map(|(cell, answer)| (format!("{cell} {}", cell.family), answer.decision)).collect()
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

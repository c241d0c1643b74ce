//! The facts that a backend adds to a world.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::capability::Absence;
use super::endpoint::EndpointName;
use super::model::World;
use crate::policy::Labels;

/// Facts about a created network that only its backend knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deployed {
    /// Addresses of pods, Services, nodes and externals. The other endpoints keep the addresses that they have.
    pub addresses: BTreeMap<EndpointName, Vec<IpAddr>>,
    /// Labels of namespaces to which the backend added its own.
    pub namespace_labels: BTreeMap<String, Labels>,
    /// Labels of pods to which the backend added its own.
    pub pod_labels: BTreeMap<EndpointName, Labels>,
    /// Endpoints that the backend does not have.
    pub absent: BTreeMap<EndpointName, Absence>,
    /// Nodes for which the logical nodes stand, by the names of the logical nodes.
    pub assigned_nodes: BTreeMap<String, String>,
    /// Hosts outside of the cluster that play externals, by the names of the externals.
    pub assigned_hosts: BTreeMap<String, String>,
}

impl World {
    /// Adds what the backend knows of this state.
    pub fn complete(&mut self, deployed: &Deployed) {
        let Deployed { addresses, namespace_labels, pod_labels, absent, assigned_nodes, assigned_hosts } =
            deployed;
        let fill_in = |own: &mut Vec<IpAddr>, name: EndpointName| {
            if let Some(addresses) = addresses.get(&name) {
                own.clone_from(addresses);
            }
        };
        let cluster = &mut self.cluster;
        for namespace in &mut cluster.namespaces {
            if let Some(labels) = namespace_labels.get(&namespace.name) {
                namespace.labels.clone_from(labels);
            }
        }
        for pod in &mut cluster.pods {
            let name = EndpointName::of_pod(pod);
            if let Some(labels) = pod_labels.get(&name) {
                pod.labels.clone_from(labels);
            }
            fill_in(&mut pod.addresses, name);
        }
        for service in &mut cluster.services {
            let name = EndpointName::of_service(service);
            fill_in(&mut service.addresses, name);
        }
        for node in &mut cluster.nodes {
            fill_in(&mut node.addresses, EndpointName::Node(node.name.clone()));
        }
        for external in &mut self.externals {
            let name = EndpointName::External(external.name.clone());
            fill_in(&mut external.addresses, name);
        }
        self.absent.clone_from(absent);
        self.assigned_nodes.clone_from(assigned_nodes);
        self.assigned_hosts.clone_from(assigned_hosts);
    }
}

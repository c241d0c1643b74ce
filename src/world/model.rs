//! The network under test at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::action::Action;
use super::capability::Absence;
use super::endpoint::EndpointName;
use super::error::Error;
use crate::policy::{
    Cluster, ClusterPolicy, IpFamily, Labels, NAMESPACE_NAME_LABEL, Namespace, Pod, Port, Service,
    ServicePort,
};
use crate::snapshot::{Identity, WrittenClusterPolicy, WrittenPolicy, WrittenService};

/// The network under test at one moment. The backend fills in the addresses, and everything else that only
/// the backend knows.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// The part that the policy engine sees.
    pub cluster: Cluster,
    /// NetworkPolicies of the cluster, as they were written.
    pub written: Vec<WrittenPolicy>,
    /// Cluster-scoped policies of the cluster, as they were written.
    pub written_for_cluster: Vec<WrittenClusterPolicy>,
    /// Services that changes created, as they were written. Services of the start are not included.
    pub written_services: Vec<WrittenService>,
    /// Addresses outside the cluster.
    pub externals: Vec<External>,
    /// Families that are probed.
    pub families: Vec<IpFamily>,
    /// The pod that answers lookups, if there is one.
    pub dns: Option<DnsServer>,
    /// Whether nodes are endpoints of the matrix.
    pub node_endpoints: bool,
    /// Whether Services are also probed by name.
    pub services_by_name: bool,
    /// Endpoints that the backend does not have. Nothing is measured there.
    pub absent: BTreeMap<EndpointName, Absence>,
    /// Nodes for which the logical nodes stand, by the names of the logical nodes.
    pub assigned_nodes: BTreeMap<String, String>,
    /// Hosts outside of the cluster that play externals, by the names of the externals.
    pub assigned_hosts: BTreeMap<String, String>,
    /// Pods that a check of a live cluster adds to it, each as the twin of running pods. Everything else exists
    /// already. Empty in a scenario, of which nothing exists yet.
    pub twins: BTreeSet<Identity>,
    /// Namespace of the twins that stand for pods of no tenant. The backend creates it. `None` if there are no such twins.
    pub strangers: Option<String>,
    /// Running pods whose networks a check of a live cluster uses: an agent sends and listens there, with the pods' own
    /// addresses.
    pub entered: BTreeSet<Identity>,
}

/// An address outside the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    /// Its name.
    pub name: String,
    /// Its addresses, at most one per family.
    pub addresses: Vec<IpAddr>,
}

/// The cluster's DNS server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsServer {
    /// The pod.
    pub pod: Identity,
    /// Port on which it listens.
    pub port: Port,
    /// Service through which pods reach it.
    pub service: Identity,
}

impl DnsServer {
    /// Returns the name of its pod.
    pub fn pod_name(&self) -> EndpointName {
        EndpointName::of_identity(&self.pod)
    }

    /// Returns the name of its Service.
    pub fn service_name(&self) -> EndpointName {
        EndpointName::service(&self.service.namespace, &self.service.name)
    }
}

impl World {
    /// Returns the pod of this name, also if it has ended.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<&Pod> {
        self.cluster.pods.iter().find(|pod| pod.namespace == namespace && pod.name == name)
    }

    /// Returns the Service of this name.
    pub fn service(&self, namespace: &str, name: &str) -> Option<&Service> {
        self.cluster.services.iter().find(|service| service.namespace == namespace && service.name == name)
    }

    /// Returns whether a pod is a twin that stands for pods of no tenant.
    pub fn is_stranger(&self, pod: &Identity) -> bool {
        self.strangers.as_ref() == Some(&pod.namespace)
    }

    /// Returns whether no agent can run at an endpoint, because a check of a live cluster has found it there. Such an
    /// endpoint is only asked to accept a connection.
    pub fn is_foreign(&self, endpoint: &EndpointName) -> bool {
        let has_agent = match endpoint {
            EndpointName::Pod { namespace, name } => {
                let pod = Identity::new(namespace, name);
                self.twins.contains(&pod) || self.entered.contains(&pod)
            }
            EndpointName::Service { .. } | EndpointName::Node(_) | EndpointName::External(_) => false,
        };
        !self.twins.is_empty() && !has_agent
    }

    /// Returns the node on which an endpoint is, by its name in the environment. `None` if the endpoint is on
    /// no node.
    pub fn node_of(&self, endpoint: &EndpointName) -> Option<String> {
        let node = match endpoint {
            EndpointName::Pod { namespace, name } => self.pod(namespace, name)?.node.as_ref()?,
            EndpointName::Node(name) => name,
            EndpointName::Service { .. } | EndpointName::External(_) => return None,
        };
        Some(self.assigned_nodes.get(node).unwrap_or(node).clone())
    }

    /// Returns the actions that delete all policies.
    pub fn removal_of_policies(&self) -> Vec<Action> {
        let policies = self.written.iter().map(|written| Identity::of_policy(&written.policy));
        let of_cluster = self.written_for_cluster.iter().map(|written| written.policy.name.clone());
        policies.map(Action::DeletePolicy).chain(of_cluster.map(Action::DeleteClusterPolicy)).collect()
    }

    /// Returns the actions that create all policies again. A name in a policy still stands for the address
    /// that it stood for when the policy was applied, even if the pod is gone.
    pub fn restoration_of_policies(&self) -> Vec<Action> {
        let policies = self.written.iter().map(|policy| Action::SetPolicy(policy.pinned()));
        policies.chain(self.written_for_cluster.iter().cloned().map(Action::SetClusterPolicy)).collect()
    }

    /// Applies an action.
    ///
    /// # Errors
    /// If the action names something that does not exist, adds something that exists, or breaks a rule of the
    /// API server. The state is then unchanged.
    pub fn apply(&mut self, action: &Action) -> Result<(), Error> {
        match action {
            Action::SetPolicy(policy) => {
                self.namespace(&policy.policy.namespace)?;
                let policy = policy.resolve(&|name| Ok(self.address_by_name(name)?))?;
                replace(&mut self.cluster.policies, &policy.policy, Identity::of_policy);
                replace(&mut self.written, &policy, |written| Identity::of_policy(&written.policy));
            }
            Action::DeletePolicy(identity) => {
                remove(&mut self.cluster.policies, identity, Identity::of_policy)
                    .ok_or_else(|| missing("NetworkPolicy", identity))?;
                self.written.retain(|written| Identity::of_policy(&written.policy) != *identity);
            }
            Action::SetClusterPolicy(policy) => {
                let name = |policy: &ClusterPolicy| policy.name.clone();
                replace(&mut self.cluster.cluster_policies, &policy.policy, name);
                replace(&mut self.written_for_cluster, policy, |written| name(&written.policy));
            }
            Action::DeleteClusterPolicy(name) => {
                remove(&mut self.cluster.cluster_policies, name, |policy| policy.name.clone())
                    .ok_or_else(|| Error::Refused(format!("there is no {name}")))?;
                self.written_for_cluster.retain(|written| written.policy.name != *name);
            }
            Action::SetService(written) => self.set_service(written)?,
            Action::DeleteService(identity) => {
                remove(&mut self.cluster.services, identity, Identity::of_service)
                    .ok_or_else(|| missing("Service", identity))?;
                self.written_services.retain(|written| Identity::of_service(&written.service) != *identity);
            }
            Action::LabelPod { pod, labels } => change_labels(&mut self.pod_mut(pod)?.labels, labels),
            Action::LabelNamespace { namespace, labels } => {
                if labels.get(NAMESPACE_NAME_LABEL).is_some_and(|value| value.as_ref() != Some(namespace)) {
                    let message =
                        format!("the API server does not let anybody change {NAMESPACE_NAME_LABEL}");
                    return Err(Error::Refused(message));
                }
                change_labels(&mut self.namespace(namespace)?.labels, labels);
            }
            Action::AddPod(pod) => {
                self.namespace(&pod.namespace)?;
                if let Some(other) = self.pod(&pod.namespace, &pod.name) {
                    let how = if other.ended { "that has ended: remove it first" } else { "already" };
                    return Err(Error::Refused(format!("there is a pod {} {how}", Identity::of_pod(pod))));
                }
                self.cluster.pods.push(pod.clone());
            }
            Action::EndPod(identity) => {
                let pod = self.pod_mut(identity)?;
                if pod.ended {
                    return Err(Error::Refused(format!("pod {identity} has ended already")));
                }
                pod.ended = true;
            }
            Action::RemovePod(identity) => {
                remove(&mut self.cluster.pods, identity, Identity::of_pod)
                    .ok_or_else(|| missing("pod", identity))?;
            }
        }
        Ok(())
    }

    fn set_service(&mut self, written: &WrittenService) -> Result<(), Error> {
        let mut service = written.service.clone();
        self.namespace(&service.namespace)?;
        self.check_node_ports(&service)?;
        if let Some(old) = self.service(&service.namespace, &service.name) {
            // A Service keeps its virtual addresses as long as it exists.
            service.addresses.clone_from(&old.addresses);
        }
        replace(&mut self.cluster.services, &service, Identity::of_service);
        replace(&mut self.written_services, written, |written| Identity::of_service(&written.service));
        Ok(())
    }

    /// Checks that no other Service has one of the node ports, as the API server does.
    fn check_node_ports(&self, service: &Service) -> Result<(), Error> {
        let own = Identity::of_service(service);
        let others = || self.cluster.services.iter().filter(|other| Identity::of_service(other) != own);
        for ServicePort { protocol, node_port, .. } in &service.ports {
            let Some(port) = node_port else { continue };
            let has_it = |other: &&Service| {
                other.ports.iter().any(|p| p.node_port == *node_port && p.protocol == *protocol)
            };
            if let Some(other) = others().find(has_it) {
                return Err(Error::Refused(format!(
                    "Service {own}: nodePort {port}/{protocol} is that of Service {} already",
                    Identity::of_service(other)
                )));
            }
        }
        Ok(())
    }

    fn pod_mut(&mut self, identity: &Identity) -> Result<&mut Pod, Error> {
        let is_it = |pod: &&mut Pod| pod.namespace == identity.namespace && pod.name == identity.name;
        let found = self.cluster.pods.iter_mut().find(is_it);
        found.ok_or_else(|| missing("pod", identity))
    }

    fn namespace(&mut self, name: &str) -> Result<&mut Namespace, Error> {
        let found = self.cluster.namespaces.iter_mut().find(|namespace| namespace.name == name);
        found.ok_or_else(|| Error::Refused(format!("the topology has no namespace {name}")))
    }
}

fn missing(kind: &'static str, name: &Identity) -> Error {
    Error::Missing { kind, name: name.to_string() }
}

fn replace<T: Clone, I: PartialEq>(items: &mut Vec<T>, item: &T, identity: impl Fn(&T) -> I) {
    let own = identity(item);
    match items.iter_mut().find(|other| identity(other) == own) {
        Some(other) => *other = item.clone(),
        None => items.push(item.clone()),
    }
}

fn remove<T, I: PartialEq>(items: &mut Vec<T>, name: &I, identity: impl Fn(&T) -> I) -> Option<T> {
    let at = items.iter().position(|item| identity(item) == *name)?;
    Some(items.remove(at))
}

fn change_labels(labels: &mut Labels, changes: &BTreeMap<String, Option<String>>) {
    for (key, value) in changes {
        match value {
            Some(value) => labels.insert(key.clone(), value.clone()),
            None => labels.remove(key),
        };
    }
}

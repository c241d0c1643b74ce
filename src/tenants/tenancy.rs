//! The tenants of a cluster.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::facts::Facts;
use super::intent::Mode;
use super::rule::{Action, PodSet, PortSet, Scope, Sharing, Standing};
use super::standing;
use crate::policy::{LabelSelector, Labels, Port, PortRange, Protocol, named};
use crate::source::Place;

named! {
    /// Which connections a tenant allows in one direction, unless a flow or a shared service says otherwise.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum Access {
        /// All connections.
        AllowAll = "AllowAll",
        /// Connections within a namespace.
        AllowSameNamespace = "AllowSameNamespace",
        /// Connections within the tenant.
        AllowSameTenant = "AllowSameTenant",
        /// No connections.
        DenyAll = "DenyAll",
    }
}

/// A tenant and its namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// Its namespaces; at least one. Other tenants may own some of them, too.
    pub namespaces: BTreeSet<String>,
    /// What may reach its pods.
    pub ingress: Access,
    /// What its pods may reach.
    pub egress: Access,
    /// Whether differences fail the check.
    pub mode: Mode,
    pub(super) ingress_at: Option<Place>,
    pub(super) egress_at: Option<Place>,
}

/// Addresses that pods of tenants must, may or must not reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Its addresses; at least one.
    pub addresses: Vec<IpNet>,
    /// Its ports. Without any, all ports are meant.
    pub ports: Vec<(Protocol, PortRange)>,
}

/// A zone: pods of any namespaces, grouped by label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// Its name.
    pub name: String,
    pub(super) pods: PodSet,
}

impl Zone {
    /// Returns whether a pod with these labels belongs to the zone.
    pub fn contains(&self, namespace: &str, labels: &Labels) -> bool {
        self.pods.contains(namespace, labels)
    }
}

/// Indices of tenants.
pub(super) type TenantSet = BTreeSet<usize>;

/// Peers and ports that tenants share.
#[derive(Debug, Clone)]
pub(super) struct SharedService {
    pub(super) name: String,
    pub(super) who: Who,
    pub(super) sharing: Sharing,
    pub(super) tenants: TenantSet,
    pub(super) ports: PortSet,
    pub(super) action: Action,
    pub(super) at: Option<Place>,
}

#[derive(Debug, Clone)]
pub(super) enum Who {
    Pods(PodSet),
    Addresses(Vec<IpNet>),
    ApiServer,
}

/// One end of a flow: pods that belong to one of the tenants and to one of the zones. `None` is no condition.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) tenants: Option<TenantSet>,
    pub(super) zones: Option<Vec<PodSet>>,
}

#[derive(Debug, Clone)]
pub(super) struct Flow {
    pub(super) from: End,
    pub(super) to: End,
    pub(super) same_tenant: bool,
    pub(super) ports: PortSet,
    pub(super) action: Action,
    pub(super) at: Option<Place>,
}

#[derive(Debug, Clone)]
pub(super) struct Outside {
    pub(super) name: String,
    pub(super) addresses: Vec<IpNet>,
    pub(super) tenants: TenantSet,
    pub(super) ports: PortSet,
    pub(super) action: Action,
    pub(super) at: Option<Place>,
}

/// The tenants of a cluster, and what they want.
#[derive(Debug, Clone)]
pub struct Tenancy {
    pub(super) tenants: Vec<Tenant>,
    /// Owners of each namespace that has some.
    pub(super) owners: BTreeMap<String, TenantSet>,
    pub(super) zones: Vec<Zone>,
    /// Of two rules that match, the later one holds. This is true of all these lists.
    pub(super) flows: Vec<Flow>,
    pub(super) services: Vec<SharedService>,
    pub(super) outside: Vec<Outside>,
    pub(super) standing: Standing,
    pub(super) scope: Scope,
    pub(super) facts: Facts,
    pub(super) pod_selectors: BTreeSet<LabelSelector>,
}

impl Tenancy {
    /// Returns all tenants, in the order of the file.
    pub fn tenants(&self) -> &[Tenant] {
        &self.tenants
    }

    /// Returns the tenants that own a namespace, in the order of the file. Empty if it belongs to no tenant.
    pub fn tenants_of(&self, namespace: &str) -> impl Iterator<Item = &Tenant> {
        let owners = self.owners.get(namespace).into_iter().flatten();
        owners.filter_map(|index| self.tenants.get(*index))
    }

    /// Returns the namespaces that several tenants own.
    pub fn co_owned(&self) -> impl Iterator<Item = &str> {
        let several = self.owners.iter().filter(|(_, owners)| owners.len() > 1);
        several.map(|(namespace, _)| namespace.as_str())
    }

    /// Returns all zones, in the order of the file.
    pub fn zones(&self) -> &[Zone] {
        &self.zones
    }

    /// Returns the selectors of pods that decide about intents. Pods of one namespace that differ in none of them have
    /// the same intents.
    pub fn pod_selectors(&self) -> impl Iterator<Item = &LabelSelector> {
        self.pod_selectors.iter()
    }

    /// Returns the ports that flows and shared services name, each range once. Everything else holds for all ports
    /// alike.
    pub fn ports(&self) -> BTreeSet<(Protocol, PortRange)> {
        let of_flows = self.flows.iter().map(|flow| &flow.ports);
        let of_services = self.services.iter().filter_map(|service| match service.who {
            Who::Pods(_) => Some(&service.ports),
            Who::Addresses(_) | Who::ApiServer => None,
        });
        of_flows.chain(of_services).flat_map(|ports| ports.0.iter().copied()).collect()
    }

    /// Returns the ports that rules of any kind name, each range once.
    pub fn ports_of_all_rules(&self) -> BTreeSet<(Protocol, PortRange)> {
        let of_services = self.services.iter().flat_map(|service| service.ports.0.iter().copied());
        let of_targets = self.targets().into_iter().flat_map(|target| target.ports);
        self.ports().into_iter().chain(of_services).chain(of_targets).collect()
    }

    /// Returns the addresses outside the cluster about which something is said, and those that are forbidden without
    /// being named. Targets on nodes are not included: see [`Self::node_ports`]. Nor is the API server: the Service
    /// `default/kubernetes` stands for it.
    pub fn targets(&self) -> Vec<Target> {
        let metadata = self.standing.metadata.then(|| Target {
            name: standing::METADATA_NAME.to_owned(),
            addresses: standing::METADATA.map(IpNet::from).to_vec(),
            ports: vec![(Protocol::Tcp, PortRange::single(standing::HTTP))],
        });
        let target = |name: &String, addresses: &Vec<IpNet>, ports: &PortSet| Target {
            name: name.clone(),
            addresses: addresses.clone(),
            ports: ports.0.clone(),
        };
        let services = self.services.iter().filter(|service| service.sharing == Sharing::FromTenants);
        let services = services.filter_map(|service| match &service.who {
            Who::Pods(_) | Who::ApiServer => None,
            Who::Addresses(addresses) => Some(target(&service.name, addresses, &service.ports)),
        });
        let outside = self.outside.iter().map(|rule| target(&rule.name, &rule.addresses, &rule.ports));
        metadata.into_iter().chain(services).chain(outside).collect()
    }

    /// Returns all ranges of addresses at whose edges the intent may change, in either direction.
    pub fn address_ranges(&self) -> Vec<IpNet> {
        let of_services = self.services.iter().filter_map(|service| match &service.who {
            Who::Pods(_) | Who::ApiServer => None,
            Who::Addresses(addresses) => Some(addresses),
        });
        let of_targets = self.targets().into_iter().flat_map(|target| target.addresses);
        let special = self.facts.special_addresses().map(IpNet::from);
        of_services.flatten().copied().chain(of_targets).chain(special).collect()
    }

    /// Returns the ports of nodes about which something is said.
    pub fn node_ports(&self) -> BTreeSet<(Protocol, Port)> {
        let of_nodes = standing::node_ports(self.standing);
        let of_services = self.facts.node_ports().filter(|_| self.standing.node_ports);
        of_nodes.map(|(_, port)| (Protocol::Tcp, port)).chain(of_services).collect()
    }
}

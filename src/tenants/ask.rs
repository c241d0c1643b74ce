//! Whether the tenants want a connection.
//!
//! Rules that name a connection come first: flows, then shared services; for destinations outside the cluster, outside
//! targets, then shared services, then the targets that are always forbidden. Of equal rules, the last one holds. If no
//! rule names the connection, the modes of access of both ends decide.

use std::net::IpAddr;

use ipnet::IpNet;

use super::facts::{Backend, api_service};
use super::intent::{Intent, Mode, Party, Wish};
use super::rule::{Scope, Sharing};
use super::standing;
use super::tenancy::{Access, End, Outside, SharedService, Tenancy, Tenant, TenantSet, Who};
use crate::policy::{Direction, Labels, Port, Protocol};
use crate::snapshot::Identity;
use crate::source::{Place, quote};

/// Owners of a namespace that belongs to no tenant.
static NO_OWNERS: TenantSet = TenantSet::new();

/// A pod with an address of its own.
#[derive(Clone, Copy)]
struct PodEnd<'a> {
    namespace: &'a str,
    labels: &'a Labels,
    node: Option<&'a str>,
    owners: &'a TenantSet,
}

/// Port and protocol of a connection.
type At = (Port, Protocol);

/// What the mode of access of one end says.
struct Side<'a> {
    is_allowed: bool,
    why: String,
    at: Option<&'a Place>,
    owners: &'a TenantSet,
}

impl Tenancy {
    /// Returns what is wanted of a connection. `port` is the destination's own port: for a Service that of the Service.
    /// `None` if nothing is said about it, or if no policy could decide it.
    pub fn intent(&self, from: Party<'_>, to: Party<'_>, port: Port, protocol: Protocol) -> Option<Intent> {
        let asked = (port, protocol);
        match (from, to) {
            (Party::Pod { namespace, labels, node }, to) => {
                self.from_pod(&self.pod(namespace, labels, node), to, asked)
            }
            (Party::Address(address), Party::Pod { namespace, labels, node }) => {
                self.from_address(address, &self.pod(namespace, labels, node), asked)
            }
            (Party::Address(address), Party::Service { namespace, name }) => {
                let backends = self.facts.backends(&Identity::new(namespace, name), port, protocol);
                combined(backends.into_iter().map(|backend| match backend {
                    Backend::Pod(pod, port) => self.intent(from, Party::of_pod(pod), port, protocol),
                    Backend::Address(..) => None,
                }))
                .filter(|_| self.facts.node_of(address).is_none())
            }
            (Party::Address(_), Party::Node(_) | Party::Address(_))
            // A policy cannot tell the kubelet, which must reach every pod, from other programs of the node.
            | (Party::Node(_), _)
            // A Service opens no connections.
            | (Party::Service { .. }, _) => None,
        }
    }

    fn pod<'a>(&'a self, namespace: &'a str, labels: &'a Labels, node: Option<&'a str>) -> PodEnd<'a> {
        PodEnd { namespace, labels, node, owners: self.owners.get(namespace).unwrap_or(&NO_OWNERS) }
    }

    fn from_pod(&self, from: &PodEnd<'_>, to: Party<'_>, (port, protocol): At) -> Option<Intent> {
        match to {
            Party::Pod { namespace, labels, node } => {
                self.between_pods(from, &self.pod(namespace, labels, node), (port, protocol))
            }
            Party::Service { namespace, name } => {
                self.to_service(from, &Identity::new(namespace, name), (port, protocol))
            }
            Party::Node(node) => {
                let addresses = node.map_or(&[][..], |node| self.facts.addresses(node));
                self.to_addresses(from, addresses, Some(node), (port, protocol))
            }
            Party::Address(address) => {
                let node = self.facts.node_of(address).map(Some);
                self.to_addresses(from, &[address], node, (port, protocol))
            }
        }
    }

    fn between_pods(
        &self,
        from: &PodEnd<'_>,
        to: &PodEnd<'_>,
        asked @ (port, protocol): At,
    ) -> Option<Intent> {
        match self.scope {
            Scope::BetweenTenants if from.owners.is_empty() || to.owners.is_empty() => return None,
            Scope::BetweenTenants | Scope::Everything => {}
        }
        let flow = self.flows.iter().rev().find(|flow| {
            flow.ports.contains(port, protocol)
                && flow.from.contains(from)
                && flow.to.contains(to)
                && (!flow.same_tenant || !from.owners.is_disjoint(to.owners))
        });
        if let Some(flow) = flow {
            let what = format!("flow ({})", flow.action.name());
            let mode = self.mode_of(from.owners.union(to.owners));
            return Some(intent(flow.action.wish(), what, flow.at.as_ref(), mode));
        }
        let shared = self.services.iter().rev().find_map(|service| {
            let (peer, tenant) = match service.sharing {
                Sharing::FromTenants => (to, from),
                Sharing::ToTenants => (from, to),
            };
            let is_it = service.is_of(tenant, asked) && service.who.is_pod(peer);
            is_it.then(|| self.by_service(service, tenant))
        });
        shared.or_else(|| self.by_access(Some(from), Some(to)))
    }

    fn from_address(&self, address: IpAddr, to: &PodEnd<'_>, asked: At) -> Option<Intent> {
        match self.scope {
            Scope::BetweenTenants => return None,
            Scope::Everything if self.facts.node_of(address).is_some() => return None,
            Scope::Everything => {}
        }
        let shared = self.services.iter().rev().find(|service| {
            service.sharing == Sharing::ToTenants
                && service.is_of(to, asked)
                && service.who.has_any(&[address])
        });
        shared.map(|service| self.by_service(service, to)).or_else(|| self.by_access(None, Some(to)))
    }

    fn to_service(
        &self,
        from: &PodEnd<'_>,
        service: &Identity,
        asked @ (port, protocol): At,
    ) -> Option<Intent> {
        if *service == api_service() {
            return self.to_api_server(from, asked);
        }
        self.to_backends(from, self.facts.backends(service, port, protocol), protocol)
    }

    fn to_backends(
        &self,
        from: &PodEnd<'_>,
        backends: Vec<Backend<'_>>,
        protocol: Protocol,
    ) -> Option<Intent> {
        combined(backends.into_iter().map(|backend| match backend {
            Backend::Pod(pod, port) => self.from_pod(from, Party::of_pod(pod), (port, protocol)),
            Backend::Address(address, port) => self.from_pod(from, Party::Address(address), (port, protocol)),
        }))
    }

    fn to_api_server(&self, from: &PodEnd<'_>, asked: At) -> Option<Intent> {
        if !self.asks_about_outside(from) {
            return None;
        }
        self.to_shared(from, asked, |who| matches!(who, Who::ApiServer))
            .or_else(|| self.standing.api_server.then(|| self.standing("API server", from)))
            .or_else(|| self.by_access(Some(from), None))
    }

    /// Returns what is wanted of a connection to any of these addresses, all of which belong to one destination.
    /// `node` is the node that has them: `Some(None)` if it is not known which one.
    fn to_addresses(
        &self,
        from: &PodEnd<'_>,
        addresses: &[IpAddr],
        node: Option<Option<&str>>,
        asked @ (port, protocol): At,
    ) -> Option<Intent> {
        if !self.asks_about_outside(from) {
            return None;
        }
        let outside = self.outside.iter().rev().find(|rule| rule.is_about(from, addresses, asked));
        if let Some(rule) = outside {
            let what = format!("outside target {} ({})", quote(&rule.name), rule.action.name());
            let mode = self.mode_of(from.owners.intersection(&rule.tenants));
            return Some(intent(rule.action.wish(), what, rule.at.as_ref(), mode));
        }
        if let Some(shared) = self.to_shared(from, asked, |who| who.has_any(addresses)) {
            return Some(shared);
        }
        if node.is_some()
            && let Some(backends) = self.facts.behind_node_port(port, protocol)
        {
            return self.to_node_port(from, backends, protocol);
        }
        if addresses.iter().any(|address| self.facts.is_api_server(*address, port, protocol)) {
            return self.to_api_server(from, asked);
        }
        match node {
            // NetworkPolicies always allow connections between a pod and its own node.
            Some(Some(node)) if from.node == Some(node) => return None,
            Some(_) => {
                let mut forbidden = standing::node_ports(self.standing);
                let is_it = |(_, own): &(&str, Port)| *own == port && protocol == Protocol::Tcp;
                if let Some((name, _)) = forbidden.find(is_it) {
                    return Some(self.standing(name, from));
                }
            }
            None => {
                let is_metadata = addresses.iter().any(|address| standing::METADATA.contains(address));
                let is_http = asked == (standing::HTTP, Protocol::Tcp);
                if self.standing.metadata && is_metadata && is_http {
                    return Some(self.standing(standing::METADATA_NAME, from));
                }
            }
        }
        self.by_access(Some(from), None)
    }

    /// Returns what is wanted of a connection to a node port: the same as of one to the Service. But nodes may replace
    /// the sender's address with their own, so a connection that is required directly is not required this way.
    fn to_node_port(
        &self,
        from: &PodEnd<'_>,
        backends: Vec<Backend<'_>>,
        protocol: Protocol,
    ) -> Option<Intent> {
        let intent = self.to_backends(from, backends, protocol).filter(|_| self.standing.node_ports)?;
        let why = format!("node port, as its Service: {}", intent.why);
        Some(match intent.wish {
            Wish::Required | Wish::Permitted => Intent { wish: Wish::Permitted, why, ..intent },
            Wish::Forbidden => Intent { why, ..intent },
        })
    }

    /// Returns whether anything is said about connections from this pod to destinations outside the cluster.
    fn asks_about_outside(&self, from: &PodEnd<'_>) -> bool {
        self.scope == Scope::Everything && !from.owners.is_empty()
    }

    /// Returns the intent of the last shared service that this pod may reach, and that `is_it`.
    fn to_shared(&self, from: &PodEnd<'_>, asked: At, is_it: impl Fn(&Who) -> bool) -> Option<Intent> {
        let service = self.services.iter().rev().find(|service| {
            service.sharing == Sharing::FromTenants && service.is_of(from, asked) && is_it(&service.who)
        });
        service.map(|service| self.by_service(service, from))
    }

    fn by_service(&self, service: &SharedService, tenant: &PodEnd<'_>) -> Intent {
        let what = format!("shared service {} ({})", quote(&service.name), service.action.name());
        let mode = self.mode_of(tenant.owners.intersection(&service.tenants));
        intent(service.action.wish(), what, service.at.as_ref(), mode)
    }

    fn standing(&self, name: &str, from: &PodEnd<'_>) -> Intent {
        let what = format!("{name}: forbidden for all tenants");
        intent(Wish::Forbidden, what, None, self.mode_of(from.owners))
    }

    /// Returns what the modes of access say. `None` stands for an end outside the cluster.
    fn by_access(&self, from: Option<&PodEnd<'_>>, to: Option<&PodEnd<'_>>) -> Option<Intent> {
        let egress = from.and_then(|end| self.side(Direction::Egress, end, to));
        let ingress = to.and_then(|end| self.side(Direction::Ingress, end, from));
        let sides: Vec<_> = egress.into_iter().chain(ingress).collect();
        let denies = sides.iter().any(|side| !side.is_allowed);
        // If one end denies, only that end is the reason.
        let deciding: Vec<_> = sides.iter().filter(|side| side.is_allowed != denies).collect();
        let first = deciding.first()?;
        let wish = if denies { Wish::Forbidden } else { Wish::Permitted };
        let why: Vec<_> = deciding.iter().map(|side| side.why.as_str()).collect();
        let mode = self.mode_of(deciding.iter().flat_map(|side| side.owners));
        Some(Intent { wish, why: why.join(" and "), at: first.at.cloned(), mode })
    }

    /// Returns what the mode of access of one end says about the other. `None` if no tenant owns the end. All owners
    /// have the same mode. It is enough if one of them allows the connection.
    fn side<'a>(
        &'a self,
        direction: Direction,
        end: &PodEnd<'a>,
        other: Option<&PodEnd<'_>>,
    ) -> Option<Side<'a>> {
        let owners = || end.owners.iter().filter_map(|index| Some((index, self.tenants.get(*index)?)));
        let access = |tenant: &'a Tenant| match direction {
            Direction::Egress => (tenant.egress, tenant.egress_at.as_ref()),
            Direction::Ingress => (tenant.ingress, tenant.ingress_at.as_ref()),
        };
        let allows = |(index, tenant): &(&usize, &'a Tenant)| match access(tenant).0 {
            Access::AllowAll => true,
            Access::AllowSameNamespace => other.is_some_and(|other| other.namespace == end.namespace),
            Access::AllowSameTenant => other.is_some_and(|other| other.owners.contains(index)),
            Access::DenyAll => false,
        };
        let allowing = owners().find(allows);
        let (_, tenant) = allowing.or_else(|| owners().next())?;
        let (mode, at) = access(tenant);
        let what = format!("{direction} {mode} of tenant {}", quote(&tenant.name));
        Some(Side { is_allowed: allowing.is_some(), why: with_place(what, at), at, owners: end.owners })
    }

    /// Returns the mode of a difference that concerns these tenants. If none of them is only monitored, or there are
    /// none, it fails the check.
    fn mode_of<'a>(&self, owners: impl IntoIterator<Item = &'a usize>) -> Mode {
        let mut modes =
            owners.into_iter().filter_map(|index| Some(self.tenants.get(*index)?.mode)).peekable();
        let is_monitored = modes.peek().is_some() && modes.all(|mode| mode == Mode::Monitor);
        if is_monitored { Mode::Monitor } else { Mode::Enforce }
    }
}

impl End {
    fn contains(&self, pod: &PodEnd<'_>) -> bool {
        self.tenants.as_ref().is_none_or(|tenants| !tenants.is_disjoint(pod.owners))
            && self
                .zones
                .as_ref()
                .is_none_or(|zones| zones.iter().any(|zone| zone.contains(pod.namespace, pod.labels)))
    }
}

impl SharedService {
    /// Returns whether a pod is one of the tenants that share the service, on this port.
    fn is_of(&self, tenant: &PodEnd<'_>, (port, protocol): At) -> bool {
        self.ports.contains(port, protocol) && !self.tenants.is_disjoint(tenant.owners)
    }
}

impl Who {
    fn is_pod(&self, pod: &PodEnd<'_>) -> bool {
        match self {
            Self::Pods(pods) => pods.contains(pod.namespace, pod.labels),
            Self::Addresses(_) | Self::ApiServer => false,
        }
    }

    fn has_any(&self, addresses: &[IpAddr]) -> bool {
        match self {
            Self::Addresses(ranges) => contain(ranges, addresses),
            Self::Pods(_) | Self::ApiServer => false,
        }
    }
}

impl Outside {
    fn is_about(&self, from: &PodEnd<'_>, addresses: &[IpAddr], (port, protocol): At) -> bool {
        self.ports.contains(port, protocol)
            && !self.tenants.is_disjoint(from.owners)
            && contain(&self.addresses, addresses)
    }
}

fn contain(ranges: &[IpNet], addresses: &[IpAddr]) -> bool {
    ranges.iter().any(|range| addresses.iter().any(|address| range.contains(address)))
}

/// Returns the intent for a destination that is one of several. `None` if it depends on which one.
fn combined(mut intents: impl Iterator<Item = Option<Intent>>) -> Option<Intent> {
    let first = intents.next()??;
    intents.try_fold(first, |one, other| {
        let other = other?;
        match (one.wish, other.wish) {
            (Wish::Forbidden, Wish::Forbidden) => Some(one),
            (Wish::Forbidden, Wish::Required | Wish::Permitted)
            | (Wish::Required | Wish::Permitted, Wish::Forbidden) => None,
            (Wish::Required, Wish::Required | Wish::Permitted) => Some(other),
            (Wish::Permitted, Wish::Required | Wish::Permitted) => Some(one),
        }
    })
}

fn intent(wish: Wish, what: String, at: Option<&Place>, mode: Mode) -> Intent {
    Intent { wish, why: with_place(what, at), at: at.cloned(), mode }
}

fn with_place(what: String, at: Option<&Place>) -> String {
    match at {
        Some(place) => format!("{what} at {place}"),
        None => what,
    }
}

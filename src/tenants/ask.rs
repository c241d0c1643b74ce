//! Whether the tenants want a connection.
//!
//! Rules that name a connection come first: flows, then shared services; for destinations outside the cluster, outside
//! targets, then shared services, then the targets that are always forbidden. Of equal rules, the last one holds. If no
//! rule names the connection, the modes of access of both ends decide.

use std::net::IpAddr;

use ipnet::IpNet;

use super::facts::Backend;
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
    owners: &'a TenantSet,
}

impl Tenancy {
    /// Returns what is wanted of a connection. `port` is the destination's own port: for a Service that of the Service.
    /// `None` if nothing is said about it, or if no policy could decide it.
    pub fn intent(&self, from: Party<'_>, to: Party<'_>, port: Port, protocol: Protocol) -> Option<Intent> {
        let asked = (port, protocol);
        match (from, to) {
            (Party::Pod { namespace, labels, node }, to) => {
                self.sent_by_pod(&self.pod(namespace, labels, node), to, asked)
            }
            (Party::Address(address), Party::Pod { namespace, labels, node }) => {
                self.sent_by_address(address, &self.pod(namespace, labels, node), asked)
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

    fn sent_by_pod(&self, from: &PodEnd<'_>, to: Party<'_>, (port, protocol): At) -> Option<Intent> {
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

    fn sent_by_address(&self, address: IpAddr, to: &PodEnd<'_>, asked: At) -> Option<Intent> {
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
        let backends = self.facts.backends(service, port, protocol);
        if *service == Identity::api_server() {
            // NetworkPolicies always allow connections between a pod and its own node.
            let is_on_own_node = backends.iter().any(|backend| match backend {
                Backend::Address(address, _) => {
                    from.node.is_some() && self.facts.node_of(*address) == from.node
                }
                Backend::Pod(..) => false,
            });
            let intent = self.to_api_server(from, asked);
            return intent.filter(|intent| !is_on_own_node || intent.wish != Wish::Forbidden);
        }
        self.to_backends(from, backends, protocol)
    }

    fn to_backends(
        &self,
        from: &PodEnd<'_>,
        backends: Vec<Backend<'_>>,
        protocol: Protocol,
    ) -> Option<Intent> {
        combined(backends.into_iter().map(|backend| match backend {
            Backend::Pod(pod, port) => self.sent_by_pod(from, Party::of_pod(pod), (port, protocol)),
            Backend::Address(address, port) => {
                self.sent_by_pod(from, Party::Address(address), (port, protocol))
            }
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
        if from.node.is_some() && node == Some(from.node) {
            // NetworkPolicies always allow connections between a pod and its own node.
            return None;
        }
        if addresses.iter().any(|address| self.facts.is_api_server(*address, port, protocol)) {
            return self.to_api_server(from, asked);
        }
        match node {
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
        if deciding.is_empty() {
            return None;
        }
        let wish = if denies { Wish::Forbidden } else { Wish::Permitted };
        let why: Vec<_> = deciding.iter().map(|side| side.why.as_str()).collect();
        let mode = self.mode_of(deciding.iter().flat_map(|side| side.owners));
        Some(Intent { wish, why: why.join(" and "), mode })
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
        let what = match at {
            Some(_) => format!("{direction} {mode} of tenant {}", quote(&tenant.name)),
            // Nobody wrote the mode: a label marks the tenants.
            None => format!("tenant {} is closed to the others", quote(&tenant.name)),
        };
        Some(Side { is_allowed: allowing.is_some(), why: with_place(what, at), owners: end.owners })
    }

    /// Returns the mode of a difference that concerns these tenants: `Monitor` if all of them are only monitored. A
    /// difference that concerns no tenant fails the check.
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
    Intent { wish, why: with_place(what, at), mode }
}

fn with_place(what: String, at: Option<&Place>) -> String {
    match at {
        Some(place) => format!("{what} at {place}"),
        None => what,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Tenants;
    use super::*;
    use crate::policy::{Backends, Cluster, Node};
    use crate::snapshot::Snapshot;
    use crate::source::Text;

    const HEAD: &str = "apiVersion: netproof.dev/v1alpha1\nkind: Tenants\n";

    /// Returns a cluster with one pod in each of these namespaces, with its namespace as its label `app`. It has two
    /// nodes, a Service with a node port in namespace `b1`, and an API server on `node-2`.
    fn cluster() -> Cluster {
        let pods = ["a1", "a2", "b1", "joint", "free"].map(|name| {
            format!(
                "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{of: {}}}}}\n---\n\
                 apiVersion: v1\nkind: Pod\nmetadata: {{name: p, namespace: {name}, labels: {{app: {name}}}}}\n\
                 spec: {{nodeName: node-1, containers: [{{name: c, image: c}}]}}\n---\n",
                &name[..1]
            )
        });
        let services = "apiVersion: v1\nkind: Namespace\nmetadata: {name: default}\n---\n\
             apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: b1}\n\
             spec: {type: NodePort, selector: {app: b1}, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}\n\
             ---\napiVersion: v1\nkind: Service\nmetadata: {name: kubernetes, namespace: default}\n\
             spec: {clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1], ports: [{port: 443, targetPort: 6443}]}\n";
        let text = Text { name: "m.yaml".into(), content: pods.concat() + services };
        let mut cluster = Snapshot::read(&text.manifests().unwrap(), None).unwrap().cluster;
        cluster.nodes = ["node-1", "node-2"]
            .map(|name| Node {
                name: name.to_owned(),
                addresses: vec![format!("192.168.0.{}", &name[5..]).parse().unwrap()],
                external_addresses: Vec::new(),
            })
            .into();
        let api = cluster.services.iter_mut().find(|service| service.name == "kubernetes").unwrap();
        api.backends = Backends::Addresses(vec!["192.168.0.2".parse().unwrap()]);
        cluster
    }

    fn tenancy(tenants: &str) -> Tenancy {
        let text = Text { name: "t.yaml".into(), content: format!("{HEAD}{tenants}") };
        Tenants::read(&text).unwrap().resolve(&cluster()).unwrap()
    }

    /// Returns tenants `a` and `b`. Each `rest` consists of further fields.
    fn two(a: &str, b: &str, rules: &str) -> Tenancy {
        tenancy(&format!(
            "tenants:\n- {{name: a, namespaces: [a1, a2]{a}}}\n- {{name: b, namespaces: [b1]{b}}}\n{rules}"
        ))
    }

    /// Asks about a connection. Ends are names of namespaces, or `node-N`, `service:NAMESPACE/NAME` and addresses.
    fn ask(tenancy: &Tenancy, from: &str, to: &str, port: u16, protocol: Protocol) -> Option<Intent> {
        let labels = |name: &str| Labels::from([("app".to_owned(), name.to_owned())]);
        let (from_labels, to_labels) = (labels(from), labels(to));
        let party = |text, labels| -> Party<'_> {
            let text: &str = text;
            if let Ok(address) = text.parse() {
                Party::Address(address)
            } else if let Some((namespace, name)) =
                text.strip_prefix("service:").and_then(|t| t.split_once('/'))
            {
                Party::Service { namespace, name }
            } else if text.starts_with("node-") {
                Party::Node(Some(text))
            } else {
                Party::Pod { namespace: text, labels, node: Some("node-1") }
            }
        };
        let (from, to) = (party(from, &from_labels), party(to, &to_labels));
        tenancy.intent(from, to, Port::new(port).unwrap(), protocol)
    }

    fn tcp(tenancy: &Tenancy, from: &str, to: &str, port: u16) -> Option<Wish> {
        ask(tenancy, from, to, port, Protocol::Tcp).map(|intent| intent.wish)
    }

    const REQUIRED: Option<Wish> = Some(Wish::Required);
    const PERMITTED: Option<Wish> = Some(Wish::Permitted);
    const FORBIDDEN: Option<Wish> = Some(Wish::Forbidden);

    #[test]
    fn both_ends_must_allow_a_connection() {
        // Whether a mode allows connections within a namespace, within a tenant, and to others.
        let allows = |access| match access {
            Access::AllowAll => [true, true, true],
            Access::AllowSameNamespace => [true, false, false],
            Access::AllowSameTenant => [true, true, false],
            Access::DenyAll => [false, false, false],
        };
        for egress in Access::ALL {
            for ingress in Access::ALL {
                let fields = format!(", ingress: {ingress}, egress: {egress}");
                let tenancy = two(&fields, &fields, "");
                let pairs = [("a1", "a1"), ("a1", "a2"), ("a1", "b1")];
                for ((from, to), (out, inward)) in
                    pairs.iter().zip(allows(egress).iter().zip(allows(ingress)))
                {
                    let wish = if *out && inward { PERMITTED } else { FORBIDDEN };
                    assert_eq!(tcp(&tenancy, from, to, 80), wish, "{egress} {ingress} {from} {to}");
                }
                // Ends that belong to no tenant, and ends outside.
                let one_sided = |access| if access == Access::AllowAll { PERMITTED } else { FORBIDDEN };
                for other in ["free", "192.0.2.1"] {
                    assert_eq!(tcp(&tenancy, "a1", other, 80), one_sided(egress), "{egress} {other}");
                    assert_eq!(tcp(&tenancy, other, "a1", 80), one_sided(ingress), "{ingress} {other}");
                }
                assert_eq!(tcp(&tenancy, "free", "free", 80), None);
            }
        }
    }

    #[test]
    fn the_reason_names_the_end_that_denies_and_its_place() {
        let tenancy = two(", egress: DenyAll", "", "");
        let intent = ask(&tenancy, "a1", "b1", 80, Protocol::Tcp).unwrap();
        let expected = "egress DenyAll of tenant `a` at t.yaml:4:43 and ingress AllowSameNamespace of tenant `b` at \
                        t.yaml:5:10";
        assert_eq!(intent.why, expected);
        let intent = ask(&tenancy, "b1", "a1", 80, Protocol::Tcp).unwrap();
        assert_eq!(intent.why, "ingress AllowSameNamespace of tenant `a` at t.yaml:4:10");
    }

    #[test]
    fn flows_come_before_shared_services_and_those_before_modes() {
        let rules = "sharedServices:\n- {name: s, namespaces: b1, ports: [80, 443, 53/UDP]}\n\
                     zones:\n- {name: z, podSelector: {matchLabels: {app: a2}}}\n\
                     flows:\n- {from: {tenant: a}, to: {tenant: b}, action: deny, ports: [443, 8000-8010]}\n\
                     - {from: {tenant: a, zone: z}, to: {tenant: b}, action: allow, ports: [443]}\n\
                     - {from: {tenant: a}, to: {tenant: b}, action: ignore, ports: [8005]}\n";
        let tenancy = two("", "", rules);
        for (from, port, wish) in [
            ("a1", 80, REQUIRED),
            ("a1", 443, FORBIDDEN),
            // The later flow holds.
            ("a2", 443, REQUIRED),
            ("a1", 8000, FORBIDDEN),
            ("a1", 8005, PERMITTED),
            ("a1", 8011, FORBIDDEN),
            ("a1", 53, FORBIDDEN),
        ] {
            assert_eq!(tcp(&tenancy, from, "b1", port), wish, "{from} {port}");
        }
        assert_eq!(ask(&tenancy, "a1", "b1", 53, Protocol::Udp).unwrap().wish, Wish::Required);
        // Flows and shared services have a direction.
        assert_eq!(tcp(&tenancy, "b1", "a2", 443), FORBIDDEN);
        assert_eq!(tcp(&tenancy, "b1", "a1", 80), FORBIDDEN);
        // Nothing is said about ports that are free for all.
        assert_eq!(tcp(&tenancy, "free", "b1", 80), FORBIDDEN);
    }

    #[test]
    fn a_shared_service_may_reach_tenants_and_serve_only_some() {
        let rules = "sharedServices:\n\
                     - {name: in, namespaces: free, direction: ToTenants, tenants: [a], ports: [8080]}\n\
                     - {name: clients, addresses: 192.0.2.0/24, direction: ToTenants, tenants: b}\n\
                     - {name: out, addresses: [198.51.100.1], ports: [443], action: ignore}\n";
        let tenancy = two("", ", egress: DenyAll", rules);
        for (from, to, port, wish) in [
            ("free", "a1", 8080, REQUIRED),
            ("free", "a1", 8081, FORBIDDEN),
            ("free", "b1", 8080, FORBIDDEN),
            ("a1", "free", 8080, PERMITTED),
            ("192.0.2.7", "b1", 1, REQUIRED),
            ("192.0.2.7", "service:b1/web", 80, REQUIRED),
            ("192.0.2.7", "a1", 1, FORBIDDEN),
            ("b1", "198.51.100.1", 443, PERMITTED),
            ("b1", "198.51.100.1", 80, FORBIDDEN),
            ("b1", "198.51.100.2", 443, FORBIDDEN),
        ] {
            assert_eq!(tcp(&tenancy, from, to, port), wish, "{from} {to} {port}");
        }
    }

    #[test]
    fn a_co_owned_namespace_is_open_to_both_owners_and_does_not_join_them() {
        let access = "ingress: AllowSameTenant, egress: AllowSameTenant";
        let tenancy = tenancy(&format!(
            "tenants:\n- {{name: a, namespaces: [a1, {{name: joint, shared: true}}], {access}, mode: monitor}}\n\
             - {{name: b, namespaces: [b1, {{name: joint, shared: true}}], {access}}}\n"
        ));
        for (from, to, wish) in [
            ("a1", "joint", PERMITTED),
            ("b1", "joint", PERMITTED),
            ("joint", "a1", PERMITTED),
            ("joint", "b1", PERMITTED),
            ("a1", "b1", FORBIDDEN),
            ("free", "joint", FORBIDDEN),
        ] {
            assert_eq!(tcp(&tenancy, from, to, 80), wish, "{from} {to}");
        }
        assert_eq!(tenancy.co_owned().collect::<Vec<_>>(), ["joint"]);
        // One owner that enforces is enough.
        assert_eq!(ask(&tenancy, "free", "joint", 80, Protocol::Tcp).unwrap().mode, Mode::Enforce);
    }

    #[test]
    fn a_difference_counts_if_a_tenant_that_enforces_is_concerned() {
        let flows = "flows:\n- {from: {tenant: a}, to: {tenant: b}, action: allow, ports: [1]}\n\
                     - {from: {tenant: a}, to: {tenant: a}, action: allow, ports: [2]}\n";
        let tenancy = two(", mode: monitor, egress: AllowAll", ", egress: AllowAll", flows);
        for (from, to, port, mode) in [
            // Only the ingress of `a` denies this.
            ("b1", "a1", 80, Mode::Monitor),
            ("a1", "b1", 80, Mode::Enforce),
            ("free", "a1", 80, Mode::Monitor),
            ("a1", "b1", 1, Mode::Enforce),
            ("a1", "a2", 2, Mode::Monitor),
            ("a1", "169.254.169.254", 80, Mode::Monitor),
            ("b1", "169.254.169.254", 80, Mode::Enforce),
        ] {
            let intent = ask(&tenancy, from, to, port, Protocol::Tcp).unwrap();
            assert_eq!(intent.mode, mode, "{from} {to} {port}: {}", intent.why);
        }
    }

    #[test]
    fn some_targets_are_always_forbidden() {
        let asked = [
            ("169.254.169.254", 80),
            ("fd00:ec2::254", 80),
            ("node-2", 10_250),
            ("node-2", 10_255),
            ("192.168.0.2", 2379),
            ("192.168.0.2", 6443),
            ("service:default/kubernetes", 443),
            ("10.96.0.1", 443),
            ("node-1", 30_080),
            ("node-2", 30_080),
        ];
        let tenancy = two("", "", "");
        for (to, port) in asked {
            assert_eq!(tcp(&tenancy, "a1", to, port), FORBIDDEN, "{to} {port}");
            assert_eq!(tcp(&tenancy, "free", to, port), None, "{to} {port}");
        }
        // Other ports follow the mode. No NetworkPolicy can deny connections to the pod's own node.
        assert_eq!(tcp(&tenancy, "a1", "169.254.169.254", 81), PERMITTED);
        assert_eq!(tcp(&tenancy, "a1", "node-2", 22), PERMITTED);
        assert_eq!(tcp(&tenancy, "a1", "node-1", 10_250), None);
        let labels = Labels::new();
        let on_node_2 = Party::Pod { namespace: "a1", labels: &labels, node: Some("node-2") };
        let api_server = Party::Service { namespace: "default", name: "kubernetes" };
        let intent = tenancy.intent(on_node_2, api_server, Port::new(443).unwrap(), Protocol::Tcp);
        assert_eq!(intent, None, "the API server is on the pod's own node");
        let off = two("", "", "standing: false\n");
        for (to, port) in asked {
            let wish = if port == 30_080 { None } else { PERMITTED };
            assert_eq!(tcp(&off, "a1", to, port), wish, "{to} {port}");
        }
        let some = two("", "", "standing: {metadata: false, apiServer: false}\n");
        assert_eq!(tcp(&some, "a1", "169.254.169.254", 80), PERMITTED);
        assert_eq!(tcp(&some, "a1", "service:default/kubernetes", 443), PERMITTED);
        assert_eq!(tcp(&some, "a1", "node-2", 10_250), FORBIDDEN);
    }

    #[test]
    fn rules_that_name_a_target_come_before_standing_ones() {
        let rules = "sharedServices:\n- {name: api, apiServer: true, tenants: a}\n\
                     outside:\n- {name: all, addresses: 0.0.0.0/0, action: deny}\n\
                     - {name: meta, addresses: 169.254.169.254, ports: [80], action: allow, tenants: [b]}\n\
                     - {name: nodes, addresses: 192.168.0.0/24, ports: [10250], action: ignore}\n";
        let tenancy = two("", "", rules);
        for (from, to, port, wish) in [
            ("a1", "169.254.169.254", 80, FORBIDDEN),
            ("b1", "169.254.169.254", 80, REQUIRED),
            ("a1", "192.0.2.1", 80, FORBIDDEN),
            ("a1", "2001:db8::1", 80, PERMITTED),
            ("a1", "node-2", 10_250, PERMITTED),
            ("a1", "service:default/kubernetes", 443, REQUIRED),
            ("b1", "service:default/kubernetes", 443, FORBIDDEN),
        ] {
            assert_eq!(tcp(&tenancy, from, to, port), wish, "{from} {to} {port}");
        }
    }

    #[test]
    fn a_service_has_the_intent_of_all_pods_behind_it() {
        let flow = "flows:\n- {from: {tenant: a}, to: {tenant: b}, action: allow, ports: [8080]}\n";
        let tenancy = two("", "", flow);
        // The port behind the Service decides.
        assert_eq!(tcp(&tenancy, "a1", "service:b1/web", 80), REQUIRED);
        assert_eq!(tcp(&tenancy, "a1", "service:b1/web", 8080), None);
        // The node may replace the sender's address, so it is only permitted.
        assert_eq!(tcp(&tenancy, "a1", "node-2", 30_080), PERMITTED);
        let intents = |wishes: &[Option<Wish>]| {
            let intent =
                |wish: &Option<Wish>| wish.map(|wish| intent(wish, String::new(), None, Mode::Enforce));
            combined(wishes.iter().map(intent)).map(|intent| intent.wish)
        };
        assert_eq!(intents(&[]), None);
        assert_eq!(intents(&[REQUIRED, REQUIRED]), REQUIRED);
        assert_eq!(intents(&[REQUIRED, PERMITTED]), PERMITTED);
        assert_eq!(intents(&[PERMITTED, REQUIRED]), PERMITTED);
        assert_eq!(intents(&[FORBIDDEN, FORBIDDEN]), FORBIDDEN);
        assert_eq!(intents(&[FORBIDDEN, PERMITTED]), None);
        assert_eq!(intents(&[REQUIRED, None]), None);
    }

    #[test]
    fn a_flow_within_a_tenant_does_not_join_tenants() {
        let zones =
            "zones:\n- {name: all, podSelector: {matchExpressions: [{key: app, operator: Exists}]}}\n";
        let flow = |rest: &str| {
            format!("{zones}flows:\n- {{from: {{zone: all}}, to: {{zone: all}}, action: allow{rest}}}\n")
        };
        let within = two("", "", &flow(", sameTenant: true"));
        assert_eq!(tcp(&within, "a1", "a2", 80), REQUIRED);
        assert_eq!(tcp(&within, "a1", "b1", 80), FORBIDDEN);
        let across = two("", "", &flow(""));
        assert_eq!(tcp(&across, "a1", "b1", 80), REQUIRED);
        assert_eq!(tcp(&across, "free", "b1", 80), REQUIRED);
    }

    #[test]
    fn groups_by_label_are_only_closed_to_each_other() {
        let tenancy = Tenants::by_label(&cluster(), "of").unwrap().resolve(&cluster()).unwrap();
        let names: Vec<_> = tenancy.tenants().iter().map(|tenant| tenant.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "f", "j"]);
        assert_eq!(tcp(&tenancy, "a1", "a2", 80), PERMITTED);
        assert_eq!(tcp(&tenancy, "a1", "b1", 80), FORBIDDEN);
        assert_eq!(tcp(&tenancy, "kube-system", "b1", 80), None);
        assert_eq!(tcp(&tenancy, "a1", "169.254.169.254", 80), None);
        assert_eq!(tcp(&tenancy, "192.0.2.1", "a1", 80), None);
        assert_eq!(tcp(&tenancy, "a1", "node-2", 10_250), None);
        assert_eq!(tcp(&tenancy, "a1", "service:b1/web", 80), FORBIDDEN);
    }
}

//! Policy gaps of all connections: where the policies allow what the owners forbid, or deny what they require. Found by the
//! engine alone, over all pods, addresses and ports. No packet is sent, so nothing limits what is compared.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::address::{UNUSED, next, previous};
use super::matrix;
use super::question::tenants_of;
use super::stranger;
use crate::policy::{
    Cluster, Connections, Decision, Destination, Endpoint, Engine, Flow, Group, IpFamily, LabelSelector,
    Labels, Namespace, Pod, Port, PortRange, Protocol, Reach,
};
use crate::snapshot::Identity;
use crate::tenants::{Intent, Mode, Party, Tenancy, Wish};

/// Connections between two ends that the policies decide otherwise than their owners want.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// A pod that may send, or an address outside the cluster.
    pub from: String,
    /// A pod or an address that may receive.
    pub to: String,
    /// Namespace of the source. `None` for an address.
    pub from_namespace: Option<String>,
    /// Namespace of the destination. `None` for an address.
    pub to_namespace: Option<String>,
    /// Tenants of the source.
    pub from_tenants: Vec<String>,
    /// Tenants of the destination.
    pub to_tenants: Vec<String>,
    /// The ports, such as `TCP 80,443`.
    pub ports: String,
    /// What is wanted.
    pub wanted: Decision,
    /// What says so.
    pub why: String,
    /// Why the policies decide otherwise.
    pub reasons: Vec<String>,
    /// Whether it does not change the exit code, because its tenants are only monitored.
    pub monitored: bool,
    /// Count of pairs of ends of which the same is true, besides this one.
    pub more: usize,
}

/// An end of connections: pods that policies and intent treat alike, or addresses.
pub(super) struct End {
    pub(super) name: String,
    endpoint: Endpoint,
    pub(super) group: Group,
    pub(super) tenants: Vec<String>,
    kind: Kind,
}

enum Kind {
    Pod(Box<Pod>),
    Address(IpAddr),
}

impl End {
    pub(super) fn party(&self) -> Party<'_> {
        match &self.kind {
            Kind::Pod(pod) => Party::of_pod(pod),
            Kind::Address(address) => Party::Address(*address),
        }
    }

    fn namespace(&self) -> Option<&str> {
        match &self.kind {
            Kind::Pod(pod) => Some(&pod.namespace),
            Kind::Address(_) => None,
        }
    }
}

/// Name of an imaginary namespace of no tenant.
const ANY_NAMESPACE: &str = "any-namespace";

/// Where the policies differ from what is wanted, and where they do not decide.
pub(super) struct Compared {
    pub(super) gaps: Vec<Gap>,
    /// Source and destination of connections of which the policies allow some.
    pub(super) open: BTreeSet<(matrix::Party, matrix::Party)>,
    /// Required connections that the policies leave undefined.
    pub(super) undefined: BTreeSet<String>,
}

/// Compares the policies of a cluster with what is wanted.
///
/// `own` is the namespace of strangers. Their pods are netproof's.
pub(super) fn gaps(cluster: &Cluster, own: &str, tenancy: &Tenancy, families: &[IpFamily]) -> Compared {
    let mut cluster = cluster.clone();
    cluster.namespaces.push(Namespace::new(ANY_NAMESPACE, Labels::new()));
    // Pods that do not exist yet. Those of tenants have twins.
    let without_tenant = cluster
        .namespaces
        .iter()
        .filter(|it| it.name != own && tenancy.tenants_of(&it.name).next().is_none());
    let imaginary = without_tenant.map(|namespace| Pod {
        namespace: namespace.name.clone(),
        name: stranger::NAME.to_owned(),
        ..Pod::default()
    });
    let imaginary: Vec<Pod> = imaginary.collect();
    cluster.pods.extend(imaginary);
    let engine = Engine::new(cluster);
    let mut reach = engine.reach();
    let pods = pods(&engine, &reach, tenancy);
    let addresses = addresses(families, &reach, &tenancy.address_ranges());
    let named: Vec<(Protocol, PortRange)> = named_ports(tenancy);
    let mut found = Found::new(&engine, families);
    for from in &pods {
        for to in pods.iter().chain(&addresses) {
            found.compare(from, to, tenancy, &mut reach, &named);
        }
    }
    for from in &addresses {
        for to in &pods {
            found.compare(from, to, tenancy, &mut reach, &named);
        }
    }
    Compared { gaps: found.gaps.into_values().collect(), open: found.open, undefined: found.undefined }
}

/// What tells gaps apart for a reader.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    tenants: [Vec<String>; 2],
    /// Namespaces of both ends. A gap at addresses says more than one at a pod.
    namespaces: [Option<String>; 2],
    why: String,
    ports: String,
    is_open: bool,
}

/// What the comparison has found so far.
struct Found<'a> {
    engine: &'a Engine,
    families: &'a [IpFamily],
    gaps: BTreeMap<Key, Gap>,
    open: BTreeSet<(matrix::Party, matrix::Party)>,
    undefined: BTreeSet<String>,
}

impl<'a> Found<'a> {
    fn new(engine: &'a Engine, families: &'a [IpFamily]) -> Self {
        Self { engine, families, gaps: BTreeMap::new(), open: BTreeSet::new(), undefined: BTreeSet::new() }
    }

    fn compare(
        &mut self,
        from: &End,
        to: &End,
        tenancy: &Tenancy,
        reach: &mut Reach<'_>,
        named: &[(Protocol, PortRange)],
    ) {
        let id = reach.between(&[from.group], &[to.group]);
        let connections = reach.connections(id);
        let (allowed, undefined) = (connections.allowed.clone(), connections.undefined.clone());
        if !allowed.is_empty() {
            self.open.extend(matrix::pairs(&from.tenants, &to.tenants));
        }
        let mut wrong: BTreeMap<(bool, String, bool), Vec<(Protocol, PortRange)>> = BTreeMap::new();
        for (protocol, range) in segments(&[&allowed, &undefined], named) {
            let intent = tenancy.intent(from.party(), to.party(), range.first(), protocol);
            let Some(Intent { wish, why, mode, .. }) = intent else { continue };
            let is_allowed = allowed.contains(protocol, range.first());
            let is_denied = !is_allowed && !undefined.contains(protocol, range.first());
            let is_wrong = match wish {
                Wish::Forbidden => is_allowed,
                Wish::Required => is_denied,
                Wish::Permitted => false,
            };
            if wish == Wish::Required && mode == Mode::Enforce && !is_allowed && !is_denied {
                let (from, to) = (&from.name, &to.name);
                self.undefined
                    .insert(format!("it is not defined whether {from} reaches {to}: wanted: {why}"));
            }
            if is_wrong {
                let key = (is_allowed, why, mode == Mode::Monitor);
                wrong.entry(key).or_default().push((protocol, range));
            }
        }
        for ((is_open, why, monitored), ranges) in wrong {
            let first = ranges.first().map(|(protocol, range)| (*protocol, range.first()));
            let reasons = first.map(|at| reasons(self.engine, self.families, [from, to], at));
            let ports: Connections = ranges.into_iter().collect();
            let gap = Gap {
                from: from.name.clone(),
                to: to.name.clone(),
                from_namespace: from.namespace().map(str::to_owned),
                to_namespace: to.namespace().map(str::to_owned),
                from_tenants: from.tenants.clone(),
                to_tenants: to.tenants.clone(),
                ports: ports.to_string(),
                wanted: if is_open { Decision::Deny } else { Decision::Allow },
                why,
                reasons: reasons.unwrap_or_default(),
                monitored,
                more: 0,
            };
            let key = Key {
                tenants: [gap.from_tenants.clone(), gap.to_tenants.clone()],
                namespaces: [gap.from_namespace.clone(), gap.to_namespace.clone()],
                why: gap.why.clone(),
                ports: gap.ports.clone(),
                is_open,
            };
            self.gaps.entry(key).and_modify(|gap| gap.more += 1).or_insert(gap);
        }
    }
}

/// Returns why the policies decide as they do about a connection.
pub(super) fn reasons(
    engine: &Engine,
    families: &[IpFamily],
    [from, to]: [&End; 2],
    (protocol, port): (Protocol, Port),
) -> Vec<String> {
    let of_address = [from, to].into_iter().find_map(|end| match end.kind {
        Kind::Address(address) => Some(IpFamily::of(address)),
        Kind::Pod(_) => None,
    });
    let Some(family) = of_address.or_else(|| families.first().copied()) else { return Vec::new() };
    let (source, destination) = (from.endpoint, Destination::Endpoint(to.endpoint));
    let expected = engine.evaluate(&Flow { source, destination, family, protocol, port });
    expected.reasons.iter().map(ToString::to_string).collect()
}

/// Returns one pod for each group of the engine, namespace and set of selectors of the intent.
pub(super) fn pods(engine: &Engine, reach: &Reach<'_>, tenancy: &Tenancy) -> Vec<End> {
    let selectors: Vec<&LabelSelector> = tenancy.pod_selectors().collect();
    let mut seen = BTreeSet::new();
    let mut ids: HashMap<Group, usize> = HashMap::new();
    let mut ends = Vec::new();
    for (id, pod) in engine.pods().filter(|(_, pod)| !pod.ended && !pod.host_network) {
        let Some(group) = reach.pod(id) else { continue };
        let next = ids.len();
        let number = *ids.entry(group).or_insert(next);
        let matched: Vec<bool> = selectors.iter().map(|selector| selector.matches(&pod.labels)).collect();
        if seen.insert((pod.namespace.clone(), number, matched)) {
            let (name, tenants) = (Identity::of_pod(pod).to_string(), tenants_of(tenancy, pod));
            let (endpoint, kind) = (Endpoint::Pod(id), Kind::Pod(Box::new(pod.clone())));
            ends.push(End { name, endpoint, group, tenants, kind });
        }
    }
    ends
}

/// Returns an address for each part of the address space that policies and intent treat alike. `nets` are the ranges at
/// whose edges the intent may change.
fn addresses(families: &[IpFamily], reach: &Reach<'_>, nets: &[IpNet]) -> Vec<End> {
    let mut ends = Vec::new();
    for (group, range) in reach.external().into_iter().filter(|(_, range)| families.contains(&range.family()))
    {
        for (first, last) in parts((range.first(), range.last()), nets) {
            let in_part = |address: &IpAddr| {
                IpFamily::of(*address) == range.family() && *address >= first && *address <= last
            };
            let address = UNUSED.into_iter().find(in_part).unwrap_or(first);
            let name = format!("address {address} ({range})");
            let (endpoint, kind) = (Endpoint::External(address), Kind::Address(address));
            ends.push(End { name, endpoint, group, tenants: Vec::new(), kind });
        }
    }
    // The first one of several is shown, and these are nobody's.
    ends.sort_by_key(|end| !UNUSED.iter().any(|unused| end.endpoint == Endpoint::External(*unused)));
    ends
}

/// Splits a range of addresses where one of these ranges begins or ends. Each part is its first and its last address.
fn parts((first, last): (IpAddr, IpAddr), nets: &[IpNet]) -> Vec<(IpAddr, IpAddr)> {
    let is_inside = |address: &IpAddr| {
        IpFamily::of(*address) == IpFamily::of(first) && *address > first && *address <= last
    };
    let edges = nets.iter().flat_map(|net| [Some(net.network()), next(net.broadcast())]).flatten();
    let begins: BTreeSet<IpAddr> = edges.filter(is_inside).chain([first]).collect();
    let ends = begins.iter().skip(1).filter_map(|begin| previous(*begin)).chain([last]);
    begins.iter().copied().zip(ends.collect::<Vec<_>>()).collect()
}

/// Returns the ports at which the intent may change its mind.
pub(super) fn named_ports(tenancy: &Tenancy) -> Vec<(Protocol, PortRange)> {
    let of_nodes =
        tenancy.node_ports().into_iter().map(|(protocol, port)| (protocol, PortRange::single(port)));
    let api =
        [443, 6443].into_iter().filter_map(Port::new).map(|port| (Protocol::Tcp, PortRange::single(port)));
    let named = tenancy.ports_of_all_rules().into_iter().chain(of_nodes).chain(api);
    named.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Splits the ports of each protocol where one of these sets, or a named port, begins or ends.
pub(super) fn segments(sets: &[&Connections], named: &[(Protocol, PortRange)]) -> Vec<(Protocol, PortRange)> {
    let mut segments = Vec::new();
    for protocol in Protocol::ALL {
        let of_sets = sets.iter().flat_map(|set| set.ports(protocol));
        let of_names = named.iter().filter(|(of, _)| *of == protocol).map(|(_, range)| *range);
        let mut begins = BTreeSet::from([Port::MIN]);
        for range in of_sets.chain(of_names) {
            begins.insert(range.first());
            begins.extend(range.last().checked_add(1));
        }
        let ends = begins.iter().skip(1).map(|next| Port::new(next.get() - 1)).chain([Some(Port::MAX)]);
        for (first, last) in begins.iter().zip(ends) {
            segments
                .extend(last.and_then(|last| PortRange::new(*first, last)).map(|range| (protocol, range)));
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_where_a_range_begins_and_behind_its_end() {
        let nets = ["10.0.0.0/24", "10.0.0.0/8", "fd00::/8", "10.1.2.3/32"].map(|net| net.parse().unwrap());
        let range = ["9.0.0.0", "255.255.255.255"].map(|address| address.parse().unwrap());
        let parts: Vec<String> = parts((range[0], range[1]), &nets)
            .into_iter()
            .map(|(first, last)| format!("{first}-{last}"))
            .collect();
        assert_eq!(
            parts,
            [
                "9.0.0.0-9.255.255.255",
                "10.0.0.0-10.0.0.255",
                "10.0.1.0-10.1.2.2",
                "10.1.2.3-10.1.2.3",
                "10.1.2.4-10.255.255.255",
                "11.0.0.0-255.255.255.255"
            ]
        );
    }

    #[test]
    fn ports_are_split_where_anything_changes() {
        let port = |number| Port::new(number).unwrap();
        let allowed: Connections =
            [(Protocol::Tcp, PortRange::new(port(80), port(90)).unwrap())].into_iter().collect();
        let named = [(Protocol::Tcp, PortRange::single(port(85)))];
        let tcp: Vec<String> = segments(&[&allowed], &named)
            .into_iter()
            .filter(|(protocol, _)| *protocol == Protocol::Tcp)
            .map(|(_, range)| range.to_string())
            .collect();
        assert_eq!(tcp, ["1-79", "80-84", "85", "86-90", "91-65535"]);
    }
}

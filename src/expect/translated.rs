//! Services with virtual addresses. These are not addresses outside the cluster, because nodes translate them to
//! addresses of pods.

use std::collections::HashMap;

use ipnet::IpNet;

use super::end::{End, Pods};
use super::exposed::Exposed;
use crate::policy::{AddressRange, Connections, Engine, Group, PortRange, Protocol, Reach, Service};
use crate::snapshot::{Identity, Snapshot};

/// A Service, and the parts of the address space that contain its virtual addresses.
#[derive(Debug)]
pub(super) struct Translated<'a> {
    service: Exposed<'a>,
    addresses: Vec<Group>,
}

/// Returns the known virtual addresses, and the known ranges of virtual addresses, of Services.
pub(super) fn addresses(engine: &Engine, snapshot: &Snapshot) -> Vec<IpNet> {
    let known = engine.services().flat_map(|(_, service)| known(service, snapshot));
    known.chain(snapshot.ranges.services.iter().copied()).collect()
}

fn known(service: &Service, snapshot: &Snapshot) -> Vec<IpNet> {
    let external = snapshot.external_addresses.get(&Identity::of_service(service)).into_iter().flatten();
    service.addresses.iter().chain(external).map(|address| IpNet::from(*address)).collect()
}

/// Returns every Service that selects pods and has virtual addresses, or has them in known ranges.
pub(super) fn all<'a>(
    engine: &'a Engine,
    snapshot: &Snapshot,
    external: &[(Group, AddressRange)],
) -> Vec<Translated<'a>> {
    let parts = |nets: &[IpNet]| -> Vec<Group> {
        let touches = |range: &AddressRange| nets.iter().any(|net| range.overlaps(net));
        external.iter().filter(|(_, range)| touches(range)).map(|(group, _)| *group).collect()
    };
    let translated = engine.services().filter_map(|(_, service)| {
        let mut nets = known(service, snapshot);
        if service.addresses.is_empty() && !service.headless {
            nets.extend(&snapshot.ranges.services);
        }
        let addresses = parts(&nets);
        let service = Exposed::new(service)?;
        (!addresses.is_empty()).then_some(Translated { service, addresses })
    });
    translated.collect()
}

/// The way to one end through a Service.
#[derive(Debug)]
pub(super) struct Hop {
    /// Index of the Service.
    service: usize,
    /// Ports of the Service, and the ports of the end's pods to which they lead.
    ports: Vec<(Protocol, PortRange, PortRange)>,
}

/// Returns the ways to one end through each Service that may lead there.
pub(super) fn hops(services: &[Translated<'_>], end: &End, pods: &Pods<'_>) -> Vec<Hop> {
    let hop = |(service, translated): (usize, &Translated<'_>)| {
        let ports = translated.service.translations(end, pods);
        (!ports.is_empty()).then_some(Hop { service, ports })
    };
    services.iter().enumerate().filter_map(hop).collect()
}

/// Cache of what one source may send to the virtual addresses of each Service, by the index of the Service.
#[derive(Debug, Default)]
pub(super) struct Sent(HashMap<usize, Connections>);

impl Sent {
    /// Returns the ports of an end's pods that the source may reach by sending to virtual addresses.
    pub(super) fn open(
        &mut self,
        reach: &mut Reach<'_>,
        services: &[Translated<'_>],
        from: &[Group],
        hops: &[Hop],
    ) -> Connections {
        let mut open = Vec::new();
        for Hop { service, ports } in hops {
            let Some(translated) = services.get(*service) else { continue };
            let sent = self.0.entry(*service).or_insert_with(|| {
                let mut all = Connections::default();
                for address in &translated.addresses {
                    let id = reach.between(from, &[*address]);
                    let to = reach.connections(id);
                    all = all.union(&to.allowed).union(&to.undefined);
                }
                all
            });
            let is_sent = |protocol: Protocol, port: PortRange| sent.contains(protocol, port.first());
            // Rules may see the port before or after the translation.
            let may_arrive = ports
                .iter()
                .filter(|(protocol, port, target)| is_sent(*protocol, *port) || is_sent(*protocol, *target));
            open.extend(may_arrive.map(|(protocol, _, target)| (*protocol, *target)));
        }
        open.into_iter().collect()
    }
}

//! The targets that are forbidden for every tenant without being named.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::rule::Standing;
use crate::policy::Port;

/// Name of the metadata service of clouds.
pub(super) const METADATA_NAME: &str = "cloud metadata";

/// Addresses of the metadata service. The IPv6 address is that of AWS
/// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html>).
pub(super) const METADATA: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Port of the metadata service.
pub(super) const HTTP: Port = port(80);

/// TCP ports of nodes, with the names of what listens there
/// (<https://kubernetes.io/docs/reference/networking/ports-and-protocols/>).
const KUBELETS: [(&str, Port); 2] = [("kubelet", port(10_250)), ("read-only kubelet", port(10_255))];
const ETCD: (&str, Port) = ("etcd", port(2379));

/// Returns the TCP ports of nodes that are forbidden, with the names of what listens there.
pub(super) fn node_ports(standing: Standing) -> impl Iterator<Item = (&'static str, Port)> {
    let kubelets = KUBELETS.into_iter().filter(move |_| standing.kubelets);
    kubelets.chain(Some(ETCD).filter(|_| standing.etcd))
}

const fn port(number: u16) -> Port {
    match Port::new(number) {
        Some(port) => port,
        None => Port::MIN,
    }
}

//! The lab's network: network namespaces for nodes, pods and external addresses, and the links between them.
//!
//! Everything is linked to its parent by a pair of virtual Ethernet devices, and is routed, as in a cluster
//! with routed pods. The parent of a pod is its node. The parent of a node or an external address is the
//! fabric. There is no bridge, and neighbour entries are static, so that nothing must be discovered or can
//! time out.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;

use ipnet::IpNet;
use nix::errno::Errno;
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder, new_connection};

use super::netns::{Netns, has_ipv6, set_parameter};

/// A network namespace that is part of the network.
#[derive(Debug, Clone)]
pub(super) struct Space {
    pub(super) netns: Netns,
    /// Addresses by which others reach it.
    pub(super) addresses: Vec<IpAddr>,
    /// Ranges that it routes besides its own addresses: those of a node's pods.
    pub(super) subnets: Vec<IpNet>,
}

/// How a namespace handles packets for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It forwards them: nodes and the fabric.
    Router,
    /// It does not forward them: pods and external addresses.
    Host,
}

const LOOPBACK: u32 = 1;
/// Index and name of a child's link to its parent. They are always the same.
const UPLINK: (u32, &str) = (2, "eth0");
/// Gateway of every child. No device has this address: a neighbour entry is enough.
const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// Creates a namespace with its loopback device, and leaves the calling thread in it.
pub(super) async fn create_space(
    role: Role,
    addresses: Vec<IpAddr>,
    subnets: Vec<IpNet>,
) -> io::Result<Space> {
    let netns = Netns::create()?;
    if has_ipv6() {
        set_parameter("ipv6/conf/default/accept_ra", "0")?;
    }
    if role == Role::Router {
        set_parameter("ipv4/ip_forward", "1")?;
        if has_ipv6() {
            set_parameter("ipv6/conf/all/forwarding", "1")?;
        }
        for which in ["all", "default"] {
            set_parameter(&format!("ipv4/conf/{which}/rp_filter"), "0")?;
        }
    }
    let up = LinkMessageBuilder::<LinkUnspec>::new().index(LOOPBACK).up().build();
    let handle = open()?;
    handle.link().change(up).execute().await.map_err(netlink("switch on the loopback device"))?;
    let subnets = subnets.into_iter().filter(|net| is_usable(&net.addr())).collect();
    Ok(Space { netns, addresses: usable(addresses), subnets })
}

/// Returns the addresses of the families that the kernel has.
pub(super) fn usable(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    addresses.into_iter().filter(is_usable).collect()
}

pub(super) fn is_usable(address: &IpAddr) -> bool {
    address.is_ipv4() || has_ipv6()
}

/// Opens a netlink connection to the calling thread's network namespace.
fn open() -> io::Result<Handle> {
    let (connection, handle, _) = new_connection()?;
    tokio::spawn(connection);
    Ok(handle)
}

/// Links a child to its parent. `number` is unique among the parent's children, and becomes the index of the
/// parent's device.
///
/// Must be called on a thread that may change its namespace.
pub(super) async fn attach(parent: &Space, child: &Space, number: u32) -> io::Result<()> {
    let parent_mac = mac(0, number);
    let child_mac = mac(1, number);
    parent.netns.enter()?;
    let handle = open()?;
    add_pair(&handle, child, number, parent_mac, child_mac).await?;
    for (i, address) in child.addresses.iter().enumerate() {
        neighbour(&handle, number, *address, child_mac).await?;
        let own = parent.addresses.iter().find(|own| own.is_ipv4() == address.is_ipv4());
        route(&handle, number, IpNet::from(*address), None, own.copied()).await?;
        for subnet in child.subnets.iter().filter(|_| i == 0) {
            let via = child.addresses.iter().find(|via| via.is_ipv4() == subnet.addr().is_ipv4());
            route(&handle, number, *subnet, via.copied(), None).await?;
        }
    }

    child.netns.enter()?;
    let handle = open()?;
    let (uplink, _) = UPLINK;
    // This is not possible when the pair is created: a device cannot be up before its peer exists.
    let up = LinkMessageBuilder::<LinkUnspec>::new().index(uplink).up().build();
    handle.link().change(up).execute().await.map_err(netlink("switch on a device"))?;
    for address in &child.addresses {
        let length = IpNet::from(*address).prefix_len();
        let mut request = handle.address().add(uplink, *address, length);
        // Skip duplicate address detection. The addresses are unique by construction, and an address that is
        // being checked cannot be used yet.
        request.message_mut().header.flags.insert(AddressHeaderFlags::Nodad);
        request.execute().await.map_err(netlink("add an address"))?;
        let (gateway, everywhere): (IpAddr, IpAddr) = match address {
            IpAddr::V4(_) => (GATEWAY_V4.into(), Ipv4Addr::UNSPECIFIED.into()),
            IpAddr::V6(_) => (GATEWAY_V6.into(), Ipv6Addr::UNSPECIFIED.into()),
        };
        neighbour(&handle, uplink, gateway, parent_mac).await?;
        let default = IpNet::new(everywhere, 0).map_err(io::Error::other)?;
        route(&handle, uplink, default, Some(gateway), Some(*address)).await?;
    }
    Ok(())
}

/// Removes a child's link, and the routes to the child with it.
pub(super) async fn detach(parent: &Space, number: u32) -> io::Result<()> {
    parent.netns.enter()?;
    match open()?.link().del(number).execute().await {
        // If the child ended by itself, the kernel removes its link at some time.
        Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -(Errno::ENODEV as i32) => Ok(()),
        removed => removed.map_err(netlink("remove a link")),
    }
}

async fn add_pair(
    handle: &Handle,
    child: &Space,
    number: u32,
    parent_mac: [u8; 6],
    child_mac: [u8; 6],
) -> io::Result<()> {
    let (index, name) = UPLINK;
    let peer = LinkMessageBuilder::<LinkUnspec>::new()
        .index(index)
        .name(name)
        .address(child_mac.to_vec())
        .setns_by_fd(child.netns.as_fd().as_raw_fd())
        .build();
    let pair = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .index(number)
        .name(format!("veth{number}"))
        .address(parent_mac.to_vec())
        .up()
        .build();
    handle.link().add(pair).execute().await.map_err(netlink("add a pair of devices"))
}

async fn neighbour(handle: &Handle, index: u32, address: IpAddr, mac: [u8; 6]) -> io::Result<()> {
    let request = handle.neighbours().add(index, address).link_layer_address(&mac);
    request.execute().await.map_err(netlink("add a neighbour"))
}

async fn route(
    handle: &Handle,
    index: u32,
    to: IpNet,
    via: Option<IpAddr>,
    source: Option<IpAddr>,
) -> io::Result<()> {
    let invalid = |error: &dyn std::fmt::Display| io::Error::other(format!("not a route: {error}"));
    let mut route = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(to.addr(), to.prefix_len())
        .map_err(|error| invalid(&error))?
        .output_interface(index);
    if let Some(gateway) = via {
        route = route.gateway(gateway).map_err(|error| invalid(&error))?.onlink();
    }
    if let Some(source) = source {
        route = route.pref_source(source).map_err(|error| invalid(&error))?;
    }
    let message = route.build();
    handle.route().add(message).execute().await.map_err(netlink("add a route"))
}

/// Returns a locally administered address that is unique on its link.
fn mac(end: u8, number: u32) -> [u8; 6] {
    let [a, b, c, d] = number.to_be_bytes();
    [0x02 | (end << 4), a, b, c, d, end]
}

fn netlink(doing: &'static str) -> impl Fn(rtnetlink::Error) -> io::Error {
    move |error| io::Error::other(format!("could not {doing}: {error}"))
}

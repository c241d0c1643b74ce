//! Creation of hosts: a network namespace, a link to the parent, and an agent.
//!
//! A thread that creates a network namespace ends up in it. So all of this happens on threads that are not
//! used for anything else.

use std::future::Future;
use std::io;
use std::net::{IpAddr, TcpStream};

use ipnet::IpNet;

use super::netns::on_thread;
use super::network::{self, Role, Space};
use super::process::Process;
use crate::backend::Error;
use crate::world::EndpointName;

/// A host to create below a parent.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: EndpointName,
    pub(super) role: Role,
    pub(super) addresses: Vec<IpAddr>,
    /// Ranges that it routes besides its own addresses.
    pub(super) subnets: Vec<IpNet>,
    pub(super) parent: Space,
    /// Number of its link, unique in the lab.
    pub(super) link: u32,
}

/// A host with a running agent.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) name: EndpointName,
    pub(super) space: Space,
    pub(super) process: Process,
    /// Connection to the agent's API.
    pub(super) stream: TcpStream,
}

/// Creates a router without a parent.
pub(super) async fn router(addresses: Vec<IpAddr>, subnets: Vec<IpNet>) -> Result<Space, Error> {
    on_own_thread(async move || network::create_space(Role::Router, addresses, subnets).await).await
}

/// Creates hosts, in order.
pub(super) async fn hosts(hosts: Vec<Host>, token: &str) -> Result<Vec<Started>, Error> {
    let token = token.to_owned();
    on_own_thread(async move || {
        let mut started = Vec::new();
        for host in &hosts {
            let space =
                network::create_space(host.role, host.addresses.clone(), host.subnets.clone()).await?;
            // The agent starts while the next hosts are created.
            let process = Process::start(&host.name.to_string(), &token)?;
            network::attach(&host.parent, &space, host.link).await?;
            started.push((space, process));
        }
        let connect = |(host, (space, mut process)): (Host, (Space, Process))| {
            space.netns.enter()?;
            let stream = process.connect()?;
            Ok(Started { name: host.name, space, process, stream })
        };
        hosts.into_iter().zip(started).map(connect).collect()
    })
    .await
}

/// Removes a host's link.
pub(super) async fn detach(parent: Space, link: u32) -> Result<(), Error> {
    on_own_thread(async move || network::detach(&parent, link).await).await
}

async fn on_own_thread<T, F, R>(work: F) -> Result<T, Error>
where
    T: Send + 'static,
    R: Future<Output = io::Result<T>>,
    F: FnOnce() -> R + Send + 'static,
{
    let result = on_thread(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(work())
    });
    result.await.map_err(|error| Error::failed("build the lab's network", error))
}

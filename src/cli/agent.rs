//! `netproof agent`

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use clap::Args;
use netproof_probe::wire::CONTROL_PORT;

/// Run an agent on a host outside of a cluster, for runs with --external
///
/// Pods of a run then send packets to this host, and it sends packets to them. So it plays what scenarios call an
/// external: an address outside of the cluster. It prints one line when it is ready, and ends on SIGINT or SIGTERM.
///
/// The environment variable NETPROOF_TOKEN has the token of its API, of at least 32 characters. The run and all of its
/// agents need the same one. The API and its token travel unencrypted: on a network that others can read, leave
/// --listen on loopback and reach the API through an SSH tunnel.
///
/// The agent opens the ports of the scenarios, such as 80. For ports below 1024, it must be root or have the capability
/// CAP_NET_BIND_SERVICE.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct AgentArgs {
    /// The address and port of its API. Any address but loopback opens it to other hosts
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, CONTROL_PORT)))]
    listen: SocketAddr,

    /// Its name, which no other agent of the run may have [default: the name of the host]
    #[arg(long)]
    name: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  export NETPROOF_TOKEN=$(openssl rand -hex 32)    the same for the agents and the run
  netproof agent                                   its API is on loopback, for an SSH tunnel or a run on this host
  netproof agent --listen 192.0.2.7:15119          its API is open to the network, which has to be trusted
  netproof run --backend cluster --external internet=192.0.2.7                     a run that uses it
  netproof run --backend cluster --external internet=192.0.2.7@127.0.0.1:15119     through a tunnel, or on its host";

#[cfg(target_os = "linux")]
pub(super) fn agent(args: &AgentArgs) -> anyhow::Result<ExitCode> {
    use netproof_probe::agent::{self, Options};

    use crate::backend::cluster::agent_name;

    let token = super::outside::token()?;
    let name = agent_name(&args.name.clone().unwrap_or_else(agent::host_name));
    let (listen, is_open) = (args.listen, true);
    agent::run(Options { name, listen, is_open, open: None, token, entry: None, deadline: None })?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn agent(_: &AgentArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("the agent needs Linux: run `netproof agent` on a host with Linux")
}

//! Hosts outside of a cluster: how options name them, and the token of their agents.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use netproof_probe::wire::{CONTROL_PORT, TOKEN_VARIABLE};

use super::value;
use crate::backend::cluster::{OutsideHost, shell_word};
use crate::policy::IpFamily;

/// Minimum length of a token that a user chose, in characters.
const SHORTEST_TOKEN: usize = 32;

/// Parses `NAME=ADDRESS[,ADDRESS][@HOST:PORT]`.
pub(super) fn host(text: &str) -> Result<OutsideHost, String> {
    let Some((name, rest)) = text.split_once('=') else {
        return Err("write it as NAME=ADDRESS, such as internet=203.0.113.10".to_owned());
    };
    let name = value::label(name)?;
    let (addresses, control) = match rest.split_once('@') {
        Some((addresses, control)) => (addresses, Some(control)),
        None => (rest, None),
    };
    let addresses = addresses.split(',').map(address).collect::<Result<Vec<_>, _>>()?;
    let families: BTreeSet<IpFamily> = addresses.iter().copied().map(IpFamily::of).collect();
    if families.len() < addresses.len() {
        return Err("name at most one address of each family: an agent sends from one".to_owned());
    }
    let control = match (control, addresses.first()) {
        (Some(control), _) => api(control)?,
        (None, Some(first)) => SocketAddr::new(*first, CONTROL_PORT).to_string(),
        (None, None) => return Err("name the address at which pods reach it".to_owned()),
    };
    Ok(OutsideHost { name, addresses, control })
}

fn address(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text.parse().map_err(|_| format!("`{text}` is not an IP address"))?;
    if address.is_loopback() || address.is_unspecified() || address.is_multicast() {
        return Err(format!("pods cannot reach {address}: name the host's own address"));
    }
    Ok(address)
}

/// Checks `HOST:PORT`.
fn api(text: &str) -> Result<String, String> {
    let is_address = text.parse::<SocketAddr>().is_ok_and(|address| address.port() > 0);
    let is_name = text.rsplit_once(':').is_some_and(|(host, port)| {
        let is_host = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        !host.is_empty() && host.chars().all(is_host) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    match is_address || is_name {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "`{text}` is not HOST:PORT, such as 127.0.0.1:{CONTROL_PORT} or [::1]:{CONTROL_PORT}"
        )),
    }
}

/// Returns these hosts as options, each after a space.
pub(super) fn as_given(hosts: &[OutsideHost]) -> String {
    let option = |OutsideHost { name, addresses, control }: &OutsideHost| {
        let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        format!(" --external {name}={}@{}", addresses.join(","), shell_word(control))
    };
    hosts.iter().map(option).collect()
}

/// Checks that hosts have different names and addresses.
pub(super) fn check(hosts: &[OutsideHost]) -> anyhow::Result<()> {
    let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for host in hosts {
        if !names.insert(&host.name) {
            anyhow::bail!("--external {}: the name is given twice", host.name);
        }
        if let Some(address) = host.addresses.iter().find(|address| !addresses.insert(*address)) {
            anyhow::bail!("--external {}: another one has {address}, too", host.name);
        }
    }
    Ok(())
}

/// Returns the token of the environment.
pub(super) fn token() -> anyhow::Result<String> {
    checked(std::env::var(TOKEN_VARIABLE).unwrap_or_default())
}

fn checked(token: String) -> anyhow::Result<String> {
    let advice = format!(
        "make one with `export {TOKEN_VARIABLE}=$(openssl rand -hex 32)`, for all agents outside of the cluster and for the \
         run"
    );
    let length = token.chars().count();
    if token.is_empty() {
        anyhow::bail!("{TOKEN_VARIABLE} is not set, and it keeps others away from the agent: {advice}");
    }
    if length < SHORTEST_TOKEN {
        anyhow::bail!("{TOKEN_VARIABLE} has {length} characters, not at least {SHORTEST_TOKEN}: {advice}");
    }
    if !token.chars().all(|c| c.is_ascii_graphic()) {
        anyhow::bail!("{TOKEN_VARIABLE} has other characters than printable ASCII: {advice}");
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_a_name_and_addresses_and_an_api() {
        let parsed = |text: &str| {
            host(text)
                .map(|OutsideHost { name, addresses, control }| format!("{name} {addresses:?} {control}"))
        };
        let at = |text: &str| parsed(text).unwrap();
        assert_eq!(at("a=192.0.2.1"), "a [192.0.2.1] 192.0.2.1:15119");
        assert_eq!(at("a=2001:db8::1,192.0.2.1"), "a [2001:db8::1, 192.0.2.1] [2001:db8::1]:15119");
        assert_eq!(at("a=192.0.2.1@[::1]:80"), "a [192.0.2.1] [::1]:80");
        assert_eq!(at("a=192.0.2.1@bastion.example:15119"), "a [192.0.2.1] bastion.example:15119");
        for wrong in [
            "a",
            "=192.0.2.1",
            "a=",
            "a=b",
            "A b=192.0.2.1",
            "a=192.0.2.1,192.0.2.2",
            "a=127.0.0.1",
            "a=0.0.0.0",
            "a=192.0.2.1@",
            "a=192.0.2.1@host",
            "a=192.0.2.1@host:0",
            "a=192.0.2.1@::1",
            "a=192.0.2.1@a b:1",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn two_hosts_share_no_name_and_no_address() {
        let check = |hosts: &[&str]| {
            let hosts: Vec<_> = hosts.iter().map(|text| host(text).unwrap()).collect();
            check(&hosts).map_err(|error| error.to_string())
        };
        assert_eq!(check(&["a=192.0.2.1", "b=192.0.2.2"]), Ok(()));
        let twice = check(&["a=192.0.2.1", "a=192.0.2.2"]).unwrap_err();
        assert_eq!(twice, "--external a: the name is given twice");
        let same = check(&["a=192.0.2.1", "b=2001:db8::1,192.0.2.1"]).unwrap_err();
        assert_eq!(same, "--external b: another one has 192.0.2.1, too");
    }

    #[test]
    fn a_token_that_can_be_guessed_is_refused() {
        let refusal = |token: &str| checked(token.to_owned()).unwrap_err().to_string();
        assert!(checked("x".repeat(32)).is_ok());
        assert!(refusal("").starts_with("NETPROOF_TOKEN is not set"));
        assert!(refusal("secret").starts_with("NETPROOF_TOKEN has 6 characters, not at least 32"));
        assert!(refusal("secret").contains("openssl rand -hex 32"));
        assert!(refusal(&" ".repeat(32)).contains("printable ASCII"));
    }
}

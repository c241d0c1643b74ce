//! Policies with named addresses: `{x/a}/32` in an `ipBlock` is the address of pod `x/a`.
//!
//! Addresses of pods, Services and nodes differ between clusters and change over time. So a policy that is written
//! once can only name them. The caller provides the address of each name. This module replaces the names, and then
//! checks the policy as if the addresses had been written.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1 as networking;

use super::field::{Field, Problem};
use super::identity::{Identity, identity};
use super::network_policy;
use crate::policy::{IpFamily, NetworkPolicy};
use crate::source::{self, Node, quote};

/// A named address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressName {
    /// The pod, Service or node that has the address, as it is written between the braces.
    pub holder: String,
    /// The family of the address; IPv4 unless `:IPv6` is written.
    pub family: IpFamily,
}

/// Function that returns the address of a name, or why it has none.
pub type Lookup<'a> = dyn Fn(&AddressName) -> Result<IpAddr, Box<dyn Error + Send + Sync>> + 'a;

/// A policy as netproof understands it, and as it was written. A cluster gets the written policy. If it got the one
/// that netproof made of it, a misunderstanding could never show.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenPolicy {
    /// The policy that the engine evaluates.
    pub policy: NetworkPolicy,
    /// The manifest, with addresses instead of their names.
    pub object: Arc<networking::NetworkPolicy>,
    /// The manifest with names, if it has any.
    by_name: Option<Arc<ByName>>,
}

/// A policy with names of addresses.
#[derive(Debug, PartialEq)]
struct ByName {
    object: networking::NetworkPolicy,
    identity: Identity,
    /// File that contains it.
    file: Arc<str>,
    node: Node,
}

impl WrittenPolicy {
    /// Converts a policy without names.
    ///
    /// # Errors
    /// If the API server would refuse it.
    pub fn new(object: networking::NetworkPolicy) -> Result<Self, Problem> {
        let policy = network_policy::convert(&object, identity(&object.metadata, None)?)?;
        Ok(Self { policy, object: Arc::new(object), by_name: None })
    }

    /// Reads a policy. Names of addresses are errors unless there is a `lookup` for them.
    pub(super) fn read(
        object: networking::NetworkPolicy,
        identity: Identity,
        file: &Arc<str>,
        node: &Node,
        lookup: Option<&Lookup<'_>>,
    ) -> Result<Self, Problem> {
        let mut resolved = object.clone();
        let replaced = match lookup {
            Some(lookup) => replace(&mut resolved, lookup)?,
            None => Vec::new(),
        };
        let policy = convert(&resolved, identity.clone(), &replaced)?;
        let by_name = (!replaced.is_empty())
            .then(|| Arc::new(ByName { object, identity, file: Arc::clone(file), node: node.clone() }));
        Ok(Self { policy, object: Arc::new(resolved), by_name })
    }

    /// Returns the policy with the current addresses of its names.
    ///
    /// # Errors
    /// If a name has no address, or if the API server would refuse the result.
    pub fn resolve(&self, lookup: &Lookup<'_>) -> Result<Self, source::Error> {
        let Some(by_name) = &self.by_name else { return Ok(self.clone()) };
        let ByName { object, identity, file, node } = &**by_name;
        let mut object = object.clone();
        let converted =
            replace(&mut object, lookup).and_then(|replaced| convert(&object, identity.clone(), &replaced));
        let policy = converted
            .map_err(|problem| problem.within(file, node).about(format_args!("NetworkPolicy {identity}")))?;
        Ok(Self { policy, object: Arc::new(object), by_name: Some(Arc::clone(by_name)) })
    }

    /// Returns the policy with its current addresses fixed: `resolve` does not change them any more.
    #[must_use]
    pub fn pinned(&self) -> Self {
        Self { by_name: None, ..self.clone() }
    }
}

/// A named range as it is written, and the range that replaced it.
type Replaced = (String, IpNet);

fn convert(
    object: &networking::NetworkPolicy,
    identity: Identity,
    replaced: &[Replaced],
) -> Result<NetworkPolicy, Problem> {
    network_policy::convert(object, identity).map_err(|problem| {
        // The user did not write these addresses, so the message also shows the name.
        let said = replaced.iter().filter(|(_, net)| problem.message.contains(&net.to_string()));
        let said: String = said.map(|(written, net)| format!(" ({net} is `{written}`)")).collect();
        Problem { message: problem.message + &said, ..problem }
    })
}

fn replace(policy: &mut networking::NetworkPolicy, lookup: &Lookup<'_>) -> Result<Vec<Replaced>, Problem> {
    let mut replaced = Vec::new();
    let Some(spec) = &mut policy.spec else { return Ok(replaced) };
    let ingress = spec.ingress.iter_mut().flatten().map(|rule| rule.from.as_mut()).enumerate();
    let egress = spec.egress.iter_mut().flatten().map(|rule| rule.to.as_mut()).enumerate();
    let rules = ingress.map(|rule| ("ingress", "from", rule));
    for (list, peers_name, (index, peers)) in rules.chain(egress.map(|rule| ("egress", "to", rule))) {
        let at = Field::ROOT.field("spec");
        let at = at.field(list);
        let at = at.index(index);
        let at = at.field(peers_name);
        for (i, peer) in peers.into_iter().flatten().enumerate() {
            let Some(block) = &mut peer.ip_block else { continue };
            let at = at.index(i);
            let at = at.field("ipBlock");
            replaced.extend(replace_one(&mut block.cidr, &at.field("cidr"), lookup)?);
            for (i, hole) in block.except.iter_mut().flatten().enumerate() {
                replaced.extend(replace_one(hole, &at.field("except").index(i), lookup)?);
            }
        }
    }
    Ok(replaced)
}

fn replace_one(text: &mut String, at: &Field<'_>, lookup: &Lookup<'_>) -> Result<Option<Replaced>, Problem> {
    if !text.starts_with('{') {
        return Ok(None);
    }
    let (name, prefix) = parse(text).ok_or_else(|| {
        at.problem(format!(
            "{} is not an address by name such as {{x/a}}/32 or {{service:x/web:IPv6}}/128",
            quote(text)
        ))
    })?;
    let address = lookup(&name).map_err(|error| Problem {
        path: at.path(),
        message: error.to_string(),
        cause: Some(error.into()),
    })?;
    let net = IpNet::new(address, prefix).map_err(|_| {
        let bits = if address.is_ipv4() { "32; write {NAME:IPv6} for an IPv6 address" } else { "128" };
        at.problem(format!("{}: the prefix of {} is at most {bits}", quote(text), name.family))
    })?;
    // The API server refuses host bits.
    let net = net.trunc();
    let written = std::mem::replace(text, net.to_string());
    Ok(Some((written, net)))
}

/// Parses `{HOLDER}/PREFIX` or `{HOLDER:FAMILY}/PREFIX`.
fn parse(text: &str) -> Option<(AddressName, u8)> {
    let (name, prefix) = text.strip_prefix('{')?.rsplit_once("}/")?;
    let is_number = prefix.bytes().all(|b| b.is_ascii_digit());
    let prefix = prefix.parse().ok().filter(|_| is_number)?;
    let mut families = IpFamily::ALL.into_iter();
    let named = families.find_map(|family| Some((name.strip_suffix(&format!(":{family}"))?, family)));
    let (holder, family) = named.unwrap_or((name, IpFamily::V4));
    (!holder.is_empty()).then(|| (AddressName { holder: holder.to_owned(), family }, prefix))
}

/// Writes the name as in a manifest, without the prefix.
impl fmt::Display for AddressName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.family {
            IpFamily::V4 => write!(f, "{{{}}}", self.holder),
            IpFamily::V6 => write!(f, "{{{}:IPv6}}", self.holder),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_with_family_and_prefix() {
        for (text, holder, family, prefix) in [
            ("{x/a}/32", "x/a", IpFamily::V4, 32),
            ("{x/a:IPv4}/24", "x/a", IpFamily::V4, 24),
            ("{x/a:IPv6}/128", "x/a", IpFamily::V6, 128),
            ("{service:x/web:IPv6}/0", "service:x/web", IpFamily::V6, 0),
        ] {
            let (name, read) = parse(text).unwrap();
            assert_eq!((name.holder.as_str(), name.family, read), (holder, family, prefix));
        }
        for text in ["{x/a}", "{x/a}/", "{x/a}/+1", "{x/a}/256", "{}/32", "{:IPv6}/32", "{x/a/32", "{x/a}32"]
        {
            assert!(parse(text).is_none(), "{text}");
        }
    }

    fn replaced(text: &str, address: &str) -> Result<String, Problem> {
        let mut text = text.to_owned();
        let lookup = |_: &AddressName| Ok(address.parse().unwrap());
        replace_one(&mut text, &Field::ROOT, &lookup).map(|_| text)
    }

    #[test]
    fn a_short_prefix_gives_the_network() {
        assert_eq!(replaced("{x/a}/24", "10.244.1.7").unwrap(), "10.244.1.0/24");
        assert_eq!(replaced("{x/a:IPv6}/64", "fd00::7").unwrap(), "fd00::/64");
        assert_eq!(replaced("10.0.0.7/24", "10.244.1.7").unwrap(), "10.0.0.7/24");
        assert!(
            replaced("{x/a}/33", "10.244.1.7").unwrap_err().message.contains("at most 32; write {NAME:IPv6}")
        );
    }
}

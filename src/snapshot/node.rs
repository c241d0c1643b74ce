//! Converts `v1 Node`.

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as api;

use super::field::{Field, Problem};
use super::identity::required_name;
use super::rules;
use crate::policy::Node;

/// A node, and the address ranges of its pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadNode {
    /// The node.
    pub node: Node,
    /// `spec.podCIDRs`. Network plugins that assign addresses themselves do not use these ranges.
    pub pod_ranges: Vec<IpNet>,
}

pub(super) fn convert(object: api::Node) -> Result<ReadNode, Problem> {
    let name = required_name(object.metadata.name.as_deref())?.to_owned();
    rules::subdomain(&name, &Field::ROOT.field("metadata").field("name"))?;

    let status = object.status.unwrap_or_default();
    let (mut addresses, mut external_addresses) = (Vec::new(), Vec::new());
    for (i, listed) in status.addresses.iter().flatten().enumerate() {
        let of_type = match &*listed.type_ {
            "InternalIP" => &mut addresses,
            "ExternalIP" => &mut external_addresses,
            // The other types are names: `Hostname`, `InternalDNS`, `ExternalDNS`.
            _ => continue,
        };
        let at = Field::ROOT.field("status");
        let address = rules::address(&listed.address, &at.field("addresses").index(i).field("address"))?;
        if !of_type.contains(&address) {
            of_type.push(address);
        }
    }

    let spec = object.spec.unwrap_or_default();
    let (listed, field) = match (spec.pod_cidrs, spec.pod_cidr) {
        (Some(all), _) => (all, "podCIDRs"),
        (None, first) => (first.into_iter().collect(), "podCIDR"),
    };
    let at = Field::ROOT.field("spec");
    let pod_ranges = listed.iter().map(|range| rules::cidr(range, &at.field(field)));
    let pod_ranges = pod_ranges.collect::<Result<_, _>>()?;
    Ok(ReadNode { node: Node { name, addresses, external_addresses }, pod_ranges })
}

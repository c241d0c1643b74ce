//! Addresses of the endpoints, by name.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::endpoint::EndpointName;
use super::error::Error;
use super::model::World;
use super::pattern::EndpointPattern;
use crate::policy::{Cluster, IpFamily};
use crate::snapshot::AddressName;

impl World {
    /// Returns the addresses of an endpoint. Empty if they are not known, and `None` if there is no such
    /// endpoint.
    pub fn addresses(&self, endpoint: &EndpointName) -> Option<&[IpAddr]> {
        let addresses = match endpoint {
            EndpointName::Pod { namespace, name } => &self.pod(namespace, name)?.addresses,
            EndpointName::Service { namespace, name } => &self.service(namespace, name)?.addresses,
            EndpointName::Node(name) => &self.cluster.nodes.iter().find(|node| node.name == *name)?.addresses,
            EndpointName::External(name) => &self.externals.iter().find(|e| e.name == *name)?.addresses,
        };
        Some(addresses)
    }

    /// Returns the address of an endpoint in a family.
    pub fn address(&self, endpoint: &EndpointName, family: IpFamily) -> Option<IpAddr> {
        family.first_of(self.addresses(endpoint)?)
    }

    /// Returns the addresses of all endpoints, as [`World::addresses`] returns them.
    pub fn all_addresses(&self) -> HashMap<EndpointName, &[IpAddr]> {
        let Cluster { pods, services, nodes, .. } = &self.cluster;
        let pods = pods.iter().map(|pod| (EndpointName::of_pod(pod), &pod.addresses));
        let services = services.iter().map(|it| (EndpointName::of_service(it), &it.addresses));
        let nodes = nodes.iter().map(|node| (EndpointName::Node(node.name.clone()), &node.addresses));
        let externals = self.externals.iter().map(|e| (EndpointName::External(e.name.clone()), &e.addresses));
        let mut all = HashMap::<_, &[IpAddr]>::new();
        for (name, addresses) in pods.chain(services).chain(nodes).chain(externals) {
            all.entry(name).or_insert(addresses);
        }
        all
    }

    /// Returns the address that a name in a policy stands for at this moment.
    ///
    /// If the endpoint has no address of the family, returns an address that no endpoint has. This is so
    /// before a backend has filled in the addresses, and in an environment without the family.
    ///
    /// # Errors
    /// If the name is not that of an endpoint, or the endpoint does not exist or has ended.
    pub fn address_by_name(&self, name: &AddressName) -> Result<IpAddr, Error> {
        let endpoint = EndpointPattern::parse_name(&name.holder)?;
        if let EndpointName::Pod { namespace, name } = &endpoint
            && self.pod(namespace, name).is_some_and(|pod| pod.ended)
        {
            let message = format!("{endpoint} has ended: its address may be another pod's");
            return Err(Error::Refused(message));
        }
        if self.addresses(&endpoint).is_none() {
            return Err(Error::Refused(format!(
                "there is no {endpoint} when this is applied: an address can be named from the step after its endpoint came"
            )));
        }
        let found = self.address(&endpoint, name.family);
        Ok(found.unwrap_or_else(|| stand_in(name.family, self.number_of(&endpoint))))
    }

    /// Returns a number that no other endpoint of the state has.
    fn number_of(&self, endpoint: &EndpointName) -> usize {
        let cluster = &self.cluster;
        let pods = cluster.pods.iter().map(EndpointName::of_pod);
        let services = cluster.services.iter().map(EndpointName::of_service);
        let nodes = cluster.nodes.iter().map(|node| EndpointName::Node(node.name.clone()));
        let externals = self.externals.iter().map(|e| EndpointName::External(e.name.clone()));
        pods.chain(services).chain(nodes).chain(externals).take_while(|other| other != endpoint).count()
    }
}

/// Returns an address from the ranges that are reserved for documentation (RFC 5737 and RFC 9637).
fn stand_in(family: IpFamily, number: usize) -> IpAddr {
    // With more than 254 endpoints, several get the same address. This is harmless, because no endpoint has
    // it.
    let last = u8::try_from(number % 254 + 1).unwrap_or(u8::MAX);
    match family {
        IpFamily::V4 => Ipv4Addr::new(192, 0, 2, last).into(),
        IpFamily::V6 => Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, last.into()).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::scenario::{self, standard_world};
    use crate::source::Text;

    #[test]
    fn names_stand_for_addresses_or_for_what_nobody_has() {
        let mut world = standard_world(true);
        world.cluster.pods[1].addresses = vec!["10.244.1.7".parse().unwrap()];
        let address = |holder: &str, family| {
            let name = AddressName { holder: holder.to_owned(), family };
            world.address_by_name(&name).map(|address| address.to_string())
        };
        assert_eq!(address("x/b", IpFamily::V4).unwrap(), "10.244.1.7");
        assert_eq!(address("x/b", IpFamily::V6).unwrap(), "3fff::2");
        let unknown = ["x/a", "service:kube-system/kube-dns", "node:node-1"];
        let stand_ins = unknown.map(|holder| address(holder, IpFamily::V4).unwrap());
        assert_eq!(stand_ins, ["192.0.2.1", "192.0.2.11", "192.0.2.12"]);
        assert!(address("x/q", IpFamily::V4).unwrap_err().to_string().starts_with("there is no x/q when"));
        assert!(address("x/*", IpFamily::V4).is_err());
    }

    #[test]
    fn the_addresses_of_all_endpoints_are_those_of_each() {
        let mut world = standard_world(true);
        world.cluster.pods[1].addresses = vec!["10.244.1.7".parse().unwrap()];
        let all = world.all_addresses();
        assert!(all.len() > world.cluster.pods.len());
        for (name, addresses) in all {
            assert_eq!(world.addresses(&name), Some(addresses), "{name}");
        }
    }

    const POD_WITH_A_NAMED_ADDRESS: &str = "\
apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {name: an-address-by-name}
topology: {namespaces: [{name: x, pods: [{name: a}, {name: b}, {name: c}]}]}
steps:
- name: only c may be sent to
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: p, namespace: x}
    spec: {podSelector: {}, egress: [{to: [{ipBlock: {cidr: \"{x/c}/32\"}}]}]}
- name: c is deleted
  removePod: [x/c]
";

    /// Policies are removed and restored between two steps. By then, a pod whose address a policy names may
    /// have been deleted. The API server still has the policy with this address.
    #[test]
    fn restored_policies_name_the_address_of_a_pod_that_is_gone() {
        let text = Text { name: Arc::from("a.yaml"), content: POD_WITH_A_NAMED_ADDRESS.to_owned() };
        let scenario = scenario::load(&[text]).unwrap().remove(0);
        let mut world = scenario.world.clone();
        world.cluster.pods[2].addresses = vec!["10.244.1.7".parse().unwrap()];
        for action in scenario.steps.iter().flat_map(|step| &step.actions) {
            world.apply(action).unwrap();
        }
        let policies = world.cluster.policies.clone();
        let restoration = world.restoration_of_policies();
        for action in world.removal_of_policies().iter().chain(&restoration) {
            world.apply(action).unwrap();
        }
        assert_eq!(world.cluster.policies, policies);
        assert!(format!("{policies:?}").contains("10.244.1.7/32"), "{policies:?}");
    }
}

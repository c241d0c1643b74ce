//! Pods that every policy treats alike.

use super::address::{AddressSpace, AtomId, IpFamily};
use super::arena::Id;
use super::label::Labels;
use super::model::{ContainerPort, Namespace, Pod};

pub(super) type ClassId = Id<Class>;

/// Pods of one namespace that no policy can tell apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Class {
    pub(super) namespace: Id<Namespace>,
    pub(super) labels: Id<Labels>,
    pub(super) ports: Vec<ContainerPort>,
    pub(super) host_network: bool,
    pub(super) ended: bool,
    pub(super) addresses: [Membership; 2],
}

/// Where a class stands towards the `ipBlock`s of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Membership {
    /// Nothing is known about its addresses.
    Unknown,
    /// It has addresses, but none of this family.
    NoAddress,
    /// Its address of this family is in this part.
    In(AtomId),
}

impl Class {
    pub(super) fn membership(&self, family: IpFamily) -> Membership {
        let [v4, v6] = self.addresses;
        match family {
            IpFamily::V4 => v4,
            IpFamily::V6 => v6,
        }
    }
}

impl Membership {
    /// Where a pod stands.
    pub(super) fn of(pod: &Pod, family: IpFamily, space: &AddressSpace) -> Self {
        match pod.address(family) {
            Some(address) => space.atom(address).map_or(Self::NoAddress, Self::In),
            None if pod.addresses.is_empty() => Self::Unknown,
            None => Self::NoAddress,
        }
    }
}

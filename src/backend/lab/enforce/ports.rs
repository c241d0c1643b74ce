//! Ports of a rule, as conditions on packets.

use super::chain::Writer;
use super::select::is_filtered;
use super::table::Family;
use crate::deviation::{CompileFault, DatapathFault, Fault};
use crate::policy::{Direction, Pod, Port, PortSpec, Ports, Protocol};

/// Port of DNS lookups.
const DNS: u16 = 53;

impl Writer<'_> {
    pub(super) fn ports(&mut self, ports: &Ports, family: Family) -> Vec<String> {
        match ports {
            Ports::Any => vec![String::new()],
            Ports::Only(matches) => {
                matches.iter().filter_map(|m| self.port(m.protocol, &m.ports, family)).collect()
            }
        }
    }

    fn port(&mut self, protocol: Protocol, ports: &PortSpec, family: Family) -> Option<String> {
        let transport = transport(protocol);
        match ports {
            PortSpec::Any => Some(format!("meta l4proto {transport}")),
            PortSpec::Range(range)
                if self.fault.and_then(Fault::datapath) == Some(DatapathFault::LookupsOverTcpClosed)
                    && protocol == Protocol::Tcp
                    && range.first().get() == DNS =>
            {
                None
            }
            PortSpec::Range(range) => Some(format!("{transport} dport {range}")),
            PortSpec::Named(name) => self.named(name, protocol, family),
        }
    }

    /// Returns the condition for a named port. The name has its own number in every pod that receives.
    fn named(&mut self, name: &str, protocol: Protocol, family: Family) -> Option<String> {
        let transport = transport(protocol);
        if self.compile_fault() == Some(CompileFault::NameIsAnyPort) {
            return self.all_ports_of(name, family);
        }
        let is_senders = self.compile_fault() == Some(CompileFault::NameOfSender);
        match (self.direction, is_senders) {
            (Direction::Ingress, false) | (Direction::Egress, true) => {
                let port = self.number(self.subject, name, protocol)?;
                Some(format!("{transport} dport {port}"))
            }
            (Direction::Egress, false) | (Direction::Ingress, true) => {
                self.numbers_of_remotes(name, protocol, family)
            }
        }
    }

    /// Returns the condition for all ports and protocols of the receiving pods that have a port of this name.
    fn all_ports_of(&mut self, name: &str, family: Family) -> Option<String> {
        let has_name = |pod: &Pod| pod.ports.iter().any(|port| port.name.as_deref() == Some(name));
        match self.direction {
            Direction::Ingress => has_name(self.subject).then(String::new),
            Direction::Egress => self.pods(|pod| is_filtered(pod) && has_name(pod), family),
        }
    }

    /// Returns the condition that the other end is a pod with this port name, and that the port is the pod's
    /// number for it.
    fn numbers_of_remotes(&mut self, name: &str, protocol: Protocol, family: Family) -> Option<String> {
        let mut members = Vec::new();
        for pod in self.view.cluster.pods.iter().filter(|pod| is_filtered(pod)) {
            if let Some(port) = self.number(pod, name, protocol) {
                members
                    .extend(self.known_addresses(pod, family).map(|address| format!("{address} . {port}")));
            }
        }
        if members.is_empty() {
            return None;
        }
        let set = self.table.set(&format!("{} . inet_service", family.address), members);
        let (header, remote) = (family.header, self.remote());
        Some(format!("{header} {remote} . {} dport @{set}", transport(protocol)))
    }

    fn number(&self, pod: &Pod, name: &str, protocol: Protocol) -> Option<Port> {
        match self.compile_fault() {
            Some(CompileFault::NameOfFirstPort) => pod.ports.first().map(|port| port.port),
            Some(CompileFault::NameOfAnyProtocol) => {
                pod.ports.iter().find(|port| port.name.as_deref() == Some(name)).map(|port| port.port)
            }
            Some(_) | None => pod.named_port(name, protocol),
        }
    }
}

/// Returns the name of a protocol in nftables.
pub(super) fn transport(protocol: Protocol) -> String {
    protocol.name().to_lowercase()
}

//! An nftables table, as the commands that build it.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::net::IpAddr;

use super::super::nft::{Program, TABLE};

/// An IP family with its names in nftables.
#[derive(Clone, Copy)]
pub(super) struct Family {
    pub(super) ipv6: bool,
    pub(super) header: &'static str,
    pub(super) address: &'static str,
    pub(super) only: &'static str,
}

const IPV4: Family = Family { ipv6: false, header: "ip", address: "ipv4_addr", only: "meta nfproto ipv4" };
const IPV6: Family = Family { ipv6: true, header: "ip6", address: "ipv6_addr", only: "meta nfproto ipv6" };

pub(super) const FAMILIES: [Family; 2] = [IPV4, IPV6];

impl Family {
    pub(super) fn of(address: IpAddr) -> Self {
        if address.is_ipv6() { IPV6 } else { IPV4 }
    }

    /// Returns the addresses of this family.
    pub(super) fn among(self, addresses: &[IpAddr]) -> impl Iterator<Item = &IpAddr> {
        addresses.iter().filter(move |address| address.is_ipv6() == self.ipv6)
    }
}

/// Maximum number of elements per command.
const ELEMENTS: usize = 500;

/// A table under construction. It takes effect when its base chains are added, all at once. The previous
/// table is deleted in the same transaction.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) program: Program,
    /// Names of the chains, by their rules.
    chains: HashMap<Vec<String>, String>,
    /// Names of the sets, by their type and elements.
    sets: HashMap<(String, BTreeSet<String>), String>,
    named: usize,
}

impl Table {
    fn fresh(&mut self, kind: &str) -> String {
        self.named += 1;
        format!("{kind}_{}", self.named)
    }

    fn prepare(&mut self, what: &str, rest: &str) {
        let command = format!("add {what} {TABLE} {rest}");
        self.program.preparation.push(command);
    }

    fn add_elements(&mut self, name: &str, elements: &[String]) {
        for elements in elements.chunks(ELEMENTS) {
            self.prepare("element", &format!("{name} {{ {} }}", elements.join(", ")));
        }
    }

    /// Returns the name of a set with these elements. Equal sets are added only once.
    pub(super) fn set(&mut self, kind: &str, elements: impl IntoIterator<Item: Display>) -> String {
        let elements = elements.into_iter().map(|element| element.to_string());
        let key = (kind.to_owned(), elements.collect::<BTreeSet<_>>());
        if let Some(name) = self.sets.get(&key) {
            return name.clone();
        }
        let name = self.fresh("set");
        self.prepare("set", &format!("{name} {{ type {kind}; }}"));
        let elements: Vec<_> = key.1.iter().cloned().collect();
        self.add_elements(&name, &elements);
        self.sets.insert(key, name.clone());
        name
    }

    /// Adds a map from values to verdicts, such as `jump chain_1`. Returns its name.
    pub(super) fn verdict_map<K: Display>(
        &mut self,
        kind: &str,
        verdicts: impl IntoIterator<Item = (K, String)>,
    ) -> String {
        let name = self.fresh("map");
        self.prepare("map", &format!("{name} {{ type {kind} : verdict; }}"));
        let elements: Vec<_> =
            verdicts.into_iter().map(|(key, verdict)| format!("{key} : {verdict}")).collect();
        self.add_elements(&name, &elements);
        name
    }

    /// Returns the name of a chain with these rules. Equal chains are added only once.
    pub(super) fn chain(&mut self, rules: Vec<String>) -> String {
        if let Some(name) = self.chains.get(&rules) {
            return name.clone();
        }
        let name = self.fresh("chain");
        self.prepare("chain", &name);
        for rule in &rules {
            self.prepare("rule", &format!("{name} {rule}"));
        }
        self.chains.insert(rules, name.clone());
        name
    }

    /// Adds a chain that the kernel calls at `hook`.
    pub(super) fn base_chain(&mut self, name: &str, hook: &str, rules: &[String]) {
        self.program.switch.push(format!("add chain {TABLE} {name} {{ type {hook}; policy accept; }}"));
        self.program.switch.extend(rules.iter().map(|rule| format!("add rule {TABLE} {name} {rule}")));
    }
}

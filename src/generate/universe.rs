//! What random policies may refer to. It is small, so that selectors often match.

/// The names, labels, ports and addresses that random policies choose from.
#[derive(Debug, Clone)]
pub struct Universe {
    /// Namespaces of the policies.
    pub namespaces: Vec<String>,
    /// Labels of namespaces, each with its values.
    pub namespace_labels: Vec<(&'static str, Vec<String>)>,
    /// Labels of pods, each with its values.
    pub pod_labels: Vec<(&'static str, Vec<String>)>,
    /// Port numbers, ascending.
    pub ports: Vec<u16>,
    /// Names of container ports.
    pub port_names: Vec<&'static str>,
    /// Protocols that are probed. Rules may name any.
    pub protocols: Vec<&'static str>,
    /// Address ranges of both families, each with ranges inside it.
    pub blocks: Vec<(String, Vec<String>)>,
    /// Named addresses of pods, as scenarios write them in a NetworkPolicy: each as a range.
    pub addresses: Vec<String>,
}

/// The backend that runs random scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// The lab, which has everything.
    Lab,
    /// A cluster. It has no agents outside of it or on its nodes, and its API server checks objects.
    Cluster,
}

/// The ports that random scenarios probe, one that the range of a policy may just miss, and one for port names.
pub(super) const PORTS: [u16; 4] = [80, 81, 82, 8080];

/// A node port, from the range that the API server assigns.
pub(super) const NODE_PORT: u16 = 30080;

impl Universe {
    /// Returns what the policies of random scenarios may refer to. Some label values differ only in case, as labels
    /// may.
    pub(super) fn of_scenarios(ground: Ground, families: &[&str], namespaces: Vec<String>) -> Self {
        let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
        let block = |(cidr, inside): &(&str, &[&str])| ((*cidr).to_owned(), owned(inside));
        let mut blocks: Vec<_> = BLOCKS.iter().map(block).collect();
        match ground {
            Ground::Lab => blocks.extend(WITH_HOST_BITS.iter().map(block)),
            Ground::Cluster => {}
        }
        // One range is enough for a family that is not used.
        let is_used = |cidr: &str| families.contains(&if cidr.contains(':') { "IPv6" } else { "IPv4" });
        blocks.retain(|(cidr, _)| is_used(cidr) || cidr.ends_with("/0"));
        Self {
            namespaces,
            namespace_labels: vec![("team", owned(&["red", "blue", "Red"])), ("env", owned(&["prod", ""]))],
            pod_labels: vec![("app", owned(&["web", "db", "Web"])), ("tier", owned(&["front", "back", ""]))],
            ports: PORTS.to_vec(),
            port_names: vec!["http", "admin", "nowhere"],
            protocols: vec!["TCP", "UDP"],
            blocks,
            addresses: Vec::new(),
        }
    }

    /// Adds the named addresses of a pod.
    pub(super) fn add_addresses(&mut self, families: &[&str], pod: &str) {
        for family in families {
            self.addresses.push(match *family {
                "IPv6" => format!("{{{pod}:IPv6}}/128"),
                _ => format!("{{{pod}}}/32"),
            });
        }
    }
}

/// Ranges, each with ranges inside it: everything, addresses outside the cluster, and the lab's pods, Services and
/// nodes.
const BLOCKS: [(&str, &[&str]); 14] = [
    ("0.0.0.0/0", &["203.0.113.0/24", "203.0.113.10/32", "10.244.0.0/16", "10.96.0.0/16"]),
    ("203.0.113.0/24", &["203.0.113.10/32", "203.0.113.128/25"]),
    ("203.0.113.10/32", &[]),
    ("198.51.100.0/24", &["198.51.100.1/32"]),
    ("10.244.0.0/16", &["10.244.1.0/24", "10.244.2.0/24", "10.244.1.2/32"]),
    ("10.244.1.0/24", &["10.244.1.2/32", "10.244.1.3/32"]),
    ("10.96.0.0/16", &["10.96.0.10/32"]),
    ("172.18.0.0/24", &["172.18.0.1/32"]),
    ("::/0", &["2001:db8::/32", "fd00:6e70:244::/48", "fd00:6e70:96::/48"]),
    ("2001:db8::/32", &["2001:db8::10/128"]),
    ("fd00:6e70:244::/48", &["fd00:6e70:244:1::/64", "fd00:6e70:244:1::2/128"]),
    ("fd00:6e70:244:1::/64", &["fd00:6e70:244:1::2/128"]),
    ("fd00:6e70:96::/48", &[]),
    ("fd00:6e70:18::/48", &["fd00:6e70:18::1/128"]),
];

/// Ranges with host bits. The current API server refuses them in new objects, but older objects have them.
const WITH_HOST_BITS: [(&str, &[&str]); 3] = [
    ("203.0.113.77/24", &["203.0.113.10/32"]),
    ("10.244.1.77/24", &["10.244.1.2/32"]),
    ("fd00:6e70:244:1::77/64", &[]),
];

//! What cluster-scoped policies mean.
//!
//! Defaults are applied here and nowhere else; what the definitions of these kinds (their CRDs)
//! refuse is refused.

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;

use super::{ClusterPolicyObject, EgressPeer, IngressPeer, NamespacedPod, Subject, v1alpha1, v1alpha2};
use crate::policy::{
    Action, ClusterPeer, ClusterPolicy, ClusterPolicyKind, ClusterPolicyName, ClusterRule, IpBlock,
    LabelSelector, PodSelector, PortMatch, PortRange, PortSpec, Ports, Protocol, Tier,
};
use crate::snapshot::field::{Field, Problem};
use crate::snapshot::network_policy::selector;
use crate::snapshot::rules;
use crate::source::quote;

/// The highest priority number.
const LAST_PRIORITY: u16 = 1000;

/// The longest name of a rule, in characters.
const RULE_NAME: usize = 100;

/// The only name that a BaselineAdminNetworkPolicy may have.
const BASELINE_NAME: &str = "default";

/// How many ranges or domain names one peer may have.
const LIST: usize = 25;

/// What the kinds differ in.
#[derive(Clone, Copy)]
struct Dialect {
    kind: ClusterPolicyKind,
    /// The actions of rules, by name.
    actions: &'static [(&'static str, Action)],
    /// How many rules, peers and ports there may be in one list.
    longest: usize,
    /// Whether `pods` needs a `namespaceSelector`.
    needs_namespaces: bool,
}

const ADMIN: Dialect = Dialect {
    kind: ClusterPolicyKind::AdminNetworkPolicy,
    actions: &[("Allow", Action::Accept), ("Deny", Action::Deny), ("Pass", Action::Pass)],
    longest: 100,
    needs_namespaces: true,
};

const BASELINE: Dialect = Dialect {
    kind: ClusterPolicyKind::BaselineAdminNetworkPolicy,
    actions: &[("Allow", Action::Accept), ("Deny", Action::Deny)],
    longest: 100,
    needs_namespaces: true,
};

const CLUSTER: Dialect = Dialect {
    kind: ClusterPolicyKind::ClusterNetworkPolicy,
    actions: &[("Accept", Action::Accept), ("Deny", Action::Deny), ("Pass", Action::Pass)],
    longest: 25,
    needs_namespaces: false,
};

/// Converts a policy of any kind.
pub(in crate::snapshot) fn convert(object: &ClusterPolicyObject) -> Result<ClusterPolicy, Problem> {
    match object {
        ClusterPolicyObject::AdminNetworkPolicy(policy) => admin_network_policy(policy),
        ClusterPolicyObject::BaselineAdminNetworkPolicy(policy) => baseline_admin_network_policy(policy),
        ClusterPolicyObject::ClusterNetworkPolicy(policy) => cluster_network_policy(policy),
    }
}

fn admin_network_policy(policy: &v1alpha1::AdminNetworkPolicy) -> Result<ClusterPolicy, Problem> {
    let (root, dialect) = (Field::ROOT, ADMIN);
    let at = root.field("spec");
    let spec = &policy.spec;
    let rule = |rule: &v1alpha1::EgressRule<EgressPeer>, at: &Field<'_>| {
        let peers = dialect.peers(&rule.to, &at.field("to"), Dialect::egress_peer)?;
        dialect.egress_rule(&rule.name, &rule.action, peers, v1alpha1_ports(dialect, &rule.ports, at)?, at)
    };
    Ok(ClusterPolicy {
        name: dialect.name(policy.metadata.name.as_deref())?,
        tier: Tier::Admin,
        priority: priority(spec.priority, &at.field("priority"))?,
        subjects: dialect.subject(&spec.subject, &at.field("subject"))?,
        ingress: dialect
            .rules(&spec.ingress, &at.field("ingress"), |r, at| v1alpha1_ingress(dialect, r, at))?,
        egress: dialect.rules(&spec.egress, &at.field("egress"), rule)?,
    })
}

fn baseline_admin_network_policy(
    policy: &v1alpha1::BaselineAdminNetworkPolicy,
) -> Result<ClusterPolicy, Problem> {
    let (root, dialect) = (Field::ROOT, BASELINE);
    let at = root.field("spec");
    let spec = &policy.spec;
    let name = dialect.name(policy.metadata.name.as_deref())?;
    if name.name != BASELINE_NAME {
        let message = format!("must be {BASELINE_NAME}: a cluster has one {}", dialect.kind);
        return Err(root.field("metadata").field("name").problem(message));
    }
    let peer = |dialect: Dialect, peer: &v1alpha1::BaselineEgressPeer, at: &Field<'_>| {
        let v1alpha1::BaselineEgressPeer { namespaces, pods, nodes, networks } = peer.clone();
        dialect.egress_peer(&EgressPeer { namespaces, pods, nodes, networks, domain_names: None }, at)
    };
    let rule = |rule: &v1alpha1::EgressRule<v1alpha1::BaselineEgressPeer>, at: &Field<'_>| {
        let peers = dialect.peers(&rule.to, &at.field("to"), peer)?;
        dialect.egress_rule(&rule.name, &rule.action, peers, v1alpha1_ports(dialect, &rule.ports, at)?, at)
    };
    Ok(ClusterPolicy {
        name,
        tier: Tier::Baseline,
        priority: 0,
        subjects: dialect.subject(&spec.subject, &at.field("subject"))?,
        ingress: dialect
            .rules(&spec.ingress, &at.field("ingress"), |r, at| v1alpha1_ingress(dialect, r, at))?,
        egress: dialect.rules(&spec.egress, &at.field("egress"), rule)?,
    })
}

fn cluster_network_policy(policy: &v1alpha2::ClusterNetworkPolicy) -> Result<ClusterPolicy, Problem> {
    let (root, dialect) = (Field::ROOT, CLUSTER);
    let at = root.field("spec");
    let spec = &policy.spec;
    let tier = match spec.tier.as_str() {
        "Admin" => Tier::Admin,
        "Baseline" => Tier::Baseline,
        other => {
            return Err(at.field("tier").problem(format!("{} is neither Admin nor Baseline", quote(other))));
        }
    };
    let ingress = |rule: &v1alpha2::IngressRule, at: &Field<'_>| {
        let peers = dialect.peers(&rule.from, &at.field("from"), Dialect::ingress_peer)?;
        let (ports, _) = v1alpha2_ports(dialect, &rule.protocols, at)?;
        dialect.rule(&rule.name, &rule.action, peers, ports, at)
    };
    let egress = |rule: &v1alpha2::EgressRule, at: &Field<'_>| {
        let peers = dialect.peers(&rule.to, &at.field("to"), Dialect::egress_peer)?;
        dialect.egress_rule(
            &rule.name,
            &rule.action,
            peers,
            v1alpha2_ports(dialect, &rule.protocols, at)?,
            at,
        )
    };
    Ok(ClusterPolicy {
        name: dialect.name(policy.metadata.name.as_deref())?,
        tier,
        priority: priority(spec.priority, &at.field("priority"))?,
        subjects: dialect.subject(&spec.subject, &at.field("subject"))?,
        ingress: dialect.rules(&spec.ingress, &at.field("ingress"), ingress)?,
        egress: dialect.rules(&spec.egress, &at.field("egress"), egress)?,
    })
}

fn priority(priority: i32, at: &Field<'_>) -> Result<u16, Problem> {
    let valid = u16::try_from(priority).ok().filter(|priority| *priority <= LAST_PRIORITY);
    valid.ok_or_else(|| at.problem(format!("must be between 0 and {LAST_PRIORITY}, found {priority}")))
}

fn v1alpha1_ingress(
    dialect: Dialect,
    rule: &v1alpha1::IngressRule,
    at: &Field<'_>,
) -> Result<ClusterRule, Problem> {
    let peers = dialect.peers(&rule.from, &at.field("from"), Dialect::ingress_peer)?;
    let (ports, _) = v1alpha1_ports(dialect, &rule.ports, at)?;
    dialect.rule(&rule.name, &rule.action, peers, ports, at)
}

/// The ports of a rule, and the place of the first that has a name.
type NamedAt = Option<usize>;

fn v1alpha1_ports(
    dialect: Dialect,
    ports: &Option<Vec<v1alpha1::PolicyPort>>,
    at: &Field<'_>,
) -> Result<(Ports, NamedAt), Problem> {
    dialect.ports(ports, &at.field("ports"), |port, at| {
        let v1alpha1::PolicyPort { port_number, named_port, port_range } = port;
        match (port_number, named_port, port_range) {
            (Some(number), None, None) => {
                let at = at.field("portNumber");
                let protocol = rules::protocol(number.protocol.as_deref(), &at.field("protocol"))?;
                let port = rules::port_number(number.port, &at.field("port"))?;
                Ok(Match::Numbers(protocol, PortRange::single(port)))
            }
            (None, Some(name), None) => named(name, &at.field("namedPort")),
            (None, None, Some(range)) => {
                let at = at.field("portRange");
                let protocol = rules::protocol(range.protocol.as_deref(), &at.field("protocol"))?;
                range_of(range.start, range.end, &at).map(|range| Match::Numbers(protocol, range))
            }
            (None | Some(_), None | Some(_), None | Some(_)) => {
                Err(at.problem("must have exactly one of portNumber, namedPort and portRange"))
            }
        }
    })
}

fn v1alpha2_ports(
    dialect: Dialect,
    protocols: &Option<Vec<v1alpha2::PolicyProtocol>>,
    at: &Field<'_>,
) -> Result<(Ports, NamedAt), Problem> {
    dialect.ports(protocols, &at.field("protocols"), |entry, at| {
        let v1alpha2::PolicyProtocol { tcp, udp, sctp, destination_named_port } = entry;
        let numbers = |protocol, name, destination| {
            let at = at.field(name);
            destination_port(destination, &at).map(|range| Match::Numbers(protocol, range))
        };
        match (tcp, udp, sctp, destination_named_port) {
            (Some(tcp), None, None, None) => numbers(Protocol::Tcp, "tcp", tcp),
            (None, Some(udp), None, None) => numbers(Protocol::Udp, "udp", udp),
            (None, None, Some(sctp), None) => numbers(Protocol::Sctp, "sctp", sctp),
            (None, None, None, Some(name)) => named(name, &at.field("destinationNamedPort")),
            (None | Some(_), None | Some(_), None | Some(_), None | Some(_)) => {
                Err(at.problem("must have exactly one of tcp, udp, sctp and destinationNamedPort"))
            }
        }
    })
}

fn destination_port(destination: &v1alpha2::Destination, at: &Field<'_>) -> Result<PortRange, Problem> {
    let Some(port) = &destination.destination_port else {
        return Err(at.problem("must have a destinationPort"));
    };
    let at = at.field("destinationPort");
    match (port.number, &port.range) {
        (Some(number), None) => rules::port_number(number, &at.field("number")).map(PortRange::single),
        (None, Some(range)) => {
            let at = at.field("range");
            if range.start == range.end {
                return Err(at.field("end").problem(format!("must be above the start {}", range.start)));
            }
            range_of(range.start, range.end, &at)
        }
        (None, None) | (Some(_), Some(_)) => Err(at.problem("must have exactly one of number and range")),
    }
}

fn range_of(start: i32, end: i32, at: &Field<'_>) -> Result<PortRange, Problem> {
    let first = rules::port_number(start, &at.field("start"))?;
    let end_at = at.field("end");
    let last = rules::port_number(end, &end_at)?;
    PortRange::new(first, last)
        .ok_or_else(|| end_at.problem(format!("{last} must be above the start {first}")))
}

fn named(name: &str, at: &Field<'_>) -> Result<Match, Problem> {
    rules::port_name(name, at)?;
    Ok(Match::Named(name.to_owned()))
}

/// One entry of `ports` or `protocols`.
enum Match {
    Numbers(Protocol, PortRange),
    /// Of any protocol.
    Named(String),
}

impl Dialect {
    fn name(self, name: Option<&str>) -> Result<ClusterPolicyName, Problem> {
        let root = Field::ROOT;
        let metadata = root.field("metadata");
        let at = metadata.field("name");
        let Some(name) = name.filter(|name| !name.is_empty()) else { return Err(at.problem("is missing")) };
        rules::subdomain(name, &at)?;
        Ok(ClusterPolicyName { kind: self.kind, name: name.to_owned() })
    }

    /// A list, if it is not too long.
    fn list<'a, T>(self, items: &'a [T], at: &Field<'_>) -> Result<&'a [T], Problem> {
        if items.len() > self.longest {
            return Err(at.problem(format!(
                "must have at most {} entries, found {}",
                self.longest,
                items.len()
            )));
        }
        Ok(items)
    }

    fn rules<R>(
        self,
        rules: &Option<Vec<R>>,
        at: &Field<'_>,
        convert: impl Fn(&R, &Field<'_>) -> Result<ClusterRule, Problem>,
    ) -> Result<Vec<ClusterRule>, Problem> {
        let rules = self.list(rules.as_deref().unwrap_or_default(), at)?;
        rules.iter().enumerate().map(|(i, rule)| convert(rule, &at.index(i))).collect()
    }

    /// A rule that may name ports only if all of its peers have names for them.
    fn egress_rule(
        self,
        name: &Option<String>,
        action: &str,
        peers: Vec<ClusterPeer>,
        (ports, named_at): (Ports, NamedAt),
        at: &Field<'_>,
    ) -> Result<ClusterRule, Problem> {
        let is_pods = |peer: &ClusterPeer| match peer {
            ClusterPeer::Pods(_) => true,
            ClusterPeer::Nodes(_) | ClusterPeer::Network(_) | ClusterPeer::DomainNames(_) => false,
        };
        if let Some(named_at) = named_at
            && !peers.iter().all(is_pods)
        {
            let list = match self.kind {
                ClusterPolicyKind::AdminNetworkPolicy | ClusterPolicyKind::BaselineAdminNetworkPolicy => {
                    "ports"
                }
                ClusterPolicyKind::ClusterNetworkPolicy => "protocols",
            };
            let message = "names a port, which only pods have: the rule's other peers need a number";
            return Err(at.field(list).index(named_at).problem(message));
        }
        let rule = self.rule(name, action, peers, ports, at)?;
        let has_domains = |peer: &ClusterPeer| matches!(peer, ClusterPeer::DomainNames(_));
        if rule.action != Action::Accept && rule.peers.iter().any(has_domains) {
            return Err(at.field("action").problem("must not be Deny or Pass where domainNames are peers"));
        }
        Ok(rule)
    }

    fn rule(
        self,
        name: &Option<String>,
        action: &str,
        peers: Vec<ClusterPeer>,
        ports: Ports,
        at: &Field<'_>,
    ) -> Result<ClusterRule, Problem> {
        if name.as_ref().is_some_and(|name| name.chars().count() > RULE_NAME) {
            return Err(at.field("name").problem(format!("must have at most {RULE_NAME} characters")));
        }
        let Some((_, action)) = self.actions.iter().find(|(name, _)| *name == action) else {
            let names: Vec<_> = self.actions.iter().map(|(name, _)| *name).collect();
            let message = format!("{} is not one of {}", quote(action), names.join(", "));
            return Err(at.field("action").problem(message));
        };
        Ok(ClusterRule { action: *action, peers, ports })
    }

    fn peers<P>(
        self,
        peers: &[P],
        at: &Field<'_>,
        convert: impl Fn(Self, &P, &Field<'_>) -> Result<Vec<ClusterPeer>, Problem>,
    ) -> Result<Vec<ClusterPeer>, Problem> {
        if peers.is_empty() {
            return Err(at.problem("must have at least one entry"));
        }
        let peers = self.list(peers, at)?.iter().enumerate();
        let peers: Vec<_> =
            peers.map(|(i, peer)| convert(self, peer, &at.index(i))).collect::<Result<_, _>>()?;
        Ok(peers.into_iter().flatten().collect())
    }

    fn ports<P>(
        self,
        ports: &Option<Vec<P>>,
        at: &Field<'_>,
        convert: impl Fn(&P, &Field<'_>) -> Result<Match, Problem>,
    ) -> Result<(Ports, NamedAt), Problem> {
        let Some(ports) = ports else { return Ok((Ports::Any, None)) };
        if ports.is_empty() {
            return Err(at.problem("must have at least one entry: leave it out for all ports"));
        }
        let (mut matches, mut named_at) = (Vec::new(), None);
        for (i, port) in self.list(ports, at)?.iter().enumerate() {
            match convert(port, &at.index(i))? {
                Match::Numbers(protocol, range) => {
                    matches.push(PortMatch { protocol, ports: PortSpec::Range(range) });
                }
                Match::Named(name) => {
                    named_at = named_at.or(Some(i));
                    let of = |protocol| PortMatch { protocol, ports: PortSpec::Named(name.clone()) };
                    matches.extend(Protocol::ALL.map(of));
                }
            }
        }
        Ok((Ports::Only(matches), named_at))
    }

    fn subject(self, subject: &Subject, at: &Field<'_>) -> Result<PodSelector, Problem> {
        match (&subject.namespaces, &subject.pods) {
            (Some(namespaces), None) => all_pods_of(namespaces, &at.field("namespaces")),
            (None, Some(pods)) => self.pods(pods, &at.field("pods")),
            (None, None) | (Some(_), Some(_)) => {
                Err(at.problem("must have exactly one of namespaces and pods"))
            }
        }
    }

    fn pods(self, pods: &NamespacedPod, at: &Field<'_>) -> Result<PodSelector, Problem> {
        let namespaces_at = at.field("namespaceSelector");
        let namespaces = match &pods.namespace_selector {
            Some(namespaces) => selector(namespaces, &namespaces_at)?,
            None if self.needs_namespaces => {
                return Err(namespaces_at.problem("is missing: write {} for all namespaces"));
            }
            None => LabelSelector::everything(),
        };
        Ok(PodSelector { namespaces, pods: selector(&pods.pod_selector, &at.field("podSelector"))? })
    }

    fn ingress_peer(self, peer: &IngressPeer, at: &Field<'_>) -> Result<Vec<ClusterPeer>, Problem> {
        let selected = match (&peer.namespaces, &peer.pods) {
            (Some(namespaces), None) => all_pods_of(namespaces, &at.field("namespaces"))?,
            (None, Some(pods)) => self.pods(pods, &at.field("pods"))?,
            (None, None) | (Some(_), Some(_)) => {
                return Err(at.problem("must have exactly one of namespaces and pods"));
            }
        };
        Ok(vec![ClusterPeer::Pods(selected)])
    }

    fn egress_peer(self, peer: &EgressPeer, at: &Field<'_>) -> Result<Vec<ClusterPeer>, Problem> {
        let EgressPeer { namespaces, pods, nodes, networks, domain_names } = peer;
        let one = |peer| Ok(vec![peer]);
        match (namespaces, pods, nodes, networks, domain_names) {
            (Some(namespaces), None, None, None, None) => {
                one(ClusterPeer::Pods(all_pods_of(namespaces, &at.field("namespaces"))?))
            }
            (None, Some(pods), None, None, None) => {
                one(ClusterPeer::Pods(self.pods(pods, &at.field("pods"))?))
            }
            (None, None, Some(nodes), None, None) => {
                one(ClusterPeer::Nodes(selector(nodes, &at.field("nodes"))?))
            }
            (None, None, None, Some(networks), None) => networks_of(networks, &at.field("networks")),
            (None, None, None, None, Some(names)) => {
                some(names, &at.field("domainNames"))?;
                one(ClusterPeer::DomainNames(names.clone()))
            }
            (None | Some(_), None | Some(_), None | Some(_), None | Some(_), None | Some(_)) => {
                let domains = match self.kind {
                    ClusterPolicyKind::BaselineAdminNetworkPolicy => "nodes and networks",
                    ClusterPolicyKind::AdminNetworkPolicy | ClusterPolicyKind::ClusterNetworkPolicy => {
                        "nodes, networks and domainNames"
                    }
                };
                Err(at.problem(format!("must have exactly one of namespaces, pods, {domains}")))
            }
        }
    }
}

fn all_pods_of(namespaces: &meta::LabelSelector, at: &Field<'_>) -> Result<PodSelector, Problem> {
    Ok(PodSelector { namespaces: selector(namespaces, at)?, pods: LabelSelector::everything() })
}

fn networks_of(networks: &[String], at: &Field<'_>) -> Result<Vec<ClusterPeer>, Problem> {
    some(networks, at)?;
    let network = |(i, text): (usize, &String)| {
        let net = rules::cidr(text, &at.index(i))?;
        Ok(ClusterPeer::Network(IpBlock::new(net, [])))
    };
    networks.iter().enumerate().map(network).collect()
}

/// At least one entry, and not too many; each once.
fn some(entries: &[String], at: &Field<'_>) -> Result<(), Problem> {
    if entries.is_empty() || entries.len() > LIST {
        return Err(at.problem(format!("must have 1 to {LIST} entries, found {}", entries.len())));
    }
    let twice = entries.iter().enumerate().find(|(i, entry)| entries.iter().take(*i).any(|e| e == *entry));
    match twice {
        Some((i, entry)) => Err(at.index(i).problem(format!("{} is there twice", quote(entry)))),
        None => Ok(()),
    }
}

//! The evaluation.
//! "Item 12" is a number in SEMANTICS.md; letters are the project's own decisions: a families, b node ports,
//! c a pod itself, d a pod and its node, e no regular pod, f both directions, g one direction, h peers, i ports,
//! j Services, k hairpin, l virtual addresses.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service, ServicePort, ServiceSpec};
use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicy, NetworkPolicySpec};
use k8s_openapi::api::networking::v1::{NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::objects::{
    addresses, is_finished, is_host_network, labels, list, matches, named_port, namespace, namespace_labels,
    or_tcp, pod,
};
use super::tiers;

/// Everything there is; a node is its name and its addresses.
#[derive(Debug)]
pub struct World {
    /// The namespaces; one that is only mentioned exists, too.
    pub namespaces: Vec<Namespace>,
    /// The nodes.
    pub nodes: Vec<(String, Vec<IpAddr>)>,
    /// The pods, with their status.
    pub pods: Vec<Pod>,
    /// The Services.
    pub services: Vec<Service>,
    /// The policies in force.
    pub policies: Vec<NetworkPolicy>,
    /// As JSON: there are no types of theirs but those under test.
    pub cluster_policies: Vec<Value>,
}

/// One end of a connection: an index into the pods or the nodes, or an address outside the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A pod, by its place in the list.
    Pod(usize),
    /// A node, by its place in the list.
    Node(usize),
    /// An address outside.
    External(IpAddr),
}

/// What is connected to: an end itself, or an index into the Services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// An end itself.
    End(End),
    /// A Service, by its place in the list.
    Service(usize),
}

/// What the specification says about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It must be delivered.
    Allow,
    /// It must not.
    Deny,
    /// The specification leaves it open.
    Undefined,
}

/// May the source open this connection? (The port is the target's own: with a Service, the Service's.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Who opens it.
    pub source: End,
    /// To whom.
    pub target: Target,
    /// Over IPv6 or over IPv4.
    pub ipv6: bool,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: &'static str,
    /// The port.
    pub port: u16,
}

/// A connection after any Service translation (item 19).
pub(super) struct Flow<'a> {
    pub(super) world: &'a World,
    pub(super) source: End,
    pub(super) target: End,
    pub(super) ipv6: bool,
    pub(super) protocol: &'a str,
    pub(super) port: u16,
    /// The Service's own port and address, if there was one.
    pub(super) service: Option<(u16, Option<IpAddr>)>,
}

/// An ingress or egress rule, and the namespace of its policy.
struct Rule<'a> {
    namespace: &'a str,
    peers: Option<Vec<NetworkPolicyPeer>>,
    ports: Option<Vec<NetworkPolicyPort>>,
}

/// Answers one question.
pub fn evaluate(world: &World, question: Question) -> Answer {
    let Question { source, ipv6, protocol, port, .. } = question;
    match question.target {
        Target::End(target) => {
            plain_answer(&Flow { world, source, target, ipv6, protocol, port, service: None })
        }
        Target::Service(index) => service_answer(world, question, index),
    }
}

/// A connection without a Service: a to f.
fn plain_answer(flow: &Flow) -> Answer {
    let Flow { world, source, target, ipv6, .. } = *flow;
    let is_regular = |end| pod(world, end).is_some_and(|pod| !is_host_network(pod));
    if lacks_family(world, source, ipv6) || lacks_family(world, target, ipv6) || is_to_node_port(flow) {
        Answer::Undefined // a and b, items 23 and 31
    } else if is_to_itself(flow) {
        Answer::Allow // c, item 28
    } else if is_pod_and_its_node(world, source, target) || is_pod_and_its_node(world, target, source) {
        own_node_answer(flow) // d, item 27
    } else if is_regular(source) || is_regular(target) {
        match worst([direction_answer(flow, false), direction_answer(flow, true)]) {
            Answer::Deny if is_host_on_node_of(world, target, source) => Answer::Undefined, // d
            answer @ (Answer::Allow | Answer::Deny | Answer::Undefined) => answer,          // f, item 11
        }
    } else {
        Answer::Allow // e
    }
}

/// f: Deny dominates, then Undefined, then Allow.
fn worst(answers: [Answer; 2]) -> Answer {
    let order = [Answer::Deny, Answer::Undefined];
    order.into_iter().find(|answer| answers.contains(answer)).unwrap_or(Answer::Allow)
}

fn lacks_family(world: &World, end: End, ipv6: bool) -> bool {
    let known = addresses(world, end);
    !known.is_empty() && known.iter().all(|address| address.is_ipv6() != ipv6)
}

pub(super) fn is_to_itself(flow: &Flow) -> bool {
    matches!(flow.source, End::Pod(_)) && flow.source == flow.target
}

/// After a Service there is no second translation (item 19).
fn is_to_node_port(flow: &Flow) -> bool {
    let is_node =
        matches!(flow.target, End::Node(_)) || pod(flow.world, flow.target).is_some_and(is_host_network);
    let specs = flow.world.services.iter().flat_map(|service| &service.spec);
    let mut ports = specs.flat_map(|it| list(&it.ports)).filter(|it| or_tcp(&it.protocol) == flow.protocol);
    is_node && flow.service.is_none() && ports.any(|it| it.node_port == Some(i32::from(flow.port)))
}

fn is_pod_and_its_node(world: &World, one: End, other: End) -> bool {
    let (Some(pod), End::Node(index)) = (pod(world, one), other) else { return false };
    let is_own = |(name, _): &(String, _)| pod.spec.iter().any(|it| it.node_name.as_ref() == Some(name));
    world.nodes.get(index).is_some_and(is_own)
}

/// What uses the network of a pod's node has the node's address. Only cluster-scoped policies deny it for sure.
fn is_host_on_node_of(world: &World, host: End, other: End) -> bool {
    let node = |end| pod(world, end).and_then(|pod| pod.spec.as_ref()?.node_name.as_ref());
    pod(world, host).is_some_and(is_host_network) && node(host).is_some() && node(host) == node(other)
}

/// g: the target's ingress or the source's egress.
fn direction_answer(flow: &Flow, ingress: bool) -> Answer {
    let network_policies = || network_policy_answer(flow, ingress);
    tiers::answer(flow, ingress, &network_policies)
}

/// What NetworkPolicies alone say; None if none of them isolates the subject.
fn network_policy_answer(flow: &Flow, ingress: bool) -> Option<Answer> {
    let (subject, remote) = if ingress { (flow.target, flow.source) } else { (flow.source, flow.target) };
    let world = flow.world;
    let subject = pod(world, subject)?; // f
    let mut rules = isolating_rules(world, subject, ingress)?; // item 1
    let is_host = is_host_network(subject) || pod(world, remote).is_some_and(is_host_network);
    rules.retain(|rule| ports_match_flow(rule, flow, ingress)); // item 12: within one rule, peers AND ports
    if rules.iter().any(|rule| rule_match(flow, rule, remote, ingress) == Some(true)) {
        Some(Answer::Allow) // item 11
    } else if is_host || rules.iter().any(|rule| rule_match(flow, rule, remote, ingress).is_none()) {
        Some(Answer::Undefined) // item 26
    } else {
        Some(Answer::Deny) // items 4 and 13
    }
}

/// d: NetworkPolicies cannot deny what a pod sends to its own node; whether others can is not said.
fn own_node_answer(flow: &Flow) -> Answer {
    let Some(source) = pod(flow.world, flow.source) else { return Answer::Allow };
    let network_policies = || isolating_rules(flow.world, source, false).map(|_| Answer::Allow);
    match tiers::answer(flow, false, &network_policies) {
        Answer::Allow => Answer::Allow,
        Answer::Deny | Answer::Undefined => Answer::Undefined,
    }
}

/// The rules of all policies that isolate the subject; None if no policy does.
fn isolating_rules<'a>(world: &'a World, subject: &Pod, ingress: bool) -> Option<Vec<Rule<'a>>> {
    let mut rules = None;
    for policy in &world.policies {
        let namespace = namespace(&policy.metadata);
        let spec = policy.spec.clone().unwrap_or_default();
        let selector = spec.pod_selector.clone().unwrap_or_default(); // missing: all pods
        let is_own = namespace == self::namespace(&subject.metadata) && !is_finished(subject); // item 32
        if is_own && matches(&selector, &labels(&subject.metadata)) && isolates_for(&spec, ingress) {
            rules.get_or_insert_with(Vec::new).extend(rules_of(namespace, spec, ingress));
        }
    }
    rules
}

/// Items 2 and 3.
fn isolates_for(spec: &NetworkPolicySpec, ingress: bool) -> bool {
    let wanted = if ingress { "Ingress" } else { "Egress" };
    let is_default = ingress || !list(&spec.egress).is_empty();
    let types = list(&spec.policy_types);
    (types.is_empty() && is_default) || types.iter().any(|name| name == wanted)
}

fn rules_of(namespace: &str, spec: NetworkPolicySpec, ingress: bool) -> Vec<Rule<'_>> {
    let incoming = spec.ingress.into_iter().flatten().map(|rule| (rule.from, rule.ports));
    let outgoing = spec.egress.into_iter().flatten().map(|rule| (rule.to, rule.ports));
    let wanted: Vec<_> = if ingress { incoming.collect() } else { outgoing.collect() };
    wanted.into_iter().map(|(peers, ports)| Rule { namespace, peers, ports }).collect()
}

/// true, false, or None for unknown, of a rule whose ports match.
fn rule_match(flow: &Flow, rule: &Rule, remote: End, ingress: bool) -> Option<bool> {
    let answer = peers_match(flow, rule, remote);
    if ingress || answer == Some(false) || ports_match(rule, flow.protocol, flow.port, None) {
        return answer;
    }
    // Item 18: only a name is left, which some cannot resolve for a range of addresses.
    let mut selectors = list(&rule.peers).iter().filter(|peer| peer.ip_block.is_none());
    let is_selected = |peer| peer_match(flow, peer, rule.namespace, remote) == Some(true);
    (list(&rule.peers).is_empty() || selectors.any(is_selected)).then_some(true)
}

/// h: true, false, or None for unknown.
fn peers_match(flow: &Flow, rule: &Rule, remote: End) -> Option<bool> {
    let peers = list(&rule.peers);
    let is_any = |wanted| peers.iter().any(|peer| peer_match(flow, peer, rule.namespace, remote) == wanted);
    if peers.is_empty() || is_any(Some(true)) {
        return Some(true); // item 5; item 9: two peers are OR
    }
    if is_any(None) { None } else { Some(false) }
}

fn peer_match(flow: &Flow, peer: &NetworkPolicyPeer, policy_namespace: &str, remote: End) -> Option<bool> {
    match (&peer.ip_block, pod(flow.world, remote)) {
        (Some(block), _) => block_match(block, &addresses(flow.world, remote), flow.ipv6),
        (None, None) => Some(false), // item 8
        (None, Some(pod)) if !selects(flow.world, peer, policy_namespace, pod) => Some(false),
        (None, Some(pod)) => (!is_host_network(pod)).then_some(true), // item 26
    }
}

/// Item 9: two selectors are AND.
fn selects(world: &World, peer: &NetworkPolicyPeer, policy_namespace: &str, pod: &Pod) -> bool {
    let namespace = namespace(&pod.metadata);
    let namespace_matches = match &peer.namespace_selector {
        Some(selector) => matches(selector, &namespace_labels(world, namespace)),
        None => namespace == policy_namespace, // item 10
    };
    let pod_selector = peer.pod_selector.clone().unwrap_or_default(); // missing: all pods
    namespace_matches && matches(&pod_selector, &labels(&pod.metadata)) && !is_finished(pod) // item 32
}

/// Items 21 and 23.
fn block_match(block: &IPBlock, remote: &[IpAddr], ipv6: bool) -> Option<bool> {
    let is_inside = |address: &IpAddr| address.is_ipv6() == ipv6 && block_contains(block, address);
    let Ok(cidr) = block.cidr.parse::<IpNet>() else { return Some(false) };
    if remote.iter().any(is_inside) {
        Some(true)
    } else if !remote.is_empty() || cidr.addr().is_ipv6() != ipv6 {
        Some(false)
    } else {
        (cidr.prefix_len() == 0 && list(&block.except).is_empty()).then_some(true) // every address is inside
    }
}

/// Items 22 and 38 (`IpNet::contains` ignores host bits, and an address of the other family is not inside).
fn block_contains(block: &IPBlock, address: &IpAddr) -> bool {
    let is_in = |cidr: &String| cidr.parse::<IpNet>().is_ok_and(|cidr| cidr.contains(address));
    is_in(&block.cidr) && !list(&block.except).iter().any(is_in)
}

/// i, items 17 and 18: the receiving pod resolves names (the subject on ingress, the remote end on egress).
fn ports_match_flow(rule: &Rule, flow: &Flow, ingress: bool) -> bool {
    let receiver = pod(flow.world, flow.target).filter(|pod| ingress || !is_host_network(pod)); // item 26
    ports_match(rule, flow.protocol, flow.port, receiver)
}

fn ports_match(rule: &Rule, protocol: &str, port: u16, to: Option<&Pod>) -> bool {
    let items = list(&rule.ports);
    items.is_empty() || items.iter().any(|item| port_matches(item, protocol, port, to)) // item 6
}

fn port_matches(item: &NetworkPolicyPort, protocol: &str, port: u16, to: Option<&Pod>) -> bool {
    let port = i32::from(port);
    let number_matches = match &item.port {
        None => true, // item 7
        Some(IntOrString::Int(first)) => *first <= port && port <= item.end_port.unwrap_or(*first), // item 16
        Some(IntOrString::String(name)) => to.is_some_and(|it| named_port(it, name, protocol) == Some(port)),
    };
    number_matches && or_tcp(&item.protocol) == protocol // items 7 and 15
}

/// j: the answer that all backends agree on.
fn service_answer(world: &World, question: Question, index: usize) -> Answer {
    let Question { source, ipv6, protocol, port, .. } = question;
    let Some(service) = world.services.get(index) else { return Answer::Undefined }; // never asked
    let spec = service.spec.clone().unwrap_or_default();
    let is_wanted = |it: &&ServicePort| it.port == i32::from(port) && or_tcp(&it.protocol) == protocol;
    let Some(service_port) = list(&spec.ports).iter().find(is_wanted) else { return Answer::Undefined };
    let mut answers = Vec::new();
    for (index, pod) in world.pods.iter().enumerate() {
        let target = End::Pod(index);
        if is_backend(service, pod) && !lacks_family(world, target, ipv6) {
            let Some(port) = target_port(service_port, pod) else { continue };
            let address = virtual_address(&spec, ipv6);
            let service = Some((question.port, address));
            let flow = Flow { world, source, target, ipv6, protocol, port, service };
            answers.push(backend_answer(&flow, address, question.port));
        }
    }
    match answers.first() {
        Some(first) if answers.iter().all(|answer| answer == first) => *first,
        Some(_) | None => Answer::Undefined, // a source without the family got Undefined from every backend
    }
}

fn is_backend(service: &Service, pod: &Pod) -> bool {
    let spec = service.spec.clone().unwrap_or_default();
    let selector = spec.selector.unwrap_or_default();
    spec.type_.as_deref() != Some("ExternalName")
        && !selector.is_empty()
        && selector.iter().all(|(key, value)| labels(&pod.metadata).get(key) == Some(value))
        && namespace(&service.metadata) == namespace(&pod.metadata)
        && !is_finished(pod) // item 32
}

/// The port on this pod; None if it has no port of the wanted name.
fn target_port(service_port: &ServicePort, pod: &Pod) -> Option<u16> {
    let number = match &service_port.target_port {
        None | Some(IntOrString::Int(0)) => service_port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => named_port(pod, name, or_tcp(&service_port.protocol))?,
    };
    u16::try_from(number).ok()
}

fn virtual_address(spec: &ServiceSpec, ipv6: bool) -> Option<IpAddr> {
    let texts = list(&spec.cluster_ips).iter().chain(&spec.cluster_ip); // the one is the first of the others
    let mut addresses = texts.filter_map(|text| text.parse().ok()); // "None" and "" are no addresses
    addresses.find(|address: &IpAddr| address.is_ipv6() == ipv6)
}

fn backend_answer(flow: &Flow, virtual_address: Option<IpAddr>, service_port: u16) -> Answer {
    let Some(source) = pod(flow.world, flow.source) else { return plain_answer(flow) };
    let isolated = |ingress| isolating_rules(flow.world, source, ingress).map(|_| Answer::Undefined);
    let direction = |ingress| tiers::answer(flow, ingress, &|| isolated(ingress));
    match virtual_address {
        _ if is_to_itself(flow) => worst([direction(false), direction(true)]), // k, item 28
        Some(address) if is_address_decisive(flow, source, address, service_port) => Answer::Undefined, // l
        Some(_) | None => plain_answer(flow),
    }
}

/// l, items 18 and 20: does it matter whether ipBlocks see the Service's virtual address or the backend's
/// own, and whether names are resolved for them?
fn is_address_decisive(flow: &Flow, source: &Pod, virtual_address: IpAddr, service_port: u16) -> bool {
    let rules = isolating_rules(flow.world, source, false).unwrap_or_default();
    let leaves = |sees_virtual: bool, resolves: bool| {
        rules.iter().any(|rule| {
            let by_selector = ports_match_flow(rule, flow, false);
            let own_number = ports_match(rule, flow.protocol, flow.port, None);
            let service_number = sees_virtual && ports_match(rule, flow.protocol, service_port, None);
            let by_block = own_number || service_number || (resolves && by_selector);
            let is_peer = |peer: &_| peer_match(flow, peer, rule.namespace, flow.target) == Some(true);
            let holds = |peer: &NetworkPolicyPeer| match &peer.ip_block {
                None => by_selector && is_peer(peer),
                Some(block) if sees_virtual => by_block && block_contains(block, &virtual_address),
                Some(_) => by_block && is_peer(peer),
            };
            let peers = list(&rule.peers);
            if peers.is_empty() { by_selector } else { peers.iter().any(holds) }
        })
    };
    let first = leaves(false, false);
    let differs =
        [(false, true), (true, false), (true, true)].map(|(sees, resolves)| leaves(sees, resolves) != first);
    direction_answer(flow, true) != Answer::Deny && tiers::admin_leads_on(flow) && differs.contains(&true)
}

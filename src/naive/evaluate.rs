//! The evaluation of one question.
//!
//! "Spec rule 12" means rule 12 of docs/semantics.md. Letters mark the project's own decisions: a families, b node
//! ports, c a pod itself, d a pod and its node, e no regular pod, f both directions, g one direction, h peers, i
//! ports, j Services, k hairpin, l virtual addresses, m readings.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Pod, Service, ServicePort, ServiceSpec};
use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::model::{Answer, End, Flow, Objects, Question, Reading, Target, is_to_itself};
use super::objects::{
    addresses, any, both, common, host_ports, is_finished, is_host_network, is_named_port, labels, list,
    matches, named_ports, namespace, namespace_labels, or_tcp, pod,
};
use super::tiers;

/// An ingress or egress rule, and the namespace of its policy.
struct Rule<'a> {
    namespace: &'a str,
    peers: Option<Vec<NetworkPolicyPeer>>,
    ports: Option<Vec<NetworkPolicyPort>>,
}

/// Answers one question.
pub fn evaluate(world: &Objects, question: Question) -> Answer {
    let Question { source, ipv6, protocol, port, .. } = question;
    match question.target {
        Target::End(target) => {
            let reading = Reading::default();
            let flow = Flow { world, source, target, ipv6, protocol, port, service: None, reading };
            under_all_readings(flow, plain_answer)
        }
        Target::Service(index) => service_answer(world, question, index),
    }
}

/// m: Returns the answer that all readings have in common, or Undefined if they differ.
fn under_all_readings(mut flow: Flow, answer: fn(&Flow) -> Answer) -> Answer {
    let world = flow.world;
    let ends = [flow.source, flow.target];
    let has_host = ends.iter().filter_map(|end| pod(world, *end)).any(is_host_network);
    let has_node = has_host || ends.iter().any(|end| matches!(end, End::Node(_)));
    let is_through_service = flow.service.is_some();
    let is_named = |port: &NetworkPolicyPort| matches!(port.port, Some(IntOrString::String(_)));
    let of_source = pod(world, flow.source).and_then(|source| isolating_rules(world, source, false));
    let has_names = of_source.iter().flatten().any(|rule| list(&rule.ports).iter().any(is_named));
    let mut readings = vec![Reading::default()];
    let mut leave_open = |is_open: bool, decide: fn(&mut Reading)| {
        let mut others = if is_open { readings.clone() } else { Vec::new() };
        others.iter_mut().for_each(decide);
        readings.extend(others);
    };
    leave_open(has_host, |reading| reading.hosts_are_pods = true);
    leave_open(is_through_service, |reading| reading.blocks_see_services = true);
    leave_open(is_through_service && is_to_itself(&flow), |reading| reading.filters_hairpins = true);
    leave_open(has_names, |reading| reading.blocks_resolve_names = true);
    leave_open(has_node, |reading| reading.denies_own_node = true);
    common(readings.into_iter().map(|reading| {
        flow.reading = reading;
        answer(&flow)
    }))
}

/// Answers for a connection after any translation, by the decisions a to f.
fn plain_answer(flow: &Flow) -> Answer {
    let Flow { world, source, target, ipv6, .. } = *flow;
    let is_regular = |end| pod(world, end).is_some_and(|pod| is_treated_as_pod(flow, pod));
    if lacks_family(world, source, ipv6) || lacks_family(world, target, ipv6) || is_to_node_port(flow) {
        Answer::Undefined // a and b, spec rules 23 and 31
    } else if is_to_itself(flow) {
        Answer::Allow // c, spec rule 28
    } else if is_pod_and_its_node(flow, source, target) || is_pod_and_its_node(flow, target, source) {
        own_node_answer(flow) // d, spec rule 27
    } else if is_regular(source) || is_regular(target) {
        worst([direction_answer(flow, false), direction_answer(flow, true)]) // f, spec rule 11
    } else {
        Answer::Allow // e
    }
}

/// Returns whether a pod is treated as a pod in this reading (spec rule 26).
fn is_treated_as_pod(flow: &Flow, pod: &Pod) -> bool {
    !is_host_network(pod) || flow.reading.hosts_are_pods
}

/// f: Returns the worst answer: Deny, then Undefined, then Allow.
fn worst(answers: [Answer; 2]) -> Answer {
    let order = [Answer::Deny, Answer::Undefined];
    order.into_iter().find(|answer| answers.contains(answer)).unwrap_or(Answer::Allow)
}

fn lacks_family(world: &Objects, end: End, ipv6: bool) -> bool {
    let known = addresses(world, end);
    !known.is_empty() && known.iter().all(|address| address.is_ipv6() != ipv6)
}

/// Returns whether the connection is sent to a node port or a hostPort (spec rule 31). After the translation of a
/// Service, there is no second translation (spec rule 19).
fn is_to_node_port(flow: &Flow) -> bool {
    let is_node =
        matches!(flow.target, End::Node(_)) || pod(flow.world, flow.target).is_some_and(is_host_network);
    let specs = flow.world.services.iter().flat_map(|service| &service.spec);
    let mut ports = specs.flat_map(|spec| list(&spec.ports).iter().map(move |port| (spec, port)));
    let is_it = |(spec, port): (&ServiceSpec, &ServicePort)| {
        // If no number is given, the API server chooses one from its range.
        let is_chosen = match spec.type_.as_deref() {
            Some("NodePort") => true,
            Some("LoadBalancer") => spec.allocate_load_balancer_node_ports != Some(false),
            _ => false,
        };
        let is_number = match port.node_port {
            None | Some(0) => is_chosen && (30_000..=32_767).contains(&flow.port),
            Some(number) => number == i32::from(flow.port),
        };
        is_number && or_tcp(&port.protocol) == flow.protocol
    };
    let port = (flow.protocol, i32::from(flow.port));
    let is_host_port = flow.world.pods.iter().any(|pod| host_ports(pod).contains(&port));
    is_node && flow.service.is_none() && (is_host_port || ports.any(is_it))
}

/// Returns whether `other` is the node of the pod `one`. A pod with hostNetwork on that node may be treated as the
/// node.
fn is_pod_and_its_node(flow: &Flow, one: End, other: End) -> bool {
    let Some(own) = pod(flow.world, one) else { return false };
    let node = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    match other {
        End::Node(index) => {
            flow.world.nodes.get(index).is_some_and(|(name, _)| node(own).as_ref() == Some(name))
        }
        End::Pod(_) => pod(flow.world, other).is_some_and(|host| {
            let is_host = is_host_network(host) && !is_host_network(own) && !is_treated_as_pod(flow, host);
            is_host && node(host).is_some() && node(host) == node(own)
        }),
        End::External(_) => false,
    }
}

/// g: Answers for one direction: the target's ingress or the source's egress.
fn direction_answer(flow: &Flow, ingress: bool) -> Answer {
    let network_policies = || network_policy_answer(flow, ingress);
    tiers::answer(flow, ingress, &network_policies)
}

/// Returns what NetworkPolicies alone say, or None if none of them isolates the subject.
fn network_policy_answer(flow: &Flow, ingress: bool) -> Option<Answer> {
    let (subject, remote) = if ingress { (flow.target, flow.source) } else { (flow.source, flow.target) };
    let world = flow.world;
    let subject = pod(world, subject).filter(|pod| is_treated_as_pod(flow, pod))?; // f, spec rule 26
    let rules = isolating_rules(world, subject, ingress)?; // spec rule 1
    let matches: Vec<_> = rules.iter().map(|rule| rule_match(flow, rule, remote, ingress)).collect();
    if matches.contains(&Some(true)) {
        Some(Answer::Allow) // spec rule 11
    } else if matches.contains(&None) {
        Some(Answer::Undefined)
    } else {
        Some(Answer::Deny) // spec rules 4 and 13
    }
}

/// d: Answers for a pod and its own node. NetworkPolicies cannot deny packets from a pod to its own node. The
/// specification does not say whether cluster-scoped policies can.
fn own_node_answer(flow: &Flow) -> Answer {
    let Some(source) = pod(flow.world, flow.source) else { return Answer::Allow };
    let network_policies = || isolating_rules(flow.world, source, false).map(|_| Answer::Allow);
    match tiers::answer(flow, false, &network_policies) {
        Answer::Deny if !flow.reading.denies_own_node => Answer::Allow,
        answer @ (Answer::Allow | Answer::Deny | Answer::Undefined) => answer,
    }
}

/// Returns the rules of all policies that isolate the subject, or None if no policy does.
fn isolating_rules<'a>(world: &'a Objects, subject: &Pod, ingress: bool) -> Option<Vec<Rule<'a>>> {
    let mut rules = None;
    for policy in &world.policies {
        let namespace = namespace(&policy.metadata);
        let spec = policy.spec.clone().unwrap_or_default();
        let selector = spec.pod_selector.clone().unwrap_or_default(); // missing: all pods
        let is_own = namespace == self::namespace(&subject.metadata) && !is_finished(subject); // spec rule 32
        if is_own && matches(&selector, &labels(&subject.metadata)) && isolates_for(&spec, ingress) {
            rules.get_or_insert_with(Vec::new).extend(rules_of(namespace, spec, ingress));
        }
    }
    rules
}

/// Returns whether a policy isolates for a direction (spec rules 2 and 3).
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

/// h: Returns whether a rule matches, or None if that is unknown. Spec rule 12: within one rule, peers AND ports.
fn rule_match(flow: &Flow, rule: &Rule, remote: End, ingress: bool) -> Option<bool> {
    let on_port = |port, to| ports_match(rule, flow.protocol, port, to);
    // Spec rules 17, 18 and 26: names are resolved on the receiving pod (ingress: the subject; egress: the remote
    // end).
    let receiver = pod(flow.world, flow.target).filter(|pod| ingress || is_treated_as_pod(flow, pod));
    let by_selector = on_port(flow.port, receiver);
    let peers = list(&rule.peers);
    if peers.is_empty() {
        return by_selector; // spec rule 5
    }
    // l, spec rule 20
    let service = flow.service.filter(|_| !ingress && flow.reading.blocks_see_services);
    let service = service.and_then(|(port, address)| Some((port, address?)));
    let by_number =
        any([on_port(flow.port, None), service.map_or(Some(false), |(port, _)| on_port(port, None))]);
    let is_resolved = ingress || flow.reading.blocks_resolve_names; // spec rule 18
    let by_block = any([by_number, both(by_selector, Some(is_resolved))]);
    // spec rule 9: two peers are OR
    any(peers.iter().map(|peer| match (&peer.ip_block, service) {
        (Some(block), Some((_, address))) => both(by_block, Some(block_contains(block, &address))),
        (Some(_), None) => both(by_block, peer_match(flow, peer, rule.namespace, remote)),
        (None, _) => both(by_selector, peer_match(flow, peer, rule.namespace, remote)),
    }))
}

fn peer_match(flow: &Flow, peer: &NetworkPolicyPeer, policy_namespace: &str, remote: End) -> Option<bool> {
    match (&peer.ip_block, pod(flow.world, remote)) {
        (Some(block), _) => block_match(block, &addresses(flow.world, remote), flow.ipv6),
        (None, None) => Some(false), // spec rule 8
        (None, Some(pod)) => {
            // spec rule 26
            Some(selects(flow.world, peer, policy_namespace, pod) && is_treated_as_pod(flow, pod))
        }
    }
}

/// Returns whether a peer selects a pod. Spec rule 9: two selectors are AND.
fn selects(world: &Objects, peer: &NetworkPolicyPeer, policy_namespace: &str, pod: &Pod) -> bool {
    let namespace = namespace(&pod.metadata);
    let namespace_matches = match &peer.namespace_selector {
        Some(selector) => matches(selector, &namespace_labels(world, namespace)),
        None => namespace == policy_namespace, // spec rule 10
    };
    let pod_selector = peer.pod_selector.clone().unwrap_or_default(); // missing: all pods
    namespace_matches && matches(&pod_selector, &labels(&pod.metadata)) && !is_finished(pod) // spec rule 32
}

/// Returns whether a block contains an address of the remote end, or None if that is unknown (spec rules 21 and
/// 23).
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

/// Returns whether a block contains an address (spec rules 22 and 38). `IpNet::contains` ignores host bits, and
/// returns false for an address of the other family.
fn block_contains(block: &IPBlock, address: &IpAddr) -> bool {
    let is_in = |cidr: &String| cidr.parse::<IpNet>().is_ok_and(|cidr| cidr.contains(address));
    is_in(&block.cidr) && !list(&block.except).iter().any(is_in)
}

/// i: Returns whether the ports of a rule match, or None if that is unknown.
fn ports_match(rule: &Rule, protocol: &str, port: u16, to: Option<&Pod>) -> Option<bool> {
    let items = list(&rule.ports);
    if items.is_empty() {
        return Some(true); // spec rule 6
    }
    any(items.iter().map(|item| port_matches(item, protocol, port, to)))
}

fn port_matches(item: &NetworkPolicyPort, protocol: &str, port: u16, to: Option<&Pod>) -> Option<bool> {
    let port = i32::from(port);
    let number_matches = match &item.port {
        None => Some(true), // spec rule 7
        Some(IntOrString::Int(first)) => {
            Some(*first <= port && port <= item.end_port.unwrap_or(*first)) // spec rule 16
        }
        // spec rule 17: a second number of a name is undefined
        Some(IntOrString::String(name)) => {
            to.map_or(Some(false), |it| is_named_port(it, name, protocol, port))
        }
    };
    both(number_matches, Some(or_tcp(&item.protocol) == protocol)) // spec rules 7 and 15
}

/// j: Returns the answer that all backends have in common, or Undefined if they differ.
fn service_answer(world: &Objects, question: Question, index: usize) -> Answer {
    let Question { source, ipv6, protocol, port, .. } = question;
    let Some(service) = world.services.get(index) else { return Answer::Undefined }; // no question has such an index
    let spec = service.spec.clone().unwrap_or_default();
    let is_headless = virtual_addresses(&spec).any(|text| text == "None");
    let is_wanted = |it: &&ServicePort| it.port == i32::from(port) && or_tcp(&it.protocol) == protocol;
    let service_port = list(&spec.ports).iter().find(is_wanted);
    if service_port.is_none() && !is_headless {
        return Answer::Undefined;
    }
    let own_node = node_name(world, source);
    let mut answers = Vec::new();
    for (index, pod) in world.pods.iter().enumerate() {
        let target = End::Pod(index);
        if !is_backend(service, pod) || lacks_family(world, target, ipv6) {
            continue;
        }
        // Without a virtual address, the client connects to the pod itself.
        let own = if is_headless { Some(port) } else { service_port.and_then(|it| target_port(it, pod)) };
        let Some(port) = own else { continue };
        if spec.internal_traffic_policy.as_deref() == Some("Local") {
            match (&own_node, node_name(world, target)) {
                (Some(own), Some(other)) if *own != other => continue,
                (Some(_), Some(_)) => {}
                (None, _) | (_, None) => return Answer::Undefined,
            }
        }
        let service = (!is_headless).then(|| (question.port, virtual_address(&spec, ipv6)));
        let flow = Flow { world, source, target, ipv6, protocol, port, service, reading: Reading::default() };
        answers.push(under_all_readings(flow, backend_answer));
    }
    common(answers) // a source without the family got Undefined from every backend
}

fn is_backend(service: &Service, pod: &Pod) -> bool {
    let spec = service.spec.clone().unwrap_or_default();
    let selector = spec.selector.unwrap_or_default();
    spec.type_.as_deref() != Some("ExternalName")
        && !selector.is_empty()
        && selector.iter().all(|(key, value)| labels(&pod.metadata).get(key) == Some(value))
        && namespace(&service.metadata) == namespace(&pod.metadata)
        && !is_finished(pod) // spec rule 32
}

/// Returns the port on this pod, or None if the pod has no port of the wanted name.
fn target_port(service_port: &ServicePort, pod: &Pod) -> Option<u16> {
    let number = match &service_port.target_port {
        None | Some(IntOrString::Int(0)) => service_port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => {
            *named_ports(pod, name, or_tcp(&service_port.protocol)).first()? // the first container decides
        }
    };
    u16::try_from(number).ok()
}

fn virtual_address(spec: &ServiceSpec, ipv6: bool) -> Option<IpAddr> {
    let mut addresses = virtual_addresses(spec).filter_map(|text| text.parse().ok()); // "None" and "" are no addresses
    addresses.find(|address: &IpAddr| address.is_ipv6() == ipv6)
}

fn virtual_addresses(spec: &ServiceSpec) -> impl Iterator<Item = &String> {
    list(&spec.cluster_ips).iter().chain(&spec.cluster_ip) // `clusterIP` is the first of `clusterIPs`
}

fn node_name(world: &Objects, end: End) -> Option<String> {
    match end {
        End::Pod(_) => pod(world, end)?.spec.as_ref()?.node_name.clone(),
        End::Node(index) => world.nodes.get(index).map(|(name, _)| name.clone()),
        End::External(_) => None,
    }
}

fn backend_answer(flow: &Flow) -> Answer {
    if !is_to_itself(flow) || flow.service.is_none() {
        return plain_answer(flow);
    }
    // k, spec rule 28
    let network_policies = |ingress| match network_policy_answer(flow, ingress) {
        Some(_) if !flow.reading.filters_hairpins => Some(Answer::Allow),
        answer => answer,
    };
    worst([false, true].map(|ingress| tiers::answer(flow, ingress, &|| network_policies(ingress))))
}

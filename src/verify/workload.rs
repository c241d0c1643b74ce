//! Destinations of running workloads: the ports that pods declare, and those of Services. They only accept connections.

use std::collections::{BTreeMap, BTreeSet};

use super::end::End;
use super::question::{Ends, Question};
use crate::policy::{Cluster, IpFamily, Pod, Protocol, Service};
use crate::snapshot::Identity;
use crate::tenants::{Intent, Party, Tenancy, Wish};
use crate::world::EndpointName;

/// Greatest count of pods of one class that are connected to.
const MOST_MEMBERS: usize = 3;

/// Returns the questions from these sources to the workloads: to each port, one that must not be possible, and one that
/// may. More would take long, because each port gets at most one connection a second.
pub(super) fn questions(
    twins: &[End],
    cluster: &Cluster,
    tenancy: &Tenancy,
    families: &[IpFamily],
) -> Vec<Question> {
    let sources: Vec<&Pod> = twins.iter().map(|twin| &twin.pod).collect();
    let namespaces: BTreeSet<&str> = sources.iter().map(|pod| pod.namespace.as_str()).collect();
    let members = twins.iter().flat_map(|twin| twin.class.members.iter().take(MOST_MEMBERS));
    let pods = members.filter_map(|member| cluster.pods.get(*member)).flat_map(|pod| {
        let ports = pod.ports.iter().map(|port| (port.protocol, port.port));
        ports.map(move |at| (EndpointName::of_pod(pod), Party::of_pod(pod), pod.namespace.as_str(), at))
    });
    // The API server is asked in any case.
    let services = cluster.services.iter().filter(|service| {
        namespaces.contains(service.namespace.as_str())
            && !service.headless
            && Identity::of_service(service) != Identity::api_server()
    });
    let services = services.flat_map(|service| {
        let Service { namespace, name, .. } = service;
        let ports = service.ports.iter().map(|port| (port.protocol, port.port));
        ports.map(move |at| {
            (EndpointName::of_service(service), Party::Service { namespace, name }, namespace.as_str(), at)
        })
    });
    let all = pods.chain(services).filter(|(.., (protocol, _))| *protocol == Protocol::Tcp);
    let mut questions = Vec::new();
    for (number, (to, party, namespace, at)) in all.enumerate() {
        let intent = |from: &Pod| tenancy.intent(Party::of_pod(from), party, at.1, at.0);
        for (from, intent) in choose(&sources, number, intent) {
            let ends = Ends::new(tenancy, from, to.clone(), Some(namespace));
            questions.extend(ends.questions(at, families.iter(), Some(intent)));
        }
    }
    questions
}

/// Returns a source that must not reach a destination, and one that may. The search begins at another source for each
/// destination, so that all take their turn.
fn choose<'a>(
    sources: &[&'a Pod],
    number: usize,
    intent: impl Fn(&Pod) -> Option<Intent>,
) -> Vec<(&'a Pod, Intent)> {
    let mut chosen = BTreeMap::new();
    for from in sources.iter().cycle().skip(number % sources.len().max(1)).take(sources.len()) {
        if let Some(intent) = intent(from) {
            let is_forbidden = intent.wish == Wish::Forbidden;
            chosen.entry(is_forbidden).or_insert((*from, intent));
        }
    }
    chosen.into_values().collect()
}

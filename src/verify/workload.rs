//! Destinations of running workloads: the ports that pods declare, and those of Services. They only accept connections.

use std::collections::BTreeMap;

use super::question::{Question, are_monitored, tenants_of};
use crate::plan::Cell;
use crate::policy::{Cluster, IpFamily, Pod, Protocol, Service};
use crate::snapshot::Identity;
use crate::tenants::{Intent, Party, Tenancy, Wish};
use crate::world::{EndpointName, Probe};

/// Greatest count of pods of one class that are connected to.
const MOST_MEMBERS: usize = 3;

/// Returns the questions from these sources to the workloads: to each port, one that must not be possible, and one that
/// may. More would take long, because each port gets at most one connection a second.
pub(super) fn questions(
    sources: &[&Pod],
    classes: &[&[usize]],
    cluster: &Cluster,
    tenancy: &Tenancy,
    families: &[IpFamily],
) -> Vec<Question> {
    let members = classes.iter().flat_map(|members| members.iter().take(MOST_MEMBERS));
    let pods = members.filter_map(|member| cluster.pods.get(*member)).flat_map(|pod| {
        let ports = pod.ports.iter().filter(|port| port.protocol == Protocol::Tcp).map(|port| port.port);
        ports.map(move |port| (EndpointName::of_pod(pod), Party::of_pod(pod), &pod.namespace, port))
    });
    let namespaces: Vec<&String> = sources.iter().map(|pod| &pod.namespace).collect();
    // The API server is asked in any case.
    let is_of_workload = |service: &&Service| Identity::of_service(service) != Identity::api_server();
    let services = cluster.services.iter().filter(|service| namespaces.contains(&&service.namespace));
    let services = services.filter(is_of_workload);
    let services = services.filter(|service| !service.headless).flat_map(|service: &Service| {
        let ports = service.ports.iter().filter(|port| port.protocol == Protocol::Tcp).map(|port| port.port);
        let party = Party::Service { namespace: &service.namespace, name: &service.name };
        ports.map(move |port| (EndpointName::of_service(service), party, &service.namespace, port))
    });
    let mut questions = Vec::new();
    for (number, (to, party, namespace, port)) in pods.chain(services).enumerate() {
        let chosen =
            choose(sources, number, |from| tenancy.intent(Party::of_pod(from), party, port, Protocol::Tcp));
        for (from, intent) in chosen {
            let cell = |family: &IpFamily| Cell {
                from: EndpointName::of_pod(from),
                to: to.clone(),
                family: *family,
                probe: Probe::Port { port, protocol: Protocol::Tcp },
            };
            let owners = |namespace: &str| tenancy.tenants_of(namespace).map(|it| it.name.clone()).collect();
            questions.extend(families.iter().map(cell).map(|cell| Question {
                cell,
                intent: Some(intent.clone()),
                from: tenants_of(tenancy, from),
                to: owners(namespace),
                monitored: {
                    let to = Pod { namespace: namespace.clone(), ..Pod::default() };
                    are_monitored(tenancy, &[from, &to])
                },
            }));
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

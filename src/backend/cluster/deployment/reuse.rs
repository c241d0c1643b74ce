//! Which pods of a deployment the next scenario's can be: pods cost more than anything else on a cluster.

use std::collections::{BTreeMap, BTreeSet};

use super::Deployment;
use crate::backend::Error;
use crate::policy::Pod;
use crate::scenario::{DnsServer, EndpointName, State};
use crate::snapshot::Identity;

/// A pod that runs, and the scenario's pod that it is at the moment.
#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) pod: Pod,
    /// What it is called on the cluster, for as long as it lives.
    pub(super) real: Identity,
    /// What its annotation says that it is in the scenario.
    pub(super) annotated: Identity,
}

impl Deployment {
    /// How many of a scenario's pods are there when it starts.
    pub(in crate::backend::cluster) fn kept(&self, state: &State) -> usize {
        self.assignments(state).len()
    }

    /// Makes the pods of the scenario before those of the next, and begins to delete the ones that this does
    /// not have.
    pub(super) async fn hand_over(&mut self, state: &State) -> Result<(), Error> {
        let assignments = self.assignments(state);
        let unassigned = self.pods.keys().filter(|old| !assignments.contains_key(*old)).cloned();
        self.leaving = self.delete_pods(&unassigned.collect::<Vec<_>>()).await?;
        self.previous_names.clear();
        self.dns.clone_from(&state.dns);
        let mut agents = std::mem::take(&mut self.agents);
        for (old, mut running) in std::mem::take(&mut self.pods) {
            let Some(new) = assignments.get(&old).cloned() else { continue };
            if let Some(agent) = agents.remove(&EndpointName::pod(&old.namespace, &old.name)) {
                self.agents.insert(EndpointName::pod(&new.namespace, &new.name), agent);
            }
            running.pod.name.clone_from(&new.name);
            self.pods.insert(new, running);
        }
        Ok(())
    }

    /// The pods that can stay, each with the one of the state that it becomes: the one of its name, or else
    /// any that is like it but for its name and labels.
    fn assignments(&self, state: &State) -> BTreeMap<Identity, Identity> {
        let mut assignments = BTreeMap::new();
        let mut vacant = BTreeMap::new();
        for pod in state.cluster.pods.iter().filter(|pod| !pod.host_network) {
            let identity = Identity::of_pod(pod);
            if self.can_stay(&identity, state) {
                assignments.insert(identity.clone(), identity);
            } else {
                vacant.insert(identity, pod);
            }
        }
        // What speaks DNS does nothing else, before or after.
        for (old, running) in self.pods.iter().filter(|(old, _)| !speaks(self.dns.as_ref(), old)) {
            if assignments.contains_key(old) {
                continue;
            }
            let fits = |(new, pod): &(&Identity, &&Pod)| {
                !speaks(state.dns.as_ref(), new) && is_alike(&running.pod, pod)
            };
            if let Some(new) = vacant.iter().find(fits).map(|(new, _)| new.clone()) {
                vacant.remove(&new);
                assignments.insert(old.clone(), new);
            }
        }
        assignments
    }

    /// Whether one of the pods can stay what it is.
    pub(super) fn can_stay(&self, identity: &Identity, state: &State) -> bool {
        let speaks_dns = [&self.dns, &state.dns].iter().any(|dns| speaks(dns.as_ref(), identity));
        let old = self.pods.get(identity).filter(|_| !speaks_dns || self.dns == state.dns);
        let is_it = |old: &Running, new: &Pod| old.pod.name == new.name && is_alike(&old.pod, new);
        old.is_some_and(|old| state.cluster.pods.iter().any(|new| is_it(old, new)))
    }

    /// Names for new pods on the cluster. One that replaces another has the name of that one: to the cluster,
    /// too, it is the same name. Others have their own, with a number where a pod has it that is there or is
    /// about to end.
    pub(super) fn new_names(&self, pods: &[&Pod]) -> Vec<Identity> {
        let running = self.pods.values().map(|running| &running.real);
        let mut taken: BTreeSet<Identity> = running.chain(&self.leaving).cloned().collect();
        let mut take = |real: Identity| {
            (self.shared.watch.state(&real).is_none() && taken.insert(real.clone())).then_some(real)
        };
        let previous_names = |pod: &&Pod| self.previous_names.get(&Identity::of_pod(pod)).cloned();
        let again: Vec<Option<Identity>> = pods.iter().map(|pod| take(previous_names(pod)?)).collect();
        let mut new = |pod: &Pod| {
            let namespace = self.names.namespace(&pod.namespace);
            let numbered = (2..).map(|number| format!("{}-{number}", pod.name));
            let names = std::iter::once(pod.name.clone()).chain(numbered);
            names.map(|name| Identity { namespace: namespace.clone(), name }).find_map(&mut take)
        };
        // There are more numbers than pods.
        pods.iter().zip(again).filter_map(|(pod, again)| again.or_else(|| new(pod))).collect()
    }
}

/// Whether a pod is the DNS server.
fn speaks(dns: Option<&DnsServer>, pod: &Identity) -> bool {
    dns.is_some_and(|dns| dns.pod == *pod)
}

/// Whether a pod can be another, under whatever name and with whatever labels. None comes back after its
/// end.
fn is_alike(old: &Pod, new: &Pod) -> bool {
    old.ended <= new.ended
        && old.namespace == new.namespace
        && old.ports == new.ports
        && old.node == new.node
        && old.host_network == new.host_network
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::Method;

    use super::*;
    use crate::backend::cluster::cluster_policies::Support;
    use crate::backend::cluster::mocked::{client, deployment, status};
    use crate::scenario::Scenario;

    /// A state with these pods, each a line of YAML, in namespace `x`.
    fn state(pods: &[&str]) -> State {
        let pods: String = pods.iter().map(|pod| format!("    - {{{pod}}}\n")).collect();
        let head = "apiVersion: netproof.dev/v1alpha1\nkind: Scenario\nmetadata: {name: s}\n";
        let topology = format!("topology:\n  namespaces:\n  - name: x\n    pods:\n{pods}");
        State::new(&Scenario::from_text(&format!("{head}{topology}steps: [{{name: s}}]\n")).topology)
    }

    /// A deployment of a state, and the pods that it was asked to delete.
    fn deployed(state: &State) -> (Deployment, Arc<Mutex<Vec<String>>>) {
        let deleted = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&deleted);
        let client = client(move |method, path| {
            if *method == Method::DELETE {
                log.lock().unwrap().push(path.trim_start_matches("/api/v1/namespaces/").to_owned());
            }
            status(404, "not found")
        });
        let mut deployment = deployment(client, Support::new(), Vec::new());
        deployment.dns.clone_from(&state.dns);
        for pod in &state.cluster.pods {
            let (identity, real) = (Identity::of_pod(pod), Identity::new("netproof-r-1-x", &pod.name));
            deployment.pods.insert(identity.clone(), Running { pod: pod.clone(), real, annotated: identity });
        }
        (deployment, deleted)
    }

    /// Whose pod each of the scenario's is afterwards, and what is deleted.
    async fn handed_over(before: &State, after: &State) -> (Vec<String>, Vec<String>) {
        let (mut deployment, deleted) = deployed(before);
        let kept = deployment.kept(after);
        deployment.hand_over(after).await.unwrap();
        // They stay what they have become.
        assert!(deployment.pods.keys().all(|pod| deployment.can_stay(pod, after)));
        let now = deployment.pods.iter().map(|(new, old)| format!("{} is {}", old.real.name, new.name));
        let (now, deleted) = (now.collect::<Vec<_>>(), deleted.lock().unwrap().clone());
        assert_eq!((kept, deployment.leaving.len()), (now.len(), deleted.len()));
        (now, deleted)
    }

    #[tokio::test]
    async fn a_pod_becomes_one_that_is_like_it() {
        let before = state(&["name: a, node: 1", "name: b, node: 2", "name: c, node: 2"]);
        let after = state(&["name: c, node: 1", "name: b, node: 2", "name: d, node: 2"]);
        let (now, deleted) = handed_over(&before, &after).await;
        assert_eq!((now.join(", ").as_str(), deleted.len()), ("b is b, a is c, c is d", 0));
    }

    #[tokio::test]
    async fn a_pod_with_other_ports_or_of_another_node_is_new() {
        let before = state(&["name: a, node: 1, ports: [{name: http, port: 80}]", "name: b, node: 2"]);
        let after = state(&["name: a, node: 1, ports: [{name: http, port: 81}]", "name: b, node: 1"]);
        let (now, deleted) = handed_over(&before, &after).await;
        assert_eq!(now, Vec::<String>::new());
        assert_eq!(deleted, ["netproof-r-1-x/pods/a", "netproof-r-1-x/pods/b"]);
    }

    #[tokio::test]
    async fn what_speaks_dns_does_nothing_else() {
        let (names, others) = (
            ["name: dns, node: 1, dns: {}, labels: {a: b}", "name: a, node: 1"],
            ["name: b, node: 1", "name: a, node: 1"],
        );
        let (now, deleted) = handed_over(&state(&names), &state(&others)).await;
        assert_eq!((now.join(", ").as_str(), deleted.len()), ("a is a", 1));
        let (now, deleted) = handed_over(&state(&others), &state(&names)).await;
        assert_eq!((now.join(", ").as_str(), deleted.len()), ("a is a", 1));
        let (now, deleted) = handed_over(&state(&names), &state(&names)).await;
        assert_eq!((now.join(", ").as_str(), deleted.len()), ("a is a, dns is dns", 0));
        let after = state(&["name: dns, node: 1"]);
        let (now, deleted) = handed_over(&state(&names), &after).await;
        assert_eq!((now.join(", ").as_str(), deleted.len()), ("a is dns", 1));
    }

    /// What new pods of a state are called.
    fn names(deployment: &Deployment, state: &State) -> Vec<String> {
        let names = deployment.new_names(&state.cluster.pods.iter().collect::<Vec<_>>());
        names.into_iter().map(|real| real.name).collect()
    }

    #[tokio::test]
    async fn a_new_pod_takes_no_name_that_another_has() {
        let (mut deployment, _) = deployed(&state(&["name: a, node: 1", "name: a-2, node: 1"]));
        let new = state(&["name: a, node: 2", "name: a-3, node: 2", "name: b, node: 2"]);
        assert_eq!(names(&deployment, &new), ["a-3", "a-3-2", "b"]);
        // What is about to end is waited for by its name.
        deployment.hand_over(&new).await.unwrap();
        assert_eq!(names(&deployment, &new), ["a-3", "a-3-2", "b"]);
    }

    /// What keeps addresses by name would not be found out otherwise.
    #[tokio::test]
    async fn a_pod_that_replaces_another_has_its_name_on_the_cluster() {
        let (mut deployment, _) = deployed(&state(&["name: a, node: 1", "name: b, node: 2"]));
        let after = state(&["name: c, node: 1", "name: d, node: 2"]);
        deployment.hand_over(&after).await.unwrap();
        deployment.delete_pods(&[Identity::new("x", "c")]).await.unwrap();
        assert_eq!(names(&deployment, &state(&["name: a, node: 1", "name: c, node: 2"])), ["a-2", "a"]);
        deployment.hand_over(&after).await.unwrap();
        assert_eq!(names(&deployment, &state(&["name: c, node: 1"])), ["c"], "another scenario's");
    }
}

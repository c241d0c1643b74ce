//! Reuse of a deployment's pods by the next scenario. Pods are the most expensive objects on a cluster.

use std::collections::{BTreeMap, BTreeSet};

use super::{Deployment, Kind, Running};
use crate::backend::Error;
use crate::policy::Pod;
use crate::snapshot::Identity;
use crate::world::{DnsServer, EndpointName, World};

impl Deployment {
    /// Returns how many running pods a scenario can reuse.
    pub(in crate::backend::cluster) fn kept(&self, world: &World) -> usize {
        self.assignments(world).len()
    }

    /// Turns the pods of the previous scenario into pods of the next one, and starts to delete those that it
    /// does not need.
    pub(super) async fn hand_over(&mut self, world: &World) -> Result<(), Error> {
        let assignments = self.assignments(world);
        let unassigned = self.pods.keys().filter(|old| !assignments.contains_key(*old)).cloned();
        self.leaving = self.delete_pods(&unassigned.collect::<Vec<_>>()).await?;
        self.previous_names.clear();
        self.dns.clone_from(&world.dns);
        let mut agents = std::mem::take(&mut self.agents);
        for (old, mut running) in std::mem::take(&mut self.pods) {
            let Some(new) = assignments.get(&old).cloned() else { continue };
            if let Some(agent) = agents.remove(&EndpointName::of_identity(&old)) {
                self.agents.insert(EndpointName::of_identity(&new), agent);
            }
            running.pod.name.clone_from(&new.name);
            self.pods.insert(new, running);
        }
        Ok(())
    }

    /// Returns the pods that can stay, each with the pod of the state that it becomes. A pod keeps its name
    /// if possible. Otherwise it becomes a pod that differs from it only in name and labels. A lost pod cannot stay.
    fn assignments(&self, world: &World) -> BTreeMap<Identity, Identity> {
        let mut assignments = BTreeMap::new();
        let mut vacant = BTreeMap::new();
        for pod in world.cluster.pods.iter().filter(|pod| !pod.host_network) {
            let identity = Identity::of_pod(pod);
            if self.can_stay(&identity, world) && !self.is_lost(&identity) {
                assignments.insert(identity.clone(), identity);
            } else {
                vacant.insert(identity, pod);
            }
        }
        // A pod that is the DNS server has no other role, before or after.
        for (old, running) in self.pods.iter().filter(|(old, _)| !speaks(self.dns.as_ref(), old)) {
            if assignments.contains_key(old) || self.is_lost(old) {
                continue;
            }
            let fits = |(new, pod): &(&Identity, &&Pod)| {
                !speaks(world.dns.as_ref(), new) && is_alike(&running.pod, pod)
            };
            if let Some(new) = vacant.iter().find(fits).map(|(new, _)| new.clone()) {
                vacant.remove(&new);
                assignments.insert(old.clone(), new);
            }
        }
        assignments
    }

    /// Returns whether a pod can keep its name and role in a state.
    pub(super) fn can_stay(&self, identity: &Identity, world: &World) -> bool {
        let speaks_dns = [&self.dns, &world.dns].iter().any(|dns| speaks(dns.as_ref(), identity));
        let old = self.pods.get(identity).filter(|_| !speaks_dns || self.dns == world.dns);
        let is_it = |old: &Running, new: &Pod| old.pod.name == new.name && is_alike(&old.pod, new);
        old.is_some_and(|old| world.cluster.pods.iter().any(|new| is_it(old, new)))
    }

    /// Returns names for new pods on the cluster.
    ///
    /// A pod that replaces another one gets the same name, so that the name is also reused on the cluster.
    /// Other pods get their own name. If an existing or terminating pod has this name, or if it is among `taken`, a
    /// number is appended.
    pub(super) fn new_names(&self, pods: &[&Pod], taken: &[Identity]) -> Vec<Identity> {
        let running = self.pods.values().map(|running| &running.real);
        let mut taken: BTreeSet<Identity> = running.chain(&self.leaving).chain(taken).cloned().collect();
        let mut take =
            |real: Identity| (!self.shared.watch.exists(&real) && taken.insert(real.clone())).then_some(real);
        let previous_names = |pod: &&Pod| self.previous_names.get(&Identity::of_pod(pod)).cloned();
        let again: Vec<Option<Identity>> = pods.iter().map(|pod| take(previous_names(pod)?)).collect();
        let mut new = |pod: &Pod| {
            let namespace = self.names.namespace(&pod.namespace);
            let own = match &self.kind {
                Kind::Twins(_) | Kind::Strangers => self.shared.maker.twin_name(&pod.name),
                Kind::Plain | Kind::Nodes | Kind::Helpers(_) => pod.name.clone(),
            };
            let numbered = (2..).map(|number| format!("{own}-{number}"));
            let names = std::iter::once(own.clone()).chain(numbered);
            names.map(|name| Identity { namespace: namespace.clone(), name }).find_map(&mut take)
        };
        // There are more numbers than pods, so that every pod gets a name.
        pods.iter().zip(again).filter_map(|(pod, again)| again.or_else(|| new(pod))).collect()
    }
}

/// Returns whether a pod is the DNS server.
fn speaks(dns: Option<&DnsServer>, pod: &Identity) -> bool {
    dns.is_some_and(|dns| dns.pod == *pod)
}

/// Returns whether a pod can become another one, with any name and labels. A pod that has ended cannot run
/// again.
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
    use crate::backend::cluster::mocked::{client, deployment, scenario, status};

    /// Returns a state with these pods in namespace `x`. Each pod is given as fields of a YAML mapping.
    fn world(pods: &[&str]) -> World {
        let pods: String = pods.iter().map(|pod| format!("    - {{{pod}}}\n")).collect();
        let topology = format!("topology:\n  namespaces:\n  - name: x\n    pods:\n{pods}");
        scenario(&format!("{topology}steps: [{{name: s}}]\n")).world
    }

    /// Returns a deployment of a state, and a log of the pods that it deletes.
    fn deployed(world: &World) -> (Deployment, Arc<Mutex<Vec<String>>>) {
        let deleted = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&deleted);
        let client = client(move |method, path| {
            if *method == Method::DELETE {
                log.lock().unwrap().push(path.trim_start_matches("/api/v1/namespaces/").to_owned());
            }
            status(404, "not found")
        });
        let mut deployment = deployment(client, Support::new(), Vec::new());
        deployment.dns.clone_from(&world.dns);
        for pod in &world.cluster.pods {
            let (identity, real) = (Identity::of_pod(pod), Identity::new("netproof-r-1-x", &pod.name));
            deployment.pods.insert(identity.clone(), Running { pod: pod.clone(), real, annotated: identity });
        }
        (deployment, deleted)
    }

    /// Hands a deployment over to another state. Returns which pod each remaining pod has become, and the
    /// deleted pods.
    async fn handed_over(before: &World, after: &World) -> (Vec<String>, Vec<String>) {
        let (mut deployment, deleted) = deployed(before);
        let kept = deployment.kept(after);
        deployment.hand_over(after).await.unwrap();
        // The pods must keep what they have become.
        assert!(deployment.pods.keys().all(|pod| deployment.can_stay(pod, after)));
        let now = deployment.pods.iter().map(|(new, old)| format!("{} is {}", old.real.name, new.name));
        let (now, deleted) = (now.collect::<Vec<_>>(), deleted.lock().unwrap().clone());
        assert_eq!((kept, deployment.leaving.len()), (now.len(), deleted.len()));
        (now, deleted)
    }

    #[tokio::test]
    async fn a_pod_becomes_one_that_is_like_it() {
        let before = world(&["name: a, node: 1", "name: b, node: 2", "name: c, node: 2"]);
        let after = world(&["name: c, node: 1", "name: b, node: 2", "name: d, node: 2"]);
        let (now, deleted) = handed_over(&before, &after).await;
        assert_eq!((now.join(", ").as_str(), deleted.len()), ("b is b, a is c, c is d", 0));
    }

    #[tokio::test]
    async fn a_pod_with_other_ports_or_of_another_node_is_new() {
        let before = world(&["name: a, node: 1, ports: [{name: http, port: 80}]", "name: b, node: 2"]);
        let after = world(&["name: a, node: 1, ports: [{name: http, port: 81}]", "name: b, node: 1"]);
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
        let (now, deleted) = handed_over(&world(&names), &world(&others)).await;
        assert_eq!((now.join(", ").as_str(), deleted.len()), ("a is a", 1));
        let (now, deleted) = handed_over(&world(&others), &world(&names)).await;
        assert_eq!((now.join(", ").as_str(), deleted.len()), ("a is a", 1));
        let (now, deleted) = handed_over(&world(&names), &world(&names)).await;
        assert_eq!((now.join(", ").as_str(), deleted.len()), ("a is a, dns is dns", 0));
        let after = world(&["name: dns, node: 1"]);
        let (now, deleted) = handed_over(&world(&names), &after).await;
        assert_eq!((now.join(", ").as_str(), deleted.len()), ("a is dns", 1));
    }

    /// Returns the names on the cluster of a state's new pods.
    fn names(deployment: &Deployment, world: &World) -> Vec<String> {
        let names = deployment.new_names(&world.cluster.pods.iter().collect::<Vec<_>>(), &[]);
        names.into_iter().map(|real| real.name).collect()
    }

    #[tokio::test]
    async fn a_new_pod_takes_no_name_that_another_has() {
        let (mut deployment, _) = deployed(&world(&["name: a, node: 1", "name: a-2, node: 1"]));
        let new = world(&["name: a, node: 2", "name: a-3, node: 2", "name: b, node: 2"]);
        assert_eq!(names(&deployment, &new), ["a-3", "a-3-2", "b"]);
        // A terminating pod still has its name.
        deployment.hand_over(&new).await.unwrap();
        assert_eq!(names(&deployment, &new), ["a-3", "a-3-2", "b"]);
    }

    /// If the name changed, netproof would miss the bug of an enforcer that stores addresses by pod name.
    #[tokio::test]
    async fn a_pod_that_replaces_another_has_its_name_on_the_cluster() {
        let (mut deployment, _) = deployed(&world(&["name: a, node: 1", "name: b, node: 2"]));
        let after = world(&["name: c, node: 1", "name: d, node: 2"]);
        deployment.hand_over(&after).await.unwrap();
        deployment.delete_pods(&[Identity::new("x", "c")]).await.unwrap();
        assert_eq!(names(&deployment, &world(&["name: a, node: 1", "name: c, node: 2"])), ["a-2", "a"]);
        deployment.hand_over(&after).await.unwrap();
        assert_eq!(names(&deployment, &world(&["name: c, node: 1"])), ["c"], "another scenario's");
    }
}

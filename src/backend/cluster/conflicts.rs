//! Finds scenarios that would mean something else with the labels that a site requires.

use std::collections::{BTreeMap, BTreeSet};

use super::site::Site;
use crate::backend::Error;
use crate::policy::{
    Backends, ClusterPeer, ClusterPolicy, LabelSelector, Labels, NamespaceScope, NetworkPolicy, Peer, Peers,
    PodSelector, Requirement, Service,
};
use crate::scenario::Scenario;
use crate::world::{Action, World};

/// The labels of one kind of object in a scenario, and the selectors of this kind.
#[derive(Default)]
struct Uses {
    /// Labels that any object of the kind has at any time.
    labels: BTreeSet<Labels>,
    /// Keys that the scenario sets or removes.
    keys: BTreeSet<String>,
    /// Selectors of its policies and Services.
    selectors: BTreeSet<LabelSelector>,
}

/// Labels and selectors of a scenario.
#[derive(Default)]
struct LabelUses {
    namespaces: Uses,
    pods: Uses,
}

impl Site {
    /// Refuses scenarios that set a label themselves and have a selector that would match other objects if the
    /// remaining objects had the site's label with this key.
    ///
    /// A selector of a label that no object of the scenario has is about the site's label. The policy engine
    /// knows this label, so such scenarios are not refused.
    ///
    /// # Errors
    /// If there are such scenarios. The message names them and the label.
    pub fn check(&self, scenarios: &[Scenario]) -> Result<(), Error> {
        let mut conflicts: BTreeMap<(&str, String), BTreeSet<&str>> = BTreeMap::new();
        for scenario in scenarios {
            let uses = LabelUses::of(scenario);
            let kinds = [
                ("--namespace-label", &self.namespace_labels, uses.namespaces),
                ("--pod-label", &self.pod_labels, uses.pods),
            ];
            for (option, labels, uses) in kinds {
                for key in uses.conflicts(labels) {
                    conflicts.entry((option, key)).or_default().insert(&scenario.name);
                }
            }
        }
        let say = |((option, key), names): (&(&str, String), &BTreeSet<&str>)| {
            let names: Vec<_> = names.iter().copied().collect();
            let skip: String = names.iter().map(|name| format!(" --skip-name {name}")).collect();
            format!(
                "{option} {key}: the label `{key}` would change what the selectors of these scenarios match, because \
                 they set it for some objects only: {}: use another label, or leave them out with{skip}",
                names.join(", ")
            )
        };
        match conflicts.iter().next() {
            Some(conflict) => Err(Error::Unavailable(say(conflict))),
            None => Ok(()),
        }
    }
}

impl Uses {
    fn object(&mut self, labels: &Labels) {
        self.keys.extend(labels.keys().cloned());
        self.labels.insert(labels.clone());
    }

    /// Returns the keys of the site's labels that would change what a selector matches, among the keys that
    /// the scenario uses itself.
    fn conflicts(&self, site: &Labels) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for own in &self.labels {
            let mut all = site.clone();
            all.extend(own.clone());
            let changed = self.selectors.iter().filter(|s| s.matches(own) != s.matches(&all));
            let keys = changed.flat_map(LabelSelector::requirements).map(Requirement::key);
            let is_added = |key: &&String| site.contains_key(*key) && !own.contains_key(*key);
            found.extend(keys.filter(is_added).filter(|key| self.keys.contains(*key)).cloned());
        }
        found
    }
}

impl LabelUses {
    fn of(scenario: &Scenario) -> Self {
        let (mut uses, mut world) = (Self::default(), scenario.world.clone());
        uses.objects(&world);
        world.cluster.policies.iter().for_each(|policy| uses.policy(policy));
        world.cluster.cluster_policies.iter().for_each(|policy| uses.cluster_policy(policy));
        world.cluster.services.iter().for_each(|service| uses.service(service));
        for action in scenario.steps.iter().flat_map(|step| &step.actions) {
            uses.action(action);
            // Policies with names of addresses cannot be applied before the pods have addresses, and change no
            // labels.
            if world.apply(action).is_ok() {
                uses.objects(&world);
            }
        }
        uses
    }

    fn objects(&mut self, world: &World) {
        world.cluster.namespaces.iter().for_each(|namespace| self.namespaces.object(&namespace.labels));
        world.cluster.pods.iter().for_each(|pod| self.pods.object(&pod.labels));
    }

    fn action(&mut self, action: &Action) {
        match action {
            Action::SetPolicy(written) => self.policy(&written.policy),
            Action::SetClusterPolicy(written) => self.cluster_policy(&written.policy),
            Action::SetService(written) => self.service(&written.service),
            Action::LabelPod { labels, .. } => self.pods.keys.extend(labels.keys().cloned()),
            Action::LabelNamespace { labels, .. } => self.namespaces.keys.extend(labels.keys().cloned()),
            Action::DeletePolicy(_)
            | Action::DeleteClusterPolicy(_)
            | Action::DeleteService(_)
            | Action::AddPod(_)
            | Action::EndPod(_)
            | Action::RemovePod(_) => {}
        }
    }

    fn policy(&mut self, policy: &NetworkPolicy) {
        self.pods.selectors.insert(policy.subjects.clone());
        for rule in [&policy.ingress, &policy.egress].into_iter().flatten().flatten() {
            let peers = match &rule.peers {
                Peers::Any => continue,
                Peers::Only(peers) => peers,
            };
            for peer in peers {
                match peer {
                    Peer::Pods { namespaces, pods } => {
                        self.pods.selectors.insert(pods.clone());
                        match namespaces {
                            NamespaceScope::Own => {}
                            NamespaceScope::Selected(selector) => {
                                self.namespaces.selectors.insert(selector.clone());
                            }
                        }
                    }
                    Peer::IpBlock(_) => {}
                }
            }
        }
    }

    fn cluster_policy(&mut self, policy: &ClusterPolicy) {
        self.pods_of(&policy.subjects);
        for peer in policy.ingress.iter().chain(&policy.egress).flat_map(|rule| &rule.peers) {
            match peer {
                ClusterPeer::Pods(selector) => self.pods_of(selector),
                ClusterPeer::Nodes(_) | ClusterPeer::Network(_) | ClusterPeer::DomainNames(_) => {}
            }
        }
    }

    fn pods_of(&mut self, selector: &PodSelector) {
        self.namespaces.selectors.insert(selector.namespaces.clone());
        self.pods.selectors.insert(selector.pods.clone());
    }

    fn service(&mut self, service: &Service) {
        match &service.backends {
            Backends::Selected(labels) => {
                let equals =
                    |(key, value): (&String, &String)| Requirement::In(key.clone(), [value.clone()].into());
                self.pods.selectors.insert(labels.iter().map(equals).collect());
            }
            Backends::Addresses(_) | Backends::Unknown => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cluster::mocked::scenario;

    /// Returns the refusal of a scenario in which namespace `x` has `team: red` and pod `a` has `app: a`, the
    /// other objects have no labels, and these are the steps.
    fn refusal(namespace_label: (&str, &str), pod_label: (&str, &str), steps: &str) -> Option<String> {
        let topology =
            "topology: {namespaces: [{name: x, labels: {team: red}, pods: [{name: a, labels: {app: a}},
            {name: b}]}, {name: y, pods: [{name: a}]}]}";
        let labels = |(key, value): (&str, &str)| Labels::from([(key.to_owned(), value.to_owned())]);
        let site = Site {
            namespace_labels: labels(namespace_label),
            pod_labels: labels(pod_label),
            ..Site::default()
        };
        let scenario = scenario(&format!("{topology}\nsteps: {steps}\n"));
        site.check(&[scenario]).err().map(|error| error.to_string())
    }

    fn policy(subjects: &str, namespaces: &str) -> String {
        format!(
            "[{{name: one, apply: [{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy,
            metadata: {{name: p, namespace: x}}, spec: {{podSelector: {{{subjects}}}, ingress: [
            {{from: [{{namespaceSelector: {{{namespaces}}}}}]}}]}}}}]}}]"
        )
    }

    const OWNER: (&str, &str) = ("owner", "me");

    #[test]
    fn labels_that_would_change_what_a_scenario_selects_are_refused() {
        let without = |key: &str| format!("matchExpressions: [{{key: {key}, operator: DoesNotExist}}]");
        let message = refusal(("team", "green"), OWNER, &policy("", &without("team"))).unwrap();
        insta::assert_snapshot!(message, @"--namespace-label team: the label `team` would change what the selectors of these scenarios match, because they set it for some objects only: s: use another label, or leave them out with --skip-name s");
        assert!(
            refusal(OWNER, ("app", "z"), &policy(&without("app"), "")).unwrap().contains("--pod-label app")
        );
        let equal = policy("matchLabels: {app: a}", "matchLabels: {team: red}");
        assert!(refusal(("team", "red"), OWNER, &equal).is_some());
        assert!(refusal(OWNER, ("app", "a"), &equal).is_some());
        // No policy selects the label before the step that removes it.
        let removed = "[{name: one, label: [{pod: x/a, labels: {app: null}}]},
            {name: two, apply: [{apiVersion: v1, kind: Service, metadata: {name: s, namespace: x},
            spec: {selector: {app: a}, ports: [{port: 80}]}}]}]";
        assert!(refusal(OWNER, ("app", "a"), removed).is_some());
    }

    #[test]
    fn labels_that_mean_the_same_or_that_only_the_site_sets_are_accepted() {
        let equal = policy("matchLabels: {app: a}", "matchLabels: {team: red}");
        assert_eq!(refusal(("team", "green"), ("app", "z"), &equal), None, "they match the same objects");
        let of_site = policy("matchLabels: {owner: me}", "matchLabels: {owner: me}");
        assert_eq!(refusal(OWNER, OWNER, &of_site), None, "the engine knows the label");
        // Pods and namespaces have labels of their own.
        let other_kind = policy("matchLabels: {team: green}", "matchLabels: {app: z}");
        assert_eq!(refusal(("team", "green"), ("app", "z"), &other_kind), None);
    }
}

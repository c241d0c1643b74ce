//! Names on the cluster for a scenario's namespaces and cluster-scoped objects.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::policy::NAMESPACE_NAME_LABEL;

/// Maximum length of a namespace's name.
const LONGEST: usize = 63;

/// Maximum length of most other objects' names.
const LONGEST_OF_CLUSTER: usize = 253;

/// Number of hexadecimal digits that replace the end of a name that is too long.
const DIGITS: usize = 8;

/// Mapping from a scenario's names to names that are unique on the cluster.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// What precedes a scenario's name. `None` if all names are those of the cluster.
    prefix: Option<String>,
    /// Prepared namespaces, by the scenario's namespaces for which they stand. Empty if the run creates its
    /// own.
    prepared: BTreeMap<String, String>,
}

impl Names {
    /// Creates a mapping to names that begin with a prefix and a hyphen.
    pub(super) fn new(prefix: String) -> Self {
        Self { prefix: Some(prefix), prepared: BTreeMap::new() }
    }

    /// Creates a mapping for a state whose names are those of the cluster.
    pub(super) fn of_live_cluster() -> Self {
        Self { prefix: None, prepared: BTreeMap::new() }
    }

    /// Creates a mapping with the same prefix that uses prepared namespaces for some of the scenario's namespaces.
    pub(super) fn with_prepared(&self, prepared: BTreeMap<String, String>) -> Self {
        Self { prefix: self.prefix.clone(), prepared }
    }

    /// Returns the name on the cluster of one of the scenario's namespaces.
    pub(super) fn namespace(&self, name: &str) -> String {
        self.prepared.get(name).cloned().unwrap_or_else(|| self.unique(name, LONGEST))
    }

    /// Returns the name on the cluster of one of the scenario's cluster-scoped objects.
    pub(super) fn of_cluster(&self, name: &str) -> String {
        self.unique(name, LONGEST_OF_CLUSTER)
    }

    fn unique(&self, name: &str, longest: usize) -> String {
        let Some(prefix) = &self.prefix else { return name.to_owned() };
        let real = format!("{prefix}-{name}");
        if real.len() <= longest {
            return real;
        }
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let room = longest.saturating_sub(DIGITS + 1);
        // Names are ASCII, so that any index is a character boundary.
        let begin = real.get(..room).unwrap_or(&real).trim_end_matches(['-', '.']);
        format!("{begin}-{:08x}", hasher.finish() & 0xffff_ffff)
    }

    /// Rewrites namespace selectors that contain a namespace's name to its name on the cluster.
    pub(super) fn rewrite(&self, policy: &mut NetworkPolicy) {
        let Some(spec) = &mut policy.spec else { return };
        let ingress = spec.ingress.iter_mut().flatten().filter_map(|rule| rule.from.as_mut());
        let egress = spec.egress.iter_mut().flatten().filter_map(|rule| rule.to.as_mut());
        let selectors = ingress.chain(egress).flatten().filter_map(|peer| peer.namespace_selector.as_mut());
        selectors.for_each(|selector| self.rewrite_selector(selector));
    }

    /// Replaces names in a namespace selector by the names on the cluster.
    pub(super) fn rewrite_selector(&self, selector: &mut LabelSelector) {
        if let Some(name) = selector.match_labels.as_mut().and_then(|l| l.get_mut(NAMESPACE_NAME_LABEL)) {
            *name = self.namespace(name);
        }
        let requirements = selector.match_expressions.iter_mut().flatten();
        for requirement in requirements.filter(|requirement| requirement.key == NAMESPACE_NAME_LABEL) {
            for name in requirement.values.iter_mut().flatten() {
                *name = self.namespace(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_stay_apart() {
        let names = Names::new("netproof-abcde-1".to_owned());
        assert_eq!(names.namespace("x"), "netproof-abcde-1-x");
        let long = "a".repeat(62);
        let (one, other) = (names.namespace(&format!("{long}x")), names.namespace(&format!("{long}y")));
        assert_ne!(one, other);
        assert_eq!((one.len(), other.len()), (LONGEST, LONGEST));
    }

    #[test]
    fn prepared_namespaces_stand_for_those_of_the_scenario() {
        let prepared = [("x".to_owned(), "team-7".to_owned())].into();
        let names = Names::new("netproof-abcde".to_owned()).with_prepared(prepared);
        assert_eq!(names.namespace("x"), "team-7");
        assert_eq!(names.namespace("nowhere"), "netproof-abcde-nowhere", "a name that nobody has");
        assert_eq!(names.of_cluster("x"), "netproof-abcde-x");
    }

    #[test]
    fn selectors_by_name_follow_the_namespaces() {
        let policy = serde_json::json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p"},
            "spec": {"podSelector": {"matchLabels": {"kubernetes.io/metadata.name": "x"}},
                "ingress": [{"from": [
                    {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "x", "a": "x"}}},
                    {"podSelector": {}}]}],
                "egress": [{"to": [{"namespaceSelector": {"matchExpressions": [
                    {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["x", "y"]},
                    {"key": "other", "operator": "In", "values": ["x"]}]}}]}]}
        });
        let mut policy: NetworkPolicy = serde_json::from_value(policy).unwrap();
        Names::new("p".to_owned()).rewrite(&mut policy);
        let spec = serde_json::to_value(policy.spec).unwrap();
        let expected = serde_json::json!({
            "podSelector": {"matchLabels": {"kubernetes.io/metadata.name": "x"}},
            "ingress": [{"from": [
                {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "p-x", "a": "x"}}},
                {"podSelector": {}}]}],
            "egress": [{"to": [{"namespaceSelector": {"matchExpressions": [
                {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["p-x", "p-y"]},
                {"key": "other", "operator": "In", "values": ["x"]}]}}]}]
        });
        assert_eq!(spec, expected);
    }
}

//! Warnings about policies and peers that select no pod, and about ports that no pod has. Usually, a label or the name
//! of a port is misspelt.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::policy::{
    Arena, Cluster, Direction, LabelSelector, Labels, NAMESPACE_NAME_LABEL, Namespaces, OrderedRule,
    PeerSpec, PodScope, Policies, PolicyName, PortSpec, Ports, Requirement, Selection, UnknownLabels,
};
use crate::source::{did_you_mean, near_within};

/// Maximum count of letter comparisons in the search for similar names: enough for some ten thousand pairs of names.
/// After that, warnings have no hints.
const MOST_STEPS: usize = 5_000_000;

/// Maximum count of similar names in a hint.
const MOST_NAMES: usize = 6;

/// Length of the longest selector that is shown completely, in characters.
const LONGEST: usize = 200;

/// Returns a warning for each policy, and for each peer of a policy, that selects no pod of a cluster. Peers with the
/// same problem share one warning. There is no warning if unknown labels may match. Also returns a warning for each
/// name of a port that no receiving pod has, if one of them has a port with a similar name.
pub fn unmatched(cluster: &Cluster) -> Vec<String> {
    find(cluster).into_iter().map(|warning| warning.text).collect()
}

/// Returns, for each policy, the first warning of `unmatched` with a hint. Warnings without a hint are left out,
/// because scenarios have policies and peers that select nothing on purpose.
pub fn misspelt(cluster: &Cluster) -> Vec<String> {
    let mut policies = BTreeSet::new();
    let near = find(cluster).into_iter().filter(|warning| warning.has_hint);
    near.filter(|warning| policies.insert(warning.policy.clone())).map(|warning| warning.text).collect()
}

/// A warning about a policy.
struct Warning {
    /// Kind and name of the policy.
    policy: String,
    text: String,
    /// Whether the text suggests similar names.
    has_hint: bool,
}

fn find(cluster: &Cluster) -> Vec<Warning> {
    let (pods, Policies { list, peers: specs }) = (Pods::new(cluster), cluster.all_policies());
    let mut finder = Finder {
        pods: &pods,
        specs: &specs,
        known: HashMap::new(),
        peers: BTreeMap::new(),
        warnings: Vec::new(),
        steps: MOST_STEPS,
    };
    for policy in &list {
        let name = match &policy.name {
            PolicyName::Namespaced { .. } => format!("NetworkPolicy {}", policy.name),
            PolicyName::Cluster(name) => name.to_string(),
        };
        finder.subject(&name, &policy.subjects);
        for direction in [Direction::Ingress, Direction::Egress] {
            for (index, rule) in policy.rules(direction).unwrap_or_default().iter().enumerate() {
                finder.rule(RuleAt { policy: &name, direction, index }, &policy.subjects, rule);
            }
        }
    }
    finder.finish()
}

/// A rule of a policy.
#[derive(Debug, Clone, Copy)]
struct RuleAt<'n> {
    /// Kind and name of the policy.
    policy: &'n str,
    direction: Direction,
    index: usize,
}

impl RuleAt<'_> {
    /// Returns the path of the rule, such as `spec.ingress[0]`.
    fn field(self) -> String {
        format!("spec.{}[{}]", self.direction, self.index)
    }
}

/// Labels of an object, as far as known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Labelled<'a> {
    known: &'a Labels,
    unknown: &'a UnknownLabels,
}

impl Labelled<'_> {
    /// Returns whether a selector may match the object.
    fn may_match(self, selector: &LabelSelector) -> bool {
        selector.select(self.known, self.unknown) != Selection::NotSelected
    }
}

/// A namespace, and the distinct label sets of its pods.
struct Namespace<'a> {
    name: &'a str,
    labels: Labelled<'a>,
    /// The names of the ports of all pods that have these labels.
    pods: HashMap<Labelled<'a>, BTreeSet<&'a str>>,
}

struct Pods<'a> {
    namespaces: Vec<Namespace<'a>>,
}

impl<'a> Pods<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        let mut by_namespace = BTreeMap::<&str, HashMap<Labelled<'_>, BTreeSet<&str>>>::new();
        for pod in cluster.pods.iter().filter(|pod| !pod.ended) {
            let labels = Labelled { known: &pod.labels, unknown: &pod.unknown_labels };
            let ports = by_namespace.entry(&pod.namespace).or_default().entry(labels).or_default();
            ports.extend(pod.ports.iter().filter_map(|port| port.name.as_deref()));
        }
        let namespaces = cluster.namespaces.iter().map(|namespace| Namespace {
            name: &namespace.name,
            labels: Labelled { known: &namespace.labels, unknown: &namespace.unknown_labels },
            pods: by_namespace.get(namespace.name.as_str()).cloned().unwrap_or_default(),
        });
        Self { namespaces: namespaces.collect() }
    }

    fn of(&self, set: &Namespaces) -> impl Iterator<Item = &Namespace<'a>> {
        self.namespaces.iter().filter(move |namespace| match set {
            Namespaces::Named(name) => namespace.name == name,
            Namespaces::Selected(selector) => namespace.labels.may_match(selector),
        })
    }

    /// Returns the names of the ports of all pods that may be selected. `None` selects all pods.
    fn port_names(&self, scopes: Option<&[&PodScope]>) -> BTreeSet<&'a str> {
        let Some(scopes) = scopes else {
            let pods = self.namespaces.iter().flat_map(|namespace| namespace.pods.values());
            return pods.flatten().copied().collect();
        };
        let ports = scopes.iter().flat_map(|scope| {
            let pods = self.of(&scope.namespaces).flat_map(|namespace| &namespace.pods);
            pods.filter(|(labels, _)| labels.may_match(&scope.pods)).flat_map(|(_, ports)| ports)
        });
        ports.copied().collect()
    }

    /// Returns why nothing is selected, or `None` if something may be selected.
    fn why_none(&self, namespaces: &Namespaces, pods: &LabelSelector, steps: &mut usize) -> Option<Why> {
        let mut labels = BTreeSet::new();
        for namespace in self.of(namespaces) {
            if namespace.pods.keys().any(|labels| labels.may_match(pods)) {
                return None;
            }
            labels.extend(namespace.pods.keys().map(|labels| labels.known));
        }
        if !labels.is_empty() {
            let what = format!("selects no pod ({})", shortened(pods));
            return Some(Why { what, hint: hint(pods, labels, steps) });
        }
        let with_pods = || self.namespaces.iter().filter(|namespace| !namespace.pods.is_empty());
        Some(match namespaces {
            Namespaces::Named(name) => {
                let near = near_within(name, with_pods().map(|namespace| namespace.name), steps);
                Why { what: format!("selects no pod: namespace {name} has none"), hint: did_you_mean(&near) }
            }
            Namespaces::Selected(selector) => {
                let hint = hint(selector, with_pods().map(|namespace| namespace.labels.known), steps);
                let selector = shortened(selector);
                Why { what: format!("selects no pod: no namespace with pods is selected ({selector})"), hint }
            }
        })
    }
}

/// Reason why a policy or peer selects no pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Why {
    what: String,
    /// A question with similar names. Empty if there are none.
    hint: String,
}

/// Returns a selector, or its beginning if it is long. A selector with a thousand values would not help the user.
fn shortened(selector: &LabelSelector) -> String {
    let whole = selector.to_string();
    match whole.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", whole.get(..end).unwrap_or_default()),
        None => whole,
    }
}

/// Returns a question with existing labels that are similar to what a selector requires.
fn hint<'a>(
    selector: &LabelSelector,
    labels: impl IntoIterator<Item = &'a Labels>,
    steps: &mut usize,
) -> String {
    let labels: Vec<&Labels> = labels.into_iter().collect();
    let mut meant = Vec::new();
    for requirement in selector.requirements() {
        let (key, values) = match requirement {
            Requirement::In(key, values) => (key, Some(values)),
            Requirement::Exists(key) => (key, None),
            Requirement::NotIn(..) | Requirement::DoesNotExist(_) => continue,
        };
        let mut there = labels.iter().filter_map(|labels| labels.get(key).map(String::as_str)).peekable();
        match (there.peek(), values) {
            (None, _) => {
                let keys: BTreeSet<_> =
                    labels.iter().flat_map(|labels| labels.keys().map(String::as_str)).collect();
                meant.extend(near_within(key, keys, steps).into_iter().map(str::to_owned));
            }
            (Some(_), None) => {}
            (Some(_), Some(values)) => {
                let there: BTreeSet<_> = there.collect();
                if !values.iter().any(|value| there.contains(value.as_str())) {
                    let similar =
                        values.iter().flat_map(|value| near_within(value, there.iter().copied(), steps));
                    // The name of a namespace needs no key to be understood.
                    let named =
                        |value| if key == NAMESPACE_NAME_LABEL { value } else { format!("{key}={value}") };
                    meant.extend(similar.map(str::to_owned).map(named).take(MOST_NAMES));
                }
            }
        }
    }
    did_you_mean(&meant.iter().map(String::as_str).take(MOST_NAMES).collect::<Vec<_>>())
}

/// The first of several peers that select nothing for the same reason.
struct FirstPeer {
    policy: String,
    field: String,
}

struct Finder<'a> {
    pods: &'a Pods<'a>,
    /// All peers of the policies.
    specs: &'a Arena<PeerSpec>,
    /// Cache of results, because policies of one tenant often have the same peers.
    known: HashMap<(&'a Namespaces, &'a LabelSelector), Option<Why>>,
    /// Peers that select nothing, by reason: the first peer, and the count of further peers.
    peers: BTreeMap<Why, (FirstPeer, usize)>,
    warnings: Vec<Warning>,
    /// Remaining comparisons for hints, over all warnings.
    steps: usize,
}

impl<'a> Finder<'a> {
    fn subject(&mut self, name: &str, scope: &'a PodScope) {
        if let Some(why) = self.why_none(scope) {
            self.warnings.push(why.warning(name, name, ""));
        }
    }

    /// Checks the peers and ports of a rule.
    fn rule(&mut self, at: RuleAt<'_>, subject: &'a PodScope, rule: &OrderedRule) {
        let list = match at.direction {
            Direction::Ingress => "from",
            Direction::Egress => "to",
        };
        let specs = self.specs;
        let scopes = rule.peers.as_ref().map(|peers| peers.iter().map(|peer| specs[*peer].pods()));
        for (index, scope) in scopes.clone().into_iter().flatten().enumerate() {
            let Some(why) = scope.and_then(|scope| self.why_none(scope)) else { continue };
            let field = || format!("{}.{list}[{index}]", at.field());
            let first = || (FirstPeer { policy: at.policy.to_owned(), field: field() }, 0);
            self.peers.entry(why).and_modify(|(_, more)| *more += 1).or_insert_with(first);
        }
        // A name stands for a port of the receiving pod. Addresses may be those of any pod.
        let receivers: Option<Vec<_>> = match at.direction {
            Direction::Ingress => Some(vec![subject]),
            Direction::Egress => scopes.and_then(Iterator::collect),
        };
        self.ports(at, receivers.as_deref(), &rule.ports);
    }

    /// Checks the names of ports. The receivers are all pods if they are `None`.
    fn ports(&mut self, at: RuleAt<'_>, receivers: Option<&[&PodScope]>, ports: &Ports) {
        let Ports::Only(ports) = ports else { return };
        let names: BTreeSet<&str> = ports
            .iter()
            .filter_map(|port| match &port.ports {
                PortSpec::Named(name) => Some(name.as_str()),
                PortSpec::Any | PortSpec::Range(_) => None,
            })
            .collect();
        if names.is_empty() {
            return;
        }
        let there = self.pods.port_names(receivers);
        for name in names.into_iter().filter(|name| !there.contains(name)) {
            let near = near_within(name, there.iter().copied(), &mut self.steps);
            if !near.is_empty() {
                let what = format!("names the port {name}, which no selected pod has");
                let why = Why { what, hint: did_you_mean(&near) };
                self.warnings.push(why.warning(at.policy, &format!("{}: {}", at.policy, at.field()), ""));
            }
        }
    }

    fn why_none(&mut self, PodScope { namespaces, pods, .. }: &'a PodScope) -> Option<Why> {
        let Self { pods: all, known, steps, .. } = self;
        known.entry((namespaces, pods)).or_insert_with(|| all.why_none(namespaces, pods, steps)).clone()
    }

    fn finish(self) -> Vec<Warning> {
        let mut warnings = self.warnings;
        warnings.extend(self.peers.into_iter().map(|(why, (FirstPeer { policy, field }, more))| {
            let others = match more {
                0 => String::new(),
                1 => " (so does 1 more peer)".to_owned(),
                more => format!(" (so do {more} more peers)"),
            };
            why.warning(&policy, &format!("{policy}: {field}"), &others)
        }));
        warnings
    }
}

impl Why {
    fn warning(&self, policy: &str, name: &str, others: &str) -> Warning {
        let Self { what, hint } = self;
        let text = format!("{name} {what}{hint}{others}");
        Warning { policy: policy.to_owned(), text, has_hint: !hint.is_empty() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Snapshot;
    use crate::source::Text;

    fn warnings(policies: &str) -> Vec<String> {
        unmatched(&cluster(policies))
    }

    fn cluster(policies: &str) -> Cluster {
        let pod = |namespace: &str, app: &str| {
            format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: {app}, namespace: {namespace}, labels: {{app: {app}}}}}\n---\n"
            )
        };
        let namespace =
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {env: production}}\n---\n";
        let content = [namespace, &pod("shop", "carts"), &pod("shop", "front-end"), policies].concat();
        let text = Text { name: "shop.yaml".into(), content };
        Snapshot::read(&text.documents().unwrap(), None).unwrap().cluster
    }

    fn policy(metadata: &str, spec: &str) -> String {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{{metadata}}}\nspec: {{{spec}}}\n---\n"
        )
    }

    #[test]
    fn of_each_policy_only_what_is_nearly_there_is_misspelt() {
        let peers = "{podSelector: {matchLabels: {app: carst}}}, {podSelector: {matchLabels: {app: cart}}}";
        let spec = format!("podSelector: {{}}, ingress: [{{from: [{peers}]}}]");
        let far = policy("name: far, namespace: shop", "podSelector: {matchLabels: {zone: nowhere}}");
        let found = misspelt(&cluster(&[policy("name: a, namespace: shop", &spec), far].concat()));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("NetworkPolicy shop/a: spec.ingress[0].from["), "{found:?}");
    }

    #[test]
    fn a_policy_that_selects_no_pod_is_warned_about() {
        assert_eq!(
            warnings(&policy(
                "name: cart-access, namespace: shop",
                "podSelector: {matchLabels: {app: cart}}"
            )),
            ["NetworkPolicy shop/cart-access selects no pod (app=cart); did you mean app=carts?"]
        );
        assert_eq!(
            warnings(&policy("name: deny, namespace: shpo", "podSelector: {}")),
            ["NetworkPolicy shpo/deny selects no pod: namespace shpo has none; did you mean shop?"]
        );
        assert_eq!(
            warnings(&policy("name: key, namespace: shop", "podSelector: {matchLabels: {apps: carts}}")),
            ["NetworkPolicy shop/key selects no pod (apps=carts); did you mean app?"]
        );
        assert_eq!(warnings(&policy("name: all, namespace: shop", "podSelector: {}")), [""; 0]);
    }

    #[test]
    fn a_peer_that_selects_no_pod_is_warned_about_once() {
        let spec = "podSelector: {}, ingress: [{from: [{podSelector: {}}, {podSelector: {matchLabels: {app: frontend}}}]}]";
        let two =
            [policy("name: a, namespace: shop", spec), policy("name: b, namespace: shop", spec)].concat();
        assert_eq!(
            warnings(&two),
            [
                "NetworkPolicy shop/a: spec.ingress[0].from[1] selects no pod (app=frontend); did you mean app=front-end? (so does 1 more peer)"
            ]
        );
        let spec = "podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {env: prod}}}]}]";
        assert_eq!(
            warnings(&policy("name: a, namespace: shop", spec)),
            [
                "NetworkPolicy shop/a: spec.egress[0].to[0] selects no pod: no namespace with pods is selected (env=prod); did you mean env=production?"
            ]
        );
    }

    #[test]
    fn a_misspelt_name_of_a_port_is_warned_about() {
        let pods = "apiVersion: v1\nkind: Pod\nmetadata: {name: api, namespace: shop, labels: {app: api}}\nspec: {containers: [{name: c, ports: [{name: http, containerPort: 80}]}]}\n---\n";
        let with = |spec: &str| warnings(&[pods, &policy("name: a, namespace: shop", spec)].concat());
        let ingress = |app: &str, port: &str| {
            with(&format!(
                "podSelector: {{matchLabels: {{app: {app}}}}}, ingress: [{{ports: [{{port: {port}}}]}}]"
            ))
        };
        let warning = |field: &str| {
            format!(
                "NetworkPolicy shop/a: {field} names the port htpp, which no selected pod has; did you mean http?"
            )
        };
        assert_eq!(ingress("api", "htpp"), [warning("spec.ingress[0]")]);
        for (app, port) in [("api", "http"), ("api", "metrics"), ("api", "80"), ("carts", "htpp")] {
            assert_eq!(ingress(app, port), [""; 0], "{app} {port}");
        }
        let egress = |to: &str| {
            with(&format!(
                "podSelector: {{}}, policyTypes: [Egress], egress: [{{{to}ports: [{{port: htpp}}]}}]"
            ))
        };
        let selector = |app: &str| format!("to: [{{podSelector: {{matchLabels: {{app: {app}}}}}}}], ");
        assert_eq!(egress(""), [warning("spec.egress[0]")]);
        assert_eq!(egress("to: [{ipBlock: {cidr: 10.0.0.0/8}}], "), [warning("spec.egress[0]")]);
        assert_eq!(egress(&selector("api")), [warning("spec.egress[0]")]);
        assert_eq!(egress(&selector("carts")), [""; 0]);
    }

    /// Regression test: each value of a selector was compared with each label, and all values were shown.
    #[test]
    fn a_long_selector_is_shortened_and_hints_are_few() {
        let values = |kind: &str| (0..200).map(|i| format!("{kind}{i:060}")).collect::<Vec<_>>();
        let with = |values: &[String]| {
            let values = values.join(", ");
            policy(
                "name: many, namespace: shop",
                &format!(
                    "podSelector: {{matchExpressions: [{{key: app, operator: In, values: [{values}]}}]}}"
                ),
            )
        };
        let pods: String = values("x")
            .iter()
            .map(|name| format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}}}\n---\n"))
            .collect();
        let warnings = warnings(&[pods, with(&values("y"))].concat());
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains('…') && warnings[0].len() < 1_000, "{warnings:?}");
        assert_eq!(warnings[0].matches(" or ").count(), MOST_NAMES - 1, "{warnings:?}");
    }
}

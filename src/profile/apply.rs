//! Applies profiles to the cells of a state.

use std::cell::OnceCell;
use std::sync::Arc;

use super::model::{KnownDeviation, Profile};
use super::parts::mixed;
use super::promised::Promised;
use super::reading::Readings;
use super::unenforced::Unenforced;
use crate::deviation::RouteQuirk;
use crate::policy::{Cluster, Decision, Engine};
use crate::verdict::Excuse;

/// The deviations that apply to one state of a scenario, and its policies, changed as they describe.
pub struct Excuser<'a> {
    deviations: Vec<&'a KnownDeviation>,
    cluster: &'a Cluster,
    /// The cluster before the step. `None` before the first step.
    before: Option<&'a Cluster>,
    readings: Readings<'a>,
    unenforced: Unenforced<'a>,
    /// The policies while rules are replaced in parts. `None` if no rules were replaced.
    mixed: OnceCell<Option<Engine>>,
}

impl<'a> Excuser<'a> {
    /// Creates an excuser for a state of a scenario. `step` is the name of the step that led to it, and the cluster
    /// before that step.
    pub fn new(
        profiles: &'a [Profile],
        scenario: &str,
        step: Option<(&str, &'a Cluster)>,
        cluster: &'a Cluster,
    ) -> Self {
        let (name, before) = step.unzip();
        let deviations = profiles.iter().flat_map(|profile| &profile.deviations);
        Self {
            deviations: deviations.filter(|deviation| deviation.cells.is_here(scenario, name)).collect(),
            cluster,
            before,
            readings: Readings::new(cluster),
            unenforced: Unenforced::new(cluster),
            mixed: OnceCell::new(),
        }
    }

    /// Returns the deviation that makes an expectation undefined. This is the first deviation that does so by itself.
    /// If there is none, it is one of the deviations that do so only together. A deviation that explains one endpoint
    /// of a Service does not excuse the others.
    pub fn excused(&self, promised: Promised<'_>) -> Option<Arc<Excuse>> {
        let decision = promised.expectation.decision;
        // A flow that is undefined by the specification needs no profile.
        if decision == Decision::Undefined {
            return None;
        }
        let covering: Vec<_> = self.covering(promised).collect();
        let alone = |deviation: &&&KnownDeviation| match (deviation.cells.quirk, decision) {
            (Some(quirk), _) => self.readings.differ(&[quirk], promised),
            (None, Decision::Deny) => !self.unenforced.others_deny(&deviation.cells.policies, promised),
            (None, Decision::Allow | Decision::Undefined) => true,
        };
        let deviation = covering.iter().find(alone).or_else(|| {
            let quirks: Vec<_> = covering.iter().filter_map(|it| it.cells.quirk).collect();
            let first = self.readings.together(&quirks, promised)?;
            covering.iter().find(|deviation| deviation.cells.quirk == Some(first))
        })?;
        Some(Arc::clone(&deviation.excuse))
    }

    /// Returns the deviation that excuses the first moment of a new pod. The result is meaningful only for cells in
    /// which a new pod must be isolated.
    pub fn open_at_first(&self, promised: Promised<'_>) -> Option<Arc<Excuse>> {
        self.of_route(RouteQuirk::NewPodsOpen, promised)
    }

    /// Returns the deviation that excuses the moment in which the rules of a policy are replaced. It covers a denied
    /// cell only if the cell passes when the peers of some rules can use the ports of others.
    pub fn open_while_replaced(&self, promised: Promised<'_>) -> Option<Arc<Excuse>> {
        let excuse = self.of_route(RouteQuirk::ReplacedInParts, promised)?;
        if promised.expectation.decision != Decision::Deny {
            return None;
        }
        // Compiled only when needed, because most runs have no profile with this quirk.
        let engine =
            self.mixed.get_or_init(|| mixed(self.before?, self.cluster).map(Engine::new)).as_ref()?;
        (promised.route.evaluate(engine).decision != Decision::Deny).then_some(excuse)
    }

    /// Returns the deviations that cover a cell's ends and probe, and its expectation.
    fn covering(&self, promised: Promised<'_>) -> impl Iterator<Item = &'a KnownDeviation> {
        let Promised { cell, expectation, .. } = promised;
        self.deviations.iter().copied().filter(|deviation| deviation.cells.covers(cell, expectation))
    }

    /// Returns the first covering deviation with a quirk that changes how routes are evaluated.
    fn of_route(&self, route: RouteQuirk, promised: Promised<'_>) -> Option<Arc<Excuse>> {
        let quirk = |deviation: &KnownDeviation| deviation.cells.quirk?.route();
        let deviation = self.covering(promised).find(|deviation| quirk(deviation) == Some(route))?;
        Some(Arc::clone(&deviation.excuse))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Router, cells};
    use crate::profile::load;
    use crate::scenario::Scenario;
    use crate::source::Text;
    use crate::world::{Probe, World};

    fn profile(cells: &str) -> Vec<Profile> {
        let content = format!(
            "apiVersion: netproof.dev/v1alpha1\nkind: Profile\nmetadata: {{name: p, description: d}}\ndeviations: [{{reason: r, references: u, cells: {{{cells}}}}}]\n"
        );
        load(&[Text { name: "p.yaml".into(), content }]).unwrap()
    }

    /// Returns a scenario with the pods x/web (`http` is 80), x/db (no port names) and y/web (`http` is 81), and a
    /// Service x/web.
    fn content(policies: &str) -> String {
        format!(
            "\
apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {{name: s}}
topology:
  namespaces:
  - name: x
    pods:
    - {{name: web, labels: {{app: web}}, ports: [{{name: http, port: 80}}]}}
    - {{name: db, labels: {{app: db}}}}
    services: [{{name: web, selector: {{app: web}}, ports: [{{port: 8080, targetPort: 80}}, {{port: 80}}]}}]
  - name: y
    pods: [{{name: web, labels: {{app: web}}, ports: [{{name: http, port: 81}}]}}]
  externals: [{{name: office, ip: 203.0.113.10}}]
probes: [80/TCP, 81/TCP, 80/UDP]
steps:
- name: the step
  apply:
{policies}"
        )
    }

    fn policy(namespace: &str, spec: &str) -> String {
        format!(
            "  - {{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p, namespace: {namespace}}}, spec: {{{spec}}}}}\n"
        )
    }

    /// Returns a scenario with these pods in x, in this order, as the endpoints of Service x/web.
    fn with_endpoints(policies: &str, apps: &[&str]) -> String {
        let pod = |app: &&str| format!("    - {{name: {app}, labels: {{app: {app}, tier: back}}}}\n");
        let pods: String = apps.iter().map(pod).collect();
        let service = "    services: [{name: web, selector: ";
        content(policies)
            .replace(&format!("{service}{{app: web}}"), &format!("{pods}{service}{{tier: back}}"))
    }

    /// Returns a policy with ingress rules for the pods of an app in x.
    fn ingress(app: &str, rules: &str) -> String {
        policy("x", &format!("podSelector: {{matchLabels: {{app: {app}}}}}, ingress: [{rules}]"))
    }

    /// Returns a policy with egress rules for the pods of an app in x.
    fn egress(app: &str, rules: &str) -> String {
        ingress(app, rules).replace("ingress:", "policyTypes: [Egress], egress:")
    }

    /// Returns a policy in x that lets nothing in to the pods of an app. It has the name of the app.
    fn deny(app: &str) -> String {
        ingress(app, "").replace("name: p", &format!("name: {app}"))
    }

    fn cluster_policy(kind: &str, spec: &str) -> String {
        format!(
            "  - {{apiVersion: policy.networking.k8s.io/v1alpha1, kind: {kind}, metadata: {{name: default}}, spec: {{{spec}}}}}\n"
        )
    }

    /// Returns a policy of the Admin tier for all pods.
    fn admin(rules: &str) -> String {
        cluster_policy("AdminNetworkPolicy", &format!("priority: 1, subject: {{namespaces: {{}}}}, {rules}"))
    }

    /// Returns the policy of the Baseline tier, for all pods.
    fn baseline(rules: &str) -> String {
        cluster_policy("BaselineAdminNetworkPolicy", &format!("subject: {{namespaces: {{}}}}, {rules}"))
    }

    /// Returns the cells without a Service.
    fn of_pods(cells: Vec<String>) -> Vec<String> {
        cells.into_iter().filter(|cell| !cell.contains("service:")).collect()
    }

    /// Returns the cells that a profile makes undefined after the step, each with the policies' decision.
    fn covered(policies: &str, pattern: &str) -> Vec<String> {
        covered_in(&content(policies), pattern)
    }

    /// Returns the state after the first step, with addresses, and the probes.
    fn after_steps(content: &str) -> (World, Vec<Probe>) {
        let scenario = Scenario::from_text(content);
        let (_, mut world) = scenario.worlds().next().unwrap();
        for (i, pod) in world.cluster.pods.iter_mut().enumerate() {
            pod.addresses = vec![format!("10.244.1.{}", i + 1).parse().unwrap()];
        }
        for (i, service) in world.cluster.services.iter_mut().enumerate() {
            service.addresses = vec![format!("10.96.0.{}", i + 1).parse().unwrap()];
        }
        (world, scenario.probes)
    }

    /// Returns what `choose` makes of each cell after the first step. `before` has the policies before that step.
    fn each<T>(
        content: &str,
        before: &Cluster,
        pattern: &str,
        choose: impl Fn(&Excuser<'_>, &Engine, Promised<'_>) -> Option<T>,
    ) -> Vec<T> {
        let (world, probes) = after_steps(content);
        let engine = Engine::new(world.cluster.clone());
        let (router, profiles) = (Router::new(&world, &engine), profile(pattern));
        let excuser = Excuser::new(&profiles, "s", Some(("the step", before)), &world.cluster);
        let chosen = cells(&world, &probes).into_iter().filter_map(|cell| {
            let route = router.route(&cell).unwrap();
            let expectation = &route.evaluate(&engine);
            let promised = Promised { cell: &cell, route: &route, endpoint: None, expectation };
            choose(&excuser, &engine, promised)
        });
        chosen.collect()
    }

    fn covered_in(content: &str, pattern: &str) -> Vec<String> {
        each(content, &Cluster::default(), pattern, |excuser, _, promised| {
            let decision = promised.expectation.decision;
            excuser.excused(promised).map(|_| format!("{} {decision}", promised.cell))
        })
    }

    #[test]
    fn cells_are_named_by_place_ends_and_promise() {
        let deny = policy("y", "podSelector: {}");
        let to_y = ["x/web → y/web 81/TCP deny", "x/db → y/web 81/TCP deny"];
        let bounds = "policies: y/p, direction: ingress, probes: 81/TCP";
        let to_y_from_x = format!("{bounds}, from: x/*, to: y/*");
        assert_eq!(covered(&deny, &to_y_from_x), to_y);
        assert_eq!(covered(&deny, &format!("{to_y_from_x}, scenarios: s, steps: the *")), to_y);
        for nowhere in ["scenarios: t", "steps: another", "family: IPv6", "expected: allow"] {
            assert_eq!(covered(&deny, &format!("{to_y_from_x}, {nowhere}")), [""; 0], "{nowhere}");
        }
        assert!(
            covered(&deny, "to: self, probes: TCP, expected: allow")
                .contains(&"y/web → y/web 80/TCP allow".to_owned())
        );
    }

    #[test]
    fn a_policy_that_denies_too_still_has_to_be_enforced() {
        let to_y = "probes: 81/TCP, from: x/web, to: y/*";
        let by =
            |policies: &str, direction: &str| format!("policies: {policies}, direction: {direction}, {to_y}");
        let excused = ["x/web → y/web 81/TCP deny"];
        let deny = policy("y", "podSelector: {}");
        let second = deny.replace("name: p", "name: q");
        let sender = policy("x", "podSelector: {}, policyTypes: [Egress]");
        assert_eq!(covered(&deny, &by("y/p", "ingress")), excused);
        for (policies, direction) in [("y/p", "egress"), ("y/q", "ingress"), ("x/*", "ingress")] {
            assert_eq!(covered(&deny, &by(policies, direction)), [""; 0], "{policies} {direction}");
        }
        // Both policies isolate the receiver. If only one of them is not enforced, nothing passes.
        let both = format!("{deny}{second}");
        assert_eq!(covered(&both, &by("y/p", "ingress")), [""; 0]);
        assert_eq!(covered(&both, &by("[y/p, y/q]", "ingress")), excused);
        // The sender is isolated, too.
        let each = format!("{deny}{sender}");
        for (policies, direction) in [("y/p", "ingress"), ("x/p", "egress"), ("'*/p'", "egress")] {
            assert_eq!(covered(&each, &by(policies, direction)), [""; 0], "{policies} {direction}");
        }
        // If the denying policy is not enforced, the Baseline tier decides, and it denies, too.
        let baseline = baseline("ingress: [{action: Deny, from: [{namespaces: {}}]}]");
        let tiers = format!("{deny}{baseline}");
        assert_eq!(covered(&tiers, &by("y/p", "ingress")), [""; 0]);
        assert_eq!(covered(&tiers, &by("[y/p, BaselineAdminNetworkPolicy default]", "ingress")), excused);
        assert_eq!(covered(&baseline, &by("BaselineAdminNetworkPolicy *", "ingress")), excused);
    }

    #[test]
    fn a_service_is_excused_only_with_all_of_its_endpoints() {
        let scenario = with_endpoints(&["a", "b"].map(deny).concat(), &["a", "b"]);
        let by = |policies: &str| {
            let pattern = format!("policies: {policies}, direction: ingress, probes: 80/TCP");
            covered_in(&scenario, &format!("{pattern}, from: x/db, to: service:x/web"))
        };
        // Each endpoint is denied by another policy.
        assert_eq!(by("x/a"), [""; 0]);
        assert_eq!(by("x/b"), [""; 0]);
        assert_eq!(by("[x/a, x/b]"), ["x/db → service:x/web 80/TCP deny"]);
    }

    /// Returns the endpoints of Service x/web that are still judged for x/db, each with its decision. Its endpoints
    /// are the pods a, b and c.
    fn judged(policies: &str, pattern: &str) -> Vec<String> {
        let scenario = with_endpoints(policies, &["a", "b", "c"]);
        let judged = each(&scenario, &Cluster::default(), pattern, |excuser, engine, promised| {
            let is_it = promised.cell.to_string() == "x/db → service:x/web 80/TCP";
            let mut endpoints = promised.route.evaluate_servers(engine);
            endpoints.retain(|(endpoint, expectation)| {
                excuser.excused(Promised { endpoint: Some(endpoint), expectation, ..promised }).is_none()
            });
            is_it.then_some(endpoints)
        });
        let endpoints = judged.concat().into_iter();
        endpoints.map(|(name, expectation)| format!("{name} {}", expectation.decision)).collect()
    }

    #[test]
    fn an_endpoint_is_excused_without_the_others_of_its_service() {
        let policies = deny("b") + &deny("c");
        let by = |policies: &str| format!("policies: {policies}, direction: ingress, probes: 80/TCP");
        let all = ["x/a allow", "x/b deny", "x/c deny"];
        for unrelated in ["quirk: pod-address-in-ip-block", &by("x/a"), &by("y/*")] {
            assert_eq!(judged(&policies, unrelated), all, "{unrelated}");
        }
        assert_eq!(judged(&policies, &by("x/b")), ["x/a allow", "x/c deny"]);
        assert_eq!(judged(&policies, &(by("x/b") + ", to: service:x/*")), ["x/a allow", "x/c deny"]);
        for other in ["to: x/db", "from: y/*", "scenarios: t", "expected: allow"] {
            assert_eq!(judged(&policies, &format!("{}, {other}", by("x/b"))), all, "{other}");
        }
        // Another policy denies it, too.
        let second = deny("b").replace("name: b", "name: d");
        assert_eq!(judged(&(policies.clone() + &second), &by("x/b")), all);
        // One policy selects b and db, and its egress rules open its ingress at b. The policy of c has no egress
        // rules.
        let shared = policy(
            "x",
            "podSelector: {matchExpressions: [{key: app, operator: In, values: [b, db]}]}, policyTypes: [Ingress, Egress], egress: [{}]",
        );
        let other_direction = "quirk: other-direction-of-same-policy";
        assert_eq!(judged(&(shared + &deny("c")), other_direction), ["x/a allow", "x/c deny"]);
        assert_eq!(judged(&policies, other_direction), all);
    }

    #[test]
    fn an_allowance_is_excused_with_the_policies_of_a_direction_that_allow_it() {
        let allow = policy("y", "podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]");
        let second = allow.replace("name: p", "name: q");
        let sender = policy("x", "podSelector: {}, policyTypes: [Egress], egress: [{}]");
        let by = |policies: &str, more: &str| {
            let to_y = "expected: allow, probes: 81/TCP, from: x/web, to: y/*";
            covered(policies, &format!("{to_y}, {more}"))
        };
        let excused = ["x/web → y/web 81/TCP allow"];
        for more in ["policies: y/p", "direction: ingress", "family: IPv4"] {
            assert_eq!(by(&format!("{allow}{sender}"), more), excused, "{more}");
        }
        assert_eq!(by(&format!("{allow}{second}"), "policies: y/p"), [""; 0], "another policy allows it");
        assert_eq!(by(&allow, "direction: egress"), [""; 0], "no policy isolates the sender");
    }

    #[test]
    fn a_pod_that_only_an_ip_block_allows() {
        let block = |more: &str| {
            ingress(
                "db",
                &format!("{{from: [{{ipBlock: {{cidr: 0.0.0.0/0}}}}{more}], ports: [{{port: 80}}]}}"),
            )
        };
        let quirk = "quirk: pod-address-in-ip-block";
        assert_eq!(
            covered(&block(""), quirk),
            ["x/web → x/db 80/TCP allow", "y/web → x/db 80/TCP allow"],
            "the office is no pod, and other ports are denied"
        );
        // A selector allows it, too.
        assert_eq!(covered(&block(", {podSelector: {}}"), quirk), ["y/web → x/db 80/TCP allow"]);
    }

    #[test]
    fn a_port_name_that_no_receiving_pod_has() {
        let quirk = "quirk: unresolved-port-name";
        let to =
            |name: &str, peers: &str| egress("db", &format!("{{to: [{peers}], ports: [{{port: {name}}}]}}"));
        let own = "{podSelector: {matchLabels: {app: web}}}";
        let to_web = ["80/TCP", "81/TCP", "80/UDP"].map(|probe| format!("x/db → x/web {probe} deny"));
        assert_eq!(of_pods(covered(&to("nowhere", own), quirk)), to_web);
        // One of the peers has the name.
        assert_eq!(covered(&to("http", own), quirk), [""; 0]);
        // Addresses outside have no port names and are not pods.
        assert_eq!(covered(&to("nowhere", "{ipBlock: {cidr: 203.0.113.0/24}}"), quirk), [""; 0]);
        let ingress = ingress("db", "{from: [{podSelector: {}}], ports: [{port: http}]}");
        let from_web = ["80/TCP", "81/TCP", "80/UDP"].map(|probe| format!("x/web → x/db {probe} deny"));
        assert_eq!(covered(&ingress, quirk), from_web, "web has the name, but db receives");
    }

    #[test]
    fn port_names_that_stand_for_their_protocol() {
        let quirk = "quirk: port-name-is-protocol, from: y/web, to: x/web";
        let ingress =
            |ports: &str| policy("x", &format!("podSelector: {{}}, ingress: [{{ports: [{ports}]}}]"));
        assert_eq!(covered(&ingress("{port: http}"), quirk), ["y/web → x/web 81/TCP deny"]);
        assert_eq!(
            covered(&ingress("{port: http}, {port: 81}"), quirk),
            ["y/web → x/web 80/TCP allow"],
            "beside a number, the name is lost"
        );
    }

    #[test]
    fn port_names_that_pods_of_the_policys_own_namespace_explain() {
        let quirk = "quirk: port-name-of-own-namespace, from: x/db";
        let to = |peers: &str| egress("db", &format!("{{{peers}ports: [{{port: http}}]}}"));
        assert_eq!(
            of_pods(covered(&to(""), quirk)),
            ["x/db → y/web 80/TCP deny", "x/db → y/web 81/TCP allow", "x/db → external:office 80/TCP deny"],
            "80 is what x/web calls so"
        );
        assert_eq!(covered(&to("to: [{namespaceSelector: {}}], "), quirk), [""; 0]);
        let ingress = policy("x", "podSelector: {}, ingress: [{ports: [{port: http}]}]");
        assert_eq!(covered(&ingress, "quirk: port-name-of-own-namespace"), [""; 0]);
    }

    #[test]
    fn port_names_that_are_mixed_among_receivers() {
        let egress = egress("web", "{to: [{namespaceSelector: {}}], ports: [{port: admin}]}");
        let covered_with = |http: &str| {
            let db = "{name: db, labels: {app: db}";
            let ports = format!("{db}, ports: [{{name: http, port: {http}}}, {{name: admin, port: 81}}]");
            let scenario = content(&egress).replace(db, &ports);
            covered_in(&scenario, "quirk: port-names-mixed")
        };
        // x/db and x/web give `http` the same number. So the number that x/db gives `admin` counts in all receiving
        // pods.
        assert_eq!(covered_with("80"), ["x/web → y/web 81/TCP deny"]);
        assert_eq!(covered_with("82"), [""; 0]);
        // If receiving pods give one name different numbers, each of the numbers counts in all receiving pods.
        let ingress = policy("x", "podSelector: {}, ingress: [{ports: [{port: http}]}]");
        let with_81 = "{name: db, labels: {app: db}, ports: [{name: http, port: 81}]";
        let scenario = content(&ingress).replace("{name: db, labels: {app: db}", with_81);
        let to_web = "quirk: port-names-mixed, to: x/web";
        assert_eq!(
            covered_in(&scenario, to_web),
            ["x/db → x/web 81/TCP deny", "y/web → x/web 81/TCP deny", "external:office → x/web 81/TCP deny"]
        );
        // The quirk does not change egress rules without peers, because they have no addresses to mix.
        let to_anybody = egress.replace("to: [{namespaceSelector: {}}], ", "");
        let scenario = content(&to_anybody).replace(
            "{name: db, labels: {app: db}",
            "{name: db, labels: {app: db}, ports: [{name: http, port: 80}, {name: admin, port: 81}]",
        );
        assert_eq!(covered_in(&scenario, "quirk: port-names-mixed"), [""; 0]);
    }

    #[test]
    fn what_the_other_direction_of_the_same_policy_allows() {
        let quirk = "quirk: other-direction-of-same-policy";
        let both =
            "podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{ports: [{port: 81}]}], egress: [{}]";
        let between = [
            "x/web → x/db 80/TCP deny",
            "x/web → x/db 80/UDP deny",
            "x/db → x/web 80/TCP deny",
            "x/db → x/web 80/UDP deny",
        ];
        assert_eq!(
            of_pods(covered(&policy("x", both), quirk)),
            between,
            "y/web is not selected: its packets are denied by everybody"
        );
        // For a block that contains the pod and not the Service, the readings differ.
        let block = "podSelector: {}, policyTypes: [Ingress, Egress], egress: [{to: [{ipBlock: {cidr: 10.244.1.1/32}}]}]";
        let to_web = format!("{quirk}, from: x/db, to: service:x/web, probes: 80/TCP");
        assert_eq!(covered(&policy("x", block), &to_web), ["x/db → service:x/web 80/TCP deny"]);
        // Only one of the Service's two pods can be reached in this way. The order of the pods must not matter.
        let policies = policy(
            "x",
            "podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [a]}]}, policyTypes: [Ingress, Egress], egress: [{}]",
        ) + &deny("a");
        for order in [["a", "b"], ["b", "a"]] {
            let scenario = with_endpoints(&policies, &order);
            let from_db = format!("{quirk}, from: x/db, to: service:x/web, probes: 80/TCP");
            assert_eq!(covered_in(&scenario, &from_db), ["x/db → service:x/web 80/TCP deny"], "{order:?}");
        }
        // What a cluster-scoped policy denies stays denied.
        let admin = admin("ingress: [{action: Deny, from: [{namespaces: {}}]}]");
        assert_eq!(covered(&(policy("x", both) + &admin), quirk), [""; 0]);
        // Undefined ingress of cluster-scoped policies does not matter to a policy without ingress rules.
        let unordered = ["a", "b"]
            .iter()
            .zip(["Allow", "Deny"])
            .map(|(name, action)| admin.replace("default", name).replace("Deny", action));
        let egress_only =
            policy("x", "podSelector: {}, policyTypes: [Egress]") + &unordered.collect::<String>();
        assert_eq!(covered(&egress_only, &format!("{quirk}, from: x/*, to: y/*")), [""; 0]);
        // Two policies have two chains, so the quirk does not apply.
        let two = policy("x", "podSelector: {}, ingress: [{ports: [{port: 81}]}]")
            + &policy("x", "podSelector: {}, policyTypes: [Egress], egress: [{}]")
                .replace("name: p", "name: q");
        assert_eq!(covered(&two, quirk), [""; 0]);
    }

    #[test]
    fn mechanisms_that_only_together_let_pass() {
        // With the first quirk, the rule becomes a rule without ports. With the second, what it allows also passes
        // the other direction.
        let both = "podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{from: [{podSelector: {}}], ports: [{port: nowhere}]}]";
        let (unresolved, other) = ("quirk: unresolved-port-name", "quirk: other-direction-of-same-policy");
        for alone in [unresolved, other] {
            assert_eq!(covered(&policy("x", both), alone), [""; 0], "{alone}");
        }
        let together =
            format!("{unresolved}, from: x/db, to: x/web}}}}, {{reason: s, references: u, cells: {{{other}");
        let between = ["80/TCP", "81/TCP", "80/UDP"].map(|probe| format!("x/db → x/web {probe} deny"));
        assert_eq!(covered(&policy("x", both), &together), between);
    }

    #[test]
    fn a_denied_lookup_that_passes_by_the_other_direction_leaves_what_follows_open() {
        // The pod is an endpoint of the Service, so its connection to itself is undefined.
        let scenario = content(&policy("x", "podSelector: {}, policyTypes: [Ingress, Egress], egress: [{}]"))
            .replace(
                "    services:",
                "    - {name: dns, labels: {k8s-app: kube-dns}, dns: {port: 53}}\n    services:",
            )
            .replace("probes: [80/TCP, 81/TCP, 80/UDP]", "  servicesByName: true\nprobes: []");
        assert!(
            covered_in(&scenario, "quirk: other-direction-of-same-policy, from: x/web")
                .contains(&"x/web → service:x/web 8080/TCP by name deny".to_owned())
        );
    }

    /// Returns a NetworkPolicy that allows egress from y to these ports of every pod.
    fn to_ports(ports: &str) -> String {
        let rule = format!("{{to: [{{namespaceSelector: {{}}}}], ports: [{ports}]}}");
        policy("y", &format!("podSelector: {{}}, policyTypes: [Egress], egress: [{rule}]"))
    }

    #[test]
    fn a_service_whose_port_is_not_the_pods() {
        let quirk = "quirk: service-port-differs";
        assert_eq!(covered(&to_ports("{port: 80}"), quirk), ["y/web → service:x/web 8080/TCP allow"]);
        assert_eq!(covered(&to_ports("{port: 8080}"), quirk), ["y/web → service:x/web 8080/TCP deny"]);
        // The result is the same for both ports that the rules may see.
        assert_eq!(covered(&to_ports("{port: 80}, {port: 8080}"), quirk), [""; 0]);
        assert_eq!(covered(&to_ports("{port: 81}"), quirk), [""; 0]);
        assert_eq!(covered(&policy("y", "podSelector: {}, policyTypes: [Egress]"), quirk), [""; 0]);
        // No policy isolates the sender.
        assert_eq!(covered(&policy("x", "podSelector: {}"), quirk), [""; 0]);
    }

    #[test]
    fn a_service_whose_port_is_not_the_pods_leads_where_ingress_sees_the_pods_port() {
        let quirk = "quirk: service-port-differs, from: y/web";
        let ingress = |rules: &str| {
            policy("x", &format!("podSelector: {{}}, policyTypes: [Ingress], ingress: [{rules}]"))
        };
        let to_8080 = to_ports("{port: 8080}");
        for denied in ["", "{ports: [{port: 8080}]}"] {
            assert_eq!(covered(&(to_ports("{port: 80}") + &ingress(denied)), quirk), [""; 0], "{denied}");
            assert_eq!(covered(&format!("{to_8080}{}", ingress(denied)), quirk), [""; 0], "{denied}");
        }
        assert_eq!(
            covered(&(to_8080.clone() + &ingress("{ports: [{port: 80}]}")), quirk),
            ["y/web → service:x/web 8080/TCP deny"]
        );
        // Cluster-scoped policies count in the direction of their rules.
        let deny = |direction: &str, peers: &str, port: u16| {
            let ports = format!("ports: [{{portNumber: {{protocol: TCP, port: {port}}}}}]");
            let rule = format!("{{action: Deny, {peers}: [{{namespaces: {{}}}}], {ports}}}");
            admin(&format!("{direction}: [{rule}]"))
        };
        assert_eq!(covered(&(to_8080.clone() + &deny("ingress", "from", 80)), quirk), [""; 0]);
        assert_eq!(covered(&(to_8080 + &deny("egress", "to", 8080)), quirk), [""; 0]);
        let both = to_ports("{port: 80}, {port: 8080}");
        assert_eq!(covered(&(both.clone() + &deny("ingress", "from", 8080)), quirk), [""; 0]);
        let baseline = baseline("egress: [{action: Deny, to: [{namespaces: {}}]}]");
        assert_eq!(covered(&(both + &baseline), quirk), [""; 0], "it comes after the policies of y");
    }

    #[test]
    fn a_service_whose_port_is_not_that_of_any_of_its_pods() {
        let to_app = |app: &str| {
            to_ports("{port: 8080}").replace(
                "{namespaceSelector: {}}",
                &format!("{{namespaceSelector: {{}}, podSelector: {app}}}"),
            )
        };
        let excused = |policies: &str| {
            let scenario = content(policies)
                .replace("    services:", "    - {name: a, labels: {app: a, tier: back}}\n    services:")
                .replace("{name: web, labels: {app: web}", "{name: web, labels: {app: web, tier: back}")
                .replace(
                    "services: [{name: web, selector: {app: web}",
                    "services: [{name: web, selector: {tier: back}",
                );
            covered_in(&scenario, "quirk: service-port-differs, from: y/web")
        };
        let service = ["y/web → service:x/web 8080/TCP deny"];
        assert_eq!(excused(&to_app("{}")), service);
        // It is not known which endpoint the packet reaches.
        assert_eq!(excused(&to_app("{matchLabels: {app: a}}")), service);
        assert_eq!(excused(&to_app("{matchLabels: {app: nobody}}")), [""; 0]);
    }

    /// Returns the cells that are excused while `before` is replaced by `after`.
    fn open_between(before: &str, after: &str) -> Vec<String> {
        let (before, _) = after_steps(&content(before));
        let pattern = "quirk: rules-replaced-in-parts, to: x/web";
        each(&content(after), &before.cluster, pattern, |excuser, _, promised| {
            excuser.open_while_replaced(promised).map(|_| promised.cell.to_string())
        })
    }

    #[test]
    fn what_rules_allow_that_are_replaced_in_parts() {
        let rule = |peer: &str, port: u16| {
            format!(
                "{{from: [{{podSelector: {{matchLabels: {{app: {peer}}}}}}}], ports: [{{port: {port}}}]}}"
            )
        };
        let to_web = |rules: &str| ingress("web", rules);
        let first = rule("db", 80);
        let before = to_web(&first);
        assert_eq!(
            open_between(&before, &to_web(&rule("db", 81))),
            ["x/db → x/web 80/TCP"],
            "what was allowed before may pass for a moment anyway, and 80/UDP is of neither rule"
        );
        assert_eq!(
            open_between(&before, &to_web(&rule("nobody", 81))),
            ["x/db → x/web 80/TCP", "x/db → x/web 81/TCP"]
        );
        // A new policy replaces no rules. A policy that now selects other pods does not replace rules, either.
        assert_eq!(open_between(&policy("y", "podSelector: {}"), &before), [""; 0]);
        assert_eq!(
            open_between(&before, &policy("x", &format!("podSelector: {{}}, ingress: [{}]", rule("x", 81)))),
            [""; 0]
        );
        // The mixed rules of one policy cannot open what another policy denies.
        let egress = egress("db", "").replace("name: p", "name: q");
        assert_eq!(open_between(&(before + &egress), &(to_web(&rule("nobody", 81)) + &egress)), [""; 0]);
    }
}

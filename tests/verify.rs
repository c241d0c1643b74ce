//! `netproof verify` in the lab, which plays the live cluster.

use std::collections::BTreeSet;
use std::fs;

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::{Finished, file, netproof, step_cells};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tenants");

/// Files of an example.
pub(crate) struct Example {
    pub(crate) tenants: String,
    pub(crate) manifests: String,
}

impl Example {
    fn read(name: &str) -> Self {
        let read = |file: &str| fs::read_to_string(format!("{EXAMPLES}/{name}/{file}")).unwrap();
        Self { tenants: read("tenants.yaml"), manifests: read("manifests.yaml") }
    }

    #[track_caller]
    fn with_tenants(self, from: &str, to: &str) -> Self {
        assert!(self.tenants.contains(from), "{from}");
        Self { tenants: self.tenants.replace(from, to), ..self }
    }

    /// Replaces a text in the manifests of one namespace.
    #[track_caller]
    fn with_in(self, namespace: &str, from: &str, to: &str) -> Self {
        let marker = format!("namespace: {namespace}}}");
        let documents: Vec<String> = self.manifests.split("---\n").map(str::to_owned).collect();
        let is_there = |text: &&String| text.contains(&marker) && text.contains(from);
        assert!(documents.iter().any(|document| is_there(&document)), "{from}");
        let documents = documents.iter().map(|text| match is_there(&text) {
            true => text.replace(from, to),
            false => text.clone(),
        });
        Self { manifests: documents.collect::<Vec<_>>().join("---\n"), ..self }
    }

    fn verify(&self, name: &str, arguments: &[&str]) -> Finished {
        let tenants = file(&format!("verify/{name}/tenants.yaml"), &self.tenants);
        let manifests = file(&format!("verify/{name}/manifests.yaml"), &self.manifests);
        netproof(&["verify", "--tenants", &tenants, &manifests], arguments)
    }

    fn json(&self, name: &str, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["-o", "json"]).collect();
        self.verify(name, &arguments).json()
    }
}

pub(crate) fn guide() -> Example {
    Example::read("guide")
}

/// Returns the guide's tenants, where everybody may reach the second one. Egress of the first one still denies, so that
/// only the shared services get in.
fn open_guide() -> Example {
    let own = "  ingress:\n  - from:\n    - podSelector: {}";
    let everybody = "  ingress:\n  - from:\n    - namespaceSelector: {}";
    guide().with_in("tenant-b-prod", own, everybody)
}

pub(crate) fn texts<'a>(values: impl IntoIterator<Item = &'a Value>) -> BTreeSet<&'a str> {
    values.into_iter().map(|value| value.as_str().unwrap()).collect()
}

pub(crate) fn differences(document: &Value) -> &[Value] {
    document["differences"].as_array().unwrap()
}

pub(crate) fn blames(document: &Value) -> BTreeSet<&str> {
    texts(differences(document).iter().map(|it| &it["blame"]))
}

/// Returns the pairs of tenants that have a state.
pub(crate) fn pairs(document: &Value, state: &str) -> BTreeSet<(String, String)> {
    let name = |party: &Value| party.as_str().unwrap_or("others").to_owned();
    let pairs = document["matrix"].as_array().unwrap().iter().filter(|pair| pair["state"] == state);
    pairs.map(|pair| (name(&pair["from"]), name(&pair["to"]))).collect()
}

pub(crate) fn pair(from: &str, to: &str) -> (String, String) {
    (from.to_owned(), to.to_owned())
}

/// Returns the guide's tenants, each with itself.
fn within() -> BTreeSet<(String, String)> {
    ["tenant-a", "tenant-b"].map(|name| pair(name, name)).into()
}

/// Returns the pairs of the guide's tenants.
pub(crate) fn both_directions() -> BTreeSet<(String, String)> {
    [pair("tenant-a", "tenant-b"), pair("tenant-b", "tenant-a")].into()
}

pub(crate) fn cells(document: &Value) -> &Vec<Value> {
    step_cells(&document["run"], 0)
}

#[test]
fn the_examples_are_isolated() {
    for folder in fs::read_dir(EXAMPLES).unwrap().map(|entry| entry.unwrap().path()) {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let document = Example::read(&name).json(&name, &[]);
        assert_eq!((&document["outcome"], &document["exitCode"]), (&json!("pass"), &json!(0)), "{name}");
        assert_eq!(differences(&document), [] as [Value; 0], "{name}");
        assert!(document["run"]["counts"]["judgedDenials"].as_u64().unwrap() > 0, "{name}");
    }
}

/// The modes of AKS: the pair is open only if the egress of the first and the ingress of the second are `AllowAll`.
#[test]
fn nine_tenants_with_the_modes_of_aks_have_the_states_that_the_modes_say() {
    let document = Example::read("aks-modes").json("aks-states", &[]);
    let (open, isolated) = (pairs(&document, "open"), pairs(&document, "isolated"));
    let names = texts(document["tenants"].as_array().unwrap().iter().map(|tenant| &tenant["name"]));
    for from in &names {
        for to in names.iter().filter(|to| *to != from) {
            let is_open = from.ends_with("out-all") && to.starts_with("in-all");
            let expected = if is_open { &open } else { &isolated };
            assert!(expected.contains(&pair(from, to)), "{from} {to}");
        }
    }
}

/// A mistake in the policies of the guide's tenants, and what it leads to.
pub(crate) struct Mistake {
    pub(crate) name: &'static str,
    pub(crate) example: Example,
    /// What is wanted of the connections that it changes, and of which tenants.
    wish: &'static str,
    pair: (&'static str, &'static str),
    /// The policy to blame, if one says something about these connections.
    policy: &'static str,
}

pub(crate) fn mistakes() -> [Mistake; 5] {
    let dns = "  - to:\n    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}";
    let metadata = format!("  - to: [{{ipBlock: {{cidr: 169.254.169.254/32}}}}]\n{dns}");
    let port = "    - {protocol: TCP, port: 53}";
    [
        Mistake {
            name: "slipped",
            example: open_guide(),
            wish: "forbidden",
            pair: ("others", "tenant-b"),
            policy: "tenant-b-prod/allow-same-namespace-and-dns",
        },
        Mistake {
            name: "half",
            example: guide().with_in(
                "tenant-a-prod",
                "policyTypes: [Ingress, Egress]",
                "policyTypes: [Ingress]",
            ),
            wish: "forbidden",
            pair: ("tenant-a", "others"),
            policy: "",
        },
        Mistake {
            name: "label",
            example: guide().with_in("tenant-a-prod", "k8s-app: kube-dns", "k8s-app: coredns"),
            wish: "required",
            pair: ("tenant-a", "others"),
            policy: "tenant-a-prod/default-deny",
        },
        Mistake {
            name: "more",
            example: guide().with_in("tenant-a-prod", port, "    - {protocol: TCP, port: 53, endPort: 9153}"),
            wish: "forbidden",
            pair: ("tenant-a", "others"),
            policy: "tenant-a-prod/allow-same-namespace-and-dns",
        },
        Mistake {
            name: "metadata",
            example: guide().with_in("tenant-a-prod", dns, &metadata),
            wish: "forbidden",
            pair: ("tenant-a", "others"),
            policy: "tenant-a-prod/allow-same-namespace-and-dns",
        },
    ]
}

impl Mistake {
    /// Checks that the policies alone are blamed, for connections between two tenants with this wish.
    pub(crate) fn check(&self, document: &Value) {
        let Self { name, wish, pair: (from, to), policy, .. } = self;
        assert_eq!(document["exitCode"], 1, "{name}: {document}");
        assert_eq!(blames(document), ["policyGap"].into(), "{name}: {document}");
        assert_eq!(texts(differences(document).iter().map(|it| &it["wish"])), [*wish].into(), "{name}");
        assert_eq!(pairs(document, "policyGap"), [pair(from, to)].into(), "{name}");
        for difference in differences(document) {
            let reasons = difference["reasons"].to_string();
            assert!(reasons.contains(policy), "{name}: {reasons}");
            assert_eq!(difference["verdict"], "match", "{name}: {difference}");
            assert!(difference["why"].as_str().is_some_and(|why| !why.is_empty()), "{name}: {difference}");
        }
        if *name == "metadata" {
            let reached = texts(differences(document).iter().map(|it| &it["to"]));
            assert_eq!(reached, ["external:cloud metadata 169.254.169.254"].into());
        }
    }
}

#[test]
fn each_mistake_in_a_policy_is_found_and_blamed_on_the_policies() {
    for mistake in mistakes() {
        mistake.check(&mistake.example.json(mistake.name, &[]));
    }
}

#[test]
fn each_fault_of_the_network_is_found_and_blamed_on_the_network() {
    let faults = [
        "no-enforcement",
        "ignore-ingress",
        "ignore-egress",
        "ignore-udp",
        "ignore-tcp",
        "same-node-open",
        "cross-node-open",
        "ignore-ports",
        "pod-selector-everywhere",
        "drop-replies",
    ];
    for fault in faults {
        let document = guide().json("network", &["--fault", fault]);
        assert_eq!(document["exitCode"], 1, "{fault}");
        assert_eq!(blames(&document), ["enforcementGap"].into(), "{fault}");
        let nodes = |it: &Value| it["fromNode"].is_string();
        assert!(differences(&document).iter().all(nodes), "{fault}");
    }
}

#[test]
fn a_path_that_is_dead_isolates_nobody() {
    let document = guide().json("dead", &["--fault", "dead-path"]);
    assert_ne!(document["exitCode"], 0);
    let crosses = |cell: &&Value| cell["fromNode"] != cell["toNode"] && cell["toNode"].is_string();
    let crossing = cells(&document).iter().filter(crosses);
    let denied: Vec<_> = crossing.filter(|cell| cell["expected"] == "deny").collect();
    assert!(!denied.is_empty());
    assert!(denied.iter().all(|cell| cell["verdict"] == "inconclusive"), "{denied:?}");
}

#[test]
fn differences_of_monitored_tenants_do_not_fail() {
    open_guide().verify("enforced", &[]).exits(1);
    let monitored = open_guide().with_tenants("- name: tenant-b\n", "- name: tenant-b\n  mode: monitor\n");
    let document = monitored.json("monitored", &[]);
    assert_eq!((&document["exitCode"], &document["outcome"]), (&json!(0), &json!("pass")));
    assert!(!differences(&document).is_empty());
    assert!(differences(&document).iter().all(|it| it["monitored"] == true));
    let text = monitored.verify("monitored", &[]).exits(0).stdout;
    assert!(text.contains("at tenants that are only monitored: not counted"), "{text}");
    // A leak between a monitored tenant and another one counts.
    monitored.verify("monitored", &["--fault", "no-enforcement"]).exits(1);
}

#[test]
fn fewer_probes_are_those_between_tenants_and_the_report_says_what_is_left_out() {
    let document = guide().json("fewer", &["--max-probes", "40"]);
    assert_eq!((&document["coverage"]["asked"], &document["exitCode"]), (&json!(40), &json!(0)));
    assert!(document["coverage"]["leftOut"].as_u64().unwrap() > 40);
    let tenants = ["tenant-a", "tenant-b"].into_iter();
    let of_nobody = tenants.flat_map(|it| [pair(it, "others"), pair("others", it)]);
    assert_eq!(pairs(&document, "isolated"), both_directions());
    // DNS and the shared ingress are open, whatever a probe pod of no tenant may do.
    assert_eq!(pairs(&document, "open"), of_nobody.collect());
    let text = guide().verify("fewer", &["--max-probes", "40"]).exits(0).stdout;
    assert!(text.contains("left out by --max-probes: "), "{text}");
    // One question is about one direction.
    let text = guide().verify("fewer", &["--max-probes", "1"]).exits(3).stdout;
    let first = text.lines().next().unwrap();
    assert!(first.starts_with("INCONCLUSIVE  nothing is asked from tenant-b to tenant-a; "), "{text}");
}

/// Regression: where the sender's egress rules deny what the receiver's ingress rules deny, no packet showed whether one of
/// them is enforced.
#[test]
fn each_direction_is_shown_by_itself() {
    let manifests = file("verify/one-sided.yaml", guide().manifests);
    let key = ["--tenant-label", "tenant.platform.example/name"];
    for (fault, end) in [("ignore-ingress", "from"), ("ignore-egress", "to")] {
        let arguments = [&["verify", &manifests, "-o", "json", "--fault", fault][..], &key].concat();
        let document = netproof(&arguments, &[]).exits(1).json();
        let ends = texts(differences(&document).iter().map(|it| &it[end]));
        assert_eq!(ends, ["no-tenant/any-pod@node-1", "no-tenant/any-pod@node-2"].into(), "{fault}");
    }
}

/// Regression: of a range of addresses, only its first address was compared, and what addresses send to pods only at the
/// ports of other rules.
#[test]
fn policies_are_compared_with_what_is_wanted_of_each_part_of_the_addresses() {
    let namespaces = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Namespace\n\
                      metadata: {name: b}\n---\n";
    let policy = |rules: &str| {
        let of = |namespace| {
            format!(
                "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: {namespace}}}\n\
                 spec: {{podSelector: {{}}, policyTypes: [Ingress, Egress], {rules}}}\n---\n"
            )
        };
        format!("{namespaces}{}{}", of("a"), of("b"))
    };
    let own = "ingress: [{from: [{podSelector: {}}]}], egress: [{to: [{podSelector: {}}";
    let wide = policy(&format!("{own}, {{ipBlock: {{cidr: 10.20.0.0/16}}}}]}}]"));
    let closed = policy(&format!("{own}]}}]"));
    let target =
        |action: &str, range: &str| format!("- {{name: {action}, addresses: {range}, action: {action}}}\n");
    let service =
        "sharedServices:\n- {name: in, addresses: 10.30.5.0/24, direction: ToTenants, ports: [8080]}\n";
    for (what, manifests, rules, code) in [
        ("wider", &wide, format!("outside:\n{}", target("allow", "10.20.0.0/24")), 1),
        ("exact", &wide, format!("outside:\n{}", target("ignore", "10.20.0.0/16")), 0),
        (
            "carved",
            &wide,
            format!("outside:\n{}{}", target("deny", "10.20.0.0/16"), target("ignore", "10.20.0.0/24")),
            1,
        ),
        ("closed", &closed, service.to_owned(), 1),
    ] {
        let tenants = format!(
            "apiVersion: netproof.dev/v1alpha1\nkind: Tenants\ntenants:\n- {{name: a, namespaces: [a], ingress: \
             AllowSameNamespace, egress: AllowSameNamespace}}\n- {{name: b, namespaces: [b], ingress: AllowSameNamespace, \
             egress: AllowSameNamespace}}\n{rules}"
        );
        let example = Example { manifests: manifests.clone(), tenants };
        let document = example.json(&format!("parts-{what}"), &[]);
        assert_eq!(document["exitCode"], code, "{what}: {}", document["gaps"]);
        assert_eq!(document["gaps"] == json!([]), code == 0, "{what}: {}", document["gaps"]);
    }
}

#[test]
fn running_pods_take_part_if_wanted() {
    let without = guide().json("running", &[]);
    let through = guide().json("running", &["--through-nodes"]);
    assert_eq!(through["exitCode"], 0);
    let own = |document: &Value| document["coverage"]["twins"].as_u64().unwrap();
    assert_eq!(own(&through), own(&without));
    assert_eq!(through["coverage"]["entered"], 6);
    guide().verify("running", &["--through-nodes", "--fault", "ignore-udp"]).exits(1);
}

/// One connection a second to each port makes this slow, so the cluster is small.
#[test]
fn running_workloads_are_asked_to_accept_connections_if_wanted() {
    let example = Example::read("customers");
    let document = example.json("workloads", &["--to-workloads"]);
    assert_eq!(document["exitCode"], 0);
    let is_running_pod = |to: &str| !to.contains(['@', ':']);
    let to_pods = cells(&document).iter().filter(|cell| is_running_pod(cell["to"].as_str().unwrap()));
    let to_pods: Vec<_> = to_pods.collect();
    let has = |expected: &str| to_pods.iter().any(|cell| cell["expected"] == expected);
    assert!(has("allow") && has("deny"), "{to_pods:?}");
    let leaky = example.json("workloads", &["--to-workloads", "--fault", "no-enforcement"]);
    let reached = texts(differences(&leaky).iter().map(|it| &it["to"]));
    assert!(reached.iter().any(|to| is_running_pod(to)), "{reached:?}");
}

/// No API server runs in the lab, so nothing is said about it.
#[test]
fn an_api_server_that_nobody_reaches_accuses_no_policy() {
    let service = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: default}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: kubernetes, namespace: default}\n\
                   spec: {clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1], ports: [{name: https, port: 443, targetPort: 6443}]}\n";
    let slice = "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: kubernetes\n  \
                 namespace: default\n  labels: {kubernetes.io/service-name: kubernetes}\naddressType: IPv4\n\
                 endpoints: [{addresses: [192.0.2.7]}]\nports: [{name: https, port: 6443}]\n";
    for slice in ["", slice] {
        let mut example = guide();
        example.manifests += &format!("{service}{slice}");
        let document = example.json("api-server", &[]);
        assert_eq!(differences(&document), [] as [Value; 0]);
        assert_eq!(document["exitCode"], 0, "{document}");
        assert!(texts(document["silent"].as_array().unwrap()).contains("service:default/kubernetes 443/TCP"));
        let plan = example.json("api-server", &["--dry-run"]);
        assert!(texts(plan["outside"].as_array().unwrap()).contains("service:default/kubernetes 443/TCP"));
    }
}

#[test]
fn groups_of_namespaces_are_tenants_without_a_file() {
    let manifests = file("verify/groups.yaml", guide().manifests);
    let document = netproof(
        &["verify", &manifests, "-o", "json", "--tenant-label", "tenant.platform.example/name"],
        &[],
    );
    let document = document.exits(0).json();
    let of_nobody =
        ["tenant-a", "tenant-b"].into_iter().flat_map(|it| [pair(it, "others"), pair("others", it)]);
    assert_eq!(pairs(&document, "isolated"), both_directions());
    // DNS and the shared ingress are open, whatever a probe pod of no tenant may do.
    assert_eq!(pairs(&document, "open"), of_nobody.chain(within()).collect());
    let named = netproof(&["verify", &manifests], &[]).exits(0);
    assert!(named.stderr.contains("by label tenant.platform.example/name"), "{}", named.stderr);
}

#[test]
fn a_namespace_that_several_tenants_own_is_named() {
    let document = Example::read("dispatch").json("owned", &[]);
    assert_eq!(document["coOwned"].as_array().unwrap().len(), 1, "{}", document["coOwned"]);
    let text = Example::read("dispatch").verify("owned", &[]).exits(0).stdout;
    assert!(text.contains("co-owned: "), "{text}");
}

/// Returns the policy gaps that no probe has shown, as a person sees them, and the matrix.
fn by_policy(example: Example, name: &str) -> (String, BTreeSet<(String, String)>) {
    let gaps = pairs(&example.json(name, &[]), "policyGap");
    let text = example.verify(name, &[]).exits(1).stdout;
    let section = text.split_once("By policy  ").unwrap_or_else(|| panic!("{text}")).1;
    (section.split("\n\n").next().unwrap().to_owned(), gaps)
}

/// Regression: a gap that a probe had shown hid a wider one with the same reason, such as the internet behind a DNS server.
#[test]
fn a_gap_that_was_probed_hides_no_wider_one() {
    let dns = "  - to:\n    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}";
    let internet = format!("  - to: [{{ipBlock: {{cidr: 0.0.0.0/0}}}}]\n{dns}");
    let (section, gaps) = by_policy(guide().with_in("tenant-a-prod", dns, &internet), "wider");
    let line = section.lines().find(|line| line.contains("tenant-a-prod/web → address ")).unwrap();
    assert!(line.contains("wanted deny, the policies allow it"), "{section}");
    let why = "allowed by tenant-a-prod/allow-same-namespace-and-dns egress[1]";
    assert!(section.lines().any(|line| line.contains(why)), "{section}");
    assert_eq!(gaps, [pair("tenant-a", "others")].into());
}

/// Regression: a rule for all pods of a namespace looked like one for the only pod that is there today.
#[test]
fn pods_that_may_be_started_in_a_namespace_that_a_rule_names_count() {
    let narrow = "      podSelector: {matchLabels: {k8s-app: kube-dns}}\n    ports:\n    - {protocol: UDP";
    let wide = "    ports:\n    - {protocol: UDP";
    let (section, gaps) = by_policy(guide().with_in("tenant-a-prod", narrow, wide), "wide");
    assert!(section.contains("tenant-a-prod/web → kube-system/any-pod"), "{section}");
    // The matrix says so, too: it showed `open` beside a policy gap that was not probed.
    assert_eq!(gaps, [pair("tenant-a", "others")].into());
}

/// Everybody may send to the second tenant, and only the egress policies of the first one deny it.
#[test]
fn isolation_that_rests_on_the_sender_alone_is_named() {
    let document = open_guide().json("sender", &[]);
    let closed = document["closedBySender"].as_array().unwrap();
    let pairs: Vec<_> = closed.iter().map(|it| (&it["tenant"], &it["into"])).collect();
    assert_eq!(pairs, [(&json!("tenant-a"), &json!("tenant-b"))]);
    assert_eq!(guide().json("sender", &[])["closedBySender"], json!([]));
    let text = open_guide().verify("sender", &[]).exits(1).stdout;
    assert!(
        text.contains("Closed by the sender") && text.contains("    tenant-a → tenant-b  tenant-a-prod/"),
        "{text}"
    );
}

/// A label of a policy that is nearly that of a pod is probably why a connection is closed.
#[test]
fn a_misspelt_selector_of_a_policy_is_named() {
    let misspelt = guide().with_in("tenant-a-prod", "{k8s-app: kube-dns}", "{k8s-app: kube-dnss}");
    let hint = "warning: NetworkPolicy tenant-a-prod/allow-same-namespace-and-dns: spec.egress[1].to[0] selects no pod \
                (k8s-app=kube-dnss); did you mean k8s-app=kube-dns?";
    let finished = misspelt.verify("misspelt", &[]).exits(1);
    assert!(finished.stdout.contains(hint), "{}", finished.stdout);
    let finished = misspelt.verify("misspelt", &["-o", "json"]).exits(1);
    assert!(finished.stderr.contains(hint), "{}", finished.stderr);
}

#[test]
fn what_cannot_be_checked_is_refused() {
    let no_file =
        netproof(&["verify", "--tenants", "verify/none.yaml"], &[&file("verify/x.yaml", guide().manifests)]);
    assert!(no_file.refusal().contains("verify/none.yaml"));
    let lab = netproof(&["verify", "--backend", "lab"], &[]).refusal();
    assert!(lab.contains("name files or folders"), "{lab}");
    let both = netproof(&["verify", "--backend", "cluster", "verify/x.yaml"], &[]).refusal();
    assert!(both.contains("manifests are for the lab"), "{both}");
    let context = guide().verify("context", &["--context", "staging"]).refusal();
    assert!(context.contains("--context is for a cluster, and manifests are for the lab"), "{context}");
    let fault = netproof(&["verify", "--fault", "ignore-udp"], &[]).refusal();
    assert!(fault.contains("--fault is for the lab"), "{fault}");
    let nothing =
        guide().with_tenants("tenant.platform.example/name: tenant-a", "tenant.platform.example/name: c");
    let message = nothing.verify("nothing", &[]).refusal();
    assert!(message.contains("verify/nothing/tenants.yaml:8:22: namespaceSelector: "), "{message}");
}

/// The report of a check with every kind of difference, without its times.
#[test]
fn the_report() {
    let mistake = open_guide().with_in("tenant-a-prod", "k8s-app: kube-dns", "k8s-app: coredns");
    let report = mistake.verify("report", &["--fault", "same-node-open"]).exits(1).stdout;
    assert_snapshot!("report", without_times(&report));
    let report = guide().verify("report", &[]).exits(0).stdout;
    assert_snapshot!("isolated", without_times(&report));
}

/// Removes what depends on the load of the machine: the time, and how often denials were probed.
fn without_times(report: &str) -> String {
    let (before, rest) = report.split_once(" judged in ").unwrap();
    let (_, after) = rest.split_once(" s (").unwrap();
    without_proof(&format!("{before} judged in TIME ({after}"))
}

/// Removes how often denials were probed.
pub(crate) fn without_proof(report: &str) -> String {
    let lines = report.lines().filter(|line| !line.starts_with("each denial rests on "));
    lines.map(|line| format!("{line}\n")).collect()
}

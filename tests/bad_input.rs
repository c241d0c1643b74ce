//! Bad input: one clear message with its place, exit code 2, and nothing on standard output.

use insta::assert_snapshot;

use crate::machine::{Finished, User, file, folder, program, run};

/// The message for a bad file of a command, with the folder of the tests taken out.
fn message(arguments: &[&str], name: &str, content: impl AsRef<[u8]>) -> String {
    // Tests run at the same time, and several use the same names.
    let test = std::thread::current().name().unwrap().replace("::", "-");
    let path = file(&format!("{test}/{name}"), content);
    let arguments = arguments.iter().copied().chain([path.to_str().unwrap()]);
    refusal(&run(User::Root, arguments)).replace(&format!("{test}/"), "bad/")
}

fn refusal(finished: &Finished) -> String {
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert_eq!(finished.stdout, "", "nothing was proved, so there is no result");
    let message = finished.stderr.replace(&format!("{}/", folder().display()), "");
    assert_eq!(message.lines().count(), 1, "one message: {message}");
    assert!(message.len() < 600, "a message fits a screen: {message}");
    message
}

fn scenario(name: &str, content: &str) -> String {
    message(&["run"], name, content)
}

fn manifest(name: &str, content: &str) -> String {
    message(&["expect"], name, content)
}

const HEAD: &str = "\
apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {name: bad}
";

/// A scenario with a step that consists of these lines.
fn step(lines: &str) -> String {
    format!("{HEAD}steps:\n- name: only\n{lines}")
}

#[test]
fn scenarios_that_are_no_scenarios() {
    let mut told = String::new();
    told.push_str(&scenario("empty.yaml", ""));
    told.push_str(&scenario("comment.yaml", "# nothing\n---\n"));
    told.push_str(&scenario("not.yaml", "a: b: c\n"));
    told.push_str(&scenario("tab.yaml", "kind:\n\t- x\n"));
    told.push_str(&scenario("kind.yaml", "apiVersion: netproof.dev/v1alpha1\nkind: Scenery\n"));
    told.push_str(&scenario("version.yaml", "apiVersion: netproof.dev/v1\nkind: Scenario\n"));
    told.push_str(&scenario("pod.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"));
    told.push_str(&scenario("policy.yaml", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"));
    told.push_str(&scenario("list.yaml", "- a\n- b\n"));
    told.push_str(&scenario("steps.yaml", &format!("{HEAD}steps: []\n")));
    told.push_str(&message(&["run"], "binary.yaml", [0x61, 0x0a, 0x62, 0xff, 0xfe]));
    assert_snapshot!(told);
}

#[test]
fn scenarios_with_mistakes() {
    let mut told = String::new();
    told.push_str(&scenario("field.yaml", &format!("{HEAD}step: []\n")));
    told.push_str(&scenario("deep.yaml", &step("  expects: []\n")));
    told.push_str(&scenario("nothing.yaml", &step("  expect:\n  - {from: x/q, to: y/*, deny: [all]}\n")));
    told.push_str(&scenario("to.yaml", &step("  expect:\n  - {from: x/*, to: [y/a, y/q], deny: [all]}\n")));
    told.push_str(&scenario(
        "covers.yaml",
        &step("  expect:\n  - {from: x/a, to: y/a, deny: [80/TCP, 90/TCP]}\n"),
    ));
    told.push_str(&scenario(
        "claims.yaml",
        &step("  expect:\n  - {from: x/a, to: y/a, deny: [all], allow: [all]}\n"),
    ));
    told.push_str(&scenario("pattern.yaml", &step("  expect:\n  - {from: nobody, to: y/a, deny: [all]}\n")));
    told.push_str(&scenario("port-0.yaml", &format!("{HEAD}probes: [0/TCP]\nsteps: [{{name: a}}]\n")));
    told.push_str(&scenario(
        "port-65536.yaml",
        &format!("{HEAD}probes: [65536/UDP]\nsteps: [{{name: a}}]\n"),
    ));
    told.push_str(&scenario(
        "name.yaml",
        &(HEAD.replace("name: bad", "name: Bad Name") + "steps: [{name: a}]\n"),
    ));
    told.push_str(&scenario(
        "delete.yaml",
        &step("  delete: [{kind: NetworkPolicy, namespace: x, name: gone}]\n"),
    ));
    told.push_str(&scenario("label.yaml", &step("  label: [{pod: x/q, labels: {a: b}}]\n")));
    told.push_str(&scenario("label-value.yaml", &step("  label: [{pod: x/a, labels: {a: b c}}]\n")));
    told.push_str(&scenario("add.yaml", &step("  addPod: [{namespace: x, name: a}]\n")));
    told.push_str(&scenario("end.yaml", &step("  endPod: [x/q]\n")));
    told.push_str(&scenario("end-twice.yaml", &step("  endPod: [x/a, x/a]\n")));
    told.push_str(&scenario("end-add.yaml", &step("  endPod: [x/a]\n  addPod: [{namespace: x, name: a}]\n")));
    told.push_str(&scenario(
        "end-assert.yaml",
        &step("  endPod: [x/a]\n  expect:\n  - {from: x/a, to: \"*\", deny: [all]}\n"),
    ));
    let service = |namespace: &str| {
        format!(
            "  - apiVersion: v1\n    kind: Service\n    metadata: {{name: web, namespace: {namespace}}}\n    \
             spec: {{type: NodePort, selector: {{app: web}}, ports: [{{port: 80, nodePort: 30080}}]}}\n"
        )
    };
    told.push_str(&scenario("node-port.yaml", &step(&format!("  apply:\n{}{}", service("x"), service("y")))));
    told.push_str(&scenario("file.yaml", &step("  apply: [missing.yaml]\n")));
    let kept = |entry: &str| step(&format!("  keepOpen:\n  - {entry}\n"));
    told.push_str(&scenario("keep-udp.yaml", &kept("{from: x/a, to: y/a, probe: 80/UDP}")));
    told.push_str(&scenario("keep-from.yaml", &kept("{from: nobody, to: y/a, probe: 80/TCP}")));
    told.push_str(&scenario("keep-port.yaml", &kept("{from: x/a, to: y/*, probe: 90/TCP}")));
    told.push_str(&scenario("keep-end.yaml", &kept("{from: x/a, to: y/q, probe: 80/TCP}")));
    told.push_str(&scenario("keep-field.yaml", &kept("{from: x/a, to: y/a, port: 80/TCP}")));
    assert_snapshot!(told);
}

#[test]
fn topologies_with_mistakes() {
    let mut told = String::new();
    let topology =
        |name, lines: &str| scenario(name, &format!("{HEAD}topology:\n{lines}steps: [{{name: a}}]\n"));
    told.push_str(&topology(
        "twice.yaml",
        "  namespaces:\n  - name: x\n    pods:\n    - {name: a}\n    - {name: a}\n",
    ));
    told.push_str(&topology("node.yaml", "  namespaces:\n  - {name: x, pods: [{name: a, node: 3}]}\n"));
    told.push_str(&topology("nodes.yaml", "  nodes: 0\n"));
    told.push_str(&topology("family.yaml", "  families: [IPv5]\n"));
    told.push_str(&topology("external.yaml", "  externals: [{name: a, ip: 1.2.3}]\n"));
    told.push_str(&topology("inside.yaml", "  externals: [{name: a, ip: 10.244.0.9}]\n"));
    told.push_str(&topology(
        "capital.yaml",
        "  namespaces:\n  - {name: x, pods: [{name: a, ports: [{name: HTTP, port: 80}]}]}\n",
    ));
    told.push_str(&topology(
        "same-name.yaml",
        "  namespaces:\n  - name: x\n    pods:\n    - name: a\n      ports:\n      - {name: dns, port: 53, protocol: UDP}\n      - {name: dns, port: 53}\n",
    ));
    assert_snapshot!(told);
}

#[test]
fn policies_in_scenarios_with_mistakes() {
    let mut told = String::new();
    let policy = |namespace: &str, spec: &str| {
        step(&format!(
            "  apply:\n  - apiVersion: networking.k8s.io/v1\n    kind: NetworkPolicy\n    metadata: {{name: p, namespace: {namespace}}}\n    spec:\n{spec}"
        ))
    };
    told.push_str(&scenario("namespace.yaml", &policy("elsewhere", "      podSelector: {}\n")));
    told.push_str(&scenario(
        "selectors.yaml",
        &policy("x", "      ingress:\n      - from:\n        - podSelectors: {}\n"),
    ));
    assert_snapshot!(told);
}

#[test]
fn addresses_by_name_with_mistakes() {
    let mut told = String::new();
    let mut block = |name: &str, block: &str, rest: &str| {
        let policy = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p, namespace: x}, spec: {";
        let apply = format!(
            "  apply:\n  - {policy}\n      ingress: [{{from: [\n        {{ipBlock: {block}}}]}}]}}}}\n{rest}"
        );
        told.push_str(&scenario(name, &step(&apply)));
    };
    block("nobody.yaml", "{cidr: \"{x/q}/32\"}", "");
    block("service.yaml", "{cidr: \"{service:x/web}/32\"}", "");
    block("several.yaml", "{cidr: \"{x/*}/32\"}", "");
    block("form.yaml", "{cidr: \"{x/a}\"}", "");
    block("prefix.yaml", "{cidr: \"{x/a}/128\"}", "");
    block("hole.yaml", "{cidr: 0.0.0.0/0, except: [\"{x/a}/32\", \"{x/q}/32\"]}", "");
    block("outside.yaml", "{cidr: 10.0.0.0/8, except: [\"{x/a}/32\"]}", "");
    block("too-early.yaml", "{cidr: \"{x/d}/32\"}", "  addPod: [{namespace: x, name: d}]\n");
    told.push_str(&manifest(
        "by-name.yaml",
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec: {ingress: [{from: [{ipBlock: {cidr: \"{x/a}/32\"}}]}]}\n",
    ));
    assert_snapshot!(told);
}

#[test]
fn manifests_that_the_api_server_would_refuse() {
    let mut told = String::new();
    let policy = |name: &str, spec: &str| {
        manifest(
            name,
            &format!(
                "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: x}}\nspec:\n{spec}"
            ),
        )
    };
    let ingress =
        |name: &str, rule: &str| policy(name, &format!("  podSelector: {{}}\n  ingress:\n  - {rule}\n"));
    told.push_str(&policy("selectors.yaml", "  podSelectors: {matchLabels: {app: web}}\n"));
    told.push_str(&ingress("end-port.yaml", "ports: [{port: 90, endPort: 80}]"));
    told.push_str(&ingress("end-port-alone.yaml", "ports: [{endPort: 80}]"));
    told.push_str(&ingress("end-port-name.yaml", "ports: [{port: http, endPort: 80}]"));
    told.push_str(&ingress("port-0.yaml", "ports: [{port: 0}]"));
    told.push_str(&ingress("port-65536.yaml", "ports: [{port: 65536}]"));
    told.push_str(&ingress("port-string.yaml", "ports: [{port: \"80\"}]"));
    told.push_str(&ingress("port-name.yaml", "ports: [{port: HTTP}]"));
    told.push_str(&ingress("protocol.yaml", "ports: [{protocol: tcp, port: 80}]"));
    told.push_str(&ingress("except.yaml", "from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]"));
    told.push_str(&ingress(
        "except-same.yaml",
        "from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}]",
    ));
    told.push_str(&ingress("cidr.yaml", "from: [{ipBlock: {cidr: 10.0.0.0}}]"));
    told.push_str(&ingress("beside.yaml", "from: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]"));
    told.push_str(&ingress("peer.yaml", "from: [{}]"));
    told.push_str(&ingress("null.yaml", "from: [null]"));
    told.push_str(&ingress("key.yaml", "from: [{podSelector: {matchLabels: {-app: web}}}]"));
    told.push_str(&ingress("value.yaml", "from: [{podSelector: {matchLabels: {app: web server}}}]"));
    told.push_str(&ingress("number.yaml", "from: [{podSelector: {matchLabels: {app: 1}}}]"));
    told.push_str(&ingress("yes.yaml", "from: [{podSelector: {matchLabels: {app: yes}}}]"));
    told.push_str(&ingress("in.yaml", "from: [{podSelector: {matchExpressions: [{key: a, operator: In}]}}]"));
    told.push_str(&ingress(
        "exists.yaml",
        "from: [{podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}]",
    ));
    told.push_str(&ingress(
        "operator.yaml",
        "from: [{podSelector: {matchExpressions: [{key: a, operator: Is, values: [b]}]}}]",
    ));
    told.push_str(&policy("types.yaml", "  policyTypes: [ingress]\n"));
    assert_snapshot!(told);
}

#[test]
fn cluster_scoped_policies_that_the_api_server_would_refuse() {
    let mut told = String::new();
    let policy = |name: &str, version: &str, kind: &str, spec: &str| {
        let metadata = if kind == "BaselineAdminNetworkPolicy" { "default" } else { "p" };
        let head = format!("apiVersion: policy.networking.k8s.io/{version}\nkind: {kind}\n");
        manifest(name, &format!("{head}metadata: {{name: {metadata}}}\nspec: {{{spec}}}\n"))
    };
    let admin = |name: &str, spec: &str| {
        policy(name, "v1alpha1", "AdminNetworkPolicy", &format!("priority: 1, {spec}"))
    };
    let subject = "subject: {namespaces: {}}";
    let egress = |name: &str, rule: &str| admin(name, &format!("{subject}, egress: [{{{rule}}}]"));
    let cluster = |name: &str, rule: &str| {
        let spec = format!("tier: Admin, priority: 1, {subject}, egress: [{{action: Accept, {rule}}}]");
        policy(name, "v1alpha2", "ClusterNetworkPolicy", &spec)
    };
    told.push_str(&policy("priority.yaml", "v1alpha1", "AdminNetworkPolicy", subject));
    told.push_str(&policy(
        "1001.yaml",
        "v1alpha1",
        "AdminNetworkPolicy",
        &format!("priority: 1001, {subject}"),
    ));
    told.push_str(&admin("subject.yaml", "subject: {}"));
    told.push_str(&admin("subjects.yaml", "subject: {namespaces: {}, pods: {podSelector: {}}}"));
    told.push_str(&admin("namespaces.yaml", "subject: {pods: {podSelector: {}}}"));
    told.push_str(&admin("tier.yaml", &format!("{subject}, tier: Admin")));
    told.push_str(&admin("from.yaml", &format!("{subject}, ingress: [{{action: Deny, from: []}}]")));
    told.push_str(&admin(
        "networks.yaml",
        &format!("{subject}, ingress: [{{action: Deny, from: [{{networks: [10.0.0.0/8]}}]}}]"),
    ));
    told.push_str(&egress("no-to.yaml", "action: Deny"));
    told.push_str(&egress("accept.yaml", "action: Accept, to: [{namespaces: {}}]"));
    told.push_str(&egress("peer.yaml", "action: Deny, to: [{}]"));
    told.push_str(&egress("cidr.yaml", "action: Deny, to: [{networks: [10.0.0.0]}]"));
    told.push_str(&egress("twice.yaml", "action: Deny, to: [{networks: [10.0.0.0/8, 10.0.0.0/8]}]"));
    told.push_str(&egress("domains.yaml", "action: Deny, to: [{domainNames: [example.com]}]"));
    told.push_str(&egress(
        "domain.yaml",
        "action: Accept, to: [{domainNames: [example.com, 'not a domain!']}]",
    ));
    told.push_str(&egress("ports.yaml", "action: Deny, to: [{namespaces: {}}], ports: []"));
    told.push_str(&egress("port.yaml", "action: Deny, to: [{namespaces: {}}], ports: [{}]"));
    told.push_str(&egress(
        "0.yaml",
        "action: Deny, to: [{namespaces: {}}], ports: [{portNumber: {port: 0}}]",
    ));
    told.push_str(&egress(
        "range.yaml",
        "action: Deny, to: [{namespaces: {}}], ports: [{portRange: {start: 90, end: 80}}]",
    ));
    told.push_str(&egress("named.yaml", "action: Deny, to: [{nodes: {}}], ports: [{namedPort: http}]"));
    told.push_str(&egress("protocols.yaml", "action: Deny, to: [{namespaces: {}}], protocols: []"));
    told.push_str(&policy(
        "pass.yaml",
        "v1alpha1",
        "BaselineAdminNetworkPolicy",
        &format!("{subject}, egress: [{{action: Pass, to: [{{namespaces: {{}}}}]}}]"),
    ));
    told.push_str(&manifest(
        "default.yaml",
        "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: BaselineAdminNetworkPolicy\nmetadata: {name: other}\nspec: {subject: {namespaces: {}}}\n",
    ));
    told.push_str(&policy(
        "no-tier.yaml",
        "v1alpha2",
        "ClusterNetworkPolicy",
        &format!("tier: Base, priority: 1, {subject}"),
    ));
    told.push_str(&policy("old.yaml", "v1alpha1", "ClusterNetworkPolicy", subject));
    told.push_str(&cluster("tcp.yaml", "to: [{namespaces: {}}], protocols: [{tcp: {}}]"));
    told.push_str(&cluster(
        "empty.yaml",
        "to: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {}}}]",
    ));
    told.push_str(&cluster(
        "both.yaml",
        "to: [{namespaces: {}}], protocols: [{destinationNamedPort: a, udp: {}}]",
    ));
    told.push_str(&cluster(
        "same.yaml",
        "to: [{namespaces: {}}], protocols: [{udp: {destinationPort: {range: {start: 80, end: 80}}}}]",
    ));
    told.push_str(&cluster(
        "name.yaml",
        "to: [{networks: [10.0.0.0/8]}], protocols: [{destinationNamedPort: http}]",
    ));
    told.push_str(&cluster("list.yaml", &format!("to: [{}]", "{namespaces: {}}, ".repeat(26))));
    assert_snapshot!(told);
}

#[test]
fn manifests_with_mistakes() {
    let mut told = String::new();
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: x}\n";
    let other = pod.replace("name: a,", "labels: {app: other}, name: a,");
    told.push_str(&manifest("twice.yaml", &format!("{pod}---\n{other}")));
    told.push_str(&manifest(
        "labels.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  lables: {a: b}\n",
    ));
    told.push_str(&manifest(
        "port.yaml",
        &format!("{pod}spec: {{containers: [{{name: c, ports: [{{containerPort: 80, name: Web}}]}}]}}\n"),
    ));
    // Of the three containers, only the last repeats a name of its own.
    told.push_str(&manifest(
        "same-name.yaml",
        &format!(
            "{pod}spec:\n  containers:\n  - {{name: c, ports: [{{containerPort: 80, name: web}}]}}\n  - {{name: d, ports: [{{containerPort: 81, name: web}}]}}\n  - name: e\n    ports:\n    - {{containerPort: 53, name: dns, protocol: UDP}}\n    - {{containerPort: 53, name: dns}}\n"
        ),
    ));
    told.push_str(&manifest("nameless.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {}\n"));
    told.push_str(&manifest(
        "version.yaml",
        "apiVersion: extensions/v1beta1\nkind: Deployment\nmetadata: {name: a}\n",
    ));
    told.push_str(&manifest(
            "template.yaml",
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec:\n  selector: {matchLabels: {app: a}}\n  template:\n    metadata: {labels: {app: b}}\n"
        ));
    told.push_str(&manifest(
        "item.yaml",
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Namespace\n  metadata: {name: A}\n",
    ));
    told.push_str(&manifest("kindless.yaml", "apiVersion: v1\nmetadata: {name: a}\n"));
    assert_snapshot!(told);
}

/// Objects that the API server does not know must not be skipped: a policy that is not applied was `isolated`.
#[test]
fn known_kinds_with_a_wrong_api_version_or_name() {
    let mut told = String::new();
    let object = |name: &str, api_version: &str, kind: &str| {
        manifest(name, &format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: a}}\n"))
    };
    told.push_str(&object("core.yaml", "v1", "NetworkPolicy"));
    told.push_str(&object("short.yaml", "networking/v1", "NetworkPolicy"));
    told.push_str(&object("group-only.yaml", "networking.k8s.io", "NetworkPolicy"));
    told.push_str(&object("beta.yaml", "networking.k8s.io/v1beta1", "NetworkPolicy"));
    told.push_str(&object("case.yaml", "networking.k8s.io/v1", "Networkpolicy"));
    told.push_str(&object("plural.yaml", "networking.k8s.io/v1", "NetworkPolicies"));
    told.push_str(&object("deployment.yaml", "v1", "Deployment"));
    told.push_str(&object("pod.yaml", "apps/v1", "Pod"));
    told.push_str(&object("namespaces.yaml", "v1", "Namespaces"));
    told.push_str(&object("policy.yaml", "networking.k8s.io/v1", "ClusterNetworkPolicy"));
    let list = |name: &str, api_version: &str, kind: &str, rest: &str| {
        manifest(name, &format!("apiVersion: {api_version}\nkind: {kind}\n{rest}"))
    };
    let item = "- {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n";
    told.push_str(&list("items-case.yaml", "v1", "List", &format!("Items:\n{item}")));
    told.push_str(&list("items-twice.yaml", "v1", "List", &format!("Items:\n{item}items: []\n")));
    told.push_str(&list("item.yaml", "networking.k8s.io/v1", "NetworkPolicyList", &format!("item:\n{item}")));
    told.push_str(&list("items.yaml", "v1", "ConfigMap", &format!("items:\n{item}")));
    told.push_str(&list("items-of-custom.yaml", "example.com/v1", "Rules", "Items: []\n"));
    told.push_str(&list("no-items.yaml", "v1", "PodList", ""));
    told.push_str(&list("mapping.yaml", "v1", "List", "items: {a: b}\n"));
    told.push_str(&list("list-case.yaml", "v1", "list", &format!("items:\n{item}")));
    told.push_str(&list("list-group.yaml", "v1", "NetworkPolicyList", "items: []\n"));
    told.push_str(&list("list-kind.yaml", "v1", "NetworkpolicyList", "items: []\n"));
    let wrong = "- {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n- {apiVersion: v1, kind: NetworkPolicy, metadata: {name: a}}\n";
    told.push_str(&list("in-list.yaml", "v1", "List", &format!("items:\n{wrong}")));
    told.push_str(&object("misspelt.yaml", "networking.k8s.io/v1", "NetworkPolice"));
    told.push_str(&object("misspelt-plain.yaml", "networking.k8s.io/v1", "Ingres"));
    told.push_str(&object("scenario.yaml", "netproof.dev/v1alpha1", "Scenario"));
    told.push_str(&object("profile.yaml", "netproof.dev/v1alpha1", "Profile"));
    assert_snapshot!(told);
}

/// Reports show kinds as they are; the API server knows none of these.
#[test]
fn kinds_and_api_versions_that_are_no_names() {
    let mut told = String::new();
    let object = |name: &str, api_version: &str, kind: &str| {
        manifest(name, &format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: a}}\n"))
    };
    told.push_str(&object("colours.yaml", "evil.io/v1", r#""\e[2J\e[32mPASS\e[0m\nNetworkPolicy""#));
    told.push_str(&object("c1.yaml", "evil.io/v1", r#""\x9b2J\u202eNetworkPolicy""#));
    told.push_str(&object("line.yaml", "evil.io/v1", r#""X\nPASS  everything is isolated\nY""#));
    told.push_str(&object("version.yaml", r#""apps/v1\nfake: line""#, "Deployment"));
    told.push_str(&object("empty.yaml", "v1", "''"));
    told.push_str(&manifest("list.yaml", "apiVersion: v1\nkind: \"X\\nList\"\nitems: []\n"));
    assert_snapshot!(told, @r"
    error: bad/colours.yaml:2:7: kind: `\u{1b}[2J\u{1b}[32mPASS\u{1b}[0m\nNetworkPolicy` is not the name of a kind: use at most 63 letters, digits and `-`, and begin with a letter
    error: bad/c1.yaml:2:7: kind: `\u{9b}2J\u{202e}NetworkPolicy` is not the name of a kind: use at most 63 letters, digits and `-`, and begin with a letter
    error: bad/line.yaml:2:7: kind: `X\nPASS  everything is isolated\nY` is not the name of a kind: use at most 63 letters, digits and `-`, and begin with a letter
    error: bad/version.yaml:1:13: apiVersion: `apps/v1\nfake: line` is not an apiVersion: write it like `v1` or `networking.k8s.io/v1`
    error: bad/empty.yaml:2:7: kind: `` is not the name of a kind: use at most 63 letters, digits and `-`, and begin with a letter
    error: bad/list.yaml:2:7: kind: `X\nList` is not the name of a kind: use at most 63 letters, digits and `-`, and begin with a letter
    ");
}

/// Where kubectl reads something else, or nothing.
#[test]
fn manifests_that_kubectl_reads_otherwise() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n";
    let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec:\n  podSelector: {}\n";
    let mut told = manifest(
        "line-separator.yaml",
        &format!("{policy}  # nobody may connect\u{2028}  ingress: [{{}}]\n"),
    );
    told.push_str(&manifest("dots.yaml", &format!("{pod}...\n{policy}")));
    told.push_str(&manifest(
        "flow.yaml",
        &format!("{policy}  egress: [{{to: [{{ipBlock: {{cidr: ::/0}}}}]}}]\n"),
    ));
    told.push_str(&manifest("directive.yaml", &format!("%YAML 1.2\n---\n{pod}")));
    assert_snapshot!(told, @r"
    error: bad/line-separator.yaml:6:23: kubectl ends the line here, at the invisible character U+2028: write a line feed, or `\L` in double quotes
    error: bad/dots.yaml:5:1: kubectl ignores what follows `...`: write `---` on a line of its own before it
    error: bad/flow.yaml:6:35: kubectl does not read `::/0` in braces or brackets, because it begins with `:`: quote it
    error: bad/directive.yaml:1:1: kubectl reads no directives: remove this line
    ");
}

/// What kustomize or Helm would still change must not be read as it is.
#[test]
fn folders_whose_manifests_have_to_be_built() {
    let mut told = String::new();
    let refused = |path: &str| refusal(&run(User::Root, ["expect", path]));
    file("bad/built/pod.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n");
    for (folder, described) in [
        ("kustomize/overlays/prod", "kustomization.yaml"),
        ("kustomize/yml", "kustomization.yml"),
        ("kustomize/it's here", "Kustomization"),
        ("helm/shop", "Chart.yaml"),
    ] {
        file(&format!("bad/{folder}/{described}"), "namespace: shop\n");
        file(&format!("bad/{folder}/a/pod.yaml"), "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n");
        told.push_str(&refused(&format!("bad/{folder}")));
    }
    file("bad/kustomize/bare/only/Kustomization", "namespace: shop\n");
    file("bad/kustomize/bare/pod.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n");
    file("bad/helm/shop/templates/more/pod.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n");
    told.push_str(&refused("bad/kustomize/overlays"));
    told.push_str(&refused("bad/kustomize/bare"));
    told.push_str(&refused("bad/helm/shop/templates/more"));
    told.push_str(&refused("bad/helm/shop/Chart.yaml"));
    told.push_str(&refused("bad/kustomize/yml/kustomization.yml"));
    assert_snapshot!(told);
}

#[test]
fn words_that_kubectl_takes_for_booleans() {
    let pod =
        |labels: &str| format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: a, labels: {{{labels}}}}}\n");
    let mut told = manifest("y.yaml", &pod("ns: y"));
    told.push_str(&manifest("N.yaml", &pod("ns: N")));
    assert_snapshot!(told, @"
    error: bad/y.yaml:3:34: Pod `a`: metadata.labels.ns: expected a string, found the boolean `true`: quote it
    error: bad/N.yaml:3:34: Pod `a`: metadata.labels.ns: expected a string, found the boolean `false`: quote it
    ");
}

#[test]
fn inputs_that_are_not_there() {
    let mut told = String::new();
    std::fs::create_dir_all(folder().join("bad/nothing-in-it")).unwrap();
    told.push_str(&refusal(&run(User::Root, ["run", "bad/nothing-in-it"])));
    file("bad/comments-only/a.yaml", "# nothing\n---\n");
    file("bad/comments-only/b.yaml", "");
    told.push_str(&refusal(&run(User::Root, ["expect", "bad/comments-only"])));
    told.push_str(&refusal(&run(User::Root, ["expect", "bad/comments-only/b.yaml"])));
    told.push_str(&refusal(&run(User::Root, ["run", "bad/not-there.yaml"])));
    told.push_str(&refusal(&run(User::Root, ["expect", "bad/not-there"])));
    told.push_str(&refusal(&run(User::Root, ["run", "--report", "bad/report.txt"])));
    told.push_str(&refusal(&run(User::Root, ["run", "--report", "bad/no/such/folder.xml"])));
    assert_snapshot!(told);
}

#[test]
fn ten_megabytes_of_garbage() {
    let mut rng = fastrand::Rng::with_seed(1);
    let bytes: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(10 << 20).collect();
    let letters: String = std::iter::repeat_with(|| rng.char(' '..'~')).take(10 << 20).collect();
    let word = "x".repeat(10 << 20);
    let brackets = "[".repeat(10 << 20);
    for command in ["run", "expect"] {
        message(&[command], "bytes.yaml", &bytes);
        message(&[command], "letters.yaml", &letters);
        message(&[command], "word.yaml", &word);
        message(&[command], "brackets.yaml", &brackets);
    }
}

#[test]
fn wrong_usage_is_explained() {
    for arguments in
        [&["run", "--fault", "nonsense"][..], &["run", "--settle", "5"], &["expect"], &["nonsense"], &[]]
    {
        let finished = run(User::Ordinary, arguments);
        assert_eq!(finished.code, Some(2), "{arguments:?}");
        assert_eq!(finished.stdout, "", "{arguments:?}");
        assert!(
            finished.stderr.contains("--help") || finished.stderr.contains("Usage"),
            "{}",
            finished.stderr
        );
    }
    assert!(program().exists());
}

//! Bad input: one clear message with its place, exit code 2, and nothing on standard output.

use insta::assert_snapshot;

use crate::support::{Finished, User, file, folder, netproof, run, scenario_file};

const ONLY_POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n";

/// Checks that the input was refused by one short message, and returns the message.
fn refusal(finished: Finished) -> String {
    let message = finished.refusal();
    assert_eq!(message.lines().count(), 1, "one message: {message}");
    assert!(message.len() < 600, "a message fits a screen: {message}");
    message
}

/// Returns the message of a command for a bad file.
fn message(command: &str, name: &str, content: impl AsRef<[u8]>) -> String {
    // Tests run at the same time, and several use the same file names.
    let test = std::thread::current().name().unwrap().replace("::", "-");
    let path = file(&format!("{test}/{name}"), content);
    refusal(run(User::Root, [command, &path])).replace(&format!("{test}/"), "bad/")
}

/// Returns the messages for a table of bad files. Each line is a name and what `content` makes a file of, in which `\n`
/// is the end of a line.
fn messages(command: &str, table: &str, content: impl Fn(&str) -> String) -> String {
    let cases = table.lines().map(str::trim).filter(|line| !line.is_empty());
    let message = |case: &str| {
        let (name, text) = case.split_once(' ').unwrap_or((case, ""));
        let text = text.trim_start().replace(r"\n", "\n");
        message(command, &format!("{name}.yaml"), content(&text))
    };
    cases.map(message).collect()
}

const HEAD: &str = "apiVersion: netproof.dev/v1alpha1\nkind: Scenario\nmetadata: {name: bad}\n";

/// Returns a scenario with a step that consists of these lines.
fn step(lines: &str) -> String {
    format!("{HEAD}steps:\n- name: only\n  {lines}\n")
}

#[test]
fn scenarios_that_are_no_scenarios() {
    let table = r"
        empty
        comment  # nothing\n---\n
        not      a: b: c\n
        tab      kind:\n\t- x\n
        kind     apiVersion: netproof.dev/v1alpha1\nkind: Scenery\n
        version  apiVersion: netproof.dev/v1\nkind: Scenario\n
        pod      apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n
        policy   apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n
        list     - a\n- b\n";
    let mut messages = messages("run", table, |content| content.replace(r"\t", "\t"));
    messages += &message("run", "steps.yaml", format!("{HEAD}steps: []\n"));
    messages += &message("run", "binary.yaml", [0x61, 0x0a, 0x62, 0xff, 0xfe]);
    assert_snapshot!(messages);
}

/// A label of the site must not change what a scenario tests, without a word about it.
#[test]
fn labels_of_a_site_that_scenarios_use_themselves() {
    let with = |arguments: &[&str]| {
        let first =
            ["run", "--backend", "cluster", "--kubeconfig", "/nowhere", "operators-on-pods", "default-deny"];
        refusal(run(User::Root, [&first[..], arguments].concat()))
    };
    let refused = with(&["--pod-label", "tier=x"]);
    assert!(refused.contains("--pod-label tier: the label `tier` would change"), "{refused}");
    assert!(refused.contains("leave them out with --skip-name operators-on-pods"), "{refused}");
    let skipped = ["--pod-label", "tier=x", "--skip-name", "operators-*"];
    for accepted in [&["--pod-label", "owner=x", "--namespace-label", "owner=x"][..], &skipped] {
        let message = with(accepted);
        assert!(message.contains("no kubeconfig"), "{message}");
    }
    let in_the_lab = refusal(run(User::Root, ["run", "--pod-label", "owner=x"]));
    assert!(in_the_lab.contains("--pod-label is for runs on a cluster"), "{in_the_lab}");
}

#[test]
fn scenarios_with_mistakes() {
    let service = |namespace: &str| {
        format!(
            "  - apiVersion: v1\n    kind: Service\n    metadata: {{name: web, namespace: {namespace}}}\n    \
             spec: {{type: NodePort, selector: {{app: web}}, ports: [{{port: 80, nodePort: 30080}}]}}\n"
        )
    };
    let steps = |table: &str| messages("run", table, step);
    let told = [
        messages("run", "field step: []", |fields| format!("{HEAD}{fields}\n")),
        steps(
            r#"
            deep     expects: []
            nothing  expect:\n  - {from: x/q, to: y/*, deny: [all]}
            to       expect:\n  - {from: x/*, to: [y/a, y/q], deny: [all]}
            covers   expect:\n  - {from: x/a, to: y/a, deny: [80/TCP, 90/TCP]}
            claims   expect:\n  - {from: x/a, to: y/a, deny: [all], allow: [all]}
            pattern  expect:\n  - {from: nobody, to: y/a, deny: [all]}"#,
        ),
        messages("run", "port-0 probes: [0/TCP]\n port-65536 probes: [65536/UDP]", |fields| {
            format!("{HEAD}{fields}\nsteps: [{{name: a}}]\n")
        }),
        message("run", "name.yaml", HEAD.replace("name: bad", "name: Bad Name") + "steps: [{name: a}]\n"),
        steps(
            r#"
            delete       delete: [{kind: NetworkPolicy, namespace: x, name: gone}]
            label        label: [{pod: x/q, labels: {a: b}}]
            label-value  label: [{pod: x/a, labels: {a: b c}}]
            add          addPod: [{namespace: x, name: a}]
            end          endPod: [x/q]
            end-twice    endPod: [x/a, x/a]
            end-add      endPod: [x/a]\n  addPod: [{namespace: x, name: a}]
            end-assert   endPod: [x/a]\n  expect:\n  - {from: x/a, to: "*", deny: [all]}"#,
        ),
        message("run", "node-port.yaml", step(&format!("apply:\n{}{}", service("x"), service("y")))),
        steps(
            r"
            file        apply: [missing.yaml]
            keep-udp    keepOpen:\n  - {from: x/a, to: y/a, probe: 80/UDP}
            keep-from   keepOpen:\n  - {from: nobody, to: y/a, probe: 80/TCP}
            keep-port   keepOpen:\n  - {from: x/a, to: y/*, probe: 90/TCP}
            keep-end    keepOpen:\n  - {from: x/a, to: y/q, probe: 80/TCP}
            keep-field  keepOpen:\n  - {from: x/a, to: y/a, port: 80/TCP}",
        ),
    ];
    assert_snapshot!(told.concat());
}

#[test]
fn topologies_with_mistakes() {
    let table = r"
        twice      namespaces:\n  - name: x\n    pods:\n    - {name: a}\n    - {name: a}
        node       namespaces:\n  - {name: x, pods: [{name: a, node: 3}]}
        nodes      nodes: 0
        family     families: [IPv5]
        external   externals: [{name: a, ip: 1.2.3}]
        inside     externals: [{name: a, ip: 10.244.0.9}]
        capital    namespaces:\n  - {name: x, pods: [{name: a, ports: [{name: HTTP, port: 80}]}]}
        same-name  namespaces:\n  - name: x\n    pods:\n    - name: a\n      ports:\n      - {name: dns, port: 53, protocol: UDP}\n      - {name: dns, port: 53}";
    let scenario = |lines: &str| format!("{HEAD}topology:\n  {lines}\nsteps: [{{name: a}}]\n");
    assert_snapshot!(messages("run", table, scenario));
}

#[test]
fn policies_in_scenarios_with_mistakes() {
    let policy = |namespace: &str, spec: &str| {
        step(&format!(
            "apply:\n  - apiVersion: networking.k8s.io/v1\n    kind: NetworkPolicy\n    metadata: {{name: p, namespace: {namespace}}}\n    spec:\n{spec}"
        ))
    };
    let elsewhere = message("run", "namespace.yaml", policy("elsewhere", "      podSelector: {}\n"));
    let selectors = policy("x", "      ingress:\n      - from:\n        - podSelectors: {}\n");
    assert_snapshot!(elsewhere + &message("run", "selectors.yaml", selectors));
}

#[test]
fn addresses_by_name_with_mistakes() {
    let table = r#"
        nobody     {cidr: "{x/q}/32"}
        service    {cidr: "{service:x/web}/32"}
        several    {cidr: "{x/*}/32"}
        form       {cidr: "{x/a}"}
        prefix     {cidr: "{x/a}/128"}
        hole       {cidr: 0.0.0.0/0, except: ["{x/a}/32", "{x/q}/32"]}
        outside    {cidr: 10.0.0.0/8, except: ["{x/a}/32"]}
        too-early  {cidr: "{x/d}/32"}"#;
    let mut messages = messages("run", table, |block| {
        let policy = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p, namespace: x}, spec: {";
        let ingress = format!("ingress: [{{from: [\n        {{ipBlock: {block}}}]}}]}}}}");
        step(&format!("apply:\n  - {policy}\n      {ingress}\n  addPod: [{{namespace: x, name: d}}]"))
    });
    messages += &message(
        "expect",
        "by-name.yaml",
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec: {ingress: [{from: [{ipBlock: {cidr: \"{x/a}/32\"}}]}]}\n",
    );
    assert_snapshot!(messages);
}

#[test]
fn manifests_that_the_api_server_would_refuse() {
    let policy = |spec: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: x}}\nspec:\n  {spec}\n"
        )
    };
    let rules = r#"
        end-port        ports: [{port: 90, endPort: 80}]
        end-port-alone  ports: [{endPort: 80}]
        end-port-name   ports: [{port: http, endPort: 80}]
        port-0          ports: [{port: 0}]
        port-65536      ports: [{port: 65536}]
        port-string     ports: [{port: "80"}]
        port-name       ports: [{port: HTTP}]
        protocol        ports: [{protocol: tcp, port: 80}]
        except          from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]
        except-same     from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}]
        cidr            from: [{ipBlock: {cidr: 10.0.0.0}}]
        beside          from: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]
        peer            from: [{}]
        null            from: [null]
        key             from: [{podSelector: {matchLabels: {-app: web}}}]
        value           from: [{podSelector: {matchLabels: {app: web server}}}]
        number          from: [{podSelector: {matchLabels: {app: 1}}}]
        yes             from: [{podSelector: {matchLabels: {app: yes}}}]
        in              from: [{podSelector: {matchExpressions: [{key: a, operator: In}]}}]
        exists          from: [{podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}]
        operator        from: [{podSelector: {matchExpressions: [{key: a, operator: Is, values: [b]}]}}]"#;
    let messages = [
        messages("expect", "selectors podSelectors: {matchLabels: {app: web}}", policy),
        messages("expect", rules, |rule| policy(&format!("podSelector: {{}}\n  ingress:\n  - {rule}"))),
        messages("expect", "types policyTypes: [ingress]", policy),
    ];
    assert_snapshot!(messages.concat());
}

#[test]
fn cluster_scoped_policies_that_the_api_server_would_refuse() {
    const SUBJECT: &str = "subject: {namespaces: {}}";
    let policy = |version: &str, kind: &str, spec: &str| {
        let name = if kind == "BaselineAdminNetworkPolicy" { "default" } else { "p" };
        format!(
            "apiVersion: policy.networking.k8s.io/{version}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
        )
    };
    let admin = |spec: &str| policy("v1alpha1", "AdminNetworkPolicy", spec);
    let with_subject = format!(
        "
        priority    {SUBJECT}
        1001        priority: 1001, {SUBJECT}
        subject     priority: 1, subject: {{}}
        subjects    priority: 1, subject: {{namespaces: {{}}, pods: {{podSelector: {{}}}}}}
        namespaces  priority: 1, subject: {{pods: {{podSelector: {{}}}}}}
        tier        priority: 1, {SUBJECT}, tier: Admin
        from        priority: 1, {SUBJECT}, ingress: [{{action: Deny, from: []}}]
        networks    priority: 1, {SUBJECT}, ingress: [{{action: Deny, from: [{{networks: [10.0.0.0/8]}}]}}]"
    );
    let egress = r"
        no-to      action: Deny
        accept     action: Accept, to: [{namespaces: {}}]
        peer       action: Deny, to: [{}]
        cidr       action: Deny, to: [{networks: [10.0.0.0]}]
        twice      action: Deny, to: [{networks: [10.0.0.0/8, 10.0.0.0/8]}]
        domains    action: Deny, to: [{domainNames: [example.com]}]
        domain     action: Accept, to: [{domainNames: [example.com, 'not a domain!']}]
        ports      action: Deny, to: [{namespaces: {}}], ports: []
        port       action: Deny, to: [{namespaces: {}}], ports: [{}]
        0          action: Deny, to: [{namespaces: {}}], ports: [{portNumber: {port: 0}}]
        range      action: Deny, to: [{namespaces: {}}], ports: [{portRange: {start: 90, end: 80}}]
        named      action: Deny, to: [{nodes: {}}], ports: [{namedPort: http}]
        protocols  action: Deny, to: [{namespaces: {}}], protocols: []";
    let pass = format!("pass {SUBJECT}, egress: [{{action: Pass, to: [{{namespaces: {{}}}}]}}]");
    let cluster = format!(
        r"
        tcp    to: [{{namespaces: {{}}}}], protocols: [{{tcp: {{}}}}]
        empty  to: [{{namespaces: {{}}}}], protocols: [{{tcp: {{destinationPort: {{}}}}}}]
        both   to: [{{namespaces: {{}}}}], protocols: [{{destinationNamedPort: a, udp: {{}}}}]
        same   to: [{{namespaces: {{}}}}], protocols: [{{udp: {{destinationPort: {{range: {{start: 80, end: 80}}}}}}}}]
        name   to: [{{networks: [10.0.0.0/8]}}], protocols: [{{destinationNamedPort: http}}]
        list   to: [{}]",
        "{namespaces: {}}, ".repeat(26)
    );
    let messages = [
        messages("expect", &with_subject, admin),
        messages("expect", egress, |rule| admin(&format!("priority: 1, {SUBJECT}, egress: [{{{rule}}}]"))),
        messages("expect", &pass, |spec| policy("v1alpha1", "BaselineAdminNetworkPolicy", spec)),
        message(
            "expect",
            "default.yaml",
            policy("v1alpha1", "BaselineAdminNetworkPolicy", SUBJECT).replace("name: default", "name: other"),
        ),
        messages("expect", &format!("no-tier tier: Base, priority: 1, {SUBJECT}"), |spec| {
            policy("v1alpha2", "ClusterNetworkPolicy", spec)
        }),
        messages("expect", &format!("old {SUBJECT}"), |spec| {
            policy("v1alpha1", "ClusterNetworkPolicy", spec)
        }),
        messages("expect", &cluster, |rule| {
            let spec = format!("tier: Admin, priority: 1, {SUBJECT}, egress: [{{action: Accept, {rule}}}]");
            policy("v1alpha2", "ClusterNetworkPolicy", &spec)
        }),
    ];
    assert_snapshot!(messages.concat());
}

#[test]
fn manifests_with_mistakes() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: x}\n";
    let other = pod.replace("name: a,", "labels: {app: other}, name: a,");
    let twice = message("expect", "twice.yaml", format!("{pod}---\n{other}"));
    // In same-name, only the last of the three containers repeats a name of its own.
    let table = r"
        labels     apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  lables: {a: b}
        port       POD\nspec: {containers: [{name: c, ports: [{containerPort: 80, name: Web}]}]}
        same-name  POD\nspec:\n  containers:\n  - {name: c, ports: [{containerPort: 80, name: web}]}\n  - {name: d, ports: [{containerPort: 81, name: web}]}\n  - name: e\n    ports:\n    - {containerPort: 53, name: dns, protocol: UDP}\n    - {containerPort: 53, name: dns}
        nameless   apiVersion: v1\nkind: Pod\nmetadata: {}
        version    apiVersion: extensions/v1beta1\nkind: Deployment\nmetadata: {name: a}
        template   apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec:\n  selector: {matchLabels: {app: a}}\n  template:\n    metadata: {labels: {app: b}}
        item       apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Namespace\n  metadata: {name: A}
        kindless   apiVersion: v1\nmetadata: {name: a}";
    let others = messages("expect", table, |content| content.replace("POD", pod.trim_end()) + "\n");
    assert_snapshot!(twice + &others);
}

/// Objects that the API server does not know must not be skipped. Regression: pods were shown as isolated by a policy
/// that the API server refuses.
#[test]
fn known_kinds_with_a_wrong_api_version_or_name() {
    let objects = "
        core            v1 NetworkPolicy
        short           networking/v1 NetworkPolicy
        group-only      networking.k8s.io NetworkPolicy
        beta            networking.k8s.io/v1beta1 NetworkPolicy
        case            networking.k8s.io/v1 Networkpolicy
        plural          networking.k8s.io/v1 NetworkPolicies
        deployment      v1 Deployment
        pod             apps/v1 Pod
        namespaces      v1 Namespaces
        policy          networking.k8s.io/v1 ClusterNetworkPolicy
        misspelt        networking.k8s.io/v1 NetworkPolice
        misspelt-plain  networking.k8s.io/v1 Ingres
        scenario        netproof.dev/v1alpha1 Scenario
        profile         netproof.dev/v1alpha1 Profile
        result          netproof.dev/v1alpha1 RunResult";
    let lists = r"
        items-case       v1 List Items:\nITEM
        items-twice      v1 List Items:\nITEMitems: []\n
        item             networking.k8s.io/v1 NetworkPolicyList item:\nITEM
        items            v1 ConfigMap items:\nITEM
        items-of-custom  example.com/v1 Rules Items: []\n
        no-items         v1 PodList
        mapping          v1 List items: {a: b}\n
        list-case        v1 list items:\nITEM
        list-group       v1 NetworkPolicyList items: []\n
        list-kind        v1 NetworkpolicyList items: []\n
        in-list          v1 List items:\nITEM- {apiVersion: v1, kind: NetworkPolicy, metadata: {name: a}}\n";
    let item = "- {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n";
    let object = |text: &str| {
        let (api_version, rest) = text.split_once(' ').unwrap();
        let (kind, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        format!("apiVersion: {api_version}\nkind: {kind}\n{}", rest.replace("ITEM", item))
    };
    let objects = messages("expect", objects, |text| object(text) + "metadata: {name: a}\n");
    assert_snapshot!(objects + &messages("expect", lists, object));
}

/// Reports show kinds as they are, so kinds that the API server cannot have are refused.
#[test]
fn invalid_kinds_and_api_versions() {
    let object = |name: &str, api_version: &str, kind: &str| {
        message("expect", name, format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: a}}\n"))
    };
    let messages = [
        object("colours.yaml", "evil.io/v1", r#""\e[2J\e[32mPASS\e[0m\nNetworkPolicy""#),
        object("c1.yaml", "evil.io/v1", r#""\x9b2J\u202eNetworkPolicy""#),
        object("line.yaml", "evil.io/v1", r#""X\nPASS  everything is isolated\nY""#),
        object("version.yaml", r#""apps/v1\nfake: line""#, "Deployment"),
        object("empty.yaml", "v1", "''"),
        message("expect", "list.yaml", "apiVersion: v1\nkind: \"X\\nList\"\nitems: []\n"),
    ];
    assert_snapshot!(messages.concat(), @r"
    error: bad/colours.yaml:2:7: kind: `\u{1b}[2J\u{1b}[32mPASS\u{1b}[0m\nNetworkPolicy` is not the name of a kind: use at most 63 letters, digits and `-`, and begin with a letter
    error: bad/c1.yaml:2:7: kind: `\u{9b}2J\u{202e}NetworkPolicy` is not the name of a kind: use at most 63 letters, digits and `-`, and begin with a letter
    error: bad/line.yaml:2:7: kind: `X\nPASS  everything is isolated\nY` is not the name of a kind: use at most 63 letters, digits and `-`, and begin with a letter
    error: bad/version.yaml:1:13: apiVersion: `apps/v1\nfake: line` is not an apiVersion: write it like `v1` or `networking.k8s.io/v1`
    error: bad/empty.yaml:2:7: kind: `` is not the name of a kind: use at most 63 letters, digits and `-`, and begin with a letter
    error: bad/list.yaml:2:7: kind: `X\nList` is not the name of a kind: use at most 63 letters, digits and `-`, and begin with a letter
    ");
}

/// kubectl reads these differently, or reads only a part of them.
#[test]
fn manifests_that_kubectl_reads_differently() {
    let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec:\n  podSelector: {}\n";
    let messages = [
        ("line-separator", format!("{policy}  # nobody may connect\u{2028}  ingress: [{{}}]\n")),
        ("dots", format!("{ONLY_POD}...\n{policy}")),
        ("flow", format!("{policy}  egress: [{{to: [{{ipBlock: {{cidr: ::/0}}}}]}}]\n")),
        ("directive", format!("%YAML 1.2\n---\n{ONLY_POD}")),
    ]
    .map(|(name, content)| message("expect", &format!("{name}.yaml"), content));
    assert_snapshot!(messages.concat(), @r"
    error: bad/line-separator.yaml:6:23: kubectl ends the line here, at the invisible character U+2028: write a line feed, or `\L` in double quotes
    error: bad/dots.yaml:5:1: kubectl ignores what follows `...`: write `---` on a line of its own before it
    error: bad/flow.yaml:6:35: kubectl does not read `::/0` in braces or brackets, because it begins with `:`: quote it
    error: bad/directive.yaml:1:1: kubectl reads no directives: remove this line
    ");
}

/// kustomize or Helm would still change these manifests, so they must not be read as they are.
#[test]
fn folders_whose_manifests_have_to_be_built() {
    for (folder, described) in [
        ("kustomize/overlays/prod", "kustomization.yaml"),
        ("kustomize/yml", "kustomization.yml"),
        ("kustomize/it's here", "Kustomization"),
        ("helm/shop", "Chart.yaml"),
    ] {
        file(&format!("bad/{folder}/{described}"), "namespace: shop\n");
        file(&format!("bad/{folder}/a/pod.yaml"), ONLY_POD);
    }
    file("bad/kustomize/bare/only/Kustomization", "namespace: shop\n");
    file("bad/kustomize/bare/pod.yaml", ONLY_POD);
    file("bad/helm/shop/templates/more/pod.yaml", ONLY_POD);
    let messages = [
        "kustomize/overlays/prod",
        "kustomize/yml",
        "kustomize/it's here",
        "helm/shop",
        "kustomize/overlays",
        "kustomize/bare",
        "helm/shop/templates/more",
        "helm/shop/Chart.yaml",
        "kustomize/yml/kustomization.yml",
    ]
    .map(|path| refusal(run(User::Root, ["expect", &format!("bad/{path}")])));
    assert_snapshot!(messages.concat());
}

#[test]
fn words_that_kubectl_reads_as_booleans() {
    let messages = messages("expect", "y ns: y\n N ns: N", |labels| {
        format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: a, labels: {{{labels}}}}}\n")
    });
    assert_snapshot!(messages, @"
    error: bad/y.yaml:3:34: Pod `a`: metadata.labels.ns: expected a string, found the boolean `true`: quote it
    error: bad/N.yaml:3:34: Pod `a`: metadata.labels.ns: expected a string, found the boolean `false`: quote it
    ");
}

#[test]
fn inputs_that_are_not_there() {
    std::fs::create_dir_all(folder().join("bad/nothing-in-it")).unwrap();
    file("bad/comments-only/a.yaml", "# nothing\n---\n");
    file("bad/comments-only/b.yaml", "");
    // Reading this scenario takes less time than reading the whole library.
    let scenario = &scenario_file("default-deny");
    let messages = [
        &["run", "bad/nothing-in-it"][..],
        &["expect", "bad/comments-only"],
        &["expect", "bad/comments-only/b.yaml"],
        &["run", "bad/not-there.yaml"],
        &["expect", "bad/not-there"],
        &["run", scenario, "--report", "bad/report.txt"],
        &["run", scenario, "--report", "bad/no/such/folder.xml"],
    ]
    .map(|arguments| refusal(run(User::Root, arguments)));
    assert_snapshot!(messages.concat());
}

#[test]
fn ten_megabytes_of_garbage() {
    let mut bytes = vec![0; 10 << 20];
    fastrand::Rng::with_seed(1).fill(&mut bytes);
    let letters = bytes.iter().map(|byte| b' ' + byte % 95).collect();
    let [word, brackets] = [b'x', b'['].map(|byte| vec![byte; bytes.len()]);
    let garbage =
        [("bytes.yaml", bytes), ("letters.yaml", letters), ("word.yaml", word), ("brackets.yaml", brackets)];
    for command in ["run", "expect"] {
        for (name, content) in &garbage {
            message(command, name, content);
        }
    }
}

#[test]
fn wrong_usage_is_explained() {
    for arguments in
        [&["run", "--fault", "nonsense"][..], &["run", "--settle", "5"], &["expect"], &["nonsense"], &[]]
    {
        let message = netproof(arguments, &[]).refusal();
        assert!(message.contains("--help") || message.contains("Usage"), "{arguments:?}: {message}");
    }
}

//! What netproof may do on a cluster: service accounts, admission, and prepared namespaces.

use std::thread::sleep;
use std::time::Duration;

use super::{Cluster, accused, profile, wait_for};
use crate::support::{User, file, kubeconfig, run, scenario_file};

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn what_cannot_work_is_refused_and_leaves_nothing() {
    let cluster = Cluster::named();
    let scenario = scenario_file("default-deny");
    let nowhere = file("nowhere.conf", kubeconfig("https://127.0.0.1:1", "wrong"));
    let stranger = file("stranger.conf", kubeconfig(&cluster.server(), "wrong"));
    let context = ["--context", &cluster.context];
    for (first, arguments, message) in [
        (&["--kubeconfig", "/nowhere"], &[][..], "no kubeconfig"),
        (&["--context", "nobody"], &[], "--context nobody: the kubeconfig knows"),
        (&["--kubeconfig", &nowhere], &[], "cannot reach the API server at https://127.0.0.1:1"),
        (&["--kubeconfig", &stranger], &[], "does not know this user"),
        (&context, &["--nodes", "nobody"], "--nodes nobody: the cluster has no such node"),
        (&context, &["--namespace-prefix", "kube"], "namespace kube-node-lease is there already"),
        (
            &context,
            &["--image", "netproof-probe:absent", "--image-pull-policy", "Never"],
            "ErrImageNeverPull",
        ),
        (
            &context,
            &["--image", "x", "--image-pull-secret", "default/nobody"],
            "--image-pull-secret default/nobody",
        ),
    ] {
        let all = [&["run", "--backend", "cluster", &scenario], &first[..], arguments].concat();
        let found = run(User::Root, all).refusal();
        assert!(found.contains(message), "{arguments:?}: {found}");
        cluster.check_clean();
    }
}

/// Writes a kubeconfig for a service account of the namespace `netproof`.
pub(super) fn kubeconfig_of(cluster: &Cluster, account: &str) -> String {
    let token = cluster.kubectl(&["create", "token", account, "-n", "netproof"]);
    file(&format!("{account}.conf"), kubeconfig(&cluster.server(), token.trim()))
}

/// An admission policy rejects pods, as quotas, limits and Pod Security do.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn pods_that_the_cluster_rejects_are_explained() {
    let cluster = Cluster::named();
    let manifest = file(
        "reject.yaml",
        "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: netproof-test}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules: [{apiGroups: [\"\"], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  validations: [{expression: \"false\", message: \"this cluster takes no pods\"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: netproof-test}
spec:
  policyName: netproof-test
  validationActions: [Deny]
  matchResources: {namespaceSelector: {matchLabels: {app.kubernetes.io/managed-by: netproof}}}
",
    );
    let policy = Applied::new(&cluster, manifest);
    // It takes a moment until the API server uses the policy.
    sleep(Duration::from_secs(2));
    let scenario = scenario_file("default-deny");
    let finished = cluster.run(&[&scenario]).exits(2);
    assert!(finished.stderr.contains("this cluster takes no pods"), "{}", finished.stderr);
    cluster.check_clean();
    drop(policy);
    wait_for(|| matches!(cluster.run(&[&scenario]).code, Some(0 | 1)));
}

/// A manifest that is in the cluster until the value is dropped.
pub(super) struct Applied<'a>(&'a Cluster, String);

impl<'a> Applied<'a> {
    pub(super) fn new(cluster: &'a Cluster, path: String) -> Self {
        cluster.kubectl(&["apply", "--validate=false", "-f", &path]);
        Self(cluster, path)
    }

    /// Applies manifests of `deploy/`.
    pub(super) fn deploy<const N: usize>(cluster: &'a Cluster, names: [&str; N]) -> [Self; N] {
        let path = |name| format!("{}/deploy/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        names.map(|name| Self::new(cluster, path(name)))
    }
}

impl Drop for Applied<'_> {
    fn drop(&mut self) {
        self.0.kubectl(&["delete", "--wait=true", "--ignore-not-found", "-f", &self.1]);
    }
}

/// Rights in all namespaces are close to cluster-admin. Admission restricts them to the namespaces of runs.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn the_service_account_of_deploy_is_kept_to_its_own() {
    let cluster = Cluster::named();
    let _applied = Applied::deploy(&cluster, ["account", "rbac", "admission"]);
    // It takes a moment until the API server uses the policies.
    sleep(Duration::from_secs(2));
    let account = "--as=system:serviceaccount:netproof:netproof";
    let refused = |name: &str, manifest: &str, message: &str| {
        let path = file(&format!("admission/{name}.yaml"), manifest);
        let refusal = cluster.refusal(&[account, "create", "--validate=false", "-f", &path]);
        assert!(refusal.contains(message), "{name}: {refusal}");
    };
    let namespace = |name: &str, labels: &str| {
        format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {{{labels}}}}}}}")
    };
    let restricted = "pod-security.kubernetes.io/enforce: restricted";
    refused("other", &namespace("kube-other", restricted), "may only create, change and delete namespaces");
    refused("open", &namespace("netproof-open", ""), "must enforce Pod Security restricted");
    let pod = |namespace: &str, spec: &str| {
        // Pod Security allows this.
        let security = "allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, runAsNonRoot: true,
            seccompProfile: {type: RuntimeDefault}";
        let container = format!("{{name: agent, image: x, securityContext: {{{security}}}}}");
        let metadata = format!("{{name: a, namespace: {namespace}}}");
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {metadata}, spec: {{containers: [{container}], {spec}}}}}"
        )
    };
    let no_token = "automountServiceAccountToken: false";
    refused("pod", &pod("default", no_token), "may only act in namespaces netproof-*");
    let path = file("admission/ours.yaml", namespace("netproof-test", restricted));
    cluster.kubectl(&[account, "create", "--validate=false", "-f", &path]);
    let _namespace = Applied(&cluster, path);
    refused("token", &pod("netproof-test", "restartPolicy: Never"), "may have no token");
    let volume = format!("{no_token}, volumes: [{{name: s, secret: {{secretName: s}}}}]");
    refused("volume", &pod("netproof-test", &volume), "may have no volumes");
    let volume = format!("{no_token}, volumes: [{{name: c, configMap: {{name: other}}}}]");
    refused("other-volume", &pod("netproof-test", &volume), "may have no volumes");
    let map = "{apiVersion: v1, kind: ConfigMap, metadata: {name: netproof-x, namespace: default}}";
    refused("map", map, "may only act in namespaces netproof-*");
    let service = "{apiVersion: v1, kind: Service, metadata: {name: s, namespace: netproof-test},
        spec: {externalIPs: [192.0.2.1], ports: [{port: 80}]}}";
    refused("service", service, "may only have addresses of the cluster");
    let refusal = cluster.refusal(&[account, "delete", "namespace", "netproof"]);
    assert!(refusal.contains("may only create, change and delete namespaces"), "{refusal}");
}

/// The rights of `deploy/` are enough. Without them, the message has the missing rights as YAML.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn the_service_account_of_deploy_can_do_everything() {
    let cluster = Cluster::named();
    let _applied = Applied::deploy(&cluster, ["account", "rbac", "admission"]);
    let scenario = scenario_file("pods-come-and-go");
    let on_cluster = |account: &str| {
        let first = ["run", "--backend", "cluster", "--kubeconfig", &kubeconfig_of(&cluster, account)];
        let options = [&scenario, "--settle", "3s", "--save-configmap", "netproof/netproof-result"];
        run(User::Root, first.into_iter().chain(options))
    };
    let finished = on_cluster("netproof");
    assert!(matches!(finished.code, Some(0 | 1)), "{finished:?}");
    let saved = "jsonpath={.data.exit-code}";
    let saved = cluster.kubectl(&["get", "configmap", "netproof-result", "-n", "netproof", "-o", saved]);
    assert_eq!(Some(saved), finished.code.map(|code| code.to_string()));

    let finished = on_cluster("default").exits(2);
    let missing = "      resources: [pods/portforward]\n      verbs: [create, get]\n";
    assert!(finished.stderr.contains(missing), "{finished:?}");
    cluster.check_clean();
}

/// The account cannot create namespaces, and has rights only in prepared ones.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn prepared_namespaces_are_enough_and_are_as_they_were_afterwards() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let _applied = Applied::deploy(&cluster, ["account", "prepared", "admission"]);
    let names: Vec<String> = (1..=13).map(|number| format!("netproof-{number:02}")).collect();
    let labels = || {
        let path = "jsonpath={range .items[*]}{.metadata.name}{.metadata.labels}{.metadata.annotations}{end}";
        cluster.kubectl(&["get", "namespaces", "-o", path])
    };
    // A label that another user set has to stay.
    cluster.kubectl(&["label", "namespace", "netproof-03", "team=blue"]);
    let before = labels();
    let config = kubeconfig_of(&cluster, "netproof");
    let on_cluster = |names: &[String], options: &[&str]| {
        let names = names.join(",");
        let first = ["run", "--backend", "cluster", "--kubeconfig", &config, "--prepared-namespaces", &names];
        run(User::Root, [&first, profile(), options].concat())
    };
    // The labels and names of namespaces matter, and pods are added and removed.
    let [labels_change, deny, pods_change] =
        ["namespace-labels", "default-deny", "pods-come-and-go"].map(scenario_file);
    let options = [&labels_change, &deny, &pods_change, "-o", "json", "--parallel", "4"];
    let finished = on_cluster(&names, &options);
    let report = finished.json();
    assert_eq!(accused(&report), Vec::<String>::new(), "{}", finished.stdout);
    assert_eq!(finished.code, Some(0), "{}", finished.stdout);
    assert_eq!(report["counts"]["inconclusive"], 0, "{}", finished.stdout);
    assert_eq!(labels(), before);
    for kind in ["pods", "networkpolicies", "services", "configmaps"] {
        let left = cluster.kubectl(&["get", kind, "-A", "-l", "netproof.dev/run", "-o", "name"]);
        assert_eq!(left, "");
    }

    // One scenario needs more namespaces. The other one is run.
    let wide = scenario_file("ten-namespaces");
    let finished = on_cluster(&names[..4], &[&deny, &wide, "-o", "json"]).exits(3);
    let report = finished.json();
    assert!(finished.stdout.contains("name 7 more with --prepared-namespaces"), "{}", finished.stdout);
    assert!(report["scenarios"].as_array().unwrap().iter().any(|scenario| scenario["outcome"] == "pass"));
    assert_eq!(labels(), before);

    // The namespaces of a killed run are in use until cleanup, and cleanup does not delete them.
    let joined = names.join(",");
    let own = ["cleanup", "--kubeconfig", &config, "--prepared-namespaces", &joined];
    let everywhere = ["cleanup", "--yes", "--context", &cluster.context];
    for cleanup in [&own[..], &everywhere[..]] {
        let mut running = cluster.start(&["--prepared-namespaces", &joined, &pods_change]);
        wait_for(|| !cluster.kubectl(&["get", "ns", "-l", "netproof.dev/run", "-o", "name"]).is_empty());
        running.kill().unwrap();
        running.wait().unwrap();
        let finished = on_cluster(&names, &[&deny]).exits(2);
        assert!(finished.stderr.contains("netproof cleanup --prepared-namespaces netproof-"), "{finished:?}");
        let finished = run(User::Root, cleanup).exits(0);
        assert!(finished.stdout.contains("removed netproof-"), "{finished:?}");
        assert_eq!(labels(), before);
        assert_eq!(cluster.kubectl(&["get", "pods", "-A", "-l", "netproof.dev/run", "-o", "name"]), "");
    }
}

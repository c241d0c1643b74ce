//! Clusters that restrict the images and the resources of pods.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use super::access::Applied;
use super::{Cluster, in_network, state, up, wait_for};
use crate::support::{Finished, file, scenario_file};

/// The image of the sandboxes of `tests/cluster/up`, which all nodes have.
const PAUSE: &str = "localhost/netproof-pause:1";

/// Another name of it, which netproof prefers.
const PREFERRED: &str = "localhost/a-pause:1";

/// A run waits longer for a pod than for the tests, so a run that does not wait ends before.
const PATIENT: [&str; 2] = ["--pod-timeout", "1h"];

impl Cluster {
    /// Runs one scenario.
    fn run_one(&self, options: &[&str]) -> Finished {
        self.run(&[&[&scenario_file("default-deny")[..], "-o", "json"], &PATIENT[..], options].concat())
    }

    /// Checks that pods start. The cluster may enforce nothing.
    #[track_caller]
    fn check_starts(&self, options: &[&str]) {
        let finished = self.run_one(options);
        assert!(matches!(finished.code, Some(0 | 1)), "{options:?}: {finished:?}");
        assert_eq!(finished.json()["counts"]["inconclusive"], 0, "{options:?}: {}", finished.stdout);
    }

    /// Checks that a run ends with this message, and leaves nothing.
    #[track_caller]
    fn check_refused(&self, options: &[&str], parts: &[&str]) {
        let finished = self.run_one(options).exits(2);
        for part in parts {
            assert!(finished.stderr.contains(part), "{options:?}: {part}: {}", finished.stderr);
        }
        self.check_clean();
    }

    fn images(&self, node: &str) -> String {
        self.kubectl(&["get", "node", node, "-o", "jsonpath={.status.images}"])
    }
}

/// A file of node 2's kubelet, which is restored when the value is dropped.
struct Kubelet(String);

impl Kubelet {
    fn path() -> PathBuf {
        state().join("np-node2/kubelet.yaml")
    }

    /// Restarts the kubelet of node 2 with one more line in its configuration.
    fn with(line: &str) -> Self {
        let before = fs::read_to_string(Self::path()).unwrap();
        Self::restart(&format!("{before}{line}\n"));
        Self(before)
    }

    fn restart(configuration: &str) {
        up(&["stop-kubelet", "2"]);
        fs::write(Self::path(), configuration).unwrap();
        up(&["start-kubelet", "2"]);
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        Self::restart(&self.0);
    }
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_node_that_reports_no_images_has_those_of_its_pods() {
    let Some(cluster) = Cluster::with_nodes() else { return };
    let kubelet = Kubelet::with("nodeStatusMaxImages: 0");
    wait_for(|| cluster.images("np-node2").is_empty());
    cluster.check_refused(&[], &["the node np-node2 reports no image", "--base-image"]);
    cluster.check_starts(&["--base-image", PAUSE]);

    let pod = file(
        "on-node2.yaml",
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: on-node2, namespace: default}}, spec: {{nodeName: np-node2, \
             terminationGracePeriodSeconds: 0, containers: [{{name: pause, image: \"{PAUSE}\"}}]}}}}"
        ),
    );
    let pod = Applied::new(&cluster, pod);
    wait_for(|| cluster.kubectl(&["get", "pod", "on-node2", "-o", "jsonpath={.status.phase}"]) == "Running");
    cluster.check_starts(&[]);
    drop((pod, kubelet));
    wait_for(|| cluster.images("np-node2").contains(PAUSE));
}

/// A node deletes images that no pod uses, and reports that late.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn an_image_that_cannot_be_used_is_replaced_by_another() {
    let Some(cluster) = Cluster::with_nodes() else { return };
    for node in ["1", "2"] {
        up(&["ctr", node, "images", "tag", PAUSE, PREFERRED]);
    }
    wait_for(|| ["np-node1", "np-node2"].iter().all(|node| cluster.images(node).contains(PREFERRED)));
    {
        let _policy = Applied::new(&cluster, image_policy(&format!("c.image != '{PREFERRED}'")));
        // It takes a moment until the API server uses the policy.
        sleep(Duration::from_secs(2));
        cluster.check_starts(&[]);
    }
    up(&["ctr", "2", "images", "rm", PREFERRED]);
    cluster.check_starts(&[]);
    up(&["ctr", "1", "images", "rm", PREFERRED]);
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn an_image_policy_that_allows_no_image_of_the_nodes_is_explained() {
    let cluster = Cluster::named();
    let _policy = Applied::new(&cluster, image_policy("c.image.startsWith('registry.example/')"));
    sleep(Duration::from_secs(2));
    cluster.check_refused(&[], &["only images of registry.example", "--base-image"]);
    // The policy allows the image, and no node has it.
    let allowed = ["--base-image", "registry.example/base:1", "--image-pull-policy", "Never"];
    cluster.check_refused(&allowed, &["ErrImageNeverPull", "the node does not have it", "--base-image"]);
}

/// Writes a policy that accepts a pod of netproof if this holds for each of its containers.
fn image_policy(condition: &str) -> String {
    let manifest = format!(
        "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: netproof-images}}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules: [{{apiGroups: [\"\"], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [pods]}}]
  validations: [{{expression: \"object.spec.containers.all(c, {condition})\", message: only images of registry.example}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: netproof-images}}
spec:
  policyName: netproof-images
  validationActions: [Deny]
  matchResources: {{namespaceSelector: {{matchLabels: {{app.kubernetes.io/managed-by: netproof}}}}}}
"
    );
    file("image-policy.yaml", manifest)
}

/// A component of the control plane with one more argument, which it loses when the value is dropped.
struct Changed(&'static str);

impl Changed {
    fn new(component: &'static str, argument: &str) -> Self {
        up(&["restart", component, argument]);
        Self(component)
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        up(&["restart", self.0]);
    }
}

/// Nothing listens at the registry `localhost`.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_cluster_that_pulls_every_image_again_is_explained() {
    let Some(cluster) = Cluster::with_nodes() else { return };
    let _server = Changed::new("apiserver", "--enable-admission-plugins=AlwaysPullImages");
    let causes = ["AlwaysPullImages", "the node does not reach the registry"];
    cluster.check_refused(&[], &[&causes[..], &["with --base-image, and with --image-pull-secret"]].concat());
    cluster.check_refused(
        &["--image", "localhost/probe:1"],
        &[&causes[..], &["push it to a registry"]].concat(),
    );
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn an_image_that_is_nowhere_is_refused() {
    let cluster = Cluster::named();
    for (option, advice) in [("--image", "leave --image out"), ("--base-image", "leave it out")] {
        let image = [option, "localhost:1/absent:1"];
        cluster.check_refused(&image, &["ErrImagePull", "the node does not reach the registry", advice]);
    }
    cluster.check_refused(&["--image", "Not An Image"], &["Not An Image"]);
}

/// The port of registries that do not answer.
const SILENT: &str = "5999";

/// Listens at the address `localhost` of a node. The kernel accepts connections, and nothing answers.
fn silent_registry(node: &str) -> TcpListener {
    let network = Path::new("/run/netns").join(node);
    in_network(&network, || TcpListener::bind(format!("127.0.0.1:{SILENT}")).unwrap()).join().unwrap()
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn an_image_pull_that_hangs_is_explained() {
    let Some(cluster) = Cluster::with_nodes() else { return };
    let _registries = ["np-node1", "np-node2"].map(silent_registry);
    let image = format!("localhost:{SILENT}/probe:1");
    let options = [&scenario_file("default-deny"), "--image", &image, "--pod-timeout", "8s"];
    let message = cluster.run(&options).refusal();
    let pulling = format!("the kubelet says: Pulling image \"{image}\"");
    for part in ["its image is not there after 7 s", "its registry may be slow or out of reach", &pulling] {
        assert!(message.contains(part), "{part}: {message}");
    }
    cluster.check_clean();
}

/// Prepared namespaces with Pod Security `restricted`, a ResourceQuota and a LimitRange.
fn limited(hard: &str, limit: &str) -> String {
    let namespaces = ["netproof-a", "netproof-b", "netproof-c", "netproof-d"].map(|name| {
        format!(
            "apiVersion: v1
kind: Namespace
metadata: {{name: {name}, labels: {{pod-security.kubernetes.io/enforce: restricted, test: limits}}}}
---
apiVersion: v1
kind: ResourceQuota
metadata: {{name: quota, namespace: {name}}}
spec: {{hard: {{{hard}}}}}
---
apiVersion: v1
kind: LimitRange
metadata: {{name: limits, namespace: {name}}}
spec: {{limits: [{{type: Container, {limit}}}]}}
---
"
        )
    });
    file("limited.yaml", namespaces.concat())
}

/// With a quota of these, each pod has to name its requests and limits.
const ENOUGH: &str = "requests.cpu: '1', requests.memory: 1Gi, limits.cpu: '16', limits.memory: 2Gi, pods: '20', configmaps: '5'";

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn quotas_and_limits_are_kept_or_explained() {
    let cluster = Cluster::named();
    let prepared = ["--prepared-namespaces", "netproof-a,netproof-b,netproof-c,netproof-d"];
    let fits = "min: {cpu: 1m, memory: 4Mi}, max: {cpu: '1', memory: 1Gi}, defaultRequest: {cpu: 100m}";
    let adapted = [
        "--pod-requests",
        "cpu=100m,ephemeral-storage=1Mi",
        "--pod-limits",
        "cpu=200m,ephemeral-storage=8Mi",
    ];
    let storage = "requests.ephemeral-storage: 1Gi, limits.ephemeral-storage: 1Gi";
    let demanding = "min: {cpu: 100m}, max: {cpu: 200m}, maxLimitRequestRatio: {cpu: '2'}";
    let limits = "a LimitRange of the namespace demands this";
    let cases: [(&str, &str, &[&str], &[&str]); 7] = [
        (ENOUGH, fits, &[], &[]),
        (ENOUGH, "min: {cpu: 100m}", &[], &["minimum cpu usage per Container is 100m", limits]),
        (ENOUGH, "max: {memory: 32Mi}", &[], &["maximum memory usage per Container is 32Mi", limits]),
        (ENOUGH, "maxLimitRequestRatio: {cpu: '4'}", &[], &["cpu max limit to request ratio", limits]),
        (storage, demanding, &adapted, &[]),
        ("pods: '2'", fits, &[], &["exceeded quota: quota", "raise the quota"]),
        (
            "configmaps: '1'",
            fits,
            &[],
            &["create the ConfigMap with the agent", "exceeded quota: quota", "--image"],
        ),
    ];
    let _namespaces = Applied::new(&cluster, limited(ENOUGH, fits));
    for (hard, limit, options, refusal) in cases {
        cluster.kubectl(&["apply", "--validate=false", "-f", &limited(hard, limit)]);
        // The controller needs a moment to count what there is.
        wait_for(|| {
            let path = "jsonpath={range .items[*]}{.spec.hard}={.status.hard}{\"\\n\"}{end}";
            let quotas = cluster.kubectl(&["get", "resourcequotas", "-A", "-o", path]);
            quotas.lines().all(|quota| quota.split_once('=').is_some_and(|(spec, status)| spec == status))
        });
        let options = [&prepared[..], options].concat();
        match refusal {
            [] => cluster.check_starts(&options),
            parts => cluster.check_refused(&options, parts),
        }
    }
}

/// Many clusters have a controller that adds a quota to each new namespace. The quota refuses everything until it was
/// counted. Without service accounts, no pod is created before the test has added the quota.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_quota_that_is_added_to_new_namespaces_is_kept_or_explained() {
    let Some(cluster) = Cluster::with_nodes() else { return };
    let exceeded = &["exceeded quota: quota", "raise the quota"][..];
    for (hard, refusal) in [(ENOUGH, &[][..]), ("pods: '1'", exceeded)] {
        let quota = format!(
            "{{apiVersion: v1, kind: ResourceQuota, metadata: {{name: quota}}, spec: {{hard: {{{hard}}}}}}}"
        );
        let controllers = "--controllers=*,-serviceaccount-controller,-resourcequota-controller";
        let stopped = Changed::new("controller-manager", controllers);
        let running = cluster.start(&[&scenario_file("default-deny"), "-o", "json"]);
        wait_for(|| !cluster.namespaces().is_empty());
        for namespace in cluster.namespaces() {
            cluster.kubectl(&["apply", "-n", &namespace, "-f", &file("quota.yaml", &quota)]);
        }
        drop(stopped);
        let finished = Finished::from(running.wait_with_output().unwrap());
        match refusal {
            [] => assert_eq!(finished.json()["counts"]["inconclusive"], 0, "{finished:?}"),
            parts => assert!(parts.iter().all(|part| finished.stderr.contains(part)), "{finished:?}"),
        }
        cluster.check_clean();
    }
}

//! The workloads beside which checks of a live cluster run.

use netproof::policy::{Labels, Namespace, Node, Pod};
use netproof::snapshot::Identity;
use netproof::world::World;
use serde_json::Value;

use super::access::Applied;
use super::{Cluster, wait_for};
use crate::support::file;

const NAMESPACE_AND_SERVICES: &str = "apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 80}]}
";

/// The pods of the Deployment are on different nodes.
const AFFINITY: &str = "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [
        {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: web}}}]}}";

/// Returns the manifest of a controller. `spec` and `of_pods` are fields of its own spec, and of that of its pods.
fn controller(kind: &str, name: &str, spec: &str, of_pods: &str) -> String {
    format!(
        "---
apiVersion: apps/v1
kind: {kind}
metadata: {{name: {name}, namespace: shop}}
spec:
  {spec}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      {of_pods}
      terminationGracePeriodSeconds: 0
      securityContext: {{runAsNonRoot: true, runAsUser: 1000, seccompProfile: {{type: RuntimeDefault}}}}
      containers:
      - name: main
        image: localhost/netproof-pause:1
        imagePullPolicy: IfNotPresent
        securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
"
    )
}

/// Workloads that run until the value is dropped.
pub(super) struct Workloads<'a> {
    cluster: &'a Cluster,
    _applied: Applied<'a>,
}

impl<'a> Workloads<'a> {
    pub(super) fn start(cluster: &'a Cluster) -> Self {
        let controllers = [
            controller("Deployment", "web", "replicas: 2", AFFINITY),
            controller("StatefulSet", "db", "serviceName: db", ""),
            controller("DaemonSet", "log", "", ""),
        ];
        let manifests = NAMESPACE_AND_SERVICES.to_owned() + &controllers.concat();
        let applied = Applied::new(cluster, file("workloads.yaml", manifests));
        for workload in ["deployment/web", "statefulset/db", "daemonset/log"] {
            cluster.kubectl(&["rollout", "status", workload, "-n", "shop", "--timeout=60s"]);
        }
        Self { cluster, _applied: applied }
    }

    /// Returns the pods of the workloads with their labels and nodes.
    pub(super) fn pods(&self) -> Vec<Pod> {
        self.cluster.pods_of_shop("!netproof.dev/run")
    }

    /// Returns a state with a twin of each of these pods.
    pub(super) fn world(&self) -> World {
        let mut world = World::default();
        world.cluster.namespaces = vec![Namespace::new("shop", Labels::new())];
        for pod in self.pods() {
            let twin = Pod { name: format!("{}@twin", pod.name), ..pod.clone() };
            world.twins.insert(Identity::of_pod(&twin));
            let node = pod.node.clone().unwrap();
            if !world.cluster.nodes.iter().any(|known| known.name == node) {
                let (addresses, external_addresses) = (Vec::new(), Vec::new());
                world.cluster.nodes.push(Node { name: node, addresses, external_addresses });
            }
            world.cluster.pods.extend([pod, twin]);
        }
        world
    }
}

impl Cluster {
    pub(super) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.kubectl(&[arguments, &["-o", "json"]].concat())).unwrap()
    }

    /// Returns the pods with these labels in the namespace of the workloads.
    pub(super) fn pods_of_shop(&self, selector: &str) -> Vec<Pod> {
        let pods = self.json(&["get", "pods", "-n", "shop", "-l", selector]);
        let pods = pods["items"].as_array().unwrap().iter().map(|pod| Pod {
            namespace: "shop".to_owned(),
            name: pod["metadata"]["name"].as_str().unwrap().to_owned(),
            labels: serde_json::from_value(pod["metadata"]["labels"].clone()).unwrap(),
            node: Some(pod["spec"]["nodeName"].as_str().unwrap().to_owned()),
            ..Pod::default()
        });
        pods.collect()
    }

    /// Waits until a quota counts this many pods, which is a moment after it was added.
    pub(super) fn wait_for_quota(&self, namespace: &str, name: &str, pods: &str) {
        let path = "jsonpath={.status.used.pods}";
        wait_for(|| self.kubectl(&["get", "resourcequota", name, "-n", namespace, "-o", path]) == pods);
    }
}

/// A namespace that is being deleted. When the value is dropped, the deletion ends.
pub(super) struct Terminating<'a> {
    cluster: &'a Cluster,
    namespace: &'a str,
}

impl<'a> Terminating<'a> {
    pub(super) fn start(cluster: &'a Cluster, namespace: &'a str) -> Self {
        // A finalizer keeps the namespace.
        let keeper = format!(
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: keeper, namespace: {namespace}, \
             finalizers: [netproof.dev/test]}}}}"
        );
        cluster.kubectl(&["apply", "--validate=false", "-f", &file("keeper.yaml", keeper)]);
        cluster.kubectl(&["delete", "namespace", namespace, "--wait=false"]);
        Self { cluster, namespace }
    }
}

impl Drop for Terminating<'_> {
    fn drop(&mut self) {
        let release = "{\"metadata\": {\"finalizers\": null}}";
        let merge = ["--type=merge", "-p", release];
        self.cluster.kubectl(&[&["patch", "configmap", "keeper", "-n", self.namespace], &merge[..]].concat());
        let own = format!("namespace/{}", self.namespace);
        wait_for(|| self.cluster.kubectl(&["get", "namespaces", "-o", "name"]).lines().all(|it| it != own));
    }
}

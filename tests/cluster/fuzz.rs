//! Random cases on the cluster.

use super::access::Applied;
use super::cleanup::CleaningUp;
use super::{Cluster, profile};
use crate::support::{Finished, User, file, run};

/// The seed makes the cases repeatable. On a cluster that enforces nothing, the disagreements would be shrunk, which takes
/// minutes.
const SHORT: [&str; 6] = ["--cases", "2", "--seed", "1", "--save", "found-on-cluster"];

impl Cluster {
    fn fuzz(&self, options: &[&str]) -> Finished {
        run(User::Root, self.arguments_of("fuzz", &[&SHORT, profile(), options].concat()))
    }
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn fuzz_prints_its_verdict_before_the_namespaces_are_removed() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let running = CleaningUp::wait(&cluster, cluster.start_command("fuzz", &[&SHORT, profile()].concat()));
    assert_eq!(running.end(), "");
    cluster.check_clean();
}

/// Regression: fuzz named such kinds, and passed.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn fuzz_does_not_pass_with_policies_that_are_not_modelled() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let kind = "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ciliumnetworkpolicies.cilium.io}
spec:
  group: cilium.io
  scope: Namespaced
  names: {plural: ciliumnetworkpolicies, singular: ciliumnetworkpolicy, kind: CiliumNetworkPolicy}
  versions:
  - name: v2
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";
    let _kind = Applied::new(&cluster, file("cilium-kind.yaml", kind));
    cluster.kubectl(&["wait", "--for=condition=Established", "crd/ciliumnetworkpolicies.cilium.io"]);
    let policy =
        "{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: a, namespace: default}}";
    let _policy = Applied::new(&cluster, file("cilium-policy.yaml", policy));
    let table = cluster.fuzz(&[]).exits(3).stdout;
    assert!(table.starts_with("INCONCLUSIVE"), "{table}");
    assert!(table.contains("not modelled: CiliumNetworkPolicy.cilium.io (1)"), "{table}");
    cluster.fuzz(&["--accept-unmodelled", "CiliumNetworkPolicy"]).exits(0);
    cluster.check_clean();
}

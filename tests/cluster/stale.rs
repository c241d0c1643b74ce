//! `netproof verify --through-nodes`: running pods are sources and destinations, and rules about one of them that are out of
//! date are found.

use std::thread::sleep;
use std::time::Duration;

use super::guide::Guide;
use super::through::{Frozen, allow_by_hand};
use super::verify::check_isolated;
use super::{Cluster, wait_for};
use crate::support::Finished;
use crate::verify::{blames, differences, texts};

/// The rules about one running pod are wrong, and those about its twin, which is a new pod, are right.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn stale_rules_of_a_running_pod_are_found_through_its_node_and_nowhere_else() {
    let Some(cluster) = Cluster::with_kube_router() else { return };
    let guide = Guide::start(&cluster);
    let before = cluster.foreign_objects();
    let document = guide.verify(&["-o", "json", "--through-nodes"]).exits(0).json();
    check_isolated(&document);
    assert!(document["coverage"]["entered"].as_u64() > Some(6), "{}", document["coverage"]);
    assert_eq!(guide.left(), "");
    assert_eq!(cluster.foreign_objects(), before);

    let checking = guide.start_verify(&["-o", "json", "--through-nodes", "--repeat", "8"]);
    // kube-router has to know the new pods before it stops.
    let phases = ["get", "pods", "-A", "-l", "netproof.dev/run", "-o", "jsonpath={.items[*].status.phase}"];
    wait_for(|| {
        let phases = cluster.kubectl(&phases);
        phases.split(' ').count() > 20 && phases.split(' ').all(|phase| phase == "Running")
    });
    sleep(Duration::from_secs(6));
    let frozen = Frozen::new();
    let pods = guide.pods("ingress-shared", "ingress");
    let addresses: Vec<_> = pods.iter().map(|pod| guide.address("ingress-shared", pod)).collect();
    addresses.iter().for_each(|address| allow_by_hand(*address));
    let finished = Finished::from(checking.wait_with_output().unwrap());
    drop(frozen);
    let document = finished.exits(1).json();
    assert_eq!(blames(&document), ["enforcementGap"].into());
    let sources = texts(differences(&document).iter().map(|it| &it["from"]));
    let pods: Vec<String> = pods.iter().map(|pod| format!("ingress-shared/{pod}")).collect();
    assert!(!sources.is_empty(), "{document}");
    assert!(sources.iter().all(|from| pods.iter().any(|pod| pod == from)), "{sources:?}");
    assert_eq!(guide.left(), "");
}

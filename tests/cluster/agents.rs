//! How the agent comes to the nodes: in ConfigMaps, or in an image.

use netproof::image::DEFAULT_IMAGE;

use super::{Cluster, skipped};
use crate::support::{User, run, scenario_file};

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_run_needs_no_image() {
    let cluster = Cluster::named();
    let finished = cluster.run(&[&scenario_file("default-deny"), "--keep", "-o", "json"]);
    assert!(matches!(finished.code, Some(0 | 1)), "{finished:?}");
    assert_eq!(finished.json()["counts"]["inconclusive"], 0, "{}", finished.stdout);
    // The nodes may have the image of the agent. It is not used.
    let images = cluster.of_runs("pods", ".spec.containers[*].image");
    assert!(!images.is_empty() && images.iter().all(|image| !image.contains("netproof-probe")), "{images:?}");
    let levels = cluster.of_runs("namespaces", ".metadata.labels['pod-security\\.kubernetes\\.io/enforce']");
    assert!(!levels.is_empty() && levels.iter().all(|level| level == "restricted"), "{levels:?}");
    let immutable = cluster.of_runs("configmaps", ".immutable");
    assert!(!immutable.is_empty() && immutable.iter().all(|immutable| immutable == "true"), "{immutable:?}");
    run(User::Root, ["cleanup", "--yes", "--context", &cluster.context]).exits(0);
    cluster.check_clean();
    assert_eq!(cluster.of_runs("configmaps", ".metadata.name"), [""; 0]);
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_run_can_use_an_image() {
    let cluster = Cluster::named();
    let image = ["--image", DEFAULT_IMAGE, "--image-pull-policy", "Never"];
    let finished = cluster.run(&[&[&scenario_file("default-deny")[..], "--keep"], &image[..]].concat());
    if finished.stderr.contains("ErrImageNeverPull") {
        return skipped("the nodes do not have the probe image");
    }
    assert!(matches!(finished.code, Some(0 | 1)), "{finished:?}");
    let images = cluster.of_runs("pods", ".spec.containers[*].image");
    assert!(!images.is_empty() && images.iter().all(|image| image == DEFAULT_IMAGE), "{images:?}");
    assert_eq!(cluster.of_runs("configmaps", ".metadata.name"), [""; 0]);
    run(User::Root, ["cleanup", "--yes", "--context", &cluster.context]).exits(0);
    cluster.check_clean();
}

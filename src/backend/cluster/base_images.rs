//! Choice of the images that the agent runs in, if it comes in a ConfigMap. By default, these are images that the
//! nodes have, so nothing is pulled.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, ListParams};

use super::agent_source::Host;
use super::request::{bounded, persistently};
use super::survey::{NodeImage, SurveyedNode};
use crate::backend::Error;

/// Maximum number of images that are tried on a node.
const CANDIDATES: usize = 6;

/// Returns for each node with one of these names what its agents need. A node that reports no image has those of its
/// running pods.
pub(super) async fn find(
    client: &Client,
    nodes: &[SurveyedNode],
    names: &[String],
) -> Result<BTreeMap<String, Host>, Error> {
    let used = nodes.iter().filter(|node| names.contains(&node.name)).cloned();
    let used = bounded(used.map(async |mut node| {
        if usable(&node).next().is_none() {
            node.images = of_running_pods(client, &node.name).await;
        }
        Ok(node)
    }));
    choose(&used.await?)
}

/// Returns for each node with one of these names what its agents need, if they run in this image.
pub(super) fn named(nodes: &[SurveyedNode], names: &[String], image: &str) -> BTreeMap<String, Host> {
    let used = nodes.iter().filter(|node| names.contains(&node.name));
    let host = |node: &SurveyedNode| Host {
        architecture: node.architecture.clone(),
        images: vec![image.to_owned()],
    };
    used.map(|node| (node.name.clone(), host(node))).collect()
}

/// Returns for each node what its agents need.
///
/// The first image is one that the node has already, in this order: a pause image, which the kubelet keeps and
/// which every user may run; then the image that most of the nodes have, because those that all nodes have
/// are part of the cluster. A node reports only its 50 largest images, so the pause image may be missing.
fn choose(nodes: &[SurveyedNode]) -> Result<BTreeMap<String, Host>, Error> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for image in nodes.iter().flat_map(|node| &node.images) {
        *counts.entry(&image.name).or_default() += 1;
    }
    let rank = |image: &&NodeImage| {
        let count = counts.get(image.name.as_str()).copied().unwrap_or_default();
        // Of several names, one with a tag is easier to read.
        (!is_pause(&image.name), Reverse(count), has_digest(&image.name), image.size, image.name.clone())
    };
    let hosts = nodes.iter().map(|node| {
        let mut images: Vec<&NodeImage> = usable(node).collect();
        images.sort_by_cached_key(rank);
        if images.is_empty() {
            return Err(Error::Unavailable(format!(
                "the node {} reports no image, and no pod that this user may list runs there: name an image that the node \
                 has, or that it can pull, with --base-image. The agent runs in it and uses nothing of it",
                node.name
            )));
        }
        let images = diverse(images.iter().map(|image| image.name.as_str()));
        Ok((node.name.clone(), Host { architecture: node.architecture.clone(), images }))
    });
    hosts.collect()
}

/// Returns the images to try, best first. The cluster may refuse images of a registry, or images without a digest, so
/// the best image of each registry with and without a digest comes before the others.
fn diverse<'a>(ranked: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut kinds = BTreeSet::new();
    let (first, others): (Vec<&str>, Vec<&str>) =
        ranked.partition(|image| kinds.insert((registry(image).to_owned(), has_digest(image))));
    let mut images: Vec<String> = Vec::new();
    for image in first.into_iter().chain(others) {
        if images.len() < CANDIDATES && !images.iter().any(|known| known == image) {
            images.push(image.to_owned());
        }
    }
    images
}

/// Returns the images of the pods that run on a node, or none if the user may not list them.
async fn of_running_pods(client: &Client, node: &str) -> Vec<NodeImage> {
    let on_node = ListParams::default().fields(&format!("spec.nodeName={node},status.phase=Running"));
    // Users of prepared namespaces often may list the pods of the cluster's own namespace, but not all.
    for pods in [Api::<Pod>::all(client.clone()), Api::namespaced(client.clone(), "kube-system")] {
        if let Ok(found) = persistently(async || pods.list(&on_node).await).await {
            return found.items.iter().flat_map(running_images).collect();
        }
    }
    Vec::new()
}

/// Returns the images of a pod's running containers, as the pod names them.
fn running_images(pod: &Pod) -> Vec<NodeImage> {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let runs = |name: &str| {
        let mut of_container = statuses.clone().filter(|status| status.name == name);
        of_container.any(|status| status.state.as_ref().is_some_and(|state| state.running.is_some()))
    };
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let images = containers.filter(|container| runs(&container.name)).filter_map(|it| it.image.clone());
    images.map(|name| NodeImage { name, size: 0 }).collect()
}

fn usable(node: &SurveyedNode) -> impl Iterator<Item = &NodeImage> {
    node.images.iter().filter(|image| is_reference(&image.name))
}

fn has_digest(image: &str) -> bool {
    image.contains('@')
}

/// Returns the registry of an image. Without a slash, there is none in the name.
fn registry(image: &str) -> &str {
    image.split_once('/').map_or("", |(registry, _)| registry)
}

fn is_pause(image: &str) -> bool {
    image.rsplit('/').next().is_some_and(|last| last.contains("pause"))
}

/// Returns whether a pod can name this image. Runtimes report images without a name as `<none>`.
fn is_reference(image: &str) -> bool {
    !image.is_empty() && !image.contains('<')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a node with these images, given by name and size.
    fn node(name: &str, images: &[(&str, i64)]) -> SurveyedNode {
        let images = images.iter().map(|(name, size)| NodeImage { name: (*name).to_owned(), size: *size });
        SurveyedNode { images: images.collect(), ..SurveyedNode::ready(name) }
    }

    #[test]
    fn the_agent_runs_in_an_image_that_the_node_has() {
        const PAUSE: (&str, i64) = ("registry.example/pause:3.10", 300);
        const PAUSE_BY_DIGEST: (&str, i64) = ("registry.example/pause@sha256:00", 300);
        const OLD_PAUSE: (&str, i64) = ("registry.example/pause:3.9", 200);
        const PROXY: (&str, i64) = ("registry.example/kube-proxy:1", 9000);
        const DNS: (&str, i64) = ("registry.example/dns:1", 5000);
        const SHOP: (&str, i64) = ("registry.example/pause-team/shop:1", 1);
        const NAMELESS: (&str, i64) = ("<none>@<none>", 0);
        type Case<'a> = (&'a [(&'a str, i64)], &'a [(&'a str, i64)], Option<[&'a str; 2]>);
        let cases: [Case<'_>; 9] = [
            // The pause image comes first, by its tag, whatever else there is.
            (&[SHOP, PROXY, PAUSE_BY_DIGEST, PAUSE], &[PAUSE, PROXY], Some([PAUSE.0, PAUSE.0])),
            (&[PAUSE_BY_DIGEST, SHOP], &[PAUSE_BY_DIGEST], Some([PAUSE_BY_DIGEST.0; 2])),
            // Of several pause images, the one that more nodes have.
            (&[OLD_PAUSE, PAUSE], &[PAUSE], Some([PAUSE.0; 2])),
            // Nodes need not have the same.
            (&[OLD_PAUSE], &[PAUSE], Some([OLD_PAUSE.0, PAUSE.0])),
            (&[PAUSE, PROXY], &[PROXY, SHOP], Some([PAUSE.0, PROXY.0])),
            // Without a pause image, one that all nodes have, and of these the smallest.
            (&[SHOP, PROXY, DNS], &[DNS, PROXY], Some([DNS.0; 2])),
            (&[SHOP, NAMELESS], &[DNS], Some([SHOP.0, DNS.0])),
            (&[PAUSE], &[], None),
            (&[NAMELESS], &[PAUSE], None),
        ];
        for (first, second, expected) in cases {
            let chosen = choose(&[node("a", first), node("b", second)]);
            let Some(expected) = expected else {
                let message = chosen.unwrap_err().to_string();
                assert!(message.contains("with --base-image"), "{message}");
                continue;
            };
            let images: Vec<String> =
                chosen.unwrap().into_values().map(|host| host.images[0].clone()).collect();
            assert_eq!(images, expected, "{first:?}, {second:?}");
        }
    }

    #[test]
    fn each_node_needs_the_agent_for_its_own_architecture() {
        let arm = SurveyedNode { architecture: "arm64".to_owned(), ..node("b", &[("pause", 1)]) };
        let hosts = choose(&[node("a", &[("pause", 1)]), arm]).unwrap();
        let architectures: Vec<String> = hosts.into_values().map(|host| host.architecture).collect();
        assert_eq!(architectures, ["amd64", "arm64"]);
    }

    #[test]
    fn other_registries_and_digests_are_tried_before_more_of_the_same() {
        let ranked =
            ["a.example/pause:1", "a.example/pause:0", "a.example/pause@sha256:0", "b.example/x:1", "plain"];
        let tried = diverse(ranked.iter().copied());
        assert_eq!(
            tried,
            ["a.example/pause:1", "a.example/pause@sha256:0", "b.example/x:1", "plain", "a.example/pause:0"]
        );
        let many: Vec<String> = (0..20).map(|number| format!("image-{number}")).collect();
        assert_eq!(diverse(many.iter().map(String::as_str)), &many[..CANDIDATES]);
    }

    /// The kubelet found these images on the node under the names that the pod uses.
    #[test]
    fn only_containers_that_run_show_that_the_node_has_their_image() {
        let status = |name: &str, state: &str| {
            serde_json::json!({"name": name, "image": "sha256:00", "imageID": "",
            "ready": true, "restartCount": 0, "state": {state: {}}})
        };
        let pod = serde_json::json!({
            "metadata": {},
            "spec": {"containers": [{"name": "a", "image": "dns:1"}, {"name": "b", "image": "absent:1"}, {"name": "c"}]},
            "status": {"containerStatuses": [status("a", "running"), status("b", "waiting"), status("c", "running")]}});
        let images = running_images(&serde_json::from_value(pod).unwrap());
        assert_eq!(images, [NodeImage { name: "dns:1".to_owned(), size: 0 }]);
    }
}

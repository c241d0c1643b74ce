//! Choice of the images that the agent runs in, if it comes in a ConfigMap. Nothing is pulled.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::agent_source::Host;
use super::survey::{NodeImage, SurveyedNode};
use crate::backend::Error;

/// Returns for each node with one of these names what its agents need.
///
/// The image is one that the node has already, in this order: a pause image, which the kubelet keeps and
/// which every user may run; then the image that most of the nodes have, because those that all nodes have
/// are part of the cluster. A node reports only its 50 largest images, so the pause image may be missing.
pub(super) fn choose(nodes: &[SurveyedNode], names: &[String]) -> Result<BTreeMap<String, Host>, Error> {
    let used: Vec<&SurveyedNode> = nodes.iter().filter(|node| names.contains(&node.name)).collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for image in used.iter().flat_map(|node| &node.images) {
        *counts.entry(&image.name).or_default() += 1;
    }
    let rank = |image: &&NodeImage| {
        let count = counts.get(image.name.as_str()).copied().unwrap_or_default();
        // Of several names, one with a tag is easier to read.
        (!is_pause(&image.name), Reverse(count), image.name.contains('@'), image.size, image.name.clone())
    };
    let hosts = used.into_iter().map(|node| {
        let usable = node.images.iter().filter(|image| is_reference(&image.name));
        let Some(image) = usable.min_by_key(rank) else {
            return Err(Error::Unavailable(format!(
                "the node {} reports no image in which the agent could run: make one of the agent with `netproof image`, \
                 and name it with --image",
                node.name
            )));
        };
        let host = Host { architecture: node.architecture.clone(), image: image.name.clone() };
        Ok((node.name.clone(), host))
    });
    hosts.collect()
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
        let names = ["a", "b"].map(str::to_owned);
        for (first, second, expected) in cases {
            // The images of nodes that the run does not use are of no importance.
            let nodes =
                [node("other", &[]), node("a", first), node("b", second), node("more", &[SHOP, SHOP])];
            let chosen = choose(&nodes, &names);
            let Some(expected) = expected else {
                let message = chosen.unwrap_err().to_string();
                assert!(message.ends_with("name it with --image"), "{message}");
                continue;
            };
            let images: Vec<String> = chosen.unwrap().into_values().map(|host| host.image).collect();
            assert_eq!(images, expected, "{first:?}, {second:?}");
        }
    }

    #[test]
    fn each_node_needs_the_agent_for_its_own_architecture() {
        let arm = SurveyedNode { architecture: "arm64".to_owned(), ..node("b", &[("pause", 1)]) };
        let hosts = choose(&[node("a", &[("pause", 1)]), arm], &["a".to_owned(), "b".to_owned()]).unwrap();
        let architectures: Vec<String> = hosts.into_values().map(|host| host.architecture).collect();
        assert_eq!(architectures, ["amd64", "arm64"]);
    }
}

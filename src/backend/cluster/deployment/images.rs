//! The images of starting pods. If a node cannot use one, the pods try the next.

use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::Deployment;
use crate::backend::Error;
use crate::backend::cluster::advice::{self, UnusableImage};
use crate::backend::cluster::agent_source::ImageChoice;
use crate::backend::cluster::objects::AGENT;
use crate::backend::cluster::request::{bounded, persistently, say};
use crate::backend::cluster::settings::PullPolicy;
use crate::backend::cluster::shared::Shared;
use crate::snapshot::Identity;

/// Maximum time in which other images are tried.
const TRYING: Duration = Duration::from_secs(15);

/// Maximum time for which a node may pull an image that it should have. If the node has its layers, this is one request
/// to the registry.
const PULL: Duration = Duration::from_secs(10);

/// Time in which an API server answers.
const ANSWER: Duration = Duration::from_secs(1);

impl Deployment {
    /// Replaces images that nodes cannot use, while pods start. Returns only if a pod cannot get an image.
    pub(super) async fn replace_images(&self, pods: &[Identity]) -> Error {
        let Shared { watch, maker, .. } = &*self.shared;
        let patience = match maker.source.image_choice() {
            ImageChoice::Found => PULL,
            // The user may know that it takes long.
            ImageChoice::Base | ImageChoice::WithAgent => maker.settings.pod_timeout.saturating_sub(ANSWER),
        };
        let start = Instant::now();
        let mut may_hang = true;
        loop {
            let replaced = tokio::select! {
                unusable = watch.unusable_images(pods) => {
                    let is_late = start.elapsed() > TRYING;
                    bounded(unusable.iter().map(|(pod, image)| self.replace_image(pod, image, is_late))).await
                }
                () = sleep_until(start + patience), if may_hang => {
                    may_hang = false;
                    bounded(pods.iter().map(|pod| self.check_pull(pod, patience))).await
                }
            };
            if let Err(error) = replaced {
                return error;
            }
        }
    }

    /// Gives a starting pod another image. Returns an error if there is none.
    async fn replace_image(
        &self,
        pod: &Identity,
        unusable: &UnusableImage,
        is_late: bool,
    ) -> Result<(), Error> {
        let Shared { client, watch, maker, .. } = &*self.shared;
        let UnusableImage { node, image, .. } = unusable;
        let pods: Api<core::Pod> = Api::namespaced(client.clone(), &pod.namespace);
        let mut failed = image.as_str();
        while !is_late && maker.source.has_other_image(node, failed) {
            let other = maker.source.image(node)?;
            tracing::debug!("pod {pod}: trying the image {other} instead of {image}: {}", unusable.why);
            let patch = json!({"spec": {"containers": [{"name": AGENT, "image": other}]}});
            let patched = persistently(async || {
                pods.patch(&pod.name, &PatchParams::default(), &Patch::Strategic(&patch)).await
            });
            match patched.await {
                Ok(_) => return watch.is_replaced(pod, image).await,
                Err(error) if advice::is_about_images(&say(&error)) => failed = other,
                Err(error) => {
                    return Err(Error::failed(format!("change the image of pod {pod}"), say(&error)));
                }
            }
        }
        let pulls_always = maker.settings.image_pull_policy == Some(PullPolicy::Always);
        let why = unusable.explain(maker.source.image_choice(), pulls_always);
        Err(Error::failed(format!("start pod {pod}"), why))
    }

    /// Returns an error if the node is still pulling the image of a starting pod. A hanging registry looks like this.
    async fn check_pull(&self, pod: &Identity, since: Duration) -> Result<(), Error> {
        let Shared { watch, maker, .. } = &*self.shared;
        match watch.pull(pod).await {
            None => Ok(()),
            Some(pull) => {
                let advice = advice::for_hanging_pull(maker.source.image_choice());
                let why = format!(
                    "its image is not there after {} s; {advice}; the kubelet says: {pull}",
                    since.as_secs()
                );
                Err(Error::failed(format!("start pod {pod}"), why))
            }
        }
    }
}

//! What to do if the cluster refuses the run's pods, or cannot start them.

use k8s_openapi::api::core::v1::Pod;

use super::agent_source::ImageChoice;
use super::objects::AGENT;
use super::site;

/// The kubelet's reasons for a container without an image.
pub(super) const IMAGE_REASONS: [&str; 7] = [
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "RegistryUnavailable",
    "SignatureValidationFailed",
];

/// An image in which a node cannot start the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnusableImage {
    /// The node.
    pub(super) node: String,
    /// The image, as the pod names it.
    pub(super) image: String,
    /// The kubelet's reason and message.
    pub(super) why: String,
    /// Whether the pod demands that the node pulls the image, even if the node has it.
    pub(super) is_always_pulled: bool,
}

impl UnusableImage {
    /// Returns the image that a pod's node cannot use. `None` if there is no such problem, or not yet.
    pub(super) fn of(pod: &Pod) -> Option<Self> {
        let mut statuses = pod.status.as_ref()?.container_statuses.iter().flatten();
        let status = statuses.find(|status| status.name == AGENT)?;
        let waiting = status.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref().filter(|reason| IMAGE_REASONS.contains(reason))?;
        let spec = pod.spec.as_ref();
        let container =
            spec.and_then(|spec| spec.containers.iter().find(|container| container.name == AGENT));
        Some(Self {
            node: spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
            image: status.image.clone(),
            why: reason_and_message(reason, waiting.message.as_deref()),
            is_always_pulled: container.and_then(|it| it.image_pull_policy.as_deref()) == Some("Always"),
        })
    }

    /// Returns whether the pod still uses this image. After a change, the status is about the previous image for a
    /// moment.
    pub(super) fn is_current(&self, pod: &Pod) -> bool {
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let mut agents = containers.filter(|container| container.name == AGENT);
        agents.all(|container| container.image.as_ref() == Some(&self.image))
    }

    /// Describes the failure, its probable cause, and what to do. `pulls_always` says whether the user wants the image
    /// to be pulled.
    pub(super) fn explain(&self, choice: ImageChoice, pulls_always: bool) -> String {
        let cause = cause(&self.why);
        let is_pulled_again = self.is_always_pulled && !pulls_always;
        let advice = match (choice, cause) {
            (ImageChoice::WithAgent | ImageChoice::Base, Some(Cause::Login)) => {
                "check the name, or name a Secret for pulling it: --image-pull-secret NAMESPACE/NAME"
            }
            (ImageChoice::WithAgent, _) if is_pulled_again => "push it to a registry that the nodes reach",
            (ImageChoice::WithAgent, _) => {
                "load it with `netproof image`, or leave --image out: netproof brings the agent with it"
            }
            (ImageChoice::Base, _) => {
                "name another one with --base-image, or leave it out: netproof then uses an image that the node has"
            }
            (ImageChoice::Found, _) => {
                "name any image that the nodes can pull, with --base-image, and with --image-pull-secret if its registry \
                 needs a login"
            }
        };
        let again = is_pulled_again.then_some("the cluster pulls every image again (AlwaysPullImages)");
        let causes: Vec<&str> = again.into_iter().chain(cause.map(Cause::sentence)).collect();
        let causes = if causes.is_empty() { String::new() } else { format!("{}; ", causes.join(", and ")) };
        let Self { node, image, why, .. } = self;
        format!("node {node} cannot use the image {image}: {causes}{advice}; the kubelet says: {why}")
    }
}

/// Returns a reason and its message, as they are written in the API, on one line.
pub(super) fn reason_and_message(reason: &str, message: Option<&str>) -> String {
    message.map_or_else(|| reason.to_owned(), |message| format!("{reason}: {message}"))
}

/// Returns what to do if a node pulls an image for too long.
pub(super) fn for_hanging_pull(choice: ImageChoice) -> &'static str {
    match choice {
        ImageChoice::Found => {
            "the node does not have this image any more, or the cluster pulls every image again (AlwaysPullImages): name \
             any image that the nodes can pull, with --base-image"
        }
        ImageChoice::Base | ImageChoice::WithAgent => {
            "its registry may be slow or out of reach: wait longer with --pod-timeout, or leave the image out: netproof \
             then uses one that the node has"
        }
    }
}

/// Why a node does not get an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    NotOnNode,
    BadName,
    Unsigned,
    Certificate,
    Login,
    NotInRegistry,
    Limited,
    Unreachable,
}

/// Words in the messages of container runtimes, in the order in which they decide.
const CAUSES: [(Cause, &[&str]); 8] = [
    (Cause::NotOnNode, &["errimageneverpull"]),
    (Cause::BadName, &["invalidimagename"]),
    (Cause::Unsigned, &["signaturevalidationfailed", "signature"]),
    (Cause::Certificate, &["x509", "certificate"]),
    (Cause::Limited, &["toomanyrequests", "too many requests", "rate limit"]),
    (
        Cause::Login,
        &[
            "unauthorized",
            "authorization",
            "authentication",
            "basic auth",
            "denied",
            "forbidden",
            " 401",
            " 403",
        ],
    ),
    (
        Cause::Unreachable,
        &[
            "no such host",
            "connection refused",
            "timeout",
            "dial tcp",
            "deadline exceeded",
            "registryunavailable",
        ],
    ),
    (Cause::NotInRegistry, &["not found", "manifest unknown", "does not exist"]),
];

impl Cause {
    fn sentence(self) -> &'static str {
        match self {
            Self::NotOnNode => "the node does not have it",
            Self::BadName => "this is not the name of an image",
            Self::Unsigned => "the node accepts only signed images",
            Self::Certificate => "the node does not trust the registry",
            Self::Login => "the registry demands a login, or has no such image",
            Self::NotInRegistry => "the registry has no such image",
            Self::Limited => "the registry limits pulls",
            Self::Unreachable => "the node does not reach the registry",
        }
    }
}

fn cause(why: &str) -> Option<Cause> {
    let why = why.to_lowercase();
    let mut causes = CAUSES.iter();
    causes.find(|(_, words)| words.iter().any(|word| why.contains(word))).map(|(cause, _)| *cause)
}

/// Returns whether an image may be the reason why the API server refuses a pod.
pub(super) fn is_about_images(refusal: &str) -> bool {
    let refusal = refusal.to_lowercase();
    ["image", "registr", "digest"].iter().any(|word| refusal.contains(word))
}

/// Adds what to do to the API server's reason for refusing a pod with this image.
pub(super) fn explain_refusal(refusal: &str, image: &str, choice: ImageChoice) -> String {
    if is_about_images(refusal) {
        let advice = match choice {
            ImageChoice::WithAgent => "name an allowed one with --image, or leave --image out",
            ImageChoice::Base => "name an allowed one with --base-image",
            ImageChoice::Found => {
                "name any allowed image with --base-image, or an allowed one of the agent with --image"
            }
        };
        return format!("{refusal}; if the image {image} is the reason, {advice}");
    }
    let advice = if refusal.contains("exceeded quota") {
        "raise the quota, or run fewer scenarios at once (--parallel 1)"
    } else if refusal.contains("per Container is") || refusal.contains("per Pod is") {
        "a LimitRange of the namespace demands this: set what it accepts with --pod-requests and --pod-limits"
    } else {
        return site::explain_refusal(refusal);
    };
    format!("{refusal}; {advice}")
}

/// Returns what to do if the packed agent ended with this exit code, or could not be started. The loader's exit codes are
/// in its `main.rs`.
pub(super) fn for_exit(code: i32, said: &str) -> Option<&'static str> {
    let said = said.to_lowercase();
    if said.contains("exec format error") {
        return Some(
            "the node cannot run programs of the architecture that it reports: leave it out with --nodes",
        );
    }
    match code {
        65 => Some("another program changed the ConfigMap, or this netproof is damaged: install it again"),
        66 => Some("the node does not let the agent read its own file: use an image of the agent (--image)"),
        70 => Some("this is a bug of netproof: please report it"),
        73 => Some("the node runs no program from memory: use an image of the agent (--image)"),
        // The runtime could not start the container.
        126..=128 if said.contains("permission denied") => Some(
            "a security module of the node forbids programs from a ConfigMap: use an image of the agent (--image)",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unusable(why: &str, is_always_pulled: bool) -> UnusableImage {
        let (node, image) = ("n".to_owned(), "registry.example/a:1".to_owned());
        UnusableImage { node, image, why: why.to_owned(), is_always_pulled }
    }

    /// Messages of containerd and CRI-O.
    #[test]
    fn an_image_that_a_node_cannot_use_is_explained() {
        let refused = "ErrImagePull: failed to do request: Head \"https://registry.example/v2/a/manifests/1\": dial tcp \
                       10.0.0.1:443: connect: connection refused";
        let login = "ErrImagePull: pull access denied, repository does not exist or may require authorization: server \
                     message: insufficient_scope: authorization failed";
        let token = "ErrImagePull: failed to authorize: failed to fetch anonymous token: unexpected status: 403 Forbidden";
        let absent = "ErrImagePull: rpc error: code = NotFound desc = failed to resolve reference \
                      \"registry.example/a:1\": registry.example/a:1: not found";
        let unsigned = "SignatureValidationFailed: image pull failed for registry.example/a:1 because the signature \
                        validation failed: Source image rejected: A signature was required, but no signature exists";
        let explained = [
            unusable(refused, true).explain(ImageChoice::Found, false),
            unusable(refused, true).explain(ImageChoice::WithAgent, true),
            unusable(login, false).explain(ImageChoice::WithAgent, false),
            unusable(token, false).explain(ImageChoice::Base, false),
            unusable(absent, false).explain(ImageChoice::WithAgent, false),
            unusable(absent, false).explain(ImageChoice::Base, false),
            unusable("ErrImageNeverPull: Container image is not present with pull policy of Never", false)
                .explain(ImageChoice::WithAgent, false),
            unusable(unsigned, false).explain(ImageChoice::Found, false),
            unusable("ImagePullBackOff", false).explain(ImageChoice::Found, false),
        ];
        insta::assert_snapshot!(explained.join("\n\n"));
    }

    /// Messages of ValidatingAdmissionPolicies, ImagePolicyWebhook, Kyverno, Gatekeeper, ResourceQuota and LimitRanger.
    #[test]
    fn a_refused_pod_is_explained() {
        let refusals = [
            "pods \"a\" is forbidden: ValidatingAdmissionPolicy 'registries' with binding 'registries' denied request: images \
             must come from registry.example",
            "pods \"a\" is forbidden: image policy webhook backend denied one or more images: no",
            "admission webhook \"validate.kyverno.svc-fail\" denied the request: resource Pod/x/a was blocked due to the \
             following policies require-image-digest: check-digest: validation error: Using a digest is required.",
            "admission webhook \"validation.gatekeeper.sh\" denied the request: [repos] container <agent> has an invalid \
             image repo <pause>, allowed repos are [\"registry.example\"]",
            "pods \"a\" is forbidden: exceeded quota: team, requested: pods=1, used: pods=5, limited: pods=5",
            "pods \"a\" is forbidden: minimum cpu usage per Container is 100m, but request is 5m",
            "pods \"a\" is forbidden: violates PodSecurity \"restricted:latest\": forbidden sysctls",
        ];
        let choices = [ImageChoice::Found, ImageChoice::Base, ImageChoice::WithAgent].into_iter().cycle();
        let explained =
            refusals.iter().zip(choices).map(|(refusal, choice)| explain_refusal(refusal, "pause", choice));
        insta::assert_snapshot!(explained.collect::<Vec<_>>().join("\n\n"));
    }

    #[test]
    fn exit_codes_of_the_loader_are_explained() {
        for code in [65, 66, 70, 73] {
            assert!(for_exit(code, "netproof-loader: …").is_some(), "{code}");
        }
        let denied = "exec: \"/netproof/netproof-probe\": permission denied";
        assert!(for_exit(128, denied).unwrap().contains("security module"));
        assert!(
            for_exit(1, "exec /netproof/netproof-probe: exec format error").unwrap().contains("architecture")
        );
        assert_eq!(for_exit(137, "OOMKilled"), None);
        assert_eq!(for_exit(2, "permission denied"), None, "this is what the agent says");
    }
}

//! Manifests, scenarios and kubeconfigs as text. Fields in flow style are written without the braces around them.

/// The containers of a pod about whose ports nothing is known.
const CONTAINERS: &str = "containers: [{name: c, image: c}]";

/// Returns a manifest in block style. `rest` consists of whole lines.
pub(crate) fn object(api_version: &str, kind: &str, metadata: &str, rest: &str) -> String {
    format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{{metadata}}}\n{rest}---\n")
}

/// Returns a Pod. `spec` lacks the containers.
pub(crate) fn pod(metadata: &str, spec: &str, status: &str) -> String {
    let spec = [spec, CONTAINERS].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
    object("v1", "Pod", metadata, &format!("spec: {{{spec}}}\nstatus: {{{status}}}\n"))
}

/// Returns a Pod with the label `app`, whose value is the pod's name.
pub(crate) fn pod_in(namespace: &str, name: &str, spec: &str, addresses: &[&str]) -> String {
    let addresses: Vec<_> = addresses.iter().map(|address| format!("{{ip: '{address}'}}")).collect();
    let metadata = format!("name: {name}, namespace: {namespace}, labels: {{app: {name}}}");
    pod(&metadata, spec, &format!("podIPs: [{}]", addresses.join(", ")))
}

/// Returns Pods of the namespace `default`.
pub(crate) fn pods(names: &[&str]) -> String {
    let pod = |name: &&str| {
        let metadata = format!("name: {name}, labels: {{app: {name}}}");
        object("v1", "Pod", &metadata, &format!("spec: {{{CONTAINERS}}}\n"))
    };
    names.iter().map(pod).collect()
}

/// Returns a workload of `apps/v1` whose pods have these labels. It selects them by the first one.
pub(crate) fn workload(kind: &str, metadata: &str, spec: &str, labels: &str) -> String {
    let selected = labels.split(',').next().unwrap_or_default();
    let template = format!("{{metadata: {{labels: {{{labels}}}}}, spec: {{{CONTAINERS}}}}}");
    let spec = if spec.is_empty() { String::new() } else { format!("{spec}, ") };
    let spec = format!("spec: {{{spec}selector: {{matchLabels: {{{selected}}}}}, template: {template}}}\n");
    object("apps/v1", kind, metadata, &spec)
}

/// Returns a NetworkPolicy.
pub(crate) fn policy(metadata: &str, spec: &str) -> String {
    object("networking.k8s.io/v1", "NetworkPolicy", metadata, &format!("spec: {{{spec}}}\n"))
}

/// Returns a cluster-scoped policy of a version of the API.
pub(crate) fn cluster_policy(version: &str, kind: &str, name: &str, spec: &str) -> String {
    let api_version = format!("policy.networking.k8s.io/{version}");
    object(&api_version, kind, &format!("name: {name}"), &format!("spec: {{{spec}}}\n"))
}

/// Returns a Service. `status` is a whole line or empty.
pub(crate) fn service(metadata: &str, spec: &str, status: &str) -> String {
    object("v1", "Service", metadata, &format!("spec: {{{spec}}}\n{status}"))
}

/// Returns a scenario. `steps` are list items in block style, such as those of [`policy_step`].
pub(crate) fn scenario(name: &str, topology: &str, probes: &str, steps: &str) -> String {
    format!(
        "apiVersion: netproof.dev/v1alpha1
kind: Scenario
metadata: {{name: {name}}}
topology: {{{topology}}}
probes: [{probes}]
steps:
{steps}"
    )
}

/// Returns a step that applies a NetworkPolicy. Other fields can follow.
pub(crate) fn policy_step(step: &str, namespace: &str, policy: &str, spec: &str) -> String {
    format!(
        "- name: {step}
  apply:
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {{name: {policy}, namespace: {namespace}}}
    spec: {{{spec}}}
"
    )
}

/// Returns a kubeconfig with a token.
pub(crate) fn kubeconfig(server: &str, token: &str) -> String {
    format!(
        "apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: \"{server}\", insecure-skip-tls-verify: true}}}}]
users: [{{name: u, user: {{token: {token}}}}}]
contexts: [{{name: c, context: {{cluster: c, user: u}}}}]
current-context: c
"
    )
}

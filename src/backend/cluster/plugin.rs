//! Recognition of the network plugin by what it leaves in the API.
//!
//! A plugin that runs as a plain process on the nodes, and writes nothing to the API, stays unknown.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroup, ObjectMeta};
use kube::api::ListParams;
use kube::{Client, ResourceExt};

use super::request::{list, list_everywhere};

/// A network plugin, and the signs by which it is recognized.
#[derive(Debug)]
pub(super) struct Plugin {
    pub(super) name: &'static str,
    /// Name of the built-in profile with its known deviations.
    pub(super) profile: Option<&'static str>,
    /// Prefixes of the names of its pods in kube-system, and of their label [`APP`] in any namespace.
    pods: &'static [&'static str],
    /// Prefixes of the annotations that it sets on nodes.
    annotations: &'static [&'static str],
    /// API groups of its own kinds of objects.
    groups: &'static [&'static str],
}

/// Label with the name of a system component.
const APP: &str = "k8s-app";

/// Annotation of K3s with the arguments of a node: those of the command line and those of the configuration file.
const K3S_ARGUMENTS: &str = "k3s.io/node-args";

/// Maximum count of pods that are searched for the label [`APP`].
const MOST_PODS: u32 = 500;

const fn plugin(
    name: &'static str,
    pods: &'static [&'static str],
    annotations: &'static [&'static str],
    groups: &'static [&'static str],
) -> Plugin {
    Plugin { name, profile: None, pods, annotations, groups }
}

impl Plugin {
    const fn with_profile(self, profile: &'static str) -> Self {
        Self { profile: Some(profile), ..self }
    }
}

static PLUGINS: [Plugin; 12] = [
    plugin("Cilium", &["cilium"], &["network.cilium.io/"], &["cilium.io"]).with_profile("cilium"),
    plugin("Calico", &["calico-node", "canal"], &["projectcalico.org/"], &["crd.projectcalico.org"]),
    plugin("Antrea", &["antrea-agent"], &["node.antrea.io/"], &["crd.antrea.io"]),
    plugin("OVN-Kubernetes", &["ovnkube"], &["k8s.ovn.org/"], &["k8s.ovn.org"])
        .with_profile("ovn-kubernetes"),
    plugin("Kube-OVN", &["kube-ovn"], &["ovn.kubernetes.io/"], &["kubeovn.io"]),
    plugin("kube-router", &["kube-router"], &["kube-router.io/"], &[]).with_profile("kube-router"),
    plugin("kindnet", &["kindnet"], &[], &[]).with_profile("kindnet"),
    plugin("kube-network-policies", &["kube-network-policies"], &[], &[]),
    plugin("Amazon VPC CNI", &["aws-node"], &[], &["networking.k8s.aws"]).with_profile("aws-vpc-cni"),
    plugin("Azure NPM", &["azure-npm"], &[], &[]),
    plugin("GKE Dataplane V2", &["anetd"], &[], &[]),
    plugin("Weave Net", &["weave-net"], &[], &[]),
];

/// K3s contains the policy controller of kube-router, beside the Flannel that it also contains.
/// See <https://docs.k3s.io/networking/networking-services#network-policy-controller>.
static K3S: Plugin = plugin("kube-router, as part of K3s", &[], &[], &[]).with_profile("kube-router");

static FLANNEL: Plugin = plugin(
    "Flannel, which enforces nothing by itself",
    &["kube-flannel"],
    &["flannel.alpha.coreos.com/"],
    &[],
);

/// Recognizes the plugin of a cluster with these nodes and API groups. Without the right to list pods, it may remain
/// unknown.
pub(super) async fn find(
    client: &Client,
    nodes: &[&ObjectMeta],
    groups: &[APIGroup],
) -> Option<&'static Plugin> {
    let system = list::<Pod>(client, "kube-system", &ListParams::default()).await.unwrap_or_default();
    let apps = system.iter().filter_map(|pod| pod.labels().get(APP).cloned());
    let pods: Vec<String> = system.iter().map(ResourceExt::name_any).chain(apps).collect();
    if let Some(plugin) = recognize(&pods, nodes, groups) {
        return Some(plugin);
    }
    let names: Vec<&str> = PLUGINS.iter().flat_map(|plugin| plugin.pods).copied().collect();
    let elsewhere = ListParams::default().labels(&format!("{APP} in ({})", names.join(","))).limit(MOST_PODS);
    let elsewhere = list_everywhere::<Pod>(client, &elsewhere).await.unwrap_or_default();
    let apps: Vec<String> = elsewhere.iter().filter_map(|pod| pod.labels().get(APP).cloned()).collect();
    // Flannel is the network of plugins that only enforce policies.
    recognize(&apps, &[], &[]).or_else(|| has_sign(&FLANNEL, &pods, nodes, groups).then_some(&FLANNEL))
}

/// Recognizes a plugin that enforces policies. `pods` are names of pods and values of their label [`APP`].
fn recognize(pods: &[String], nodes: &[&ObjectMeta], groups: &[APIGroup]) -> Option<&'static Plugin> {
    let found = PLUGINS.iter().find(|plugin| has_sign(plugin, pods, nodes, groups));
    found.or_else(|| is_k3s_enforcing(nodes).then_some(&K3S))
}

fn has_sign(plugin: &Plugin, pods: &[String], nodes: &[&ObjectMeta], groups: &[APIGroup]) -> bool {
    let begins = |text: &str, beginnings: &[&str]| beginnings.iter().any(|begin| text.starts_with(begin));
    let mut annotations = nodes.iter().flat_map(|node| node.annotations.iter().flatten());
    pods.iter().any(|pod| begins(pod, plugin.pods))
        || annotations.any(|(key, _)| begins(key, plugin.annotations))
        || groups.iter().any(|group| plugin.groups.contains(&group.name.as_str()))
}

/// Returns whether the policy controller of K3s is active: it is, unless the servers disable it.
fn is_k3s_enforcing(nodes: &[&ObjectMeta]) -> bool {
    let arguments = nodes.iter().filter_map(|node| node.annotations.as_ref()?.get(K3S_ARGUMENTS));
    let arguments = arguments.filter_map(|text| serde_json::from_str::<Vec<String>>(text).ok());
    let mut servers =
        arguments.filter(|arguments| arguments.first().is_some_and(|command| command == "server")).peekable();
    servers.peek().is_some() && !servers.any(|arguments| disables_policies(&arguments))
}

/// Returns whether arguments contain `--disable-network-policy`, whose value is true if it is left out.
fn disables_policies(arguments: &[String]) -> bool {
    let option = "--disable-network-policy";
    let mut arguments = arguments.iter().peekable();
    while let Some(argument) = arguments.next() {
        match argument.strip_prefix(option) {
            Some("") => return arguments.peek().is_none_or(|value| *value != "false"),
            Some(rest) if rest.starts_with('=') => return rest != "=false",
            Some(_) | None => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use http::Method;
    use serde_json::{Value, json};

    use super::super::mocked::{Answer, client, list, status};
    use super::*;

    fn node(annotations: &[(&str, &str)]) -> ObjectMeta {
        let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        ObjectMeta { annotations: Some(annotations.collect()), ..ObjectMeta::default() }
    }

    fn recognized(pods: &[&str], annotations: &[(&str, &str)], groups: &[&str]) -> Option<&'static str> {
        let pods: Vec<String> = pods.iter().map(|pod| (*pod).to_owned()).collect();
        let group = |name: &&str| APIGroup { name: (*name).to_owned(), ..APIGroup::default() };
        let groups: Vec<_> = groups.iter().map(group).collect();
        recognize(&pods, &[&node(annotations)], &groups).map(|plugin| plugin.name)
    }

    #[test]
    fn plugins_are_told_apart() {
        assert_eq!(recognized(&["kindnet-x7k2"], &[], &[]), Some("kindnet"));
        assert_eq!(recognized(&["kube-router-x7k2"], &[], &[]), Some("kube-router"));
        assert_eq!(recognized(&[], &[("projectcalico.org/IPv4Address", "")], &[]), Some("Calico"));
        assert_eq!(recognized(&["coredns-1"], &[], &["cilium.io"]), Some("Cilium"));
        assert_eq!(recognized(&["coredns-1"], &[("node.alpha.kubernetes.io/ttl", "0")], &["apps"]), None);
    }

    /// Regression: K3s looked like Flannel, which enforces nothing.
    #[test]
    fn k3s_enforces_with_kube_router_unless_it_is_disabled() {
        let k3s = |arguments: &str| {
            recognized(
                &[],
                &[(K3S_ARGUMENTS, arguments), ("flannel.alpha.coreos.com/backend-type", "vxlan")],
                &[],
            )
        };
        let enforcing = Some("kube-router, as part of K3s");
        assert_eq!(k3s(r#"["server"]"#), enforcing);
        assert_eq!(k3s(r#"["server","--disable-network-policy","false"]"#), enforcing);
        for disabled in [
            r#"["server","--disable-network-policy","true"]"#,
            r#"["server","--disable-network-policy"]"#,
            r#"["server","--disable-network-policy","--disable","traefik"]"#,
            r#"["server","--disable-network-policy=true"]"#,
            // The arguments of the servers are not known.
            r#"["agent"]"#,
            "not JSON",
        ] {
            assert_eq!(k3s(disabled), None, "{disabled}");
        }
    }

    /// Returns a cluster with these pods in kube-system, and these in all namespaces that have the label.
    fn cluster(system: Option<Value>, elsewhere: Option<Value>) -> Client {
        let answer = |pods: &Option<Value>| -> Answer {
            pods.as_ref().map_or_else(|| status(403, "forbidden"), |pod| list(std::slice::from_ref(pod)))
        };
        client(move |_: &Method, path| match path {
            "/api/v1/namespaces/kube-system/pods" => answer(&system),
            "/api/v1/pods" => answer(&elsewhere),
            _ => status(404, "not found"),
        })
    }

    fn pod(name: &str, app: &str) -> Option<Value> {
        Some(json!({"metadata": {"name": name, "namespace": "n", "labels": {"k8s-app": app}}}))
    }

    #[tokio::test]
    async fn kube_router_is_recognized_by_its_pods_in_any_namespace() {
        let flannel = node(&[("flannel.alpha.coreos.com/backend-type", "vxlan")]);
        for (system, elsewhere, name) in [
            (pod("router-1", "kube-router"), None, Some("kube-router")),
            (pod("coredns-1", "kube-dns"), pod("firewall-1", "kube-router"), Some("kube-router")),
            (None, pod("firewall-1", "kube-router"), Some("kube-router")),
            (pod("coredns-1", "kube-dns"), None, Some(FLANNEL.name)),
            // Without rights, nothing is guessed.
            (None, None, Some(FLANNEL.name)),
        ] {
            let found = find(&cluster(system, elsewhere), &[&flannel], &[]).await;
            assert_eq!(found.map(|plugin| plugin.name), name);
        }
        assert!(find(&cluster(None, None), &[], &[]).await.is_none());
    }

    #[test]
    fn the_profiles_of_plugins_are_built_in() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles");
        let profiles = PLUGINS.iter().chain([&K3S]).filter_map(|plugin| plugin.profile);
        let missing: Vec<_> = profiles.filter(|name| !folder.join(format!("{name}.yaml")).exists()).collect();
        assert_eq!(missing, [""; 0]);
    }

    /// Regression: the profile of kindnet was built in, and runs on kindnet did not name it.
    #[test]
    fn a_profile_that_is_called_like_a_plugin_is_named_for_it() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles");
        let has_profile = |name: &str| folder.join(format!("{}.yaml", name.to_lowercase())).exists();
        for plugin in PLUGINS.iter().filter(|plugin| has_profile(plugin.name)) {
            assert_eq!(plugin.profile, Some(plugin.name.to_lowercase().as_str()));
        }
    }
}

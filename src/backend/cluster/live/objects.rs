//! The objects of a check in namespaces of tenants: an owner for each namespace, and twins.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use netproof_probe::wire::STARTUP_PORT;

use crate::backend::cluster::objects::Maker;
use crate::policy::Labels;

/// The condition that no pod of ours ever gets. A pod with this readiness gate is never ready, so it is never an
/// endpoint that gets traffic.
pub(in crate::backend::cluster) const NEVER: &str = "netproof.dev/never";

/// Label of owners: key and value.
pub(in crate::backend::cluster) const OWNER: (&str, &str) = ("netproof.dev/role", "owner");

/// Labels that keep the sidecars and node proxies of service meshes away, where no annotation does: keys and values.
pub(super) const NO_MESH: [(&str, &str); 4] = [
    ("sidecar.istio.io/inject", "false"),
    ("istio.io/dataplane-mode", "none"),
    ("kuma.io/sidecar-injection", "disabled"),
    ("admission.datadoghq.com/enabled", "false"),
];

/// Annotations with the same effect, besides those that all probe pods have.
const NO_INJECTION: [(&str, &str); 6] = [
    ("kuma.io/sidecar-injection", "disabled"),
    ("consul.hashicorp.com/connect-inject", "false"),
    ("appmesh.k8s.aws/sidecarInjectorWebhook", "disabled"),
    ("openservicemesh.io/sidecar-injection", "disabled"),
    ("injector.nsm.nginx.com/auto-inject", "false"),
    ("sidecar.opentelemetry.io/inject", "false"),
];

/// How many failures of the startup probe end the container. The deadline of the pod comes first.
const STARTUP_FAILURES: i32 = 1_000_000;

/// Length of the part of a twin's name that comes from its name in the state.
const READABLE: usize = 38;

/// Text for readers of the namespace.
const ABOUT: &str = "netproof checks the isolation of this namespace with the pods that this ConfigMap owns. They are never \
                     ready, so they get no traffic. Deleting this ConfigMap removes them. Otherwise they end by themselves.";

impl Maker {
    /// Returns the name of the object that owns everything that the check creates in a namespace.
    pub(in crate::backend::cluster) fn owner_name(&self) -> String {
        format!("netproof-{}", self.run)
    }

    /// Returns the owner for a namespace.
    pub(in crate::backend::cluster) fn owner(&self, namespace: &str) -> core::ConfigMap {
        let (key, value) = OWNER;
        let labels = self.labels(&[(key.to_owned(), value.to_owned())].into());
        core::ConfigMap {
            metadata: ObjectMeta {
                name: Some(self.owner_name()),
                namespace: Some(namespace.to_owned()),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            data: Some([("about".to_owned(), ABOUT.to_owned())].into()),
            immutable: Some(true),
            ..core::ConfigMap::default()
        }
    }

    /// Returns the labels of a twin: its own, those of the site, and those by which netproof and others recognize it.
    /// Policies see all of them. Its own labels precede those against sidecars, because a policy may read them.
    pub(in crate::backend::cluster) fn twin_labels(&self, own: &Labels) -> Labels {
        let mut labels: Labels = to_map(&NO_MESH);
        labels.extend(self.pod_labels(own));
        labels
    }

    /// Returns a name on the cluster for a twin. Twins whose names differ only in other characters get the same name.
    pub(in crate::backend::cluster) fn twin_name(&self, name: &str) -> String {
        let allowed = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let readable: String = name.chars().map(allowed).take(READABLE).collect();
        match readable.trim_matches('-') {
            "" => format!("netproof-{}-twin", self.run),
            readable => format!("netproof-{}-{readable}", self.run),
        }
    }

    /// Turns a probe pod into a twin on a node: a pod that gets no traffic, that no controller adopts, and that is removed
    /// with its owner, if it has one.
    pub(in crate::backend::cluster) fn make_twin(
        &self,
        pod: &mut core::Pod,
        node: &str,
        owner: Option<&OwnerReference>,
    ) {
        pod.metadata.owner_references = owner.map(|owner| vec![owner.clone()]);
        let labels = pod.metadata.labels.take().unwrap_or_default();
        pod.metadata.labels = Some(self.twin_labels(&labels));
        let annotations = pod.metadata.annotations.get_or_insert_default();
        for (key, value) in NO_INJECTION {
            annotations.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        }
        let Some(spec) = &mut pod.spec else { return };
        spec.readiness_gates = Some(vec![core::PodReadinessGate { condition_type: NEVER.to_owned() }]);
        run_on(spec, node);
        for container in &mut spec.containers {
            container.args.get_or_insert_default().extend(["--open".to_owned(), STARTUP_PORT.to_string()]);
            container.startup_probe = Some(startup_probe(None));
            name_ports_once(container.ports.iter_mut().flatten());
        }
    }
}

/// Lets a pod run on a node without being scheduled. The scheduler would keep a twin away from pods that want no pod with
/// their labels beside them.
pub(super) fn run_on(spec: &mut core::PodSpec, node: &str) {
    spec.affinity = None;
    spec.node_selector = None;
    spec.node_name = Some(node.to_owned());
}

/// Returns the probe by which the kubelet reaches this address, or the pod's own.
pub(super) fn startup_probe(host: Option<String>) -> core::Probe {
    core::Probe {
        tcp_socket: Some(core::TCPSocketAction { host, port: IntOrString::Int(i32::from(STARTUP_PORT)) }),
        period_seconds: Some(1),
        timeout_seconds: Some(1),
        failure_threshold: Some(STARTUP_FAILURES),
        ..core::Probe::default()
    }
}

/// Removes repeated names of ports. Several containers of a pod may use one name, but the twin has one container.
fn name_ports_once<'a>(ports: impl Iterator<Item = &'a mut core::ContainerPort>) {
    let mut names = BTreeSet::new();
    for port in ports {
        if port.name.as_ref().is_some_and(|name| !names.insert(name.clone())) {
            port.name = None;
        }
    }
}

/// Returns the readiness gates of a pod.
pub(in crate::backend::cluster) fn readiness_gates(pod: &core::Pod) -> impl Iterator<Item = &str> {
    let gates = pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter().flatten());
    gates.map(|gate| gate.condition_type.as_str())
}

/// Returns the reference to an owner for the objects that it owns.
pub(super) fn reference(owner: &core::ConfigMap) -> OwnerReference {
    OwnerReference {
        api_version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        name: owner.metadata.name.clone().unwrap_or_default(),
        uid: owner.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        // Otherwise, this needs the right to change finalizers of ConfigMaps.
        block_owner_deletion: Some(false),
    }
}

fn to_map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cluster::agent_source::AgentSource;
    use crate::backend::cluster::mocked::settings;
    use crate::backend::cluster::settings::Settings;
    use crate::backend::cluster::site::Site;
    use crate::policy::{ContainerPort, Pod, Port, Protocol};
    use crate::snapshot::Identity;

    fn maker() -> Maker {
        let labels = |key: &str| Labels::from([(key.to_owned(), "x".to_owned())]);
        let site =
            Site { pod_labels: labels("cost-centre"), node_selector: labels("pool"), ..Site::default() };
        let source = AgentSource::fake(&[("n", "amd64")]);
        let settings = Settings { site, image: None, ..settings() };
        Maker { run: "r".to_owned(), token: "t".to_owned(), settings, source }
    }

    /// A field with a wrong name would be ignored.
    #[test]
    fn a_twin_has_every_field_that_it_needs() {
        let maker = maker();
        let mut owner = maker.owner("shop");
        owner.metadata.uid = Some("1-2".to_owned());
        let port = |name: &str, port| ContainerPort {
            name: Some(name.to_owned()),
            port: Port::new(port).unwrap(),
            protocol: Protocol::Tcp,
        };
        let labels = [("app", "web"), ("sidecar.istio.io/inject", "true")];
        let pod = Pod {
            namespace: "shop".to_owned(),
            name: "web@n".to_owned(),
            labels: to_map(&labels),
            ports: vec![port("http", 80), port("http", 81)],
            ..Pod::default()
        };
        let real = Identity::new("shop", &maker.twin_name("web@n"));
        let mut object = maker.pod(&pod, &real, "n", "pause").unwrap();
        maker.make_twin(&mut object, "n", Some(&reference(&owner)));
        insta::assert_snapshot!(serde_json::to_string_pretty(&serde_json::json!([owner, object])).unwrap());
    }

    #[test]
    fn the_names_of_twins_are_valid_and_readable() {
        let maker = maker();
        assert_eq!(maker.twin_name("web@node-1"), "netproof-r-web-node-1");
        assert_eq!(maker.twin_name("Web.Front@10.0.0.1"), "netproof-r-web-front-10-0-0-1");
        assert_eq!(maker.twin_name("@@"), "netproof-r-twin");
        let long = maker.twin_name(&"a".repeat(300));
        // The run's id has five characters, and a number may follow.
        assert!(long.len() + 4 + "-9999".len() <= 63, "{long}");
    }
}

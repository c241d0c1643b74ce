//! Tests of the ConfigMaps that bring the agent to a cluster.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::{Value, json};

use super::super::agent_source::AgentSource;
use super::super::base_images;
use super::super::cluster_policies::Support;
use super::super::prepared::Prepared;
use super::super::survey::{NodeImage, SurveyedNode, survey};
use super::{
    access, client, client_with_bodies, created, deployment_with, list, review, scenario, settings, status,
};
use crate::backend::cluster::settings::Settings;

/// Two namespaces have pods, and one has none.
const TOPOLOGY: &str = "topology:
  namespaces:
  - {name: x, pods: [{name: a}, {name: b}]}
  - {name: y, pods: [{name: a}]}
  - {name: z}
steps: [{name: s}]
";

/// The objects that were created, as path and object, in order.
type Created = Arc<Mutex<Vec<(String, Value)>>>;

/// Brings a cluster to a topology twice, without ever getting a pod. Returns the error of the first time, and
/// the objects of the given kinds that were created.
async fn converge(nodes: &[(&str, &str)], config_map: u16) -> (String, Vec<(String, Value)>) {
    let log = Created::default();
    let kept = Arc::clone(&log);
    let client = client_with_bodies(move |method, path, body| {
        if *method != Method::POST {
            return status(404, "not found");
        }
        let (_, kind) = path.rsplit_once('/').unwrap();
        if matches!(kind, "configmaps" | "pods") {
            log.lock().unwrap().push((path.replace("/api/v1/namespaces/netproof-r-1-", ""), body.clone()));
        }
        match kind {
            "configmaps" if config_map != 201 => status(config_map, "exceeded quota"),
            "pods" => status(403, "no pods"),
            _ => created(),
        }
    });
    let source = AgentSource::fake(nodes);
    let mut deployment = deployment_with(client, settings(), source, Support::new(), Vec::new());
    let world = scenario(TOPOLOGY).world;
    let message = deployment.converge(&world).await.unwrap_err().to_string();
    deployment.converge(&world).await.unwrap_err();
    let created = kept.lock().unwrap().clone();
    (message, created)
}

#[tokio::test]
async fn the_agent_is_in_a_namespace_before_its_pods_and_cannot_change() {
    let (_, created) = converge(&[("n", "arm64")], 201).await;
    let is_map = |(path, _): &(String, Value)| path.ends_with("/configmaps");
    let first_pod = created.iter().position(|object| !is_map(object)).unwrap();
    let (maps, pods) = created.split_at(first_pod);
    let paths: BTreeSet<&str> = maps.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["x/configmaps", "y/configmaps"].into(), "only where pods are");
    assert_eq!(maps.len(), 2);
    assert!(!pods.iter().any(is_map), "created twice");
    for (_, map) in maps {
        assert_eq!(map["immutable"], true);
        assert_eq!(map["binaryData"], json!({"netproof-probe": "cGFja2Vk"}));
        let labels = json!({"app.kubernetes.io/managed-by": "netproof", "netproof.dev/run": "r"});
        assert_eq!(map["metadata"]["labels"], labels);
        for (_, pod) in pods {
            assert_eq!(pod["spec"]["volumes"][0]["configMap"]["name"], map["metadata"]["name"]);
        }
    }
}

#[tokio::test]
async fn an_agent_that_cannot_be_brought_is_explained() {
    let (message, created) = converge(&[("n", "amd64")], 403).await;
    assert!(
        message.starts_with("could not create the ConfigMap with the agent in netproof-r-1-"),
        "{message}"
    );
    assert!(message.ends_with("exceeded quota: or name an image of the agent with --image"), "{message}");
    assert!(created.iter().all(|(path, _)| path.ends_with("/configmaps")), "a pod without an agent");
    // The answer to an earlier try was lost.
    let (message, _) = converge(&[("n", "amd64")], 409).await;
    assert!(message.ends_with("no pods"), "{message}");
}

/// What is in a prepared namespace does not go with the namespace.
#[tokio::test]
async fn config_maps_are_removed_from_prepared_namespaces() {
    for has_config_maps in [true, false] {
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&requests);
        let client = client(move |method, path| {
            if path.contains("configmaps") {
                log.lock().unwrap().push(format!("{method} {path}"));
            }
            match (method, path) {
                (&Method::GET, "/api/v1/namespaces/one/configmaps") => {
                    list(&[json!({"metadata": {"name": "netproof-r-amd64", "namespace": "one"}})])
                }
                (&Method::GET, path) if path.ends_with('s') => list(&[]),
                (&Method::GET, _) => (200, json!({"metadata": {"name": "one"}})),
                _ => (200, json!({"kind": "Status", "metadata": {}, "status": "Success"})),
            }
        });
        let prepared = Prepared::new(&["one".to_owned()], has_config_maps);
        prepared.remove_run(&client, "r", false).await.unwrap();
        let expected: &[&str] = match has_config_maps {
            true => &[
                "GET /api/v1/namespaces/one/configmaps",
                "DELETE /api/v1/namespaces/one/configmaps/netproof-r-amd64",
            ],
            // Without ConfigMaps of the agent, the user needs no rights on them.
            false => &[],
        };
        assert_eq!(*requests.lock().unwrap(), expected);
    }
}

#[tokio::test]
async fn only_a_run_without_an_image_needs_config_maps() {
    for (image, is_needed) in [(None, true), (Some("probe".to_owned()), false)] {
        for (prepared, verbs) in [(&[][..], "create"), (&["one".to_owned()], "create, delete, list")] {
            let settings =
                Settings { image: image.clone(), prepared_namespaces: prepared.to_vec(), ..settings() };
            let client = client_with_bodies(|_, path, body| {
                assert_eq!(path, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews");
                let allowed = body["spec"]["resourceAttributes"]["resource"] != "configmaps";
                review(allowed)
            });
            let checked = access::check_run(&client, &settings).await.map_err(|error| error.to_string());
            match is_needed {
                true => {
                    let rule = format!("  resources: [configmaps]\n  verbs: [{verbs}]");
                    assert!(checked.unwrap_err().ends_with(&rule));
                }
                false => checked.unwrap(),
            }
        }
    }
}

#[tokio::test]
async fn nodes_report_their_architecture_and_images() {
    let client = client(|_, path| match path {
        "/api/v1/nodes" => list(&[
            json!({"metadata": {"name": "a"}, "status": {
                "nodeInfo": {"architecture": "arm64", "bootID": "", "containerRuntimeVersion": "", "kernelVersion": "",
                    "kubeProxyVersion": "", "kubeletVersion": "v1.36.2", "machineID": "", "operatingSystem": "linux",
                    "osImage": "", "systemUUID": ""},
                "images": [{"names": ["registry.example/a@sha256:00", "registry.example/a:1"], "sizeBytes": 7}, {}]}}),
            json!({"metadata": {"name": "new"}}),
        ]),
        "/apis" => (200, json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []})),
        _ => status(403, "forbidden"),
    });
    let nodes = survey(&client).await.unwrap().nodes;
    let images = ["registry.example/a@sha256:00", "registry.example/a:1"]
        .map(|name| NodeImage { name: name.to_owned(), size: 7 });
    assert_eq!((nodes[0].architecture.as_str(), &nodes[0].images[..]), ("arm64", &images[..]));
    assert_eq!((nodes[1].architecture.as_str(), nodes[1].images.len()), ("", 0));
}

/// The API server refuses pods with this image, as an image policy does.
#[tokio::test]
async fn a_pod_whose_image_is_refused_gets_another() {
    for (refused, message) in [
        ("pause", "no pods"),
        (
            "",
            "only images of registry.example; if the image pause@sha256:00 is the reason, name any allowed image",
        ),
    ] {
        let images = Arc::<Mutex<BTreeSet<String>>>::default();
        let log = Arc::clone(&images);
        let client = client_with_bodies(move |method, path, body| {
            if *method != Method::POST {
                return status(404, "not found");
            }
            if !path.ends_with("/pods") {
                return created();
            }
            let image = body["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
            log.lock().unwrap().insert(image.clone());
            match image == refused || refused.is_empty() {
                true => status(403, "pods \"a\" is forbidden: only images of registry.example"),
                false => status(403, "no pods"),
            }
        });
        let source = AgentSource::fake(&[("n", "amd64")]);
        let mut deployment = deployment_with(client, settings(), source, Support::new(), Vec::new());
        let error = deployment.converge(&scenario(TOPOLOGY).world).await.unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
        assert_eq!(*images.lock().unwrap(), ["pause", "pause@sha256:00"].map(str::to_owned).into());
    }
}

/// A node may have deleted the image since it reported it.
#[tokio::test]
async fn a_pod_whose_image_cannot_be_pulled_gets_another() {
    const TOPOLOGY: &str = "topology: {namespaces: [{name: x, pods: [{name: a}]}]}\nsteps: [{name: s}]\n";
    let image = Arc::new(Mutex::new(String::new()));
    let (kept, mut is_listed) = (Arc::clone(&image), false);
    let client = client_with_bodies(move |method, path, body| {
        let named = body["spec"]["containers"][0]["image"].as_str();
        match (method, path) {
            (&Method::POST, path) if path.ends_with("/pods") => {
                *kept.lock().unwrap() = named.unwrap().to_owned();
                created()
            }
            (&Method::POST, _) => created(),
            (&Method::PATCH, "/api/v1/namespaces/netproof-r-1-x/pods/a") => {
                *kept.lock().unwrap() = named.unwrap().to_owned();
                (200, json!({"metadata": {"name": "a"}}))
            }
            (&Method::GET, "/api/v1/pods") if !std::mem::replace(&mut is_listed, true) => list(&[]),
            // The watch.
            (&Method::GET, "/api/v1/pods") => {
                let image = kept.lock().unwrap().clone();
                let pull = json!({"waiting": {"reason": "ErrImagePull", "message": "not found"}});
                let status = json!({"name": "agent", "image": image, "imageID": "", "ready": false, "restartCount": 0,
                    "state": pull});
                let pod = json!({"kind": "Pod", "apiVersion": "v1",
                    "metadata": {"name": "a", "namespace": "netproof-r-1-x", "resourceVersion": "2"},
                    "spec": {"nodeName": "n", "containers": [{"name": "agent", "image": image}]},
                    "status": {"containerStatuses": [status]}});
                (200, json!({"type": if image.is_empty() { "BOOKMARK" } else { "MODIFIED" }, "object": pod}))
            }
            _ => status(404, "not found"),
        }
    });
    let source = AgentSource::fake(&[("n", "amd64")]);
    let mut deployment = deployment_with(client, settings(), source, Support::new(), Vec::new());
    let error = deployment.converge(&scenario(TOPOLOGY).world).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "could not start pod netproof-r-1-x/a: node n cannot use the image pause@sha256:00: the registry has no such image; \
         name any image that the nodes can pull, with --base-image, and with --image-pull-secret if its registry needs a \
         login; the kubelet says: ErrImagePull: not found"
    );
    assert_eq!(*image.lock().unwrap(), "pause@sha256:00");
}

/// A kubelet with `nodeStatusMaxImages: 0` reports no images.
#[tokio::test]
async fn a_node_that_reports_no_images_has_those_of_its_pods() {
    let pod = json!({
        "metadata": {"name": "dns", "namespace": "kube-system"},
        "spec": {"containers": [{"name": "dns", "image": "registry.example/dns:1"}]},
        "status": {"containerStatuses": [{"name": "dns", "image": "", "imageID": "", "ready": true, "restartCount": 0,
            "state": {"running": {}}}]}});
    let reporting = SurveyedNode {
        images: vec![NodeImage { name: "pause".to_owned(), size: 1 }],
        ..SurveyedNode::ready("a")
    };
    let nodes = [reporting, SurveyedNode::ready("b"), SurveyedNode::ready("other")];
    let names = ["a", "b"].map(str::to_owned);
    // The user may list all pods, only those of the cluster itself, or none.
    for allowed in ["/api/v1/pods", "/api/v1/namespaces/kube-system/pods", "none"] {
        let pod = pod.clone();
        let client = client(move |_, path| match path == allowed {
            true => list(std::slice::from_ref(&pod)),
            false => status(403, "forbidden"),
        });
        let found = base_images::find(&client, &nodes, &names).await;
        match allowed {
            "none" => assert!(found.unwrap_err().to_string().starts_with("the node b reports no image")),
            _ => {
                let images = found.unwrap().into_values().map(|host| host.images);
                assert_eq!(images.collect::<Vec<_>>(), [["pause"], ["registry.example/dns:1"]], "{allowed}");
            }
        }
    }
}

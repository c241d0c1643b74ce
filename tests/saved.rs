//! Saved snapshots of live clusters: reading them again, and replacing the names in them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::IpAddr;

use fastrand::Rng;
use netproof::policy::{
    Cluster, Decision, Destination, Endpoint, Engine, Flow, IpFamily, NetworkPolicy, Peer, Peers, Pod, Port,
    Protocol,
};
use netproof::snapshot::saved::SavedObjects;
use netproof::snapshot::{Snapshot, SnapshotInfo, Unseen};
use netproof::source::Text;
use serde_json::{Value, json};

use crate::differential::{EXTERNAL, PORTS, manifests};
use crate::support::{file, netproof};

/// Number of random clusters that are only read.
const CLUSTERS: u64 = 300;
/// Number of random clusters of which all flows are evaluated.
const EVALUATED: u64 = 20;

/// Name of a policy that selects no pod, with each address outside the cluster as a block.
const PROBE: &str = "all-externals";

/// Returns a random cluster with nodes, as its API server would list it.
fn saved(seed: u64) -> SavedObjects {
    let rng = &mut Rng::with_seed(seed);
    let mut objects: Vec<Value> = manifests(rng).objects().cloned().collect();
    for (name, number) in [("node-1", 1), ("node-2", 2)] {
        let addresses = json!([
            {"type": "InternalIP", "address": format!("172.18.0.{number}")},
            {"type": "Hostname", "address": name},
        ]);
        objects.push(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
            "spec": {"podCIDRs": ["10.0.0.0/16"]}, "status": {"addresses": addresses}}));
    }
    let blocks: Vec<Value> = EXTERNAL
        .iter()
        .map(|address| json!({"ipBlock": {"cidr": format!("{address}/{}", if address.contains(':') { 128 } else { 32 })}}))
        .collect();
    let none = json!({"matchLabels": {"no-pod": "has-this"}});
    objects.push(json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": PROBE, "namespace": "x"},
        "spec": {"podSelector": none, "policyTypes": ["Egress"], "egress": [{"to": blocks}]}}));
    for object in &mut objects {
        object["metadata"]["uid"] = json!("1");
        object["metadata"]["resourceVersion"] = json!("1");
        object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        object["metadata"]["annotations"] = json!({"note": "hunter2"});
    }
    SavedObjects::new(SnapshotInfo::of_cluster("test".to_owned(), "v1.36.0".to_owned()), objects)
}

fn read_again(saved: &SavedObjects) -> Snapshot {
    let text = Text { name: "saved.json".into(), content: saved.to_json().unwrap() };
    Snapshot::read(&text.manifests().unwrap(), None).unwrap()
}

#[test]
fn a_saved_snapshot_is_read_as_the_cluster_was() {
    for seed in 0..CLUSTERS {
        let saved = saved(seed);
        let (live, again) = (saved.read("test").unwrap(), read_again(&saved));
        assert_eq!(live.cluster, again.cluster, "seed {seed}");
        assert_eq!(live.workloads, again.workloads, "seed {seed}");
        assert_eq!(live.external_addresses, again.external_addresses, "seed {seed}");
        assert_eq!((live.other, live.unshown), (again.other, again.unshown), "seed {seed}");
    }
}

/// What netproof does not keep must not matter.
#[test]
fn a_saved_snapshot_means_what_the_objects_meant() {
    fn sorted(objects: &[impl Debug]) -> Vec<String> {
        let mut texts: Vec<String> = objects.iter().map(|object| format!("{object:?}")).collect();
        texts.sort();
        texts
    }
    for seed in 0..CLUSTERS {
        let saved = saved(seed);
        let rng = &mut Rng::with_seed(seed);
        let objects: Vec<Value> = manifests(rng).objects().cloned().collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        let text = Text { name: "all.json".into(), content: list };
        let whole = Snapshot::read(&text.manifests().unwrap(), None).unwrap().cluster;
        let kept = saved.read("test").unwrap().cluster;
        let without_probe = |policies: Vec<NetworkPolicy>| -> Vec<NetworkPolicy> {
            policies.into_iter().filter(|policy| policy.name != PROBE).collect()
        };
        assert_eq!(sorted(&without_probe(kept.policies)), sorted(&whole.policies), "seed {seed}");
        assert_eq!(sorted(&kept.services), sorted(&whole.services), "seed {seed}");
        assert_eq!(sorted(&kept.namespaces), sorted(&whole.namespaces), "seed {seed}");
        assert_eq!(sorted(&kept.cluster_policies), sorted(&whole.cluster_policies), "seed {seed}");
        // The nodes say where the other pods are.
        let with_addresses = |pods: Vec<Pod>| -> Vec<Pod> {
            pods.into_iter().filter(|pod| !pod.host_network && !pod.addresses.is_empty()).collect()
        };
        assert_eq!(sorted(&with_addresses(kept.pods)), sorted(&with_addresses(whole.pods)), "seed {seed}");
    }
}

/// Returns the addresses in the blocks of the policy [`PROBE`], in order.
fn externals(cluster: &Cluster, name: &str) -> Vec<IpAddr> {
    let policy = cluster.policies.iter().find(|policy| policy.name == name).unwrap();
    let peers = match &policy.egress.as_ref().unwrap()[0].peers {
        Peers::Only(peers) => peers,
        Peers::Any => unreachable!("the policy has blocks"),
    };
    let blocks = peers.iter().filter_map(|peer| match peer {
        Peer::IpBlock(block) => Some(block.net().addr()),
        Peer::Pods { .. } => None,
    });
    blocks.collect()
}

/// Returns the decisions about all flows between pods, nodes, Services and these addresses.
fn decisions(cluster: Cluster, externals: &[IpAddr]) -> BTreeMap<String, Decision> {
    let engine = Engine::new(cluster);
    let pods = engine.pods().filter(|(_, pod)| !pod.ended).map(|(id, _)| Endpoint::Pod(id));
    let nodes = engine.nodes().map(|(id, _)| Endpoint::Node(id));
    let ends: Vec<Endpoint> =
        pods.chain(nodes).chain(externals.iter().map(|a| Endpoint::External(*a))).collect();
    let services = engine.services().map(|(id, _)| Destination::Service(id));
    let destinations: Vec<Destination> =
        ends.iter().map(|end| Destination::Endpoint(*end)).chain(services).collect();
    let is_outside = |end: &Endpoint| matches!(end, Endpoint::External(_) | Endpoint::Node(_));
    let mut decisions = BTreeMap::new();
    for (i, source) in ends.iter().enumerate() {
        for (j, destination) in destinations.iter().enumerate() {
            let is_inside = match destination {
                Destination::Endpoint(end) => !is_outside(end),
                Destination::Service(_) => true,
            };
            for (family, number) in
                IpFamily::ALL.into_iter().flat_map(|family| PORTS.map(|port| (family, port)))
            {
                for protocol in Protocol::ALL {
                    let port = Port::new(number).unwrap();
                    let flow = Flow { source: *source, destination: *destination, family, protocol, port };
                    if is_inside || !is_outside(source) {
                        let name = format!("{i} to {j}, {family:?} {protocol:?} {port}");
                        decisions.insert(name, engine.evaluate(&flow).decision);
                    }
                }
            }
        }
    }
    decisions
}

/// Every selector matches what it matched, and every block contains what it contained.
#[test]
fn a_redacted_snapshot_has_the_same_answers() {
    let mut seen = BTreeMap::<String, usize>::new();
    for seed in 0..EVALUATED {
        let saved = saved(seed);
        let redacted = saved.redacted(&seed.to_be_bytes());
        let (before, after) = (saved.read("a").unwrap(), read_again(&redacted));
        assert_eq!(before.other, after.other, "seed {seed}");
        let addresses = externals(&before.cluster, PROBE);
        assert_eq!(addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), EXTERNAL);
        // Names are replaced in their order, so this policy is again the first one.
        let probe = after.cluster.policies.iter().find(|policy| {
            policy.egress.as_ref().is_some_and(|rules| {
                rules.first().is_some_and(
                    |rule| matches!(&rule.peers, Peers::Only(peers) if peers.len() == EXTERNAL.len()),
                )
            })
        });
        let replaced = externals(&after.cluster, &probe.unwrap().name);
        let (before, after) = (decisions(before.cluster, &addresses), decisions(after.cluster, &replaced));
        for (flow, decision) in &before {
            assert_eq!(after[flow], *decision, "seed {seed}: {flow}");
            *seen.entry(format!("{decision:?}")).or_default() += 1;
        }
    }
    assert!(seen.len() == 3 && seen.values().all(|count| *count > 1_000), "{seen:?}");
}

#[test]
fn a_redacted_snapshot_has_none_of_the_names() {
    let labels = json!({"app.kubernetes.io/name": "secret-value", "acme.example/secret-key": "secret-value",
        "secret-key": "secret-other", "pod-template-hash": "secret9"});
    let selector = json!({"matchLabels": {"secret-key": "secret-other"}, "matchExpressions": [
        {"key": "acme.example/secret-key", "operator": "In", "values": ["secret-value", "secret-none"]}]});
    let metadata = |name: &str| {
        json!({"name": name, "namespace": "secret-shop", "labels": labels, "uid": "secret-uid",
        "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z", "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "secret-web-secret9", "controller": true}]})
    };
    let objects = json!([
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "secret-shop", "labels": {"secret-team": "secret-shop"}}},
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "secret-node"}, "status": {"addresses": [
            {"type": "InternalIP", "address": "192.0.2.7"}, {"type": "Hostname", "address": "secret-host"}]}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata("secret-web-secret9-x"), "spec": {"nodeName": "secret-node",
            "containers": [{"name": "secret-container", "image": "secret-image", "env": [{"name": "A", "value": "secret"}],
                "ports": [{"name": "secret-port", "containerPort": 8080}]}]},
            "status": {"phase": "Running", "podIPs": [{"ip": "198.51.100.7"}]}},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata("secret-service"), "spec": {
            "selector": {"secret-key": "secret-other"}, "clusterIPs": ["203.0.113.7"], "externalName": "secret.example",
            "ports": [{"name": "secret-port", "port": 80, "targetPort": "secret-port"}], "secretField": "secret"}},
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata("secret-policy"), "spec": {
            "podSelector": selector, "ingress": [{"from": [{"namespaceSelector": selector},
                {"ipBlock": {"cidr": "198.51.100.0/24", "except": ["198.51.100.7/32"]}}],
                "ports": [{"port": "secret-port"}], "secretField": [{"secret": "secret"}]}]}},
        {"apiVersion": "policy.networking.k8s.io/v1alpha1", "kind": "AdminNetworkPolicy",
            "metadata": {"name": "secret-admin"}, "spec": {"priority": 1, "subject": {"namespaces": selector},
            "egress": [{"name": "secret-rule", "action": "Deny", "to": [{"domainNames": ["*.secret.example"]}]}]}},
        {"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": metadata("secret-cilium"),
            "spec": {"secret": "secret"}},
    ]);
    let unseen = Unseen {
        kind: "Pod".to_owned(),
        namespace: None,
        outside: vec!["secret-shop".to_owned()],
        effect: "unknown".to_owned(),
        why: "secret".to_owned(),
        is_needed: false,
    };
    let mut info = SnapshotInfo::of_cluster("secret-cluster".to_owned(), "v1.36.0".to_owned());
    info.unseen.push(unseen);
    let saved = SavedObjects::new(info, objects.as_array().unwrap().clone());
    let text = saved.redacted(b"key").to_json().unwrap();
    for hidden in ["secret-", "secret.", "\"secret\"", "192.0.2.7", "198.51.100.7", "203.0.113.7", "acme"] {
        assert!(!text.contains(hidden), "{hidden}: {text}");
    }
    insta::assert_snapshot!(
        "redacted",
        text.lines().map(|line| line.replace("1970-01-01T00:00:00Z", "…")).collect::<Vec<_>>().join("\n")
    );
    // What only the spec of an object says is not kept, even if nothing is replaced.
    let text = saved.to_json().unwrap();
    assert!(
        text.contains("secret-port") && !text.contains("secret-image") && !text.contains("\"env\""),
        "{text}"
    );
}

/// A cluster has objects that nobody can correct. They are named, and the answer is not a pass.
#[test]
fn objects_of_a_cluster_that_cannot_be_read_are_named() {
    let object = |api_version: &str, kind: &str, name: &str, spec: Value| {
        json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "shop", "uid": "1",
            "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": spec})
    };
    let pod = |name: &str, spec: Value| object("v1", "Pod", name, spec);
    let objects = vec![
        pod("web", json!({"nodeName": "a"})),
        pod("new", json!({"containers": "a newer kind of container"})),
        object(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            "p",
            json!({"podSelector": {}, "policyTypes": ["Both"]}),
        ),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"a": "b c"}}}),
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"},
            "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}}),
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "b"},
            "status": {"addresses": [{"type": "InternalIP", "address": "ten"}]}}),
    ];
    let saved = SavedObjects::new(SnapshotInfo::default(), objects);
    let snapshot = saved.read("the cluster").unwrap();
    let named: Vec<String> = snapshot.other.unmodelled.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!("cannot be read", named.join("\n"));
    assert_eq!(snapshot.cluster.pods.len(), 1);
    assert_eq!(snapshot.cluster.node_ranges, [], "the address of a node is missing");
    assert!(snapshot.cluster.namespaces[0].unknown_labels.others, "the labels are not known");

    let path = file("saved/bad.json", saved.to_json().unwrap());
    let finished = netproof(&["expect", &path], &[]).exits(3);
    assert!(finished.stdout.contains("not modelled: NetworkPolicy.networking.k8s.io (1): cannot be read"));
    let accepted = "NetworkPolicy,Pod,Namespace,Node";
    netproof(&["expect", &path], &["--accept-unmodelled", accepted]).exits(0);
}

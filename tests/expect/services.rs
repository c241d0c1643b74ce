//! Services, ports of nodes, and the addresses of nodes.

use serde_json::{Value, json};

use super::{deployment, namespace, row, rows};
use crate::support::{object, pod, pods, policy, service};

/// Regression: only the first of two ports with one name was allowed, and the other was denied for certain.
#[test]
fn the_second_port_of_a_name_is_undefined() {
    let containers = "spec: {containers: [{name: a, image: a, ports: [{name: http, containerPort: 80}]}, \
        {name: b, image: a, ports: [{name: http, containerPort: 8080}]}]}\n";
    let pod = object("v1", "Pod", "name: web, namespace: shop", containers);
    let ingress = policy("name: p, namespace: shop", "podSelector: {}, ingress: [{ports: [{port: http}]}]");
    let rows = rows(&(pod + &ingress), &[]);
    let row = row(&rows, "0.0.0.0/0", "shop/web[Pod]");
    assert_eq!((&row["connections"]["TCP"][0], &row["undefined"]["TCP"][0]), (&"80".into(), &"8080".into()));
}

/// A pod that may send to its node reaches another pod there, even if policies isolate that pod.
#[test]
fn host_ports_of_nodes_are_undefined() {
    let to_node = |fields: &str| {
        let ports = "containers: [{name: a, image: a, ports: [{containerPort: 80, hostPort: 8080}]}]";
        let db = object("v1", "Pod", "name: db, namespace: shop", &format!("spec: {{{fields}{ports}}}\n"));
        let rows = rows(&(pods(&["web"]) + &db), &[]);
        row(&rows, "default/web[Pod]", "own node")["undefined"].clone()
    };
    assert_eq!(to_node("")["TCP"][0], "8080");
    // A pod with hostNetwork has its own rows.
    assert_eq!(to_node("hostNetwork: true, "), Value::Null);
}

/// Returns a policy that allows `web` to send to this block, and perhaps only to a port.
fn to_block(namespace: &str, net: &str, ports: &str) -> String {
    let rule = format!("{{to: [{{ipBlock: {{cidr: {net}}}}}]{ports}}}");
    let web = "podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]";
    policy(&format!("name: p, namespace: {namespace}"), &format!("{web}, egress: [{rule}]"))
}

/// Regression: an address of a Service was a row of its own, as if nothing translated it, and the way through it was
/// denied.
#[test]
fn what_is_sent_to_an_address_of_a_service_may_reach_its_pods() {
    let pod = |name: &str, address: &str| {
        let metadata = format!("name: {name}, namespace: shop, labels: {{app: {name}}}");
        pod(&metadata, "", &format!("phase: Running, podIPs: [{{ip: {address}}}]"))
    };
    let service = |spec: &str, status: &str| {
        let spec = format!("selector: {{app: db}}, ports: [{{port: 80, targetPort: 8080}}]{spec}");
        service("name: db, namespace: shop", &spec, status)
    };
    let isolated = policy("name: q, namespace: shop", "podSelector: {matchLabels: {app: db}}");
    let known = service(", clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10]", "");
    let external = service(", clusterIP: 10.97.0.1, externalIPs: [198.51.100.7]", "");
    let balanced = service(
        ", clusterIP: 10.97.0.1, type: LoadBalancer",
        "status: {loadBalancer: {ingress: [{ip: 203.0.113.7}, {hostname: a.example}]}}\n",
    );
    let cidr = &["--service-cidr", "10.96.0.0/12"][..];
    let block = |net: &str| to_block("shop", net, "");
    let on_port = |port: u16| to_block("shop", "10.96.0.0/12", &format!(", ports: [{{port: {port}}}]"));
    for (service, policies, arguments, answer) in [
        (&known, block("10.96.0.0/12"), &[][..], "8080"),
        (&known, block("10.96.0.11/32"), &[], ""),
        (&known, on_port(80), &[], "8080"),
        (&known, on_port(8080), &[], "8080"),
        (&known, on_port(443), &[], ""),
        // A policy that denies the pod's own ingress still counts.
        (&known, block("10.96.0.0/12") + &isolated, &[], ""),
        (&external, block("198.51.100.0/24"), &[], "8080"),
        (&balanced, block("203.0.113.7/32"), &[], "8080"),
        (&service("", ""), block("10.96.0.0/12"), cidr, "8080"),
        (&service("", ""), block("10.112.0.0/12"), cidr, ""),
        (&service(", clusterIP: None", ""), block("10.96.0.0/12"), cidr, ""),
    ] {
        let pods = pod("web", "10.244.0.5") + &pod("db", "10.244.0.6");
        let rows = rows(&[pods.as_str(), service, &policies].concat(), arguments);
        let to_db = row(&rows, "shop/web[Pod]", "shop/db[Pod]");
        let found = to_db["undefined"]["TCP"][0].as_str().unwrap_or_default();
        assert_eq!(found, answer, "{service}{policies}{arguments:?}");
        let why = "network plugins compare an ipBlock with a Service's address, or with its endpoint's";
        assert!(to_db.is_null() || to_db["assumptions"] == json!([why]), "{to_db}");
        // The address itself has no row.
        for address in ["10.96.0.10", "198.51.100.7", "203.0.113.7"] {
            let is_address = |row: &&Value| row["to"].as_str().unwrap().trim_end_matches("/32") == address;
            assert_eq!(rows.iter().find(is_address), None, "{service}{policies}");
        }
    }
}

/// A pod with hostNetwork is no subject of policies, so all senders that can reach its Service reach it.
#[test]
fn what_is_sent_through_a_service_to_a_pod_with_host_network_may_reach_it() {
    let running = |address: &str| format!("phase: Running, podIPs: [{{ip: {address}}}]");
    let spec = "selector: {app: host}, clusterIP: 10.96.0.7, ports: [{port: 80, targetPort: 8080}]";
    let manifests = [
        pod("name: web, labels: {app: web}", "nodeName: node-1", &running("10.244.0.5")),
        pod("name: host, labels: {app: host}", "nodeName: node-2, hostNetwork: true", &running("172.18.0.3")),
        service("name: host", spec, ""),
        policy("name: isolated", "podSelector: {matchLabels: {app: host}}"),
    ]
    .concat();
    for (block, undefined) in [("10.96.0.0/12", "8080"), ("10.112.0.0/12", "")] {
        let rows = rows(&(manifests.clone() + &to_block("default", block, "")), &[]);
        let row = row(&rows, "default/web[Pod]", "default/host[Pod]");
        assert_eq!(row["undefined"]["TCP"][0].as_str().unwrap_or_default(), undefined, "{block}: {row}");
    }
}

/// Regression: the row of a node's address said that its node ports were allowed, although policies isolate the pods
/// behind them.
#[test]
fn node_ports_are_undefined_at_addresses_of_nodes() {
    let status = "status: {addresses: [{type: InternalIP, address: 172.18.0.3}]}\n";
    let spec = "type: NodePort, selector: {app: db}, ports: [{port: 80, nodePort: 30080}]";
    let manifests =
        [pods(&["web"]), object("v1", "Node", "name: node-1", status), service("name: db", spec, "")]
            .concat();
    for (net, arguments, answer) in [
        ("172.18.0.3/32", &[][..], Value::from("30080")),
        ("172.18.0.0/24", &[], Value::from("30080")),
        ("172.18.1.0/24", &[], Value::Null),
        ("172.18.1.0/24", &["--node-cidr", "172.18.0.0/16"], Value::from("30080")),
    ] {
        let rows = rows(&(manifests.clone() + &to_block("default", net, "")), arguments);
        let row = row(&rows, "default/web[Pod]", net);
        assert_eq!(row["undefined"]["TCP"][0], answer, "{net} {arguments:?}");
    }
}

#[test]
fn services_lead_to_pods_of_their_own_namespace() {
    let of = |namespace: &str| {
        let metadata = format!("name: web, namespace: {namespace}");
        let spec = "type: NodePort, selector: {app: web}, ports: [{port: 80}]";
        deployment(namespace, "web") + &service(&metadata, spec, "")
    };
    let rows = rows(&[of("shop-2"), of("a"), of("shop"), deployment("other", "web")].concat(), &[]);
    let exposed = rows.iter().filter(|row| row["from"].as_str().unwrap().ends_with("[NodePort]"));
    let ways: Vec<_> = exposed.map(|row| [row["from"].clone(), row["to"].clone()]).collect();
    let expected = ["a", "shop-2", "shop"]
        .map(|name| ["NodePort", "Deployment"].map(|kind| Value::from(format!("{name}/web[{kind}]"))));
    assert_eq!(ways, expected);
}

/// The ranges that nodes have for pods count only if pods have addresses of these ranges.
#[test]
fn ranges_of_nodes_count_only_if_pods_have_addresses_of_them() {
    let node = "spec: {podCIDRs: [10.244.1.0/24]}\nstatus: {addresses: [{type: InternalIP, address: 172.18.0.2}, {type: Hostname, address: node-1}]}\n";
    let egress = "podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [
        {to: [{ipBlock: {cidr: 10.244.0.0/16}}], ports: [{port: 80}]},
        {to: [{ipBlock: {cidr: 172.18.0.0/16}}], ports: [{port: 443}]}]";
    let manifests = [
        deployment("x", "web"),
        deployment("x", "db"),
        object("v1", "Node", "name: node-1", node),
        namespace("x", ""),
        pod("name: host, namespace: x", "hostNetwork: true, nodeName: node-1", ""),
        pod("name: here, namespace: x", "nodeName: node-1", ""),
        policy("name: out, namespace: x", egress),
    ]
    .concat();
    let with = |address: &str| {
        let status = format!("podIPs: [{{ip: {address}}}]");
        let seen = pod("name: seen, namespace: x", "nodeName: node-1", &status);
        rows(&(manifests.clone() + &seen), &[])
    };
    let (web, db, here) = ("x/web[Deployment]", "x/db[Deployment]", "x/here[Pod]");
    let in_range = with("10.244.1.7");
    assert_eq!(row(&in_range, web, here)["connections"]["TCP"][0], "80");
    assert_eq!(row(&in_range, web, here)["undefined"], Value::Null);
    // A pod without a node can get one that is not in the input.
    assert_eq!(row(&in_range, web, db)["undefined"]["TCP"][0], "80");
    // The address of a pod with hostNetwork is its node's.
    assert_eq!(row(&in_range, web, "x/host[Pod]")["connections"]["TCP"][0], "443");
    // Some plugins have ranges of their own. Without an address, nothing is known.
    for rows in [with("10.0.0.7"), rows(&manifests, &[])] {
        assert_eq!(row(&rows, web, here)["undefined"]["TCP"][0], "80");
    }
}

//! Checks that use the networks of running pods: `netproof verify --through-nodes`.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use netproof::backend::cluster::Live;
use netproof::backend::{Agent, Backend};
use netproof::snapshot::Identity;
use netproof::world::{EndpointName, World};
use netproof_probe::wire::{Listener, Outcome, STARTUP_PORT, Target, Transport};

use super::access::Applied;
use super::live::{block_on, install_beside_test, kill_check, wait_to_be_killed};
use super::workloads::Workloads;
use super::{Cluster, execute, on_node, state, wait_for};
use crate::support::{User, file, run};

/// A port that the workloads do not use.
const PORT: u16 = 8_080;

/// Returns a state with the pods of the workloads, and without twins, in which these pods are entered.
fn entered(workloads: &Workloads<'_>, prefixes: &[&str]) -> World {
    let mut world = workloads.world();
    enter(&mut world, prefixes);
    let twins = std::mem::take(&mut world.twins);
    world.cluster.pods.retain(|pod| !twins.contains(&Identity::of_pod(pod)));
    world
}

/// Enters the first pod, no twin, whose name begins with each of these prefixes.
fn enter(world: &mut World, prefixes: &[&str]) {
    let pods = || world.cluster.pods.iter().map(Identity::of_pod).filter(|pod| !world.twins.contains(pod));
    let first = |prefix: &&str| pods().find(|pod| pod.name.starts_with(prefix)).unwrap();
    world.entered = prefixes.iter().map(first).collect();
}

fn name(world: &World, prefix: &str) -> EndpointName {
    let pod = world.entered.iter().find(|pod| pod.name.starts_with(prefix)).unwrap();
    EndpointName::of_identity(pod)
}

/// A running pod, as this machine sees it.
struct Seen {
    uid: String,
    address: IpAddr,
    containers: String,
}

impl Seen {
    fn new(cluster: &Cluster, pod: &str) -> Self {
        let pod = cluster.json(&["get", "pod", "-n", "shop", pod]);
        Self {
            uid: pod["metadata"]["uid"].as_str().unwrap().to_owned(),
            address: pod["status"]["podIP"].as_str().unwrap().parse().unwrap(),
            // With the ids of the containers, when they started, and how often.
            containers: pod["status"]["containerStatuses"].to_string(),
        }
    }

    /// Returns the processes in the pod's network, and its sockets.
    fn processes_and_sockets(&self) -> (BTreeSet<String>, Vec<String>) {
        let own = format!("/pods/{}/etc-hosts", self.uid);
        let all =
            || fs::read_dir("/proc").unwrap().filter_map(|it| it.unwrap().file_name().into_string().ok());
        let is_own = |pid: &String| {
            fs::read_to_string(format!("/proc/{pid}/mountinfo")).is_ok_and(|mounts| mounts.contains(&own))
        };
        let pid = all().filter(|name| name.parse::<u32>().is_ok()).find(is_own).unwrap();
        let network = |pid: &String| fs::metadata(format!("/proc/{pid}/ns/net")).ok().map(|file| file.ino());
        let network_of_pod = network(&pid).unwrap();
        let processes = all().filter(|other| network(other) == Some(network_of_pod)).collect();
        let sockets = ["tcp", "tcp6", "udp", "udp6"].map(|kind| {
            let table = fs::read_to_string(format!("/proc/{pid}/net/{kind}")).unwrap_or_default();
            // The second field is the local address, the fourth the state, where 06 is a closed one that waits.
            let sockets = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
            let sockets = sockets.filter(|fields| fields[3] != "06");
            sockets.map(|fields| format!("{kind} {}", fields[1])).collect::<Vec<_>>()
        });
        (processes, sockets.concat())
    }
}

/// Sends one probe. Returns the agent that answered, if one did.
async fn probe(agent: &Agent, address: IpAddr, transport: Transport) -> Option<String> {
    let (nonce, address) = (agent.next_nonce(), SocketAddr::new(address, PORT));
    let target = Target { nonce, transport, address, name: None };
    let results = agent.probe(vec![target], Duration::from_secs(1)).await.unwrap();
    if let Outcome::Answered { agent } = &results[0].outcome { Some(agent.clone()) } else { None }
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn agents_in_networks_of_running_pods_leave_nothing() {
    let Some(cluster) = Cluster::with_nodes() else { return };
    install_beside_test();
    let workloads = Workloads::start(&cluster);
    let before = cluster.foreign_objects();
    let world = entered(&workloads, &["web-", "db-"]);
    let pods: Vec<&Identity> = world.entered.iter().collect();
    let seen = || pods.iter().map(|pod| Seen::new(&cluster, &pod.name)).collect::<Vec<_>>();
    let [db, web] = <[Seen; 2]>::try_from(seen()).unwrap_or_else(|_| unreachable!("two pods"));
    let alone = [db.processes_and_sockets(), web.processes_and_sockets()];
    assert_eq!(alone[0].1, [""; 0]);
    block_on(async {
        let mut live = Live::open(cluster.settings(), &[]).await.unwrap();
        let deployed = live.deploy(&world).await.unwrap();
        assert!(live.warnings().any(|it| it.contains("enter the networks of running pods")));
        for (prefix, seen) in [("web-", &web), ("db-", &db)] {
            assert_eq!(deployed.addresses[&name(&world, prefix)], [seen.address]);
        }
        let (from, to) =
            (live.agent(&name(&world, "web-")).unwrap(), live.agent(&name(&world, "db-")).unwrap());
        for transport in [Transport::Tcp, Transport::Udp] {
            assert_eq!(to.listen([Listener { transport, port: PORT }]).await.unwrap(), []);
            assert_eq!(probe(&from, db.address, transport).await.as_deref(), Some(to.name()));
        }
        let sources: Vec<IpAddr> = to.arrivals().await.unwrap().iter().map(|it| it.source.ip()).collect();
        assert_eq!(sources, [web.address; 2]);
        // It would be refused in the network of the helper's own pod.
        assert_ne!(to.name(), format!("shop/{}", pods[0].name));
        let (_, sockets) = db.processes_and_sockets();
        for port in [PORT, STARTUP_PORT] {
            assert!(sockets.iter().any(|it| it.ends_with(&format!(":{port:04X}"))), "{port}: {sockets:?}");
        }
        live.check_intact(&world).await.unwrap();
        assert_eq!((live.lost_pods(), live.has_lost_pod()), (Vec::new(), false));
        live.finish().await.unwrap();
    });
    // At once, and not a moment later.
    assert_eq!([db.processes_and_sockets(), web.processes_and_sockets()], alone);
    let again = seen();
    assert_eq!([&again[0].containers, &again[1].containers], [&db.containers, &web.containers]);
    assert_eq!([again[0].address, again[1].address], [db.address, web.address]);
    assert_eq!(cluster.foreign_objects(), before);
    cluster.check_clean();
}

/// Does nothing by itself: `a_killed_check_leaves_nothing_in_the_networks_of_running_pods` runs it in a process of its own.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_check_through_nodes_that_is_killed() {
    wait_to_be_killed(|cluster| {
        let db = cluster.pods_of_shop("app=db").swap_remove(0);
        let mut world = World { entered: [Identity::of_pod(&db)].into(), ..World::default() };
        world.cluster.pods.push(db);
        world
    });
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_killed_check_leaves_nothing_in_the_networks_of_running_pods() {
    let Some(cluster) = Cluster::with_nodes() else { return };
    install_beside_test();
    let _workloads = Workloads::start(&cluster);
    let (before, db) = (cluster.foreign_objects(), Seen::new(&cluster, "db-0"));
    let alone = db.processes_and_sockets();
    let command = kill_check(&cluster, "cluster::through::a_check_through_nodes_that_is_killed");
    assert_ne!(db.processes_and_sockets(), alone, "the agent does not end with netproof");
    run(User::Root, command.split(' ').skip(1)).exits(0);
    // The kubelet ends the processes of a pod that was deleted without a grace period.
    wait_for(|| db.processes_and_sockets() == alone);
    assert_eq!(Seen::new(&cluster, "db-0").containers, db.containers);
    assert_eq!(cluster.foreign_objects(), before);
    cluster.check_clean();
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_running_pod_that_ends_is_lost() {
    let Some(cluster) = Cluster::with_nodes() else { return };
    install_beside_test();
    let workloads = Workloads::start(&cluster);
    let world = entered(&workloads, &["db-"]);
    block_on(async {
        let mut live = Live::open(cluster.settings(), &[]).await.unwrap();
        live.deploy(&world).await.unwrap();
        let agent = live.agent(&name(&world, "db-")).unwrap();
        // Its controller makes another pod with the same name.
        cluster.kubectl(&["delete", "pod", "-n", "shop", "db-0", "--wait"]);
        wait_for(|| live.has_lost_pod());
        assert!(agent.listen([Listener { transport: Transport::Tcp, port: PORT }]).await.is_err());
        let lost = live.lost_pods();
        assert!(lost[0].name.ends_with("in the network of shop/db-0"), "{lost:?}");
        assert!(lost[0].why.contains("ended with code 69"), "{lost:?}");
        assert!(live.check_intact(&world).await.is_err());
        live.finish().await.unwrap();
    });
    cluster.check_clean();
}

/// An enforcer that is stopped until the value is dropped, so that it does not repair what the test breaks.
pub(super) struct Frozen(Vec<String>);

impl Frozen {
    pub(super) fn new() -> Self {
        let nodes = ["np-node1", "np-node2"].map(|node| {
            let process = fs::read_to_string(state().join(format!("pids/enforcer-{node}"))).unwrap();
            format!("-{}", process.split(' ').next().unwrap())
        });
        let frozen = Self(nodes.to_vec());
        frozen.signal("-STOP");
        frozen
    }

    fn signal(&self, signal: &str) {
        for group in &self.0 {
            execute(&["kill", signal, "--", group]);
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.signal("-CONT");
    }
}

/// Puts an address into all sets of sources that kube-router allows, as if it had once belonged there.
pub(super) fn allow_by_hand(address: IpAddr) {
    let mut changed = 0;
    for node in ["np-node1", "np-node2"] {
        let sets = on_node(node, &["ipset", "list", "-n"]);
        for set in sets.lines().filter(|set| set.starts_with("KUBE-SRC-")) {
            on_node(node, &["ipset", "add", set, &address.to_string(), "-exist"]);
            changed += 1;
        }
    }
    assert!(changed > 0, "kube-router has no set of sources");
}

const ONLY_FROM_LOG: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: only-from-log, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress: [{from: [{podSelector: {matchLabels: {app: log}}}]}]
";

/// The rules about one running pod are stale. Its twin is a new pod, so its rules are right.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn stale_rules_of_a_running_pod_show_only_from_its_own_network() {
    let Some(cluster) = Cluster::with_kube_router() else { return };
    install_beside_test();
    let workloads = Workloads::start(&cluster);
    let _policy = Applied::new(&cluster, file("only-from-log.yaml", ONLY_FROM_LOG));
    let mut world = workloads.world();
    enter(&mut world, &["web-", "db-"]);
    block_on(async {
        let mut live = Live::open(cluster.settings(), &[]).await.unwrap();
        let deployed = live.deploy(&world).await.unwrap();
        let twin = |of: &EndpointName| {
            let EndpointName::Pod { namespace, name } = of else { unreachable!("it is a pod") };
            EndpointName::of_identity(&Identity::new(namespace, &format!("{name}@twin")))
        };
        let (web, db) = (name(&world, "web-"), name(&world, "db-"));
        let log = world.twins.iter().find(|pod| pod.name.starts_with("log-")).unwrap();
        let [web_agent, web_twin, log_twin] =
            [web.clone(), twin(&web), EndpointName::of_identity(log)].map(|it| live.agent(&it).unwrap());
        let destinations = [db.clone(), twin(&db)];
        for to in &destinations {
            let listener = Listener { transport: Transport::Tcp, port: PORT };
            assert_eq!(live.agent(to).unwrap().listen([listener]).await.unwrap(), []);
        }
        let reached = async |from: &Agent| {
            let mut reached = Vec::new();
            for to in &destinations {
                reached.push(probe(from, deployed.addresses[to][0], Transport::Tcp).await.is_some());
            }
            reached
        };
        // kube-router follows the new pods.
        for _ in 0..60 {
            if reached(&log_twin).await == [true, true] && reached(&web_twin).await == [false, false] {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        assert_eq!(reached(&log_twin).await, [true, true]);
        assert_eq!((reached(&web_twin).await, reached(&web_agent).await), (vec![false; 2], vec![false; 2]));
        let frozen = Frozen::new();
        allow_by_hand(deployed.addresses[&web][0]);
        assert_eq!(reached(&web_twin).await, [false, false], "what a new pod gets is right");
        assert_eq!(reached(&web_agent).await, [true, true], "the policies deny it");
        live.check_intact(&world).await.unwrap();
        drop(frozen);
        live.finish().await.unwrap();
    });
    cluster.check_clean();
}

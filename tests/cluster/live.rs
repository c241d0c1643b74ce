//! Checks of a live cluster: probe pods beside workloads, of which the workloads notice nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use netproof::backend::Backend;
use netproof::backend::cluster::{Control, Live, Resources, Settings, Site, Target};
use netproof::policy::Pod;
use netproof::snapshot::Identity;
use netproof::world::{Deployed, EndpointName, World};
use serde_json::Value;

use super::access::{Applied, kubeconfig_of};
use super::workloads::{Terminating, Workloads};
use super::{Cluster, install_agent, on_node, wait_for};
use crate::agent::{binary, built};
use crate::support::{User, file, folder, run};

impl Cluster {
    pub(super) fn settings(&self) -> Settings {
        Settings {
            target: Target { kubeconfig: None, context: Some(self.context.clone()) },
            namespace_prefix: None,
            prepared_namespaces: Vec::new(),
            image: None,
            base_image: None,
            image_pull_policy: None,
            image_pull_secret: None,
            resources: Resources::default(),
            nodes: Vec::new(),
            every_node: false,
            site: Site::default(),
            control: Control::PortForward,
            pod_timeout: Duration::from_secs(30),
            deadline: Duration::from_secs(120),
            outside: Vec::new(),
            token: None,
            host_network: false,
            keep: false,
        }
    }

    /// Returns the objects of others. Endpoints list every pod that a Service selects, also those that get no traffic.
    pub(super) fn foreign_objects(&self) -> BTreeSet<String> {
        let mut objects = self.objects();
        objects.retain(|object| !object.starts_with("EndpointSlice ") && !object.starts_with("Endpoints "));
        objects
    }

    /// Returns the names of everything in a namespace that a check created.
    fn of_checks(&self, namespace: &str) -> String {
        self.kubectl(&["get", "pods,configmaps", "-n", namespace, "-l", "netproof.dev/run", "-o", "name"])
    }
}

/// Runs a future on a runtime of its own.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(future)
}

/// Puts the agent beside this test, which is the program that carries it here.
pub(super) fn install_beside_test() {
    install_agent();
    let [loader, agent] = [&built("probe-loader"), binary()].map(|path| fs::read(path).unwrap());
    let packed = netproof_loader::pack(&loader, &agent);
    let beside = std::env::current_exe().unwrap().with_file_name("netproof-probe");
    let part = beside.with_extension(format!("{}.part", std::process::id()));
    fs::write(&part, packed).unwrap();
    fs::rename(part, beside).unwrap();
}

/// The endpoints that the cluster reported while this value existed.
struct EndpointWatch {
    child: Child,
    log: PathBuf,
}

impl EndpointWatch {
    fn start(cluster: &Cluster) -> Self {
        let log = folder().join("endpoints.json");
        let mut watch = cluster.kubectl_command(&["get", "endpointslices", "-n", "shop", "-w", "-o", "json"]);
        let child = watch.stdout(fs::File::create(&log).unwrap()).spawn().unwrap();
        Self { child, log }
    }

    /// Returns the conditions that each address ever had: ready, serving, or none.
    fn end(mut self) -> BTreeMap<String, BTreeSet<&'static str>> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let log = fs::read_to_string(&self.log).unwrap();
        let slices = serde_json::Deserializer::from_str(&log).into_iter::<Value>().map_while(Result::ok);
        let mut seen = BTreeMap::<String, BTreeSet<&str>>::new();
        for endpoint in slices.flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default()) {
            let conditions = &endpoint["conditions"];
            let is = |name: &str| conditions[name] != Value::Bool(false);
            let state = if is("ready") {
                "ready"
            } else if is("serving") {
                "serving"
            } else {
                "none"
            };
            for address in endpoint["addresses"].as_array().unwrap() {
                seen.entry(address.as_str().unwrap().to_owned()).or_default().insert(state);
            }
        }
        seen
    }
}

fn addresses(world: &World, deployed: &Deployed) -> Vec<String> {
    let address = |twin: &Identity| deployed.addresses[&EndpointName::of_identity(twin)][0].to_string();
    world.twins.iter().map(address).collect()
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn workloads_notice_nothing_of_their_twins() {
    let cluster = Cluster::named();
    install_beside_test();
    let workloads = Workloads::start(&cluster);
    let (before, pods) = (cluster.foreign_objects(), workloads.pods());
    let endpoints = EndpointWatch::start(&cluster);
    let world = workloads.world();
    assert_eq!(world.twins.len(), 5, "{world:?}");
    let twins = block_on(async {
        let mut live = Live::open(cluster.settings(), &[]).await.unwrap();
        let deployed = live.deploy(&world).await.unwrap();
        assert_eq!(live.canaries().len(), 2 * world.cluster.nodes.len());
        for twin in &world.twins {
            let name = EndpointName::of_identity(twin);
            live.agent(&name).unwrap().find_capabilities().await.unwrap();
            assert_eq!(deployed.pod_labels[&name]["netproof.dev/run"], live.run());
        }
        // Controllers have adopted and deleted a pod without an owner after less than 2 s.
        tokio::time::sleep(Duration::from_secs(5)).await;
        live.check_intact(&world).await.unwrap();
        assert_eq!((live.lost_pods(), live.has_lost_pod()), (Vec::new(), false));
        assert_eq!(workloads.pods(), pods);
        let created = cluster.of_checks("shop");
        assert_eq!(created.lines().count(), 5 + 2, "twins, their owner and their agent: {created}");
        // What the lost-pod machinery starts again has to be a twin, too.
        let name = created.lines().next().unwrap().to_owned();
        cluster.kubectl(&["delete", "-n", "shop", &name]);
        wait_for(|| live.has_lost_pod());
        let again = live.deploy(&world).await.unwrap();
        live.check_intact(&world).await.unwrap();
        // Without their owner, all are deleted, and none are added by surprise.
        let owner = format!("netproof-{}", live.run());
        cluster.kubectl(&["delete", "configmap", "-n", "shop", &owner]);
        wait_for(|| live.lost_pods().len() == 5);
        let message = live.deploy(&world).await.unwrap_err().to_string();
        assert!(message.contains("another user deleted the ConfigMap that owns them"), "{message}");
        live.finish().await.unwrap();
        [addresses(&world, &deployed), addresses(&world, &again)].concat()
    });
    assert_eq!(cluster.of_checks("shop"), "");
    assert_eq!(cluster.foreign_objects(), before);
    let seen = endpoints.end();
    let real: Vec<_> = seen.iter().filter(|(address, _)| !twins.contains(address)).collect();
    assert!(real.iter().all(|(_, states)| states.contains("ready")) && real.len() == 3, "{seen:?}");
    let of_twins: Vec<_> = seen.iter().filter(|(address, _)| twins.contains(address)).collect();
    assert!(of_twins.len() >= 3, "the Services select the twins: {seen:?}");
    for (address, states) in of_twins {
        assert_eq!(*states, BTreeSet::from(["none"]), "{address}");
    }
    cluster.check_clean();
}

/// Drops packets to the port of the startup probe on the way out of a node, until the value is dropped.
struct Unreachable(&'static str);

impl Unreachable {
    fn at(node: &'static str) -> Self {
        Self::change("-I", node);
        Self(node)
    }

    fn change(how: &str, node: &str) {
        // An enforcer may replace the whole table `filter`.
        let table = ["iptables", "-w", "-t", "raw", how, "OUTPUT"];
        on_node(node, &[&table[..], &["-p", "tcp", "--dport", "15118", "-j", "DROP"]].concat());
    }
}

impl Drop for Unreachable {
    fn drop(&mut self) {
        Self::change("-D", self.0);
    }
}

/// A denial is no evidence if the twin's own network may not work.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_twin_that_its_kubelet_does_not_reach_is_not_used() {
    let Some(cluster) = Cluster::with_nodes() else { return };
    install_beside_test();
    let workloads = Workloads::start(&cluster);
    let _unreachable = Unreachable::at("np-node2");
    let message = block_on(async {
        let settings = Settings { pod_timeout: Duration::from_secs(8), ..cluster.settings() };
        let mut live = Live::open(settings, &[]).await.unwrap();
        let message = live.deploy(&workloads.world()).await.unwrap_err().to_string();
        live.finish().await.unwrap();
        message
    });
    assert!(message.contains("it was not ready after 8 s: Unhealthy: Startup probe failed"), "{message}");
    assert_eq!(cluster.of_checks("shop"), "");
    cluster.check_clean();
}

/// The kubelet reaches the pods of its node, whatever policies say.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn twins_start_where_everything_is_denied() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    install_beside_test();
    let workloads = Workloads::start(&cluster);
    let deny =
        "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: deny, namespace: shop},
        spec: {podSelector: {}, policyTypes: [Ingress, Egress]}}";
    cluster.kubectl(&["apply", "--validate=false", "-f", &file("deny.yaml", deny)]);
    let world = workloads.world();
    block_on(async {
        let mut live = Live::open(cluster.settings(), &[]).await.unwrap();
        live.preflight(&world).await.unwrap();
        live.deploy(&world).await.unwrap();
        live.check_intact(&world).await.unwrap();
        live.finish().await.unwrap();
    });
    cluster.check_clean();
}

/// Set for the process that another test kills: the file for the command that removes what it has created.
const KILLED: &str = "NETPROOF_TEST_KILLED";

/// Starts the pods of a state, and waits until [`kill_check`] kills this process. Does nothing in other processes.
pub(super) fn wait_to_be_killed(world: impl FnOnce(&Cluster) -> World) {
    let Some(said) = std::env::var_os(KILLED) else { return };
    let cluster = Cluster::named();
    let world = world(&cluster);
    block_on(async {
        let mut live = Live::open(cluster.settings(), &[]).await.unwrap();
        live.deploy(&world).await.unwrap();
        fs::write(said, live.cleanup_command()).unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
    });
}

/// Runs a test in a process of its own, and kills it when its pods run. Returns the command that removes them.
pub(super) fn kill_check(cluster: &Cluster, test: &str) -> String {
    let said = folder().join(test.replace("::", "-"));
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", test])
        .env(KILLED, &said)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(|| said.exists() || child.try_wait().unwrap().is_some());
    child.kill().unwrap();
    child.wait().unwrap();
    let deadlines = cluster.of_runs("pods", ".spec.activeDeadlineSeconds");
    assert!(!deadlines.is_empty() && deadlines.iter().all(|it| it == "120"), "{deadlines:?}");
    fs::read_to_string(said).unwrap()
}

/// Does nothing by itself: `a_killed_check_can_be_removed` runs it in a process of its own.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_check_that_is_killed() {
    wait_to_be_killed(|cluster| {
        let web = cluster.pods_of_shop("app=web").swap_remove(0);
        let twin = Pod { name: "web@twin".to_owned(), ..web };
        let mut world = World { twins: [Identity::of_pod(&twin)].into(), ..World::default() };
        world.cluster.pods.push(twin);
        world
    });
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_killed_check_can_be_removed() {
    let cluster = Cluster::named();
    install_beside_test();
    let _workloads = Workloads::start(&cluster);
    let before = cluster.foreign_objects();
    let command = kill_check(&cluster, "cluster::live::a_check_that_is_killed");
    assert!(cluster.of_checks("shop").contains("pod/netproof-"));
    let removed = run(User::Root, command.split(' ').skip(1)).exits(0).stdout;
    assert!(removed.contains("removed ConfigMap shop/netproof-"), "{removed}");
    assert_eq!(cluster.of_checks("shop"), "");
    assert_eq!(cluster.foreign_objects(), before);
    cluster.check_clean();
}

/// Returns the error of a check that must create nothing.
fn refusal(cluster: &Cluster, settings: Settings, world: &World) -> String {
    let before = cluster.foreign_objects();
    let message = block_on(async {
        let mut live = Live::open(settings, &[]).await.unwrap();
        let message = live.deploy(world).await.unwrap_err().to_string();
        live.finish().await.unwrap();
        message
    });
    assert_eq!(cluster.foreign_objects(), before);
    message
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn what_stands_in_the_way_of_a_check_is_told_and_nothing_is_created() {
    let cluster = Cluster::named();
    install_beside_test();
    let workloads = Workloads::start(&cluster);
    let world = workloads.world();
    let applied =
        |name: &str, manifest: &str| Applied::new(&cluster, file(&format!("{name}.yaml"), manifest));
    let in_the_way = applied(
        "in-the-way",
        "apiVersion: v1
kind: ResourceQuota
metadata: {name: team, namespace: shop}
spec: {hard: {pods: '9', configmaps: '2', limits.cpu: '2'}}
---
apiVersion: v1
kind: LimitRange
metadata: {name: sizes, namespace: shop}
spec: {limits: [{type: Container, min: {memory: 32Mi}, max: {memory: 1Gi}}]}
---
apiVersion: v1
kind: Service
metadata: {name: peers, namespace: shop}
spec: {clusterIP: None, publishNotReadyAddresses: true, selector: {app: db}, ports: [{port: 80}]}
",
    );
    cluster.wait_for_quota("shop", "team", "5");
    let message = refusal(&cluster, cluster.settings(), &world);
    for part in [
        "Service shop/peers has publishNotReadyAddresses, and selects shop/db-0@twin",
        "LimitRange shop/sizes: the least memory of a Container is 32Mi, and the request of a probe pod is 16Mi",
        "pods: 5 needed, 5 used, 9 allowed",
        "configmaps: 2 needed, ",
        "limits.cpu: 2500m needed, ",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    drop(in_the_way);
    // A budget that needs the controllers of its pods.
    let budget = applied(
        "budget",
        "{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: web, namespace: shop},
  spec: {maxUnavailable: 1, selector: {matchLabels: {app: web}}}}",
    );
    block_on(async {
        let mut live = Live::open(cluster.settings(), &[]).await.unwrap();
        live.preflight(&world).await.unwrap();
        let warnings: Vec<&str> = live.warnings().collect();
        assert!(
            warnings.iter().any(|it| it.starts_with("PodDisruptionBudget shop/web allows no eviction")),
            "{warnings:?}"
        );
    });
    drop(budget);
    let mut elsewhere = world.clone();
    let twin = elsewhere.cluster.pods.iter_mut().find(|pod| pod.name.ends_with("@twin")).unwrap();
    twin.node = Some("nowhere".to_owned());
    let message = refusal(&cluster, cluster.settings(), &elsewhere);
    assert!(message.contains("node nowhere does not exist"), "{message}");
    let terminating = Terminating::start(&cluster, "shop");
    let message = block_on(async {
        let mut live = Live::open(cluster.settings(), &[]).await.unwrap();
        live.deploy(&world).await.unwrap_err().to_string()
    });
    assert!(message.contains("namespace shop is being deleted"), "{message}");
    drop(terminating);
    cluster.check_clean();
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn what_others_change_during_a_check_is_told() {
    let cluster = Cluster::named();
    install_beside_test();
    let workloads = Workloads::start(&cluster);
    let world = workloads.world();
    block_on(async {
        let mut live = Live::open(cluster.settings(), &[]).await.unwrap();
        live.deploy(&world).await.unwrap();
        live.check_intact(&world).await.unwrap();
        let deny = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: deny, namespace: shop}, spec: {podSelector: {}}}";
        cluster.kubectl(&["apply", "--validate=false", "-f", &file("deny.yaml", deny)]);
        cluster.kubectl(&["label", "namespace", "shop", "team=red"]);
        let name = cluster.of_checks("shop").lines().next().unwrap().to_owned();
        cluster.kubectl(&["label", "-n", "shop", &name, "app=other", "--overwrite"]);
        let message = live.check_intact(&world).await.unwrap_err().to_string();
        for part in [
            "Namespace shop has other labels",
            "NetworkPolicy shop/deny was added",
            "the labels of the probe pod shop/",
        ] {
            assert!(message.contains(part), "{part}: {message}");
        }
        live.finish().await.unwrap();
    });
    cluster.check_clean();
}

/// A user with rights in one namespace of a tenant, and in one that was prepared for canaries.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn the_rights_of_deploy_are_enough_for_a_check() {
    let cluster = Cluster::named();
    install_beside_test();
    // Its namespace is removed last.
    let _account = Applied::deploy(&cluster, ["account"]);
    let _verify = Applied::deploy(&cluster, ["verify"]);
    let workloads = Workloads::start(&cluster);
    let world = workloads.world();
    let kubeconfig = kubeconfig_of(&cluster, "netproof-verify");
    let settings = || Settings {
        target: Target { kubeconfig: Some(folder().join(&kubeconfig)), context: None },
        prepared_namespaces: vec!["netproof-canaries".to_owned()],
        ..cluster.settings()
    };
    let scope = ["shop".to_owned()];
    let before = cluster.foreign_objects();
    let message = block_on(async {
        let mut live = Live::open(settings(), &[]).await.unwrap();
        live.deploy(&world).await.unwrap_err().to_string()
    });
    let asked = "add these rules to a Role of theirs in namespace shop:\n- apiGroups: [\"\"]\n  resources: [namespaces]\n";
    assert!(message.contains(asked) && message.contains("resources: [pods/portforward]"), "{message}");
    assert_eq!(cluster.foreign_objects(), before);
    let account = "--serviceaccount=netproof:netproof-verify";
    let role = "--clusterrole=netproof-verify-tenant";
    cluster.kubectl(&["create", "rolebinding", "netproof-verify", "-n", "shop", role, account]);
    let before = cluster.foreign_objects();
    block_on(async {
        let mut live = Live::open(settings(), &scope).await.unwrap();
        live.deploy(&world).await.unwrap();
        live.check_intact(&world).await.unwrap();
        assert_eq!(live.canaries().len(), 4);
        live.finish().await.unwrap();
    });
    let without_versions = |objects: BTreeSet<String>| -> BTreeSet<String> {
        // The check borrows this namespace, and gives it back with the labels that it had.
        let is_borrowed =
            |object: &str| object.starts_with("Namespace ") && object.contains("netproof-canaries");
        objects.into_iter().filter(|object| !is_borrowed(object)).collect()
    };
    assert_eq!(without_versions(cluster.foreign_objects()), without_versions(before));
    // The same user can remove what a killed check left.
    block_on(async {
        let mut live = Live::open(Settings { keep: true, ..settings() }, &scope).await.unwrap();
        live.deploy(&world).await.unwrap();
        let command = live.cleanup_command();
        live.finish().await.unwrap();
        assert!(cluster.of_checks("shop").contains("pod/"));
        run(User::Root, command.split(' ').skip(1)).exits(0);
    });
    assert_eq!(cluster.of_checks("shop") + &cluster.of_checks("netproof-canaries"), "");
    cluster.check_clean();
}

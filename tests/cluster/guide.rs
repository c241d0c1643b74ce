//! The tenants of the example `guide` with running workloads, and programs in the networks of their pods.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use super::access::Applied;
use super::{Cluster, in_network, wait_for};
use crate::support::{Finished, User, command, file, run};
use crate::verify::{Example, guide};

/// The pods of each Deployment are on different nodes.
const SPEC: &str = "    spec:
      terminationGracePeriodSeconds: 0
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {},
         matchLabelKeys: [pod-template-hash]}
      containers:";

/// What the guide has not: other controllers, and Services.
const MORE: &str = "---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: tenant-a-prod}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - {name: db, image: 'localhost/netproof-pause:1', imagePullPolicy: IfNotPresent, ports: [{containerPort: 5432}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: log, namespace: tenant-b-prod}
spec:
  selector: {matchLabels: {app: log}}
  template:
    metadata: {labels: {app: log}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - {name: log, image: 'localhost/netproof-pause:1', imagePullPolicy: IfNotPresent}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: tenant-a-prod}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 5432}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: tenant-a-prod}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: tenant-b-prod}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  selector: {k8s-app: kube-dns}
  ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53}]
";

/// Returns the manifests of the example with an image that every node has.
fn runnable(example: &Example) -> String {
    // It exists, and cannot be deleted.
    let documents = example.manifests.split("---\n").filter(|it| !it.contains("{name: kube-system}"));
    let mut text = documents.collect::<Vec<_>>().join("---\n") + MORE;
    for name in ["coredns", "ingress", "web", "worker"] {
        let image = "image: 'localhost/netproof-pause:1', imagePullPolicy: IfNotPresent";
        text = text.replace(&format!("image: example/{name}"), image);
    }
    text.replace("replicas: 1", "replicas: 2").replace("    spec:\n      containers:", SPEC)
}

/// The tenants with running workloads, until the value is dropped.
pub(super) struct Guide<'a> {
    cluster: &'a Cluster,
    _applied: Applied<'a>,
    tenants: String,
}

impl<'a> Guide<'a> {
    pub(super) fn start(cluster: &'a Cluster) -> Self {
        let example = guide();
        let applied = Applied::new(cluster, file("guide/workloads.yaml", runnable(&example)));
        for (namespace, workload) in [
            ("kube-system", "deployment/coredns"),
            ("ingress-shared", "deployment/ingress"),
            ("tenant-a-prod", "deployment/web"),
            ("tenant-a-prod", "deployment/worker"),
            ("tenant-a-prod", "statefulset/db"),
            ("tenant-b-prod", "deployment/web"),
            ("tenant-b-prod", "deployment/worker"),
            ("tenant-b-prod", "daemonset/log"),
        ] {
            cluster.kubectl(&["rollout", "status", workload, "-n", namespace, "--timeout=60s"]);
        }
        // Controllers write the status of what they own a moment later.
        sleep(Duration::from_secs(2));
        Self { cluster, _applied: applied, tenants: file("guide/tenants.yaml", example.tenants) }
    }

    /// Replaces the policies by those of an example.
    pub(super) fn apply(&self, example: &Example) {
        let path = file("guide/changed.yaml", runnable(example));
        self.cluster.kubectl(&["apply", "--validate=false", "-f", &path]);
        // The rules of the nodes follow.
        sleep(Duration::from_secs(2));
    }

    fn arguments<'b>(&'b self, options: &[&'b str]) -> Vec<&'b str> {
        let first = ["verify", "--context", &self.cluster.context, "--tenants", &self.tenants];
        [&first[..], options].concat()
    }

    pub(super) fn verify(&self, options: &[&str]) -> Finished {
        run(User::Root, self.arguments(options))
    }

    pub(super) fn start_verify(&self, options: &[&str]) -> Child {
        let mut command = command(User::Root);
        command.args(self.arguments(options)).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Returns the names of the pods of a workload, by the nodes on which they run.
    pub(super) fn pods(&self, namespace: &str, app: &str) -> Vec<String> {
        let selector = format!("app={app},!netproof.dev/run");
        let path = "jsonpath={range .items[*]}{.spec.nodeName} {.metadata.name}{\"\\n\"}{end}";
        let found = self.cluster.kubectl(&["get", "pods", "-n", namespace, "-l", &selector, "-o", path]);
        let mut pods: Vec<&str> = found.lines().collect();
        pods.sort_unstable();
        pods.iter().map(|pod| pod.split_once(' ').unwrap().1.to_owned()).collect()
    }

    /// Returns the address of a running pod.
    pub(super) fn address(&self, namespace: &str, pod: &str) -> IpAddr {
        let found =
            self.cluster.kubectl(&["get", "pod", pod, "-n", namespace, "-o", "jsonpath={.status.podIP}"]);
        found.parse().unwrap()
    }

    /// Returns the network of a running pod.
    pub(super) fn network(&self, namespace: &str, pod: &str) -> PathBuf {
        let path = "jsonpath={.status.containerStatuses[0].containerID}";
        let id = self.cluster.kubectl(&["get", "pod", pod, "-n", namespace, "-o", path]);
        let id = id.trim_start_matches("containerd://").to_owned();
        let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
        let is_of_pod =
            |process: &PathBuf| fs::read_to_string(process.join("cgroup")).is_ok_and(|it| it.contains(&id));
        processes
            .into_iter()
            .find(is_of_pod)
            .unwrap_or_else(|| unreachable!("no process of {id}"))
            .join("ns/net")
    }

    /// Starts a program in each pod of a workload, in place of its image, which does nothing.
    pub(super) fn serve(&self, namespace: &str, app: &str, port: u16) -> Vec<Server> {
        let serve = |pod: String| {
            let greeting = format!("{GREETING} {pod}");
            Server::start(&self.network(namespace, &pod), &format!("0.0.0.0:{port}"), greeting)
        };
        self.pods(namespace, app).into_iter().map(serve).collect()
    }

    /// Returns the name of the tenants file.
    pub(super) fn tenants(&self) -> &str {
        &self.tenants
    }

    /// Returns everything that checks have left.
    pub(super) fn left(&self) -> String {
        self.cluster.kubectl(&[
            "get",
            "pods,configmaps,namespaces",
            "-A",
            "-l",
            "netproof.dev/run",
            "-o",
            "name",
        ])
    }
}

/// What a program of a tenant says to its clients. No probe pod says it.
const GREETING: &str = "the program of";

/// A connection that a program has accepted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Accepted {
    from: SocketAddr,
    at: Instant,
    /// Count of the bytes that the client has sent.
    pub(super) bytes: usize,
}

/// A program that greets its clients, until the value is dropped.
pub(super) struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Accepted>>>,
}

impl Server {
    pub(super) fn start(network: &Path, address: &str, greeting: String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, address) = (Arc::clone(&stop), address.to_owned());
        let (started, is_started) = mpsc::channel();
        let thread = in_network(network, move || {
            let listener = TcpListener::bind(address).unwrap();
            listener.set_nonblocking(true).unwrap();
            started.send(()).unwrap();
            let mut accepted = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((client, from)) => {
                        let (at, greeting) = (Instant::now(), greeting.clone());
                        let greeted = std::thread::spawn(move || greet(client, &greeting));
                        accepted.push((from, at, greeted));
                    }
                    Err(_) => sleep(Duration::from_millis(2)),
                }
            }
            let finish = |(from, at, greeted): (_, _, JoinHandle<usize>)| Accepted {
                from,
                at,
                bytes: greeted.join().unwrap(),
            };
            accepted.into_iter().map(finish).collect()
        });
        is_started.recv().unwrap();
        Self { stop, thread: Some(thread) }
    }

    /// Ends the program. Returns whose connections it has accepted.
    pub(super) fn end(mut self) -> Vec<Accepted> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Greets a client. Returns how many bytes it sends.
fn greet(mut client: TcpStream, greeting: &str) -> usize {
    client.set_nonblocking(false).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    // The client may be gone.
    let _ = client.write_all(greeting.as_bytes());
    let _ = client.shutdown(std::net::Shutdown::Write);
    let mut sent = Vec::new();
    let _ = client.read_to_end(&mut sent);
    sent.len()
}

/// Returns the greatest count of connections within a bit less than a second.
pub(super) fn most_in_a_second(accepted: &[Accepted]) -> usize {
    let second = Duration::from_millis(900);
    let from = |first: &Accepted| {
        accepted.iter().filter(|it| it.at >= first.at && it.at < first.at + second).count()
    };
    accepted.iter().map(from).max().unwrap_or_default()
}

/// A client in the network of a running pod, which connects to a Service again and again.
pub(super) struct Client {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(usize, Vec<String>)>,
}

impl Client {
    pub(super) fn start(network: &Path, service: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = in_network(network, move || {
            let (mut count, mut failures) = (0, Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                count += 1;
                let start = Instant::now();
                match request(service) {
                    // A repeated SYN takes a second: a packet was lost.
                    Ok(said)
                        if said.starts_with(GREETING) && start.elapsed() < Duration::from_millis(900) => {}
                    other => failures.push(format!("request {count} after {:?}: {other:?}", start.elapsed())),
                }
                sleep(Duration::from_millis(10));
            }
            (count, failures)
        });
        Self { stop, thread }
    }

    /// Ends the client. Returns the count of its requests, and what was wrong.
    pub(super) fn end(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn request(service: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&service, Duration::from_secs(3))?;
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said)
}

/// Clients of a Service of a tenant, one on each node.
pub(super) struct Clients {
    clients: Vec<Client>,
    /// The addresses of the pods in whose networks the clients are.
    addresses: BTreeSet<String>,
    servers: Vec<Server>,
}

impl Clients {
    pub(super) fn start(guide: &Guide<'_>) -> Self {
        let path = "jsonpath={.spec.clusterIP}";
        let address = guide.cluster.kubectl(&["get", "service", "web", "-n", "tenant-a-prod", "-o", path]);
        let service = SocketAddr::new(address.parse().unwrap(), 80);
        let servers = guide.serve("tenant-a-prod", "web", 8080);
        let networks = guide.pods("tenant-a-prod", "worker").into_iter();
        let networks: Vec<PathBuf> = networks.map(|pod| guide.network("tenant-a-prod", &pod)).collect();
        assert_eq!((servers.len(), networks.len()), (2, 2));
        // The nodes may be about to learn of the Service.
        let first = networks.clone();
        wait_for(|| {
            let answers =
                first.iter().map(|network| in_network(network, move || request(service)).join().unwrap());
            answers.into_iter().all(|answer| answer.is_ok_and(|said| said.starts_with(GREETING)))
        });
        let path = "jsonpath={range .items[*]}{.status.podIP}{\"\\n\"}{end}";
        let addresses =
            guide.cluster.kubectl(&["get", "pods", "-n", "tenant-a-prod", "-l", "app=worker", "-o", path]);
        let addresses = addresses.lines().map(str::to_owned).collect();
        let clients = networks.iter().map(|network| Client::start(network, service)).collect();
        Self { clients, addresses, servers }
    }

    /// Ends the clients. Checks that they have lost no request, and that nobody but them has used the programs.
    #[track_caller]
    pub(super) fn check_served(self) {
        let (mut count, mut failures) = (0, Vec::new());
        for client in self.clients {
            let (requests, wrong) = client.end();
            count += requests;
            failures.extend(wrong);
        }
        assert_eq!(failures, Vec::<String>::new(), "of {count} requests");
        let accepted: Vec<Vec<Accepted>> = self.servers.into_iter().map(Server::end).collect();
        let strangers =
            accepted.iter().flatten().filter(|it| !self.addresses.contains(&it.from.ip().to_string()));
        assert_eq!(strangers.collect::<Vec<_>>(), Vec::<&Accepted>::new());
        // Some more asked whether the Service is there.
        let all: Vec<usize> = accepted.iter().map(Vec::len).collect();
        assert!(count > 100 && all.iter().sum::<usize>() >= count, "{count}: {all:?}");
        assert!(all.iter().all(|one| *one > count / 5), "{count}: {all:?}");
    }
}

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::processes::{Processes, is_group_of};
use super::*;

const UID: &str = "6f1c9a52-8f0e-4f1b-9a53-1c2d3e4f5a6b";
const OTHER: &str = "6f1c9a52-8f0e-4f1b-9a53-1c2d3e4f5a6c";

/// Lines of `/proc/PID/cgroup` in containers of a pod.
const GROUPS: [&str; 9] = [
    // containerd, systemd driver, version 2.
    "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod6f1c9a52_8f0e_4f1b_9a53_1c2d3e4f5a6b.slice/\
     cri-containerd-3d1c.scope",
    // The same, of class Guaranteed.
    "0::/kubepods.slice/kubepods-pod6f1c9a52_8f0e_4f1b_9a53_1c2d3e4f5a6b.slice/cri-containerd-3d1c.scope",
    // The same, read in a container that has a namespace of control groups.
    "0::/../../kubepods-besteffort.slice/kubepods-besteffort-pod6f1c9a52_8f0e_4f1b_9a53_1c2d3e4f5a6b.slice/\
     cri-containerd-3d1c.scope",
    // CRI-O, systemd driver, version 2, in a group below the container's.
    "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod6f1c9a52_8f0e_4f1b_9a53_1c2d3e4f5a6b.slice/\
     crio-5a9e.scope/container",
    // containerd, cgroupfs driver, version 2.
    "0::/kubepods/besteffort/pod6f1c9a52-8f0e-4f1b-9a53-1c2d3e4f5a6b/5a9e",
    // kind, where the kubelet has a group of its own.
    "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/\
     kubelet-kubepods-besteffort-pod6f1c9a52_8f0e_4f1b_9a53_1c2d3e4f5a6b.slice/cri-containerd-3d1c.scope",
    // containerd that does not use systemd, version 1.
    "11:memory:/system.slice/containerd.service/\
     kubepods-besteffort-pod6f1c9a52_8f0e_4f1b_9a53_1c2d3e4f5a6b.slice:cri-containerd:3d1c\n0::/",
    // docker, cgroupfs driver, version 1.
    "12:pids:/kubepods/burstable/pod6f1c9a52-8f0e-4f1b-9a53-1c2d3e4f5a6b/77ab\n\
     1:name=systemd:/kubepods/burstable/pod6f1c9a52-8f0e-4f1b-9a53-1c2d3e4f5a6b/77ab\n0::/",
    // docker, systemd driver, version 1.
    "4:cpu,cpuacct:/kubepods.slice/kubepods-besteffort.slice/\
     kubepods-besteffort-pod6f1c9a52_8f0e_4f1b_9a53_1c2d3e4f5a6b.slice/docker-77ab.scope",
];

#[test]
fn control_groups_of_all_runtimes_and_drivers_name_their_pod() {
    for groups in GROUPS {
        assert!(is_group_of(groups, UID), "{groups}");
        assert!(!is_group_of(groups, OTHER), "{groups}");
        assert!(!is_group_of(groups, &UID[..35]), "{groups}");
    }
    for groups in
        ["", "0::/", "0::/system.slice/kubelet.service", &format!("0::/{UID}"), &format!("{UID}:pod{UID}:/")]
    {
        assert!(!is_group_of(groups, UID), "{groups}");
    }
}

/// A folder that imitates `/proc` until it is dropped.
struct Proc(PathBuf);

impl Proc {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("netproof-probe-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        let proc = Self(path);
        proc.add(1, "0::/init.scope\n", "");
        // Not everything there is a process.
        fs::create_dir(proc.0.join("sys")).unwrap();
        proc
    }

    fn add(&self, pid: u32, groups: &str, mounts: &str) {
        let folder = self.0.join(pid.to_string());
        fs::create_dir_all(folder.join("ns")).unwrap();
        fs::write(folder.join("cgroup"), groups).unwrap();
        fs::write(folder.join("mountinfo"), mounts).unwrap();
        fs::write(folder.join("ns/net"), "").unwrap();
    }

    /// Lets a process have the network of a real one.
    fn give_network(&self, pid: u32, of: &str) {
        let link = self.0.join(format!("{pid}/ns/net"));
        fs::remove_file(&link).unwrap();
        symlink(format!("/proc/{of}/ns/net"), link).unwrap();
    }

    fn end(&self, pid: u32) {
        fs::remove_dir_all(self.0.join(pid.to_string())).unwrap();
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn mount(uid: &str, place: &str) -> String {
    format!(
        "700 699 0:50 / / rw,relatime - overlay overlay rw\n\
         711 700 8:1 /var/lib/kubelet/pods/{uid}/etc-hosts {place} rw,relatime - ext4 /dev/sda1 rw\n"
    )
}

#[test]
fn processes_are_found_by_group_or_else_by_mount() {
    let proc = Proc::new();
    let found = |uid: &str| Processes::new(&proc.0).of_pod(uid).unwrap();
    assert_eq!(found(UID), [0; 0]);
    proc.add(70, "0::/k8s.io/3d1c\n", &mount(UID, "/etc/hosts"));
    proc.add(71, "0::/k8s.io/77ab\n", &mount(OTHER, "/etc/hosts"));
    // A volume of the node at another place.
    proc.add(72, "0::/k8s.io/5a9e\n", &mount(UID, "/node"));
    assert_eq!((found(UID), found(OTHER)), (vec![70], vec![71]));
    proc.add(9, GROUPS[0], "");
    proc.add(10, GROUPS[4], "");
    assert_eq!(found(UID), [9, 10]);
}

fn entry(addresses: &[&str]) -> Entry {
    let addresses = addresses.iter().map(|address| address.parse().unwrap());
    Entry { uid: UID.to_owned(), addresses: addresses.collect() }
}

#[test]
fn a_pod_that_has_ended_or_has_the_network_of_its_node_is_refused() {
    let proc = Proc::new();
    let refusal = || entry(&["10.9.8.7"]).enter_from(&proc.0).unwrap_err();
    assert!(matches!(refusal(), Refusal::NoProcess(uid) if uid == UID));
    proc.add(5, GROUPS[0], "");
    for pid in [1, 5] {
        proc.give_network(pid, "self");
    }
    assert!(matches!(refusal(), Refusal::HostNetwork(uid) if uid == UID));
}

#[test]
fn only_addresses_of_this_network_are_its_own() {
    assert!(is_own("127.0.0.1".parse().unwrap()));
    assert!(!is_own("192.0.2.1".parse().unwrap()));
}

/// A process in a network of its own, with an address, until it is dropped.
struct Pod(Child);

impl Pod {
    fn start(address: &str) -> Self {
        let script = format!("ip link set lo up && ip address add {address}/32 dev lo && exec sleep 60");
        let child = Command::new("unshare").args(["--net", "sh", "-c", &script]).stdin(Stdio::null()).spawn();
        let pod = Self(child.unwrap());
        let is_ready = || {
            let line = fs::read(format!("/proc/{}/cmdline", pod.0.id())).unwrap();
            line.starts_with(b"sleep")
        };
        let start = Instant::now();
        while !is_ready() {
            assert!(start.elapsed() < Duration::from_secs(10), "the network is not ready");
            std::thread::sleep(Duration::from_millis(5));
        }
        pod
    }

    fn id(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_entered_network_is_that_of_the_pod_and_is_left_when_the_pod_ends() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // Only the thread that enters is moved.
    let entering = std::thread::spawn(|| {
        let (proc, pod, nested) = (Proc::new(), Pod::start("10.9.8.7"), Pod::start("10.9.8.8"));
        proc.give_network(1, "self");
        // The pod has a network inside of it, which is found first.
        proc.add(6, GROUPS[0], "");
        proc.give_network(6, &nested.id());
        proc.add(7, GROUPS[0], "");
        proc.give_network(7, &pod.id());
        let refusal = entry(&["10.9.8.7", "10.9.8.9"]).enter_from(&proc.0).unwrap_err();
        assert!(refusal.to_string().starts_with("no network of pod 6f1c9a52"), "{refusal}");
        let mut entered = entry(&["10.9.8.7"]).enter_from(&proc.0).unwrap();
        let listener = TcpListener::bind("10.9.8.7:80").unwrap();
        assert!(TcpListener::bind("10.9.8.8:80").is_err());
        assert!(entered.is_there());
        // Another process of the pod took over.
        proc.end(7);
        proc.add(8, GROUPS[4], "");
        proc.give_network(8, &pod.id());
        assert!(entered.is_there());
        // A process of another pod got the number.
        fs::write(proc.0.join("8/cgroup"), "0::/elsewhere\n").unwrap();
        assert!(!entered.is_there());
        drop(listener);
    });
    entering.join().unwrap();
}

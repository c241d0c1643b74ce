//! The processes of a pod, found by its UID.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The processes of a node.
#[derive(Debug)]
pub(super) struct Processes {
    /// `/proc`, except in tests.
    root: PathBuf,
}

impl Processes {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Returns the file of a process's network namespace.
    pub(super) fn network(&self, pid: u32) -> PathBuf {
        self.file(pid, "ns/net")
    }

    /// Returns the processes of a pod, oldest numbers first.
    ///
    /// Control groups name the pod. Some kubelets make no control group for a pod (`cgroupsPerQOS: false`). Then the
    /// pod's file for `/etc/hosts` does, which the kubelet mounts in each container.
    ///
    /// # Errors
    /// If no process was found, and some could not be read.
    pub(super) fn of_pod(&self, uid: &str) -> io::Result<Vec<u32>> {
        let entries = fs::read_dir(&self.root)?.filter_map(Result::ok);
        let mut all: Vec<u32> =
            entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        all.sort_unstable();
        let by_group: Vec<u32> = all.iter().copied().filter(|pid| self.has_group(*pid, uid)).collect();
        if !by_group.is_empty() {
            return Ok(by_group);
        }
        let (mut found, mut unreadable) = (Vec::new(), None);
        for pid in all {
            match self.has_mount(pid, uid) {
                Ok(true) => found.push(pid),
                Ok(false) => {}
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => unreadable = Some(error),
                // The process has ended.
                Err(_) => {}
            }
        }
        match unreadable.filter(|_| found.is_empty()) {
            Some(error) => Err(error),
            None => Ok(found),
        }
    }

    /// Returns whether a process is of a pod.
    pub(super) fn is_of_pod(&self, pid: u32, uid: &str) -> bool {
        self.has_group(pid, uid) || self.has_mount(pid, uid).unwrap_or(false)
    }

    fn has_group(&self, pid: u32, uid: &str) -> bool {
        fs::read_to_string(self.file(pid, "cgroup")).is_ok_and(|groups| is_group_of(&groups, uid))
    }

    fn has_mount(&self, pid: u32, uid: &str) -> io::Result<bool> {
        let mounts = fs::read(self.file(pid, "mountinfo"))?;
        Ok(mounts_hosts_of(&String::from_utf8_lossy(&mounts), uid))
    }

    fn file(&self, pid: u32, name: &str) -> PathBuf {
        self.root.join(pid.to_string()).join(name)
    }
}

/// Returns whether `/proc/PID/cgroup` names a pod. Each line is `hierarchy:controllers:path`, in version 1 and 2.
pub(super) fn is_group_of(groups: &str, uid: &str) -> bool {
    // In names of slices, systemd reads a hyphen as a level of the hierarchy.
    let escaped = uid.replace('-', "_");
    let is_pod = |part: &str| {
        let of_slice = part.strip_suffix(".slice").and_then(|slice| slice.rsplit('-').next());
        let of_slice = of_slice.and_then(|last| last.strip_prefix("pod"));
        of_slice == Some(escaped.as_str()) || part.strip_prefix("pod") == Some(uid)
    };
    let mut paths = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    // containerd without systemd joins the slice and the container with a colon.
    paths.any(|path| path.split(['/', ':']).any(is_pod))
}

/// Returns whether `/proc/PID/mountinfo` has the file for `/etc/hosts` of a pod: the fourth field is the file, the fifth
/// the place.
fn mounts_hosts_of(mounts: &str, uid: &str) -> bool {
    let file = format!("/pods/{uid}/etc-hosts");
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(3);
        let (source, place) = (fields.next(), fields.next());
        source.is_some_and(|source| source.ends_with(&file)) && place == Some("/etc/hosts")
    })
}

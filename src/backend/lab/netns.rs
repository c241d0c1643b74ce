//! Network namespaces that file descriptors hold open. When the last descriptor is closed, the kernel removes
//! the namespace with everything in it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace.
#[derive(Debug, Clone)]
pub(super) struct Netns {
    file: Arc<File>,
}

impl Netns {
    /// Creates a namespace and moves the calling thread into it.
    pub(super) fn create() -> io::Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        // The namespace of this thread. Its process remains where it is.
        let file = File::open("/proc/thread-self/ns/net")?;
        Ok(Self { file: Arc::new(file) })
    }

    /// Moves the calling thread into the namespace. Sockets and processes that the thread creates there stay
    /// there.
    pub(super) fn enter(&self) -> io::Result<()> {
        setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET)?;
        Ok(())
    }

    /// Runs a function inside the namespace, on a new thread. A thread of the runtime would have to return to
    /// its own namespace afterwards.
    pub(super) async fn run<T, F>(&self, work: F) -> io::Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> io::Result<T> + Send + 'static,
    {
        let netns = self.clone();
        on_thread(move || {
            netns.enter()?;
            work()
        })
        .await
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Runs a function that may change the namespace of its thread.
pub(super) async fn on_thread<T, F>(work: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("netns".to_owned()).spawn(move || {
        // The receiver may no longer be waiting.
        let _ = sender.send(work());
    })?;
    receiver.await.unwrap_or_else(|_| Err(io::Error::other("a thread of the lab ended early")))
}

/// Sets a parameter of the calling thread's network namespace.
pub(super) fn set_parameter(name: &str, value: &str) -> io::Result<()> {
    let path = Path::new("/proc/sys/net").join(name);
    std::fs::write(&path, value)
        .map_err(|error| io::Error::new(error.kind(), format!("setting {}: {error}", path.display())))
}

/// Returns whether IPv6 is enabled in the kernel.
pub(super) fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6/conf/all").exists()
}

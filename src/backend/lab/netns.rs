//! Network namespaces, held open by file descriptors: the last one closed removes the namespace
//! with everything in it.

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
    /// Makes a namespace and moves the calling thread into it.
    pub(super) fn create() -> io::Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        // Of this thread: its process stays where it is.
        let file = File::open("/proc/thread-self/ns/net")?;
        Ok(Self { file: Arc::new(file) })
    }

    /// Moves the calling thread into the namespace. Sockets and processes that it makes stay there.
    pub(super) fn enter(&self) -> io::Result<()> {
        setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET)?;
        Ok(())
    }

    /// Runs something inside, on a thread of its own: a thread that came from somewhere else would
    /// have to find its way back.
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

/// Runs something that may change the namespace of its thread.
pub(super) async fn on_thread<T, F>(work: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("netns".to_owned()).spawn(move || {
        // Nobody may be waiting any more.
        let _ = sender.send(work());
    })?;
    receiver.await.unwrap_or_else(|_| Err(io::Error::other("a thread of the lab ended early")))
}

/// Sets a parameter of the network namespace that the calling thread is in.
pub(super) fn set_parameter(name: &str, value: &str) -> io::Result<()> {
    let path = Path::new("/proc/sys/net").join(name);
    std::fs::write(&path, value)
        .map_err(|error| io::Error::new(error.kind(), format!("setting {}: {error}", path.display())))
}

/// Whether the kernel has IPv6 switched on.
pub(super) fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6/conf/all").exists()
}

//! Connections to agents: through the API server into the pod, where no policy can block them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::{fmt, io};

use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, AttachParams, AttachedProcess};
use netproof_probe::wire::CONTROL_PORT;
use tokio::io::{AsyncRead, ReadBuf, join};
use tokio::sync::Semaphore;

use super::pod_state::PodState;
use super::pods::PodWatch;
use super::request::say;
use super::settings::Control;
use crate::backend::{Connect, Stream, Unreachable};
use crate::snapshot::Identity;

/// Buffer size of an exec in each direction, in bytes.
const BUFFER: usize = 1 << 20;

/// The path to the agent of one pod.
pub(super) struct Channel {
    pub(super) client: Client,
    pub(super) control: Control,
    /// Path of the agent in the pod.
    pub(super) program: &'static str,
    /// The pod, by its name on the cluster.
    pub(super) pod: Identity,
    pub(super) watch: PodWatch,
    /// Limit on connections that are opened at the same time.
    pub(super) permits: Arc<Semaphore>,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("pod", &self.pod).finish_non_exhaustive()
    }
}

impl Connect for Channel {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Stream>, Unreachable>> {
        Box::pin(async {
            let _permit = self.permits.acquire().await;
            self.open().await.map_err(|error| self.judge(&error))
        })
    }
}

impl Channel {
    async fn open(&self) -> Result<Box<dyn Stream>, kube::Error> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.pod.namespace);
        match self.control {
            Control::PortForward => {
                let mut forward = pods.portforward(&self.pod.name, &[CONTROL_PORT]).await?;
                let stream = forward.take_stream(CONTROL_PORT).ok_or_else(no_stream)?;
                Ok(Box::new(stream))
            }
            Control::Exec => {
                let command = [self.program, "--connect", &format!("127.0.0.1:{CONTROL_PORT}")];
                let parameters = AttachParams::default()
                    .stdin(true)
                    .stdout(true)
                    .stderr(false)
                    .max_stdin_buf_size(BUFFER)
                    .max_stdout_buf_size(BUFFER);
                let mut process = pods.exec(&self.pod.name, command, &parameters).await?;
                let stdout = process.stdout().ok_or_else(no_stream)?;
                let stdin = process.stdin().ok_or_else(no_stream)?;
                Ok(Box::new(join(Output { stdout, _process: process }, stdin)))
            }
        }
    }

    /// Returns whether the agent has ended, or the connection is broken and may recover.
    fn judge(&self, error: &kube::Error) -> Unreachable {
        match self.watch.state(&self.pod) {
            Some(PodState::Failed(why) | PodState::Evicted(why)) => Unreachable::Gone(why),
            Some(PodState::Succeeded) => Unreachable::Gone("it has ended".to_owned()),
            Some(PodState::Deleted { why, .. }) => Unreachable::Gone(why),
            // The agent of a pod that is leaving may still run.
            Some(
                PodState::Starting
                | PodState::Unschedulable(_)
                | PodState::NoImage(_)
                | PodState::Ready(_)
                | PodState::Leaving(_),
            )
            | None => Unreachable::Broken(say(error)),
        }
    }
}

/// Standard output of a process in a pod. The process ends when this value is dropped.
struct Output<S> {
    stdout: S,
    _process: AttachedProcess,
}

impl<S: AsyncRead + Unpin> AsyncRead for Output<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdout).poll_read(context, buffer)
    }
}

fn no_stream() -> kube::Error {
    kube::Error::Service("the API server opened no stream".into())
}

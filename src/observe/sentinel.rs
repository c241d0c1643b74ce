//! Whether the nodes have processed a change. Until they have, a denial that stands before and after the
//! change says nothing about the new state.
//!
//! Sentinels are pods that a policy isolates except for one port. After every change, another port is open.
//! If a packet gets through to a port that was closed before, its node enforces all changes until then.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use netproof_probe::wire::{Listener, Outcome, Target, Transport};

use super::batch::{Answer, probe_all};
use crate::backend::{Agent, Backend, Canary, Place, Sentinels, ask_all};
use crate::policy::IpFamily;

/// How often to look before a change at the port that it will open.
const PREPARATIONS: usize = 2;

/// Whether a change is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signal {
    /// From when on all nodes enforce it, since the change. `None` if that has not been seen.
    pub(super) in_force: Option<Duration>,
    /// The nodes that were last seen to enforce an older state.
    pub(super) stale: BTreeSet<String>,
}

impl Signal {
    /// Returns the signal for rounds that do not need the sentinels.
    pub(super) fn not_asked() -> Self {
        Self { in_force: Some(Duration::ZERO), stale: BTreeSet::new() }
    }
}

/// What the sentinels have shown.
#[derive(Debug, Default)]
pub(super) struct Watch {
    posts: Vec<Post>,
    /// All nodes and families with a sentinel. A change is in force when all of them show it.
    wanted: BTreeSet<Side>,
    /// The sentinels after the last change.
    sentinels: Sentinels,
}

/// A node and a family. Network plugins write the rules of each family separately.
type Side = (String, IpFamily);

/// A canary that probes a sentinel.
#[derive(Debug)]
struct Post {
    side: Side,
    from: Arc<Agent>,
    to: IpAddr,
    known: Known,
}

/// What a post knows of its sentinel.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// A port that was closed while another one was open.
    closed: Option<u16>,
    /// When a packet showed that the change is in force, since the change.
    seen: Option<Duration>,
    /// Whether the port that should be open was closed, and another one open.
    is_stale: bool,
}

/// What a post's probe to a port showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// It got through. Its answer arrived at this time since the change.
    Open(Duration),
    Closed,
    /// The probe does not show it.
    Unknown,
}

impl Watch {
    /// Opens the listeners of a backend's sentinels. Each sentinel is probed from its own node and from
    /// another node, in case the path between them is dead.
    pub(super) async fn open(backend: &impl Backend) -> Self {
        let sentinels = backend.sentinels();
        let Sentinels { ref pods, former, open, next } = sentinels;
        let listeners = [former, open, next].map(|port| Listener { transport: Transport::Tcp, port });
        let opened = ask_all(pods.iter().map(|sentinel| sentinel.agent.listen(listeners))).await;
        let canaries = backend.canaries();
        let (mut posts, mut wanted) = (Vec::new(), BTreeSet::new());
        for (sentinel, opened) in pods.iter().zip(opened) {
            let node = match &sentinel.place {
                Place::Node(node) => Some(node),
                Place::Host(_) | Place::Outside(_) => None,
            };
            let sides = node.into_iter().flat_map(|node| {
                sentinel.addresses.iter().map(move |to| ((node.clone(), IpFamily::of(*to)), *to))
            });
            wanted.extend(sides.clone().map(|(side, _)| side));
            if !opened.is_ok_and(|failures| failures.is_empty()) {
                tracing::warn!("the sentinel at {:?} cannot listen", sentinel.place);
                continue;
            }
            let others = || canaries.iter().filter(|canary| !Arc::ptr_eq(&canary.agent, &sentinel.agent));
            let near = others().find(|canary| canary.place == sentinel.place);
            let far =
                others().find(|canary| matches!(&canary.place, Place::Node(other) if Some(other) != node));
            for Canary { agent, .. } in near.into_iter().chain(far) {
                let known = Known::default();
                let post = |(side, to)| Post { side, from: Arc::clone(agent), to, known };
                posts.extend(sides.clone().map(post));
            }
        }
        Self { posts, wanted, sentinels }
    }

    /// Records that there was a change.
    pub(super) fn begin(&mut self, backend: &impl Backend) {
        self.sentinels = backend.sentinels();
        for post in &mut self.posts {
            post.known = post.known.after_change(self.sentinels.open);
        }
    }

    /// Looks until the port that the next change will open is known to be closed. The change before has had
    /// its time, so a few looks are enough.
    pub(super) async fn prepare(&mut self, timeout: Duration) {
        for _ in 0..PREPARATIONS {
            if self.posts.iter().all(|post| post.known.closed == Some(self.sentinels.next)) {
                return;
            }
            self.look(Instant::now(), timeout, true).await;
        }
    }

    /// Probes the sentinels of the nodes that have not been seen to enforce the change, and the ports that
    /// the next change will open. A probe without an answer shows a closed port only if it waited long enough
    /// (`is_patient`).
    pub(super) async fn look(&mut self, changed: Instant, timeout: Duration, is_patient: bool) {
        let Sentinels { open, next, former, .. } = self.sentinels;
        let posts = self.posts.iter().enumerate();
        let unsure = posts.filter(|(_, post)| post.known.seen.is_none() || post.known.closed != Some(next));
        let probes = unsure.flat_map(|(index, Post { from, to, .. })| {
            [open, next, former].map(|port| {
                let (nonce, address) = (from.next_nonce(), SocketAddr::new(*to, port));
                let target = Target { nonce, transport: Transport::Tcp, address, name: None };
                (Arc::clone(from), (index, target))
            })
        });
        let answers = probe_all(probes, timeout, changed).await;
        let (looks, _) = answers.as_chunks::<3>();
        for look in looks {
            let [(post, Ok(at_open)), (_, Ok(at_next)), (_, Ok(at_former))] = look else { continue };
            if let Some(post) = self.posts.get_mut(*post) {
                let shown = [at_open, at_next, at_former].map(|answer| shown(answer, is_patient));
                post.known.take(open, next, shown);
            }
        }
    }

    pub(super) fn signal(&self) -> Signal {
        let seen = |side: &Side| {
            let posts = self.posts.iter().filter(|post| post.side == *side);
            posts.filter_map(|post| post.known.seen).min()
        };
        let in_force = self.wanted.iter().map(seen).collect::<Option<Vec<_>>>();
        let is_stale = |post: &&Post| post.known.is_stale && seen(&post.side).is_none();
        let stale = self.posts.iter().filter(is_stale).map(|post| post.side.0.clone());
        Signal { in_force: in_force.and_then(|seen| seen.into_iter().max()), stale: stale.collect() }
    }
}

fn shown(Answer { left, result }: &Answer, is_patient: bool) -> Shown {
    match result.outcome {
        Outcome::Answered { .. } => Shown::Open(*left + Duration::from_micros(result.elapsed_us.into())),
        Outcome::Refused | Outcome::Unreachable { .. } => Shown::Closed,
        Outcome::Silent { connected: false } if is_patient => Shown::Closed,
        Outcome::Silent { .. }
        | Outcome::Cut { .. }
        | Outcome::DnsAnswered { .. }
        | Outcome::Accepted
        | Outcome::Garbled { .. }
        | Outcome::Unsupported { .. }
        | Outcome::Failed { .. } => Shown::Unknown,
    }
}

impl Known {
    /// Returns what is known after a change that opens this port.
    fn after_change(self, open: u16) -> Self {
        Self { closed: self.closed.filter(|closed| *closed == open), ..Self::default() }
    }

    /// Records what the probes of a look showed.
    fn take(&mut self, open: u16, next: u16, [at_open, at_next, at_former]: [Shown; 3]) {
        // A node that is two changes behind has the next port open, because the ports take turns.
        let is_open = |shown| matches!(shown, Shown::Open(_));
        self.is_stale = at_open == Shown::Closed && (is_open(at_former) || is_open(at_next));
        let Shown::Open(when) = at_open else { return };
        if self.closed == Some(open) {
            self.seen = self.seen.or(Some(when));
        }
        if at_next == Shown::Closed && (self.seen.is_some() || self.closed.is_none()) {
            self.closed = Some(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Shown::{Closed, Unknown};

    const fn open(millis: u64) -> Shown {
        Shown::Open(Duration::from_millis(millis))
    }

    /// Returns what is known after a change from port 1 to port 2. The looks showed the ports 2, 3 and 1 like
    /// this.
    fn after(before: Known, looks: &[[Shown; 3]]) -> Known {
        let mut known = before.after_change(2);
        looks.iter().for_each(|look| known.take(2, 3, *look));
        known
    }

    const CLOSED_BEFORE: Known = Known { closed: Some(2), seen: None, is_stale: false };

    #[test]
    fn a_port_that_was_closed_and_opens_shows_that_the_change_is_in_force() {
        let known = after(CLOSED_BEFORE, &[[Closed, Closed, open(1)], [open(40), Closed, Closed]]);
        assert_eq!((known.seen, known.closed), (Some(Duration::from_millis(40)), Some(3)));
        assert!(!known.is_stale);
    }

    /// If nothing enforces policies, every port is always open.
    #[test]
    fn a_port_that_was_never_closed_shows_nothing() {
        let known = after(Known::default(), &[[open(1), open(1), open(1)]]);
        assert_eq!((known.seen, known.closed), (None, None));
        let known = after(Known::default(), &[[open(1), Closed, Closed]]);
        assert_eq!((known.seen, known.closed), (None, Some(3)), "but the next change can be seen");
    }

    #[test]
    fn who_still_has_an_older_port_open_is_stale() {
        assert!(after(CLOSED_BEFORE, &[[Closed, Closed, open(1)]]).is_stale);
        assert!(after(CLOSED_BEFORE, &[[Closed, open(1), Closed]]).is_stale, "two changes behind");
        // Its agent or the path to it has failed.
        assert!(!after(CLOSED_BEFORE, &[[Closed, Closed, Closed]]).is_stale);
        assert!(!after(CLOSED_BEFORE, &[[Unknown, Unknown, open(1)]]).is_stale);
    }
}

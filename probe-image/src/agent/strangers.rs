//! Limits the connections that have not yet proved that they belong to the run.
//!
//! Any program that reaches a listener can open connections and send nothing. A connection of the run proves itself
//! within milliseconds. So if there are too many connections, the oldest one of the source with the most connections
//! is closed.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::rc::Rc;

use tokio::task::AbortHandle;

/// The connections of strangers, by source.
#[derive(Debug)]
pub(super) struct Strangers {
    most: usize,
    most_per_source: usize,
    count: usize,
    next: u64,
    /// Connections by number. Younger connections have higher numbers.
    sources: HashMap<IpAddr, BTreeMap<u64, AbortHandle>>,
}

impl Strangers {
    /// Creates the limits: for all connections, and for those of one source.
    pub(super) fn new(most: usize, most_per_source: usize) -> Rc<RefCell<Self>> {
        let (most, most_per_source) = (most.max(1), most_per_source.max(1));
        let (count, next, sources) = (0, 0, HashMap::new());
        Rc::new(RefCell::new(Self { most, most_per_source, count, next, sources }))
    }

    /// Admits a connection, for which `serve` starts a task. If there are too many connections, closes an older one.
    /// As long as the task has the admission, the connection is a stranger's.
    pub(super) fn admit(
        this: &Rc<RefCell<Self>>,
        source: IpAddr,
        serve: impl FnOnce(Admission) -> AbortHandle,
    ) {
        // An IPv6-only listener never sees mapped addresses, but this costs nothing.
        let source = source.to_canonical();
        let evicted = this.borrow_mut().make_room(source);
        if let Some(evicted) = evicted {
            evicted.abort();
        }
        let id = this.borrow_mut().take_number();
        let task = serve(Admission { strangers: Rc::clone(this), source, id });
        let mut strangers = this.borrow_mut();
        strangers.sources.entry(source).or_default().insert(id, task);
        strangers.count += 1;
    }

    fn take_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Removes the connection that must be closed, if there is no room for another one of this source.
    fn make_room(&mut self, source: IpAddr) -> Option<AbortHandle> {
        let own = self.sources.get(&source).map_or(0, BTreeMap::len);
        let greediest = if own >= self.most_per_source {
            source
        } else if self.count >= self.most {
            *self.sources.iter().max_by_key(|(_, connections)| connections.len())?.0
        } else {
            return None;
        };
        let (oldest, _) = self.sources.get(&greediest)?.first_key_value()?;
        self.remove(greediest, *oldest)
    }

    fn remove(&mut self, source: IpAddr, id: u64) -> Option<AbortHandle> {
        let connections = self.sources.get_mut(&source)?;
        let removed = connections.remove(&id)?;
        if connections.is_empty() {
            self.sources.remove(&source);
        }
        self.count -= 1;
        Some(removed)
    }
}

/// A connection's place among the strangers. Dropping it frees the place.
#[derive(Debug)]
pub(super) struct Admission {
    strangers: Rc<RefCell<Strangers>>,
    source: IpAddr,
    id: u64,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.strangers.borrow_mut().remove(self.source, self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::LocalSet;

    /// Admits connections, and returns the indices of those that are still open.
    async fn left(most: usize, per_source: usize, sources: &[u8]) -> Vec<usize> {
        let local = LocalSet::new();
        let left = Rc::new(RefCell::new(Vec::new()));
        let strangers = Strangers::new(most, per_source);
        local
            .run_until(async {
                for (i, last) in sources.iter().enumerate() {
                    let left = Rc::clone(&left);
                    left.borrow_mut().push(i);
                    Strangers::admit(&strangers, IpAddr::from([10, 0, 0, *last]), |admission| {
                        let guard = Guard(i, left);
                        let serve = async move {
                            let _both = (admission, guard);
                            std::future::pending::<()>().await;
                        };
                        tokio::task::spawn_local(serve).abort_handle()
                    });
                    tokio::task::yield_now().await;
                }
                tokio::task::yield_now().await;
            })
            .await;
        left.take()
    }

    struct Guard(usize, Rc<RefCell<Vec<usize>>>);

    impl Drop for Guard {
        fn drop(&mut self) {
            self.1.borrow_mut().retain(|i| *i != self.0);
        }
    }

    #[tokio::test]
    async fn a_flood_only_drives_its_own_source_out() {
        let mut sources = vec![1; 8];
        sources.splice(2..2, [2]);
        assert_eq!(left(100, 4, &sources).await, [2, 5, 6, 7, 8]);
    }

    #[tokio::test]
    async fn when_there_are_too_many_the_greediest_source_loses_its_oldest() {
        assert_eq!(left(4, 4, &[2, 1, 1, 1, 3, 4]).await, [0, 3, 4, 5]);
    }

    #[tokio::test]
    async fn who_has_proved_itself_makes_room() {
        let strangers = Strangers::new(1, 1);
        LocalSet::new()
            .run_until(async {
                for _ in 0..10 {
                    Strangers::admit(&strangers, IpAddr::from([10, 0, 0, 1]), |admission| {
                        tokio::task::spawn_local(async move { drop(admission) }).abort_handle()
                    });
                    tokio::task::yield_now().await;
                }
            })
            .await;
        assert_eq!(strangers.borrow().count, 0);
    }
}

//! Which scenarios ran at the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::verdict::Beside;

/// The scenarios that run at the moment, and those that each of them has met.
#[derive(Debug, Default)]
pub(super) struct Company(Mutex<Met>);

#[derive(Debug, Default)]
struct Met {
    running: BTreeMap<usize, String>,
    others: BTreeMap<usize, BTreeSet<String>>,
}

impl Company {
    /// Runs a scenario with this index and name.
    pub(super) async fn during<T>(&self, index: usize, name: String, run: impl Future<Output = T>) -> T {
        self.begin(index, name);
        let result = run.await;
        self.met().running.remove(&index);
        result
    }

    fn begin(&self, index: usize, name: String) {
        let mut met = self.met();
        let Met { running, others } = &mut *met;
        for (other, other_name) in running.iter() {
            others.entry(*other).or_default().insert(name.clone());
            others.entry(index).or_default().insert(other_name.clone());
        }
        running.insert(index, name);
    }

    /// Returns the scenarios that the one with this index and name has met, without its own repetitions. `None` if there
    /// are none.
    pub(super) fn beside(&self, index: usize, name: &str) -> Option<Beside> {
        let mut others = self.met().others.get(&index).cloned().unwrap_or_default();
        others.remove(name);
        (!others.is_empty()).then_some(Beside { others, alone: None })
    }

    fn met(&self) -> MutexGuard<'_, Met> {
        // A panic while the lock was held left no partial change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join3;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn scenarios_meet_if_their_times_overlap() {
        let company = Company::default();
        let (end, ended) = oneshot::channel::<()>();
        let first = company.during(0, "long".to_owned(), ended);
        let second = async {
            company.during(1, "early".to_owned(), async {}).await;
            company.during(2, "late".to_owned(), async {}).await;
            end.send(())
        };
        let repetition = company.during(3, "long".to_owned(), async {});
        let _ = join3(first, second, repetition).await;
        company.during(4, "last".to_owned(), async {}).await;
        let others = |index, name: &str| {
            let beside = company.beside(index, name);
            beside.map(|beside| beside.others.into_iter().collect::<Vec<_>>().join(" "))
        };
        assert_eq!(others(0, "long").as_deref(), Some("early late"));
        assert_eq!(others(1, "early").as_deref(), Some("long"));
        assert_eq!(others(2, "late").as_deref(), Some("long"));
        assert_eq!(others(4, "last"), None);
    }
}

//! Attempts to connect that continue after their result has been reported. A connection that is established late is
//! still delivered, for example if an enforcer holds packets back, or lets the second packet pass. The listener
//! records it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::task::{AbortHandle, spawn_local};
use tokio::time::timeout;

/// Maximum time of an attempt. Linux sends its first packet again after 1, 3 and 7 s.
const LONGEST: Duration = Duration::from_secs(8);

/// The attempts that continue.
#[derive(Debug)]
pub(super) struct Late {
    /// Oldest first.
    running: VecDeque<AbortHandle>,
    most: usize,
}

impl Late {
    /// Allows at most `most` attempts at the same time.
    pub(super) fn new(most: usize) -> Self {
        Self { running: VecDeque::new(), most }
    }

    /// Lets an attempt continue. If there are too many, stops the oldest one.
    pub(super) fn keep(&mut self, attempt: impl Future<Output: 'static> + 'static) {
        if self.running.len() >= self.most {
            self.running.retain(|attempt| !attempt.is_finished());
        }
        while self.running.len() >= self.most {
            let Some(oldest) = self.running.pop_front() else { return };
            oldest.abort();
        }
        self.running.push_back(spawn_local(timeout(LONGEST, attempt)).abort_handle());
    }

    /// Stops all attempts. The policies are about to change, and what the new policies let pass says nothing about
    /// the current ones.
    pub(super) fn give_up(&mut self) {
        self.running.drain(..).for_each(|attempt| attempt.abort());
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use tokio::task::{LocalSet, yield_now};

    use super::*;

    /// An attempt that is counted until it is dropped.
    struct Attempt(Rc<Cell<usize>>);

    impl Attempt {
        async fn never(self) {
            self.0.set(self.0.get() + 1);
            std::future::pending::<()>().await;
        }
    }

    impl Drop for Attempt {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }

    #[tokio::test]
    async fn attempts_go_on_until_they_are_too_many_or_given_up() {
        let running = Rc::new(Cell::new(0));
        let local = LocalSet::new();
        local
            .run_until(async {
                let mut late = Late::new(2);
                for _ in 0..3 {
                    late.keep(Attempt(Rc::clone(&running)).never());
                    yield_now().await;
                }
                yield_now().await;
                assert_eq!(running.get(), 2);
                late.give_up();
                yield_now().await;
                assert_eq!(running.get(), 0);
            })
            .await;
    }
}

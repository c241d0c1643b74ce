//! Attempts to connect that go on after their result has been told. A connection that comes about late, as where an
//! enforcer holds packets back, or lets the second packet pass, is delivered all the same: its listener notes that.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::task::{AbortHandle, spawn_local};
use tokio::time::timeout;

/// How long an attempt may go on: Linux sends its first packet again after 1, 3 and 7 s.
const LONGEST: Duration = Duration::from_secs(8);

/// The attempts that go on.
#[derive(Debug)]
pub(super) struct Late {
    /// The oldest first.
    running: VecDeque<AbortHandle>,
    most: usize,
}

impl Late {
    /// At most so many at once.
    pub(super) fn new(most: usize) -> Self {
        Self { running: VecDeque::new(), most }
    }

    /// Lets an attempt go on. The oldest makes way if there are too many.
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

    /// Ends all of them. The policies are about to change, and what they let pass then says nothing about now.
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

    /// Counts itself as long as it is not dropped.
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

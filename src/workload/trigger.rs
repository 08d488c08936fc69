//! Waiting for the n-th operation of a kind that ends in a certain way.

use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use crate::history::Outcome;

/// An operation that completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// The operation.
    pub kind: String,
    /// Its idempotency key.
    pub key: String,
    /// How it ended.
    pub outcome: Outcome,
    /// When its last attempt ended, in microseconds since the epoch.
    pub done_us: u64,
}

/// Who waits for which completions. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Completions {
    waiters: Arc<Mutex<Waiters>>,
}

#[derive(Debug, Default)]
struct Waiters {
    ended: bool,
    waiting: Vec<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    operation: String,
    outcome: Outcome,
    remaining: u64,
    reached: oneshot::Sender<Completion>,
}

impl Completions {
    /// Waits for the n-th completion (1 is the next) of `operation` with `outcome`. Counting begins with this call, not
    /// with the first poll of what it returns, so none is missed. `None` if the load ended first.
    pub fn nth(
        &self,
        operation: &str,
        outcome: Outcome,
        nth: u64,
    ) -> impl Future<Output = Option<Completion>> + Send + use<> {
        let (reached, awaited) = oneshot::channel();
        let mut waiters = self.waiters.lock().expect("no holder panics");
        if !waiters.ended {
            waiters.waiting.push(Waiter {
                operation: operation.to_owned(),
                outcome,
                remaining: nth.max(1),
                reached,
            });
        }
        async move { awaited.await.ok() }
    }

    pub(super) fn completed(&self, completion: &Completion) {
        let mut waiters = self.waiters.lock().expect("no holder panics");
        for waiter in &mut waiters.waiting {
            if waiter.operation == completion.kind && waiter.outcome == completion.outcome {
                waiter.remaining -= 1;
            }
        }
        for waiter in waiters.waiting.extract_if(.., |waiter| waiter.remaining == 0) {
            // Whoever waited may have been cancelled.
            let _ = waiter.reached.send(completion.clone());
        }
    }

    /// No more completions will come.
    pub(super) fn end(&self) {
        let mut waiters = self.waiters.lock().expect("no holder panics");
        waiters.ended = true;
        waiters.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completion(kind: &str, outcome: Outcome, done_us: u64) -> Completion {
        Completion {
            kind: kind.to_owned(),
            key: format!("{kind}-{done_us}"),
            outcome,
            done_us,
        }
    }

    #[tokio::test]
    async fn the_nth_counts_from_the_call_and_only_what_matches() {
        let completions = Completions::default();
        completions.completed(&completion("buy", Outcome::Ok, 1));
        let third = completions.nth("buy", Outcome::Ok, 3);
        let first_failure = completions.nth("buy", Outcome::Fail, 1);
        for done_us in 2..10 {
            completions.completed(&completion("top-up", Outcome::Ok, done_us * 10));
            completions.completed(&completion("buy", Outcome::Ok, done_us));
        }
        assert_eq!(third.await, Some(completion("buy", Outcome::Ok, 4)));
        completions.completed(&completion("buy", Outcome::Fail, 11));
        assert_eq!(first_failure.await.unwrap().done_us, 11);
    }

    #[tokio::test]
    async fn the_end_of_the_load_ends_the_waiting() {
        let completions = Completions::default();
        let before = completions.nth("buy", Outcome::Ok, 1);
        completions.end();
        assert_eq!(before.await, None);
        assert_eq!(completions.nth("buy", Outcome::Ok, 1).await, None);
    }
}

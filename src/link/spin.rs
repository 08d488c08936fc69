//! A short look before a wait. A thread that sleeps until the next bytes come has to be woken, which takes longer than
//! carrying a small message does. Whoever takes turns with one connection mostly has its answer before that: so a connection
//! that is alone on its thread looks again for some microseconds before it waits.

use std::cell::Cell;
use std::pin::pin;
use std::task::Context;
use std::time::{Duration, Instant};

/// How long it is looked for more after bytes have passed. It bounds what a message costs in processor time.
const LOOK_FOR: Duration = Duration::from_micros(30);

thread_local! {
    /// How many connections a thread has numbered.
    static NUMBERED: Cell<u64> = const { Cell::new(0) };
    /// Which of them passed on bytes last.
    static LAST: Cell<u64> = const { Cell::new(0) };
}

/// Of one connection: until when it looks.
#[derive(Debug)]
pub(super) struct Spin {
    number: u64,
    until: Option<Instant>,
}

impl Spin {
    /// For a connection of this thread, which it stays on.
    pub(super) fn new() -> Self {
        let number = NUMBERED.get() + 1;
        NUMBERED.set(number);
        Self { number, until: None }
    }

    /// Bytes have passed. If another connection's did in between there is enough to do: nobody needs to look.
    pub(super) fn moved(&mut self) {
        let alone = LAST.replace(self.number) == self.number;
        self.until = alone.then(|| Instant::now() + LOOK_FOR);
    }

    /// Called before a wait: has the task polled again as soon as everything else of the thread, its input and output
    /// included, has had its turn.
    pub(super) fn look_again(&mut self, context: &mut Context<'_>) -> bool {
        let looks = LAST.get() == self.number && self.until.is_some_and(|until| Instant::now() < until);
        if looks {
            // The waker is kept until the event loop has asked for what has come.
            let _ = pin!(tokio::task::yield_now()).poll(context);
        } else {
            self.until = None;
        }
        looks
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    /// How often a task was polled until it had looked enough.
    async fn looks(spin: &mut Spin) -> u32 {
        let mut polls = 0;
        poll_fn(|context| {
            polls += 1;
            match spin.look_again(context) {
                true => Poll::Pending,
                false => Poll::Ready(()),
            }
        })
        .await;
        polls
    }

    #[tokio::test]
    async fn whoever_is_alone_looks_again_for_a_while_and_then_waits() {
        let mut spin = Spin::new();
        assert_eq!(looks(&mut spin).await, 1, "nothing has passed yet");
        spin.moved();
        assert_eq!(looks(&mut spin).await, 1, "others may be busy");
        // The machine may be away for longer than it looks: once in many times it is not.
        let mut polls = 1;
        for _ in 0..1000 {
            spin.moved();
            polls = looks(&mut spin).await;
            if polls > 1 {
                break;
            }
        }
        assert!(polls > 1);
        assert_eq!(looks(&mut spin).await, 1, "it is over");
    }

    #[tokio::test]
    async fn nobody_looks_while_others_pass_bytes_on() {
        let (mut one, mut other) = (Spin::new(), Spin::new());
        one.moved();
        one.moved();
        other.moved();
        assert_eq!(looks(&mut one).await, 1);
        assert_eq!(looks(&mut other).await, 1);
        one.moved();
        assert_eq!(looks(&mut one).await, 1);
    }
}

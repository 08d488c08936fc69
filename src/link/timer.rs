//! Waiting for a moment, to a tenth of a millisecond. The event loop's own timers go by whole milliseconds and round up
//! twice, so that 1 ms of latency would be 2; the kernel's (timerfd) do not.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, Sleep, sleep_until};

/// A timer of the kernel's.
#[derive(Debug)]
pub(super) struct Descriptor(TimerFd);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// A timer that is set anew for each wait.
#[derive(Debug)]
pub(super) enum Timer {
    /// A descriptor, and what it is set to.
    Exact(AsyncFd<Descriptor>, Instant),
    /// The event loop's.
    Coarse(Pin<Box<Sleep>>),
}

impl Timer {
    pub(super) fn new(due: Instant) -> Self {
        Self::exact(due).unwrap_or_else(|_| {
            // There is no descriptor left: late is better than never.
            Self::Coarse(Box::pin(sleep_until(due)))
        })
    }

    fn exact(due: Instant) -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        set(&timer, due)?;
        // SAFETY: a `Descriptor` owns its descriptor, which stays open and the same as long as it lives.
        let timer = unsafe { AsyncFd::register_with_interest(Descriptor(timer), Interest::READABLE) }?;
        Ok(Self::Exact(timer, due))
    }

    /// Whether that moment has come.
    pub(super) fn poll(&mut self, due: Instant, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Exact(timer, set_to) => {
                if *set_to == due || set(&timer.get_ref().0, due).is_ok() {
                    *set_to = due;
                    if let Ok(()) = ready!(poll_exact(timer, due, context)) {
                        return Poll::Ready(());
                    }
                }
                *self = Self::Coarse(Box::pin(sleep_until(due)));
                self.poll(due, context)
            }
            Self::Coarse(sleep) => {
                if sleep.deadline() != due {
                    sleep.as_mut().reset(due);
                }
                sleep.as_mut().poll(context)
            }
        }
    }
}

fn poll_exact(timer: &AsyncFd<Descriptor>, due: Instant, context: &mut Context<'_>) -> Poll<io::Result<()>> {
    while Instant::now() < due {
        ready!(timer.poll_read_ready(context))?.clear_ready();
        // It rang for what it was set to earlier.
        set(&timer.get_ref().0, due)?;
    }
    Poll::Ready(Ok(()))
}

/// Sets it, and silences it until then.
fn set(timer: &TimerFd, due: Instant) -> io::Result<()> {
    // Nothing would switch it off.
    let wait = due
        .saturating_duration_since(Instant::now())
        .max(Duration::from_nanos(1));
    let once = Expiration::OneShot(TimeSpec::from_duration(wait));
    Ok(timer.set(once, TimerSetTimeFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits for that moment, for as long as any machine needs.
    async fn wait(timer: &mut Timer, due: Instant) {
        let rings = std::future::poll_fn(|context| timer.poll(due, context));
        tokio::time::timeout(Duration::from_secs(20), rings).await.unwrap();
        assert!(Instant::now() >= due);
    }

    async fn wait_again_and_again(mut timer: Timer) {
        for us in [2_500, 0, 300, 1_000] {
            wait(&mut timer, Instant::now() + Duration::from_micros(us)).await;
        }
    }

    #[tokio::test]
    async fn it_rings_for_each_moment_that_it_is_set_to_and_never_early() {
        let timer = Timer::new(Instant::now());
        assert!(matches!(timer, Timer::Exact(..)));
        wait_again_and_again(timer).await;
    }

    #[tokio::test]
    async fn without_a_descriptor_the_event_loop_tells_the_time() {
        wait_again_and_again(Timer::Coarse(Box::pin(sleep_until(Instant::now())))).await;
    }

    #[tokio::test]
    async fn what_it_was_set_to_before_is_forgotten() {
        let now = Instant::now();
        let (soon, later) = (now + Duration::from_millis(20), now + Duration::from_secs(3_600));
        let mut timer = Timer::new(later);
        let pending = std::future::poll_fn(|context| Poll::Ready(timer.poll(later, context).is_pending()));
        assert!(pending.await);
        wait(&mut timer, soon).await;
        wait(&mut timer, now + Duration::from_millis(1)).await;
        wait(&mut timer, soon + Duration::from_millis(5)).await;
    }
}

//! Signals as something that every wait can be raced against.

use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// The signal that ended a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupted {
    /// SIGINT: Ctrl-C.
    Int,
    /// SIGTERM.
    Term,
}

impl Interrupted {
    /// `SIGINT` or `SIGTERM`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int => "SIGINT",
            Self::Term => "SIGTERM",
        }
    }

    /// 128 and the signal's number, as shells report it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Int => 130,
            Self::Term => 143,
        }
    }
}

/// Knows whether a signal has come. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Interrupt {
    seen: watch::Receiver<Option<Interrupted>>,
}

impl Interrupt {
    /// Listens for SIGINT and SIGTERM from now on. A second signal ends the process at once: the reaper, which holds the
    /// other end of a pipe, then undoes everything.
    pub fn listen() -> std::io::Result<Self> {
        let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let (sender, seen) = watch::channel(None);
        tokio::spawn(async move {
            loop {
                let signal = tokio::select! {
                    _ = int.recv() => Interrupted::Int,
                    _ = term.recv() => Interrupted::Term,
                };
                if sender.borrow().is_some() {
                    std::process::exit(i32::from(signal.exit_code()));
                }
                sender.send_replace(Some(signal));
            }
        });
        Ok(Self { seen })
    }

    /// Never interrupted: for tests.
    pub fn never() -> Self {
        let (sender, seen) = watch::channel(None);
        drop(sender);
        Self { seen }
    }

    /// The signal, if one has come.
    pub fn seen(&self) -> Option<Interrupted> {
        *self.seen.borrow()
    }

    /// Waits for a signal.
    pub async fn wait(&self) -> Interrupted {
        let mut seen = self.seen.clone();
        let signal = seen.wait_for(Option::is_some).await.ok().and_then(|signal| *signal);
        match signal {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }

    /// Runs `future` to its end unless a signal comes first.
    pub async fn race<T>(&self, future: impl Future<Output = T>) -> Result<T, Interrupted> {
        tokio::select! {
            biased;
            signal = self.wait() => Err(signal),
            value = future => Ok(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_by_its_own_end_or_by_the_signal() {
        assert_eq!(Interrupt::never().race(async { 7 }).await, Ok(7));
        let (sender, seen) = watch::channel(None);
        let interrupt = Interrupt { seen };
        sender.send_replace(Some(Interrupted::Term));
        assert_eq!(
            interrupt.race(std::future::pending::<()>()).await,
            Err(Interrupted::Term)
        );
        assert_eq!(interrupt.seen(), Some(Interrupted::Term));
    }
}

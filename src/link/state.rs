//! What the connections of one link share: its toxics, which may change at any time, and its counters.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::chain::{Affected, Applied, Chain, Direction, Toxic};
use super::random::Purpose;

/// A link.
#[derive(Debug)]
pub struct Link {
    purpose: Purpose,
    state: Mutex<State>,
    /// Of the chain, for connections to see without a lock that it has changed.
    version: AtomicU64,
    /// Told when the last connection has taken over a change.
    settled: Notify,
    traffic: [Traffic; 2],
    connections: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    chain: Arc<Chain>,
    live: HashMap<u64, Arc<Handle>>,
    /// How many live connections have not taken over the newest chain.
    lagging: usize,
}

/// A live connection, as its link knows it.
#[derive(Debug, Default)]
pub(super) struct Handle {
    pub(super) number: u64,
    /// Wakes its task.
    pub(super) waker: AtomicWaker,
    /// The chain that it has taken over.
    version: AtomicU64,
    /// Set when it is to be closed.
    closing: AtomicBool,
}

/// Bytes of one direction. Each thread counts for itself: a place that all of them write to would go back and forth between
/// their processors with every message.
#[derive(Debug, Default)]
pub struct Traffic {
    shards: [Shard; SHARDS],
}

/// What some of the threads have counted, alone in its lines of the processor's cache.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    received: AtomicU64,
    sent: AtomicU64,
}

/// Threads beyond so many share.
const SHARDS: usize = 8;

thread_local! {
    static SHARD: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS
    };
}

impl Traffic {
    fn shard(&self) -> &Shard {
        &self.shards[SHARD.with(|shard| *shard)]
    }

    pub(super) fn receive(&self, bytes: usize) {
        self.shard().received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn send(&self, bytes: usize) {
        self.shard().sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes that came in, and that went out.
    pub fn bytes(&self) -> (u64, u64) {
        let sum =
            |of: fn(&Shard) -> &AtomicU64| self.shards.iter().map(|shard| of(shard).load(Ordering::Relaxed)).sum();
        (sum(|shard| &shard.received), sum(|shard| &shard.sent))
    }
}

/// Why a toxic was not put on a link, changed, or taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ToxicError {
    /// The name is taken.
    #[error("toxic already exists")]
    Exists,
    /// There is no toxic of that name.
    #[error("toxic not found")]
    NotFound,
}

/// A change that has been made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// Live connections at that moment.
    pub connections: usize,
}

/// How long a change is awaited. A connection takes it over when its thread gets to it; nothing else holds it up.
const SETTLES_WITHIN: Duration = Duration::from_secs(2);

impl Link {
    /// A link without toxics. All its draws come from `purpose`.
    pub fn new(purpose: Purpose) -> Arc<Self> {
        Arc::new(Self {
            purpose,
            state: Mutex::default(),
            version: AtomicU64::new(0),
            settled: Notify::new(),
            traffic: Default::default(),
            connections: AtomicU64::new(0),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The toxics as they stand.
    pub fn chain(&self) -> Arc<Chain> {
        self.state().chain.clone()
    }

    /// Live connections.
    pub fn live(&self) -> usize {
        self.state().live.len()
    }

    /// Connections so far.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Bytes of one direction so far.
    pub fn traffic(&self, direction: Direction) -> &Traffic {
        &self.traffic[direction as usize]
    }

    /// Puts a toxic behind the others. Returns when all live connections have it.
    pub async fn add(&self, toxic: Toxic) -> Result<Changed, ToxicError> {
        let changed = {
            let mut state = self.state();
            if state.chain.find(&toxic.name).is_some() {
                return Err(ToxicError::Exists);
            }
            self.replace(&mut state, |toxics| toxics.push(apply(toxic)))
        };
        self.settle().await;
        Ok(changed)
    }

    /// Changes a toxic in its place. Returns when all live connections have it.
    pub async fn update(&self, toxic: Toxic) -> Result<Changed, ToxicError> {
        let changed = {
            let mut state = self.state();
            let at = state
                .chain
                .toxics
                .iter()
                .position(|applied| applied.toxic.name == toxic.name);
            let at = at.ok_or(ToxicError::NotFound)?;
            self.replace(&mut state, |toxics| toxics[at] = apply(toxic))
        };
        self.settle().await;
        Ok(changed)
    }

    /// Takes a toxic away. Returns it when no live connection has it any more.
    pub async fn remove(&self, name: &str) -> Result<Arc<Applied>, ToxicError> {
        let removed = {
            let mut state = self.state();
            let at = state.chain.toxics.iter().position(|applied| applied.toxic.name == name);
            let at = at.ok_or(ToxicError::NotFound)?;
            let removed = state.chain.toxics[at].clone();
            self.replace(&mut state, |toxics| {
                toxics.remove(at);
            });
            removed
        };
        self.settle().await;
        Ok(removed)
    }

    /// Takes all toxics away. Returns when no live connection has any.
    pub async fn clear(&self) {
        {
            let mut state = self.state();
            if state.chain.toxics.is_empty() {
                return;
            }
            self.replace(&mut state, Vec::clear);
        }
        self.settle().await;
    }

    fn replace(&self, state: &mut State, change: impl FnOnce(&mut Vec<Arc<Applied>>)) -> Changed {
        let mut toxics = state.chain.toxics.clone();
        change(&mut toxics);
        let version = state.chain.version + 1;
        state.chain = Arc::new(Chain { version, toxics });
        state.lagging = state.live.len();
        self.version.store(version, Ordering::Release);
        for handle in state.live.values() {
            handle.waker.wake();
        }
        Changed {
            connections: state.live.len(),
        }
    }

    /// Waits until all live connections have taken over the newest chain.
    async fn settle(&self) {
        let deadline = Instant::now() + SETTLES_WITHIN;
        loop {
            let settled = self.settled.notified();
            if self.state().lagging == 0 || tokio::time::timeout_at(deadline, settled).await.is_err() {
                return;
            }
        }
    }

    /// Closes all live connections.
    pub fn close_connections(&self) {
        for handle in self.state().live.values() {
            handle.closing.store(true, Ordering::Release);
            handle.waker.wake();
        }
    }

    /// A new connection.
    pub(super) fn join(self: &Arc<Self>) -> Member {
        let number = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let mut state = self.state();
        let handle = Arc::new(Handle {
            number,
            version: AtomicU64::new(state.chain.version),
            ..Handle::default()
        });
        state.live.insert(number, handle.clone());
        Member {
            chain: state.chain.clone(),
            link: self.clone(),
            handle,
        }
    }
}

fn apply(toxic: Toxic) -> Arc<Applied> {
    Arc::new(Applied {
        toxic,
        affected: Affected::default(),
    })
}

/// A connection's part in its link, which ends when it is dropped.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) link: Arc<Link>,
    pub(super) handle: Arc<Handle>,
    /// What it has taken over.
    pub(super) chain: Arc<Chain>,
}

impl Member {
    /// What the draws of one direction of this connection are for.
    pub(super) fn purpose(&self, direction: Direction) -> Purpose {
        self.link.purpose.part(self.handle.number).part(direction as u64)
    }

    /// Whether it is to be closed.
    pub(super) fn is_closing(&self) -> bool {
        self.handle.closing.load(Ordering::Acquire)
    }

    /// Whether there is a newer chain.
    pub(super) fn is_behind(&self) -> bool {
        self.link.version.load(Ordering::Acquire) != self.chain.version
    }

    /// Takes over the newest chain; `take` is called with it before anybody is told.
    pub(super) fn catch_up(&mut self, take: impl FnOnce(&Chain)) {
        self.chain = self.link.chain();
        take(&self.chain);
        let mut state = self.link.state();
        if state.chain.version == self.chain.version {
            self.settle(&mut state);
        }
    }

    fn settle(&self, state: &mut State) {
        if self.handle.version.swap(state.chain.version, Ordering::Relaxed) != state.chain.version {
            state.lagging = state.lagging.saturating_sub(1);
            if state.lagging == 0 {
                self.link.settled.notify_waiters();
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut state = self.link.state();
        self.settle(&mut state);
        state.live.remove(&self.handle.number);
    }
}

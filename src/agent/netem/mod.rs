//! Network emulation: packets to named peers are delayed, duplicated, reordered or corrupted on their way out.
//!
//! The kernel's netem does it, below a tree of queueing disciplines ([`tree`]) on each interface of this network namespace
//! that leads out, so that packets to nobody else are met and several faults can be in force at once. Unlike the packet
//! filter's table, queueing disciplines stay when the agent's process ends: what an earlier agent left is cleared when
//! one begins, and an orderly end clears its own.
//!
//! Many kernels of small virtual machines have no netem. There the tests see the tree, its filters and the way back with
//! another queueing discipline in its place, and netem itself only as what would be sent. By hand it was seen at work on
//! Linux 6.1; on later ones it is unseen.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

pub mod control;
mod distribution;
mod impairment;
#[cfg(test)]
pub(crate) mod tests;
pub mod tree;
pub mod trial;

use control::{Rtnetlink, TrafficControl};
pub use distribution::Distribution;
pub use impairment::{Combined, Impairment, JITTER_MAX_MS, LATENCY_MAX_MS, Latency, Reorder};
use tree::{Step, Tree};

/// Network emulation was refused.
#[derive(Debug, thiserror::Error)]
#[error("{action}: {reason}{}", hint(.is_missing))]
pub struct NetemError {
    action: &'static str,
    reason: String,
    is_missing: bool,
}

impl NetemError {
    /// An action and what was said to it.
    pub fn new(action: &'static str, reason: impl ToString) -> Self {
        Self {
            action,
            reason: reason.to_string(),
            is_missing: false,
        }
    }

    /// What the kernel said to an action. Asked for a part that it has not, it answers that there is no such thing.
    fn of(action: &'static str, error: &nlink::Error) -> Self {
        Self {
            is_missing: action.starts_with("adding") && error.is_not_found() && !error.is_no_device(),
            ..Self::new(action, error.ext_ack().map_or_else(|| error.to_string(), str::to_owned))
        }
    }

    /// Whether the kernel has no such part, as opposed to one that refuses.
    pub fn is_missing(&self) -> bool {
        self.is_missing
    }
}

fn hint(is_missing: &bool) -> &'static str {
    match is_missing {
        true => "\n  hint: this kernel lacks it; `nightmail doctor` says what to use instead",
        false => "",
    }
}

/// Something that impairs packets.
#[async_trait]
pub trait Emulator: Send + Sync {
    /// Puts a fault in force on packets to these peers; one of the same id is replaced. After an error nothing has changed.
    async fn put(&self, id: &str, peers: &[Ipv4Addr], impairment: &Impairment) -> Result<(), NetemError>;

    /// Lets the packets pass as they are again. Nothing happens if there is no such fault.
    async fn remove(&self, id: &str) -> Result<(), NetemError>;
}

/// The kernel's netem.
pub struct Netem {
    control: Arc<dyn TrafficControl>,
    state: Mutex<State>,
}

type Faults = BTreeMap<String, (Vec<Ipv4Addr>, Impairment)>;

#[derive(Default)]
struct State {
    faults: Faults,
    /// By interface; those without a tree are left out.
    trees: BTreeMap<u32, Tree>,
}

impl Netem {
    /// For the namespace of the thread that calls. What an earlier agent left there is cleared.
    pub async fn install() -> Result<Self, NetemError> {
        let netem = Self::new(Arc::new(Rtnetlink::open()?));
        netem.clear().await?;
        Ok(netem)
    }

    /// By that control; nothing is cleared.
    pub fn new(control: Arc<dyn TrafficControl>) -> Self {
        Self {
            control,
            state: Mutex::default(),
        }
    }

    /// Removes every tree of an agent's. Packets that wait in one are lost.
    pub async fn clear(&self) -> Result<(), NetemError> {
        let mut state = self.state.lock().await;
        *state = State::default();
        for interface in self.control.interfaces().await? {
            self.control.take(interface, &Step::DropRoot).await?;
        }
        Ok(())
    }

    /// Makes the trees such that these faults are in force.
    async fn reach(&self, trees: &mut BTreeMap<u32, Tree>, faults: &Faults) -> Result<(), NetemError> {
        let wanted = combined(faults)?;
        let mut interfaces: Vec<u32> = trees.keys().copied().collect();
        if !wanted.is_empty() {
            let leading_out = self.control.interfaces().await?;
            interfaces.extend(leading_out.into_iter().filter(|found| !trees.contains_key(found)));
        }
        if interfaces.is_empty() && !wanted.is_empty() {
            return Err(NetemError::new(
                "looking for interfaces",
                "none leads out of this namespace",
            ));
        }
        for interface in interfaces {
            let tree = trees.entry(interface).or_default();
            for step in tree.steps(&wanted) {
                self.control.take(interface, &step).await?;
                tree.record(&step);
            }
        }
        trees.retain(|_, tree| !tree.is_empty());
        Ok(())
    }
}

#[async_trait]
impl Emulator for Netem {
    async fn put(&self, id: &str, peers: &[Ipv4Addr], impairment: &Impairment) -> Result<(), NetemError> {
        let mut state = self.state.lock().await;
        let State { faults, trees } = &mut *state;
        let mut with_it = faults.clone();
        with_it.insert(id.to_owned(), (peers.to_vec(), *impairment));
        if let Err(error) = self.reach(trees, &with_it).await {
            // What is left of a failed way back is removed with the next fault, or with the agent.
            let back = self.reach(trees, faults).await;
            return Err(match back {
                Ok(()) => error,
                Err(back) => NetemError {
                    reason: format!("{}; taking it back: {back}", error.reason),
                    ..error
                },
            });
        }
        *faults = with_it;
        Ok(())
    }

    async fn remove(&self, id: &str) -> Result<(), NetemError> {
        let mut state = self.state.lock().await;
        let State { faults, trees } = &mut *state;
        let mut without_it = faults.clone();
        without_it.remove(id);
        // Also where it was never in force: what a failed way back left goes now.
        self.reach(trees, &without_it).await?;
        *faults = without_it;
        Ok(())
    }
}

/// What all faults come to, by peer.
fn combined(faults: &Faults) -> Result<BTreeMap<Ipv4Addr, Combined>, NetemError> {
    let mut peers: BTreeMap<Ipv4Addr, Combined> = BTreeMap::new();
    for (id, (addresses, impairment)) in faults {
        for peer in addresses {
            let held = peers.entry(*peer).or_default();
            *held = held.with(impairment).map_err(|(one, other)| {
                let reason =
                    format!("`{one}` of fault {id} and `{other}` of another cannot both act on packets to {peer}");
                NetemError::new("combining faults", reason)
            })?;
        }
    }
    Ok(peers)
}

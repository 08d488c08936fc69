//! What a run stands on before its first container: the lock that says that it is alive, the reaper that outlives it, and
//! its network. It is laid while images are still being looked for.

use std::path::PathBuf;
use std::sync::Mutex;

use super::network::{self, Network};
use super::{Client, sweep};
use crate::reaper::Reaper;
use crate::system::cache;
use crate::system::engine::EngineError;
use crate::system::owner::Owner;

/// The ground of one run.
pub(super) struct Ground {
    /// Tells other processes that this run is alive.
    alive: Mutex<Option<cache::Lock>>,
    pub(super) reaper: Reaper,
    pub(super) network: Network,
    /// Whose the run is, as its labels say.
    pub(super) owner: String,
}

/// Held by a run as long as it is alive.
pub(super) fn alive_lock(run_id: &str) -> String {
    format!("run-{run_id}")
}

impl Ground {
    /// Lays the ground of a run. On an error nothing is left behind. Not to be dropped on the way: the network would
    /// appear behind everybody's back.
    pub(super) async fn lay(client: Client, executable: PathBuf, run_id: String) -> Result<Self, EngineError> {
        let prepare = |error: std::io::Error| EngineError::Refused {
            action: format!("preparing the run {run_id}"),
            reason: error.to_string(),
        };
        let alive = cache::try_lock(&alive_lock(&run_id))
            .map_err(prepare)?
            .ok_or_else(|| prepare(std::io::Error::other("a run of that id is under way")))?;
        // Before anything is made: from here on nothing outlives this process.
        let reaper = Reaper::spawn(&executable, &run_id).map_err(prepare)?;
        let owner = Owner::me().to_string();
        let made = network::create(&client, &run_id, &owner).await;
        let reachable = made.and_then(|network| network.check_reachable().map(|()| network));
        match reachable {
            Ok(network) => Ok(Self {
                alive: Mutex::new(Some(alive)),
                reaper,
                network,
                owner,
            }),
            Err(error) => {
                if sweep::run(&client, &run_id).await.is_empty() {
                    reaper.done();
                }
                Err(error)
            }
        }
    }

    /// Removes everything that stands on it, and itself. Returns what could not be removed, in words.
    pub(super) async fn clear(&self, client: &Client, run_id: &str) -> Vec<String> {
        let leftovers = sweep::run(client, run_id).await;
        self.end(run_id, &leftovers);
        leftovers
    }

    /// Ends what is no container and no network, once these are gone but for `leftovers`.
    pub(super) fn end(&self, run_id: &str, leftovers: &[String]) {
        if leftovers.is_empty() {
            self.reaper.done();
        } else {
            // It goes on trying for a while.
            self.reaper.let_go();
        }
        if self.alive.lock().expect("no holder panics").take().is_some() {
            cache::forget_lock(&alive_lock(run_id));
        }
    }
}

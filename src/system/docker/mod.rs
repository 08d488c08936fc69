//! The engine that runs systems on Docker, through testcontainers and, for what that lacks, its `bollard`.
//!
//! Every replica is a *pod*: a holder container with the replica's fixed address and names, and the replica's own
//! container within the holder's network namespace, so that the address outlives a kill, and so that an agent (which is
//! the holder then) stands where the replica's packets pass.
//!
//! Everything made here carries a label with the run's id, and is removed by that label and by nothing else.
//!
//! `images` makes images, `ground` is what a run stands on, `network` makes its network, `holder` and `replica` create
//! containers, `bring_up` has them started in order (which is `system::start`'s), `running` acts on them, `redeploy` puts others
//! in their place, `sweep` removes them, `gc` and `doctor` look at all, and `kept` at systems that stay up.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use testcontainers::bollard;
use tokio::task::JoinHandle;

use crate::event::Events;
use crate::system::cache;
use crate::system::compose::ComposeFile;
use crate::system::engine::{Engine, EngineError, RunningSystem, SystemRequest, Traits};

mod bring_up;
mod build;
mod context;
mod doctor;
mod gc;
mod ground;
mod holder;
mod images;
mod kept;
mod labels;
mod lifecycle;
mod logs;
mod network;
mod process;
mod redeploy;
mod replica;
mod running;
pub(crate) mod sweep;

pub use doctor::doctor;
pub use gc::{GcReport, gc};
use ground::Ground;
pub use kept::{KeptRun, Way};
pub(crate) use lifecycle::{Policy, restore_and_start, unpause};

/// A connection to Docker's interface.
pub(crate) type Client = bollard::Docker;

/// What it can do.
pub const TRAITS: Traits = Traits {
    name: "docker",
    reaches_loopback: true,
    pulls_images: true,
    grants_capabilities: true,
};

/// A Compose file, and the names of images that are wanted beside those of its services.
type Wanted = (PathBuf, Vec<String>);

/// The Docker engine.
pub struct Docker {
    client: Client,
    /// nightmail itself: it is put into the agent's image, and runs as the reaper.
    executable: PathBuf,
    /// What has been prepared: runs at the same time may want other images of one system.
    prepared: Mutex<HashMap<Wanted, Arc<images::Prepared>>>,
    /// The ground of runs that have been prepared and are not up yet, by run. Laid by tasks of their own, which nobody can
    /// drop in the middle.
    grounds: Mutex<HashMap<String, JoinHandle<Result<Ground, EngineError>>>>,
    /// As long as somebody holds this, no image is pruned.
    _images_in_use: cache::Lock,
}

impl Docker {
    /// Connects, and checks that Docker answers.
    pub async fn connect() -> Result<Self, EngineError> {
        let client = connect_client().await?;
        let refused = |error: std::io::Error| EngineError::Refused {
            action: "preparing the cache folder".to_owned(),
            reason: error.to_string(),
        };
        Ok(Self {
            client,
            executable: std::env::current_exe().map_err(refused)?,
            prepared: Mutex::default(),
            grounds: Mutex::default(),
            _images_in_use: cache::lock_shared(gc::IMAGES_LOCK).map_err(refused)?,
        })
    }

    /// Says where nightmail's own binary is, for programs that use it as a library.
    pub fn with_executable(mut self, executable: impl Into<PathBuf>) -> Self {
        self.executable = executable.into();
        self
    }

    /// What `up` needs of images; prepared once for each Compose file.
    async fn prepared(&self, request: &SystemRequest, events: &Events) -> Result<Arc<images::Prepared>, EngineError> {
        let wanted = (compose_path(request), request.images.clone());
        let known = self.prepared.lock().expect("no holder panics").get(&wanted).cloned();
        match known {
            Some(prepared) => Ok(prepared),
            None => {
                let compose = images::read(&wanted.0, events)?;
                self.make(wanted, compose, events).await
            }
        }
    }

    /// Prepares the images of the Compose file at that path, which has been read, and others of these names.
    async fn make(
        &self,
        wanted: Wanted,
        compose: ComposeFile,
        events: &Events,
    ) -> Result<Arc<images::Prepared>, EngineError> {
        let prepared = images::prepare(&self.client, &self.executable, compose, &wanted.1, events).await?;
        let prepared = Arc::new(prepared);
        let mut known = self.prepared.lock().expect("no holder panics");
        known.insert(wanted, prepared.clone());
        Ok(prepared)
    }
}

fn compose_path(request: &SystemRequest) -> PathBuf {
    request.dir.join(&request.definition.compose)
}

impl Docker {
    /// The ground of a run that `prepare` began to lay, if it did.
    async fn laid(&self, run_id: &str) -> Option<Result<Ground, EngineError>> {
        let laying = self.grounds.lock().expect("no holder panics").remove(run_id)?;
        Some(laying.await.unwrap_or_else(|error| {
            Err(EngineError::Refused {
                action: format!("preparing the run {run_id}"),
                reason: error.to_string(),
            })
        }))
    }

    fn lay(&self, run_id: &str) -> impl Future<Output = Result<Ground, EngineError>> + Send + 'static {
        Ground::lay(self.client.clone(), self.executable.clone(), run_id.to_owned())
    }
}

/// Whether Docker answers; if not, why.
pub async fn answers() -> Result<(), EngineError> {
    connect_client().await.map(drop)
}

/// Connects to where `DOCKER_HOST` or the usual places say, and checks that Docker answers.
pub(crate) async fn connect_client() -> Result<Client, EngineError> {
    let unreachable = |reason: String| EngineError::Unreachable {
        engine: "docker",
        reason,
        hint: "start Docker, or say with DOCKER_HOST where it listens; `docker version` must show a server".to_owned(),
    };
    let client = testcontainers::core::client::docker_client_instance()
        .await
        .map_err(|error| unreachable(error.to_string()))?;
    client
        .ping()
        .await
        .map_err(|error| unreachable(labels::words(&error)))?;
    Ok(client)
}

#[async_trait]
impl Engine for Docker {
    fn name(&self) -> &'static str {
        TRAITS.name
    }

    async fn prepare(&self, request: &SystemRequest, events: &Events) -> Result<(), EngineError> {
        // What was prepared earlier may have changed since: it is made anew. A file that cannot be used stops everything
        // before anything is laid.
        let path = compose_path(request);
        let compose = images::read(&path, events)?;
        let ground = tokio::spawn(self.lay(&request.run_id));
        self.grounds
            .lock()
            .expect("no holder panics")
            .insert(request.run_id.clone(), ground);
        let prepared = self.make((path, request.images.clone()), compose, events).await;
        if prepared.is_err() {
            self.clean(&request.run_id).await;
        }
        prepared.map(|_| ())
    }

    async fn up(&self, request: &SystemRequest, events: &Events) -> Result<Arc<dyn RunningSystem>, EngineError> {
        let prepared = self.prepared(request, events).await?;
        let ground = match self.laid(&request.run_id).await {
            Some(laid) => laid?,
            None => self.lay(&request.run_id).await?,
        };
        let system = bring_up::up(&self.client, ground, &prepared, request, events).await?;
        Ok(Arc::new(system))
    }

    async fn clean(&self, run_id: &str) -> Vec<String> {
        match self.laid(run_id).await {
            Some(Ok(ground)) => ground.clear(&self.client, run_id).await,
            _ => sweep::run(&self.client, run_id).await,
        }
    }
}

//! The engine that runs systems without Docker and without root, in namespaces of the kernel.
//!
//! A whole command runs on a [`stage`]: namespaces of its own, which the kernel removes with everything in them when their
//! first process dies. On it every run has a `ground` (a bridge, a folder in memory) and every replica a *pod*: a network
//! namespace with a fixed address, an agent in it where the plan acts on the network, and the replica's program in further
//! namespaces of its own, on a root file system that is an image of the cache with the replica's changes laid over it.
//!
//! `stage` is entered first; `pod` is what launchers do, `process` starts and watches them; `ground`, `network`, `starter`
//! and `replica` bring a system up, `running` acts on it; `porter` makes images outside of the stage, where there is a way to the world,
//! and `images` asks it; `finish` runs the commands that finish an image; `keep` is what becomes of systems that stay up.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use crate::event::Events;
use crate::system::cache;
use crate::system::compose;
use crate::system::engine::{Engine, EngineError, RunningSystem, SystemRequest, Traits};
use crate::system::image::Store;
use crate::system::start;

mod doctor;
mod finish;
mod ground;
mod images;
mod keep;
mod names;
mod network;
mod pod;
mod porter;
mod process;
mod replica;
mod running;
pub mod stage;
mod starter;

pub use doctor::{doctor, probe};
pub use finish::main as finish;
pub use keep::{KeptRun, end_all};
pub use pod::main as pod;
pub use pod::{Entry, hosts_entry, image_has};
pub use porter::main as porter;

use ground::Ground;
use images::{Images, Porter};
use keep::Keeper;
use names::Names;
use process::Launcher;
use running::RunningLocal;
use starter::LocalStarter;

/// What it can do.
pub const TRAITS: Traits = Traits {
    name: "local",
    // A stage has a network of its own, and no way out.
    reaches_loopback: false,
    pulls_images: false,
    grants_capabilities: false,
};

/// A Compose file, and the names of images that are wanted beside those of its services.
type Wanted = (PathBuf, Vec<String>);

/// The engine without Docker. It works within a stage only.
pub struct Local {
    stage_dir: PathBuf,
    porter: Porter,
    launcher: Launcher,
    /// What has been prepared: runs at the same time may want other images of one system.
    prepared: Mutex<HashMap<Wanted, Images>>,
    /// The ground of every run that is up or on its way.
    grounds: Mutex<HashMap<String, Arc<Ground>>>,
    outside: stage::Outside,
    keeper: Arc<Keeper>,
    /// As long as somebody holds this, no image is pruned.
    _images_in_use: cache::Lock,
}

impl Local {
    /// The engine of the stage that this process runs on.
    pub fn new(inside: stage::Inside) -> Result<Self, EngineError> {
        let refused = |error: std::io::Error| EngineError::Refused {
            action: "beginning on the stage".to_owned(),
            reason: error.to_string(),
        };
        let images_in_use = Store::open()
            .map_err(std::io::Error::other)
            .and_then(|store| store.hold())
            .map_err(refused)?;
        Ok(Self {
            _images_in_use: images_in_use,
            stage_dir: inside.dir,
            porter: Porter::new(inside.porter).map_err(refused)?,
            launcher: Launcher::new(&inside.nightmail).map_err(refused)?,
            prepared: Mutex::default(),
            grounds: Mutex::default(),
            outside: inside.outside,
            keeper: Arc::default(),
        })
    }

    async fn start(
        &self,
        ground: &Arc<Ground>,
        request: &SystemRequest,
        events: &Events,
    ) -> Result<Arc<RunningLocal>, EngineError> {
        ground.network.make().await?;
        let path = compose_path(request);
        let compose = compose::load(&path).map_err(|error| EngineError::Compose(error.to_string()))?;
        let wanted = (path, request.images.clone());
        let known = self.prepared.lock().expect("no holder panics").get(&wanted).cloned();
        let images = match known {
            Some(images) => images,
            None => self.make(wanted, events).await?,
        };
        let members = start::members(&compose, request, |index| ground.network.address(index))?;
        let names = members.iter().map(|member| (member.address, member.names()));
        let names = Arc::new(Names::new(names.collect()));
        ground.answer_names(names.clone()).await?;
        let starter = LocalStarter {
            launcher: self.launcher.clone(),
            ground: ground.clone(),
            images,
            names,
            all_users: stage::all_users_exist(),
        };
        let replicas = members.iter().map(start::Member::replica).collect();
        let started = start::start_all(starter.clone(), members, request, events).await?;
        Ok(Arc::new_cyclic(|own| RunningLocal {
            own: own.clone(),
            run_id: request.run_id.clone(),
            folder: request.logs_dir.parent().unwrap_or(&request.logs_dir).to_owned(),
            definition: request.definition.clone(),
            replicas,
            starter,
            pods: started.pods,
            listeners: started.listeners,
            ground: ground.clone(),
            deadlines: Mutex::default(),
            keeper: self.keeper.clone(),
        }))
    }

    /// Has the images of a Compose file made, and others of these names.
    async fn make(&self, wanted: Wanted, events: &Events) -> Result<Images, EngineError> {
        let images = self.porter.prepare(wanted.0.clone(), &wanted.1, events).await?;
        let mut prepared = self.prepared.lock().expect("no holder panics");
        prepared.insert(wanted, images.clone());
        Ok(images)
    }

    fn ground(&self, run_id: &str) -> Option<Arc<Ground>> {
        self.grounds.lock().expect("no holder panics").get(run_id).cloned()
    }
}

fn compose_path(request: &SystemRequest) -> PathBuf {
    request.dir.join(&request.definition.compose)
}

#[async_trait]
impl Engine for Local {
    fn name(&self) -> &'static str {
        TRAITS.name
    }

    async fn prepare(&self, request: &SystemRequest, events: &Events) -> Result<(), EngineError> {
        // What was prepared earlier may have changed since: it is looked for anew.
        let wanted = (compose_path(request), request.images.clone());
        self.make(wanted, events).await.map(drop)
    }

    async fn up(&self, request: &SystemRequest, events: &Events) -> Result<Arc<dyn RunningSystem>, EngineError> {
        let ground = Arc::new(Ground::lay(&self.stage_dir, &request.run_id)?);
        self.grounds
            .lock()
            .expect("no holder panics")
            .insert(request.run_id.clone(), ground.clone());
        match self.start(&ground, request, events).await {
            Ok(system) => Ok(system),
            Err(error) => {
                ground.clear().await;
                Err(error)
            }
        }
    }

    async fn clean(&self, run_id: &str) -> Vec<String> {
        match self.ground(run_id) {
            Some(ground) => ground.clear().await,
            None => Vec::new(),
        }
    }

    async fn stay(&self, exit_code: u8) -> Result<(), EngineError> {
        self.keeper.stay(&self.outside, exit_code).await
    }
}

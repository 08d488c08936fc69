//! What a run stands on: its bridge, its folder in memory, and every process that was started for it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tokio::sync::{RwLock, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::names::{self, Names};
use super::network::Network;
use super::process::{Child, Launches};
use crate::system::engine::EngineError;

/// How long processes may take to be gone once they are killed.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// The ground of one run.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) network: Network,
    /// Of this run alone; a mount of its own.
    pub(super) dir: PathBuf,
    started: Mutex<Started>,
    name_server: Mutex<Option<JoinHandle<()>>>,
    /// Shared by what is being launched, until it is known what came of it.
    launching: Arc<RwLock<()>>,
}

#[derive(Debug, Default)]
struct Started {
    children: Vec<Child>,
    /// Nobody may be started any more.
    over: bool,
}

impl Ground {
    /// Lays the ground of a run below the stage's folder. Its network is still to be made.
    pub(super) fn lay(stage: &Path, run_id: &str) -> Result<Self, EngineError> {
        let dir = stage.join(run_id);
        let none: Option<&str> = None;
        std::fs::create_dir_all(&dir)
            .and_then(|()| {
                let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
                Ok(mount(Some("nightmail"), &dir, Some("tmpfs"), flags, none)?)
            })
            .map_err(|error| EngineError::Refused {
                action: format!("making a folder in memory for the run {run_id}"),
                reason: error.to_string(),
            })?;
        Ok(Self {
            network: Network::next(),
            dir,
            started: Mutex::default(),
            name_server: Mutex::default(),
            launching: Arc::default(),
        })
    }

    /// A folder of the run, made if it is not there. Replicas can read it, whatever this user's new files are readable by.
    pub(super) fn folder(&self, path: impl AsRef<Path>) -> Result<PathBuf, EngineError> {
        let dir = self.dir.join(path);
        let is_new = !dir.exists();
        std::fs::create_dir_all(&dir)
            .and_then(|()| match is_new {
                true => std::fs::set_permissions(&dir, Permissions::from_mode(0o755)),
                false => Ok(()),
            })
            .map_err(|error| EngineError::Refused {
                action: format!("making {}", dir.display()),
                reason: error.to_string(),
            })?;
        Ok(dir)
    }

    /// A file system in memory, of that size and the run's. It goes with the run's own folder.
    pub(super) fn disk(&self, path: impl AsRef<Path>, size_bytes: u64) -> Result<PathBuf, EngineError> {
        let dir = self.folder(path)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        // Everybody may write in the folder, unless the image says otherwise.
        let options = format!("size={size_bytes},mode=1777");
        mount(Some("nightmail"), &dir, Some("tmpfs"), flags, Some(options.as_str())).map_err(|error| {
            EngineError::Refused {
                action: format!("making a file system in memory at {}", dir.display()),
                reason: error.to_string(),
            }
        })?;
        Ok(dir)
    }

    /// Answers who asks for names, until the ground is cleared.
    pub(super) async fn answer_names(&self, names: Arc<Names>) -> Result<(), EngineError> {
        let address = self.network.gateway();
        let serving = names::serve(address, names)
            .await
            .map_err(|error| EngineError::Refused {
                action: format!("answering for names at {address}"),
                reason: error.to_string(),
            })?;
        *self.name_server.lock().expect("no holder panics") = Some(serving);
        Ok(())
    }

    /// Launches something to the end of that, even if whoever asked for it gives up on the way: only then is there a process
    /// that can be ended. What nobody wants any more goes at once; everything else goes with the run.
    pub(super) async fn launch<T: Launches>(
        self: &Arc<Self>,
        launching: impl Future<Output = Result<T, String>> + Send + 'static,
    ) -> Result<T, String> {
        const OVER: &str = "the run is over";
        let (sender, launched) = oneshot::channel();
        let ground = self.clone();
        tokio::spawn(async move {
            let _shared = ground.launching.read().await;
            if ground.started.lock().expect("no holder panics").over {
                return;
            }
            let result = launching.await;
            if let Some(child) = result.as_ref().ok().and_then(Launches::child) {
                ground.add(child);
            }
            if let Err(Ok(unwanted)) = sender.send(result)
                && let Some(child) = unwanted.child()
            {
                let _ = child.kill();
            }
        });
        launched.await.unwrap_or_else(|_| Err(OVER.to_owned()))
    }

    /// Keeps a child in mind, so that it goes with the run. One that comes too late goes at once.
    pub(super) fn add(&self, child: &Child) {
        let mut started = self.started.lock().expect("no holder panics");
        if started.over {
            let _ = child.kill();
        }
        started.children.retain(|known| known.has_ended().is_none());
        started.children.push(child.clone());
    }

    /// Removes everything. Returns what could not be removed, in words.
    pub(super) async fn clear(&self) -> Vec<String> {
        if let Some(serving) = self.name_server.lock().expect("no holder panics").take() {
            serving.abort();
        }
        let deadline = Instant::now() + GONE_WITHIN;
        let mut leftovers = Vec::new();
        self.started.lock().expect("no holder panics").over = true;
        if timeout_at(deadline, self.launching.write()).await.is_err() {
            leftovers.push("a launcher that does not end".to_owned());
        }
        let children = self.started.lock().expect("no holder panics").children.clone();
        for child in &children {
            if let Err(error) = child.kill() {
                leftovers.push(format!("process {}: {error}", child.pid));
            }
        }
        let deadline = Instant::now() + GONE_WITHIN;
        for child in &children {
            if timeout_at(deadline, child.ended()).await.is_err() {
                leftovers.push(format!("process {} lives after SIGKILL", child.pid));
            }
        }
        leftovers.extend(self.network.remove().await.err());
        if self.dir.exists() {
            let unmounted = umount2(&self.dir, MntFlags::MNT_DETACH).map_err(std::io::Error::from);
            if let Err(error) = unmounted.and_then(|()| std::fs::remove_dir(&self.dir)) {
                leftovers.push(format!("folder {}: {error}", self.dir.display()));
            }
        }
        leftovers
    }
}

//! The seam behind which container engines stand.
//!
//! An engine brings a system up, acts on its replicas' processes, and takes everything down again. It knows nothing of
//! experiments, faults or workloads. Docker is the first; a second engine without Docker or root will follow, so nothing
//! here may name a container.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::event::Events;
use crate::plan::ReplicaId;
use crate::redact::Redactor;
use crate::system::definition::SystemDefinition;

/// What an engine needs to bring a system up.
#[derive(Debug, Clone)]
pub struct SystemRequest {
    /// Unique among all runs on this machine; in every label and name the engine makes.
    pub run_id: String,
    /// The definition.
    pub definition: SystemDefinition,
    /// The folder that holds it and its Compose file (absolute).
    pub dir: PathBuf,
    /// Environment set over the Compose file's, by service.
    pub environment: BTreeMap<String, BTreeMap<String, String>>,
    /// Replicas beside which an agent with the right to filter packets must stand.
    pub agents: Vec<ReplicaId>,
    /// Replicas whose connections to which others go through links; beside each of them stands an agent.
    pub links: BTreeMap<ReplicaId, Vec<ReplicaId>>,
    /// File systems of their own that replicas get, so that they can be filled; beside each of these replicas stands an agent
    /// that has them, too.
    pub disks: BTreeMap<ReplicaId, Vec<Disk>>,
    /// Images that replicas may be given while the system is up, beside those that its services name.
    pub images: Vec<String>,
    /// Fixes every draw of the links.
    pub seed: u64,
    /// Values that no log may hold, beside those that the environment's names call secret.
    pub redactor: Redactor,
    /// Where each replica's log goes, as `<replica>.log` (absolute).
    pub logs_dir: PathBuf,
}

/// A file system in memory that a replica has at a path, with what its image has there at first. It outlives a kill and a start of
/// the replica, and goes with the run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Disk {
    /// Where the replica has it (absolute).
    pub path: String,
    /// How much fits, in bytes.
    pub size_bytes: u64,
}

/// What a replica runs in place of what the Compose file says of its service. The default is what the Compose file says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its image, by the name that a service or `x-nightmail.images` gives it.
    pub image: Option<String>,
    /// What stands in place of the service's `command`.
    pub command: Option<Vec<String>>,
    /// Environment set over the service's.
    pub environment: BTreeMap<String, String>,
}

/// What an engine can do, as far as engines differ in what experiments need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traits {
    /// `docker`, `local`.
    pub name: &'static str,
    /// Whether the harness reaches what listens on this machine's loopback address while a system is up.
    pub reaches_loopback: bool,
    /// Whether it pulls images from registries.
    pub pulls_images: bool,
    /// Whether a capability given to a service reaches further than that service's own processes.
    pub grants_capabilities: bool,
}

/// Something that runs systems.
#[async_trait]
pub trait Engine: Send + Sync {
    /// `docker`, for events and messages.
    fn name(&self) -> &'static str;

    /// Makes or finds every image of the system; tells `events` of each that is made. On an error nothing is left behind.
    /// Whoever drops the future before its end, or does not go on to `up`, calls [`Engine::clean`].
    async fn prepare(&self, request: &SystemRequest, events: &Events) -> Result<(), EngineError>;

    /// Starts everything and returns when every replica is ready. On an error nothing is left behind. Whoever drops the
    /// future before its end calls [`Engine::clean`].
    async fn up(&self, request: &SystemRequest, events: &Events) -> Result<Arc<dyn RunningSystem>, EngineError>;

    /// Removes whatever there is of a run, such as after an `up` that was given up. Returns what could not be removed, in
    /// words; empty means nothing is left.
    async fn clean(&self, run_id: &str) -> Vec<String>;

    /// Last of all, when everything is judged and shown: where kept systems need somebody to look after them, lets the
    /// command end with that exit code, and lives on until they are taken down. Most engines need nobody.
    async fn stay(&self, _exit_code: u8) -> Result<(), EngineError> {
        Ok(())
    }
}

/// A system that is up.
#[async_trait]
pub trait RunningSystem: Send + Sync {
    /// Its replicas.
    fn replicas(&self) -> &[Replica];

    /// The replica of that id.
    fn replica(&self, id: &ReplicaId) -> Result<&Replica, EngineError> {
        self.replicas()
            .iter()
            .find(|replica| &replica.id == id)
            .ok_or_else(|| EngineError::NoReplica(id.to_string()))
    }

    /// What the definition says of it, for role probes.
    fn definition(&self) -> &SystemDefinition;

    /// SIGKILL to its processes. It stays dead, whatever its restart policy, until [`RunningSystem::start`].
    async fn kill(&self, id: &ReplicaId) -> Result<(), EngineError>;

    /// SIGTERM (or its own stop signal), then SIGKILL after its grace period. It stays down until started.
    async fn stop(&self, id: &ReplicaId) -> Result<(), EngineError>;

    /// Starts it again with the same address, and gives it back its restart policy. Nothing happens if it runs.
    async fn start(&self, id: &ReplicaId) -> Result<(), EngineError>;

    /// Ends it as [`RunningSystem::stop`] does, and starts it anew with that release in place of the one that it has. It keeps
    /// its address, names, links, named volumes and disks; files of its own are its image's again. After an error it may be
    /// down, and whoever asks again has it come up.
    async fn redeploy(&self, id: &ReplicaId, release: &Release) -> Result<(), EngineError>;

    /// What runs there, measured now; none if nothing does.
    async fn running(&self, id: &ReplicaId) -> Result<Option<Running>, EngineError>;

    /// Freezes its processes.
    async fn pause(&self, id: &ReplicaId) -> Result<(), EngineError>;

    /// Thaws them. Nothing happens if they are not frozen.
    async fn unpause(&self, id: &ReplicaId) -> Result<(), EngineError>;

    /// Its state, measured now.
    async fn state(&self, id: &ReplicaId) -> Result<ProcessState, EngineError>;

    /// Whether it meets its readiness condition, tried once now on a fresh connection.
    async fn is_ready(&self, id: &ReplicaId) -> Result<bool, EngineError>;

    /// Asks the reaper to undo a process fault at the deadline, even if the harness is gone by then.
    async fn arm_deadline(
        &self,
        fault: u32,
        undo: Undo,
        id: &ReplicaId,
        ttl: std::time::Duration,
    ) -> Result<(), EngineError>;

    /// Asks the reaper to make a call at the deadline, or when the harness dies: it undoes a fault at a service that keeps
    /// no time by itself.
    async fn arm_call(&self, fault: u32, call: &Call, ttl: std::time::Duration) -> Result<(), EngineError>;

    /// The fault was healed in time: the reaper need not act.
    async fn disarm_deadline(&self, fault: u32) -> Result<(), EngineError>;

    /// Every log line from now on.
    fn log_lines(&self) -> broadcast::Receiver<LogLine>;

    /// Takes everything down. Returns what could not be removed, in words; empty means nothing is left.
    async fn down(&self) -> Vec<String>;

    /// Leaves the system up: the reaper is told to spare it. Returns lines that say how to reach it and how to end it.
    async fn keep(&self) -> Vec<String>;
}

/// How a process fault is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undo {
    /// Start it.
    Start,
    /// Thaw it.
    Unpause,
}

/// A request over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Whom to ask.
    pub address: SocketAddr,
    /// `POST`, `PUT`, `PATCH`, `DELETE`.
    pub method: &'static str,
    /// Without white space.
    pub path: String,
    /// JSON without white space; empty for none.
    pub body: String,
}

/// A replica that is up.
#[derive(Debug, Clone)]
pub struct Replica {
    /// Its id.
    pub id: ReplicaId,
    /// Its fixed address, reachable from the harness and from every other replica.
    pub address: Ipv4Addr,
    /// Its agent's control interface, if one stands beside it.
    pub agent: Option<SocketAddr>,
}

/// What a replica's main process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessState {
    /// Running.
    Running,
    /// Frozen.
    Paused,
    /// Not running.
    Exited,
}

/// What runs as a replica's main process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Tells it from every other, on one machine: `process 4711 since tick 93210`.
    pub process: String,
    /// The release that the engine has started it with.
    pub release: Release,
    /// Its environment, as the kernel shows it. Absent where that cannot be seen from here, or where the process has written
    /// something else in its place.
    pub environment: Option<BTreeMap<String, String>>,
}

/// A line of a replica's log.
#[derive(Debug, Clone)]
pub struct LogLine {
    /// Who wrote it.
    pub replica: ReplicaId,
    /// The line, secrets redacted, without its end.
    pub line: Arc<str>,
}

/// Why an engine could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine does not answer.
    #[error("{engine} does not answer: {reason}\n  hint: {hint}")]
    Unreachable {
        /// Which.
        engine: &'static str,
        /// What it said.
        reason: String,
        /// What to try.
        hint: String,
    },
    /// The Compose file is wrong; a whole diagnostic.
    #[error("{0}")]
    Compose(String),
    /// An image could not be made.
    #[error("image {image} could not be made: {reason}{}", last_lines(.log))]
    Image {
        /// Which.
        image: String,
        /// Why.
        reason: String,
        /// The last lines of the builder's output.
        log: Vec<String>,
    },
    /// A replica did not get ready.
    #[error("{replica} {reason}{}", last_lines(.log))]
    NotReady {
        /// Which.
        replica: String,
        /// `ended with exit code 1 before it was ready`, `was not ready after 60 s: connecting to 10.64.1.5:80: connection
        /// refused`.
        reason: String,
        /// The last lines of its log.
        log: Vec<String>,
    },
    /// No replica has that id.
    #[error("no replica {0}")]
    NoReplica(String),
    /// Anything else the engine refused.
    #[error("{action}: {reason}")]
    Refused {
        /// What was asked, such as `pausing postage-api-1`.
        action: String,
        /// What it said.
        reason: String,
    },
}

fn last_lines(log: &[String]) -> String {
    log.iter().map(|line| format!("\n  | {line}")).collect()
}

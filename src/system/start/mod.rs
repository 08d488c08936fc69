//! Bringing a system up, whatever the engine: as parallel as the Compose file's dependencies allow.
//!
//! `members` says who is to be, `links` what an agent is told, `order` who waits for whom, `waiting` waits until a replica
//! is ready, `ready` tries that once, `logs` is where a replica's log goes. What is an engine's own stands behind
//! [`Starter`] and [`Launched`]. Architecture invariant: nothing here names a container.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use tokio::sync::broadcast;
use tokio::task::JoinSet;

use super::engine::{EngineError, LogLine, SystemRequest};
use crate::event::{Event, Events};
use crate::redact::Redactor;

mod links;
mod logs;
mod members;
mod order;
pub mod ready;
mod waiting;

#[cfg(test)]
mod tests;

pub use links::{Links, agent_words, disk_folder, sysctls};
pub use logs::LogSink;
pub use members::{Member, agent_address, members};
use order::Order;

/// What an engine does of a start.
#[async_trait]
pub trait Starter: Send + Sync + 'static {
    /// Holds a replica's network namespace.
    type Holder: Send + Sync + 'static;
    /// A replica that was started. Dropping it ends whatever follows its log, and no more: what an engine has started it
    /// removes by itself.
    type Pod: Launched;

    /// Makes the network namespace of a replica, with its address and names; where [`Member::has_agent`] says so the
    /// agent runs in it, and is told of the links; it has the replica's disks at [`disk_folder`].
    async fn hold(&self, member: &Member, links: &Links) -> Result<Self::Holder, EngineError>;

    /// Starts a replica within its holder, and has its log go to `log`.
    async fn launch(&self, member: &Member, holder: Self::Holder, log: Arc<LogSink>) -> Result<Self::Pod, EngineError>;

    /// An error with its last words if the agent has ended.
    async fn check_agent(&self, member: &Member, holder: &Self::Holder) -> Result<(), EngineError>;
}

/// A replica that was started, until it is ready.
#[async_trait]
pub trait Launched: Send + Sync + 'static {
    /// Whether its process certainly runs, told cheaply. If not, [`Launched::look`] is asked.
    fn runs_for_certain(&self) -> bool;

    /// How its process is doing.
    async fn look(&self) -> Result<Look, EngineError>;

    /// One try of its readiness; if it is not ready, what was tried and what came of it.
    async fn try_ready(&self) -> Result<Result<(), String>, EngineError>;

    /// An error with its last words if its agent has ended.
    async fn check_agent(&self) -> Result<(), EngineError>;

    /// The last lines of its log.
    async fn tail(&self) -> Vec<String>;
}

/// How a replica that is to get ready is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// It runs, or is about to be started again.
    Runs {
        /// How often its restart policy has brought it back.
        restarts: i64,
    },
    /// It has ended for good.
    Ended {
        /// Its exit code.
        code: i64,
    },
}

/// A system all of whose replicas are ready.
#[derive(Debug)]
pub struct Started<P> {
    /// The replicas, in the order of the members.
    pub pods: Vec<P>,
    /// Where every line of every log is told.
    pub listeners: broadcast::Sender<LogLine>,
}

/// Starts every member, and returns when all are ready. On an error the others are not dropped in the middle of what an
/// engine does, which would then appear behind its back: they are told, and come to their end. Removing what was started
/// is the engine's.
pub async fn start_all<S: Starter>(
    starter: S,
    members: Vec<Member>,
    request: &SystemRequest,
    events: &Events,
) -> Result<Started<S::Pod>, EngineError> {
    make_folder(&request.logs_dir)?;
    let start = Arc::new(Start {
        starter,
        order: Order::new(&members),
        addresses: members
            .iter()
            .map(|member| (member.id.clone(), member.address))
            .collect(),
        seed: request.seed,
        logs_dir: request.logs_dir.clone(),
        redactor: request.redactor.clone(),
        listeners: logs::listeners(),
        events: events.clone(),
    });
    let mut tasks = JoinSet::new();
    for member in members {
        let start = start.clone();
        tasks.spawn(async move {
            let pod = start.member(&member).await;
            (member, pod)
        });
    }
    let mut pods = BTreeMap::new();
    let mut first_error = None;
    while let Some(ended) = tasks.join_next().await {
        let error = match ended {
            Ok((member, Ok(pod))) => {
                pods.insert(member.index, (member, pod));
                continue;
            }
            Ok((_, Err(error))) => error,
            Err(error) => Some(EngineError::Refused {
                action: "bringing the system up".to_owned(),
                reason: error.to_string(),
            }),
        };
        start.order.give_up();
        first_error = first_error.or(error);
    }
    if let Some(error) = first_error {
        return Err(error);
    }
    start.check_still_running(pods.values()).await?;
    Ok(Started {
        pods: pods.into_values().map(|(_, pod)| pod).collect(),
        listeners: start.listeners.clone(),
    })
}

fn make_folder(path: &Path) -> Result<(), EngineError> {
    std::fs::create_dir_all(path).map_err(|error| EngineError::Refused {
        action: format!("making the folder {}", path.display()),
        reason: error.to_string(),
    })
}

/// What all members share while they are started.
struct Start<S> {
    starter: S,
    order: Order,
    addresses: links::Addresses,
    seed: u64,
    logs_dir: PathBuf,
    redactor: Redactor,
    listeners: broadcast::Sender<LogLine>,
    events: Events,
}

impl<S: Starter> Start<S> {
    /// Starts one replica. `Err(None)` if it gave up because another failed.
    async fn member(&self, member: &Member) -> Result<S::Pod, Option<EngineError>> {
        let links = Links::of(member, &self.addresses, self.seed);
        self.order.wait_for_turn(&member.service).await?;
        let holder = self.starter.hold(member, &links).await?;
        self.order.wait_for_dependencies(&member.service).await?;
        if !member.peers.is_empty() || !member.disks.is_empty() {
            self.wait_for_agent(member, &holder).await?;
        }
        let began = Instant::now();
        let log = Arc::new(self.log(member)?);
        let pod = self.starter.launch(member, holder, log).await?;
        self.order.has_started(&member.service);
        self.wait_until_ready(member, &pod).await?;
        self.order.is_ready(&member.service);
        // An events file that cannot be written is found out by whoever owns it.
        let _ = self.events.emit(Event::ReplicaReady {
            replica: member.id.to_string(),
            took_ms: began.elapsed().as_millis() as u64,
        });
        Ok(pod)
    }

    fn log(&self, member: &Member) -> Result<LogSink, EngineError> {
        let redactor = self.redactor.with_environment(&member.environment);
        LogSink::new(member, &self.logs_dir, redactor, self.listeners.clone())
    }
}

//! A system that is up on this engine: acting on its replicas, and taking it down.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use super::ground::Ground;
use super::keep::Keeper;
use super::replica::{Body, Pod};
use super::starter::LocalStarter;
use crate::control;
use crate::plan::ReplicaId;
use crate::system::definition::SystemDefinition;
use crate::system::engine::{Call, EngineError, LogLine, ProcessState, Release, Replica, Running, RunningSystem, Undo};
use crate::system::kept;

/// A system that is up.
pub(super) struct RunningLocal {
    /// Itself, to be kept.
    pub(super) own: Weak<RunningLocal>,
    pub(super) run_id: String,
    /// The run's.
    pub(super) folder: PathBuf,
    pub(super) definition: SystemDefinition,
    pub(super) replicas: Vec<Replica>,
    /// Says what they are made from.
    pub(super) starter: LocalStarter,
    pub(super) pods: Vec<Pod>,
    pub(super) listeners: broadcast::Sender<LogLine>,
    pub(super) ground: Arc<Ground>,
    pub(super) deadlines: Mutex<HashMap<u32, Vec<JoinHandle<()>>>>,
    pub(super) keeper: Arc<Keeper>,
}

impl RunningLocal {
    pub(super) fn body(&self, id: &ReplicaId) -> Result<&Arc<Body>, EngineError> {
        self.pods
            .iter()
            .map(|pod| &pod.body)
            .find(|body| &body.replica.id == id)
            .ok_or_else(|| EngineError::NoReplica(id.to_string()))
    }

    /// Does something at a deadline, unless it is disarmed before. When the harness dies everything here dies with it.
    fn arm(&self, fault: u32, ttl: Duration, deed: impl Future<Output = ()> + Send + 'static) {
        let deadline = tokio::spawn(async move {
            tokio::time::sleep(ttl).await;
            deed.await;
        });
        let mut deadlines = self.deadlines.lock().expect("no holder panics");
        deadlines.entry(fault).or_default().push(deadline);
    }

    fn disarm(&self, fault: Option<u32>) {
        let mut deadlines = self.deadlines.lock().expect("no holder panics");
        let ended: Vec<_> = match fault {
            Some(fault) => deadlines.remove(&fault).into_iter().collect(),
            None => deadlines.drain().map(|(_, armed)| armed).collect(),
        };
        ended.iter().flatten().for_each(JoinHandle::abort);
    }
}

fn refused<E: std::fmt::Display>(action: String) -> impl FnOnce(E) -> EngineError {
    move |reason| EngineError::Refused {
        action,
        reason: reason.to_string(),
    }
}

#[async_trait]
impl RunningSystem for RunningLocal {
    fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    fn definition(&self) -> &SystemDefinition {
        &self.definition
    }

    async fn kill(&self, id: &ReplicaId) -> Result<(), EngineError> {
        self.body(id)?.kill().await.map_err(refused(format!("killing {id}")))
    }

    async fn stop(&self, id: &ReplicaId) -> Result<(), EngineError> {
        self.body(id)?.stop().await.map_err(refused(format!("stopping {id}")))
    }

    async fn start(&self, id: &ReplicaId) -> Result<(), EngineError> {
        self.body(id)?.start().await.map_err(refused(format!("starting {id}")))
    }

    async fn redeploy(&self, id: &ReplicaId, release: &Release) -> Result<(), EngineError> {
        let body = self.body(id)?;
        let plan_of = |deployment| self.starter.plan(&body.member.with_release(release, deployment));
        body.redeploy(plan_of).await
    }

    async fn running(&self, id: &ReplicaId) -> Result<Option<Running>, EngineError> {
        Ok(self.body(id)?.running())
    }

    async fn pause(&self, id: &ReplicaId) -> Result<(), EngineError> {
        self.body(id)?.pause().await.map_err(refused(format!("pausing {id}")))
    }

    async fn unpause(&self, id: &ReplicaId) -> Result<(), EngineError> {
        self.body(id)?.unpause().map_err(refused(format!("thawing {id}")))
    }

    async fn state(&self, id: &ReplicaId) -> Result<ProcessState, EngineError> {
        Ok(self.body(id)?.state())
    }

    async fn is_ready(&self, id: &ReplicaId) -> Result<bool, EngineError> {
        Ok(self.body(id)?.try_ready().await.is_ok())
    }

    async fn arm_deadline(&self, fault: u32, undo: Undo, id: &ReplicaId, ttl: Duration) -> Result<(), EngineError> {
        let body = self.body(id)?.clone();
        self.arm(fault, ttl, async move {
            // The harness measures whether it has healed; here it is only done.
            match undo {
                Undo::Start => drop(body.start().await),
                Undo::Unpause => drop(body.unpause()),
            }
        });
        Ok(())
    }

    async fn arm_call(&self, fault: u32, call: &Call, ttl: Duration) -> Result<(), EngineError> {
        let call = call.clone();
        self.arm(fault, ttl, async move { control::client::make(&call).await });
        Ok(())
    }

    async fn disarm_deadline(&self, fault: u32) -> Result<(), EngineError> {
        self.disarm(Some(fault));
        Ok(())
    }

    fn log_lines(&self) -> broadcast::Receiver<LogLine> {
        self.listeners.subscribe()
    }

    async fn down(&self) -> Vec<String> {
        self.disarm(None);
        let leftovers = self.ground.clear().await;
        for pod in &self.pods {
            pod.body.hear_out().await;
        }
        leftovers
    }

    async fn keep(&self) -> Vec<String> {
        if let Some(own) = self.own.upgrade() {
            self.keeper.keep(own);
        }
        kept::lines(&self.run_id, &self.definition, &self.replicas)
    }
}

//! A system that is up: acting on its replicas, and taking it down.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use testcontainers::bollard::errors::Error;
use testcontainers::bollard::models::HealthStatusEnum;
use testcontainers::bollard::query_parameters::KillContainerOptionsBuilder;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use super::bring_up::Containers;
use super::ground::Ground;
use super::lifecycle::{self, Policy};
use super::process::Process;
use super::{Client, labels, logs, sweep};
use crate::plan::ReplicaId;
use crate::system::definition::{Ready, SystemDefinition};
use crate::system::engine::{Call, EngineError, LogLine, ProcessState, Release, Replica, Running, RunningSystem, Undo};
use crate::system::kept;
use crate::system::start::{LogSink, Look, Member, ready};

/// A replica with all that acting on it takes.
pub(super) struct Pod {
    pub(super) client: Client,
    pub(super) replica: Replica,
    /// As the Compose file has it.
    pub(super) member: Member,
    /// Makes another container of it.
    pub(super) made_by: Containers,
    pub(super) holder: String,
    pub(super) life: Mutex<Life>,
    pub(super) policy: Policy,
    pub(super) stop_signal: Option<String>,
    pub(super) stop_grace: Duration,
    pub(super) ready: Option<Ready>,
    /// Whether Docker runs a health check in it.
    pub(super) healthcheck: bool,
    pub(super) log: Arc<LogSink>,
    pub(super) process: Mutex<Option<Process>>,
}

/// What a replica has as long as it runs one release.
pub(super) struct Life {
    /// Its container's id.
    pub(super) container: String,
    /// Counts its releases, from 0.
    pub(super) deployment: u32,
    pub(super) release: Release,
    pub(super) following: Arc<logs::Shared>,
    /// Follows its log.
    pub(super) follower: Option<JoinHandle<()>>,
}

/// A system that is up on Docker.
pub(super) struct RunningDocker {
    pub(super) client: Client,
    pub(super) run_id: String,
    pub(super) definition: SystemDefinition,
    pub(super) replicas: Vec<Replica>,
    pub(super) pods: Vec<Pod>,
    pub(super) listeners: broadcast::Sender<LogLine>,
    pub(super) ground: Ground,
}

impl Pod {
    pub(super) fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().expect("no holder panics")
    }

    /// Its container's id.
    pub(super) fn container(&self) -> String {
        self.life().container.clone()
    }

    /// Tells the follower of its log that the container was started again.
    fn has_started(&self) {
        self.life().following.started.notify_one();
    }

    /// Looks at the process again, after the container has started.
    pub(super) async fn refresh(&self) -> Result<(), Error> {
        let container = self.container();
        let pid = lifecycle::inspect(&self.client, &container).await?.pid.unwrap_or(0);
        *self.process.lock().expect("no holder panics") = Process::find(pid, &container);
        Ok(())
    }

    pub(super) fn process(&self) -> Option<Process> {
        self.process.lock().expect("no holder panics").clone()
    }

    /// How it is doing while it is to get ready, and takes another look at its process.
    pub(super) async fn look_at_container(&self) -> Result<Look, Error> {
        let container = self.container();
        let (look, pid) = lifecycle::look(&self.client, &container).await?;
        *self.process.lock().expect("no holder panics") = Process::find(pid, &container);
        Ok(look)
    }

    /// One try of its readiness; if it is not ready, the reason.
    pub(super) async fn try_once(&self) -> Result<Result<(), String>, Error> {
        match &self.ready {
            Some(Ready::Log { .. }) if self.log.has_seen_ready() => Ok(Ok(())),
            Some(ready) => Ok(ready::try_once(ready, self.replica.address).await),
            None => {
                let state = lifecycle::inspect(&self.client, &self.container()).await?;
                let health = state.health.and_then(|health| health.status);
                let runs = state.running.unwrap_or(false) && !state.restarting.unwrap_or(false);
                Ok(match (self.healthcheck, health) {
                    (true, Some(HealthStatusEnum::HEALTHY)) => Ok(()),
                    (true, Some(health)) => Err(format!("its health check says `{health}`")),
                    (true, None) => Err("its health check says nothing".to_owned()),
                    (false, _) if runs => Ok(()),
                    (false, _) => Err("its process does not run".to_owned()),
                })
            }
        }
    }

    /// What its process does: asked of the kernel while it runs, and of Docker once it has ended, since anybody may have
    /// started the container again.
    async fn state(&self) -> Result<ProcessState, Error> {
        let known = self.process();
        if let Some(state) = known.as_ref().and_then(Process::state)
            && state != ProcessState::Exited
        {
            return Ok(state);
        }
        let container = self.container();
        let state = lifecycle::inspect(&self.client, &container).await?;
        let running = state.running.unwrap_or(false) && !state.restarting.unwrap_or(false);
        let found = Process::find(state.pid.unwrap_or(0), &container);
        if known.is_some() && found.as_ref().is_none_or(Process::is_gone) {
            // Docker takes a moment to notice that a process has ended.
            return Ok(ProcessState::Exited);
        }
        *self.process.lock().expect("no holder panics") = found;
        Ok(match (running, state.paused.unwrap_or(false)) {
            (_, true) => ProcessState::Paused,
            (true, false) => ProcessState::Running,
            (false, false) => ProcessState::Exited,
        })
    }

    async fn kill(&self) -> Result<(), Error> {
        lifecycle::hold(&self.client, &self.container(), self.policy).await?;
        // A frozen process would not notice: Docker thaws it first.
        let process = self
            .process()
            .filter(|process| process.state() == Some(ProcessState::Running));
        if process.is_some_and(|process| process.kill()) {
            return Ok(());
        }
        self.signal("SIGKILL").await
    }

    pub(super) async fn stop(&self) -> Result<(), Error> {
        lifecycle::hold(&self.client, &self.container(), self.policy).await?;
        if self.state().await? == ProcessState::Exited {
            return Ok(());
        }
        lifecycle::unpause(&self.client, &self.container()).await?;
        let signal = match &self.stop_signal {
            Some(signal) => signal.clone(),
            None => lifecycle::stop_signal(&self.client, &self.container()).await?,
        };
        self.signal(&signal).await?;
        let began = Instant::now();
        while began.elapsed() < self.stop_grace {
            if self.state().await? == ProcessState::Exited {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.signal("SIGKILL").await
    }

    /// Nothing happens to a container that does not run.
    async fn signal(&self, signal: &str) -> Result<(), Error> {
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        match self.client.kill_container(&self.container(), Some(options)).await {
            Err(error) if labels::status(&error) == Some(409) => Ok(()),
            result => result,
        }
    }

    async fn start(&self) -> Result<(), Error> {
        if self.state().await? != ProcessState::Exited {
            // The reaper was quicker, or somebody who knows nothing of its restart policy.
            lifecycle::restore(&self.client, &self.container(), self.policy).await?;
            self.has_started();
            return Ok(());
        }
        lifecycle::wait_until_noticed(&self.client, &self.container()).await?;
        self.log.forget_ready();
        *self.life().following.ready_after.lock().expect("no holder panics") = logs::stamp_now();
        lifecycle::restore_and_start(&self.client, &self.container(), &self.holder, self.policy).await?;
        self.has_started();
        self.refresh().await
    }

    /// Tells the follower of its log that the container is about to be removed.
    pub(super) fn end_following(&self) {
        let life = self.life();
        life.following.ending.store(true, Ordering::Release);
        life.following.started.notify_one();
    }

    pub(super) fn take_follower(&self) -> Option<JoinHandle<()>> {
        self.life().follower.take()
    }
}

impl Drop for Pod {
    /// Nobody is left to read what its log would say.
    fn drop(&mut self) {
        if let Some(follower) = self.take_follower() {
            follower.abort();
        }
    }
}

impl RunningDocker {
    fn pod(&self, id: &ReplicaId) -> Result<&Pod, EngineError> {
        self.pods
            .iter()
            .find(|pod| &pod.replica.id == id)
            .ok_or_else(|| EngineError::NoReplica(id.to_string()))
    }
}

#[async_trait]
impl RunningSystem for RunningDocker {
    fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    fn definition(&self) -> &SystemDefinition {
        &self.definition
    }

    async fn kill(&self, id: &ReplicaId) -> Result<(), EngineError> {
        let pod = self.pod(id)?;
        pod.kill().await.map_err(labels::refused(format!("killing {id}")))
    }

    async fn stop(&self, id: &ReplicaId) -> Result<(), EngineError> {
        let pod = self.pod(id)?;
        pod.stop().await.map_err(labels::refused(format!("stopping {id}")))
    }

    async fn start(&self, id: &ReplicaId) -> Result<(), EngineError> {
        let pod = self.pod(id)?;
        pod.start().await.map_err(labels::refused(format!("starting {id}")))
    }

    async fn redeploy(&self, id: &ReplicaId, release: &Release) -> Result<(), EngineError> {
        self.pod(id)?.redeploy(release).await
    }

    async fn running(&self, id: &ReplicaId) -> Result<Option<Running>, EngineError> {
        let pod = self.pod(id)?;
        let running = pod.running().await;
        running.map_err(labels::refused(format!("looking at {id}")))
    }

    async fn pause(&self, id: &ReplicaId) -> Result<(), EngineError> {
        let pod = self.pod(id)?;
        let paused = self.client.pause_container(&pod.container()).await;
        paused.map_err(labels::refused(format!("pausing {id}")))
    }

    async fn unpause(&self, id: &ReplicaId) -> Result<(), EngineError> {
        let pod = self.pod(id)?;
        let thawed = lifecycle::unpause(&self.client, &pod.container()).await;
        thawed.map_err(labels::refused(format!("thawing {id}")))
    }

    async fn state(&self, id: &ReplicaId) -> Result<ProcessState, EngineError> {
        let pod = self.pod(id)?;
        let state = pod.state().await;
        state.map_err(labels::refused(format!("looking at {id}")))
    }

    async fn is_ready(&self, id: &ReplicaId) -> Result<bool, EngineError> {
        let pod = self.pod(id)?;
        let tried = pod.try_once().await;
        tried
            .map(|tried| tried.is_ok())
            .map_err(labels::refused(format!("asking whether {id} is ready")))
    }

    async fn arm_deadline(&self, fault: u32, undo: Undo, id: &ReplicaId, ttl: Duration) -> Result<(), EngineError> {
        let pod = self.pod(id)?;
        self.ground
            .reaper
            .arm(fault, undo, &pod.container(), &pod.holder, pod.policy, ttl)
            .map_err(|error| EngineError::Refused {
                action: format!("telling the reaper when the fault on {id} must end"),
                reason: error.to_string(),
            })
    }

    async fn arm_call(&self, fault: u32, call: &Call, ttl: Duration) -> Result<(), EngineError> {
        let armed = self.ground.reaper.arm_call(fault, call, ttl);
        armed.map_err(|error| EngineError::Refused {
            action: format!("telling the reaper when the fault at {} must end", call.address),
            reason: error.to_string(),
        })
    }

    async fn disarm_deadline(&self, fault: u32) -> Result<(), EngineError> {
        self.ground.reaper.disarm(fault).map_err(|error| EngineError::Refused {
            action: "telling the reaper that a fault has ended".to_owned(),
            reason: error.to_string(),
        })
    }

    fn log_lines(&self) -> broadcast::Receiver<LogLine> {
        self.listeners.subscribe()
    }

    async fn down(&self) -> Vec<String> {
        const LOGS_WITHIN: Duration = Duration::from_secs(1);
        for pod in &self.pods {
            pod.end_following();
        }
        let leftovers = sweep::run(&self.client, &self.run_id).await;
        let deadline = tokio::time::Instant::now() + LOGS_WITHIN;
        for mut follower in self.pods.iter().filter_map(Pod::take_follower) {
            if tokio::time::timeout_at(deadline, &mut follower).await.is_err() {
                follower.abort();
            }
        }
        self.ground.end(&self.run_id, &leftovers);
        leftovers
    }

    async fn keep(&self) -> Vec<String> {
        self.ground.reaper.keep();
        for follower in self.pods.iter().filter_map(Pod::take_follower) {
            follower.abort();
        }
        let mut lines = kept::lines(&self.run_id, &self.definition, &self.replicas);
        lines.push(format!("docker ps --filter label={}={}", labels::RUN, self.run_id));
        lines
    }
}

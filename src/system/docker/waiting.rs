//! Waiting, while a system comes up: for what a replica depends on, and until it is ready itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use testcontainers::bollard::errors::Error;

use super::bring_up::Shared;
use super::lifecycle::{self, Look};
use super::running::Pod;
use super::{labels, logs, ready};
use crate::plan::ReplicaId;
use crate::redact::Redactor;
use crate::system::compose::{Condition, Service};
use crate::system::engine::EngineError;

/// A replica that is not ready by then never will be.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// A replica that its restart policy had to bring back so often while it started will not get ready.
const RESTARTS_MAX: i64 = 5;
/// Between two tries of a readiness condition.
const READY_POLL: Duration = Duration::from_millis(10);
/// Between two questions to Docker about a process that cannot be seen from here. They cost Docker more than the
/// condition costs the replica.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Between two questions about an agent.
const AGENT_LOOK_EVERY: Duration = Duration::from_millis(500);

impl Shared {
    /// Waits until whatever a service depends on has been started, ready or not: what is needed later need not compete
    /// with what is needed first. Gives up when another replica has failed.
    pub(super) async fn wait_for_turn(&self, service: &Service) -> Result<(), Option<EngineError>> {
        let mut failed = self.failed.subscribe();
        for name in service.depends_on.keys() {
            let progress = &self.progress[name];
            let mut started = progress.started.subscribe();
            tokio::select! {
                biased;
                _ = failed.wait_for(|failed| *failed) => return Err(None),
                _ = started.wait_for(|count| *count == progress.replicas) => {}
            }
        }
        Ok(())
    }

    /// Waits for what the Compose file says; gives up when another replica has failed.
    pub(super) async fn wait_for_dependencies(&self, service: &Service) -> Result<(), Option<EngineError>> {
        let mut failed = self.failed.subscribe();
        for (name, condition) in &service.depends_on {
            let progress = &self.progress[name];
            let mut reached = match condition {
                Condition::Started => progress.started.subscribe(),
                Condition::Healthy | Condition::Completed => progress.ready.subscribe(),
            };
            tokio::select! {
                biased;
                _ = failed.wait_for(|failed| *failed) => return Err(None),
                _ = reached.wait_for(|count| *count == progress.replicas) => {}
            }
        }
        Ok(())
    }

    pub(super) async fn wait_until_ready(&self, pod: &Pod) -> Result<(), Option<EngineError>> {
        let id = &pod.replica.id;
        let job = self.jobs.contains(&id.service);
        let looking = || labels::refused(format!("waiting for {id}"));
        let mut failed = self.failed.subscribe();
        let began = Instant::now();
        let mut next_look = began;
        let mut next_agent_look = began + AGENT_LOOK_EVERY;
        loop {
            if !pod.runs_for_certain() && Instant::now() >= next_look {
                next_look = Instant::now() + LOOK_EVERY;
                pod.refresh(&self.client).await.map_err(looking())?;
                match lifecycle::look(&self.client, &pod.container).await.map_err(looking())? {
                    Look::Ended { code: 0 } if job => return Ok(()),
                    Look::Ended { code } => {
                        let reason = format!("ended with exit code {code} before it was ready");
                        return Err(Some(self.not_ready(pod, reason).await));
                    }
                    Look::Runs { restarts } if restarts >= RESTARTS_MAX => {
                        let reason = format!("ended {restarts} times before it was ready");
                        return Err(Some(self.not_ready(pod, reason).await));
                    }
                    Look::Runs { .. } => {}
                }
            }
            if pod.replica.agent.is_some() && Instant::now() >= next_agent_look {
                next_agent_look = Instant::now() + AGENT_LOOK_EVERY;
                self.check_agent(id, &pod.holder).await?;
            }
            let tried = match job {
                true => Err("its process has not ended".to_owned()),
                false => self.try_up(pod).await.map_err(looking())?,
            };
            match tried {
                Ok(()) => return Ok(()),
                Err(came_of_it) if began.elapsed() > READY_WITHIN => {
                    let reason = format!("was not ready after {} s: {came_of_it}", READY_WITHIN.as_secs());
                    return Err(Some(self.not_ready(pod, reason).await));
                }
                Err(_) => {}
            }
            tokio::select! {
                biased;
                _ = failed.wait_for(|failed| *failed) => return Err(None),
                () = tokio::time::sleep(READY_POLL) => {}
            }
        }
    }

    /// Whether a replica, and its agent if it has one, answer; if not, what was tried and what came of it.
    async fn try_up(&self, pod: &Pod) -> Result<Result<(), String>, Error> {
        if let Some(agent) = pod.replica.agent
            && let Err(came_of_it) = ready::connect(agent).await
        {
            return Ok(Err(format!("connecting to its agent at {agent}: {came_of_it}")));
        }
        pod.try_ready(&self.client).await
    }

    /// Waits until the agent has its replica's links in place: connections made before are out of their reach.
    pub(super) async fn wait_for_links(
        &self,
        id: &ReplicaId,
        holder: &str,
        agent: SocketAddr,
    ) -> Result<(), Option<EngineError>> {
        let mut failed = self.failed.subscribe();
        let mut next_look = Instant::now() + AGENT_LOOK_EVERY;
        while tokio::net::TcpStream::connect(agent).await.is_err() {
            if Instant::now() >= next_look {
                next_look = Instant::now() + AGENT_LOOK_EVERY;
                self.check_agent(id, holder).await?;
            }
            tokio::select! {
                biased;
                _ = failed.wait_for(|failed| *failed) => return Err(None),
                () = tokio::time::sleep(READY_POLL) => {}
            }
        }
        Ok(())
    }

    /// An agent that has ended never answers: its last words say why.
    async fn check_agent(&self, id: &ReplicaId, holder: &str) -> Result<(), EngineError> {
        let looking = labels::refused(format!("waiting for the agent of {id}"));
        let state = lifecycle::inspect(&self.client, holder).await.map_err(looking)?;
        if state.running.unwrap_or(false) {
            return Ok(());
        }
        Err(EngineError::NotReady {
            replica: format!("the agent of {id}"),
            reason: format!(
                "ended with exit code {} before it was ready",
                state.exit_code.unwrap_or(0)
            ),
            log: logs::tail(&self.client, holder, &Redactor::default()).await,
        })
    }

    /// A process that only had to run must still run when all others are ready.
    pub(super) async fn check_still_running(&self, pods: &BTreeMap<u8, Pod>) -> Result<(), EngineError> {
        let unconditional = pods.values().filter(|pod| pod.ready.is_none() && !pod.healthcheck);
        for pod in unconditional.filter(|pod| !self.jobs.contains(&pod.replica.id.service)) {
            let id = &pod.replica.id;
            let looking = labels::refused(format!("looking at {id}"));
            let state = lifecycle::inspect(&self.client, &pod.container)
                .await
                .map_err(looking)?;
            if !state.running.unwrap_or(false) {
                let reason = format!("ended with exit code {} at its start", state.exit_code.unwrap_or(0));
                return Err(self.not_ready(pod, reason).await);
            }
        }
        Ok(())
    }

    async fn not_ready(&self, pod: &Pod, reason: String) -> EngineError {
        EngineError::NotReady {
            replica: pod.replica.id.to_string(),
            reason,
            log: logs::tail(&self.client, &pod.container, &pod.redactor).await,
        }
    }
}

//! Waiting, while a system comes up, until a replica's links and disks are in place and until it is ready itself.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{Launched, Look, Member, Start, Starter, agent_address, ready};
use crate::system::engine::EngineError;

/// A replica that is not ready by then never will be.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// A replica that its restart policy had to bring back so often while it started will not get ready.
const RESTARTS_MAX: i64 = 5;
/// Between two tries of a readiness condition.
const READY_POLL: Duration = Duration::from_millis(10);
/// Between two questions to the engine about a process that cannot be seen from here. They cost more than the condition
/// costs the replica.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Between two questions about an agent.
const AGENT_LOOK_EVERY: Duration = Duration::from_millis(500);

impl<S: Starter> Start<S> {
    /// Waits until the agent has its replica's links and disks in place: connections made before are out of its reach, and so may
    /// be a folder that its replica has found first.
    pub(super) async fn wait_for_agent(&self, member: &Member, holder: &S::Holder) -> Result<(), Option<EngineError>> {
        let agent = agent_address(member.address);
        let mut failed = self.order.failed();
        let mut looks = Every::after(AGENT_LOOK_EVERY);
        while ready::connect(agent).await.is_err() {
            if looks.is_due() {
                self.starter.check_agent(member, holder).await?;
            }
            pause(&mut failed).await?;
        }
        Ok(())
    }

    /// Waits until a replica is ready, or has ended well if it is a job; gives up when another has failed.
    pub(super) async fn wait_until_ready(&self, member: &Member, pod: &S::Pod) -> Result<(), Option<EngineError>> {
        let job = self.order.is_job(&member.service);
        let mut failed = self.order.failed();
        let began = Instant::now();
        let mut looks = Every::at_once(LOOK_EVERY);
        let mut agent_looks = Every::after(AGENT_LOOK_EVERY);
        loop {
            if !pod.runs_for_certain() && looks.is_due() && has_done_its_job(member, pod, job).await? {
                return Ok(());
            }
            if member.has_agent() && agent_looks.is_due() {
                pod.check_agent().await?;
            }
            let tried = match job {
                true => Err("its process has not ended".to_owned()),
                false => try_up(member, pod).await?,
            };
            match tried {
                Ok(()) => return Ok(()),
                Err(came_of_it) if began.elapsed() > READY_WITHIN => {
                    let reason = format!("was not ready after {} s: {came_of_it}", READY_WITHIN.as_secs());
                    return Err(Some(not_ready(member, pod, reason).await));
                }
                Err(_) => {}
            }
            pause(&mut failed).await?;
        }
    }

    /// A process that only had to run must still run when all others are ready.
    pub(super) async fn check_still_running(
        &self,
        pods: impl Iterator<Item = &(Member, S::Pod)>,
    ) -> Result<(), EngineError> {
        let unconditional = pods.filter(|(member, _)| member.is_unconditional());
        for (member, pod) in unconditional.filter(|(member, _)| !self.order.is_job(&member.service)) {
            if let Look::Ended { code } = pod.look().await? {
                let reason = format!("ended with exit code {code} at its start");
                return Err(not_ready(member, pod, reason).await);
            }
        }
        Ok(())
    }
}

/// Whether a job's process has ended well. An error if any process has ended otherwise, or too often.
async fn has_done_its_job(member: &Member, pod: &impl Launched, job: bool) -> Result<bool, EngineError> {
    let reason = match pod.look().await? {
        Look::Ended { code: 0 } if job => return Ok(true),
        Look::Runs { restarts } if restarts < RESTARTS_MAX => return Ok(false),
        Look::Ended { code } => format!("ended with exit code {code} before it was ready"),
        Look::Runs { restarts } => format!("ended {restarts} times before it was ready"),
    };
    Err(not_ready(member, pod, reason).await)
}

/// Whether a replica, and its agent if it has one, answer; if not, what was tried and what came of it.
async fn try_up(member: &Member, pod: &impl Launched) -> Result<Result<(), String>, EngineError> {
    let agent = agent_address(member.address);
    if member.has_agent()
        && let Err(came_of_it) = ready::connect(agent).await
    {
        return Ok(Err(format!("connecting to its agent at {agent}: {came_of_it}")));
    }
    pod.try_ready().await
}

async fn not_ready(member: &Member, pod: &impl Launched, reason: String) -> EngineError {
    EngineError::NotReady {
        replica: member.id.to_string(),
        reason,
        log: pod.tail().await,
    }
}

/// Waits until the next try; gives up when another replica has failed.
async fn pause(failed: &mut watch::Receiver<bool>) -> Result<(), Option<EngineError>> {
    tokio::select! {
        biased;
        _ = failed.wait_for(|failed| *failed) => Err(None),
        () = tokio::time::sleep(READY_POLL) => Ok(()),
    }
}

/// Something that is done now and then within a loop that turns more often.
struct Every {
    interval: Duration,
    next: Instant,
}

impl Every {
    fn at_once(interval: Duration) -> Self {
        Self {
            interval,
            next: Instant::now(),
        }
    }

    fn after(interval: Duration) -> Self {
        Self {
            interval,
            next: Instant::now() + interval,
        }
    }

    /// Whether it is time; then the interval begins anew.
    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let due = now >= self.next;
        if due {
            self.next = now + self.interval;
        }
        due
    }
}

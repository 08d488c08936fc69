//! Who waits for whom while a system comes up.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::watch;

use super::Member;
use crate::system::compose::{Condition, Service};
use crate::system::engine::EngineError;

/// How far each service is: replicas that have started, and that are ready (or, for a job, have ended well).
#[derive(Debug)]
struct Progress {
    replicas: u32,
    started: watch::Sender<u32>,
    ready: watch::Sender<u32>,
}

impl Progress {
    fn new(replicas: u32) -> Self {
        Self {
            replicas,
            started: watch::Sender::new(0),
            ready: watch::Sender::new(0),
        }
    }
}

/// How far all are.
#[derive(Debug)]
pub(super) struct Order {
    progress: BTreeMap<String, Progress>,
    /// Services that end by themselves, since others wait for that.
    jobs: BTreeSet<String>,
    /// Set when one has failed: the others give up.
    failed: watch::Sender<bool>,
}

impl Order {
    pub(super) fn new(members: &[Member]) -> Self {
        let services = members.iter().map(|member| &member.service);
        let progress = services
            .clone()
            .map(|service| (service.name.clone(), Progress::new(service.replicas)));
        let jobs = services
            .flat_map(|service| &service.depends_on)
            .filter(|(_, condition)| **condition == Condition::Completed)
            .map(|(name, _)| name.clone());
        Self {
            progress: progress.collect(),
            jobs: jobs.collect(),
            failed: watch::Sender::new(false),
        }
    }

    /// Whether a service ends by itself.
    pub(super) fn is_job(&self, service: &Service) -> bool {
        self.jobs.contains(&service.name)
    }

    /// A replica has been started.
    pub(super) fn has_started(&self, service: &Service) {
        self.progress[&service.name]
            .started
            .send_modify(|started| *started += 1);
    }

    /// A replica is ready.
    pub(super) fn is_ready(&self, service: &Service) {
        self.progress[&service.name].ready.send_modify(|ready| *ready += 1);
    }

    /// One has failed: whoever waits gives up.
    pub(super) fn give_up(&self) {
        self.failed.send_replace(true);
    }

    /// For whoever waits for something else too.
    pub(super) fn failed(&self) -> watch::Receiver<bool> {
        self.failed.subscribe()
    }

    /// Waits until whatever a service depends on has been started, ready or not: what is needed later need not compete
    /// with what is needed first. Gives up when another replica has failed.
    pub(super) async fn wait_for_turn(&self, service: &Service) -> Result<(), Option<EngineError>> {
        for name in service.depends_on.keys() {
            let progress = &self.progress[name];
            self.reach(&progress.started, progress.replicas).await?;
        }
        Ok(())
    }

    /// Waits for what the Compose file says; gives up when another replica has failed.
    pub(super) async fn wait_for_dependencies(&self, service: &Service) -> Result<(), Option<EngineError>> {
        for (name, condition) in &service.depends_on {
            let progress = &self.progress[name];
            let stage = match condition {
                Condition::Started => &progress.started,
                Condition::Healthy | Condition::Completed => &progress.ready,
            };
            self.reach(stage, progress.replicas).await?;
        }
        Ok(())
    }

    /// Waits until all replicas of a service are at a stage.
    async fn reach(&self, stage: &watch::Sender<u32>, replicas: u32) -> Result<(), Option<EngineError>> {
        let mut failed = self.failed();
        let mut reached = stage.subscribe();
        tokio::select! {
            biased;
            _ = failed.wait_for(|failed| *failed) => Err(None),
            _ = reached.wait_for(|count| *count == replicas) => Ok(()),
        }
    }
}

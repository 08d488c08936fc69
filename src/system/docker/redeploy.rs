//! Putting another container in a replica's place: the same name, labels and network namespace, another release.
//!
//! The holder stays, and with it the address, the names, the links and the disks. The old container's log has been read to its
//! end before it is removed; the new one's follows in the same file.

use std::time::Duration;

use testcontainers::bollard::errors::Error;
use testcontainers::bollard::query_parameters::RemoveContainerOptionsBuilder;

use super::lifecycle;
use super::logs::Follower;
use super::process::Process;
use super::running::{Life, Pod};
use super::{Client, labels, replica};
use crate::system::engine::{EngineError, Release, Running};
use crate::system::process_stat;

impl Pod {
    /// Ends its container, and has another in its place.
    pub(super) async fn redeploy(&self, release: &Release) -> Result<(), EngineError> {
        let id = &self.replica.id;
        // After an earlier try that came only so far there is nothing to end.
        unless_gone(self.stop().await).map_err(labels::refused(format!("stopping {id}")))?;
        self.hear_out().await;
        let name = replica::name_of(&self.made_by.run_id, id);
        unless_gone(remove(&self.client, &name).await).map_err(labels::refused(format!("removing {id}")))?;
        self.log.forget_ready();
        let deployment = self.life().deployment + 1;
        let member = self.member.with_release(release, deployment);
        let container = self.made_by.start(&member, &self.holder).await?;
        let (follower, following) = Follower::of(&self.client, &container, &self.log);
        *self.life() = Life {
            container,
            deployment,
            release: release.clone(),
            following,
            follower: Some(tokio::spawn(follower.follow_on())),
        };
        let looked = self.refresh().await;
        looked.map_err(labels::refused(format!("looking at {id}")))
    }

    /// Waits until the log of a container that has ended is read.
    async fn hear_out(&self) {
        const WITHIN: Duration = Duration::from_secs(2);
        self.end_following();
        let Some(mut follower) = self.take_follower() else {
            return;
        };
        if tokio::time::timeout(WITHIN, &mut follower).await.is_err() {
            follower.abort();
        }
    }

    /// What runs there.
    pub(super) async fn running(&self) -> Result<Option<Running>, Error> {
        let (container, release) = {
            let life = self.life();
            (life.container.clone(), life.release.clone())
        };
        let state = match lifecycle::inspect(&self.client, &container).await {
            Err(error) if labels::status(&error) == Some(404) => return Ok(None),
            state => state?,
        };
        let pid = state.pid.filter(|pid| *pid != 0 && state.running.unwrap_or(false));
        let Some(pid) = pid else { return Ok(None) };
        // Seen from here only where the container runs on this machine.
        let is_here = Process::find(pid, &container).is_some();
        let seen = u32::try_from(pid).ok().filter(|_| is_here);
        let environment = seen.and_then(process_stat::environment);
        let since = state.started_at.unwrap_or_default();
        Ok(Some(Running {
            process: format!("process {pid} of container {:.12} since {since}", container),
            release,
            environment,
        }))
    }
}

/// What is not there need not be ended or removed.
fn unless_gone(done: Result<(), Error>) -> Result<(), Error> {
    match done {
        Err(error) if labels::status(&error) == Some(404) => Ok(()),
        done => done,
    }
}

async fn remove(client: &Client, container: &str) -> Result<(), Error> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    client.remove_container(container, Some(options)).await
}

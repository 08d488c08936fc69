//! Stopping and starting containers, with their restart policy out of the way while a fault holds. The reaper undoes
//! faults by the same functions.

use std::time::{Duration, Instant};

use testcontainers::bollard::errors::Error;
use testcontainers::bollard::models::{ContainerState, ContainerUpdateBody, RestartPolicy, RestartPolicyNameEnum};
use testcontainers::bollard::query_parameters::{InspectContainerOptions, StartContainerOptions};

use super::{Client, labels};
use crate::system::compose::Restart;
use crate::system::start::Look;

/// A restart policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Policy(Restart);

impl Policy {
    /// Whether Docker would start the container again by itself.
    pub(super) fn restarts(self) -> bool {
        self.0 != Restart::No
    }

    /// In one word, for the reaper.
    pub(crate) fn word(self) -> String {
        match self.0 {
            Restart::No => "no".to_owned(),
            Restart::Always => "always".to_owned(),
            Restart::UnlessStopped => "unless-stopped".to_owned(),
            Restart::OnFailure(times) => format!("on-failure:{times}"),
        }
    }

    /// Reads what [`Policy::word`] wrote.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        Some(Self(match word {
            "no" => Restart::No,
            "always" => Restart::Always,
            "unless-stopped" => Restart::UnlessStopped,
            other => Restart::OnFailure(other.strip_prefix("on-failure:")?.parse().ok()?),
        }))
    }
}

impl From<Restart> for Policy {
    fn from(restart: Restart) -> Self {
        Self(restart)
    }
}

impl From<Policy> for RestartPolicy {
    fn from(policy: Policy) -> Self {
        let (name, times) = match policy.0 {
            Restart::No => (RestartPolicyNameEnum::NO, 0),
            Restart::Always => (RestartPolicyNameEnum::ALWAYS, 0),
            Restart::UnlessStopped => (RestartPolicyNameEnum::UNLESS_STOPPED, 0),
            Restart::OnFailure(times) => (RestartPolicyNameEnum::ON_FAILURE, times),
        };
        Self {
            name: Some(name),
            maximum_retry_count: Some(i64::from(times)),
        }
    }
}

/// What Docker says of a container.
pub(super) async fn inspect(client: &Client, container: &str) -> Result<ContainerState, Error> {
    let found = client
        .inspect_container(container, None::<InspectContainerOptions>)
        .await?;
    Ok(found.state.unwrap_or_default())
}

/// Looks at a container that is to get ready: how it is doing, and its process's id, 0 for none.
pub(super) async fn look(client: &Client, container: &str) -> Result<(Look, i64), Error> {
    let found = client
        .inspect_container(container, None::<InspectContainerOptions>)
        .await?;
    let state = found.state.unwrap_or_default();
    let look = if state.running.unwrap_or(false) || state.restarting.unwrap_or(false) {
        Look::Runs {
            restarts: found.restart_count.unwrap_or(0),
        }
    } else {
        Look::Ended {
            code: state.exit_code.unwrap_or(0),
        }
    };
    Ok((look, state.pid.unwrap_or(0)))
}

/// The signal by which a container's image wants to be asked to end.
pub(super) async fn stop_signal(client: &Client, container: &str) -> Result<String, Error> {
    let found = client
        .inspect_container(container, None::<InspectContainerOptions>)
        .await?;
    let signal = found.config.and_then(|config| config.stop_signal);
    Ok(signal
        .filter(|signal| !signal.is_empty())
        .unwrap_or_else(|| "SIGTERM".to_owned()))
}

/// Sets a restart policy.
pub(super) async fn set_policy(client: &Client, container: &str, policy: Policy) -> Result<(), Error> {
    let body = ContainerUpdateBody {
        restart_policy: Some(policy.into()),
        ..ContainerUpdateBody::default()
    };
    client.update_container(container, body).await
}

/// No restart, for as long as a fault holds.
pub(super) async fn hold(client: &Client, container: &str, policy: Policy) -> Result<(), Error> {
    match policy.restarts() {
        true => set_policy(client, container, Policy(Restart::No)).await,
        false => Ok(()),
    }
}

/// Starts a container that was killed or stopped, its holder first if that has died too, and gives it back its restart
/// policy. Nothing happens to one that runs.
pub(crate) async fn restore_and_start(
    client: &Client,
    container: &str,
    holder: &str,
    policy: Policy,
) -> Result<(), Error> {
    if !inspect(client, holder).await?.running.unwrap_or(false) {
        start(client, holder).await?;
    }
    start(client, container).await?;
    restore(client, container, policy).await
}

/// Gives a container back its restart policy.
pub(super) async fn restore(client: &Client, container: &str, policy: Policy) -> Result<(), Error> {
    match policy.restarts() {
        true => set_policy(client, container, policy).await,
        false => Ok(()),
    }
}

async fn start(client: &Client, container: &str) -> Result<(), Error> {
    match client.start_container(container, None::<StartContainerOptions>).await {
        Err(error) if labels::status(&error) == Some(304) => Ok(()),
        result => result,
    }
}

/// Waits until Docker has noticed that a container's process is gone: before that, starting it does nothing. If Docker
/// takes too long, the start that follows tells.
pub(super) async fn wait_until_noticed(client: &Client, container: &str) -> Result<(), Error> {
    const NOTICED_WITHIN: Duration = Duration::from_secs(5);
    let began = Instant::now();
    while inspect(client, container).await?.running.unwrap_or(false) && began.elapsed() < NOTICED_WITHIN {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// Thaws a container. Nothing happens to one that is not frozen.
pub(crate) async fn unpause(client: &Client, container: &str) -> Result<(), Error> {
    match client.unpause_container(container).await {
        Err(error) if labels::words(&error).contains("not paused") => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_survive_their_way_to_the_reaper() {
        for restart in [
            Restart::No,
            Restart::Always,
            Restart::UnlessStopped,
            Restart::OnFailure(3),
        ] {
            let policy = Policy::from(restart);
            assert_eq!(Policy::parse(&policy.word()), Some(policy));
        }
        assert_eq!(Policy::parse("sometimes"), None);
    }
}

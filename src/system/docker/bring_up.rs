//! Bringing a system up on Docker: what a start does of containers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use testcontainers::bollard::errors::Error;

use super::ground::Ground;
use super::holder::Holder;
use super::images::Prepared;
use super::lifecycle::{self, Policy};
use super::network::Network;
use super::replica::ReplicaContainer;
use super::running::{Life, Pod, RunningDocker};
use super::{Client, labels, logs};
use crate::event::Events;
use crate::plan::ReplicaId;
use crate::redact::Redactor;
use crate::system::engine::{EngineError, SystemRequest};
use crate::system::start::{self, Launched, Links, LogSink, Look, Member, Started, Starter};

/// Brings a system up on its ground. On an error nothing is left behind.
pub(super) async fn up(
    client: &Client,
    ground: Ground,
    prepared: &Prepared,
    request: &SystemRequest,
    events: &Events,
) -> Result<RunningDocker, EngineError> {
    let run_id = &request.run_id;
    let brought = async {
        let members = start::members(&prepared.compose, request, |index| ground.network.address(index))?;
        let starter = Containers {
            client: client.clone(),
            run_id: run_id.clone(),
            owner: ground.owner.clone(),
            network: ground.network.clone(),
            images: prepared.images.clone(),
            named: prepared.named.clone(),
            agent_image: prepared.agent.clone(),
        };
        start::start_all(starter, members, request, events).await
    };
    match brought.await {
        Ok(Started { pods, listeners }) => Ok(RunningDocker {
            client: client.clone(),
            run_id: run_id.clone(),
            definition: request.definition.clone(),
            replicas: pods.iter().map(|pod| pod.replica.clone()).collect(),
            pods,
            listeners,
            ground,
        }),
        Err(error) => {
            ground.clear(client, run_id).await;
            Err(error)
        }
    }
}

/// Starts pods.
#[derive(Clone)]
pub(super) struct Containers {
    pub(super) client: Client,
    pub(super) run_id: String,
    owner: String,
    network: Network,
    /// Reference of each service's image.
    images: BTreeMap<String, String>,
    /// Reference of each image that has a name.
    named: BTreeMap<String, String>,
    agent_image: String,
}

impl Containers {
    /// Creates and starts a replica's container. Gives its id.
    pub(super) async fn start(&self, member: &Member, holder: &str) -> Result<String, EngineError> {
        let image = match &member.release.image {
            None => &self.images[&member.id.service],
            Some(name) => self.named.get(name).ok_or_else(|| EngineError::Refused {
                action: format!("starting {}", member.id),
                reason: format!("the image {name} was not made"),
            })?,
        };
        let container = ReplicaContainer {
            run_id: &self.run_id,
            owner: &self.owner,
            image,
            holder_id: holder,
            member,
        };
        container.start().await
    }
}

#[async_trait]
impl Starter for Containers {
    /// A container's id.
    type Holder = String;
    type Pod = Pod;

    async fn hold(&self, member: &Member, links: &Links) -> Result<String, EngineError> {
        let holder = Holder {
            run_id: &self.run_id,
            owner: &self.owner,
            image: &self.agent_image,
            network: &self.network,
            member,
            links,
        };
        holder.start(&self.client).await
    }

    async fn launch(&self, member: &Member, holder: String, log: Arc<LogSink>) -> Result<Pod, EngineError> {
        let container = self.start(member, &holder).await?;
        let (follower, following) = logs::Follower::of(&self.client, &container, &log);
        let life = Life {
            container,
            deployment: member.deployment,
            release: member.release.clone(),
            following,
            follower: Some(tokio::spawn(follower.follow())),
        };
        Ok(Pod {
            client: self.client.clone(),
            replica: member.replica(),
            member: member.clone(),
            made_by: self.clone(),
            holder,
            life: Mutex::new(life),
            policy: Policy::from(member.service.restart),
            stop_signal: member.service.stop_signal.clone(),
            stop_grace: member.service.stop_grace,
            ready: member.ready.clone(),
            healthcheck: member.has_healthcheck(),
            log,
            process: Mutex::default(),
        })
    }

    async fn check_agent(&self, member: &Member, holder: &String) -> Result<(), EngineError> {
        check_agent(&self.client, &member.id, holder).await
    }
}

#[async_trait]
impl Launched for Pod {
    fn runs_for_certain(&self) -> bool {
        self.process().is_some_and(|process| !process.is_gone())
    }

    async fn look(&self) -> Result<Look, EngineError> {
        self.look_at_container().await.map_err(self.waiting())
    }

    async fn try_ready(&self) -> Result<Result<(), String>, EngineError> {
        self.try_once().await.map_err(self.waiting())
    }

    async fn check_agent(&self) -> Result<(), EngineError> {
        check_agent(&self.client, &self.replica.id, &self.holder).await
    }

    async fn tail(&self) -> Vec<String> {
        logs::tail(&self.client, &self.container(), self.log.redactor()).await
    }
}

impl Pod {
    /// How a refusal is told while the pod comes up.
    fn waiting(&self) -> impl FnOnce(Error) -> EngineError {
        labels::refused(format!("waiting for {}", self.replica.id))
    }
}

/// An agent that has ended never answers: its last words say why.
async fn check_agent(client: &Client, id: &ReplicaId, holder: &str) -> Result<(), EngineError> {
    let looking = labels::refused(format!("waiting for the agent of {id}"));
    let state = lifecycle::inspect(client, holder).await.map_err(looking)?;
    if state.running.unwrap_or(false) {
        return Ok(());
    }
    Err(EngineError::NotReady {
        replica: format!("the agent of {id}"),
        reason: format!(
            "ended with exit code {} before it was ready",
            state.exit_code.unwrap_or(0)
        ),
        log: logs::tail(client, holder, &Redactor::default()).await,
    })
}

//! Bringing a system up: network, pods, replicas, readiness, as parallel as the Compose file's dependencies allow.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use super::ground::Ground;
use super::holder::{Holder, Links};
use super::images::Prepared;
use super::lifecycle::Policy;
use super::network::Network;
use super::replica::ReplicaContainer;
use super::running::{Pod, RunningDocker, agent_address};
use super::{Client, logs};
use crate::event::{Event, Events};
use crate::plan::ReplicaId;
use crate::redact::Redactor;
use crate::system::compose::{Condition, Service};
use crate::system::definition::Ready;
use crate::system::engine::{EngineError, LogLine, Replica, SystemRequest};

/// Log lines that a slow listener may lag behind.
const LOG_LINES_BUFFERED: usize = 8_192;

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
        let members = members(prepared, request)?;
        std::fs::create_dir_all(&request.logs_dir).map_err(|error| EngineError::Refused {
            action: format!("making the folder {}", request.logs_dir.display()),
            reason: error.to_string(),
        })?;
        let mut shared = Shared::new(client, prepared, request, events, &ground);
        let address = |member: &Member| (member.id.clone(), ground.network.address(member.index));
        shared.addresses = members.iter().map(address).collect();
        start_all(Arc::new(shared), members).await
    };
    match brought.await {
        Ok((pods, followers, listeners)) => Ok(RunningDocker {
            client: client.clone(),
            run_id: run_id.clone(),
            definition: request.definition.clone(),
            replicas: pods.iter().map(|pod| pod.replica.clone()).collect(),
            pods,
            listeners,
            followers: Mutex::new(followers),
            ground,
        }),
        Err(error) => {
            ground.clear(client, run_id).await;
            Err(error)
        }
    }
}

/// A replica that is to be.
struct Member {
    id: ReplicaId,
    service: Arc<Service>,
    environment: Arc<BTreeMap<String, String>>,
    image: String,
    ready: Option<Ready>,
    agent: bool,
    /// Whom its connections go to through links.
    peers: Vec<ReplicaId>,
    index: u8,
}

/// Every replica, in the order of services and numbers, so that addresses are the same in every run of a plan.
fn members(prepared: &Prepared, request: &SystemRequest) -> Result<Vec<Member>, EngineError> {
    let services = &prepared.compose.services;
    for service in request.environment.keys() {
        if !services.contains_key(service) {
            return Err(EngineError::Compose(format!(
                "{}: there is no service `{service}` to set environment on",
                prepared.compose.path.display()
            )));
        }
    }
    let mut members = Vec::new();
    for (name, service) in services {
        let mut environment = service.environment.clone();
        environment.extend(request.environment.get(name).cloned().unwrap_or_default());
        let (environment, service) = (Arc::new(environment), Arc::new(service.clone()));
        for index in 1..=service.replicas {
            let id = ReplicaId {
                service: name.clone(),
                index,
            };
            members.push(Member {
                agent: request.agents.contains(&id),
                peers: request.links.get(&id).cloned().unwrap_or_default(),
                image: prepared.images[name].clone(),
                ready: request
                    .definition
                    .services
                    .get(name)
                    .and_then(|hints| hints.ready.clone()),
                environment: environment.clone(),
                service: service.clone(),
                // The Compose reader admits no more than fit.
                index: members.len() as u8,
                id,
            });
        }
    }
    let known = |id: &ReplicaId| members.iter().any(|member| member.id == *id);
    let linked = request.links.iter().flat_map(|(id, peers)| peers.iter().chain([id]));
    match request.agents.iter().chain(linked).find(|id| !known(id)) {
        Some(id) => Err(EngineError::NoReplica(id.to_string())),
        None => Ok(members),
    }
}

/// How far each service is: replicas that have started, and that are ready (or, for a job, have ended well).
pub(super) struct Progress {
    pub(super) replicas: u32,
    pub(super) started: watch::Sender<u32>,
    pub(super) ready: watch::Sender<u32>,
}

/// What all replicas share while they are brought up.
pub(super) struct Shared {
    pub(super) client: Client,
    run_id: String,
    owner: String,
    network: Network,
    agent_image: String,
    logs_dir: PathBuf,
    redactor: Redactor,
    events: Events,
    listeners: broadcast::Sender<LogLine>,
    seed: u64,
    addresses: BTreeMap<ReplicaId, Ipv4Addr>,
    pub(super) progress: BTreeMap<String, Progress>,
    /// Services that end by themselves, since others wait for that.
    pub(super) jobs: BTreeSet<String>,
    /// Set when one has failed: the others give up.
    pub(super) failed: watch::Sender<bool>,
}

impl Shared {
    fn new(client: &Client, prepared: &Prepared, request: &SystemRequest, events: &Events, ground: &Ground) -> Self {
        let services = &prepared.compose.services;
        let progress = services.iter().map(|(name, service)| {
            let progress = Progress {
                replicas: service.replicas,
                started: watch::Sender::new(0),
                ready: watch::Sender::new(0),
            };
            (name.clone(), progress)
        });
        let dependencies = services.values().flat_map(|service| &service.depends_on);
        let jobs = dependencies
            .filter(|(_, condition)| **condition == Condition::Completed)
            .map(|(name, _)| name.clone());
        Self {
            client: client.clone(),
            run_id: request.run_id.clone(),
            owner: ground.owner.clone(),
            network: ground.network.clone(),
            agent_image: prepared.agent.clone(),
            logs_dir: request.logs_dir.clone(),
            redactor: request.redactor.clone(),
            events: events.clone(),
            listeners: broadcast::Sender::new(LOG_LINES_BUFFERED),
            seed: request.seed,
            addresses: BTreeMap::new(),
            progress: progress.collect(),
            jobs: jobs.collect(),
            failed: watch::Sender::new(false),
        }
    }
}

type Brought = (Vec<Pod>, Vec<tokio::task::JoinHandle<()>>, broadcast::Sender<LogLine>);

/// Starts every member. On an error the others are not dropped in the middle of a request, whose container would appear
/// behind our back: they are told, and come to their end.
async fn start_all(shared: Arc<Shared>, members: Vec<Member>) -> Result<Brought, EngineError> {
    let mut tasks = JoinSet::new();
    for member in members {
        let shared = shared.clone();
        tasks.spawn(async move { (member.index, shared.member(&member).await) });
    }
    let mut pods = BTreeMap::new();
    let mut followers = Vec::new();
    let mut first_error = None;
    while let Some(ended) = tasks.join_next().await {
        let error = match ended {
            Ok((index, Ok((pod, follower)))) => {
                pods.insert(index, pod);
                followers.push(follower);
                continue;
            }
            Ok((_, Err(error))) => error,
            Err(error) => Some(EngineError::Refused {
                action: "bringing the system up".to_owned(),
                reason: error.to_string(),
            }),
        };
        shared.failed.send_replace(true);
        first_error = first_error.or(error);
    }
    if first_error.is_none() {
        first_error = shared.check_still_running(&pods).await.err();
    }
    match first_error {
        None => Ok((pods.into_values().collect(), followers, shared.listeners.clone())),
        Some(error) => {
            followers.iter().for_each(tokio::task::JoinHandle::abort);
            Err(error)
        }
    }
}

impl Shared {
    /// Brings up one replica. `Err(None)` if it gave up because another failed.
    async fn member(&self, member: &Member) -> Result<(Pod, tokio::task::JoinHandle<()>), Option<EngineError>> {
        let address = self.network.address(member.index);
        let links = self.links(member);
        let holder = Holder {
            run_id: &self.run_id,
            owner: &self.owner,
            image: &self.agent_image,
            network: &self.network,
            address,
            id: &member.id,
            service: &member.service,
            agent: member.agent,
            links: &links,
        };
        self.wait_for_turn(&member.service).await?;
        let holder = holder.start(&self.client).await?;
        self.wait_for_dependencies(&member.service).await?;
        if !member.peers.is_empty() {
            self.wait_for_links(&member.id, &holder, agent_address(address)).await?;
        }
        let began = Instant::now();
        let healthcheck = member.ready.is_none() && member.service.healthcheck.is_some();
        let container = ReplicaContainer {
            run_id: &self.run_id,
            owner: &self.owner,
            image: &member.image,
            holder_id: &holder,
            id: &member.id,
            service: &member.service,
            environment: &member.environment,
            healthcheck,
        };
        let container = container.start().await?;
        let progress = &self.progress[&member.id.service];
        progress.started.send_modify(|started| *started += 1);
        let redactor = Arc::new(self.redactor.with_environment(&member.environment));
        let log = Arc::new(logs::Shared::default());
        let pod = Pod {
            replica: Replica {
                id: member.id.clone(),
                address,
                agent: member.agent.then(|| agent_address(address)),
            },
            holder,
            container,
            policy: Policy::from(member.service.restart),
            stop_signal: member.service.stop_signal.clone(),
            stop_grace: member.service.stop_grace,
            ready: member.ready.clone(),
            healthcheck,
            log: log.clone(),
            redactor,
            process: Mutex::default(),
        };
        let follower = tokio::spawn(self.follower(member, &pod, log)?.follow());
        let waited = self.wait_until_ready(&pod).await;
        if waited.is_err() {
            follower.abort();
        }
        waited?;
        progress.ready.send_modify(|ready| *ready += 1);
        // An events file that cannot be written is found out by whoever owns it.
        let _ = self.events.emit(Event::ReplicaReady {
            replica: member.id.to_string(),
            took_ms: began.elapsed().as_millis() as u64,
        });
        Ok((pod, follower))
    }

    fn links(&self, member: &Member) -> Links {
        let peers = member.peers.iter().filter_map(|id| {
            let address = self.addresses.get(id)?;
            Some((id.to_string(), *address))
        });
        Links {
            peers: peers.collect(),
            // Two replicas' links to the same peer draw apart.
            seed: self.seed.wrapping_add(u64::from(member.index) << 32),
        }
    }

    fn follower(&self, member: &Member, pod: &Pod, log: Arc<logs::Shared>) -> Result<logs::Follower, EngineError> {
        let ready = match &member.ready {
            Some(Ready::Log { matches }) => {
                Some(regex::Regex::new(matches).map_err(|error| EngineError::NotReady {
                    replica: member.id.to_string(),
                    reason: format!("cannot be seen to be ready: `{matches}` is not a regular expression: {error}"),
                    log: Vec::new(),
                })?)
            }
            _ => None,
        };
        Ok(logs::Follower {
            client: self.client.clone(),
            container: pod.container.clone(),
            replica: member.id.clone(),
            path: self.logs_dir.join(format!("{}.log", member.id)),
            redactor: pod.redactor.clone(),
            listeners: self.listeners.clone(),
            ready,
            shared: log,
        })
    }
}

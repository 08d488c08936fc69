//! Who is to be started.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::plan::ReplicaId;
use crate::system::compose::{ComposeFile, Service};
use crate::system::definition::Ready;
use crate::system::engine::{Disk, EngineError, Release, Replica, SystemRequest};

/// A replica that is to be.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its id.
    pub id: ReplicaId,
    /// Its service.
    pub service: Arc<Service>,
    /// The service's environment with what the run sets over it.
    pub environment: Arc<BTreeMap<String, String>>,
    /// What the definition says of its readiness.
    pub ready: Option<Ready>,
    /// Whether an agent with the right to filter packets stands beside it.
    pub agent: bool,
    /// File systems of its own, which an agent has, too.
    pub disks: Vec<Disk>,
    /// Whom its connections go to through links.
    pub peers: Vec<ReplicaId>,
    /// The release that it runs.
    pub release: Release,
    /// Counts its releases, from 0: each begins with its image's own files.
    pub deployment: u32,
    /// Counts all replicas, from 0.
    pub index: u16,
    /// Its fixed address.
    pub address: Ipv4Addr,
}

impl Member {
    /// The same with a release in place of the one that the Compose file says, so many after the first.
    pub fn with_release(&self, release: &Release, deployment: u32) -> Self {
        let mut service = Service::clone(&self.service);
        service.command = release.command.clone().or(service.command);
        let mut environment = BTreeMap::clone(&self.environment);
        environment.extend(release.environment.clone());
        Self {
            service: Arc::new(service),
            environment: Arc::new(environment),
            release: release.clone(),
            deployment,
            ..self.clone()
        }
    }

    /// The same, as the rest of a run knows it.
    pub fn replica(&self) -> Replica {
        Replica {
            id: self.id.clone(),
            address: self.address,
            agent: self.has_agent().then(|| agent_address(self.address)),
        }
    }

    /// Whether an agent stands beside it, with the right to filter packets or without.
    pub fn has_agent(&self) -> bool {
        self.agent || !self.disks.is_empty()
    }

    /// The names by which others find it: its service's, its own, and aliases.
    pub fn names(&self) -> Vec<String> {
        let mut names = vec![self.service.name.clone(), self.id.to_string()];
        names.extend(self.service.aliases.iter().cloned());
        names
    }

    /// The name that its own host has.
    pub fn hostname(&self) -> String {
        let given = self.service.hostname.clone();
        given.unwrap_or_else(|| self.id.to_string())
    }

    /// Whether the engine runs the Compose file's health check: only where the definition does not say when it is ready.
    pub fn has_healthcheck(&self) -> bool {
        self.ready.is_none() && self.service.healthcheck.is_some()
    }

    /// Whether there is nothing to wait for but its running.
    pub fn is_unconditional(&self) -> bool {
        self.ready.is_none() && self.service.healthcheck.is_none()
    }
}

/// The control interface of the agent beside the replica at that address.
pub fn agent_address(address: Ipv4Addr) -> SocketAddr {
    SocketAddr::from((address, crate::agent::CONTROL_PORT))
}

/// Every replica, in the order of services and numbers, so that addresses are the same in every run of a plan. `address`
/// gives that of the n-th, from 0.
pub fn members(
    compose: &ComposeFile,
    request: &SystemRequest,
    address: impl Fn(u16) -> Ipv4Addr,
) -> Result<Vec<Member>, EngineError> {
    let services = &compose.services;
    for service in request.environment.keys() {
        if !services.contains_key(service) {
            return Err(EngineError::Compose(format!(
                "{}: there is no service `{service}` to set environment on",
                compose.path.display()
            )));
        }
    }
    let mut members = Vec::new();
    for (name, service) in services {
        let mut environment = service.environment.clone();
        environment.extend(request.environment.get(name).cloned().unwrap_or_default());
        let (environment, service) = (Arc::new(environment), Arc::new(service.clone()));
        for number in 1..=service.replicas {
            let id = ReplicaId {
                service: name.clone(),
                index: number,
            };
            // The Compose reader admits no more than fit.
            let index = members.len() as u16;
            members.push(Member {
                agent: request.agents.contains(&id),
                disks: request.disks.get(&id).cloned().unwrap_or_default(),
                peers: request.links.get(&id).cloned().unwrap_or_default(),
                ready: request
                    .definition
                    .services
                    .get(name)
                    .and_then(|hints| hints.ready.clone()),
                environment: environment.clone(),
                service: service.clone(),
                release: Release::default(),
                deployment: 0,
                index,
                address: address(index),
                id,
            });
        }
    }
    check_known(&members, request)?;
    Ok(members)
}

/// Whoever has an agent, a link or a disk must be a replica.
fn check_known(members: &[Member], request: &SystemRequest) -> Result<(), EngineError> {
    let known = |id: &ReplicaId| members.iter().any(|member| member.id == *id);
    let linked = request.links.iter().flat_map(|(id, peers)| peers.iter().chain([id]));
    match request
        .agents
        .iter()
        .chain(linked)
        .chain(request.disks.keys())
        .find(|id| !known(id))
    {
        Some(id) => Err(EngineError::NoReplica(id.to_string())),
        None => Ok(()),
    }
}

//! Systems that stay up on Docker when their runs are over: containers that run, of a run whose process is gone.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use testcontainers::bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use testcontainers::bollard::query_parameters::InspectContainerOptions;

use super::gc::life;
use super::{connect_client, labels, sweep};
use crate::plan::ReplicaId;
use crate::system::engine::EngineError;
use crate::system::local;
use crate::system::owner::Life;

/// A kept run.
#[derive(Debug, Default)]
pub struct KeptRun {
    run_id: String,
    replicas: BTreeMap<ReplicaId, KeptReplica>,
}

#[derive(Debug, Default)]
struct KeptReplica {
    address: Option<Ipv4Addr>,
    /// Of the replica itself, if it runs.
    container: Option<String>,
}

/// How a replica is entered.
#[derive(Debug)]
pub enum Way {
    /// By this command, which has the terminal.
    Exec(Command),
    /// By a program of the host.
    Hosts(local::Entry),
}

impl KeptRun {
    /// All there are.
    pub async fn all() -> Result<Vec<Self>, EngineError> {
        let client = connect_client().await?;
        let (containers, ..) = sweep::list(&client, labels::RUN)
            .await
            .map_err(labels::refused("looking for kept runs"))?;
        let mut runs: BTreeMap<String, Self> = BTreeMap::new();
        for container in &containers {
            let label = |name: &str| container.labels.as_ref()?.get(name).map(String::as_str);
            let Some(run_id) = label(labels::RUN) else { continue };
            if life(run_id, label(labels::OWNER)) == Life::Dead {
                let run = runs.entry(run_id.to_owned()).or_default();
                run.run_id = run_id.to_owned();
                run.add(container);
            }
        }
        let runs = runs.into_values();
        Ok(runs.filter(Self::is_up).collect())
    }

    fn add(&mut self, container: &ContainerSummary) {
        let label = |name: &str| container.labels.as_ref()?.get(name).map(String::as_str);
        let id = label(labels::REPLICA).and_then(|text| {
            let (service, index) = text.rsplit_once('-')?;
            let (service, index) = (service.to_owned(), index.parse().ok()?);
            Some(ReplicaId { service, index })
        });
        let Some(id) = id else { return };
        let replica = self.replicas.entry(id).or_default();
        replica.address = replica.address.or_else(|| address(container));
        if label(labels::PART) == Some("replica") && container.state == Some(ContainerSummaryStateEnum::RUNNING) {
            replica.container.clone_from(&container.id);
        }
    }

    fn is_up(&self) -> bool {
        self.replicas.values().any(|replica| replica.container.is_some())
    }

    /// Its id.
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// Its replicas, and their addresses.
    pub fn replicas(&self) -> Vec<(ReplicaId, Ipv4Addr)> {
        let replicas = self.replicas.iter();
        replicas
            .filter_map(|(id, replica)| Some((id.clone(), replica.address?)))
            .collect()
    }

    /// A way into a replica for a command, or for a shell if it is empty; with a terminal if there is one.
    pub async fn way(&self, id: &ReplicaId, command: &[OsString], terminal: bool) -> Result<Way, EngineError> {
        let refused = |reason: &str| EngineError::Refused {
            action: format!("entering {id}"),
            reason: reason.to_owned(),
        };
        let container = self.replicas.get(id).and_then(|replica| replica.container.as_deref());
        let container = container.ok_or_else(|| refused("it does not run at the moment"))?;
        let is_root = nix::unistd::geteuid().is_root();
        let pid = pid(id, container).await?;
        let in_image = match is_root {
            true => local::image_has(&id.to_string(), pid, command)?,
            false => !command.is_empty() || has_shell(container),
        };
        match (in_image, has_docker()) {
            (true, true) => Ok(Way::Exec(exec(container, command, terminal))),
            _ if is_root => local::hosts_entry(&id.to_string(), pid, command).map(Way::Hosts),
            (true, false) => Err(refused(
                "this takes Docker's command line, and there is no `docker` here\n  hint: install it, or do this as root",
            )),
            (false, _) => Err(refused(
                "its image has no shell, and entering its network with one of the host's takes root\n  hint: do this as \
                 root, or reach its ports by `nightmail forward`",
            )),
        }
    }
}

fn address(container: &ContainerSummary) -> Option<Ipv4Addr> {
    let networks = container.network_settings.as_ref()?.networks.as_ref()?;
    networks
        .values()
        .find_map(|endpoint| endpoint.ip_address.as_ref()?.parse().ok())
}

/// The first process of a container.
async fn pid(id: &ReplicaId, container: &str) -> Result<i32, EngineError> {
    let client = connect_client().await?;
    let inspected = client
        .inspect_container(container, None::<InspectContainerOptions>)
        .await
        .map_err(labels::refused(format!("looking at {id}")))?;
    let pid = inspected.state.and_then(|state| state.pid).unwrap_or_default();
    Ok(i32::try_from(pid).unwrap_or_default())
}

fn has_docker() -> bool {
    succeeds(Command::new("docker").arg("--version"))
}

fn has_shell(container: &str) -> bool {
    succeeds(Command::new("docker").args(["exec", container, "/bin/sh", "-c", ":"]))
}

fn succeeds(command: &mut Command) -> bool {
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

fn exec(container: &str, command: &[OsString], terminal: bool) -> Command {
    let mut exec = Command::new("docker");
    exec.args(["exec", if terminal { "-it" } else { "-i" }, container]);
    match command {
        [] => exec.arg("/bin/sh"),
        words => exec.args(words),
    };
    exec
}

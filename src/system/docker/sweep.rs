//! Removing what belongs to a run: by its label, and nothing else.

use std::time::Duration;

use futures_util::future::join_all;
use testcontainers::bollard::errors::Error;
use testcontainers::bollard::models::{ContainerSummary, Network, Volume};
use testcontainers::bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder,
    RemoveVolumeOptionsBuilder,
};

use super::{Client, labels};

/// What there is of a run, or of all.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Ids of containers.
    pub(super) containers: Vec<String>,
    /// Names of networks.
    pub(super) networks: Vec<String>,
    /// Names of volumes.
    pub(super) volumes: Vec<String>,
}

impl Found {
    pub(super) fn is_empty(&self) -> bool {
        self.containers.is_empty() && self.networks.is_empty() && self.volumes.is_empty()
    }

    fn describe(&self) -> Vec<String> {
        let each = |kind: &'static str, names: &[String]| -> Vec<String> {
            names.iter().map(|name| format!("{kind} {name}")).collect()
        };
        [
            each("container", &self.containers),
            each("network", &self.networks),
            each("volume", &self.volumes),
        ]
        .concat()
    }
}

/// Removes everything of a run, at once and with force. Returns what could not be removed, in words.
pub(crate) async fn run(client: &Client, run_id: &str) -> Vec<String> {
    const ROUNDS: u32 = 4;
    const PAUSE: Duration = Duration::from_millis(200);
    let label = format!("{}={run_id}", labels::RUN);
    let mut problems = Vec::new();
    for round in 0..ROUNDS {
        if round > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let found = match find(client, &label).await {
            Ok(found) => found,
            Err(error) => {
                problems = vec![format!("docker does not say what is left: {}", labels::words(&error))];
                continue;
            }
        };
        if found.is_empty() {
            return Vec::new();
        }
        problems = remove(client, &found).await;
        if problems.is_empty() {
            return Vec::new();
        }
    }
    match find(client, &label).await {
        Ok(found) if found.is_empty() => Vec::new(),
        Ok(found) => found.describe().into_iter().chain(problems).collect(),
        Err(_) => problems,
    }
}

/// Removes everything of a run whose maker died in the middle: what was being made at that moment appears late, so this
/// ends only when nothing was found twice.
pub(crate) async fn after_death(client: &Client, run_id: &str) {
    const DEADLINE: Duration = Duration::from_secs(120);
    const PAUSE: Duration = Duration::from_millis(750);
    let label = format!("{}={run_id}", labels::RUN);
    let began = tokio::time::Instant::now();
    let mut empty_in_a_row = 0;
    while empty_in_a_row < 2 && began.elapsed() < DEADLINE {
        match find(client, &label).await {
            Ok(found) if found.is_empty() => empty_in_a_row += 1,
            Ok(found) => {
                empty_in_a_row = 0;
                remove(client, &found).await;
                continue;
            }
            Err(_) => empty_in_a_row = 0,
        }
        if empty_in_a_row < 2 {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Everything that carries a label.
pub(super) async fn find(client: &Client, label: &str) -> Result<Found, Error> {
    let (containers, networks, volumes) = list(client, label).await?;
    Ok(Found {
        containers: containers.into_iter().filter_map(|container| container.id).collect(),
        networks: networks.into_iter().filter_map(|network| network.name).collect(),
        volumes: volumes.into_iter().map(|volume| volume.name).collect(),
    })
}

/// The same as Docker describes it.
pub(super) async fn list(
    client: &Client,
    label: &str,
) -> Result<(Vec<ContainerSummary>, Vec<Network>, Vec<Volume>), Error> {
    let filters = labels::filter(label);
    let containers = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let networks = ListNetworksOptionsBuilder::new().filters(&filters).build();
    let volumes = ListVolumesOptionsBuilder::new().filters(&filters).build();
    let (containers, networks, volumes) = tokio::try_join!(
        client.list_containers(Some(containers)),
        client.list_networks(Some(networks)),
        client.list_volumes(Some(volumes)),
    )?;
    Ok((containers, networks, volumes.volumes.unwrap_or_default()))
}

/// Removes all containers at once, then networks and volumes. Returns what was refused, in words.
pub(super) async fn remove(client: &Client, found: &Found) -> Vec<String> {
    let mut problems = Vec::new();
    let removed = join_all(found.containers.iter().map(|id| remove_container(client, id))).await;
    note(&mut problems, "container", &found.containers, removed);
    let removed = join_all(found.networks.iter().map(|name| client.remove_network(name))).await;
    note(&mut problems, "network", &found.networks, removed);
    let force = RemoveVolumeOptionsBuilder::new().force(true).build();
    let removed = join_all(
        found
            .volumes
            .iter()
            .map(|name| client.remove_volume(name, Some(force.clone()))),
    )
    .await;
    note(&mut problems, "volume", &found.volumes, removed);
    problems
}

async fn remove_container(client: &Client, id: &str) -> Result<(), Error> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    client.remove_container(id, Some(options)).await
}

fn note(problems: &mut Vec<String>, kind: &str, names: &[String], results: Vec<Result<(), Error>>) {
    for (name, result) in names.iter().zip(results) {
        match result {
            Ok(()) => {}
            // Gone already, or going: somebody else removes it at this moment.
            Err(error) if labels::status(&error) == Some(404) => {}
            Err(error) => problems.push(format!("{kind} {name}: {}", labels::words(&error))),
        }
    }
}

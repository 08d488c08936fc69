//! Removing what dead runs have left, and images that nothing uses any more. Runs that are alive are spared.

use std::collections::{BTreeMap, HashMap};

use testcontainers::bollard::errors::Error;
use testcontainers::bollard::query_parameters::{ListImagesOptionsBuilder, RemoveImageOptions};

use super::{Client, connect_client, ground, labels, sweep};
use crate::system::cache;
use crate::system::engine::EngineError;
use crate::system::image::identity;
use crate::system::owner::{Life, Owner};

/// Shared by every engine that may be about to use an image.
pub(super) const IMAGES_LOCK: &str = "images";

/// What `gc` did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Ids of dead runs of which something was removed.
    pub removed_runs: Vec<String>,
    /// Ids of runs that are alive.
    pub spared_runs: Vec<String>,
    /// Ids of runs of which it cannot be told from here whether they are alive, such as another machine's; spared.
    pub unknown_runs: Vec<String>,
    /// References of images removed.
    pub removed_images: Vec<String>,
    /// Why images were not looked at, if they were to be.
    pub images_spared: Option<String>,
    /// What could not be removed, in words.
    pub leftovers: Vec<String>,
}

/// Removes what dead runs have left; with `images`, also images that a newer one of the same name has replaced.
pub async fn gc(images: bool) -> Result<GcReport, EngineError> {
    let client = connect_client().await?;
    let mut report = GcReport::default();
    let runs = runs(&client)
        .await
        .map_err(labels::refused("looking for what runs have left"))?;
    for (run_id, owner) in runs {
        match life(&run_id, owner.as_deref()) {
            Life::Alive => report.spared_runs.push(run_id),
            Life::Unknown => report.unknown_runs.push(run_id),
            Life::Dead => {
                report.leftovers.extend(sweep::run(&client, &run_id).await);
                cache::forget_lock(&ground::alive_lock(&run_id));
                report.removed_runs.push(run_id);
            }
        }
    }
    if images {
        prune(&client, &mut report).await?;
    }
    Ok(report)
}

/// Every run that has left a trace, with its owner.
async fn runs(client: &Client) -> Result<BTreeMap<String, Option<String>>, Error> {
    let (containers, networks, volumes) = sweep::list(client, labels::RUN).await?;
    let labels = containers.into_iter().filter_map(|container| container.labels);
    let labels = labels.chain(networks.into_iter().filter_map(|network| network.labels));
    let labels = labels.chain(volumes.into_iter().map(|volume| volume.labels));
    Ok(labels.filter_map(|labels| run_and_owner(&labels)).collect())
}

/// How many runs are alive (or cannot be judged), and how many are dead and have left something.
pub(super) async fn count(client: &Client) -> Result<(usize, usize), Error> {
    let runs = runs(client).await?;
    let dead = runs
        .iter()
        .filter(|(run_id, owner)| life(run_id, owner.as_deref()) == Life::Dead)
        .count();
    Ok((runs.len() - dead, dead))
}

fn run_and_owner(labels: &HashMap<String, String>) -> Option<(String, Option<String>)> {
    Some((labels.get(labels::RUN)?.clone(), labels.get(labels::OWNER).cloned()))
}

/// A run is alive if its process lives, or if somebody holds its lock: the one is seen within a process namespace, the
/// other wherever the cache is shared.
pub(super) fn life(run_id: &str, owner: Option<&str>) -> Life {
    match cache::try_lock(&ground::alive_lock(run_id)) {
        Ok(Some(_)) => owner.and_then(Owner::parse).map_or(Life::Dead, |owner| owner.life()),
        Ok(None) => Life::Alive,
        Err(_) => Life::Unknown,
    }
}

async fn prune(client: &Client, report: &mut GcReport) -> Result<(), EngineError> {
    let refused = |error: std::io::Error| EngineError::Refused {
        action: "looking whether images are in use".to_owned(),
        reason: error.to_string(),
    };
    let Some(_lock) = cache::try_lock(IMAGES_LOCK).map_err(refused)? else {
        report.images_spared = Some("a run is under way that may need them".to_owned());
        return Ok(());
    };
    let options = ListImagesOptionsBuilder::new()
        .filters(&labels::filter(labels::IMAGE))
        .build();
    let listed = client
        .list_images(Some(options))
        .await
        .map_err(labels::refused("listing images"))?;
    let tagged = listed.into_iter().flat_map(|image| {
        let created = image.created;
        image.repo_tags.into_iter().map(move |reference| (created, reference))
    });
    for reference in identity::replaced(tagged) {
        match client.remove_image(&reference, None::<RemoveImageOptions>, None).await {
            Ok(_) => report.removed_images.push(reference),
            Err(error) => report
                .leftovers
                .push(format!("image {reference}: {}", labels::words(&error))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_an_owner_or_a_lock_is_dead_and_one_that_is_locked_is_alive() {
        let run_id = format!("gc-test-{}", std::process::id());
        assert_eq!(life(&run_id, None), Life::Dead);
        assert_eq!(life(&run_id, Some(&Owner::me().to_string())), Life::Alive);
        let _lock = cache::lock(&ground::alive_lock(&run_id)).unwrap();
        assert_eq!(life(&run_id, None), Life::Alive);
    }
}

//! Removing what dead runs have left, and images that nothing uses any more. Runs that are alive are spared.

use std::collections::{BTreeMap, HashMap};

use testcontainers::bollard::errors::Error;
use testcontainers::bollard::models::ImageSummary;
use testcontainers::bollard::query_parameters::{ListImagesOptionsBuilder, RemoveImageOptions};

use super::{Client, connect_client, ground, labels, sweep};
use crate::system::cache;
use crate::system::engine::EngineError;
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
fn life(run_id: &str, owner: Option<&str>) -> Life {
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
    for reference in replaced(listed) {
        match client.remove_image(&reference, None::<RemoveImageOptions>, None).await {
            Ok(_) => report.removed_images.push(reference),
            Err(error) => report
                .leftovers
                .push(format!("image {reference}: {}", labels::words(&error))),
        }
    }
    Ok(())
}

/// Every image but the newest of its name.
fn replaced(images: Vec<ImageSummary>) -> Vec<String> {
    let mut by_name: BTreeMap<String, Vec<(i64, String)>> = BTreeMap::new();
    for image in images {
        for reference in image.repo_tags {
            if let Some(name) = name_without_hash(&reference) {
                by_name
                    .entry(name.to_owned())
                    .or_default()
                    .push((image.created, reference));
            }
        }
    }
    let mut replaced = Vec::new();
    for mut same in by_name.into_values() {
        same.sort();
        same.pop();
        replaced.extend(same.into_iter().map(|(_, reference)| reference));
    }
    replaced
}

/// `name` of `name:hash`, `name:tag` of `name:tag-hash`; none of anything else, such as an image without a name.
fn name_without_hash(reference: &str) -> Option<&str> {
    let at = reference.rfind([':', '-'])?;
    let hash = &reference[at + 1..];
    let is_hash = hash.len() == 12 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| &reference[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(created: i64, reference: &str) -> ImageSummary {
        ImageSummary {
            created,
            repo_tags: vec![reference.to_owned()],
            ..ImageSummary::default()
        }
    }

    #[test]
    fn only_what_was_replaced_goes() {
        let images = vec![
            image(1, "nightmail/replicas:aaaaaaaaaaaa"),
            image(3, "nightmail/replicas:bbbbbbbbbbbb"),
            image(2, "nightmail/replicas:cccccccccccc"),
            image(1, "nightmail/postgres:15-dddddddddddd"),
            image(2, "nightmail/postgres:16-eeeeeeeeeeee"),
            image(9, "<none>:<none>"),
        ];
        assert_eq!(
            replaced(images),
            ["nightmail/replicas:aaaaaaaaaaaa", "nightmail/replicas:cccccccccccc"]
        );
    }

    #[test]
    fn a_run_without_an_owner_or_a_lock_is_dead_and_one_that_is_locked_is_alive() {
        let run_id = format!("gc-test-{}", std::process::id());
        assert_eq!(life(&run_id, None), Life::Dead);
        assert_eq!(life(&run_id, Some(&Owner::me().to_string())), Life::Alive);
        let _lock = cache::lock(&ground::alive_lock(&run_id)).unwrap();
        assert_eq!(life(&run_id, None), Life::Alive);
    }
}

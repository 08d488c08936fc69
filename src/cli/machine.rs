//! Commands about this machine: `gc` and `doctor`.

use std::collections::BTreeSet;

use super::exit;
use super::kept::{not_looked_at_docker, with_docker};
use super::runner::block_on;
use crate::system::docker::{self, GcReport};
use crate::system::doctor::{Check, of_this_machine};
use crate::system::engine::EngineError;
use crate::system::image::Store;
use crate::system::local;

/// Takes down kept systems and removes what dead runs left. Where there is no Docker there is nothing of Docker's.
pub fn gc(images: bool) -> u8 {
    // Waits for others, and so comes before the runtime, which must not.
    let collected = local::end_all().and_then(|ended| Ok((ended, with_docker(swept(images))?)));
    match collected {
        Ok((ended, (mut report, note))) => {
            let (kept, leftovers): (Vec<_>, Vec<_>) = ended.into_iter().unzip();
            report.leftovers.extend(leftovers.into_iter().flatten());
            if images {
                prune(&mut report);
            }
            print!("{}", told(&report, &kept));
            if let Some(note) = note {
                println!("{note}");
            }
            if report.leftovers.is_empty() {
                exit::PASSED
            } else {
                exit::LEFTOVERS
            }
        }
        Err(error) => {
            eprintln!("error: {error}");
            exit::BROKEN
        }
    }
}

/// Removes what newer images of the cache have replaced.
fn prune(report: &mut GcReport) {
    let pruned = Store::open().and_then(|store| store.prune(&BTreeSet::new()));
    match pruned {
        Ok(pruned) => {
            let of_the_cache = pruned
                .removed
                .into_iter()
                .map(|reference| format!("{reference} (cache)"));
            report.removed_images.extend(of_the_cache);
            report.leftovers.extend(pruned.leftovers);
            report.images_spared = report.images_spared.take().or(pruned.spared);
        }
        Err(error) => report.leftovers.push(format!("images of the cache: {error}")),
    }
}

/// What was done on Docker, or why nothing was.
async fn swept(images: bool) -> Result<(GcReport, Option<String>), EngineError> {
    match docker::gc(images).await {
        Ok(report) => Ok((report, None)),
        Err(error @ EngineError::Unreachable { .. }) => Ok((GcReport::default(), Some(not_looked_at_docker(&error)))),
        Err(error) => Err(error),
    }
}

fn told(report: &GcReport, kept: &[String]) -> String {
    let mut lines = String::new();
    let mut list = |what: &str, names: &[String]| {
        if !names.is_empty() {
            lines.push_str(&format!("{what}: {}\n", names.join(", ")));
        }
    };
    list("took down, kept until now", kept);
    list("removed what kept and dead runs left on Docker", &report.removed_runs);
    list("spared, alive", &report.spared_runs);
    list("spared, of unknown state", &report.unknown_runs);
    list("removed images", &report.removed_images);
    list("images were not looked at", report.images_spared.as_slice());
    list("could not be removed", &report.leftovers);
    if lines.is_empty() {
        "nothing to remove\n".to_owned()
    } else {
        lines
    }
}

/// What was found of the engines, of which one is enough.
fn engines(docker: Vec<Check>, local: Vec<Check>) -> Vec<Check> {
    let can_run = |checks: &[Check]| checks.iter().all(|check| check.ok || !check.required);
    let is_enough = can_run(&docker) || can_run(&local);
    let one_of = |mut check: Check| {
        check.required &= !is_enough;
        check
    };
    docker.into_iter().chain(local).map(one_of).collect()
}

/// Says what this machine can do.
pub fn doctor() -> u8 {
    block_on(async {
        let mut checks = engines(docker::doctor().await, local::doctor().await);
        checks.extend(of_this_machine());
        for check in &checks {
            println!(
                "{} {}: {}",
                if check.ok { "ok     " } else { "missing" },
                check.name,
                check.detail
            );
            if let (false, Some(hint)) = (check.ok, &check.hint) {
                println!("          hint: {hint}");
            }
        }
        if checks.iter().all(|check| check.ok || !check.required) {
            exit::PASSED
        } else {
            exit::BROKEN
        }
    })
}

//! What whoever signs should know though it decides nothing: what a pass is worth less for.

use std::collections::BTreeMap;

use super::coverage::Freshness;
use super::decision::Counted;
use crate::report::text::{count, few, plural};
use crate::verdict::{Judgement, Status};

/// Everything that is open, a sentence each.
pub(super) fn open(runs: &[Counted<'_>], freshness: &Freshness<'_>) -> Vec<String> {
    let sentences = [unproven(runs, freshness), old(runs, freshness), without_evidence(runs)];
    let mut open = of_different_things(runs);
    open.extend(sentences.into_iter().flatten());
    open
}

/// Runs of one system that were not of the same thing: of different releases, or of different builds of one image.
fn of_different_things(runs: &[Counted<'_>]) -> Vec<String> {
    let mut systems: BTreeMap<&str, Vec<&Counted<'_>>> = BTreeMap::new();
    for counted in runs {
        systems.entry(&counted.run.system).or_default().push(counted);
    }
    let mut told = Vec::new();
    for (system, runs) in systems {
        let mut releases: BTreeMap<&str, Vec<&Counted<'_>>> = BTreeMap::new();
        let mut images: BTreeMap<&str, BTreeMap<&str, Vec<&Counted<'_>>>> = BTreeMap::new();
        for counted in runs {
            releases.entry(&counted.run.release).or_default().push(counted);
            let own = counted.run.images.iter().filter_map(|reference| build(reference));
            for (name, build) in own.filter(|(name, _)| *name != AGENT) {
                images.entry(name).or_default().entry(build).or_default().push(counted);
            }
        }
        if releases.len() > 1 {
            let of = |(release, runs): (&&str, &Vec<&Counted<'_>>)| {
                let release = if release.is_empty() { "none named" } else { release };
                format!("{release} in {}", few(&named(runs.iter().copied())))
            };
            let releases: Vec<String> = releases.iter().map(of).collect();
            told.push(format!(
                "Runs of {system} are of different releases: {}.",
                releases.join("; ")
            ));
        }
        for (image, builds) in images.iter().filter(|(_, builds)| builds.len() > 1) {
            let of = |(build, runs): (&&str, &Vec<&Counted<'_>>)| {
                format!("{build} in {}", few(&named(runs.iter().copied())))
            };
            let builds: Vec<String> = builds.iter().map(of).collect();
            told.push(format!(
                "Runs of {system} used different builds of the image {image}: {}.",
                builds.join("; ")
            ));
        }
    }
    told
}

/// The image of the harness's own agent, which is not under test.
const AGENT: &str = "nightmail/agent";

/// The name of an image and the hash of what it is made of, where its reference tells that: `name@sha256:HASH`, `name:HASH`,
/// `name:TAG-HASH`.
fn build(reference: &str) -> Option<(&str, &str)> {
    if let Some((name, digest)) = reference.split_once('@') {
        return Some((name, digest.strip_prefix("sha256:").unwrap_or(digest)));
    }
    let (name, hash) = reference.rsplit_once([':', '-'])?;
    let is_hash = hash.len() >= HASH_CHARS && hash.chars().all(|c| c.is_ascii_hexdigit());
    is_hash.then_some((name, hash))
}

/// Hexadecimal digits of a hash in a tag, at least.
const HASH_CHARS: usize = 12;

/// Experiments that nothing shows to be able to fail.
fn unproven(runs: &[Counted<'_>], freshness: &Freshness<'_>) -> Option<String> {
    let mut experiments: BTreeMap<&str, bool> = BTreeMap::new();
    for Counted { run, .. } in runs {
        let is_proven = freshness.proofs.get(run.sha256.as_str()) == Some(&true);
        *experiments.entry(&run.verdict.experiment).or_insert(true) &= is_proven;
    }
    let unproven = experiments.iter().filter(|(_, is_proven)| !**is_proven);
    let unproven: Vec<String> = unproven.map(|(name, _)| (*name).to_owned()).collect();
    let (number, total) = (unproven.len() as u64, experiments.len() as u64);
    match number {
        0 => None,
        number => Some(format!(
            "Nothing shows that {} of {} can fail: {}.",
            count(number),
            plural(total, "experiment"),
            few(&unproven)
        )),
    }
}

/// Runs that passed too long ago.
fn old(runs: &[Counted<'_>], freshness: &Freshness<'_>) -> Option<String> {
    let old = runs.iter().filter(|Counted { run, .. }| {
        run.verdict.status == Status::Completed
            && run.verdict.verdict == Judgement::Pass
            && run.started_unix_ms < freshness.stale_before_unix_ms
    });
    let old = named(old);
    match old.len() as u64 {
        0 => None,
        1 => Some(format!("1 run that passed is old: {}.", old[0])),
        number => Some(format!("{} runs that passed are old: {}.", count(number), few(&old))),
    }
}

/// Runs whose folder is not there, so that nobody can look into them.
fn without_evidence(runs: &[Counted<'_>]) -> Option<String> {
    let gone = named(runs.iter().filter(|counted| !counted.run.folder.is_dir()));
    match gone.len() as u64 {
        0 => None,
        1 => Some(format!("The evidence of 1 run is not there: {}.", gone[0])),
        number => Some(format!(
            "The evidence of {} runs is not there: {}.",
            count(number),
            few(&gone)
        )),
    }
}

fn named<'a>(runs: impl Iterator<Item = &'a Counted<'a>>) -> Vec<String> {
    runs.map(|counted| format!("{} ({})", counted.run.verdict.experiment, counted.number))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_are_told_by_the_hash_that_a_reference_ends_with() {
        assert_eq!(
            build("nightmail/replicas:9ee0b21f4023"),
            Some(("nightmail/replicas", "9ee0b21f4023"))
        );
        assert_eq!(
            build("nightmail/postgres:15-75a10e201349"),
            Some(("nightmail/postgres:15", "75a10e201349"))
        );
        assert_eq!(
            build("registry:5000/shop@sha256:ab12"),
            Some(("registry:5000/shop", "ab12"))
        );
        for untold in [
            "redis:7",
            "redis",
            "shop:2026-11-30",
            "nightmail/agent (its content not told)",
        ] {
            assert_eq!(build(untold), None, "{untold}");
        }
    }
}

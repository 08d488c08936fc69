//! What whoever signs should know though it decides nothing: what a pass is worth less for.

use std::collections::BTreeMap;

use super::coverage::Freshness;
use super::decision::{Counted, few};
use crate::report::text::{count, plural};
use crate::verdict::{Judgement, Status};

/// Everything that is open, a sentence each.
pub(super) fn open(runs: &[Counted<'_>], freshness: &Freshness<'_>) -> Vec<String> {
    let sentences = [
        unproven(runs, freshness),
        old(runs, freshness),
        without_evidence(runs),
    ];
    sentences.into_iter().flatten().collect()
}

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
        number => Some(format!("The evidence of {} runs is not there: {}.", count(number), few(&gone))),
    }
}

fn named<'a>(runs: impl Iterator<Item = &'a Counted<'a>>) -> Vec<String> {
    runs.map(|counted| format!("{} ({})", counted.run.verdict.experiment, counted.number))
        .collect()
}

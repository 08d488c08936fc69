//! Splitting the experiments of a gate among machines: the same inputs give the same split on each of them.
//!
//! The longest experiment goes first, each to the shard that has least to do so far (Graham, "Bounds on Multiprocessing
//! Timing Anomalies", 1969: the fullest shard has at most 4/3 of the least that is possible).

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Campaign;
use crate::plan::Plan;
use crate::verdict::Status;

/// What a run takes beside its load where nobody has measured it: the system's up and down, drain, final reads, judging.
const AROUND_MS: u64 = 15_000;

/// An experiment that is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its file.
    pub file: PathBuf,
    /// SHA-256 of the file's bytes, in hexadecimal.
    pub sha256: String,
    /// How long its run takes, in milliseconds.
    pub expected_ms: u64,
}

impl Wanted {
    /// What a plan asks for; its run takes as long as an earlier one did, or as its schedule says.
    pub fn of(plan: &Plan, durations: &Durations) -> Self {
        let file = plain(&plan.experiment.path);
        let planned_ms = plan.schedule.total_ms + AROUND_MS;
        Self {
            expected_ms: durations.0.get(&file).copied().unwrap_or(planned_ms),
            sha256: plan.experiment.sha256.clone(),
            file,
        }
    }
}

/// How long earlier runs took, by the experiment's file: the median of those that came to their end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Durations(BTreeMap<PathBuf, u64>);

impl Durations {
    /// Of the runs of a campaign.
    pub fn of(campaign: &Campaign) -> Self {
        let mut all: BTreeMap<PathBuf, Vec<u64>> = BTreeMap::new();
        for run in &campaign.runs {
            if run.verdict.status == Status::Completed && !run.is_twin {
                all.entry(plain(&run.file)).or_default().push(run.took_ms);
            }
        }
        let median = |mut took: Vec<u64>| {
            took.sort_unstable();
            took[took.len() / 2]
        };
        Self(all.into_iter().map(|(file, took)| (file, median(took))).collect())
    }
}

/// A path as all machines write it: without `./`.
pub fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

/// Splits: the experiments of each shard, as positions in `wanted`, in ascending order. Each position is in one shard.
pub fn split(wanted: &[Wanted], of: NonZeroU32) -> Vec<Vec<usize>> {
    let mut longest_first: Vec<usize> = (0..wanted.len()).collect();
    longest_first.sort_by(|one, other| {
        let (one, other) = (&wanted[*one], &wanted[*other]);
        other
            .expected_ms
            .cmp(&one.expected_ms)
            .then_with(|| one.file.cmp(&other.file))
    });
    let mut shards: Vec<(u64, Vec<usize>)> = vec![Default::default(); of.get() as usize];
    for position in longest_first {
        let least = shards.iter_mut().min_by_key(|(filled_ms, _)| *filled_ms);
        let (filled_ms, shard) = least.expect("there is one shard at least");
        *filled_ms += wanted[position].expected_ms;
        shard.push(position);
    }
    let sorted = |(_, mut shard): (u64, Vec<usize>)| {
        shard.sort_unstable();
        shard
    };
    shards.into_iter().map(sorted).collect()
}

/// What all shards of one whole have in common: SHA-256 over the experiments' files and their bytes, in hexadecimal.
pub fn whole(wanted: &[Wanted]) -> String {
    let mut all: Vec<(&Path, &str)> = wanted
        .iter()
        .map(|wanted| (wanted.file.as_path(), wanted.sha256.as_str()))
        .collect();
    all.sort_unstable();
    let mut hash = Sha256::new();
    for (file, sha256) in all {
        hash.update(file.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update(sha256.as_bytes());
        hash.update([b'\n']);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a run that takes so long can still be begun. Without a limit all can.
pub fn fits(elapsed_ms: u64, expected_ms: u64, limit_ms: Option<u64>) -> bool {
    limit_ms.is_none_or(|limit_ms| elapsed_ms.saturating_add(expected_ms) <= limit_ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::sample;

    fn wanted(durations_ms: &[u64]) -> Vec<Wanted> {
        let each = durations_ms.iter().enumerate();
        each.map(|(number, expected_ms)| Wanted {
            file: format!("experiments/{number}.yaml").into(),
            sha256: format!("{number:064x}"),
            expected_ms: *expected_ms,
        })
        .collect()
    }

    fn of(shards: u32) -> NonZeroU32 {
        NonZeroU32::new(shards).unwrap()
    }

    #[test]
    fn the_longest_goes_first_into_the_least_filled() {
        let all = wanted(&[10, 70, 30, 50, 20]);
        assert_eq!(split(&all, of(2)), [vec![1, 4], vec![0, 2, 3]]);
        assert_eq!(split(&all, of(1)), [vec![0, 1, 2, 3, 4]]);
        assert_eq!(split(&wanted(&[5]), of(3)), [vec![0], vec![], vec![]]);
    }

    proptest! {
        #[test]
        fn every_experiment_is_in_exactly_one_shard(
            durations in proptest::collection::vec(0..600_000_u64, 0..60),
            shards in 1..9_u32,
        ) {
            let all = wanted(&durations);
            let split = split(&all, of(shards));
            prop_assert_eq!(split.len(), shards as usize);
            let mut met: Vec<usize> = split.concat();
            met.sort_unstable();
            prop_assert_eq!(met, (0..all.len()).collect::<Vec<_>>());
        }

        #[test]
        fn the_fullest_shard_has_no_more_than_its_share_and_one_experiment(
            durations in proptest::collection::vec(1..600_000_u64, 1..60),
            shards in 1..9_u32,
        ) {
            let all = wanted(&durations);
            let filled = |shard: &Vec<usize>| shard.iter().map(|at| all[*at].expected_ms).sum::<u64>();
            let fullest = split(&all, of(shards)).iter().map(filled).max().unwrap();
            let share = durations.iter().sum::<u64>() / u64::from(shards);
            prop_assert!(fullest <= share + durations.iter().max().unwrap());
        }

        #[test]
        fn the_order_in_which_they_are_given_makes_no_difference(
            durations in proptest::collection::vec(0..10_u64, 0..40),
            shards in 1..6_u32,
            turned in any::<proptest::sample::Index>(),
        ) {
            let all = wanted(&durations);
            let mut mixed = all.clone();
            if !mixed.is_empty() {
                mixed.rotate_left(turned.index(all.len()));
                mixed.swap(0, all.len() / 2);
            }
            let files = |all: &[Wanted], split: Vec<Vec<usize>>| -> Vec<std::collections::BTreeSet<PathBuf>> {
                let names = |shard: Vec<usize>| shard.into_iter().map(|at| all[at].file.clone()).collect();
                split.into_iter().map(names).collect()
            };
            let (one, other) = (split(&all, of(shards)), split(&mixed, of(shards)));
            prop_assert_eq!(files(&all, one), files(&mixed, other));
            prop_assert_eq!(whole(&all), whole(&mixed));
        }
    }

    #[test]
    fn a_whole_is_told_by_its_files_and_by_their_bytes() {
        let all = wanted(&[1, 2]);
        let mut renamed = all.clone();
        renamed[0].file = "experiments/other.yaml".into();
        let mut changed = all.clone();
        changed[0].sha256 = "f".repeat(64);
        let mut longer = all.clone();
        longer[0].expected_ms = 9;
        assert_ne!(whole(&all), whole(&renamed));
        assert_ne!(whole(&all), whole(&changed));
        assert_ne!(whole(&all), whole(&all[..1]));
        assert_eq!(whole(&all), whole(&longer));
    }

    #[test]
    fn an_experiment_takes_as_long_as_it_did_or_as_its_schedule_says() {
        let plan = sample::plan();
        let scheduled = Wanted::of(&plan, &Durations::default());
        assert_eq!(scheduled.expected_ms, plan.schedule.total_ms + AROUND_MS);
        let runs = [40_000, 90_000, 41_000].map(|took_ms| sample::record(&sample::passed(), took_ms));
        let mut campaign = Campaign::of(runs.to_vec());
        let mut aborted = sample::record(&sample::aborted(), 1_000);
        aborted.file.clone_from(&campaign.runs[0].file);
        campaign.runs.push(aborted);
        campaign.runs[0].file = Path::new(".").join(&campaign.runs[0].file);
        let durations = Durations::of(&campaign);
        assert_eq!(
            Wanted::of(&plan, &durations).expected_ms,
            41_000,
            "the median of those that ended"
        );
    }

    #[test]
    fn what_no_longer_fits_into_the_time_is_not_begun() {
        assert!(fits(0, 60_000, Some(60_000)));
        assert!(!fits(1, 60_000, Some(60_000)));
        assert!(fits(u64::MAX, u64::MAX, None));
        assert!(!fits(u64::MAX, 1, Some(u64::MAX - 1)));
    }
}

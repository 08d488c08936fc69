//! Joining the shards of a gate into the whole that they were split from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Campaign, Shard};

/// What one shard left.
#[derive(Debug, Clone)]
pub struct Part {
    /// Where its `campaign.json` is.
    pub path: PathBuf,
    /// What is in it.
    pub campaign: Campaign,
}

/// The whole, and why it is none.
#[derive(Debug)]
pub struct Merged {
    /// All runs; planned is what was to be run in all shards together.
    pub campaign: Campaign,
    /// Empty if the shards make up their whole.
    pub problems: Vec<Problem>,
    /// Experiments of the whole that are in no shard that was given, each with why: nobody knows whether they were run.
    pub lost: BTreeMap<PathBuf, String>,
}

/// Why shards do not make up a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// There is none.
    #[error(
        "no shard was given\n  hint: give the folders of `nightmail gate --shard I/N --out FOLDER`, or their campaign.json"
    )]
    Nothing,
    /// It was no shard.
    #[error(
        "{path}: this is a whole and no shard\n  hint: a shard's campaign.json is written by `nightmail gate --shard I/N`"
    )]
    NoShard {
        /// Where.
        path: String,
    },
    /// It is part of something else.
    #[error(
        "{path}: this shard belongs to another whole than {than}: {differs}\n  hint: give all shards the same experiments, \
         from the same commit, and the same number of shards"
    )]
    OtherWhole {
        /// Where.
        path: String,
        /// The first shard that was given.
        than: String,
        /// In what.
        differs: String,
    },
    /// The same one comes again.
    #[error("{path}: shard {number} of {of} is there already, from {first}\n  hint: give each shard once")]
    Twice {
        /// Where.
        path: String,
        /// Which.
        number: u32,
        /// Of how many.
        of: u32,
        /// Where it was first.
        first: String,
    },
    /// One is not there.
    #[error(
        "of {of} shards {} missing: {}\n  hint: look whether that job ran, and whether its folder was handed on",
        if numbers.len() == 1 { "one is" } else { "some are" },
        numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    Missing {
        /// Which.
        numbers: Vec<u32>,
        /// Of how many.
        of: u32,
    },
    /// The number of shards is another than was said.
    #[error("the shards are parts of {of}, and {expected} were expected\n  hint: `--expect` is the N of `--shard I/N`")]
    Unexpected {
        /// As they say.
        of: u32,
        /// As the command line says.
        expected: u32,
    },
    /// Shards that did not split alike.
    #[error(
        "the shards were not split alike: {}\n  hint: give all of them the same `--durations`, or none",
        files.iter().map(|(file, shards)| match shards {
            0 => format!("{} is in none", file.display()),
            shards => format!("{} is in {shards}", file.display()),
        }).collect::<Vec<_>>().join(", ")
    )]
    SplitOtherwise {
        /// Experiments that are in no shard, or in several, and in how many.
        files: Vec<(PathBuf, usize)>,
    },
}

impl Problem {
    /// Whether something is missing that should be there; the others are mistakes of whoever called.
    pub fn is_a_gap(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::SplitOtherwise { .. })
    }

    /// What is wrong, without the hint.
    pub fn in_short(&self) -> String {
        self.to_string().lines().next().unwrap_or_default().to_owned()
    }
}

/// Joins. What does not belong is left out and told; the rest is joined all the same. `expected` is the number of shards, if
/// somebody knows it.
pub fn merge(parts: Vec<Part>, expected: Option<u32>) -> Merged {
    let mut problems = Vec::new();
    let (shards, whole) = admit(parts, &mut problems);
    let Some((whole, _)) = whole else {
        problems.push(Problem::Nothing);
        return Merged {
            campaign: Campaign::of(Vec::new()),
            problems,
            lost: BTreeMap::new(),
        };
    };
    if let Some(expected) = expected.filter(|expected| *expected != whole.of) {
        problems.push(Problem::Unexpected { of: whole.of, expected });
    }
    let missing: Vec<u32> = (1..=whole.of).filter(|number| !shards.contains_key(number)).collect();
    let is_whole = missing.is_empty();
    let mut why_lost = "no shard has it".to_owned();
    if !is_whole {
        let missing = Problem::Missing {
            numbers: missing,
            of: whole.of,
        };
        why_lost = missing.in_short();
        problems.push(missing);
    }
    let parts = shards.into_values();
    let (planned, runs): (Vec<_>, Vec<_>) = parts.map(|part| (part.campaign.planned, part.campaign.runs)).unzip();
    let planned = planned.concat();
    problems.extend(split_otherwise(&whole, &planned, is_whole));
    let lost = whole.all.iter().filter(|file| !planned.contains(file));
    let lost = lost.map(|file| (file.clone(), why_lost.clone())).collect();
    let mut campaign = Campaign::of(runs.concat());
    let mut met = BTreeSet::new();
    campaign.runs.retain(|run| met.insert(run.verdict.run_id.clone()));
    campaign.runs.sort_by_key(|run| run.started_unix_ms);
    campaign.planned = whole.all;
    Merged {
        campaign,
        problems,
        lost,
    }
}

/// The shards that belong together, by number, and what they are parts of, with the path that says so.
fn admit(parts: Vec<Part>, problems: &mut Vec<Problem>) -> (BTreeMap<u32, Part>, Option<(Shard, PathBuf)>) {
    let mut shards: BTreeMap<u32, Part> = BTreeMap::new();
    let mut whole: Option<(Shard, PathBuf)> = None;
    let text = |path: &Path| path.display().to_string();
    for part in parts {
        let path = text(&part.path);
        let Some(shard) = part.campaign.shard.clone() else {
            problems.push(Problem::NoShard { path });
            continue;
        };
        let (whole, first) = whole.get_or_insert_with(|| (shard.clone(), part.path.clone()));
        if let Some(differs) = differs(whole, &shard) {
            let than = text(first);
            problems.push(Problem::OtherWhole { path, than, differs });
            continue;
        }
        let (number, of) = (shard.number, shard.of);
        match shards.get(&number) {
            Some(known) => problems.push(Problem::Twice {
                path,
                number,
                of,
                first: text(&known.path),
            }),
            None => {
                shards.insert(number, part);
            }
        }
    }
    (shards, whole)
}

fn differs(whole: &Shard, shard: &Shard) -> Option<String> {
    if shard.of != whole.of {
        return Some(format!("it is one of {}, not of {}", shard.of, whole.of));
    }
    if !(1..=shard.of).contains(&shard.number) {
        return Some(format!("there is no shard {} of {}", shard.number, shard.of));
    }
    (shard.whole != whole.whole || shard.all != whole.all).then(|| "its experiments are others".to_owned())
}

/// Each experiment must be in one shard. Those of a shard that is missing are in none, which is told already.
fn split_otherwise(whole: &Shard, planned: &[PathBuf], is_whole: bool) -> Option<Problem> {
    let count = |file: &PathBuf| planned.iter().filter(|planned| *planned == file).count();
    let counted = whole.all.iter().map(|file| (file.clone(), count(file)));
    let files: Vec<(PathBuf, usize)> = counted
        .filter(|(_, shards)| *shards > 1 || (is_whole && *shards == 0))
        .collect();
    (!files.is_empty()).then_some(Problem::SplitOtherwise { files })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::super::RunRecord;
    use super::super::shard::{Wanted, split, whole};
    use super::*;
    use crate::report::sample;
    use crate::verdict::Verdict;

    fn all(count: usize) -> Vec<Wanted> {
        let wanted = |number: usize| Wanted {
            file: format!("experiments/{number}.yaml").into(),
            sha256: format!("{number:064x}"),
            expected_ms: 1_000 * (number as u64 % 7),
        };
        (0..count).map(wanted).collect()
    }

    fn record(file: &Path, number: usize) -> RunRecord {
        let verdict = Verdict {
            run_id: format!("run-{number}"),
            ..sample::passed()
        };
        RunRecord {
            file: file.to_owned(),
            started_unix_ms: 1_000 - number as i64,
            ..sample::record(&verdict, 1_000)
        }
    }

    /// What the gate leaves on each of so many machines.
    fn parts(wanted: &[Wanted], of: u32) -> Vec<Part> {
        let shards = split(wanted, NonZeroU32::new(of).unwrap()).into_iter().enumerate();
        let part = |(index, positions): (usize, Vec<usize>)| {
            let files: Vec<PathBuf> = positions.iter().map(|at| wanted[*at].file.clone()).collect();
            let runs = positions.iter().map(|at| record(&wanted[*at].file, *at));
            let campaign = Campaign {
                shard: Some(Shard {
                    number: index as u32 + 1,
                    of,
                    whole: whole(wanted),
                    all: wanted.iter().map(|wanted| wanted.file.clone()).collect(),
                }),
                planned: files,
                ..Campaign::of(runs.collect())
            };
            Part {
                path: format!("shard-{}", index + 1).into(),
                campaign,
            }
        };
        shards.map(part).collect()
    }

    proptest! {
        #[test]
        fn the_shards_of_a_whole_are_the_whole(count in 0..40_usize, of in 1..7_u32) {
            let wanted = all(count);
            let mut parts = parts(&wanted, of);
            parts.reverse();
            let merged = merge(parts, Some(of));
            prop_assert!(merged.problems.is_empty() && merged.lost.is_empty(), "{:?}", merged.problems);
            let files: Vec<PathBuf> = wanted.iter().map(|wanted| wanted.file.clone()).collect();
            prop_assert_eq!(&merged.campaign.planned, &files);
            prop_assert_eq!(merged.campaign.shard, None);
            let ran: BTreeSet<PathBuf> = merged.campaign.runs.iter().map(|run| run.file.clone()).collect();
            prop_assert_eq!(ran.len(), count);
            prop_assert_eq!(merged.campaign.runs.len(), count);
        }

        #[test]
        fn without_any_one_of_them_it_is_not(count in 0..20_usize, of in 2..6_u32, lost in 0..6_usize) {
            let mut parts = parts(&all(count), of);
            let lost = lost % of as usize;
            let lost_runs = parts.remove(lost).campaign.runs.len();
            let merged = merge(parts, None);
            let why = format!("of {of} shards one is missing: {}", lost + 1);
            prop_assert_eq!(merged.lost.len(), lost_runs);
            prop_assert!(merged.lost.values().all(|told| *told == why), "{:?}", merged.lost);
            prop_assert_eq!(merged.problems, [Problem::Missing { numbers: vec![lost as u32 + 1], of }]);
            prop_assert_eq!(merged.campaign.runs.len(), count - lost_runs, "the rest is there");
            prop_assert_eq!(merged.campaign.planned.len(), count);
        }
    }

    fn said(parts: Vec<Part>, expected: Option<u32>) -> Vec<String> {
        merge(parts, expected)
            .problems
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_shard_that_comes_twice_is_an_error_and_counts_once() {
        let wanted = all(6);
        let mut twice = parts(&wanted, 2);
        twice.push(Part {
            path: "again".into(),
            ..twice[0].clone()
        });
        let merged = merge(twice, None);
        assert_eq!(merged.campaign.runs.len(), 6);
        insta::assert_snapshot!(merged.problems[0], @r"
        again: shard 1 of 2 is there already, from shard-1
          hint: give each shard once
        ");
        assert!(!merged.problems[0].is_a_gap());
    }

    #[test]
    fn a_shard_of_another_whole_is_an_error_and_is_left_out() {
        let mut mixed = parts(&all(6), 2);
        mixed[1] = parts(&all(7), 2).remove(1);
        let merged = merge(mixed, None);
        assert_eq!(merged.campaign.planned.len(), 6);
        assert_eq!(merged.problems.len(), 2, "{:?}", merged.problems);
        insta::assert_snapshot!(merged.problems[0], @r"
        shard-2: this shard belongs to another whole than shard-1: its experiments are others
          hint: give all shards the same experiments, from the same commit, and the same number of shards
        ");
        let mut mixed = parts(&all(6), 2);
        mixed[1] = parts(&all(6), 3).remove(1);
        assert!(said(mixed, None)[0].contains("it is one of 3, not of 2"));
        let mut odd = parts(&all(6), 2);
        odd[1].campaign.shard.as_mut().unwrap().number = 3;
        assert!(said(odd, None)[0].contains("there is no shard 3 of 2"));
    }

    #[test]
    fn what_is_missing_or_no_shard_or_unexpected_is_said() {
        let wanted = all(9);
        let only_second = parts(&wanted, 3).remove(1);
        insta::assert_snapshot!(said(vec![only_second], None)[0], @r"
        of 3 shards some are missing: 1, 3
          hint: look whether that job ran, and whether its folder was handed on
        ");
        let mut with_whole = parts(&wanted, 2);
        with_whole[0].campaign.shard = None;
        insta::assert_snapshot!(said(with_whole, None)[0], @r"
        shard-1: this is a whole and no shard
          hint: a shard's campaign.json is written by `nightmail gate --shard I/N`
        ");
        insta::assert_snapshot!(said(parts(&wanted, 2), Some(3))[0], @r"
        the shards are parts of 2, and 3 were expected
          hint: `--expect` is the N of `--shard I/N`
        ");
        assert_eq!(merge(Vec::new(), None).problems, [Problem::Nothing]);
    }

    #[test]
    fn shards_that_were_split_otherwise_are_found_out() {
        let wanted = all(4);
        let mut otherwise = parts(&wanted, 2);
        let moved = otherwise[0].campaign.planned[0].clone();
        otherwise[1].campaign.planned = vec![moved.clone()];
        let merged = merge(otherwise, None);
        let [problem] = merged.problems.as_slice() else {
            panic!("{:?}", merged.problems)
        };
        assert!(problem.is_a_gap());
        let said = problem.to_string();
        assert!(said.contains(&format!("{} is in 2", moved.display())), "{said}");
        assert!(said.contains("is in none"), "{said}");
        assert!(!merged.lost.is_empty());
        assert!(
            merged.lost.values().all(|told| told == "no shard has it"),
            "{:?}",
            merged.lost
        );
    }
}

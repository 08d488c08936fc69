//! What the site says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::{CAMPAIGNS_MAX, RUNS_MAX};
use crate::campaign::{Campaign, Conclusion, Kept, RunRecord};
use crate::report::words;
use crate::verdict::{Judgement, Recovery};

/// The site.
#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    /// When it was made, in milliseconds since 1970-01-01 UTC.
    pub made_unix_ms: i64,
    /// From which age on a run is old, in milliseconds.
    pub stale_after_ms: i64,
    /// By their latest runs: the worst first, and of those that came to the same the one that ran longest ago.
    pub experiments: Vec<Experiment>,
    /// Campaigns that came to an answer, the latest first, [`CAMPAIGNS_MAX`] at most.
    pub campaigns: Vec<Concluded>,
    /// Older campaigns, which are not shown.
    pub older_campaigns: u64,
    /// What could not be read, and why, a line each.
    pub not_read: Vec<String>,
}

/// A campaign, as its page concluded.
#[derive(Debug, Clone, PartialEq)]
pub struct Concluded {
    /// Its page's file, without folder and ending; absent where its page is not here.
    pub slug: Option<String>,
    /// The page to copy; where `slug` is.
    pub page: PathBuf,
    /// What its page says.
    pub conclusion: Conclusion,
    /// Which shard it is, and of how many; absent if it is a whole.
    pub shard: Option<(u32, u32)>,
    /// Its runs that say something of the system as it is.
    pub runs: u64,
    /// What was under test, by name.
    pub releases: BTreeSet<String>,
    /// Names of the systems.
    pub systems: BTreeSet<String>,
}

/// An experiment and its runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Experiment {
    /// Its name.
    pub name: String,
    /// Its title, as its latest run has it.
    pub title: String,
    /// The system's name.
    pub system: String,
    /// The engine; empty for runs that did not get that far. Times of different engines are not compared.
    pub engine: String,
    /// Its page's file, without folder and ending: fit for any file system and any link.
    pub slug: String,
    /// Its runs, the latest first, [`RUNS_MAX`] at most and one at least.
    pub runs: Vec<Run>,
    /// Older runs, which are not shown.
    pub older: u64,
    /// Runs with something made unsafe, or without the faults: they say nothing of the system as it is, and are not shown.
    pub aside: u64,
}

/// A run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Unique on its machine.
    pub run_id: String,
    /// Its page's file, without folder and ending; absent where the run has none.
    pub slug: Option<String>,
    /// The page to copy; where `slug` is.
    pub page: PathBuf,
    /// When it began, in milliseconds since 1970-01-01 UTC.
    pub started_unix_ms: i64,
    /// The judgement, as the experiment counts it: a run that was cut short proves nothing.
    pub judgement: Judgement,
    /// What it came to, in a word.
    pub outcome: &'static str,
    /// The same in a sentence.
    pub answer: String,
    /// Recovery.
    pub recovery: Recovery,
    /// Whether anything was broken: else there was nothing to recover from.
    pub had_faults: bool,
    /// The seed.
    pub seed: u64,
    /// What was under test, as whoever started the run named it; empty if nobody did.
    pub release: String,
    /// The engine.
    pub engine: String,
    /// The version of nightmail that made it.
    pub nightmail: String,
    /// Whether the experiment's file was another one in the run before it.
    pub is_changed: bool,
}

impl Site {
    /// The site of some runs. Of what could not be read the first line is kept: hints are for who makes the site.
    pub fn of(campaign: &Campaign, kept: &[Kept], not_read: &[String], made_unix_ms: i64, stale_after_ms: i64) -> Self {
        let mut by_experiment: BTreeMap<(&str, &str, &str), Vec<&RunRecord>> = BTreeMap::new();
        for run in &campaign.runs {
            let key = (
                run.system.as_str(),
                run.verdict.experiment.as_str(),
                run.engine.as_str(),
            );
            by_experiment.entry(key).or_default().push(run);
        }
        let mut slugs = Slugs::default();
        let mut experiments: Vec<Experiment> = by_experiment
            .into_values()
            .filter_map(|runs| Experiment::of(runs, &mut slugs))
            .collect();
        experiments.sort_by_key(|experiment| {
            let latest = experiment.latest();
            (std::cmp::Reverse(latest.judgement), latest.started_unix_ms)
        });
        let mut campaigns: Vec<Concluded> = kept.iter().filter_map(|kept| Concluded::of(kept, &mut slugs)).collect();
        campaigns.sort_by_key(|campaign| std::cmp::Reverse(campaign.conclusion.at_unix_ms));
        let older_campaigns = campaigns.len().saturating_sub(CAMPAIGNS_MAX) as u64;
        campaigns.truncate(CAMPAIGNS_MAX);
        Self {
            made_unix_ms,
            stale_after_ms,
            experiments,
            campaigns,
            older_campaigns,
            not_read: not_read
                .iter()
                .map(|text| text.lines().next().unwrap_or_default().to_owned())
                .collect(),
        }
    }

    /// How old a run was when the site was made, in milliseconds.
    pub fn age_ms(&self, run: &Run) -> i64 {
        (self.made_unix_ms - run.started_unix_ms).max(0)
    }

    /// Whether that is old.
    pub fn is_stale(&self, run: &Run) -> bool {
        self.age_ms(run) > self.stale_after_ms
    }

    /// How many experiments came to a judgement in their latest run.
    pub fn count(&self, judgement: Judgement) -> usize {
        let of_it = |experiment: &&Experiment| experiment.latest().judgement == judgement;
        self.experiments.iter().filter(of_it).count()
    }
}

impl Concluded {
    /// Nothing where no page was ever made of it.
    fn of(Kept { file, campaign }: &Kept, slugs: &mut Slugs) -> Option<Self> {
        let conclusion = campaign.concluded.clone()?;
        let page = file.with_file_name(crate::report::campaign::FILE);
        let runs: Vec<&RunRecord> = campaign.runs.iter().filter(|run| run.counts()).collect();
        let names = |of: fn(&RunRecord) -> &String| -> BTreeSet<String> {
            let names = runs.iter().map(|run| of(run));
            names.filter(|name| !name.is_empty()).cloned().collect()
        };
        let at = conclusion.at_unix_ms.to_string();
        Some(Self {
            slug: page.is_file().then(|| slugs.of(&["campaign", &at])),
            page,
            conclusion,
            shard: campaign.shard.as_ref().map(|shard| (shard.number, shard.of)),
            runs: runs.len() as u64,
            releases: names(|run| &run.release),
            systems: names(|run| &run.system),
        })
    }
}

impl Experiment {
    /// Of its runs; nothing where all of them are aside.
    fn of(mut records: Vec<&RunRecord>, slugs: &mut Slugs) -> Option<Self> {
        let all = records.len();
        records.retain(|record| !record.is_twin && record.verdict.defects.is_empty());
        records.sort_by_key(|record| std::cmp::Reverse((record.started_unix_ms, record.verdict.run_id.as_str())));
        let (latest, counted) = (*records.first()?, records.len());
        let before = records
            .iter()
            .skip(1)
            .map(|record| Some(record.sha256.as_str()))
            .chain([None]);
        let runs = records
            .iter()
            .zip(before)
            .take(RUNS_MAX)
            .map(|(record, before)| Run::of(record, before, slugs))
            .collect();
        let name = latest.verdict.experiment.clone();
        Some(Self {
            slug: slugs.of(&[&latest.system, &name, &latest.engine]),
            name,
            title: latest.verdict.title.clone(),
            system: latest.system.clone(),
            engine: latest.engine.clone(),
            runs,
            older: counted.saturating_sub(RUNS_MAX) as u64,
            aside: (all - counted) as u64,
        })
    }

    /// Its runs by what was under test, the release whose runs began last first; those of no named release together.
    pub fn releases(&self) -> Vec<(&str, Vec<&Run>)> {
        let mut releases: Vec<(&str, Vec<&Run>)> = Vec::new();
        for run in &self.runs {
            match releases.iter_mut().find(|(name, _)| *name == run.release) {
                Some((_, runs)) => runs.push(run),
                None => releases.push((&run.release, vec![run])),
            }
        }
        releases
    }

    /// The run that counts.
    pub fn latest(&self) -> &Run {
        &self.runs[0]
    }
}

impl Run {
    fn of(record: &RunRecord, sha256_before: Option<&str>, slugs: &mut Slugs) -> Self {
        let verdict = &record.verdict;
        let page = record.folder.join(crate::report::html::FILE);
        let outcome = words::outcome(verdict);
        Self {
            run_id: verdict.run_id.clone(),
            slug: page.is_file().then(|| slugs.of(&["run", &verdict.run_id])),
            page,
            started_unix_ms: record.started_unix_ms,
            judgement: match outcome {
                "pass" => Judgement::Pass,
                "fail" => Judgement::Fail,
                _ => Judgement::Inconclusive,
            },
            outcome,
            answer: words::answer(verdict),
            recovery: verdict.recovery.clone(),
            had_faults: !verdict.faults.is_empty(),
            seed: verdict.seed,
            release: record.release.clone(),
            engine: record.engine.clone(),
            nightmail: record.nightmail.clone(),
            is_changed: sha256_before.is_some_and(|before| before != record.sha256),
        }
    }
}

/// Names of files made of names that others chose.
#[derive(Debug, Default)]
struct Slugs(BTreeSet<String>);

impl Slugs {
    /// Lower-case letters, digits and dashes. Where that does not tell the parts from others, some digits of their checksum follow.
    fn of(&mut self, parts: &[&str]) -> String {
        const CHARS_MAX: usize = 80;
        let whole = parts.join("-");
        let fit = |c: char| {
            if c.is_ascii_lowercase() || c.is_ascii_digit() {
                c
            } else {
                '-'
            }
        };
        let mut slug: String = whole.chars().take(CHARS_MAX).map(fit).collect();
        if slug != whole || self.0.contains(&slug) {
            let digest = Sha256::digest(parts.join("\0"));
            slug.push('-');
            for byte in &digest[..6] {
                let _ = write!(slug, "{byte:02x}");
            }
        }
        self.0.insert(slug.clone());
        slug
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_fit_and_apart() {
        let mut slugs = Slugs::default();
        assert_eq!(slugs.of(&["postage", "answers-lost"]), "postage-answers-lost");
        let names = [
            slugs.of(&["postage-answers", "lost"]),
            slugs.of(&["..", "../etc/passwd\0"]),
            slugs.of(&["postage", "Answers lost"]),
            slugs.of(&["postage", "answers lost"]),
            slugs.of(&["postage", &"x".repeat(1_000)]),
            slugs.of(&["", ""]),
        ];
        for name in &names {
            let is_fit = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(name.chars().all(is_fit) && name.len() <= 93, "{name}");
        }
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
    }
}

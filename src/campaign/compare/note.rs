//! What one should know of a comparison beside its figures.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::group::Group;
use super::is_comparable;
use crate::campaign::RunRecord;
use crate::event::Host;
use crate::verdict::Status;

/// Something to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Note {
    /// So many runs were left out: of `prove`, with a defect switched on, or interrupted.
    LeftOut(usize),
    /// So many runs are in both, and are compared with themselves.
    InBoth(usize),
    /// So many runs were judged by a nightmail that did not count what customers saw.
    OldVerdicts(usize),
    /// What was under test: in the baseline, and in the runs.
    Releases(BTreeSet<String>, BTreeSet<String>),
    /// The machines differ: those of the baseline, and those of the runs.
    Machines(BTreeSet<String>, BTreeSet<String>),
    /// Experiments whose files are not what they were.
    ChangedFiles(Vec<String>),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = |number: usize, one: &str, more: &str| match number {
            1 => format!("1 run {one}"),
            number => format!("{number} runs {more}"),
        };
        let listed = |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join(" and ");
        match self {
            Self::LeftOut(number) => write!(
                f,
                "{} left out: of `prove`, with a defect switched on, or interrupted",
                runs(*number, "was", "were")
            ),
            Self::InBoth(number) => write!(
                f,
                "{} in both, and {} compared with {}",
                runs(*number, "is", "are"),
                if *number == 1 { "is" } else { "are" },
                if *number == 1 { "itself" } else { "themselves" },
            ),
            Self::OldVerdicts(number) => write!(
                f,
                "{} judged by an older nightmail: `nightmail check FOLDER` adds error budget, latencies and business services",
                runs(*number, "was", "were")
            ),
            Self::Releases(before, now) => {
                let named = |names: &BTreeSet<String>| match names.is_empty() {
                    true => "a release that nobody named".to_owned(),
                    false => listed(names),
                };
                write!(f, "the baseline is {}, compared with {}", named(before), named(now))
            }
            Self::Machines(before, now) => write!(
                f,
                "the machines differ, and times may for that reason alone: {} for the baseline, {} now",
                listed(before),
                listed(now)
            ),
            Self::ChangedFiles(names) => write!(
                f,
                "changed since the baseline, so that figures may differ for that reason alone: {}",
                names.join(", ")
            ),
        }
    }
}

/// What there is to know.
pub(super) fn notes(baseline: &[RunRecord], now: &[RunRecord], groups: &[Group<'_>]) -> Vec<Note> {
    let mut notes = Vec::new();
    let releases = [baseline, now].map(|runs| {
        let named = runs.iter().map(|run| run.release.clone());
        named.filter(|release| !release.is_empty()).collect::<BTreeSet<_>>()
    });
    if let [before, now] = releases
        && !(before.is_empty() && now.is_empty())
    {
        notes.push(Note::Releases(before, now));
    }
    let mut count = |number: usize, note: fn(usize) -> Note| {
        if number > 0 {
            notes.push(note(number));
        }
    };
    let both = || baseline.iter().chain(now);
    count(both().filter(|run| !is_comparable(run)).count(), Note::LeftOut);
    let ids: BTreeSet<&str> = baseline.iter().map(|run| run.verdict.run_id.as_str()).collect();
    let is_known = |run: &&RunRecord| ids.contains(run.verdict.run_id.as_str());
    count(now.iter().filter(is_known).count(), Note::InBoth);
    let is_old = |run: &&RunRecord| run.verdict.status == Status::Completed && run.verdict.operations.is_empty();
    count(both().filter(is_old).count(), Note::OldVerdicts);
    let (before, after) = (machines(baseline), machines(now));
    if !before.is_empty() && !after.is_empty() && before != after {
        notes.push(Note::Machines(before, after));
    }
    let changed = groups.iter().filter(|group| is_changed(group));
    let changed: BTreeSet<&str> = changed.map(|group| group.experiment).collect();
    if !changed.is_empty() {
        notes.push(Note::ChangedFiles(changed.into_iter().map(str::to_owned).collect()));
    }
    notes
}

/// Whether a run now was of another file than each of the baseline's.
pub(super) fn is_changed(group: &Group<'_>) -> bool {
    let before: BTreeSet<&str> = group.baseline.iter().map(|run| run.sha256.as_str()).collect();
    let is_other = |run: &&RunRecord| !before.contains(run.sha256.as_str());
    !before.is_empty() && group.now.iter().any(is_other)
}

/// The machines of runs, by what times depend on.
fn machines(runs: &[RunRecord]) -> BTreeSet<String> {
    let hosts = runs.iter().filter_map(|run| run.host.as_ref());
    let machine = |host: &Host| {
        let processors = match host.processors {
            1 => "1 processor".to_owned(),
            number => format!("{number} processors"),
        };
        let memory_gb = (host.memory_bytes as f64 / 1e9).round();
        format!("{} with {processors} and {memory_gb} GB", host.architecture)
    };
    hosts.map(machine).collect()
}

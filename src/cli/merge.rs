//! `nightmail merge`: one whole out of what the shards of a gate left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::args::MergeArgs;
use super::reports::{Gaps, Muted, Weights};
use super::{exit, reports};
use crate::campaign::merge::{Merged, Part, Problem, merge as join};
use crate::campaign::{Campaign, FILE, ReadError};

/// Joins the shards and reports on all of them. What is missing, does not belong or is not what it was is an error, whatever the
/// runs came to; the rest is reported all the same.
pub fn merge(args: &MergeArgs) -> u8 {
    let weights = match Weights::load(&args.reports) {
        Ok(weights) => weights,
        Err(code) => return code,
    };
    if let Some(code) = refuse_own(args) {
        return code;
    }
    let muted = Muted::begin(&args.reports);
    let (parts, unreadable) = parts(&args.shards);
    let is_empty = parts.iter().all(|part| part.campaign.shard.is_none());
    let Merged {
        campaign,
        problems,
        lost,
    } = join(parts, args.expect);
    for problem in &problems {
        eprintln!("error: {problem}");
    }
    let (campaign, changed) = campaign.verified();
    for (_, error) in &changed {
        eprintln!("error: {error}");
    }
    let is_mistaken = problems.iter().any(|problem| !problem.is_a_gap());
    let is_whole = unreadable.is_empty() && problems.is_empty() && changed.is_empty();
    let broken = match (is_mistaken, is_whole) {
        (true, _) => Some(exit::INVALID),
        (false, false) => Some(exit::BROKEN),
        (false, true) => None,
    };
    if is_empty {
        muted.end();
        return broken.unwrap_or(exit::INVALID);
    }
    tell_absent(&campaign);
    let mut lost = with_unreadable(lost, &unreadable);
    lost.extend(changed.iter().map(|(file, error)| (file.clone(), error.reason())));
    let gaps = Gaps {
        problems: of_the_whole(&problems, &unreadable, &changed),
        lost,
        exit_code: broken,
        ..Gaps::default()
    };
    reports::conclude(&args.reports, weights, &args.out, &campaign, &gaps, muted)
}

/// What can be read of the shards, and why the others cannot be, which is printed.
fn parts(shards: &[PathBuf]) -> (Vec<Part>, Vec<String>) {
    let (mut parts, mut unreadable) = (Vec::new(), Vec::new());
    for path in shards {
        match Campaign::read(path) {
            Ok(campaign) => parts.push(Part {
                path: path.clone(),
                campaign,
            }),
            Err(error) => {
                eprintln!("error: {error}");
                unreadable.push(error.reason());
            }
        }
    }
    (parts, unreadable)
}

/// What keeps the shards from being a whole, for the reports: a line each.
fn of_the_whole(problems: &[Problem], unreadable: &[String], changed: &[(PathBuf, ReadError)]) -> Vec<String> {
    let problems = problems.iter().map(Problem::in_short);
    let changed = changed.iter().map(|(_, error)| error.reason());
    let all = unreadable.iter().cloned().chain(problems).chain(changed);
    all.map(|problem| format!("the shards make up no whole: {problem}"))
        .collect()
}

/// A shard that cannot be read does not say which one it is, and is among those that are missing.
fn with_unreadable(mut lost: BTreeMap<PathBuf, String>, unreadable: &[String]) -> BTreeMap<PathBuf, String> {
    if !unreadable.is_empty() {
        let told = format!(" ({})", unreadable.join("; "));
        lost.values_mut().for_each(|why| why.push_str(&told));
    }
    lost
}

/// The whole must not take the place of one of its parts.
fn refuse_own(args: &MergeArgs) -> Option<u8> {
    let own = args.out.join(FILE).canonicalize().ok()?;
    let file_of = |path: &Path| match path.is_dir() {
        true => path.join(FILE),
        false => path.to_owned(),
    };
    let is_own = |path: &&PathBuf| file_of(path).canonicalize().is_ok_and(|file| file == own);
    let part = args.shards.iter().find(is_own)?;
    eprintln!(
        "error: {} is a shard, and `--out {}` would write the whole in its place\n  hint: give a folder of its own",
        part.display(),
        args.out.display()
    );
    Some(exit::INVALID)
}

/// Paths to folders that stayed on another machine lead nowhere here.
fn tell_absent(campaign: &Campaign) {
    let absent = campaign.runs.iter().filter(|run| !run.folder.is_dir()).count();
    if absent > 0 {
        eprintln!(
            "note: of {} runs the folders of {absent} are not here: what campaign.json says of them is all there is\n  hint: \
             hand on the run folders beside each shard's campaign.json",
            campaign.runs.len()
        );
    }
}

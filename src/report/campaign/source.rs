//! What a run's folder tells beyond its record: read where it is still there, in bounded memory.

use std::path::Path;

use super::course::Gathering;
use super::model::FileSum;
use crate::event::Entry;
use crate::history::{self, pass};
use crate::plan::Plan;
use crate::run::folder::{read_events, read_plan};
use crate::run::seal::{SEALED, sha256};

/// What a folder gave. What could not be read is an error in words.
pub(super) struct Source {
    pub plan: Result<Plan, String>,
    pub events: Vec<Entry>,
    pub gathering: Result<Gathering, String>,
    pub files: Vec<FileSum>,
}

/// Reads a folder; nothing if it is not there any more. The history is gone through while it is summed.
pub(super) fn read(folder: &Path, with_history: bool) -> Option<Source> {
    if !folder.is_dir() {
        return None;
    }
    let history = folder.join(history::FILE);
    std::thread::scope(|scope| {
        let files = scope.spawn(|| sums(folder));
        let gathering = match with_history && history.is_file() {
            true => pass::through(&history, Gathering::default).map_err(|error| error.to_string()),
            false => Ok(Gathering::default()),
        };
        Some(Source {
            plan: read_plan(folder).map_err(|error| error.to_string()),
            events: read_events(folder).unwrap_or_default(),
            gathering,
            files: files.join().expect("sums do not panic"),
        })
    })
}

fn sums(folder: &Path) -> Vec<FileSum> {
    let there = SEALED.iter().filter(|name| folder.join(name).exists());
    let sum = |name: &&str| {
        let path = folder.join(name);
        FileSum {
            name: (*name).to_owned(),
            bytes: path.metadata().map_or(0, |metadata| metadata.len()),
            sha256: sha256(&path).map_err(|error| error.to_string()),
        }
    };
    there.map(sum).collect()
}

/// The wall clock when the load started, in milliseconds since 1970-01-01 UTC: by the last event, since the first ones may
/// count from another instant.
pub(super) fn epoch_unix_ms(events: &[Entry]) -> Option<i64> {
    events.last().map(|entry| entry.unix_ms - entry.at_us / 1_000)
}

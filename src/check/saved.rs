//! Judges a run from its folder, offline.

use std::path::{Path, PathBuf};

use super::judge::judge;
use crate::event::{self, Entry};
use crate::history;
use crate::history::load::{History, HistoryError};
use crate::plan::{self, Plan};
use crate::verdict::Verdict;

/// Why a saved run cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A file cannot be read.
    #[error("{}: {reason}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        reason: std::io::Error,
    },
    /// `plan.json` is no plan of this version.
    #[error("{}: not a plan that this nightmail can judge: {reason}", .path.display())]
    Plan {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A line of `events.jsonl` is no event.
    #[error("{}, line {line}: {reason}", .path.display())]
    Events {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Why.
        reason: String,
    },
    /// The history is broken.
    #[error(transparent)]
    History(#[from] HistoryError),
}

/// Judges a run from its folder: `plan.json`, `history.jsonl` and `events.jsonl` are all there is to it. A run that broke
/// before its load began has no history, and is judged as having none.
pub fn judge_folder(dir: &Path) -> Result<Verdict, CheckError> {
    let plan = read_plan(&dir.join(plan::FILE))?;
    let events = read_events(&dir.join(event::FILE))?;
    let path = dir.join(history::FILE);
    let text = match history::load::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        read => read.map_err(|reason| CheckError::Unreadable { path, reason })?,
    };
    Ok(judge(&plan, &History::parse(&text)?, &events))
}

fn read(path: &Path) -> Result<Vec<u8>, CheckError> {
    std::fs::read(path).map_err(|reason| CheckError::Unreadable {
        path: path.to_owned(),
        reason,
    })
}

fn read_plan(path: &Path) -> Result<Plan, CheckError> {
    let wrong = |reason| CheckError::Plan {
        path: path.to_owned(),
        reason,
    };
    let plan: serde_json::Value = serde_json::from_slice(&read(path)?).map_err(|error| wrong(error.to_string()))?;
    let version = plan.get("schema_version").and_then(serde_json::Value::as_u64);
    if version != Some(u64::from(plan::SCHEMA_VERSION)) {
        let found = version.map_or("no version".to_owned(), |version| format!("version {version}"));
        return Err(wrong(format!(
            "it has {found}, and this is version {}",
            plan::SCHEMA_VERSION
        )));
    }
    serde_json::from_value(plan).map_err(|error| wrong(error.to_string()))
}

/// A last line that a harness that was killed left unfinished is passed over: whatever it was, it was not complete.
fn read_events(path: &Path) -> Result<Vec<Entry>, CheckError> {
    let text = read(path)?;
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let mut events = Vec::with_capacity(lines.len());
    for (index, line) in lines.iter().enumerate() {
        match serde_json::from_slice(line) {
            Ok(entry) => events.push(entry),
            Err(_) if !line.ends_with(b"\n") => break,
            Err(error) => {
                return Err(CheckError::Events {
                    path: path.to_owned(),
                    line: index + 1,
                    reason: error.to_string(),
                });
            }
        }
    }
    Ok(events)
}

/// How two verdicts on one run differ, in words; empty if they say the same.
pub fn differences(saved: &Verdict, again: &Verdict) -> Vec<String> {
    let (Ok(saved), Ok(again)) = (serde_json::to_value(saved), serde_json::to_value(again)) else {
        return vec!["a verdict that cannot be written".to_owned()];
    };
    let mut found = Vec::new();
    compare("", &saved, &again, &mut found);
    found
}

/// Whether two verdicts on one run say the same.
pub fn same_verdict(saved: &Verdict, again: &Verdict) -> bool {
    differences(saved, again).is_empty()
}

fn compare(at: &str, saved: &serde_json::Value, again: &serde_json::Value, found: &mut Vec<String>) {
    use serde_json::Value;
    match (saved, again) {
        (Value::Object(one), Value::Object(other)) => {
            let only_again = other.keys().filter(|key| !one.contains_key(*key));
            for key in one.keys().chain(only_again) {
                let (one, other) = (one.get(key), other.get(key));
                compare(
                    &format!("{at}/{key}"),
                    one.unwrap_or(&Value::Null),
                    other.unwrap_or(&Value::Null),
                    found,
                );
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                compare(&format!("{at}/{index}"), one, other, found);
            }
        }
        (one, other) if one == other => {}
        (one, other) => found.push(format!("{at}: {one} was saved, {other} is judged now")),
    }
}

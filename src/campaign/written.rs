//! `campaign.json`: where it is kept, and what its paths mean.
//!
//! The folder of a run that lies below the file's folder, or beside it, is written relative to it, so that both can be moved
//! together.

use std::io;
use std::path::{Path, PathBuf};

use super::{Campaign, FILE};

impl Campaign {
    /// Writes `campaign.json` into a folder.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        let mut written = self.clone();
        let below = dir.canonicalize()?;
        for run in &mut written.runs {
            run.folder = relative(&run.folder, &below)?;
        }
        let mut json = serde_json::to_vec_pretty(&written)?;
        json.push(b'\n');
        crate::report::replace(dir, FILE, &json)
    }

    /// As it was read from a file in `dir`: paths that are relative to that lead there.
    pub(super) fn read_in(mut self, dir: &Path) -> Self {
        for run in &mut self.runs {
            if run.folder.is_relative() {
                run.folder = dir.join(&run.folder);
            }
        }
        self
    }
}

/// A folder as seen from `below`, or the whole path of one that lies neither below it nor beside it.
fn relative(folder: &Path, below: &Path) -> io::Result<PathBuf> {
    // One that is not here (it stayed on another machine) keeps the path that it has.
    let whole = match folder.canonicalize() {
        Ok(whole) => whole,
        Err(_) => std::path::absolute(folder)?,
    };
    if let Ok(inside) = whole.strip_prefix(below) {
        return Ok(inside.to_owned());
    }
    // Of the root everything is below, and nothing moves with it.
    let around = below.parent().filter(|around| around.parent().is_some());
    let beside = around.and_then(|around| whole.strip_prefix(around).ok());
    Ok(beside.map_or_else(|| whole.clone(), |beside| Path::new("..").join(beside)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn folders_move_with_their_campaign_and_others_stay_where_they_are() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let whole = dir.path().join("whole");
        let (out, shard, elsewhere) = (
            whole.join("out"),
            whole.join("shard"),
            other.path().canonicalize().unwrap(),
        );
        for folder in [&out.join("run-1"), &shard.join("run-2"), &elsewhere.join("run-3")] {
            std::fs::create_dir_all(folder).unwrap();
        }
        let record = |folder: PathBuf| {
            let mut record = sample::record(&sample::passed(), 1);
            record.folder = folder;
            record
        };
        let gone = PathBuf::from("/nowhere/run-4");
        let folders = [
            out.join("run-1"),
            shard.join("run-2"),
            elsewhere.join("run-3"),
            gone.clone(),
        ];
        let runs = folders.map(record);
        let campaign = Campaign::of(runs.to_vec());
        campaign.write(&out).unwrap();
        let text = std::fs::read_to_string(out.join(FILE)).unwrap();
        assert!(text.contains(r#""folder": "run-1""#), "{text}");
        assert!(text.contains(r#""folder": "../shard/run-2""#), "{text}");
        let moved = dir.path().join("moved");
        std::fs::rename(&whole, &moved).unwrap();
        let read = Campaign::read(&moved.join("out")).unwrap();
        let folders: Vec<&Path> = read.runs.iter().map(|run| run.folder.as_path()).collect();
        let elsewhere = elsewhere.canonicalize().unwrap();
        let (below, beside) = (moved.join("out/run-1"), moved.join("out/../shard/run-2"));
        assert!(beside.is_dir());
        assert_eq!(folders, [&below, &beside, &elsewhere.join("run-3"), &gone]);
        assert_eq!(read.runs[0].verdict, campaign.runs[0].verdict);
    }

    #[test]
    fn a_campaign_of_a_newer_version_or_half_written_is_told_and_not_guessed_at() {
        let dir = tempfile::tempdir().unwrap();
        let newer = Campaign {
            schema_version: 99,
            ..Campaign::of(Vec::new())
        };
        newer.write(dir.path()).unwrap();
        let error = Campaign::read(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("it has version 99") && error.contains("hint: "),
            "{error}"
        );
        std::fs::write(dir.path().join(FILE), "{\"schema_version\": 1, \"nightm").unwrap();
        let error = Campaign::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("half written"), "{error}");
    }
}

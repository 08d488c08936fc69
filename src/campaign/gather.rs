//! Taking runs from wherever they lie: from run folders, from folders of those, and from what gates left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::record::{NO_RUN, ReadError};
use super::shard::plain;
use super::{Campaign, FILE, Proof, RunRecord};
use crate::plan;
use crate::run::seal;

const WHICH: &str =
    "the first one was taken: leave out the one that is wrong, or judge both again by `nightmail check FOLDER`";

impl Campaign {
    /// Takes runs from wherever they are: run folders, folders of run folders, and `campaign.json` files, named or in such a
    /// folder. What cannot be read is told apart, and keeps nothing else from being read; a proof that cannot be is none. A run
    /// that is met twice counts once, as it was met first; that its verdicts differ is told. Planned is what those files say
    /// that was to be run, and of a shard what all shards of its whole were to run.
    pub fn gather(paths: &[PathBuf]) -> (Self, Vec<ReadError>) {
        let mut gathered = Gathered::default();
        for path in paths {
            gathered.take(path);
        }
        let Gathered {
            runs,
            mut planned,
            mut wrong,
        } = gathered;
        let mut met = BTreeSet::new();
        planned.retain(|file| met.insert(plain(file)));
        let mut runs = each_once(runs, &mut wrong);
        runs.sort_by_key(|run| run.started_unix_ms);
        let campaign = Self {
            planned,
            ..Self::of(runs)
        };
        (campaign, wrong)
    }
}

/// What is gathered so far.
#[derive(Default)]
struct Gathered {
    runs: Vec<RunRecord>,
    planned: Vec<PathBuf>,
    wrong: Vec<ReadError>,
}

impl Gathered {
    fn take(&mut self, path: &Path) {
        if path.is_file() {
            return self.take_campaign(path, |_| true);
        }
        let folders = match run_folders(path) {
            Ok(folders) => folders,
            Err(error) => return self.wrong.push(ReadError::unfit(path, error, NO_RUN)),
        };
        for folder in &folders {
            self.take_run(folder);
        }
        let file = path.join(FILE);
        match (file.is_file(), folders.is_empty()) {
            // As `merge` leaves it.
            (true, true) => self.take_campaign(&file, |_| true),
            // Runs that lie here were read from their folders, or are gone.
            (true, false) => self.take_campaign(&file, |run| run.folder.parent() != Some(path)),
            (false, true) => self.wrong.push(ReadError::unfit(path, "no run is in it", NO_RUN)),
            (false, false) => {}
        }
    }

    fn take_run(&mut self, folder: &Path) {
        match RunRecord::read(folder) {
            Ok(run) => {
                self.wrong.extend(Proof::read(folder).err());
                self.runs.push(run);
            }
            Err(error) => self.wrong.push(error),
        }
    }

    fn take_campaign(&mut self, file: &Path, is_wanted: impl Fn(&RunRecord) -> bool) {
        let mut campaign = match Campaign::read(file) {
            Ok(campaign) => campaign,
            Err(error) => return self.wrong.push(error),
        };
        self.planned.append(&mut campaign.planned);
        // Alone it is no whole: what the others were to run was planned, too.
        self.planned
            .extend(campaign.shard.take().into_iter().flat_map(|shard| shard.all));
        let runs = campaign.runs.into_iter().filter(is_wanted);
        campaign.runs = runs.map(|run| run.beside(file)).collect();
        let (campaign, changed) = campaign.verified();
        self.wrong.extend(changed.into_iter().map(|(_, error)| error));
        self.runs.extend(campaign.runs);
    }
}

/// Every run as it was met first. That another folder has it with another verdict is told.
fn each_once(runs: Vec<RunRecord>, wrong: &mut Vec<ReadError>) -> Vec<RunRecord> {
    let mut by_id: BTreeMap<String, usize> = BTreeMap::new();
    let mut once: Vec<RunRecord> = Vec::new();
    for run in runs {
        match by_id.get(&run.verdict.run_id).map(|&index| &once[index]) {
            None => {
                by_id.insert(run.verdict.run_id.clone(), once.len());
                once.push(run);
            }
            Some(first) if first.verdict != run.verdict => {
                let reason = format!("this is the run of {}, with another verdict", first.folder.display());
                wrong.push(ReadError::unfit(&run.folder, reason, WHICH));
            }
            Some(_) => {}
        }
    }
    once
}

/// The run folders at a path: itself, or those right below it, by name. A folder with anything that a run leaves is one, so that
/// half a run is told and not passed over.
fn run_folders(path: &Path) -> io::Result<Vec<PathBuf>> {
    if path.join(plan::FILE).is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path()));
    let mut folders = entries.collect::<io::Result<Vec<_>>>()?;
    folders.retain(|folder| is_of_a_run(folder));
    folders.sort();
    if folders.is_empty() && is_of_a_run(path) {
        folders.push(path.to_owned());
    }
    Ok(folders)
}

/// Of a folder that cannot be looked into nobody knows.
fn is_of_a_run(folder: &Path) -> bool {
    let mut names = seal::SEALED.into_iter().chain([seal::FILE]);
    folder.is_dir() && names.any(|name| folder.join(name).try_exists().unwrap_or(true))
}

/// A campaign as a gate left it, and where.
#[derive(Debug)]
pub struct Kept {
    /// Its `campaign.json`.
    pub file: PathBuf,
    /// What is in it.
    pub campaign: Campaign,
}

impl Kept {
    /// The campaigns at some paths: of each the file that is named, or the one in the folder that is. Those that cannot be read
    /// [`Campaign::gather`] tells.
    pub fn at(paths: &[PathBuf]) -> Vec<Self> {
        let mut kept = Vec::new();
        let mut met = BTreeSet::new();
        for path in paths {
            let file = match path.is_dir() {
                true => path.join(FILE),
                false => path.clone(),
            };
            if !file.is_file() || !met.insert(file.canonicalize().unwrap_or_else(|_| file.clone())) {
                continue;
            }
            kept.extend(Campaign::read(&file).ok().map(|campaign| Self { file, campaign }));
        }
        kept
    }
}

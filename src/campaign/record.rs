//! A run as a campaign knows it: its verdict, and what else can be said of it without its history.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Conclusion, FILE, Proof, SCHEMA_VERSION, Scope};
use crate::event::{Entry, Event, Host};
use crate::plan::{self, Plan};
use crate::run::folder::{is_under_way, read_events, read_plan};
use crate::run::seal;
use crate::verdict::{self, Judgement, Verdict};

/// `campaign.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Campaign {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The version of nightmail that wrote it.
    pub nightmail: String,
    /// Which part of a whole this is; absent if it is the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// The experiments that were to be run, by their files; those without a run were not reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub planned: Vec<PathBuf>,
    /// What the page beside it said; absent if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concluded: Option<Conclusion>,
    /// The runs, in the order in which they began.
    pub runs: Vec<RunRecord>,
}

/// A part of the experiments of a gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shard {
    /// Which, from 1.
    pub number: u32,
    /// Of how many.
    pub of: u32,
    /// What all shards of one whole have in common: SHA-256 over the experiments' files and their bytes, in hexadecimal.
    pub whole: String,
    /// The experiments of all shards together, by their files.
    pub all: Vec<PathBuf>,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunRecord {
    /// The run's folder, as it was given; relative to that of `campaign.json` where it lies below.
    pub folder: PathBuf,
    /// The experiment's file, as it was given.
    pub file: PathBuf,
    /// SHA-256 of the experiment's file, in hexadecimal.
    pub sha256: String,
    /// The system's name.
    pub system: String,
    /// What the system is, in one line.
    pub system_title: String,
    /// The engine; empty if the run did not get that far.
    pub engine: String,
    /// The version of nightmail that made the run; empty if it did not say.
    pub nightmail: String,
    /// What was under test, as whoever started the run named it; empty if nobody did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub release: String,
    /// The machine; absent if the run did not say.
    pub host: Option<Host>,
    /// The images of its replicas, each once and with the hash of what it is made of where that is known, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// When it began, in milliseconds since 1970-01-01 UTC.
    pub started_unix_ms: i64,
    /// How long it took by the wall clock, from its first event to its last.
    pub took_ms: u64,
    /// Whether only `prove` makes such a run.
    pub is_twin: bool,
    /// Compose services that the faults acted on, or lay between.
    pub targets: BTreeSet<String>,
    /// What of its system the run was to touch.
    #[serde(default)]
    pub scope: Scope,
    /// That the experiment can fail, as `prove` left it in the folder of the experiment's own run; absent if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// The verdict. Passed assertions are without their evidence.
    pub verdict: Verdict,
}

/// Why a run, or a campaign, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not what it should be.
    #[error("{path}: {reason}\n  hint: {hint}")]
    Unfit {
        /// Where.
        path: String,
        /// What is wrong.
        reason: String,
        /// What to do.
        hint: &'static str,
    },
}

impl ReadError {
    /// Where and what, without the hint.
    pub fn reason(&self) -> String {
        match self {
            Self::Unfit { path, reason, .. } => format!("{path}: {reason}"),
        }
    }

    pub(super) fn unfit(path: &Path, reason: impl ToString, hint: &'static str) -> Self {
        Self::Unfit {
            path: path.display().to_string(),
            reason: reason.to_string(),
            hint,
        }
    }
}

/// What only needs to be known of any version's file.
#[derive(Deserialize)]
struct Versioned {
    schema_version: u32,
}

/// Reads a JSON file whose `schema_version` must be at most `known`.
pub(super) fn read_versioned<T: serde::de::DeserializeOwned>(path: &Path, known: u32) -> Result<T, ReadError> {
    let text = fs::read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ReadError::unfit(path, "there is no such file", NO_RUN),
        _ => ReadError::unfit(path, error, NO_RUN),
    })?;
    let Versioned { schema_version } =
        serde_json::from_slice(&text).map_err(|error| ReadError::unfit(path, error, HALF_WRITTEN))?;
    if schema_version > known {
        let reason = format!("it has version {schema_version}, and this nightmail knows up to {known}");
        return Err(ReadError::unfit(path, reason, NEWER));
    }
    serde_json::from_slice(&text).map_err(|error| ReadError::unfit(path, error, HALF_WRITTEN))
}

const NO_RUN: &str = "give the folder of a run, a folder of such folders, or a campaign.json";
const HALF_WRITTEN: &str = "it is half written or from another program; `nightmail check FOLDER` judges a run again";
const NOT_AS_IT_WAS: &str =
    "copy the run again from where it was made, or make it again; nothing is concluded from half of it";
const UNDER_WAY: &str = "this run is under way";
const WHICH: &str =
    "the first one was taken: leave out the one that is wrong, or judge both again by `nightmail check FOLDER`";
const WAIT: &str = "wait until it has ended, or leave it out";
const NEWER: &str = "it was written by a newer nightmail: use that one, or make the run again";

impl Campaign {
    /// A whole of runs.
    pub fn of(runs: Vec<RunRecord>) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            nightmail: env!("CARGO_PKG_VERSION").to_owned(),
            shard: None,
            planned: Vec::new(),
            concluded: None,
            runs,
        }
    }

    /// Reads `campaign.json`, or the one in a folder.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let file = match path.is_dir() {
            true => path.join(FILE),
            false => path.to_owned(),
        };
        let campaign: Self = read_versioned(&file, SCHEMA_VERSION)?;
        Ok(campaign.read_in(file.parent().unwrap_or(Path::new(""))))
    }

    /// Takes runs from wherever they are: run folders, folders of run folders, `campaign.json` files, or folders with nothing but
    /// that. What cannot be read is
    /// told apart, and keeps nothing else from being read; a proof that cannot be is none. A run that is met twice counts once, as
    /// it was met first; that its verdicts differ is told.
    pub fn gather(paths: &[PathBuf]) -> (Self, Vec<ReadError>) {
        let (mut runs, mut wrong): (Vec<RunRecord>, Vec<ReadError>) = Default::default();
        let mut planned = Vec::new();
        for path in paths {
            if let Some(file) = file_of(path) {
                match Self::read(&file) {
                    Ok(campaign) => {
                        planned.extend(campaign.planned);
                        let beside = |run: RunRecord| run.beside(&file);
                        runs.extend(campaign.runs.into_iter().map(beside));
                    }
                    Err(error) => wrong.push(error),
                }
                continue;
            }
            match find_runs(path) {
                Ok(folders) => {
                    for folder in folders {
                        match RunRecord::read(&folder) {
                            Ok(run) => {
                                wrong.extend(Proof::read(&folder).err());
                                runs.push(run);
                            }
                            Err(error) => wrong.push(error),
                        }
                    }
                }
                Err(error) => wrong.push(error),
            }
        }
        let mut runs = each_once(runs, &mut wrong);
        runs.sort_by_key(|run| run.started_unix_ms);
        let campaign = Self {
            planned,
            ..Self::of(runs)
        };
        (campaign, wrong)
    }
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
    /// The campaigns at some paths: of each the file that is named, or the one in the folder that is. The second list is of those
    /// that cannot be read though their runs can: what is no more than its file, [`Campaign::gather`] tells.
    pub fn at(paths: &[PathBuf]) -> (Vec<Self>, Vec<ReadError>) {
        let (mut kept, mut wrong): (Vec<Self>, Vec<ReadError>) = Default::default();
        let mut met = BTreeSet::new();
        for path in paths {
            let file = match path.is_dir() {
                true => path.join(FILE),
                false => path.clone(),
            };
            if !file.is_file() || !met.insert(file.canonicalize().unwrap_or_else(|_| file.clone())) {
                continue;
            }
            match Campaign::read(&file) {
                Ok(campaign) => kept.push(Self { file, campaign }),
                Err(error) => wrong.extend(file_of(path).is_none().then_some(error)),
            }
        }
        (kept, wrong)
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

/// The campaign's file at a path: itself, or the one in a folder that holds that and no runs, as `merge` leaves it.
fn file_of(path: &Path) -> Option<PathBuf> {
    if path.is_file() {
        return Some(path.to_owned());
    }
    let file = path.join(FILE);
    (file.is_file() && find_runs(path).is_err()).then_some(file)
}

/// The run folders at a path: itself, or those right below it, by name.
pub fn find_runs(path: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let is_run = |dir: &Path| dir.join(plan::FILE).is_file();
    if is_run(path) {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).map_err(|error| ReadError::unfit(path, error, NO_RUN))?;
    let mut folders: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|dir| is_run(dir))
        .collect();
    folders.sort();
    match folders.is_empty() {
        true => Err(ReadError::unfit(path, "no run is in it", NO_RUN)),
        false => Ok(folders),
    }
}

impl RunRecord {
    /// Reads a run's folder. A run without a verdict, whose harness was killed, is judged from what is there, and nothing is
    /// written.
    pub fn read(folder: &Path) -> Result<Self, ReadError> {
        let plan_file = folder.join(plan::FILE);
        let _: Versioned = read_versioned(&plan_file, plan::SCHEMA_VERSION)?;
        seal::verify(folder).map_err(|broken| ReadError::unfit(folder, broken, NOT_AS_IT_WAS))?;
        if is_under_way(folder) {
            return Err(ReadError::unfit(folder, UNDER_WAY, WAIT));
        }
        let plan = read_plan(folder).map_err(|error| ReadError::unfit(&plan_file, error, HALF_WRITTEN))?;
        let events = read_events(folder).map_err(|error| ReadError::unfit(folder, error, HALF_WRITTEN))?;
        let verdict_file = folder.join(verdict::FILE);
        let verdict = match verdict_file.is_file() {
            true => read_versioned(&verdict_file, verdict::SCHEMA_VERSION)?,
            false => {
                crate::check::judge_folder(folder).map_err(|error| ReadError::unfit(folder, error, HALF_WRITTEN))?
            }
        };
        Ok(Self {
            proof: Proof::read(folder).ok().flatten(),
            ..Self::of(folder, &plan, &events, verdict)
        })
    }

    /// Whether it says something of the system as it is: no twin of `prove`, and no defect switched on.
    pub fn counts(&self) -> bool {
        !self.is_twin && self.verdict.defects.is_empty()
    }

    /// The same run with its folder found from where `campaign.json` is, if it lies below.
    fn beside(mut self, campaign_file: &Path) -> Self {
        let below = campaign_file.parent().map(|parent| parent.join(&self.folder));
        if let Some(below) = below.filter(|below| below.is_dir()) {
            self.folder = below;
        }
        self
    }

    /// A run whose parts are at hand.
    pub fn of(folder: &Path, plan: &Plan, events: &[Entry], mut verdict: Verdict) -> Self {
        for assertion in &mut verdict.assertions {
            if assertion.finding.verdict == Judgement::Pass {
                assertion.finding.evidence.clear();
            }
        }
        let mut record = Self {
            folder: folder.to_owned(),
            file: plan.experiment.path.clone(),
            sha256: plan.experiment.sha256.clone(),
            system: plan.system.name.clone(),
            system_title: plan.system.title.clone(),
            engine: String::new(),
            nightmail: String::new(),
            release: String::new(),
            host: None,
            images: images(events),
            started_unix_ms: events.first().map_or(0, |entry| entry.unix_ms),
            took_ms: crate::report::took(events).as_millis() as u64,
            is_twin: plan.is_twin,
            targets: Scope::targets(plan),
            scope: Scope::of(plan),
            proof: None,
            verdict,
        };
        for entry in events {
            if let Event::Started {
                engine,
                nightmail,
                release,
                host,
                ..
            } = &entry.event
            {
                record.engine.clone_from(engine);
                record.nightmail.clone_from(nightmail);
                record.release.clone_from(release);
                record.host.clone_from(host);
            }
        }
        record
    }
}

fn images(events: &[Entry]) -> Vec<String> {
    let named = events.iter().filter_map(|entry| match &entry.event {
        Event::ImageReady { image, reference, .. } => Some(match reference.is_empty() {
            true => format!("{image} (its content not told)"),
            false => reference.clone(),
        }),
        _ => None,
    });
    let images: BTreeSet<String> = named.collect();
    images.into_iter().collect()
}

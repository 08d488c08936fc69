//! A run as a campaign knows it: its verdict, and what else can be said of it without its history.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shard::plain;
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

pub(super) const NO_RUN: &str = "give the folder of a run, a folder of such folders, or a campaign.json";
const HALF_WRITTEN: &str = "it is half written or from another program; `nightmail check FOLDER` judges a run again";
const NOT_AS_IT_WAS: &str =
    "copy the run again from where it was made, or make it again; nothing is concluded from half of it";
const UNDER_WAY: &str = "this run is under way";
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

    /// Without the runs whose folders are here and are not as they were when the runs ended. Those are told apart, by their
    /// experiments' files, each with why.
    pub fn verified(mut self) -> (Self, Vec<(PathBuf, ReadError)>) {
        let mut changed = Vec::new();
        self.runs.retain(|run| match verify(&run.folder) {
            Ok(()) => true,
            Err(error) => {
                changed.push((plain(&run.file), error));
                false
            }
        });
        (self, changed)
    }
}

/// That a run's files are what they were when it ended. Of what is not here, or has no checksums, nothing is known.
fn verify(folder: &Path) -> Result<(), ReadError> {
    match seal::verify(folder) {
        Ok(_) => Ok(()),
        Err(broken) => Err(ReadError::unfit(folder, broken, NOT_AS_IT_WAS)),
    }
}

impl RunRecord {
    /// Reads a run's folder. A run without a verdict, whose harness was killed, is judged from what is there, and nothing is
    /// written.
    pub fn read(folder: &Path) -> Result<Self, ReadError> {
        let plan_file = folder.join(plan::FILE);
        // Whether one that is gone was there, the checksums know.
        if plan_file.is_file() {
            let _: Versioned = read_versioned(&plan_file, plan::SCHEMA_VERSION)?;
        }
        verify(folder)?;
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
    pub(super) fn beside(mut self, campaign_file: &Path) -> Self {
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

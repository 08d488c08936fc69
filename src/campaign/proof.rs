//! The proof that an experiment can fail, as `prove` leaves it.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::record::{ReadError, read_versioned};
use crate::verdict::{Judgement, Status};

/// `proof.json`, in the folder of the experiment's own run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Proof {
    /// [`Proof::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The experiment's name.
    pub experiment: String,
    /// SHA-256 of the experiment's file, in hexadecimal: it is proven as it was then, and not when it has changed.
    pub sha256: String,
    /// When the last of its runs was judged, in milliseconds since 1970-01-01 UTC.
    pub proven_unix_ms: i64,
    /// Whether every run was made and is as it should be, one at least with something made unsafe and the faults on.
    pub proven: bool,
    /// The runs, in their order.
    pub rows: Vec<ProofRow>,
}

/// A run of a proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProofRow {
    /// The negative control; absent for the experiment as it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<String>,
    /// Whether the faults were on.
    pub faults: bool,
    /// The assertions that had to fail, all of them; none where the run had to pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fails: Vec<String>,
    /// The run's folder, by its name beside that of the experiment's own run.
    pub run: PathBuf,
    /// How far it got.
    pub status: Status,
    /// What it came to.
    pub verdict: Judgement,
    /// Whether that is as it should be.
    pub as_it_should_be: bool,
}

impl Proof {
    /// Its file within a run's folder.
    pub const FILE: &str = "proof.json";

    /// The `schema_version` of `proof.json`.
    pub const SCHEMA_VERSION: u32 = 1;

    /// Reads the proof in a run's folder; none if there is none.
    pub fn read(folder: &Path) -> Result<Option<Self>, ReadError> {
        let file = folder.join(Self::FILE);
        match file.exists() {
            true => read_versioned(&file, Self::SCHEMA_VERSION).map(Some),
            false => Ok(None),
        }
    }

    /// Writes it into a run's folder.
    pub fn write(&self, folder: &Path) -> std::io::Result<()> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        crate::report::replace(folder, Self::FILE, &json)
    }

    /// Whether a row shows that the experiment can fail: with something made unsafe and the faults on, by what was named.
    pub fn shows_failure(rows: &[ProofRow]) -> bool {
        let mut rows = rows.iter();
        rows.any(|row| row.as_it_should_be && row.faults && row.control.is_some() && !row.fails.is_empty())
    }
}

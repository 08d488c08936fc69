//! What is said of disks.

use serde::{Deserialize, Serialize};

/// Fill a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FillRequest {
    /// Where the replica has it.
    pub path: String,
    /// After this long the agent empties it by itself.
    pub ttl_ms: u64,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskStatus {
    /// Where the replica has it.
    pub path: String,
    /// How much there is in all.
    pub total_bytes: u64,
    /// How much is free.
    pub free_bytes: u64,
    /// The least that can be taken.
    pub block_bytes: u64,
    /// The id of what has filled it.
    pub filled_by: Option<String>,
    /// What is left of its time-to-live.
    pub ttl_left_ms: Option<u64>,
}

/// A disk was emptied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emptied {
    /// Whether that id had filled one.
    pub existed: bool,
}

/// Try whether a block can still be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TryRequest {
    /// Where the replica has the disk.
    pub path: String,
}

/// What came of writing a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tried {
    /// It was written, and taken back.
    Written,
    /// There was no space (ENOSPC).
    Full,
    /// Something else was said.
    Refused(String),
}

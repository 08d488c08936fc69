//! Campaigns: several runs taken together, whatever made them.
//!
//! A campaign is read from run folders, or from the `campaign.json` that a gate left. Everything that speaks of more than one run
//! (the page, the comparison with a baseline, the gate's table, the site) takes its runs from here.
//!
//! Architecture invariant: nothing here names tokio or bollard, and nothing here is rendered.

mod proof;
mod record;
mod scope;

pub use proof::{Proof, ProofRow};
pub use record::{Campaign, ReadError, RunRecord, Shard, find_runs};
pub use scope::Scope;

/// File of a campaign within the folder of its runs.
pub const FILE: &str = "campaign.json";

/// The `schema_version` of `campaign.json`.
pub const SCHEMA_VERSION: u32 = 1;

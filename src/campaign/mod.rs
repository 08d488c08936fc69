//! Campaigns: several runs taken together, whatever made them.
//!
//! A campaign is read from run folders, or from the `campaign.json` that a gate left. Everything that speaks of more than one run
//! (the page, the comparison with a baseline, the gate's table, the site) takes its runs from here.
//!
//! `record` is what a campaign is made of, `written` how it is kept in a file, and `gather` how runs are found where they lie;
//! `shard` splits a gate's experiments among machines, `merge` joins what these left, `outcome` says what all of it came to,
//! and `conclusion` what its page said.
//!
//! Architecture invariant: nothing here names tokio or bollard, and nothing here is rendered.

pub mod accept;
pub mod baseline;
pub mod compare;
mod conclusion;
mod gather;
pub mod merge;
mod names;
mod outcome;
mod proof;
mod record;
mod scope;
pub mod shard;
mod written;

pub use conclusion::{Answer, Conclusion};
pub use gather::Kept;
pub use names::short as short_names;
pub use outcome::{Counted, Outcome, Row};
pub use proof::{Proof, ProofRow};
pub use record::{Campaign, ReadError, RunRecord, Shard};
pub use scope::Scope;

/// File of a campaign within the folder of its runs.
pub const FILE: &str = "campaign.json";

/// The `schema_version` of `campaign.json`.
pub const SCHEMA_VERSION: u32 = 1;

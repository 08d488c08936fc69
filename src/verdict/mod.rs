//! The verdict: what was judged, on what evidence, and the exit code that follows.
//!
//! `verdict.json` is [`Verdict`]; it exists for every run that got as far as a folder, aborted ones included.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fault::Receipt;

pub(crate) mod conclude;
mod impact;

pub use conclude::worst;
pub use impact::{FailoverTimes, OperationImpact, PutToTest, Safety, ServiceImpact, Stretch};

/// File of the verdict within a run's folder.
pub const FILE: &str = "verdict.json";

/// The `schema_version` of `verdict.json`.
pub const SCHEMA_VERSION: u32 = 1;

/// A judgement. Ordered by what wins when judgements are joined: a failure over a doubt over a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Judgement {
    /// It held.
    Pass,
    /// It cannot be said.
    Inconclusive,
    /// It did not hold.
    Fail,
}

/// How far a run got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// To its end.
    Completed,
    /// The harness or its set-up broke.
    Aborted,
    /// A signal ended it; everything was undone first.
    Interrupted,
}

/// What a checker says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The judgement.
    pub verdict: Judgement,
    /// One line: the numbers behind it.
    pub detail: String,
    /// Each violation (or doubt) in one line, the first [`Finding::EVIDENCE_MAX`] of them.
    pub evidence: Vec<String>,
    /// How many operations or items it rests on.
    pub samples: u64,
    /// The first violation in time; absent where there is none, or where it is of no operation, reading or instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Violation>,
}

/// A violation: what was violated, by what, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Violation {
    /// When its customer arrived, or when the gauge was read, in milliseconds since the load started; absent if nothing tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<f64>,
    /// The operation, a key of `system.operations`, or the gauge, a key of `system.metrics`; absent if it is neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The operation's idempotency key, or the element of a final read; absent if it is neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What is wrong with it, in one line.
    pub text: String,
}

impl Finding {
    /// Violations listed at most; `detail` says how many there are in all.
    pub const EVIDENCE_MAX: usize = 20;
}

/// What kind of assertion this is: a checker's key, or one of the harness's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AssertionKind {
    /// A probe of the steady state, judged at the gate.
    Gate,
    /// The same probe, judged again after recovery.
    SteadyStateAfter,
    /// A bound that held while faults lasted.
    During,
    /// A bound that held after the last heal.
    Afterwards,
    /// Recovery within its time.
    Recovery,
    /// A backlog drained.
    Backlog,
    /// A safety property over the history and the final reads.
    Invariant,
    /// Every kind of operation succeeded at least once.
    NonVacuous,
    /// A fault was seen to bite and seen to heal.
    Receipt,
    /// The load generator kept its schedule.
    Generator,
}

/// One thing that was judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Assertion {
    /// The probe's, invariant's or fault's name; `recovery` for recovery.
    pub name: String,
    /// What kind.
    pub kind: AssertionKind,
    /// The judgement, with its numbers and evidence.
    #[serde(flatten)]
    pub finding: Finding,
}

/// A fault as it happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FaultRecord {
    /// Its name.
    pub name: String,
    /// Its key, such as `partition`.
    pub kind: String,
    /// What it did, to whom.
    pub describe: String,
    /// Planned start, in milliseconds after the gate; absent for an event trigger.
    pub planned_ms: Option<u64>,
    /// When its effect was first measured, in milliseconds since the load started.
    pub effective_ms: Option<f64>,
    /// When its absence was first measured, in milliseconds since the load started.
    pub healed_ms: Option<f64>,
    /// Measured while it was on.
    pub injected: Option<Receipt>,
    /// Measured after its removal.
    pub healed: Option<Receipt>,
    /// Why it was not injected, or did not heal.
    pub problem: Option<String>,
}

/// Recovery, measured (`peers.md`'s definition; see `check::recovery`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Recovery {
    /// From the last heal to the start of the run of good time that lasted; absent when there was no fault, or when it
    /// did not recover by the end (then `censored`).
    pub recovery_time_ms: Option<f64>,
    /// From the first effect to the same moment, counted only if service was degraded: time customers noticed.
    pub disruption_ms: Option<f64>,
    /// Acknowledged operations that were lost; absent if none was found and it cannot be said that there were none.
    pub data_loss_operations: Option<u64>,
    /// Age of the oldest lost operation when the first fault took effect, or the one that `tolerate` names; absent if none
    /// was lost.
    pub data_loss_time_ms: Option<f64>,
    /// It did not recover while the load lasted: times are lower bounds.
    pub censored: bool,
    /// Still degraded after the heal, to the end, at a load no higher than when the first fault took effect.
    pub metastable: bool,
    /// When every backlog was seen drained, from the last heal.
    pub backlog_drained_ms: Option<f64>,
    /// Stretches of bad time, by operation.
    pub degraded: Vec<Degraded>,
}

impl Recovery {
    /// The name of the assertion on it.
    pub const ASSERTION: &str = "recovery";
}

/// A stretch in which an operation was outside its tolerance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Degraded {
    /// The operation, or the backlog's metric.
    pub operation: String,
    /// Milliseconds since the load started.
    pub from_ms: f64,
    /// Milliseconds since the load started.
    pub to_ms: f64,
}

/// `verdict.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The experiment's name.
    pub experiment: String,
    /// Its title.
    pub title: String,
    /// Unique on its machine.
    pub run_id: String,
    /// How far the run got.
    pub status: Status,
    /// The judgement of all assertions together.
    pub verdict: Judgement,
    /// The exit code, see `cli::exit`.
    pub exit_code: u8,
    /// Why it did not complete; absent when it did.
    pub problem: Option<String>,
    /// The seed.
    pub seed: u64,
    /// Defects that were switched on.
    pub defects: Vec<String>,
    /// Everything that was judged, whether it held or not.
    pub assertions: Vec<Assertion>,
    /// Recovery.
    pub recovery: Recovery,
    /// What must be zero.
    #[serde(default)]
    pub safety: Safety,
    /// Every operation of the load.
    #[serde(default)]
    pub operations: Vec<OperationImpact>,
    /// The business services that the load used, against their impact tolerances.
    #[serde(default)]
    pub services: Vec<ServiceImpact>,
    /// Changes of primaries, in the order of the method.
    #[serde(default)]
    pub failovers: Vec<FailoverTimes>,
    /// The load generator's own lag at p99, in milliseconds; absent if nothing was sent.
    #[serde(default)]
    pub lag_p99_ms: Option<f64>,
    /// The faults.
    pub faults: Vec<FaultRecord>,
    /// What clean-up could not remove.
    pub leftovers: Vec<String>,
    /// A command that runs the same plan again.
    pub again: String,
}

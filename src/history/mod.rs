//! The history: every operation, gauge reading, heartbeat and final read of a run, on disk before it is judged.
//!
//! `history.jsonl` holds one [`Record`] a line. Times are microseconds since the run's epoch, the instant the load
//! started (`at_us` of [`crate::event::Entry`] counts from the same epoch). `record` writes; `load` reads it into memory, `pass`
//! goes through it, both with `line` as the quick way through the lines that `record` writes.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod line;
pub mod load;
pub mod pass;
pub mod record;
mod value;

pub use value::{Fields, Value};

/// File of the history within a run's folder.
pub const FILE: &str = "history.jsonl";

/// How an operation ended (Jepsen's words).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Acknowledged.
    Ok,
    /// Proven to have had no effect.
    Fail,
    /// Everything else: it may have happened at any time after its invocation, for ever.
    Info,
}

/// A line of the history. Borrows from the line where it can.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record<'a> {
    /// An operation, written when it completed.
    #[serde(borrow)]
    Op(Op<'a>),
    /// A reading of a gauge.
    Sample(Sample<'a>),
    /// An item of a final read.
    Item(Item<'a>),
    /// The end of a final read: without it the read is incomplete and its checkers are inconclusive.
    Read(Read<'a>),
    /// A heartbeat: a write of the harness's own to one member of a group.
    Heartbeat(Heartbeat<'a>),
}

/// A logical operation with all its attempts. Its `key` is its idempotency key, unique in the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Op<'a> {
    /// The operation, a key of `system.operations`.
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
    /// Its idempotency key.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// When the customer arrived: the time it belongs to, whenever it was sent.
    pub intended_us: u64,
    /// When the first attempt was sent; absent for an arrival that was dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_us: Option<u64>,
    /// When the last attempt ended.
    pub done_us: u64,
    /// How it ended, all attempts together.
    pub outcome: Outcome,
    /// How many attempts were made; 0 for a dropped arrival.
    pub attempts: u32,
    /// The HTTP status of the last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What went wrong in the last attempt, in a word or two (`timeout`, `refused`, `reset`, `dropped`, `late`).
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Cow<'a, str>>,
    /// The recorded values of the request.
    #[serde(borrow, default, skip_serializing_if = "Fields::is_empty")]
    pub values: Fields<'a>,
    /// The first answer in any attempt that no customer must get, by the operation's rule `never`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub forbidden: Option<Cow<'a, str>>,
}

impl Op<'_> {
    /// `error` of an arrival that found the in-flight cap full: a failure of the system.
    pub const DROPPED: &'static str = "dropped";

    /// `error` of an arrival that the generator itself could not send in time or at all: no failure of the system.
    pub const LATE: &'static str = "late";

    /// `error` of an arrival whose request could not be made as the system's definition says, or is for a replica that the
    /// service does not have: no failure of the system.
    pub const NOT_MADE: &'static str = "not made";

    /// `error` of an operation that was still in flight when the load was given up.
    pub const ABORTED: &'static str = "aborted";

    /// Latency as customers count it, from the intended time, in microseconds.
    pub fn latency_us(&self) -> u64 {
        self.done_us.saturating_sub(self.intended_us)
    }

    /// How late the generator itself was, in microseconds.
    pub fn lag_us(&self) -> u64 {
        self.sent_us.map_or(0, |sent| sent.saturating_sub(self.intended_us))
    }
}

/// A reading of a gauge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample<'a> {
    /// The gauge, a key of `system.metrics`.
    #[serde(borrow)]
    pub metric: Cow<'a, str>,
    /// When the reading was asked for.
    pub at_us: u64,
    /// The reading; absent when it could not be had.
    pub value: Option<f64>,
}

/// An item of a final read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item<'a> {
    /// The final read, a key of `system.final_reads`.
    #[serde(borrow)]
    pub read: Cow<'a, str>,
    /// What identifies it; for effects, the key of the operation that caused it.
    #[serde(borrow)]
    pub element: Cow<'a, str>,
    /// Its recorded members.
    #[serde(borrow, default, skip_serializing_if = "Fields::is_empty")]
    pub fields: Fields<'a>,
}

/// The end of a final read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Read<'a> {
    /// The final read.
    #[serde(borrow)]
    pub read: Cow<'a, str>,
    /// When it ended.
    pub at_us: u64,
    /// How many items it gave; must equal the items recorded.
    pub items: u64,
    /// Why it could not be completed.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Cow<'a, str>>,
}

/// A heartbeat, written when it ended. Those of a member are written one after the other on one connection, which only an
/// acknowledgement or a refusal leaves open: after any other end the next heartbeat is written on a fresh one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat<'a> {
    /// The group, a key of `system.groups`.
    #[serde(borrow)]
    pub group: Cow<'a, str>,
    /// The member: service and number of the replica, as everywhere (`database-1-1`).
    #[serde(borrow)]
    pub member: Cow<'a, str>,
    /// The number of the write among those to this member, from 1.
    pub number: u64,
    /// When it was begun; on a fresh connection, before connecting.
    pub sent_us: u64,
    /// When it ended.
    pub done_us: u64,
    /// `ok`: acknowledged. `fail`: refused, since the member only reads. `info`: everything else, such as no answer.
    pub outcome: Outcome,
    /// Why it was not acknowledged.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Cow<'a, str>>,
}

impl Heartbeat<'_> {
    /// The final read that lists the heartbeats of a group in the table of the member that is primary at the end, as
    /// `<member>/<number>`. No final read of a system may have this name.
    pub fn read_of(group: &str) -> String {
        format!("heartbeats of {group}")
    }
}

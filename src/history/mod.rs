//! The history: every operation, gauge reading and final read of a run, on disk before it is judged.
//!
//! `history.jsonl` holds one [`Record`] a line. Times are microseconds since the run's epoch, the instant the load
//! started (`at_us` of [`crate::event::Entry`] counts from the same epoch). `record` writes, `load` reads.

use std::borrow::Cow;
use std::fmt;

use schemars::JsonSchema;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub mod load;
pub mod record;

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

/// A value an operation or an item carries: money in the smallest unit, names, flags.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value<'a> {
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Text.
    #[serde(borrow)]
    Text(Cow<'a, str>),
    /// Absent.
    Null,
}

/// Fields by name, a JSON object on disk. Few, so a list beats a map: a million of them must fit in memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fields<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

impl<'a> Fields<'a> {
    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Every field.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value<'a>)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> FromIterator<(Cow<'a, str>, Value<'a>)> for Fields<'a> {
    fn from_iter<I: IntoIterator<Item = (Cow<'a, str>, Value<'a>)>>(fields: I) -> Self {
        Self(fields.into_iter().collect())
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of plain values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(map.size_hint().unwrap_or(2));
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, Value<'de>>()? {
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// A name that borrows from the line where it can.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

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
}

impl Op<'_> {
    /// `error` of an arrival that found the in-flight cap full: a failure of the system.
    pub const DROPPED: &'static str = "dropped";

    /// `error` of an arrival that the generator itself could not send in time or at all: no failure of the system.
    pub const LATE: &'static str = "late";

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

//! Checkers: what must hold over a saved history, judged offline.
//!
//! A checker is one file here and one line in [`checkers!`]. The file holds a struct with the checker's parameters, as
//! `system.yaml` declares them under `invariants`, and implements [`Checker`]. Everything here is pure: neither tokio nor
//! Docker, no clocks, no randomness.
//!
//! Definitions follow Jepsen's sets and banks and wrk2's treatment of coordinated omission; see each file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod about;
pub mod absent;
mod attempts;
mod bins;
mod book;
mod checked;
pub mod copied;
pub mod device_log;
pub mod durable_set;
mod evidence;
pub mod exactly_once;
mod filter;
mod impact;
mod index;
mod invariants;
mod journals;
mod judge;
pub mod ledger;
pub mod limit;
mod machine;
pub mod never_answered;
pub mod one_writer;
pub mod probe;
pub mod published;
pub mod read_your_writes;
pub mod recovery;
mod sample;
mod saved;
mod support;
mod timeline;
mod windows;
mod writers;

pub(crate) use bins::BIN_US;
pub use checked::{Breach, Checked, Lost};
pub use evidence::Evidence;
pub use impact::put_to_test;
pub use judge::judge;
pub use saved::{CheckError, differences, judge_folder, same_verdict};

/// Declares the checkers: a variant per checker in [`Invariant`], tagged in YAML by the key given.
macro_rules! checkers {
    ($($variant:ident($module:ident::$params:ident) = $key:literal),+ $(,)?) => {
        /// An invariant: a checker with its parameters, tagged by its key: `exactly-once: {...}`.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        pub enum Invariant {
            $(
                #[doc = concat!("`", $key, "`, see [`", stringify!($module), "`].")]
                #[serde(rename = $key)]
                $variant($module::$params),
            )+
        }

        /// The keys of all checkers, for messages.
        pub const NAMES: &[&str] = &[$($key),+];

        impl Invariant {
            /// The checker's key.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $key),+ }
            }

            /// The behaviour.
            pub fn checker(&self) -> &dyn Checker {
                match self { $(Self::$variant(params) => params),+ }
            }
        }
    };
}

checkers! {
    DurableSet(durable_set::DurableSet) = "durable-set",
    ExactlyOnce(exactly_once::ExactlyOnce) = "exactly-once",
    Ledger(ledger::Ledger) = "ledger",
    DeviceLog(device_log::DeviceLog) = "device-log",
    Absent(absent::Absent) = "absent",
    Limit(limit::Limit) = "limit",
    Published(published::Published) = "published",
    OneWriter(one_writer::OneWriter) = "one-writer",
    NeverAnswered(never_answered::NeverAnswered) = "never-answered",
    Copied(copied::Copied) = "copied",
    ReadYourWrites(read_your_writes::ReadYourWrites) = "read-your-writes",
}

/// The behaviour of a checker.
pub trait Checker: Send + Sync {
    /// Operations, final reads and metrics that it names, so that a misspelt one is an error before anything starts.
    fn names(&self) -> Names<'_>;

    /// What is wrong with its parameters by themselves: with what it would find nothing, or everything.
    fn mistakes(&self) -> Vec<Mistake> {
        Vec::new()
    }

    /// Judges a history. A checker that lacks its evidence has doubts.
    fn check(&self, evidence: &Evidence<'_>) -> Checked;
}

/// What a checker refers to.
#[derive(Debug, Default)]
pub struct Names<'a> {
    /// Keys of `operations`, each with the parameter that holds it, such as `operations[0]`.
    pub operations: Vec<(String, &'a str)>,
    /// Keys of `final-reads`, likewise.
    pub reads: Vec<(String, &'a str)>,
    /// Keys of `metrics`, likewise.
    pub metrics: Vec<(String, &'a str)>,
    /// Keys of `heartbeats`, likewise.
    pub heartbeats: Vec<(String, &'a str)>,
    /// Bounds, each in the unit of its metric.
    pub bounds: Vec<StatedBound<'a>>,
}

/// A bound on a metric, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatedBound<'a> {
    /// The parameter that holds it, such as `claim.is`.
    pub at: &'static str,
    /// The metric.
    pub metric: &'a str,
    /// The bound.
    pub text: &'a str,
}

/// What is wrong with a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The parameter, such as `where`.
    pub at: &'static str,
    /// What was found.
    pub message: String,
    /// What would have been allowed.
    pub allowed: &'static str,
    /// What to do.
    pub hint: &'static str,
}

/// Each name of a list with its place, `<list>[<index>]`.
fn named<'a>(list: &str, names: &'a [String]) -> Vec<(String, &'a str)> {
    let place = |(index, name): (usize, &'a String)| (format!("{list}[{index}]"), name.as_str());
    names.iter().enumerate().map(place).collect()
}

#[cfg(test)]
mod tests;

//! The workload: customers who arrive whether or not the system answers (an open loop), and what they see.
//!
//! [`Load`] makes the arrivals of a [`crate::plan::WorkloadPlan`] at their intended instants and records every one of
//! them; it also samples the gauges. [`heartbeat`] writes to databases beside it. [`setup`] makes the requests before a load; [`drain`] and [`reads`] gather the
//! evidence after it. What is sent and how answers are judged is data, in [`crate::system::definition`].
//!
//! The load runs on threads of its own, so that nothing else the harness does delays an arrival. Only `history` and
//! `event` receive what is seen here; nothing is judged.

use std::fmt;
use std::io;

pub mod client;
pub mod drain;
pub mod expression;
mod gauge;
mod generator;
pub mod heartbeat;
mod limits;
mod load;
mod members;
mod mistake;
mod operation;
pub(crate) mod progress;
pub mod reads;
mod rows;
mod schedule;
mod session;
pub mod setup;
mod sql;
mod template;
#[cfg(test)]
mod tests;
mod trigger;
mod validate;
mod values;

pub use client::{Addresses, ReplicaCounts};
pub use load::{Load, LoadRequest};
pub use schedule::{Arrival, Schedule};
pub(crate) use template::{Rendered, replica_number, variable_name};
pub use trigger::{Completion, Completions};
pub use validate::problems;
pub(crate) use values::pool_values;

/// A mistake in a system's definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: keys joined by dots, positions in brackets, such as `operations.buy.request.json.items[0]`.
    pub at: String,
    /// What was found, and what is allowed.
    pub message: String,
}

impl Problem {
    fn new(at: String, message: String) -> Self {
        Self { at, message }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.message)
    }
}

/// Why a workload cannot do its part. None of these says anything about the system under test, except
/// [`WorkloadError::Setup`].
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The definition does not compile. [`problems`] finds these before a run.
    #[error("system definition: {0}")]
    Definition(Problem),
    /// The workload names an operation that the system does not define.
    #[error("the workload names the operation `{0}`, which the system does not define")]
    UnknownOperation(String),
    /// A service without an address.
    #[error("no address is known for the service `{service}`; is it in the Compose file, and running?")]
    NoAddress {
        /// The Compose service.
        service: String,
    },
    /// A set-up request did not give what was expected.
    #[error("set-up step `{step}` failed after {attempts} attempts: {reason}")]
    Setup {
        /// The step, with its value if it is repeated over a pool.
        step: String,
        /// Attempts made.
        attempts: u32,
        /// The last status and the beginning of the body, or what broke.
        reason: String,
    },
    /// The table of a group's heartbeats could not be made.
    #[error("the table for the heartbeats of `{group}` could not be made on its primary: {reason}")]
    Heartbeats {
        /// The group.
        group: String,
        /// What was found, or what the server said.
        reason: String,
    },
    /// The operating system allows too few open files.
    #[error(
        "{needed} files must be open at once, {allowed} are allowed; raise the hard limit (`ulimit -Hn`) or lower the \
         workload's cap of operations in flight"
    )]
    OpenFiles {
        /// Needed for the cap.
        needed: u64,
        /// The hard limit.
        allowed: u64,
    },
    /// A thread of the load could not start, or the stream of events could not be written.
    #[error("workload: {0}")]
    Io(#[from] io::Error),
    /// A thread of the load ended before its time: a bug.
    #[error("a thread of the load generator ended before its time")]
    Ended,
}

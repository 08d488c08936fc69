//! What customers and the business had of it: operations by their outcome, business services against their impact
//! tolerance, and what must be zero.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Judgement;
use crate::fault::Takeover;

/// How an operation fared over the whole load, and while it was disrupted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OperationImpact {
    /// The operation, a key of `system.operations`.
    pub operation: String,
    /// What a customer does by it, in one line; empty if the system does not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// How many customers arrived.
    pub arrived: u64,
    /// How many were served.
    pub ok: u64,
    /// How many were refused without effect, or found no room.
    pub fail: u64,
    /// Of how many nobody knows.
    pub info: u64,
    /// Median latency of those served, from the intended time, in milliseconds; absent if none was.
    pub p50_ms: Option<f64>,
    /// Their 99th percentile.
    pub p99_ms: Option<f64>,
    /// Who is served later than this, in milliseconds, counts as not served in what follows, by the impact tolerance of its
    /// business service; absent where waiting does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_within_ms: Option<u64>,
    /// When it was disrupted, from the gate on: two bins of 250 ms in a row or more whose every rolling second has a success
    /// rate below that of its business service's impact tolerance (99 % where no service names it).
    pub disrupted: Vec<Stretch>,
    /// Whether so many came that all of this could be told from the first effect of a fault (without one: from the gate) on.
    pub is_told: bool,
}

/// A stretch of disruption. Times are milliseconds since the load started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stretch {
    /// Its beginning.
    pub from_ms: f64,
    /// Its end.
    pub to_ms: f64,
    /// How many customers arrived in it.
    pub arrived: u64,
    /// How many of them were served in the end, and in time where that counts.
    pub ok: u64,
}

/// A business service against its impact tolerance, in one run.
///
/// The term and its meaning, the greatest disruption that is tolerable, are those of the Bank of England's SS1/21,
/// "Operational resilience: Impact tolerances for important business services".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceImpact {
    /// Its key in `system.business-services`.
    pub service: String,
    /// What people call it.
    pub title: String,
    /// Whether it stayed within its impact tolerance.
    pub verdict: Judgement,
    /// The numbers behind that, or why it cannot be said, in one line.
    pub detail: String,
    /// Its operations that were part of the load.
    pub operations: Vec<String>,
    /// For how long one of them at least was disrupted, all stretches together; absent if it cannot be told.
    pub disrupted_ms: Option<f64>,
    /// For how long that is tolerable.
    pub tolerated_ms: u64,
    /// Who is served later than this, in milliseconds, counts as not served; absent where waiting does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_within_ms: Option<u64>,
    /// Acknowledged operations of its own that were lost; absent if none was found and it cannot be said that there were none.
    pub lost: Option<u64>,
    /// How many may be.
    pub tolerated_lost: u64,
}

/// Three numbers that must be zero. Each is absent where none was found and it cannot be said that there were none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Safety {
    /// Operations that were acknowledged and are gone, those included whose loss is tolerated.
    pub lost: Option<u64>,
    /// Effects that are there more often than they may be, as an invariant found them; one that two invariants find counts twice.
    pub twice: Option<u64>,
    /// Differences of ledgers, journals and copies, by the invariants that compare them.
    pub ledger_differences: Option<u64>,
}

/// Which of the three numbers an experiment has an invariant for: others are not put to the test by it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PutToTest {
    /// Whether something would find that acknowledged operations are gone.
    pub lost: bool,
    /// Whether something would find effects that are there too often.
    pub twice: bool,
    /// Whether something compares ledgers, journals or copies.
    pub ledger_differences: bool,
}

/// A change of primaries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FailoverTimes {
    /// The fault's name.
    pub fault: String,
    /// As its receipt has them.
    #[serde(flatten)]
    pub times: Takeover,
}

//! How a system's state is read: gauges while it runs, heartbeats, and complete lists at the end.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RequestTemplate;
use super::operations::default_timeout;
use crate::duration::DurationMs;

/// A gauge read at an interval while the run lasts. A reading that fails is a gap, not a zero.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MetricDefinition {
    /// One line for people.
    #[serde(default)]
    pub title: String,
    /// The request; `{{ key }}` is not available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestTemplate>,
    /// In place of `request`: a query that gives one number, in one row of one column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<SqlQuery>,
    /// A CEL expression over `status`, `headers` and `body` that gives a number. For `unit: ms`, milliseconds. With `sql`
    /// an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Read every replica of the service at once, and take this of what they say. A replica that cannot be read makes the
    /// reading a gap. Without it one replica is read, the next each time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_replicas: Option<OverReplicas>,
    /// What the number counts.
    #[serde(default)]
    pub unit: Unit,
    /// Time between readings.
    #[serde(default = "default_interval")]
    pub every: DurationMs,
    /// Whether it is read only in experiments of which a probe, a bound or an invariant names it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_demand: bool,
}

fn default_interval() -> DurationMs {
    DurationMs(250)
}

/// A query to a member of a group with roles, in a transaction that only reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SqlQuery {
    /// The group.
    pub group: String,
    /// Which of its members is asked; found out anew each time.
    #[serde(default)]
    pub role: SqlRole,
    /// One statement that gives rows.
    pub query: String,
    /// How long the server may take for it.
    #[serde(default = "default_timeout")]
    pub timeout: DurationMs,
}

/// Which member of a group is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SqlRole {
    /// The one that is not in recovery. Where there are two, nobody is asked.
    #[default]
    Primary,
    /// The first that is in recovery.
    Standby,
    /// This one, whatever its role: a Compose service of one replica.
    Member(String),
}

/// One reading from those of several replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OverReplicas {
    /// Their sum.
    Sum,
    /// The greatest.
    Max,
    /// The least.
    Min,
}

/// What a gauge counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// A plain number.
    #[default]
    Count,
    /// Milliseconds.
    Ms,
}

/// Work that may pile up.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Backlog {
    /// The gauge that counts it, a key of `metrics`.
    pub metric: String,
    /// Under load, the backlog counts as drained at this value or below (work in progress is no backlog). When the load
    /// has ended it must reach zero.
    pub drained: f64,
    /// How long it may take to reach zero after the load has ended.
    #[serde(default = "default_drain")]
    pub within: DurationMs,
}

fn default_drain() -> DurationMs {
    DurationMs(10_000)
}

/// How often every member of a group with roles is written to, whatever its role. The primary must let the roles' `user`
/// make the schema `nightmail`, whose table `heartbeats` they go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HeartbeatDefinition {
    /// Time between two writes to a member, from 10ms to 50ms. A member that is slow to answer is written to less often: one after the other.
    #[serde(default = "default_heartbeat")]
    pub every: DurationMs,
    /// How long a write may take, connecting included, until it counts as without an answer.
    #[serde(default = "default_heartbeat_timeout")]
    pub timeout: DurationMs,
}

fn default_heartbeat() -> DurationMs {
    DurationMs(50)
}

fn default_heartbeat_timeout() -> DurationMs {
    DurationMs(1_000)
}

/// A complete list read at the end.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FinalRead {
    /// The request; `{{ cursor }}` is the empty string for the first page, then what `next` gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestTemplate>,
    /// In place of `request`: a query whose rows are the items. The column `element` identifies one, the others are its
    /// fields: whole numbers and booleans as such, everything else as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<SqlQuery>,
    /// How an answer becomes items. With `sql` an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Items>,
    /// Read the list of each replica of the service, to its own end, and join them; every item gets the field `replica`,
    /// the number of the replica that gave it. If one cannot be read, the read is incomplete.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub every_replica: bool,
}

/// How a final read's answer becomes items.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Items {
    /// A JSON answer.
    Json {
        /// JSON pointer (RFC 6901) to the array of items; the empty string is the whole answer.
        at: String,
        /// Member of an item that identifies it (for effects: the key of the operation that caused it).
        element: String,
        /// Members of an item that the history keeps.
        #[serde(default)]
        fields: Vec<String>,
        /// JSON pointer to the cursor of the next page; null or absent there ends the read. Without it there is one page.
        next: Option<String>,
    },
    /// A text answer, an item per line that matches; lines that do not match are an error, empty ones are passed over.
    Lines {
        /// A regular expression with named groups; the group `element` identifies the item, the others are its fields.
        matches: String,
    },
}

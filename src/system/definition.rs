//! `system.yaml`: what customers do to a system, how nightmail reads its state, what must hold, which defects exist.
//!
//! These types are both the file format (kebab-case, unknown keys are errors) and what a plan embeds, so that a saved
//! run can be judged without the file. They hold no behaviour.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::check::Invariant;
use crate::duration::DurationMs;
use crate::rate::RateSpec;

/// A system under test, apart from its topology (which `compose` holds).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SystemDefinition {
    /// Short name, as in run folders and labels: lower-case letters, digits, hyphens.
    pub name: String,
    /// One line for people.
    pub title: String,
    /// The Compose file, relative to this file.
    #[serde(default = "default_compose")]
    pub compose: PathBuf,
    /// Names for several Compose services that experiments target together, such as the two nodes of a database.
    #[serde(default)]
    pub groups: BTreeMap<String, Group>,
    /// What nightmail should know of a Compose service beyond the Compose file. Services may be left out.
    #[serde(default)]
    pub services: BTreeMap<String, ServiceHints>,
    /// Requests made once, in order, after the system is up and before the load: accounts to open, switches to set.
    #[serde(default)]
    pub setup: Vec<SetupStep>,
    /// Pools of values that request templates draw from, by name.
    #[serde(default)]
    pub pools: BTreeMap<String, Pool>,
    /// What customers do.
    pub operations: BTreeMap<String, OperationDefinition>,
    /// Loads that experiments take by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub profiles: BTreeMap<String, Profile>,
    /// Gauges sampled while the run lasts, such as the length of a queue.
    #[serde(default)]
    pub metrics: BTreeMap<String, MetricDefinition>,
    /// Work that may pile up and must be worked off before recovery is over.
    #[serde(default)]
    pub backlogs: Vec<Backlog>,
    /// Writes of nightmail's own to every member of a group while the load lasts, by the group's name: who is writable?
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub heartbeats: BTreeMap<String, HeartbeatDefinition>,
    /// Complete lists read after the load has ended and backlogs have drained: the evidence of the checkers.
    #[serde(default)]
    pub final_reads: BTreeMap<String, FinalRead>,
    /// What must hold over the history of operations and the final reads, by name.
    #[serde(default)]
    pub invariants: BTreeMap<String, Invariant>,
    /// Mistakes that can be switched on in the system, so that experiments can be shown to fail.
    #[serde(default)]
    pub defects: BTreeMap<String, Defect>,
}

fn default_compose() -> PathBuf {
    PathBuf::from("compose.yaml")
}

/// Several Compose services that are one thing to an experiment.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Group {
    /// The Compose services.
    pub services: Vec<String>,
    /// How to tell which member is the primary; without it, the targets `primary` and `standby` are errors.
    pub roles: Option<Roles>,
}

/// A way to ask a member for its role at the moment a fault is injected.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Roles {
    /// A PostgreSQL cluster: the primary is the member that is not in recovery.
    Postgres {
        /// The port PostgreSQL listens on.
        port: u16,
        /// A role that may connect.
        user: String,
        /// Its password, if it needs one.
        password: Option<String>,
        /// A database to connect to.
        database: String,
    },
}

/// What nightmail should know of a Compose service beyond the Compose file.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ServiceHints {
    /// When a replica counts as ready, polled by the harness every few milliseconds. It stands in for the Compose
    /// health check, which is slower. Without either, a running process counts as ready.
    pub ready: Option<Ready>,
    /// How the time is shifted that the service's programs take it to be, for the fault `clock`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockHint>,
}

/// Where a service lets its clock be shifted: `PUT path` with `{"offset_ms": N, "ttl_ms": M}` shifts it for that long, and by
/// nothing undoes it; `GET path` answers `{"now_ms": T, "offset_ms": N}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ClockHint {
    /// The container's port.
    pub port: u16,
    /// The path, with a leading slash and without white space.
    pub path: String,
}

/// A readiness condition.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ready {
    /// `GET path` answers with a status below 400.
    Http {
        /// The container's port.
        port: u16,
        /// The path, with a leading slash.
        path: String,
    },
    /// The port accepts connections.
    Tcp {
        /// The container's port.
        port: u16,
    },
    /// A line of the log matches.
    Log {
        /// A regular expression, matched against each line.
        matches: String,
    },
    /// PostgreSQL answers a query.
    Postgres {
        /// The port PostgreSQL listens on.
        port: u16,
        /// A role that may connect.
        user: String,
        /// Its password, if it needs one.
        password: Option<String>,
        /// A database to connect to.
        database: String,
    },
}

/// An HTTP request with minijinja templates in path, headers and body.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RequestTemplate {
    /// The Compose service; attempts go round its replicas, unless `replica` names one.
    pub service: String,
    /// The replica that every attempt goes to: its number, 1 for the first, or a template that gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "number_or_template")]
    pub replica: Option<String>,
    /// The container's port.
    pub port: u16,
    /// The HTTP method.
    #[serde(default = "default_method")]
    pub method: String,
    /// The path with query, a template.
    pub path: String,
    /// Headers, templates.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body, a template. With `json`, an error.
    pub body: Option<String>,
    /// The body as a JSON value; its strings are templates, and a string that is one whole expression (`"{{ amount }}"`)
    /// becomes the value itself, number or boolean. Sets `content-type: application/json`.
    pub json: Option<serde_json::Value>,
    /// How long an attempt may take.
    #[serde(default = "default_timeout")]
    pub timeout: DurationMs,
}

fn number_or_template(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": ["integer", "string"], "minimum": 1})
}

fn default_method() -> String {
    "GET".to_owned()
}

fn default_timeout() -> DurationMs {
    DurationMs(2_000)
}

/// Requests made once before the load.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SetupStep {
    /// One line for the log.
    pub name: String,
    /// Repeat for each value of this pool, available to the templates under the pool's name.
    pub for_each: Option<String>,
    /// Make the request of each replica of its service.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub every_replica: bool,
    /// The request.
    pub request: RequestTemplate,
    /// A CEL expression over `status`, `headers` and `body` that must be true; otherwise set-up has failed.
    #[serde(default = "default_expect")]
    pub expect: String,
}

fn default_expect() -> String {
    "status < 300".to_owned()
}

/// Values that templates draw from.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Pool {
    /// A numbered sequence: `{prefix: acct-, count: 3}` is `acct-1, acct-2, acct-3`.
    Sequence {
        /// What stands before the number.
        prefix: String,
        /// How many values.
        count: u32,
    },
    /// The values themselves.
    List(Vec<String>),
}

/// Where a template variable of an operation comes from. Drawn once per operation, so that retries send the same.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ValueSource {
    /// A uniform choice from a pool.
    OneOf(String),
    /// The pool's values in turn, so that two operations on the same value lie as far apart as can be.
    Cycle(String),
    /// A uniform whole number, bounds included.
    Range {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// A uniform choice from the numbers of a Compose service's replicas, 1 for the first.
    ReplicaOf(String),
    /// A fixed value.
    Constant(serde_json::Value),
}

/// A kind of thing that customers do.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct OperationDefinition {
    /// One line for people.
    #[serde(default)]
    pub title: String,
    /// Template variables beside `key`, the operation's own idempotency key.
    #[serde(default)]
    pub values: BTreeMap<String, ValueSource>,
    /// Which of `values` the history keeps, for the checkers.
    #[serde(default)]
    pub record: Vec<String>,
    /// The request.
    pub request: RequestTemplate,
    /// How an answer is classified.
    pub outcome: OutcomeRules,
    /// How a customer retries; without it there is one attempt.
    pub retry: Option<Retry>,
}

/// CEL expressions over `status` (int), `headers` (map, lower-case names) and `body` (JSON, or string), tried in this
/// order. What neither holds for is `info`: it may or may not have happened. No answer at all is classified without
/// them: a refused connection is `fail` (proven to have had no effect), a time-out or a broken connection `info`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct OutcomeRules {
    /// Acknowledged.
    pub ok: String,
    /// Refused, and documented to have had no effect.
    #[serde(default = "never")]
    pub fail: String,
}

fn never() -> String {
    "false".to_owned()
}

/// How a customer retries: the same request under the same key.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Retry {
    /// Attempts in all, the first included.
    pub attempts: u32,
    /// The pause before each retry.
    pub backoff: DurationMs,
    /// A CEL expression over the answer, as in [`OutcomeRules`]: which answers, `fail` or `info`, are retried. Attempts
    /// without an answer always are.
    #[serde(default = "default_retry_when")]
    pub when: String,
}

fn default_retry_when() -> String {
    "status >= 500".to_owned()
}

/// A load that experiments take by name: operations and how often each arrives.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Profile {
    /// One line for people.
    #[serde(default)]
    pub title: String,
    /// What customers do, and how often: keys of `operations`.
    pub operations: BTreeMap<String, OperationRate>,
}

/// How often an operation arrives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct OperationRate {
    /// Arrivals per second or minute: `40/s`, `30/m`; or points between which the rate goes straight, each with `at`
    /// (counted from the start of the load) and `rate`.
    pub rate: RateSpec,
}

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
    /// Time between two writes to a member. A member that is slow to answer is written to less often: one after the other.
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

/// A mistake that can be switched on in the system.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Defect {
    /// One line for people: the mistake.
    pub title: String,
    /// The services whose environment is changed.
    pub services: Vec<String>,
    /// The variables set.
    pub environment: BTreeMap<String, String>,
}

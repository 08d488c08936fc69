//! What customers do: requests, set-up, pools, operations and profiles of load.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::duration::DurationMs;
use crate::rate::RateSpec;

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

pub(super) fn default_timeout() -> DurationMs {
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
    /// What no customer must ever be told, in any attempt, however the operation ends: for the invariant `never-answered`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub never: Option<String>,
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

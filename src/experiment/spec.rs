//! The experiment as its file says it. Kebab-case; unknown keys are errors; names follow Chaos Toolkit where the meaning
//! is the same.
//!
//! These types hold what was written and no more: references, units of tolerances and defaults that depend on other
//! keys are the business of `resolve`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::DurationMs;
use crate::fault::FaultSpec;
use crate::history::Outcome;
use crate::plan::Arrivals;
use crate::system::definition::OperationRate;
use crate::yaml::list::List;
use crate::yaml::named::Named;

/// An experiment: one claim about a system, and how it is tested.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Experiment {
    /// The claim, in one line.
    pub title: String,
    /// Why it matters.
    #[serde(default)]
    pub description: String,
    /// Free labels.
    #[serde(default)]
    pub tags: Vec<String>,
    /// What the experiment contributes to, such as `reliability: high`, for people and their tools.
    #[serde(default)]
    pub contributions: BTreeMap<String, String>,
    /// The system under test: a folder of `fixtures/`, or a path relative to this file.
    pub system: String,
    /// Values for `${name}` in this file; `--var name=value` overrides them.
    #[serde(default)]
    // Read before anything else, by the module of that name: nothing is left to type here.
    #[schemars(with = "BTreeMap<String, ConfigurationValue>")]
    pub configuration: BTreeMap<String, serde_json::Value>,
    /// Environment set over the Compose file's, by service.
    #[serde(default)]
    pub environment: BTreeMap<String, BTreeMap<String, String>>,
    /// The load; a name alone is that of a profile of the system.
    pub workload: Named<Workload>,
    /// When the steady state is judged.
    #[serde(default)]
    pub gate: GateTimes,
    /// What normal means: judged before the first fault, and again after recovery.
    pub steady_state_hypothesis: Hypothesis,
    /// Who carries the links that faults spoil: a Toxiproxy of the system's own; nightmail's agents unless given.
    pub links: Option<Links>,
    /// What is broken. Empty for a baseline.
    #[serde(default)]
    pub method: Vec<Step>,
    /// What must hold while faults last.
    #[serde(default)]
    pub during: Vec<Windowed>,
    /// What must hold from the last heal on, to the end of the load.
    #[serde(default)]
    pub afterwards: Vec<Windowed>,
    /// When the system must have recovered, counted from the last heal. Required with a method.
    pub recovery: Option<Recovery>,
    /// Invariants that must hold, names of the system's `invariants`.
    #[serde(default)]
    pub invariants: Vec<String>,
    /// Loss that is tolerated; nothing is unless stated.
    #[serde(default)]
    pub tolerate: Tolerate,
    /// Variants of this experiment that must fail: the proof that it can.
    #[serde(default)]
    pub negative_controls: Vec<Control>,
}

/// A value for `${name}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ConfigurationValue {
    /// Yes or no.
    Bool(bool),
    /// A number.
    Number(f64),
    /// Text, such as a duration.
    Text(String),
    /// From an environment variable.
    Env(FromEnv),
}

/// A value from an environment variable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FromEnv {
    /// Always `env`.
    pub r#type: FromEnvType,
    /// The environment variable.
    pub key: String,
    /// Used when it is not set; without it, it must be set.
    pub default: Option<String>,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FromEnvType {
    /// An environment variable.
    Env,
}

/// An open-loop load: arrivals do not wait for answers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Workload {
    /// How arrivals are spaced.
    #[serde(default)]
    pub arrivals: Arrivals,
    /// Operations in flight at most; an arrival that finds this many is dropped and counts as the system's failure.
    #[serde(default = "default_in_flight_max")]
    pub in_flight_max: u32,
    /// A key of the system's `profiles`: its operations and their rates, which `operations` changes and adds to.
    pub profile: Option<String>,
    /// What customers do, and how often: keys of the system's `operations`. Needed without a profile.
    #[serde(default)]
    pub operations: BTreeMap<String, OperationRate>,
    /// How long the load lasts after the gate, for a baseline without a method.
    pub r#for: Option<DurationMs>,
}

/// The load of a profile.
impl From<String> for Workload {
    fn from(profile: String) -> Self {
        Self {
            arrivals: Arrivals::default(),
            in_flight_max: default_in_flight_max(),
            profile: Some(profile),
            operations: BTreeMap::new(),
            r#for: None,
        }
    }
}

fn default_in_flight_max() -> u32 {
    4_000
}

/// When the steady state is judged.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct GateTimes {
    /// Load before the window, unjudged: connections open, caches warm.
    #[serde(default = "default_warm_up")]
    pub warm_up: DurationMs,
    /// The window that the probes judge.
    #[serde(default = "default_window")]
    pub window: DurationMs,
}

impl Default for GateTimes {
    fn default() -> Self {
        Self {
            warm_up: default_warm_up(),
            window: default_window(),
        }
    }
}

fn default_warm_up() -> DurationMs {
    DurationMs(2_000)
}

fn default_window() -> DurationMs {
    DurationMs(4_000)
}

/// What normal means.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Hypothesis {
    /// In one line.
    pub title: String,
    /// The measurements and their bounds.
    pub probes: Vec<ProbeSpec>,
}

/// A measurement and its bound.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ProbeSpec {
    /// What the reader is told.
    pub name: String,
    /// What is measured.
    pub metric: Measured,
    /// Of which operation: its success rate or its latency.
    pub operation: Option<String>,
    /// Of which gauge, a key of the system's `metrics`: its readings.
    pub of: Option<String>,
    /// The bound with its unit: `">= 99.5%"` for a success rate, `"<= 2s"` for a time, `"<= 5"` for a count.
    pub tolerance: String,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Measured {
    /// Share of arrivals that ended `ok`, by intended time.
    #[serde(rename = "success-rate")]
    SuccessRate,
    /// The median.
    #[serde(rename = "p50")]
    P50,
    /// What 90 % stay within.
    #[serde(rename = "p90")]
    P90,
    /// What 95 % stay within.
    #[serde(rename = "p95")]
    P95,
    /// What 99 % stay within.
    #[serde(rename = "p99")]
    P99,
    /// What 99.9 % stay within.
    #[serde(rename = "p99.9")]
    P999,
    /// The longest or greatest.
    #[serde(rename = "max")]
    Max,
    /// The least, of a gauge.
    #[serde(rename = "min")]
    Min,
}

/// A Toxiproxy that carries links, in place of nightmail's agents.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Links {
    /// Its control interface: `http://127.0.0.1:8474`, or `http://SERVICE:8474` if it is a service of the system.
    pub toxiproxy: String,
    /// Its proxies that faults may spoil.
    pub proxies: Vec<LinkProxy>,
}

/// A proxy of that Toxiproxy.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LinkProxy {
    /// Its name there.
    pub proxy: String,
    /// The service whose connections it carries.
    pub from: String,
    /// The service that they go to.
    pub to: String,
}

/// A step of the method: one fault.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Step {
    /// What the reader is told.
    pub name: String,
    /// When it starts, counted from the moment the gate passed. Either this or `on`.
    pub at: Option<DurationMs>,
    /// The event at which it starts. Either this or `at`.
    pub on: Option<Event>,
    /// How long it lasts once its effect was seen.
    pub r#for: DurationMs,
    /// After this long it heals by itself, even if nightmail is gone; 30 s more than `for` unless given.
    pub ttl: Option<DurationMs>,
    /// What is done.
    pub inject: FaultSpec<String>,
}

/// An event at which a fault starts: an operation's end (`operation`, `outcome`) or a line of a log (`log`, `matches`).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Event {
    /// The operation.
    pub operation: Option<String>,
    /// How it must have ended; `ok` unless given.
    pub outcome: Option<Outcome>,
    /// The service whose log is read, all replicas together.
    pub log: Option<String>,
    /// A regular expression for the line.
    pub matches: Option<String>,
    /// Which one, counted from the moment the gate passed; the first unless given.
    #[serde(default = "first")]
    pub nth: u64,
    /// If it has not come by then (counted from the gate), nothing is injected and the run is inconclusive.
    pub by: DurationMs,
}

fn first() -> u64 {
    1
}

/// What must hold while faults last, or afterwards: an operation or a gauge, and one bound.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Windowed {
    /// What the reader is told; the measurement in words unless given.
    pub name: Option<String>,
    /// The operation.
    pub operation: Option<String>,
    /// The gauge, a key of the system's `metrics`.
    pub of: Option<String>,
    /// Bound of the success rate, such as `">= 99.5%"`.
    pub success_rate: Option<String>,
    /// Bound of the median.
    pub p50: Option<String>,
    /// Bound of what 90 % stay within.
    pub p90: Option<String>,
    /// Bound of what 95 % stay within.
    pub p95: Option<String>,
    /// Bound of what 99 % stay within.
    pub p99: Option<String>,
    /// Bound of what 99.9 % stay within.
    #[serde(rename = "p99.9")]
    pub p999: Option<String>,
    /// Bound of the longest or greatest.
    pub max: Option<String>,
    /// Bound of the least, of a gauge.
    pub min: Option<String>,
    /// So much of the beginning is not judged: of each fault's time, from its effect, or of the time after the last heal.
    #[serde(default)]
    pub after: DurationMs,
    /// The step whose time alone is judged, by its name. Under `during` only; that of all steps unless given.
    pub fault: Option<String>,
}

/// When the system must have recovered.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Recovery {
    /// From the last heal to the start of the run of good time that then lasts.
    pub within: DurationMs,
    /// How long good time must last to count.
    #[serde(default = "default_stable_for")]
    pub stable_for: DurationMs,
}

fn default_stable_for() -> DurationMs {
    DurationMs(5_000)
}

/// Loss that is tolerated.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Tolerate {
    /// Acknowledged operations that may be lost.
    #[serde(default)]
    pub data_loss: DataLoss,
}

/// How much may be lost.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DataLoss {
    /// How many operations.
    #[serde(default)]
    pub operations: u64,
    /// The age of the oldest of them when the first fault was seen.
    #[serde(default)]
    pub time: DurationMs,
}

/// A variant of the experiment that must fail.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Control {
    /// What the reader is told; the defect's name unless given.
    pub name: Option<String>,
    /// A defect of the system, switched on. Either this or `with`.
    pub defect: Option<String>,
    /// What is set differently. Either this or `defect`.
    pub with: Option<With>,
    /// The assertions that must fail, all of them: each an invariant, a probe, a `during` or an `afterwards` of this
    /// experiment by name, or `recovery`.
    pub fails: List<String>,
}

/// What a negative control sets differently.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct With {
    /// Environment set over everything else, by service.
    #[serde(default)]
    pub environment: BTreeMap<String, BTreeMap<String, String>>,
    /// Values for `${name}` over those of `configuration`: the same experiment with another setting, or another step.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, ConfigurationValue>")]
    pub configuration: BTreeMap<String, serde_json::Value>,
}

/// What to do about a missing key.
pub const MISSING: crate::yaml::read::MissingHints = &[
    (
        "title",
        "say in one line what the experiment claims: `title: Customers can buy while ...`",
    ),
    ("system", "name a folder of fixtures/, for example `system: postage`"),
    (
        "workload",
        "say what customers do: `workload: {operations: {buy-postage: {rate: 40/s}}}`",
    ),
    (
        "operations",
        "name the operations and their rates: `operations: {buy-postage: {rate: 40/s}}`",
    ),
    ("rate", "say how often it arrives, for example `rate: 40/s`"),
    ("at", "say when, counted from the start of the load: `at: 8s`"),
    (
        "steady-state-hypothesis",
        "say what normal means; without it nobody can tell whether the fault did anything",
    ),
    ("probes", "name at least one measurement and its tolerance"),
    ("tolerance", "state the bound, for example `tolerance: \">= 99.5%\"`"),
    (
        "toxiproxy",
        "say where its control interface is: `toxiproxy: http://127.0.0.1:8474`",
    ),
    (
        "proxies",
        "name its proxies: `proxies: [{proxy: provider, from: postage-api, to: payment-provider}]`",
    ),
    ("proxy", "say what the proxy is called there"),
    ("for", "say how long the fault lasts, for example `for: 10s`"),
    (
        "by",
        "say by when the event must have come, for example `by: 20s`; it bounds the run's length",
    ),
    (
        "inject",
        "say what is broken, for example `inject: {kill: {targets: [postage-worker]}}`",
    ),
    (
        "within",
        "say how soon it must have recovered, for example `within: 10s`",
    ),
    ("fails", "name the assertion that this control must make fail"),
];

//! `system.yaml`: what customers do to a system, how nightmail reads its state, what must hold, which defects exist.
//!
//! These types are both the file format (kebab-case, unknown keys are errors) and what a plan embeds, so that a saved
//! run can be judged without the file. They hold no behaviour. `operations` is what customers do, `reads` how state is
//! read; here is what the system consists of.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::Invariant;
use crate::duration::DurationMs;

mod operations;
mod reads;

pub use operations::*;
pub use reads::*;

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
    /// What people depend on, as the business names it, by a short name: the rows of a report that a release manager signs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub business_services: BTreeMap<String, BusinessService>,
    /// Mistakes that can be switched on in the system, so that experiments can be shown to fail.
    #[serde(default)]
    pub defects: BTreeMap<String, Defect>,
}

/// Something that people depend on, made of operations.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BusinessService {
    /// What people call it.
    pub title: String,
    /// The operations that it is made of. Each belongs to one business service at most.
    pub operations: Vec<String>,
    /// The greatest disruption that is tolerable, whatever breaks.
    pub impact_tolerance: ImpactTolerance,
}

/// The greatest disruption of a business service that is tolerable.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ImpactTolerance {
    /// For how long one of its operations at least may be disrupted, all stretches of a run together.
    pub time: DurationMs,
    /// An operation is disrupted where fewer of those who arrive are served than this bound says, by rolling seconds.
    #[serde(default = "default_success_rate")]
    pub success_rate: String,
    /// Whoever is served later than this, from the moment of arrival, counts as not served. However long it takes unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_within: Option<DurationMs>,
    /// How many acknowledged operations may be lost; none unless said.
    #[serde(default)]
    pub data_loss: u64,
}

impl ImpactTolerance {
    /// The `success-rate` of operations that no business service names.
    pub const SUCCESS_RATE: &str = ">= 99%";
}

fn default_success_rate() -> String {
    ImpactTolerance::SUCCESS_RATE.to_owned()
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

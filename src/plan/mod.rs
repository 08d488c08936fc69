//! A plan: an experiment with every default, every reference and every random choice fixed.
//!
//! `plan.json` is this type. Nothing downstream reads YAML or knows a default; a saved run is judged from its plan, its
//! history and its events alone, which is why the plan embeds the whole system definition. Building a plan is pure
//! (see [`crate::experiment`] for the way there).

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use rate::RatePlan;

use crate::fault::FaultSpec;
use crate::history::Outcome;
use crate::system::definition::SystemDefinition;
use crate::system::engine::Release;

mod bound;
pub mod describe;
pub mod rate;
mod redacted;
mod timeline;
pub mod variants;
mod window;

pub use bound::{Bound, BoundUnit, Compare, NoBound};
pub use variants::Variation;
pub use window::WindowedProbe;

/// The `schema_version` of `plan.json`.
pub const SCHEMA_VERSION: u32 = 1;

/// An experiment, resolved. Instants (`*_ms`) count from the moment the gate passed unless said otherwise.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Which experiment this is.
    pub experiment: ExperimentInfo,
    /// Fixes every random choice of the plan and of the workload; not the timing of the system under test.
    pub seed: u64,
    /// `${name}` values in force.
    pub configuration: BTreeMap<String, String>,
    /// The system definition, whole but for metrics that are read on demand and that nothing here names.
    pub system: SystemDefinition,
    /// The folder that holds the system definition and its Compose file (absolute).
    pub system_dir: PathBuf,
    /// Replicas of each Compose service, as the Compose file and the experiment say.
    pub replicas: BTreeMap<String, u32>,
    /// Environment set over the Compose file's, by service: defects and the experiment's own `environment`.
    pub environment: BTreeMap<String, BTreeMap<String, String>>,
    /// Defects switched on, names of `system.defects`.
    pub defects: Vec<String>,
    /// The load.
    pub workload: WorkloadPlan,
    /// The steady state.
    pub gate: Gate,
    /// The Toxiproxy that carries the links; absent where nightmail's agents do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toxiproxy: Option<ToxiproxyPlan>,
    /// What is broken, in the order of the file.
    pub faults: Vec<PlannedFault>,
    /// What must hold while faults last.
    pub during: Vec<WindowedProbe>,
    /// What must hold from the last heal on, to the end of the load.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub afterwards: Vec<WindowedProbe>,
    /// What recovery means; absent when there is nothing to recover from.
    pub recovery: Option<RecoveryPlan>,
    /// Invariants checked, names of `system.invariants`.
    pub invariants: Vec<String>,
    /// Loss that is tolerated.
    pub tolerate: Tolerance,
    /// How this experiment is shown to be able to fail.
    pub negative_controls: Vec<NegativeControl>,
    /// How long each phase lasts.
    pub schedule: Schedule,
    /// Whether this is a twin that only `prove` makes: without the faults of its file, or with other settings.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_twin: bool,
    /// Values taken from environment variables. They are needed to run the plan, and are never written.
    #[serde(skip)]
    pub secrets: Vec<String>,
}

impl Plan {
    /// What faults have replicas run in place of what the Compose file says.
    pub fn releases(&self) -> impl Iterator<Item = Release> {
        self.faults.iter().filter_map(|fault| fault.fault.behaviour().release())
    }
}

/// Which experiment a plan came from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExperimentInfo {
    /// The file's name without its ending.
    pub name: String,
    /// One claim.
    pub title: String,
    /// Why it matters.
    pub description: String,
    /// Free labels.
    pub tags: Vec<String>,
    /// The file, as it was given.
    pub path: PathBuf,
    /// SHA-256 of the file's bytes, in hexadecimal.
    pub sha256: String,
}

/// How arrivals are spaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// Exponentially distributed gaps: independent customers.
    #[default]
    Poisson,
    /// Equal gaps.
    Constant,
}

/// An open-loop load: arrivals do not wait for answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkloadPlan {
    /// How arrivals are spaced.
    pub arrivals: Arrivals,
    /// Rate of each operation.
    pub rates: BTreeMap<String, RatePlan>,
    /// Operations in flight at most; an arrival that finds this many is dropped and counts as the system's failure.
    pub in_flight_max: usize,
}

/// The steady state, judged before the first fault and again after recovery.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Gate {
    /// What normal means, in one line.
    pub title: String,
    /// Load before the window, unjudged: connections open, caches warm.
    pub warm_up_ms: u64,
    /// The window that the probes judge.
    pub window_ms: u64,
    /// What must hold in the window.
    pub probes: Vec<Probe>,
}

/// A number measured over a window and the bound it must keep.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Probe {
    /// What the reader is told.
    pub name: String,
    /// What is measured.
    pub measure: Measure,
    /// The bound.
    pub tolerance: Bound,
}

/// What a probe measures over its window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Share of an operation's arrivals in the window that ended `ok`, in percent. By intended time.
    SuccessRate {
        /// The operation.
        operation: String,
    },
    /// A quantile of an operation's latency from its intended time, in milliseconds; what did not end `ok` counts as the
    /// longest.
    Latency {
        /// The operation.
        operation: String,
        /// Times 1,000, so that p99.9 is 999.
        quantile_permille: u32,
    },
    /// A quantile of a gauge's readings in the window; 1,000 is the maximum, 0 the minimum.
    Metric {
        /// The gauge.
        metric: String,
        /// Times 1,000.
        quantile_permille: u32,
    },
}

/// One replica of a Compose service, numbered from 1 as Compose does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaId {
    /// The Compose service.
    pub service: String,
    /// 1 for the first.
    pub index: u32,
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.service, self.index)
    }
}

/// Replicas a fault acts on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Chosen when the plan was made, by seed where there was a choice. Never empty.
    Replicas(Vec<ReplicaId>),
    /// Found by asking a group's members for their role when the fault is injected.
    Role {
        /// A key of `system.groups`.
        group: String,
        /// The role.
        role: Role,
        /// The members that may answer to it.
        members: Vec<ReplicaId>,
    },
}

/// A role in a database group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The one that accepts writes.
    Primary,
    /// Those that do not.
    Standby,
}

/// A fault, ready to inject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedFault {
    /// Position in the method, from 0.
    pub id: u32,
    /// What the reader is told.
    pub name: String,
    /// When it starts.
    pub trigger: Trigger,
    /// How long it lasts after its effect was seen.
    pub for_ms: u64,
    /// After this long whatever enforces the fault heals it by itself, counted from the injection.
    pub ttl_ms: u64,
    /// What is done.
    pub fault: FaultSpec<Target>,
}

/// A Toxiproxy that carries links.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToxiproxyPlan {
    /// Where it is.
    pub host: ToxiproxyHost,
    /// The port of its control interface.
    pub port: u16,
    /// Its proxies that faults may spoil.
    pub proxies: Vec<ProxyPlan>,
}

impl ToxiproxyPlan {
    /// The proxy that carries connections from one service to another.
    pub fn proxy(&self, from: &str, to: &str) -> Option<&str> {
        let carries = |proxy: &&ProxyPlan| proxy.from == from && proxy.to == to;
        self.proxies.iter().find(carries).map(|proxy| proxy.proxy.as_str())
    }
}

/// Where a Toxiproxy is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToxiproxyHost {
    /// On this machine's loopback.
    Loopback(std::net::IpAddr),
    /// A replica of the system under test.
    Replica(ReplicaId),
}

/// A proxy of a Toxiproxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyPlan {
    /// Its name there.
    pub proxy: String,
    /// The service whose connections it carries.
    pub from: String,
    /// The service that they go to.
    pub to: String,
}

/// When a fault starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// At a time.
    At {
        /// Milliseconds after the gate passed.
        at_ms: u64,
    },
    /// At the n-th operation of a kind, counted from the moment the gate passed, that ended so.
    OnOperation {
        /// The operation.
        operation: String,
        /// Its outcome.
        outcome: Outcome,
        /// 1 for the first.
        nth: u64,
        /// If it has not come by then, the fault is not injected and the run is inconclusive.
        by_ms: u64,
    },
    /// At the n-th line of a service's log (all replicas together), counted from the moment the gate passed, that matches.
    OnLog {
        /// The Compose service.
        service: String,
        /// A regular expression.
        matches: String,
        /// 1 for the first.
        nth: u64,
        /// If it has not come by then, the fault is not injected and the run is inconclusive.
        by_ms: u64,
    },
}

impl Trigger {
    /// The latest instant at which the fault may start, in milliseconds after the gate passed.
    pub fn latest_ms(&self) -> u64 {
        match self {
            Self::At { at_ms } => *at_ms,
            Self::OnOperation { by_ms, .. } | Self::OnLog { by_ms, .. } => *by_ms,
        }
    }
}

/// What recovery means. See `recovery` in [`crate::check`] for the definition.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecoveryPlan {
    /// From the last heal to the start of the run of good time that then lasts.
    pub within_ms: u64,
    /// How long good time must last to count.
    pub stable_for_ms: u64,
    /// How long service may be disrupted in all, from the first effect of a fault; as long as it takes unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disrupted_for_ms: Option<u64>,
}

/// Loss that the experiment states as tolerable. Zero unless stated.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Tolerance {
    /// Acknowledged operations that may be lost.
    pub data_loss_operations: u64,
    /// Age of the oldest lost operation, at the moment the first fault was seen, at most.
    pub data_loss_time_ms: u64,
    /// The fault whose effect the age counts from instead; no operation whose customer came later may be lost then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_loss_fault: Option<u32>,
}

/// A variant of the experiment that must fail.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NegativeControl {
    /// What the reader is told: the defect's name, or the override's.
    pub name: String,
    /// What makes it unsafe.
    pub change: ControlChange,
    /// The names of the assertions that must fail, all of them.
    pub fails: Vec<String>,
}

/// What makes a negative control unsafe.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlChange {
    /// A defect of the system, switched on.
    Defect(String),
    /// Other settings.
    With {
        /// Environment set on services: variables by service.
        environment: BTreeMap<String, BTreeMap<String, String>>,
        /// Other values of the experiment's configuration.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        configuration: BTreeMap<String, String>,
        /// What they make of the experiment; absent where there are none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        variation: Option<Box<Variation>>,
    },
}

/// How long each phase lasts at most, in milliseconds. `total_ms` is their sum, without system up and down.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Schedule {
    /// Warm-up and window.
    pub gate_ms: u64,
    /// From the gate to the last heal.
    pub method_ms: u64,
    /// From the last heal to the end of the load.
    pub recovery_ms: u64,
    /// From the start of the load to its end.
    pub total_ms: u64,
}

/// File of the plan within a run's folder.
pub const FILE: &str = "plan.json";

//! Faults: what can be broken, how that is measured, and how it heals.
//!
//! A fault is one file here and one line in [`faults!`]. The file holds a struct with the fault's parameters, generic over
//! how targets are written (`String` in a file, [`Target`] in a plan), and implements [`Fault`] for the planned form.
//! Every fault yields a receipt when injected and when healed; a fault that was not seen to bite, or not seen to heal,
//! makes a run inconclusive.
//!
//! # Adding a fault
//!
//! 1. A new file `src/fault/<name>.rs`: a struct `<Name><T>` of the parameters with `map_targets`, and `impl Fault for
//!    <Name><Target>`. [`kill`] is the shortest to learn from for a fault of processes, [`partition`] for one of packets
//!    that the packet filter drops, [`packet_duplicate`] for one that network emulation makes; a fault of links declares
//!    its parameters by `link_fault!` and implements `LinkFault` instead, as [`latency`] does; [`long_transaction`] is the
//!    shortest of those that act through sessions at a database.
//! 2. One line in the list below, `<Name>(<name>::<Name>) = "<key>"`. It declares the module, the variant of
//!    [`FaultSpec`], the key in files and the JSON Schema; validation, plan, run and reports need nothing else.
//!
//! What a fault owes: refuse in `problems` what cannot work, so that nothing starts; arm what undoes it before it acts;
//! measure instead of trusting the answer of whoever did it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::{Target, ToxiproxyPlan};
use crate::system::compose::ComposeFile;
use crate::system::definition::SystemDefinition;
use crate::system::engine::{Disk, EngineError, Release, RunningSystem};

mod impaired;
mod link;
mod measured;
mod network;
mod path;
mod postgres;
mod process;
mod receipt;
mod rollout;
mod sample;
mod sign;
mod spoil;
mod target;
#[cfg(test)]
mod test_double;
mod toxiproxy;
mod trace;

pub use postgres::table::TableName;
pub use receipt::{Receipt, Takeover};
pub use target::Acted;

/// What the keys of the faults begin with that need the kernel's network emulation.
pub const EMULATED_PREFIX: &str = "packet-";

/// Declares the faults: a module and a variant of [`FaultSpec`] for each, tagged in YAML by the key given.
macro_rules! faults {
    ($($variant:ident($module:ident::$params:ident) = $key:literal),+ $(,)?) => {
        $(pub mod $module;)+

        /// What is done, tagged by its key: `inject: {kill: {...}}`.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "kebab-case")]
        pub enum FaultSpec<T> {
            $(
                #[doc = concat!("`", $key, "`, see [`", stringify!($module), "`].")]
                #[serde(rename = $key)]
                $variant($module::$params<T>),
            )+
        }

        /// The keys of all faults, for messages.
        pub const NAMES: &[&str] = &[$($key),+];

        impl<T> FaultSpec<T> {
            /// The fault's key.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $key),+ }
            }

            /// The same fault with its targets written differently; the first error wins. `path` is the place below
            /// `inject.<key>`, such as `from[0]`.
            pub fn map_targets<U, E>(&self, map: &mut dyn FnMut(&str, &T) -> Result<U, E>) -> Result<FaultSpec<U>, E> {
                Ok(match self { $(Self::$variant(params) => FaultSpec::$variant(params.map_targets(map)?)),+ })
            }
        }

        impl FaultSpec<Target> {
            /// The behaviour.
            pub fn behaviour(&self) -> &dyn Fault {
                match self { $(Self::$variant(params) => params),+ }
            }

            /// Takes in the files that it names, see [`Fault::read_files`].
            pub fn read_files(&mut self, folder: &Path) -> Vec<Problem> {
                match self { $(Self::$variant(params) => params.read_files(folder)),+ }
            }

            /// What is wrong with it, beyond the form of the file and the existence of its targets; empty if nothing is.
            pub fn problems(&self) -> Vec<Problem> {
                self.behaviour().problems()
            }
        }
    };
}

faults! {
    Kill(kill::Kill) = "kill",
    Stop(stop::Stop) = "stop",
    Pause(pause::Pause) = "pause",
    Partition(partition::Partition) = "partition",
    Loss(loss::Loss) = "loss",
    Latency(latency::Latency) = "latency",
    Bandwidth(bandwidth::Bandwidth) = "bandwidth",
    SlowClose(slow_close::SlowClose) = "slow-close",
    Timeout(timeout::Timeout) = "timeout",
    ResetPeer(reset_peer::ResetPeer) = "reset-peer",
    Slicer(slicer::Slicer) = "slicer",
    LimitData(limit_data::LimitData) = "limit-data",
    Blackhole(blackhole::Blackhole) = "blackhole",
    Corrupt(corrupt::Corrupt) = "corrupt",
    Stall(stall::Stall) = "stall",
    LinkDown(link_down::LinkDown) = "link-down",
    PacketLatency(packet_latency::PacketLatency) = "packet-latency",
    PacketDuplicate(packet_duplicate::PacketDuplicate) = "packet-duplicate",
    PacketReorder(packet_reorder::PacketReorder) = "packet-reorder",
    PacketCorrupt(packet_corrupt::PacketCorrupt) = "packet-corrupt",
    Promote(promote::Promote) = "promote",
    Clock(clock::Clock) = "clock",
    DiskFull(disk_full::DiskFull) = "disk-full",
    Lock(lock::Lock) = "lock",
    LongTransaction(long_transaction::LongTransaction) = "long-transaction",
    ExhaustConnections(exhaust_connections::ExhaustConnections) = "exhaust-connections",
    ReplicationLag(replication_lag::ReplicationLag) = "replication-lag",
    ReadOnly(read_only::ReadOnly) = "read-only",
    SlowQueries(slow_queries::SlowQueries) = "slow-queries",
    Migrate(migrate::Migrate) = "migrate",
    Deploy(deploy::Deploy) = "deploy",
    Rollback(rollback::Rollback) = "rollback",
    Request(request::Request) = "request",
    Failover(failover::Failover) = "failover",
    Cutover(cutover::Cutover) = "cutover",
}

/// The behaviour of a fault.
#[async_trait]
pub trait Fault: Send + Sync {
    /// Targets that must exist for the fault to act, for the blast radius and for the engine (network faults need an
    /// agent beside each).
    fn targets(&self) -> Vec<&Target>;

    /// Whether the engine must put an agent with the right to filter packets beside the targets.
    fn needs_agent(&self) -> bool {
        false
    }

    /// The file system of its own that each target must have from the start, if any.
    fn disk(&self) -> Option<Disk> {
        None
    }

    /// What it takes hold of at each target; none if any number of faults may act on the same replica at the same time.
    fn holds(&self) -> Option<Hold> {
        None
    }

    /// Whether the heal undoes it. If not, its time is over when `for` is, and the heal says whether it is still as it was.
    fn is_undone(&self) -> bool {
        true
    }

    /// Whether it may itself turn out to have failed, as [`Receipt::failed`] says: then its step is an assertion by its name.
    fn is_judged(&self) -> bool {
        false
    }

    /// Takes in the files that its parameters name, relative to the folder of the system, so that a plan is whole; what is
    /// wrong with them. Called before `problems`.
    fn read_files(&mut self, _folder: &Path) -> Vec<Problem> {
        Vec::new()
    }

    /// What it has its targets run in place of what the Compose file says, if it does.
    fn release(&self) -> Option<Release> {
        None
    }

    /// The replicas whose connections to which others must go through links from the start, if any.
    fn links(&self) -> Option<(&[Target], &[Target])> {
        None
    }

    /// What of it a real Toxiproxy cannot do, if it is a fault of links.
    fn beyond_toxiproxy(&self) -> Option<Problem> {
        None
    }

    /// What it takes of the kernel's network emulation; none if it does without.
    fn emulated(&self) -> Option<Emulated> {
        None
    }

    /// One line for the blast radius, such as `SIGKILL to postage-worker-1`.
    fn describe(&self) -> String;

    /// What is wrong with the parameters, found before anything starts; empty if nothing is.
    fn problems(&self) -> Vec<Problem>;

    /// What is wrong with it for this system, found before anything starts; empty if nothing is.
    fn problems_in(&self, _definition: &SystemDefinition, _compose: &ComposeFile) -> Vec<Problem> {
        Vec::new()
    }

    /// Breaks it and measures that it is broken. After an error `heal` is called all the same, and undoes what was done.
    async fn inject(&self, context: &FaultContext) -> Result<Receipt, FaultError>;

    /// Mends it and measures that it is mended. Safe to call when the fault has healed by itself or never took hold.
    async fn heal(&self, context: &FaultContext) -> Result<Receipt, FaultError>;
}

/// Something of a replica that only one fault can have hold of at a time: healing the first would undo the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// Its processes.
    Processes,
    /// Its role in its group.
    Role,
    /// What time it takes it to be.
    Clock,
    /// Its disk at a path.
    Disk(String),
    /// A table of its database.
    Table(String),
    /// The slots for connections to it.
    Connections,
    /// Whether it replays what it receives.
    Replay,
    /// Whether its transactions may write.
    Writes,
    /// What it answers at a path.
    Answer(String),
}

impl Hold {
    /// How many faults there can be, for messages.
    pub fn allowed(&self) -> &'static str {
        match self {
            Self::Processes => "one fault of processes (kill, stop, pause, deploy, rollback) at a time on each replica",
            Self::Role => "one promotion at a time of each replica",
            Self::Clock => "one shift of the clock at a time on each replica",
            Self::Disk(_) => "one fault that fills a disk at a time on each replica",
            Self::Table(_) => "one fault (lock, slow-queries) at a time on each table of a replica",
            Self::Connections => "one fault that exhausts connections at a time on each replica",
            Self::Writes => "one fault that makes transactions read-only at a time on each replica",
            Self::Answer(_) => "one request whose effect is seen at that path at a time on each replica",
            Self::Replay => "one fault that stops the replay at a time on each replica",
        }
    }
}

/// What a fault takes of the kernel's network emulation (netem), which not every kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Emulated {
    /// What is done to packets, such as `delay`: of two faults that do the same to packets from one replica to another, only
    /// one can be in force.
    pub does: &'static str,
    /// Whether to packets in both directions between its two groups.
    pub both_ways: bool,
    /// What to use where the kernel has none; none if nothing else here does it.
    pub instead: Option<&'static str>,
}

/// Something wrong with the parameters of a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The place below `inject.<key>`, such as `from[0]` or `percent`.
    pub path: String,
    /// What is wrong, such as `must be from 0.1 to 99.9, is 100`.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// What a fault may use.
#[derive(Clone)]
pub struct FaultContext {
    /// The system under test.
    pub system: Arc<dyn RunningSystem>,
    /// Unique in the run: the position in the method.
    pub id: u32,
    /// Time-to-live that whatever enforces the fault keeps by itself.
    pub ttl: Duration,
    /// The replicas acted on when it was injected, so that healing mends what was broken though roles have moved since.
    pub acted: Acted,
    /// For random parts of a fault.
    pub seed: u64,
    /// How long to look for an effect.
    pub patience: Patience,
    /// The Toxiproxy that carries the links; absent where the agents do.
    pub toxiproxy: Option<ToxiproxyPlan>,
}

/// How long to look for an effect before it counts as not seen. Nothing is waited for that has been seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// A process is gone or frozen after the engine was told.
    pub halted: Duration,
    /// A process has ended of its own will, its grace period included.
    pub stopped: Duration,
    /// A replica is ready after it was set going again.
    pub ready: Duration,
    /// A standby has become a primary.
    pub promoted: Duration,
    /// A database has granted a lock, or done what else it was asked for.
    pub granted: Duration,
    /// A path is cut.
    pub cut: Duration,
    /// A path is open again.
    pub open: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            halted: Duration::from_secs(5),
            stopped: Duration::from_secs(60),
            ready: Duration::from_secs(30),
            promoted: Duration::from_secs(30),
            granted: Duration::from_secs(5),
            cut: Duration::from_secs(1),
            open: Duration::from_secs(2),
        }
    }
}

impl FaultContext {
    /// For one fault of a run; used for its injection and for its healing.
    pub fn new(system: Arc<dyn RunningSystem>, id: u32, ttl: Duration, seed: u64) -> Self {
        Self {
            system,
            id,
            ttl,
            acted: Acted::default(),
            seed,
            patience: Patience::default(),
            toxiproxy: None,
        }
    }
}

/// Why a fault could not be injected or healed.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// A role target matched no replica.
    #[error("no {role} among {members}: {reason}")]
    NoTarget {
        /// The role asked for.
        role: String,
        /// The members asked.
        members: String,
        /// What they answered.
        reason: String,
    },
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A target cannot be acted on.
    #[error("{replica}: {reason}")]
    Unfit {
        /// The replica.
        replica: String,
        /// Why not.
        reason: String,
    },
    /// The Toxiproxy that carries the links failed.
    #[error("Toxiproxy at {address}: {reason}")]
    Toxiproxy {
        /// Its control interface.
        address: std::net::SocketAddr,
        /// What went wrong.
        reason: String,
    },
    /// The agent failed.
    #[error("agent of {replica}: {reason}")]
    Agent {
        /// The replica it stands beside.
        replica: String,
        /// What went wrong.
        reason: String,
    },
}

/// Maps a list of targets, naming each place `<list>[<index>]`.
fn map_list<T, U, E>(list: &str, targets: &[T], map: &mut dyn FnMut(&str, &T) -> Result<U, E>) -> Result<Vec<U>, E> {
    targets
        .iter()
        .enumerate()
        .map(|(index, target)| map(&format!("{list}[{index}]"), target))
        .collect()
}

/// The default of a switch that is on unless said otherwise.
fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_double::targets;

    fn loss(percent: f64) -> FaultSpec<Target> {
        FaultSpec::Loss(loss::Loss {
            from: targets(&[1]),
            to: targets(&[2]),
            both_ways: false,
            percent,
        })
    }

    #[test]
    fn a_share_that_cannot_be_shown_is_a_problem() {
        for percent in [0.0, 100.0, -1.0, 0.01, f64::NAN] {
            let problems = loss(percent).problems();
            assert_eq!(problems.len(), 1, "{percent}");
            assert_eq!(problems[0].path, "percent");
        }
        assert_eq!(loss(30.0).problems(), []);
    }

    #[test]
    fn a_fault_on_nobody_is_a_problem() {
        let kill = FaultSpec::Kill(kill::Kill { targets: Vec::new() });
        assert_eq!(kill.problems()[0].path, "targets");
        let cut = FaultSpec::Partition(partition::Partition {
            from: Vec::new(),
            to: Vec::new(),
            both_ways: true,
        });
        let paths: Vec<String> = cut.problems().into_iter().map(|problem| problem.path).collect();
        assert_eq!(paths, ["from", "to"]);
    }

    #[test]
    fn the_blast_radius_is_one_line() {
        let pause = FaultSpec::Pause(pause::Pause {
            targets: targets(&[1, 2]),
        });
        assert_eq!(pause.behaviour().describe(), "freeze api-1, api-2");
        assert_eq!(loss(30.0).behaviour().describe(), "drop 30 % of packets api-1 -> api-2");
        let both = partition::Partition {
            from: targets(&[1]),
            to: targets(&[2]),
            both_ways: true,
        };
        assert_eq!(both.describe(), "drop all packets api-1 <-> api-2");
    }

    #[test]
    fn every_fault_is_written_under_its_key() {
        let written = serde_json::to_value(loss(30.0)).unwrap();
        assert_eq!(written["loss"]["both-ways"], false);
        let names = ["kill", "stop", "pause", "partition", "loss"];
        assert_eq!(NAMES[..names.len()], names);
        assert!(NAMES.contains(&"packet-latency"));
    }
}

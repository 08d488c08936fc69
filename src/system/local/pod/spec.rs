//! What a launcher is told: a line of JSON on the socket that is its standard input.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where programs are looked for if neither the image nor the Compose file says. As Docker has it.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a launcher is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spec {
    /// Make a network namespace on the run's bridge, and put an agent into it if there is to be one.
    Hold(Hold),
    /// Start a program in a root file system of its own.
    Program(Box<Program>),
    /// Start a program beside one that runs.
    Beside(Beside),
}

/// A network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The bridge.
    pub bridge: String,
    /// The name of the bridge's end of the wire.
    pub wire: String,
    /// The address.
    pub address: Ipv4Addr,
    /// Kernel parameters of the network.
    pub sysctls: BTreeMap<String, String>,
    /// The agent; without one no process stays.
    pub agent: Option<Agent>,
    /// An empty folder, for the agent's root.
    pub empty: PathBuf,
}

/// An agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Its command line.
    pub words: Vec<String>,
    /// Whether it may filter packets.
    pub filters: bool,
    /// What it has in its root: folders, and where they are within.
    pub disks: Vec<(PathBuf, String)>,
}

/// A program in a root file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The network namespace it joins, as a path; a new one, with nothing but `lo`, without it.
    pub network: Option<PathBuf>,
    /// Its host name.
    pub hostname: String,
    /// Its root.
    pub root: Root,
    /// Kernel parameters that are not of the network.
    pub sysctls: BTreeMap<String, String>,
    /// Limits: name, soft, hard.
    pub ulimits: Vec<(String, i64, i64)>,
    /// Whether a small init reaps its processes.
    pub init: bool,
    /// What runs.
    pub process: Process,
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The command line; the first word is found on `PATH`.
    pub words: Vec<String>,
    /// The environment, all of it.
    pub environment: BTreeMap<String, String>,
    /// Who it runs as: `uid`, `uid:gid`, `name`, `name:group`; root without it.
    pub user: Option<String>,
    /// Where it starts.
    pub working_dir: Option<String>,
    /// Whether every user id means something here; otherwise there is only one.
    pub all_users: bool,
    /// Capabilities beside the usual ones, without `CAP_`; `ALL` for all.
    pub cap_add: Vec<String>,
    /// Capabilities taken away; `ALL` for all.
    pub cap_drop: Vec<String>,
}

/// A root file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// The image's files.
    pub image: PathBuf,
    /// Where changes go: a folder of a file system that can hold them. Without it the image itself is changed.
    pub changes: Option<PathBuf>,
    /// Where the root is put together: an empty folder.
    pub merged: PathBuf,
    /// Whether every user id means something here.
    pub all_users: bool,
    /// Whether it cannot be written.
    pub read_only: bool,
    /// Folders in memory: path, and mount options.
    pub tmpfs: BTreeMap<String, String>,
    /// What is mounted, in this order.
    pub mounts: Vec<Mount>,
    /// Files that stand over the image's: path within, and text.
    pub files: BTreeMap<String, String>,
    /// The size of `/dev/shm` in bytes.
    pub shm_size_bytes: u64,
}

/// Something mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// What.
    pub source: PathBuf,
    /// Where, within the root.
    pub target: String,
    /// Whether it cannot be written.
    pub read_only: bool,
    /// Whether it begins with what the image has there.
    pub begins_with_image: bool,
}

/// A program beside one that runs: in its namespaces, its root file system and its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    /// The one that runs.
    pub pid: i32,
    /// What is to run.
    pub process: Process,
}

/// What a launcher says: a line of JSON each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// The network namespace is there: that of the process of this id.
    Holds(i32),
    /// The process of this id was cloned. If nothing follows, its program runs.
    Cloned(i32),
    /// It could not be done.
    Failed(String),
}

//! `compose.yaml`: the topology of a system, in the Compose format that everyone knows.
//!
//! [`load`] is pure: it reads the file, the files that it names, and the environment, and starts nothing. What nightmail
//! does not support is an error that says so; no key is passed over in silence. Nothing here knows an engine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::diagnostic::Diagnostic;
use crate::system::image::Recipe;

mod dotenv;
mod file;
mod mounts;
mod problem;
mod resolve;
mod scalar;
mod unsupported;
mod value;
mod words;

#[cfg(test)]
mod tests;

/// Why a Compose file cannot be used; its `Display` is the whole diagnostic.
pub type ComposeError = Diagnostic;

/// A Compose file with every default filled in and every reference checked.
#[derive(Debug, Clone)]
pub struct ComposeFile {
    /// The file.
    pub path: PathBuf,
    /// The folder against which its relative paths count.
    pub dir: PathBuf,
    /// The project's name, if the file gives one.
    pub name: Option<String>,
    /// The services, by name.
    pub services: BTreeMap<String, Service>,
    /// Named volumes that services mount.
    pub volumes: Vec<String>,
    /// `x-nightmail.images`: how images that no registry holds are made, by the name under which services use them.
    pub recipes: BTreeMap<String, Recipe>,
    /// What is accepted and has no effect, for the reader.
    pub notices: Vec<String>,
}

impl ComposeFile {
    /// Every image that a service names (not those it builds), once, in order.
    pub fn images(&self) -> Vec<&str> {
        let mut images: Vec<&str> = self
            .services
            .values()
            .filter_map(|service| match &service.image {
                ImageSource::Named(name) => Some(name.as_str()),
                ImageSource::Build(_) => None,
            })
            .collect();
        images.sort_unstable();
        images.dedup();
        images
    }

    /// The project's name as images carry it: the file's own, or its folder's.
    pub fn project(&self) -> String {
        let folder = || self.dir.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = self.name.clone().or_else(folder).unwrap_or_default().to_lowercase();
        let name: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        match name.trim_matches('-') {
            "" => "project".to_owned(),
            name => name.to_owned(),
        }
    }

    /// How many replicas each service has.
    pub fn replicas(&self) -> BTreeMap<String, u32> {
        self.services
            .iter()
            .map(|(name, service)| (name.clone(), service.replicas))
            .collect()
    }
}

/// A service.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// What it runs from.
    pub image: ImageSource,
    /// Its environment, `env_file` included.
    pub environment: BTreeMap<String, String>,
    /// Replaces the image's command.
    pub command: Option<Vec<String>>,
    /// Replaces the image's entrypoint.
    pub entrypoint: Option<Vec<String>>,
    /// What must have happened to other services before it starts.
    pub depends_on: BTreeMap<String, Condition>,
    /// Names by which it can be found, beside its own.
    pub aliases: Vec<String>,
    /// How many replicas run.
    pub replicas: u32,
    /// How Docker finds out whether it is healthy.
    pub healthcheck: Option<Healthcheck>,
    /// What is mounted into it.
    pub mounts: Vec<Mount>,
    /// Folders in memory: path, and mount options.
    pub tmpfs: BTreeMap<String, String>,
    /// Capabilities taken away.
    pub cap_drop: Vec<String>,
    /// Capabilities given.
    pub cap_add: Vec<String>,
    /// Security options; `no-new-privileges` is always among them.
    pub security_opt: Vec<String>,
    /// What happens when it ends.
    pub restart: Restart,
    /// Who it runs as.
    pub user: Option<String>,
    /// Where it starts.
    pub working_dir: Option<String>,
    /// Its host name; the replica's name if absent.
    pub hostname: Option<String>,
    /// The signal that asks it to end; the image's if absent.
    pub stop_signal: Option<String>,
    /// How long it may take to end.
    pub stop_grace: Duration,
    /// Whether its root file system cannot be written.
    pub read_only: bool,
    /// Whether a small init reaps its processes.
    pub init: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Resource limits: name, soft, hard.
    pub ulimits: Vec<(String, i64, i64)>,
    /// The size of `/dev/shm` in bytes.
    pub shm_size_bytes: Option<u64>,
    /// Kernel parameters of its namespaces.
    pub sysctls: BTreeMap<String, String>,
}

/// What a service runs from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// An image by name: a recipe's, or a registry's.
    Named(String),
    /// A Dockerfile.
    Build(Build),
}

/// A Dockerfile to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// The folder that is its context.
    pub context: PathBuf,
    /// The Dockerfile, relative to the context.
    pub dockerfile: String,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// The stage to build.
    pub target: Option<String>,
}

/// What must have happened to a service before another starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It has started.
    Started,
    /// It is ready.
    Healthy,
    /// It has ended with exit code 0.
    Completed,
}

/// A Compose health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healthcheck {
    /// `CMD ...` or `CMD-SHELL ...`.
    pub test: Vec<String>,
    /// Time between checks.
    pub interval: Option<Duration>,
    /// How long a check may take.
    pub timeout: Option<Duration>,
    /// How many failures in a row make it unhealthy.
    pub retries: Option<u32>,
    /// Failures in this time after the start do not count.
    pub start_period: Option<Duration>,
}

/// Something mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What.
    pub source: MountSource,
    /// Where, within the container.
    pub target: String,
    /// Whether it cannot be written.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// A named volume of the run.
    Volume(String),
    /// A volume without a name.
    Anonymous,
    /// A file or folder of the host (absolute).
    Bind(PathBuf),
}

/// What happens when a container ends by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Restart {
    /// Nothing.
    #[default]
    No,
    /// It is started again.
    Always,
    /// It is started again unless it was stopped.
    UnlessStopped,
    /// It is started again if it failed, so many times at most (0: without end).
    OnFailure(u32),
}

/// Reads a Compose file with the process's environment, and `.env` beside the file, for its `${...}`.
pub fn load(path: &Path) -> Result<ComposeFile, ComposeError> {
    load_with(path, &std::env::vars().collect())
}

/// As [`load`], with an environment given.
pub fn load_with(path: &Path, environment: &BTreeMap<String, String>) -> Result<ComposeFile, ComposeError> {
    let dir = path.parent().unwrap_or(Path::new("")).to_owned();
    let dir = std::path::absolute(if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        &dir
    })
    .map_err(|error| Diagnostic::in_file(path, format!("its folder cannot be found: {error}")))?;
    let environment = dotenv::with_dotenv(&dir, environment)?;
    let (text, raw) = file::read(path, &environment)?;
    resolve::resolve(path, dir, &text, raw, &environment)
}

//! Images: root file systems that nightmail makes, with the settings they run under.
//!
//! An image is data: files from this host, a command that finishes it, and settings. An engine turns it into what it
//! runs containers from; nothing here knows which engine that is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub mod cargo_binary;
pub mod closure;
pub mod context;
pub mod dockerfile;
pub mod host_programs;
pub mod identity;
pub mod own_binary;
pub mod packages;
pub mod postgres;
pub mod rootfs;
pub mod store;
pub mod tree;

use closure::Closure;
pub use rootfs::RootFs;
pub use store::{Store, Stored};

/// The user that replicas run as, in images that nightmail makes.
pub const USER: u32 = 999;

/// That user and its group, as settings say it.
fn user() -> Option<String> {
    Some(format!("{USER}:{USER}"))
}

/// How an image that no registry holds is made: a value of `x-nightmail.images`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Recipe {
    /// A program of the Cargo workspace around the Compose file.
    CargoBinary(cargo_binary::CargoBinary),
    /// Programs of this host, with the libraries that they need: a base for a Dockerfile.
    HostPrograms(host_programs::HostPrograms),
    /// A PostgreSQL server with its data directory initialised.
    Postgres(postgres::Postgres),
}

impl Recipe {
    /// Collects what the image is made of. May run Cargo or a package manager. `dir` is the Compose file's folder.
    pub fn collect(&self, dir: &Path) -> Result<Image, ImageError> {
        match self {
            Self::CargoBinary(recipe) => recipe.collect(dir),
            Self::HostPrograms(recipe) => recipe.collect(),
            Self::Postgres(recipe) => recipe.collect(),
        }
    }

    /// What is done to make it, in a few words.
    pub fn step(&self) -> String {
        match self {
            Self::CargoBinary(recipe) => format!("building {} with Cargo", recipe.binary),
            Self::HostPrograms(recipe) => format!("collecting {}", recipe.programs.join(", ")),
            Self::Postgres(recipe) => match recipe.failover_manager {
                None => format!("assembling PostgreSQL {}", recipe.version),
                Some(postgres::FailoverManager::PgAutoFailover) => {
                    format!("assembling PostgreSQL {} with pg_auto_failover", recipe.version)
                }
            },
        }
    }
}

/// What an image is made of.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// An image of a registry whose files lie below those of `rootfs`; without it there is nothing below.
    pub base: Option<String>,
    /// Why it needs that base, where this host was asked first.
    pub base_because: Option<ImageError>,
    /// Its files.
    pub rootfs: RootFs,
    /// A command run once within, as `settings.user`, to finish it.
    pub finish: Option<Vec<String>>,
    /// How it runs.
    pub settings: Settings,
}

impl Image {
    /// A program of the host, alone with the libraries it needs. It lies at `path` and is what the image runs.
    fn of_program(path: &Path, executable: &Path) -> Result<Self, ImageError> {
        let mut rootfs = RootFs::default();
        base_files(&mut rootfs);
        let mut closure = Closure::new(Path::new("/"));
        closure.program(path, executable)?;
        let folders = closure.install(&mut rootfs)?;
        Ok(Self {
            rootfs,
            settings: Settings {
                environment: folders
                    .map(|folders| ("LD_LIBRARY_PATH".to_owned(), folders))
                    .into_iter()
                    .collect(),
                entrypoint: vec![path.display().to_string()],
                ..Settings::default()
            },
            ..Self::default()
        })
    }
}

/// How an image runs unless told otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Its environment.
    pub environment: BTreeMap<String, String>,
    /// What it runs; arguments of a container replace what follows the entrypoint.
    pub command: Vec<String>,
    /// What it always runs.
    pub entrypoint: Vec<String>,
    /// Who it runs as: `user`, or `user:group`; names are those of its own `/etc/passwd` and `/etc/group`.
    pub user: Option<String>,
    /// The folder it runs in; without it, the root folder.
    pub working_dir: Option<String>,
    /// Folders whose content outlives a container, in order.
    pub volumes: Vec<String>,
    /// The signal that asks it to end.
    pub stop_signal: Option<String>,
}

/// Runs a command within a root file system that is being made.
pub trait Within: Send + Sync {
    /// `root` is changed in place. The output's last lines come back in the error.
    fn run(&self, root: &Path, command: &Inside<'_>) -> Result<(), ImageError>;
}

/// A command within a root file system.
#[derive(Debug, Clone, Copy)]
pub struct Inside<'a> {
    /// The program and its arguments.
    pub words: &'a [String],
    /// Its whole environment.
    pub environment: &'a BTreeMap<String, String>,
    /// Who it runs as, as in [`Settings::user`]; root if it is not said.
    pub user: Option<&'a str>,
    /// The folder it runs in; the root folder if it is not said.
    pub working_dir: Option<&'a str>,
}

/// Why an image could not be made.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub struct ImageError {
    /// Why, with a hint where there is one.
    pub reason: String,
    /// The last lines of the output of whatever failed.
    pub log: Vec<String>,
}

impl ImageError {
    /// A failure without output.
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            log: Vec::new(),
        }
    }

    /// A failure to read or write a path.
    pub fn io(path: &Path, error: &std::io::Error) -> Self {
        Self::new(format!("{}: {error}", path.display()))
    }

    /// A command that failed, with the end of what it said.
    pub fn command(command: &str, output: &std::process::Output) -> Self {
        const LINES_MAX: usize = 30;
        let text = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        Self {
            reason: format!("`{command}` failed ({})", output.status),
            log: lines[lines.len().saturating_sub(LINES_MAX)..].to_vec(),
        }
    }
}

/// Files that every image has: names for its users, and a folder for temporary files.
fn base_files(rootfs: &mut RootFs) {
    let passwd = format!("root:x:0:0::/:/bin/sh\npostgres:x:{USER}:{USER}::/var/lib/postgresql:/bin/sh\n");
    let group = format!("root:x:0:\npostgres:x:{USER}:\n");
    rootfs.text("/etc/passwd", passwd, 0o644);
    rootfs.text("/etc/group", group, 0o644);
    rootfs.text("/etc/nsswitch.conf", "hosts: files dns\n", 0o644);
    rootfs.folder("/tmp", 0o1777, 0);
}

/// Finds a program on the host's `PATH`, links followed.
fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    // Where an ordinary user's path has no room for them.
    folders.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .and_then(|found| found.canonicalize().ok())
}

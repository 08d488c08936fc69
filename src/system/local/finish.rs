//! Commands that finish an image (`nightmail finish`): run once within its root file system, which they change in place.
//!
//! Each has a stage of its own and no network: a root file system comes from what the Compose file names, not from the world.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use serde::{Deserialize, Serialize};

use super::pod::spec::{Process, Program, Root, Spec};
use super::process::Launcher;
use super::stage;
use crate::system::image::{ImageError, Inside, Within};

/// A command to run.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    root: PathBuf,
    words: Vec<String>,
    environment: BTreeMap<String, String>,
    user: Option<String>,
    working_dir: Option<String>,
}

/// Runs commands by `nightmail finish`.
pub(super) struct Finisher {
    /// nightmail itself.
    pub(super) nightmail: PathBuf,
}

impl Within for Finisher {
    fn run(&self, root: &Path, command: &Inside<'_>) -> Result<(), ImageError> {
        let order = Order {
            root: root.to_owned(),
            words: command.words.to_vec(),
            environment: command.environment.clone(),
            user: command.user.map(str::to_owned),
            working_dir: command.working_dir.map(str::to_owned),
        };
        let shown = command.words.join(" ");
        let failed = |error: std::io::Error| ImageError::new(format!("running `{shown}`: {error}"));
        let order = serde_json::to_vec(&order).map_err(|error| failed(error.into()))?;
        let mut finish = Command::new(&self.nightmail)
            .arg("finish")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        if let Some(mut stdin) = finish.stdin.take() {
            stdin.write_all(&order).map_err(failed)?;
        }
        let output = finish.wait_with_output().map_err(failed)?;
        match output.status.success() {
            true => Ok(()),
            false => Err(ImageError::command(&shown, &output)),
        }
    }
}

/// Runs a command that standard input tells, and gives its exit code.
#[expect(clippy::print_stderr, reason = "its only reader is the process that started it")]
pub fn main() -> ExitCode {
    let ended = match stage::is_inside() {
        true => run(),
        false => enter(),
    };
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::from(4)
        }
    }
}

fn enter() -> Result<u8, String> {
    let nightmail = std::env::current_exe().map_err(|error| error.to_string())?;
    let words = [OsString::from("finish")];
    stage::run_without_porter(&nightmail, nightmail.as_os_str(), &words).map_err(|error| error.to_string())
}

fn run() -> Result<u8, String> {
    let inside = stage::Inside::take().ok_or("the stage is not whole")?;
    let order: Order = serde_json::from_reader(std::io::stdin()).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let merged = inside.dir.join("root");
    std::fs::create_dir(&merged).map_err(|error| format!("{}: {error}", merged.display()))?;
    let program = Program {
        network: None,
        hostname: "image".to_owned(),
        root: Root {
            image: order.root,
            changes: None,
            merged,
            all_users: stage::all_users_exist(),
            read_only: false,
            tmpfs: BTreeMap::new(),
            mounts: Vec::new(),
            files: BTreeMap::new(),
            shm_size_bytes: 64 << 20,
        },
        sysctls: BTreeMap::new(),
        ulimits: Vec::new(),
        init: false,
        process: Process {
            words: order.words,
            environment: order.environment,
            user: order.user,
            working_dir: order.working_dir,
            all_users: stage::all_users_exist(),
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
        },
    };
    runtime.block_on(async {
        // Its own words, to whoever reads ours.
        let output = nix::unistd::dup(std::io::stderr()).map_err(|error| error.to_string())?;
        let launcher = Launcher::new(&inside.nightmail).map_err(|error| error.to_string())?;
        let child = launcher.program(Spec::Program(Box::new(program)), output).await?;
        Ok(u8::try_from(child.ended().await.code()).unwrap_or(u8::MAX))
    })
}

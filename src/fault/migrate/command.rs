//! A migration tool of the user's, run on the harness's host: it finds the server in the variables that PostgreSQL's own
//! programs read (`PGHOST` and others), and bears the fault's name there (`PGAPPNAME`).

use std::process::Stdio;
use std::sync::{Mutex, PoisonError};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Command;

/// A command, and what it is told of the server.
pub(super) struct Tool {
    words: Vec<String>,
    environment: Vec<(&'static str, String)>,
    /// The process group of the one that runs.
    group: Mutex<Option<Pid>>,
}

/// Why it did not succeed.
pub(super) enum Unsuccessful {
    /// It did not run at all.
    NotRun(String),
    /// It ended so, with its last words.
    Ended(String),
}

impl Tool {
    pub(super) fn new(words: &[String], environment: Vec<(&'static str, String)>) -> Self {
        Self {
            words: words.to_vec(),
            environment,
            group: Mutex::new(None),
        }
    }

    /// Runs it to its end.
    pub(super) async fn run(&self) -> Result<(), Unsuccessful> {
        let (program, arguments) = self
            .words
            .split_first()
            .expect("validation refuses a command of no words");
        let child = Command::new(program)
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .process_group(0)
            .kill_on_drop(true)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Unsuccessful::NotRun(format!("`{program}` cannot be run: {error}")))?;
        self.remember(child.id());
        let ended = child.wait_with_output().await;
        self.remember(None);
        let ended = ended.map_err(|error| Unsuccessful::NotRun(format!("`{program}`: {error}")))?;
        if ended.status.success() {
            return Ok(());
        }
        let said = [ended.stderr, ended.stdout].map(|said| String::from_utf8_lossy(&said).trim().to_owned());
        let last = said.iter().filter_map(|said| said.lines().last()).next();
        let words = last.map(|last| format!(": {last}")).unwrap_or_default();
        Err(Unsuccessful::Ended(format!("{}{words}", ended.status)))
    }

    /// SIGKILL to it and whatever it has started.
    pub(super) fn kill(&self) {
        if let Some(group) = self.group.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // It may have ended by itself by now.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }

    fn remember(&self, pid: Option<u32>) {
        let group = pid.map(|pid| Pid::from_raw(pid.cast_signed()));
        *self.group.lock().unwrap_or_else(PoisonError::into_inner) = group;
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        self.kill();
    }
}

//! A run of an experiment by the binary, as a user makes it, and where its time went.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nightmail::event::{self, Entry, Event, Phase};

/// Where the time of a run went.
pub struct Run {
    /// From the command to the first arrival.
    pub before: Duration,
    /// From the last arrival to the beginning of the end of the system: it waits for the system itself.
    pub drain: Duration,
    /// The end of the system.
    pub down: Duration,
    /// Judging, reports, the end of the command.
    pub after: Duration,
}

impl Run {
    /// Runs an experiment on an engine. Any verdict but *pass* is a failure.
    pub fn of(experiment: &str, engine: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let out = tempfile::tempdir()?;
        let began_ms = now_ms()?;
        let status = Command::new(env!("CARGO_BIN_EXE_nightmail"))
            .args(["run", experiment, "--engine", engine, "--out"])
            .arg(out.path())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        let ended_ms = now_ms()?;
        if !status.success() {
            return Err(format!("{engine}: the experiment did not pass: {status}").into());
        }
        let events = read_events(&only_folder(out.path())?.join(event::FILE))?;
        let at = |wanted: &dyn Fn(&Event) -> bool| {
            let entry = events.iter().find(|entry| wanted(&entry.event));
            entry.map(|entry| entry.unix_ms).ok_or("an event is missing")
        };
        let load = at(&|event| matches!(event, Event::Phase { phase: Phase::Gate, .. }))?;
        let load_ended = at(&|event| matches!(event, Event::LoadEnded(_)))?;
        let down = at(&|event| matches!(event, Event::Phase { phase: Phase::Down, .. }))?;
        let is_down = at(&|event| matches!(event, Event::Down { .. }))?;
        let between = |from: i64, to: i64| Duration::from_millis(u64::try_from(to - from).unwrap_or(0));
        Ok(Self {
            before: between(began_ms, load),
            drain: between(load_ended, down),
            down: between(down, is_down),
            after: between(is_down, ended_ms),
        })
    }
}

fn now_ms() -> Result<i64, Box<dyn std::error::Error + Send + Sync>> {
    Ok(i64::try_from(
        SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis(),
    )?)
}

fn only_folder(out: &Path) -> std::io::Result<PathBuf> {
    let mut folders = std::fs::read_dir(out)?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let folder = folders.find(|path| path.join(event::FILE).is_file());
    folder.ok_or_else(|| std::io::Error::other("no run folder"))
}

fn read_events(file: &Path) -> Result<Vec<Entry>, Box<dyn std::error::Error + Send + Sync>> {
    let text = std::fs::read_to_string(file)?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

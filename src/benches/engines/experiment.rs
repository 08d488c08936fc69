//! What an experiment costs beside its load, images present: the time of the whole command less the time under load.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use nightmail::event::{self, Entry, Event, Phase};

use super::{Failure, median};

/// Runs; the first is not counted.
const ROUNDS: usize = 3;
/// With a fault of the network, so that agents stand beside its replicas.
const EXPERIMENT: &str = "experiments/postage/provider-cut-off.yaml";

/// In milliseconds, at the median. The drain and the final reads are no part of it: they wait for the system itself, as
/// long as its labels take to print.
pub fn overhead_ms(engine: &str) -> Result<f64, Failure> {
    let mut all = Vec::new();
    for round in 0..=ROUNDS {
        let overhead = run(engine)?;
        if round > 0 {
            all.push(overhead as f64);
        }
    }
    median(all)
}

fn run(engine: &str) -> Result<i64, Failure> {
    let out = tempfile::tempdir()?;
    let began_ms = now_ms()?;
    let status = Command::new(env!("CARGO_BIN_EXE_nightmail"))
        .args(["run", EXPERIMENT, "--engine", engine, "--out"])
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
    let at = |wanted: &dyn Fn(&Event) -> bool| -> Result<i64, Failure> {
        let entry = events.iter().find(|entry| wanted(&entry.event));
        Ok(entry.ok_or("an event is missing")?.unix_ms)
    };
    let load = at(&|event| matches!(event, Event::Phase { phase: Phase::Gate, .. }))?;
    let down = at(&|event| matches!(event, Event::Phase { phase: Phase::Down, .. }))?;
    Ok((load - began_ms) + (ended_ms - down))
}

fn now_ms() -> Result<i64, Failure> {
    Ok(i64::try_from(
        SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis(),
    )?)
}

fn only_folder(out: &Path) -> Result<PathBuf, Failure> {
    let mut folders = std::fs::read_dir(out)?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    Ok(folders
        .find(|path| path.join(event::FILE).is_file())
        .ok_or("no run folder")?)
}

fn read_events(file: &Path) -> Result<Vec<Entry>, Failure> {
    let text = std::fs::read_to_string(file)?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

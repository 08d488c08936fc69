//! The folder of a run: `runs/<time>-<name>/`, which file is which, and how they are read back.

use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};

use super::seal;
use crate::event::{self, Entry};
use crate::plan::{self, Plan};

/// A run's folder, made anew.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
    run_id: String,
    plan: Plan,
}

impl RunFolder {
    /// Makes `<out>/<time>-<name>` and writes the plan into it, without its secrets. Runs that start in the same second get a number.
    pub fn create(out: &Path, plan: &Plan) -> io::Result<Self> {
        std::fs::create_dir_all(out)?;
        let out = out.canonicalize()?;
        let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let base = format!("{time}-{}", plan.experiment.name);
        let path = first_free(&out, &base)?;
        std::fs::create_dir(path.join("logs"))?;
        let plan = plan.redacted();
        std::fs::write(path.join(plan::FILE), serde_json::to_vec_pretty(&plan)?)?;
        let run_id = run_id();
        Ok(Self { path, run_id, plan })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Unique on this machine, and fit for names of containers and idempotency keys: lower-case letters and digits.
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// The plan as it stands in the folder, without secrets: what is shown and judged.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The file of the history.
    pub fn history(&self) -> PathBuf {
        self.path.join(crate::history::FILE)
    }

    /// The file of the events.
    pub fn events(&self) -> PathBuf {
        self.path.join(event::FILE)
    }

    /// The folder of the replicas' logs.
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }
}

fn first_free(out: &Path, base: &str) -> io::Result<PathBuf> {
    for attempt in 1..1_000 {
        let path = out.join(if attempt == 1 {
            base.to_owned()
        } else {
            format!("{base}-{attempt}")
        });
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AlreadyExists,
        format!("{}: no free name for a run", out.display()),
    ))
}

/// Milliseconds of the clock and a number by chance: unique on a machine, and among machines too for all that matters.
fn run_id() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let ms = jiff::Timestamp::now().as_millisecond();
    // No process id: on a stage it is the same each time.
    format!("{ms:x}x{:x}x{count:x}", rand::random::<u32>())
}

/// Whether a harness is at work on a run: it holds its events, and has not sealed it.
pub fn is_under_way(dir: &Path) -> bool {
    if dir.join(seal::FILE).is_file() {
        return false;
    }
    let events = std::fs::File::open(dir.join(event::FILE));
    events.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Reads a run's plan.
pub fn read_plan(dir: &Path) -> io::Result<Plan> {
    let path = dir.join(plan::FILE);
    serde_json::from_slice(&std::fs::read(&path)?).map_err(|error| named(&path, error))
}

/// Reads a run's events. A last line that a killed harness left incomplete is passed over.
pub fn read_events(dir: &Path) -> io::Result<Vec<Entry>> {
    let path = dir.join(event::FILE);
    let text = std::fs::read_to_string(&path)?;
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    complete
        .lines()
        .map(|line| serde_json::from_str(line).map_err(|error| named(&path, error)))
        .collect()
}

fn named(path: &Path, error: serde_json::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
}

//! The page of a run of a million operations, in at most 2 s and 300 MB.
//!
//! `cargo bench --bench report`. A run's folder is made first, and judged; a child process then reads the folder and writes the
//! page, so that its peak memory is that of reporting alone. Exits with 1 beyond either bound, or if the page is not what it
//! should be.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use million::{Failure, OPERATIONS, say};
use nightmail::campaign::Campaign;
use nightmail::event::{Entry, Event, Phase};
use nightmail::history::load::History;
use nightmail::report::campaign::{self, Options};

mod million;

const TIME_MAX: Duration = Duration::from_secs(2);
const RSS_MAX_KB: u64 = 300_000;

fn main() -> ExitCode {
    million::ended(match million::asked("--report") {
        Some(dir) => report(Path::new(&dir)),
        None => measure(),
    })
}

/// Makes the run's folder and has it reported by children.
fn measure() -> Result<ExitCode, Failure> {
    let dir = tempfile::tempdir()?;
    let history = dir.path().join(nightmail::history::FILE);
    let items = million::write_history(&history)?;
    let bytes = std::fs::metadata(&history)?.len();
    say(&format!(
        "{OPERATIONS} operations, {items} items of final reads, {} MB",
        bytes / 1_000_000
    ));
    let plan = million::plan()?;
    let text = nightmail::history::load::read(&history)?;
    let events = [Entry {
        at_us: 0,
        unix_ms: 1_796_000_000_000,
        event: Event::Phase {
            phase: Phase::Gate,
            budget_ms: None,
        },
    }];
    let verdict = nightmail::check::judge(&plan, &History::parse(&text)?, &events);
    let json = |name: &str, json: Vec<u8>| std::fs::write(dir.path().join(name), json);
    json(nightmail::plan::FILE, serde_json::to_vec(&plan)?)?;
    json(nightmail::verdict::FILE, serde_json::to_vec(&verdict)?)?;
    json(nightmail::event::FILE, serde_json::to_vec(&events[0])?)?;
    million::measure("--report", dir.path())
}

/// Reads the folder, writes the page, and says what it took.
fn report(dir: &Path) -> Result<ExitCode, Failure> {
    let file = dir.join("page.html");
    let started = Instant::now();
    let (runs, wrong) = Campaign::gather(&[dir.to_owned()]);
    let page = campaign::write(&file, &runs, &[], &Options::now())?;
    let total = started.elapsed();
    if let Some(error) = wrong.first() {
        return Err(error.to_string().into());
    }
    let course = page.experiments.first().and_then(|run| run.course.as_ref());
    let operations = course.iter().flat_map(|course| &course.operations);
    let counted: u64 = operations.flat_map(|operation| &operation.arrived).sum();
    if counted != OPERATIONS {
        return Err(format!("{counted} operations are on the page").into());
    }
    let peak_kb = million::peak_rss_kb()?;
    say(&format!(
        "reported in {} ms (at most {} ms); peak {} MB (at most {} MB); the page has {} kB",
        total.as_millis(),
        TIME_MAX.as_millis(),
        peak_kb / 1_000,
        RSS_MAX_KB / 1_000,
        std::fs::metadata(&file)?.len() / 1_000,
    ));
    let kept = total <= TIME_MAX && peak_kb <= RSS_MAX_KB;
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

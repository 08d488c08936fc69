//! A million operations judged by all checkers, the reading of the saved history included, in at most 2 s and 1 GB.
//!
//! `cargo bench --bench check`. The history is written to a temporary file first; a child process then reads and judges
//! it, so that its peak memory is that of judging alone. Exits with 1 beyond either bound, or if the verdicts are wrong.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use million::{Failure, OPERATIONS, say};
use nightmail::history::load::History;
use nightmail::verdict::Judgement;

mod million;

const TIME_MAX: Duration = Duration::from_secs(2);
const RSS_MAX_KB: u64 = 1_000_000;

fn main() -> ExitCode {
    million::ended(match million::asked("--judge") {
        Some(file) => judge(Path::new(&file)),
        None => measure(),
    })
}

/// Writes the history and has it judged by children.
fn measure() -> Result<ExitCode, Failure> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("history.jsonl");
    let items = million::write_history(&file)?;
    let bytes = std::fs::metadata(&file)?.len();
    say(&format!(
        "{OPERATIONS} operations, {items} items of final reads, {} MB",
        bytes / 1_000_000
    ));
    million::measure("--judge", &file)
}

/// Reads and judges, and says what it took.
fn judge(file: &Path) -> Result<ExitCode, Failure> {
    let plan = million::plan()?;
    let started = Instant::now();
    let text = nightmail::history::load::read(file)?;
    let history = History::parse(&text)?;
    let read = started.elapsed();
    let verdict = nightmail::check::judge(&plan, &history, &[]);
    let total = started.elapsed();
    for name in &plan.invariants {
        let assertion = verdict.assertions.iter().find(|assertion| assertion.name == *name);
        let finding = &assertion.ok_or("an invariant was not judged")?.finding;
        if finding.verdict != Judgement::Pass {
            return Err(format!("{name}: {finding:?}").into());
        }
    }
    let peak_kb = million::peak_rss_kb()?;
    say(&format!(
        "read {} ms, judged {} ms, together {} ms (at most {} ms); peak {} MB (at most {} MB)",
        read.as_millis(),
        (total - read).as_millis(),
        total.as_millis(),
        TIME_MAX.as_millis(),
        peak_kb / 1_000,
        RSS_MAX_KB / 1_000,
    ));
    let kept = total <= TIME_MAX && peak_kb <= RSS_MAX_KB;
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

//! Reports: everything a person or a pipeline looks at.
//!
//! Every report renders the same values (a plan, its verdict, its history, its events), and says the same in the same
//! words, which live in [`words`]. What comes out of a system under test is data to every format and never markup: it
//! passes through [`text`] first, and through the format's own escaping after that.
//!
//! Architecture invariant: nothing here names tokio or bollard, and nothing but the terminal reads the environment.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use crate::event::Entry;
use crate::history::load::History;
use crate::plan::Plan;
use crate::verdict::{self, Verdict};

pub mod campaign;
pub mod comparison;
pub mod gate;
pub mod github;
pub mod html;
pub mod junit;
pub mod openmetrics;
pub mod site;
pub mod summary;
pub mod table;
pub mod terminal;

mod mark;
mod series;
mod svg;
mod text;
mod words;

#[cfg(test)]
mod figures;
#[cfg(test)]
mod hostile;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;

/// Writes `verdict.json`, `junit.xml`, `summary.md` and `report.html` into a run's folder.
///
/// The verdict comes first, and a report that cannot be written keeps none of the others from being written: the first
/// error is returned when all have been tried. No reader ever sees half a file.
pub fn write_all(
    run_dir: &Path,
    plan: &Plan,
    verdict: &Verdict,
    history: &History<'_>,
    events: &[Entry],
) -> io::Result<()> {
    write_verdict(run_dir, verdict)?;
    let page = html::render(plan, verdict, history, events);
    let page = replace(run_dir, html::FILE, page.as_bytes());
    let suite = junit::Suite {
        file: &plan.experiment.path,
        // Of the page that was just written.
        attachment: junit::attachment(run_dir),
        properties: vec![("experiment-sha256", plan.experiment.sha256.clone())],
        ..junit::Suite::of_run(verdict, run_dir, took(events))
    };
    let written = [
        replace(
            run_dir,
            junit::FILE,
            junit::render(&[suite], &junit::Besides::default()).as_bytes(),
        ),
        replace(run_dir, summary::FILE, summary::render(plan, verdict).as_bytes()),
        page,
    ];
    written.into_iter().collect()
}

/// Writes `verdict.json` alone: for a run that has no plan to report on.
pub fn write_verdict(run_dir: &Path, verdict: &Verdict) -> io::Result<()> {
    let mut json = serde_json::to_vec_pretty(verdict)?;
    json.push(b'\n');
    replace(run_dir, verdict::FILE, &json)
}

/// How long a run took by the wall clock, from its first event to its last.
pub fn took(events: &[Entry]) -> Duration {
    let first = events.iter().map(|entry| entry.unix_ms).min().unwrap_or(0);
    let last = events.iter().map(|entry| entry.unix_ms).max().unwrap_or(0);
    Duration::from_millis(last.abs_diff(first))
}

/// Writes a file under another name and renames it, so that whoever reads it reads the whole of it.
pub(crate) fn replace(dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    // Several commands may write into one folder at the same time. On a stage each of them has the same process id.
    let unfinished = dir.join(format!(".{name}.unfinished-{:x}", rand::random::<u64>()));
    let write = || -> io::Result<()> {
        let mut file = File::create(&unfinished)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&unfinished, dir.join(name))
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&unfinished);
        io::Error::new(
            error.kind(),
            format!("cannot write {}: {error}", dir.join(name).display()),
        )
    })
}

//! The page of a campaign: what a release manager signs.
//!
//! First the page as values ([`model`]), which golden tests compare; then that as one HTML file, which needs nothing else.
//! Runs are taken from [`crate::campaign`]; what a run's folder has beyond its record (its history, its logs, its checksums)
//! is read here, in memory that does not grow with the history.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::campaign::accept::Accepted;
use crate::campaign::shard::plain;
use crate::campaign::{Campaign, RunRecord};

mod around;
mod binned;
pub mod course;
mod coverage;
mod decision;
mod experiment;
mod html;
pub mod model;
mod noticed;
mod open;
mod source;
pub mod waits;

#[cfg(test)]
mod size;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(in crate::report) use tests::sample_page;

use coverage::Freshness;
use decision::{Counted, Grounds};
pub use html::render;
use model::Page;

/// File of the page beside the folders of the runs that one command made.
pub const FILE: &str = "report.html";

/// How long a pass is fresh unless said otherwise: 30 days.
pub const STALE_AFTER_MS: u64 = 30 * 24 * 3_600_000;

/// What the page says beyond its runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Now, in milliseconds since 1970-01-01 UTC.
    pub now_unix_ms: i64,
    /// A pass that is older than this is told to be old.
    pub stale_after_ms: u64,
    /// Weaknesses that count against nothing until their day.
    pub accepted: Accepted,
    /// What decides beside the runs.
    pub besides: Besides,
}

/// What decides beside the runs, as whoever made them knows: a sentence each.
#[derive(Debug, Clone, Default)]
pub struct Besides {
    /// What speaks against, such as what regressed.
    pub against: Vec<String>,
    /// What is in doubt, such as a shard that is missing.
    pub doubts: Vec<String>,
    /// What is to be known and decides nothing.
    pub notes: Vec<String>,
    /// Planned experiments of which nobody knows whether they were run, by their files, each with why.
    pub lost: BTreeMap<PathBuf, String>,
}

impl Options {
    /// Those of a page that is made now.
    pub fn now() -> Self {
        Self {
            now_unix_ms: jiff::Timestamp::now().as_millisecond(),
            stale_after_ms: STALE_AFTER_MS,
            accepted: Accepted::default(),
            besides: Besides::default(),
        }
    }
}

/// Makes the page. `not_read` says of what could not be read why.
pub fn page(campaign: &Campaign, not_read: &[String], options: &Options) -> Page {
    let proofs = proofs(&campaign.runs);
    let mut runs = Vec::new();
    let mut experiments = Vec::new();
    let mut evidence = Vec::new();
    for run in &campaign.runs {
        let mut source = source::read(&run.folder, run.counts());
        let number = run.counts().then_some(runs.len() + 1);
        evidence.push(experiment::evidence(number, run, source.as_ref(), &proofs));
        if let Some(number) = number {
            experiments.push(experiment::experiment(number, run, source.as_mut(), &options.accepted));
            let weighed = options.accepted.weigh(run);
            runs.push(Counted { number, run, weighed });
        }
    }
    let services = decision::services(&runs, &options.accepted);
    let (not_run, lost) = not_run(campaign, &options.besides.lost);
    let freshness = Freshness {
        stale_before_unix_ms: options.now_unix_ms.saturating_sub_unsigned(options.stale_after_ms),
        proofs: &proofs,
    };
    let grounds = Grounds {
        runs: &runs,
        services: &services,
        accepted: &options.accepted,
        not_run: not_run.len(),
        lost: lost.len(),
        not_read,
        open: open::open(&runs, &freshness),
        besides: &options.besides,
    };
    Page {
        nightmail: env!("CARGO_PKG_VERSION").to_owned(),
        made_unix_ms: options.now_unix_ms,
        stale_after_ms: options.stale_after_ms,
        decision: grounds.decide(),
        zeros: decision::zeros(&runs),
        noticed: noticed::notice(&runs, &experiments),
        coverage: coverage::coverage(&runs, &freshness),
        services,
        accepted: decision::accepted(&runs, &options.accepted),
        experiments,
        evidence,
        not_run: [not_run, lost].concat(),
        not_read: not_read.to_vec(),
    }
}

/// Makes the page and writes it to a file: whoever reads that reads the whole of it.
pub fn write(file: &Path, campaign: &Campaign, not_read: &[String], options: &Options) -> io::Result<Page> {
    let page = page(campaign, not_read, options);
    let name = file.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{}: not the name of a file", file.display()),
        )
    })?;
    let dir = match file.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(dir)?;
    super::replace(dir, name, render(&page).as_bytes())?;
    Ok(page)
}

/// Whether each experiment file, by its SHA-256, is shown to be able to fail, as the latest proof of it says. Files that
/// nobody tried to prove are not here.
fn proofs(runs: &[RunRecord]) -> BTreeMap<&str, bool> {
    let mut proofs: Vec<_> = runs.iter().filter_map(|run| run.proof.as_ref()).collect();
    proofs.sort_by_key(|proof| proof.proven_unix_ms);
    proofs
        .into_iter()
        .map(|proof| (proof.sha256.as_str(), proof.proven))
        .collect()
}

/// Planned experiments of which there is no run, by their files: those that were not run, and those whose results are lost,
/// each with why. A twin is no run of its experiment.
fn not_run(campaign: &Campaign, lost: &BTreeMap<PathBuf, String>) -> (Vec<String>, Vec<String>) {
    let runs = campaign.runs.iter().filter(|run| !run.is_twin);
    let mut met: BTreeSet<PathBuf> = runs.map(|run| plain(&run.file)).collect();
    let (mut not_run, mut told) = (Vec::new(), Vec::new());
    for file in campaign.planned.iter().filter(|file| met.insert(plain(file))) {
        match lost.get(file) {
            Some(why) => told.push(format!("{} (no result: {why})", file.display())),
            None => not_run.push(file.display().to_string()),
        }
    }
    (not_run, told)
}

//! `nightmail report`, and the page of all the runs that one command made.

use std::path::{Path, PathBuf};

use super::args::PageArgs;
use super::diff::today;
use super::exit;
use crate::campaign::accept::Accepted;
use crate::campaign::{Campaign, ReadError};
use crate::report::campaign::model::Page;
use crate::report::campaign::{self, Options};
use crate::report::terminal::{Style, campaign_lines};

/// Writes the page of some runs. What cannot be read is told, named on the page, and makes the exit code 4.
pub fn page(args: &PageArgs) -> u8 {
    let accepted = match accepted(args.accept.as_deref()) {
        Ok(accepted) => accepted,
        Err(code) => return code,
    };
    let options = Options {
        stale_after_ms: args.stale_after.as_millis() as u64,
        accepted,
        ..Options::now()
    };
    match write(&args.runs, &[], &args.out, &options) {
        Ok((page, not_read)) => {
            print!("{}", campaign_lines(&page, &args.out, &Style::of_stdout()));
            match not_read {
                0 => exit::PASSED,
                _ => exit::BROKEN,
            }
        }
        Err(code) => code,
    }
}

/// The weaknesses that are accepted today. On an error it is printed and the exit code comes back.
pub fn accepted(file: Option<&Path>) -> Result<Accepted, u8> {
    let Some(file) = file else {
        return Ok(Accepted::default());
    };
    Accepted::load(file, today()).map_err(|wrong| {
        eprintln!("{wrong}");
        exit::INVALID
    })
}

/// Writes the page of the runs that a command has just made beside their folders, by a name of that command's, so that none takes the
/// place of a gate's. What it was to run and did not is given by the experiments' files. A page that cannot be written hides no
/// verdict.
pub fn of_runs(dirs: &[&Path], not_made: &[PathBuf], name: &str) {
    let Some(out) = dirs.first().and_then(|first| first.parent()) else {
        return;
    };
    let file = out.join(name);
    let runs: Vec<PathBuf> = dirs.iter().map(|dir| dir.to_path_buf()).collect();
    if let Ok((page, _)) = write(&runs, not_made, &file, &Options::now()) {
        print!("{}", campaign_lines(&page, &file, &Style::of_stdout()));
    }
}

/// The page, and how many paths could not be read. On an error it is printed and the exit code comes back.
fn write(runs: &[PathBuf], planned: &[PathBuf], file: &Path, options: &Options) -> Result<(Page, usize), u8> {
    let (mut campaign, wrong) = Campaign::gather(runs);
    campaign.planned.extend(planned.iter().cloned());
    for error in &wrong {
        eprintln!("error: {error}");
    }
    let not_read: Vec<String> = wrong.iter().map(ReadError::reason).collect();
    match campaign::write(file, &campaign, &not_read, options) {
        Ok(page) => Ok((page, wrong.len())),
        Err(error) => {
            eprintln!("error: the page could not be written: {error}");
            Err(exit::BROKEN)
        }
    }
}

//! Putting a site where it goes: made whole beside that place, then moved there, so that nobody finds half of one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::model::Site;
use super::{CAMPAIGNS, EXPERIMENTS, INDEX, RUNS, history, index};

/// A file that tells a site of nightmail's, which may be replaced, from what somebody else put there.
const MARK: &str = ".nightmail-site";

/// A site that was written.
#[derive(Debug)]
pub struct Written {
    /// Its first page.
    pub index: PathBuf,
    /// Pages that could not be copied, and why; the site says what those runs and campaigns came to all the same.
    pub not_copied: Vec<String>,
}

/// Why no site was written. What was there is there still.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The place is somebody else's.
    #[error(
        "{0}: it is there already, and is no site of nightmail's\n  hint: give --out another folder, or remove this one"
    )]
    Taken(String),
    /// It could not be written.
    #[error("{path}: the site could not be written: {error}")]
    Io {
        /// Where.
        path: String,
        /// Why.
        error: io::Error,
    },
}

/// Writes a site in place of an earlier one, or where nothing is.
pub fn write(site: &Site, out: &Path) -> Result<Written, Refused> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error| Refused::Io { path, error }
    };
    if !is_free(out).map_err(failed(out))? {
        return Err(Refused::Taken(out.display().to_string()));
    }
    let name = out
        .file_name()
        .map_or_else(|| "site".into(), |name| name.to_string_lossy());
    let beside = |what: &str| out.with_file_name(format!(".{name}.{what}-{}", std::process::id()));
    let (unfinished, before) = (beside("unfinished"), beside("before"));
    let made = fill(site, &unfinished).and_then(|not_copied| {
        exchange(&unfinished, out, &before)?;
        Ok(not_copied)
    });
    let not_copied = made.map_err(|error| {
        let _ = fs::remove_dir_all(&unfinished);
        failed(out)(error)
    })?;
    Ok(Written {
        index: out.join(INDEX),
        not_copied,
    })
}

/// Whether a site may stand there: nothing does, an empty folder, or another site.
fn is_free(out: &Path) -> io::Result<bool> {
    match fs::read_dir(out) {
        Ok(mut entries) => Ok(entries.next().is_none() || out.join(MARK).is_file()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory && out.symlink_metadata().is_ok() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes all pages into a new folder. Returns which pages could not be copied.
fn fill(site: &Site, dir: &Path) -> io::Result<Vec<String>> {
    fs::create_dir_all(dir.join(EXPERIMENTS))?;
    fs::create_dir_all(dir.join(RUNS))?;
    fs::create_dir_all(dir.join(CAMPAIGNS))?;
    fs::write(dir.join(MARK), concat!(env!("CARGO_PKG_VERSION"), "\n"))?;
    let mut not_copied = Vec::new();
    // Without links to pages that turn out not to be there.
    let mut site = site.clone();
    let runs = site.experiments.iter_mut().flat_map(|experiment| &mut experiment.runs);
    let runs = runs.map(|run| (&mut run.slug, &run.page, RUNS));
    let campaigns = site.campaigns.iter_mut();
    let campaigns = campaigns.map(|campaign| (&mut campaign.slug, &campaign.page, CAMPAIGNS));
    for (slug, page, folder) in runs.chain(campaigns) {
        let Some(name) = slug else { continue };
        if let Err(error) = copy(page, &dir.join(folder).join(format!("{name}.html"))) {
            not_copied.push(format!("{}: {error}", page.display()));
            *slug = None;
        }
    }
    fs::write(dir.join(INDEX), index::render(&site))?;
    for experiment in &site.experiments {
        let file = dir.join(EXPERIMENTS).join(format!("{}.html", experiment.slug));
        fs::write(file, history::render(&site, experiment))?;
    }
    Ok(not_copied)
}

/// Reads the whole page before any of it is there.
fn copy(page: &Path, to: &Path) -> io::Result<()> {
    fs::write(to, fs::read(page)?)
}

/// Puts the new folder in the place of the old one, which goes. If that fails the old one stays.
fn exchange(new: &Path, out: &Path, before: &Path) -> io::Result<()> {
    if !out.exists() {
        return fs::rename(new, out);
    }
    fs::rename(out, before)?;
    if let Err(error) = fs::rename(new, out) {
        fs::rename(before, out)?;
        return Err(error);
    }
    fs::remove_dir_all(before)
}

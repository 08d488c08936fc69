//! From `system: postage` to the system's `system.yaml`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::diagnostic::{Diagnostic, list};
use crate::yaml::Document;
use crate::yaml::place::Place;

/// File of a system definition within a system's folder.
const FILE: &str = "system.yaml";

/// Folder that holds systems.
const FIXTURES: &str = "fixtures";

/// The system definition that an experiment means: a path relative to its file, or a folder of the nearest `fixtures/`,
/// searched upwards from the file and then from the current folder.
pub(super) fn system(document: &Document, wanted: &str) -> Result<PathBuf, Diagnostic> {
    let place = Place::root().key("system");
    let folder = document.path.parent().unwrap_or(Path::new(""));
    if wanted.contains('/') || [".", ".."].contains(&wanted) {
        let given = folder.join(wanted);
        let file = if given.is_dir() { given.join(FILE) } else { given };
        return match file.is_file() {
            true => Ok(file),
            false => Err(document
                .at_value(&place, format!("there is no system definition at `{wanted}`"))
                .label(format!("looked for {}", file.display()))
                .allowed("a folder that holds system.yaml, or such a file, relative to this file")
                .hint("check the path; a system of fixtures/ is named without a slash")),
        };
    }
    let mut known = BTreeSet::new();
    for fixtures in fixtures(folder) {
        let file = fixtures.join(wanted).join(FILE);
        if !wanted.is_empty() && file.is_file() {
            return Ok(file);
        }
        known.extend(systems(&fixtures));
    }
    let unknown = document.unknown(&place, "system", wanted, known.iter().map(String::as_str));
    if known.is_empty() {
        return Err(unknown
            .allowed("a path relative to this file, with a slash; there is no fixtures/ with systems to choose from")
            .hint("write the folder that holds system.yaml, for example `./` or `../my-system`"));
    }
    Err(unknown.allowed(format!(
        "{} (folders of fixtures/ that hold system.yaml), or a path with a slash",
        list(known.iter().map(String::as_str))
    )))
}

/// Every `fixtures/` above a folder, nearest first, and then those above the current folder.
fn fixtures(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let current = std::env::current_dir().unwrap_or_default();
    for start in [current.join(folder), current.clone()] {
        for above in start.ancestors() {
            let fixtures = above.join(FIXTURES);
            // Messages name files as people know them.
            let fixtures = fixtures.strip_prefix(&current).map(Path::to_owned).unwrap_or(fixtures);
            if fixtures.is_dir() && !found.contains(&fixtures) {
                found.push(fixtures);
            }
        }
    }
    found
}

fn systems(fixtures: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(fixtures) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.path().join(FILE).is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `system: wanted` means in an experiment of `folder`.
    fn located(folder: &Path, wanted: &str) -> Result<PathBuf, Diagnostic> {
        let file = folder.join("experiment.yaml");
        std::fs::write(&file, format!("system: {wanted}\n")).unwrap();
        system(&Document::load(&file).unwrap(), wanted)
    }

    #[test]
    fn one_dot_and_two_are_the_folders_that_they_are_everywhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("experiments");
        std::fs::create_dir(&below).unwrap();
        assert!(
            located(dir.path(), ".")
                .unwrap_err()
                .message
                .contains("no system definition at `.`")
        );
        std::fs::write(dir.path().join(FILE), "").unwrap();
        for (folder, wanted) in [(dir.path(), "."), (dir.path(), "./"), (&below, "..")] {
            let found = located(folder, wanted).unwrap();
            assert_eq!(found, folder.join(wanted).join(FILE), "{wanted}");
        }
    }
}

//! From paths on the command line to experiment files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::diagnostic::Diagnostic;

/// Folders below a given one that are searched at most, one within another.
const DEPTH_MAX: usize = 8;

/// Names of files that stand beside experiments and are none.
const OTHERS: [&str; 5] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
    "system.yaml",
];

/// The experiment files at these paths: a file is itself, a folder every `.yaml` and `.yml` file below it, but for the
/// system and its Compose file. Sorted, each once. Hidden folders are passed over.
pub fn discover(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Diagnostic> {
    if paths.is_empty() {
        return Err(
            Diagnostic::new("no experiment was given").hint("name a file or a folder, for example experiments/")
        );
    }
    let mut files = BTreeSet::new();
    for path in paths {
        if path.is_dir() {
            let before = files.len();
            collect(path, 0, &mut files)?;
            if files.len() == before && !files.iter().any(|file: &PathBuf| file.starts_with(path)) {
                return Err(Diagnostic::in_file(path, "this folder holds no experiments")
                    .allowed("files that end in .yaml or .yml, here or in folders below, but for Compose files and system.yaml")
                    .hint("the README shows how to write one"));
            }
        } else if path.exists() {
            files.insert(path.clone());
        } else {
            return Err(missing(path));
        }
    }
    Ok(files.into_iter().collect())
}

fn collect(folder: &Path, depth: usize, files: &mut BTreeSet<PathBuf>) -> Result<(), Diagnostic> {
    let unreadable = |error: std::io::Error| {
        Diagnostic::in_file(folder, format!("this folder cannot be read: {error}")).hint("check its permissions")
    };
    if depth > DEPTH_MAX {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if path.is_dir() {
            collect(&path, depth + 1, files)?;
        } else if path
            .extension()
            .is_some_and(|ending| ending == "yaml" || ending == "yml")
            && !OTHERS.iter().any(|other| name == *other)
        {
            files.insert(path);
        }
    }
    Ok(())
}

fn missing(path: &Path) -> Diagnostic {
    let diagnostic = Diagnostic::in_file(path, "there is no such file or folder");
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let siblings: Vec<String> = std::fs::read_dir(parent)
        .map(|entries| {
            entries
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect()
        })
        .unwrap_or_default();
    let wanted = path.file_name().unwrap_or_default().to_string_lossy();
    match crate::diagnostic::did_you_mean(&wanted, siblings.iter().map(String::as_str)) {
        Some(meant) => diagnostic.hint(format!("did you mean `{}`?", path.with_file_name(meant).display())),
        None => diagnostic.hint("name an experiment's file, or a folder of them"),
    }
}

//! What experiments are called where several stand side by side.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A short name of each file: its own without its ending, with as many folders before it as tell it from the others. Files
/// that are the same have the same name.
pub fn short(files: &[&Path]) -> Vec<String> {
    let whole: Vec<Vec<String>> = files.iter().map(|file| parts(file)).collect();
    let with = |parts: &[String], folders: usize| parts[parts.len().saturating_sub(folders + 1)..].join("/");
    let mut folders = vec![0; files.len()];
    loop {
        let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (at, parts) in whole.iter().enumerate() {
            by_name.entry(with(parts, folders[at])).or_default().push(at);
        }
        let mut has_grown = false;
        for same in by_name.values() {
            let is_told_apart = same.iter().all(|at| whole[*at] == whole[same[0]]);
            for at in same.iter().filter(|_| !is_told_apart) {
                if folders[*at] + 1 < whole[*at].len() {
                    folders[*at] += 1;
                    has_grown = true;
                }
            }
        }
        if !has_grown {
            return whole
                .iter()
                .zip(folders)
                .map(|(parts, folders)| with(parts, folders))
                .collect();
        }
    }
}

fn parts(file: &Path) -> Vec<String> {
    let plain: PathBuf = super::shard::plain(file).with_extension("");
    plain.iter().map(|part| part.to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &[&str]) -> Vec<String> {
        short(&files.iter().map(Path::new).collect::<Vec<_>>())
    }

    #[test]
    fn a_name_is_as_long_as_it_must_be() {
        assert_eq!(
            names(&["experiments/a/one.yaml", "experiments/b/two.yaml"]),
            ["one", "two"]
        );
        assert_eq!(
            names(&[
                "experiments/a/baseline.yaml",
                "experiments/b/baseline.yaml",
                "experiments/b/x.yaml"
            ]),
            ["a/baseline", "b/baseline", "x"]
        );
        assert_eq!(names(&["baseline.yaml", "b/baseline.yaml"]), ["baseline", "b/baseline"]);
        assert_eq!(names(&["x/a/b.yaml", "y/a/b.yaml"]), ["x/a/b", "y/a/b"]);
        assert_eq!(names(&["a/one.yaml", "./a/one.yaml"]), ["one", "one"], "the same twice");
        assert_eq!(names(&["a/one.yaml", "a/one.yml", ""]), ["one", "one", ""]);
    }
}

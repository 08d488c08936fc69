//! A stranger's Dockerfile with its context, ready for Docker: bases that only nightmail can make get their real names.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::system::compose::Build;
use crate::system::image::{ImageError, context};

/// A build context, ready to send.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) archive: Vec<Bytes>,
    pub(super) digest: Vec<u8>,
}

/// Images that a Dockerfile builds on, by the names it gives them.
pub(super) fn bases(build: &Build) -> Result<Vec<String>, ImageError> {
    let path = build.context.join(&build.dockerfile);
    let text = std::fs::read_to_string(&path).map_err(|error| ImageError::io(&path, &error))?;
    Ok(text
        .lines()
        .filter_map(|line| from(line).map(|(_, name, _)| name.to_owned()))
        .collect())
}

/// Collects a context; `resolved` says what bases are really called.
pub(super) fn collect(build: &Build, resolved: &BTreeMap<String, String>) -> Result<Context, ImageError> {
    let path = build.context.join(&build.dockerfile);
    let text = std::fs::read_to_string(&path).map_err(|error| ImageError::io(&path, &error))?;
    let (archive, digest) = context::collect(build, rewrite(&text, resolved))?.archive(Vec::new())?;
    Ok(Context {
        archive: vec![archive.into()],
        digest,
    })
}

/// `FROM name AS stage`: what stands before the name, the name, and what stands after it.
fn from(line: &str) -> Option<(&str, &str, &str)> {
    let start = line.len() - line.trim_start().len();
    let keyword = line.get(start..start + 5)?;
    if !keyword.trim_end().eq_ignore_ascii_case("from") {
        return None;
    }
    let mut at = start + 5;
    loop {
        let rest = &line[at..];
        at += rest.len() - rest.trim_start().len();
        let rest = &line[at..];
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        if !rest.starts_with("--") {
            return (end > 0).then(|| (&line[..at], &rest[..end], &rest[end..]));
        }
        at += end;
    }
}

fn rewrite(dockerfile: &str, resolved: &BTreeMap<String, String>) -> String {
    let line = |line: &str| match from(line) {
        Some((before, name, after)) => match resolved.get(name) {
            Some(real) => format!("{before}{real}{after}\n"),
            None => format!("{line}\n"),
        },
        None => format!("{line}\n"),
    };
    dockerfile.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_are_found_and_renamed_wherever_they_stand() {
        let text = "# FROM a\nFROM a AS one\nfrom --platform=linux/amd64 b\nRUN echo FROM a\nFROM one\n";
        let resolved = BTreeMap::from([("a".to_owned(), "a:1".to_owned()), ("b".to_owned(), "b:2".to_owned())]);
        let expected = "# FROM a\nFROM a:1 AS one\nfrom --platform=linux/amd64 b:2\nRUN echo FROM a\nFROM one\n";
        assert_eq!(rewrite(text, &resolved), expected);
    }

    #[test]
    fn the_digest_follows_the_files_and_the_bases() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("Dockerfile"), "FROM a\nCOPY x /x\n").unwrap();
        std::fs::write(dir.path().join("x"), "1").unwrap();
        let build = Build {
            context: dir.path().to_owned(),
            dockerfile: "Dockerfile".to_owned(),
            args: BTreeMap::new(),
            target: None,
        };
        assert_eq!(bases(&build).unwrap(), ["a"]);
        let digest = |resolved: &BTreeMap<String, String>| collect(&build, resolved).unwrap().digest;
        let first = digest(&BTreeMap::new());
        assert_eq!(first, digest(&BTreeMap::new()));
        let rebased = digest(&BTreeMap::from([("a".to_owned(), "a:2".to_owned())]));
        assert_ne!(first, rebased);
        std::fs::write(dir.path().join("x"), "2").unwrap();
        assert_ne!(first, digest(&BTreeMap::new()));
    }

    #[test]
    fn the_digests_of_contexts_that_were_built_before_still_find_them() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("folder")).unwrap();
        std::fs::write(dir.path().join("Dockerfile"), "FROM a\nCOPY . /\n").unwrap();
        std::fs::write(dir.path().join("folder/file"), "text").unwrap();
        let build = Build {
            context: dir.path().to_owned(),
            dockerfile: "Dockerfile".to_owned(),
            args: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            target: Some("t".to_owned()),
        };
        let resolved = BTreeMap::from([("a".to_owned(), "a:1".to_owned())]);
        let digest = collect(&build, &resolved).unwrap().digest;
        assert_eq!(crate::system::cache::hex(&digest[..6]), "7085405090ce");
    }
}

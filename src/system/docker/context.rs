//! A stranger's Dockerfile with its context: what `.dockerignore` leaves, and bases that only nightmail can make.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use regex::Regex;
use sha2::{Digest, Sha256};

use super::build::header;
use crate::event;
use crate::plan;
use crate::system::compose::Build;
use crate::system::image::ImageError;

/// A build context, ready to send.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) archive: Vec<Bytes>,
    pub(super) digest: Vec<u8>,
}

/// The Dockerfile's name within the archive.
pub(super) const DOCKERFILE: &str = ".nightmail.Dockerfile";

/// A context of more than this is a mistake, such as a target folder that `.dockerignore` does not name.
const BYTES_MAX: u64 = 512 << 20;

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
    let dockerfile = rewrite(&text, resolved);
    let mut files = Vec::new();
    let ignored = Ignored::read(&build.context)?;
    walk(&build.context, Path::new(""), &ignored, &mut files)?;
    files.sort();

    let mut digest = Sha256::new();
    digest.update(format!("nightmail context 1 {:?} {:?}\n", build.args, build.target));
    digest.update(&dockerfile);
    let io = |error| ImageError::io(&build.context, &error);
    let mut archive = tar::Builder::new(Vec::new());
    archive.follow_symlinks(false);
    archive.mode(tar::HeaderMode::Deterministic);
    let mut total_bytes = 0;
    for file in &files {
        let host = build.context.join(file);
        let meta = host.symlink_metadata().map_err(io)?;
        total_bytes += meta.len();
        if total_bytes > BYTES_MAX {
            return Err(ImageError::new(format!(
                "{} holds more than {} MiB\n  hint: name in its .dockerignore what the image does not need",
                build.context.display(),
                BYTES_MAX >> 20
            )));
        }
        archive.append_path_with_name(&host, file).map_err(io)?;
    }
    archive
        .append_data(&mut header(dockerfile.len()), DOCKERFILE, dockerfile.as_bytes())
        .map_err(io)?;
    let archive = archive.into_inner().map_err(io)?;
    digest.update(&archive);
    Ok(Context {
        archive: vec![archive.into()],
        digest: digest.finalize().to_vec(),
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

fn walk(root: &Path, below: &Path, ignored: &Ignored, files: &mut Vec<PathBuf>) -> Result<(), ImageError> {
    let folder = root.join(below);
    let listing = std::fs::read_dir(&folder).map_err(|error| ImageError::io(&folder, &error))?;
    for entry in listing {
        let entry = entry.map_err(|error| ImageError::io(&folder, &error))?;
        let path = below.join(entry.file_name());
        let kind = entry
            .file_type()
            .map_err(|error| ImageError::io(&entry.path(), &error))?;
        let is_ignored = ignored.matches(&path);
        if kind.is_dir() {
            if is_run_folder(&entry.path()) {
                continue;
            }
            // Within an ignored folder a later line may bring a file back.
            if !is_ignored || ignored.has_exceptions {
                walk(root, &path, ignored, files)?;
            }
        } else if !is_ignored && (kind.is_file() || kind.is_symlink()) {
            files.push(path);
        }
    }
    Ok(())
}

/// Whether this is what a run left behind. Every run adds one, often beside the Compose file: were they of the context,
/// each run would build the image anew.
fn is_run_folder(folder: &Path) -> bool {
    [plan::FILE, event::FILE].iter().all(|file| folder.join(file).is_file())
}

/// The rules of a `.dockerignore`; the last that matches decides.
#[derive(Debug, Default)]
struct Ignored {
    rules: Vec<(Regex, bool)>,
    has_exceptions: bool,
}

impl Ignored {
    fn read(context: &Path) -> Result<Self, ImageError> {
        let path = context.join(".dockerignore");
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(ImageError::io(&path, &error)),
        }
    }

    fn parse(text: &str) -> Result<Self, ImageError> {
        let mut ignored = Self::default();
        for line in text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let (pattern, ignore) = match line.strip_prefix('!') {
                Some(pattern) => (pattern.trim(), false),
                None => (line, true),
            };
            ignored.has_exceptions |= !ignore;
            let regex = Regex::new(&translate(pattern.trim_matches('/').trim_start_matches("./")))
                .map_err(|_| ImageError::new(format!(".dockerignore: `{line}` is not a pattern")))?;
            ignored.rules.push((regex, ignore));
        }
        Ok(ignored)
    }

    fn matches(&self, path: &Path) -> bool {
        let path = path.to_string_lossy();
        self.rules
            .iter()
            .rfind(|(regex, _)| regex.is_match(&path))
            .is_some_and(|(_, ignore)| *ignore)
    }
}

/// A pattern such as `**/target/*.o` as a regular expression, which also matches everything below what it names.
fn translate(pattern: &str) -> String {
    let mut regex = String::from("^");
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("**/") {
            regex += "(.*/)?";
            rest = after;
        } else if let Some(after) = rest.strip_prefix("**") {
            regex += ".*";
            rest = after;
        } else {
            match c {
                '*' => regex += "[^/]*",
                '?' => regex += "[^/]",
                c => regex += &regex::escape(&c.to_string()),
            }
            rest = &rest[c.len_utf8()..];
        }
    }
    regex + "(/.*)?$"
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
    fn ignored_files_stay_out_and_exceptions_come_back() {
        let ignored = Ignored::parse("# c\ntarget\n**/*.log\n!keep.log\n/docs/*.md\n").unwrap();
        for (path, out) in [
            ("target/debug/x", true),
            ("a/b/c.log", true),
            ("keep.log", false),
            ("docs/x.md", true),
            ("docs/deep/x.md", false),
            ("src/main.rs", false),
        ] {
            assert_eq!(ignored.matches(Path::new(path)), out, "{path}");
        }
    }

    #[test]
    fn what_runs_leave_beside_the_compose_file_is_not_of_the_context() {
        let dir = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let file = dir.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        };
        write("Dockerfile", "FROM a\nCOPY . /app\n");
        write("app/plan.json", "{}");
        let build = Build {
            context: dir.path().to_owned(),
            dockerfile: "Dockerfile".to_owned(),
            args: BTreeMap::new(),
            target: None,
        };
        let digest = || collect(&build, &BTreeMap::new()).unwrap().digest;
        let before = digest();
        write("runs/1/plan.json", "{}");
        write("runs/1/events.jsonl", "");
        write("runs/1/logs/app-1.log", "words");
        assert_eq!(before, digest());
        write("app/plan.json", "{\"changed\": true}");
        assert_ne!(before, digest(), "a plan.json alone is a file like any other");
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
}

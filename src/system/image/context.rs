//! The context of a stranger's Dockerfile: the files around it that `.dockerignore` leaves.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use regex::Regex;
use sha2::{Digest, Sha256};

use super::ImageError;
use crate::event;
use crate::plan;
use crate::system::compose::Build;

/// A build context.
#[derive(Debug)]
pub struct Context {
    /// Its folder.
    pub dir: PathBuf,
    /// Its files and symbolic links, relative to the folder, in order.
    pub files: Vec<PathBuf>,
    /// What its archive holds as the Dockerfile.
    dockerfile: String,
    /// What else a different image would differ in.
    heading: String,
}

/// The Dockerfile's name within the archive.
pub const DOCKERFILE: &str = ".nightmail.Dockerfile";

/// A context of more than this is a mistake, such as a target folder that `.dockerignore` does not name.
const BYTES_MAX: u64 = 512 << 20;

/// Collects a context; its Dockerfile is given as text.
pub fn collect(build: &Build, dockerfile: String) -> Result<Context, ImageError> {
    let mut files = Vec::new();
    let ignored = Ignored::read(&build.context)?;
    walk(&build.context, Path::new(""), &ignored, &mut files)?;
    files.sort();
    Ok(Context {
        dir: build.context.clone(),
        files,
        dockerfile,
        heading: format!("nightmail context 1 {:?} {:?}\n", build.args, build.target),
    })
}

impl Context {
    /// Writes everything as a tar archive; gives the writer back, and the digest of all that an image made from this
    /// context depends on, except its bases.
    pub fn archive<W: Write>(&self, out: W) -> Result<(W, Vec<u8>), ImageError> {
        let io = |error| ImageError::io(&self.dir, &error);
        let mut digest = Sha256::new();
        digest.update(&self.heading);
        digest.update(&self.dockerfile);
        let mut archive = tar::Builder::new(Digested { out, digest });
        archive.follow_symlinks(false);
        archive.mode(tar::HeaderMode::Deterministic);
        let mut total_bytes = 0;
        for file in &self.files {
            let host = self.dir.join(file);
            let meta = host.symlink_metadata().map_err(io)?;
            total_bytes += meta.len();
            if total_bytes > BYTES_MAX {
                return Err(ImageError::new(format!(
                    "{} holds more than {} MiB\n  hint: name in its .dockerignore what the image does not need",
                    self.dir.display(),
                    BYTES_MAX >> 20
                )));
            }
            archive.append_path_with_name(&host, file).map_err(io)?;
        }
        let text = self.dockerfile.as_bytes();
        archive
            .append_data(&mut header(text.len()), DOCKERFILE, text)
            .map_err(io)?;
        let Digested { out, digest } = archive.into_inner().map_err(io)?;
        Ok((out, digest.finalize().to_vec()))
    }
}

/// A writer that digests what passes.
struct Digested<W> {
    out: W,
    digest: Sha256,
}

impl<W: Write> Write for Digested<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.digest.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The header of a plain file in a build context.
pub fn header(len: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(len as u64);
    header.set_mtime(0);
    header
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
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
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
    use std::collections::BTreeMap;

    use super::*;

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
        let digest = || {
            collect(&build, "FROM a\n".to_owned())
                .unwrap()
                .archive(io::sink())
                .unwrap()
                .1
        };
        let before = digest();
        write("runs/1/plan.json", "{}");
        write("runs/1/events.jsonl", "");
        write("runs/1/logs/app-1.log", "words");
        assert_eq!(before, digest());
        write("app/plan.json", "{\"changed\": true}");
        assert_ne!(before, digest(), "a plan.json alone is a file like any other");
    }
}

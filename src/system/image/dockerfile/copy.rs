//! COPY and ADD: files of the context, or of another tree, into the tree of a stage.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use regex::Regex;

use super::lines::{Line, error};
use super::stage::{Stage, no_heredoc, plain_mode};
use super::words;
use crate::diagnostic::did_you_mean;
use crate::system::image::ImageError;
use crate::system::image::context::Context;
use crate::system::image::tree::{self, Change};

/// Where files come from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin<'a> {
    /// The context: what `.dockerignore` leaves.
    Context(&'a Context),
    /// The tree of an earlier stage or of an image.
    Tree(&'a Path),
}

/// What an instruction asks for.
#[derive(Debug)]
struct Request {
    sources: Vec<String>,
    target: String,
    change: Change,
}

/// What follows `--from=`.
pub(super) fn origin_name(line: &Line) -> Option<&str> {
    let words = line.rest.split_whitespace();
    let mut flags = words.take_while(|word| word.starts_with("--"));
    flags.find_map(|flag| flag.strip_prefix("--from="))
}

/// Copies that an instruction asks for.
struct Job<'a> {
    stage: &'a Stage<'a>,
    line: &'a Line,
    origin: Origin<'a>,
    /// A path within the image.
    target: PathBuf,
    /// Whether a file goes into the target, rather than becoming it.
    is_into: bool,
    change: Change,
    /// A folder for what is unpacked on the way.
    scratch: &'a Path,
}

/// Performs the instruction. `scratch` is a folder for what is unpacked on the way.
pub(super) fn perform(stage: &Stage<'_>, line: &Line, origin: Origin<'_>, scratch: &Path) -> Result<(), ImageError> {
    no_heredoc(stage.source, line)?;
    let request = request(stage, line)?;
    let mut found = Vec::new();
    for source in &request.sources {
        found.extend(matches(stage, line, origin, source)?);
    }
    let target = stage.absolute(&request.target);
    let named = &request.target;
    let is_into = named.ends_with('/') || named == "." || named.ends_with("/.") || stage.is_folder(&target);
    if found.len() > 1 && !is_into {
        let message = format!("{} files cannot become the one `{named}`", found.len());
        let wrong = stage.source.wrong(line, message);
        return Err(error(
            &wrong.hint(format!("a folder's name ends in a slash: `{named}/`")),
        ));
    }
    let job = Job {
        stage,
        line,
        origin,
        target,
        is_into,
        change: request.change,
        scratch,
    };
    for path in &found {
        job.copy(path)
            .map_err(|failed| error(&stage.source.wrong(line, failed.reason)))?;
    }
    Ok(())
}

fn request(stage: &Stage<'_>, line: &Line) -> Result<Request, ImageError> {
    let mut change = Change::default();
    let mut rest = line.rest.as_str();
    while rest.starts_with("--") {
        let (flag, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        rest = after.trim_start();
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        match (name, line.keyword.as_str()) {
            ("--from", "COPY") | ("--link", _) => {}
            ("--chown", _) => change.owner = Some(stage.owner(line, &stage.expand(line, value)?)?),
            ("--chmod", _) => {
                let mode = stage.expand(line, value)?;
                let octal = u32::from_str_radix(&mode, 8).ok().filter(|mode| *mode <= 0o7777);
                let wrong = || {
                    stage
                        .source
                        .wrong(line, format!("`{mode}` is not a mode"))
                        .allowed("octal digits such as 755")
                };
                change.mode = Some(octal.ok_or_else(|| error(&wrong()))?);
            }
            _ => {
                let wrong = stage
                    .source
                    .wrong(line, format!("{} {name} is not supported", line.keyword));
                return Err(error(&wrong.allowed("--from (of COPY), --chown, --chmod, --link")));
            }
        }
    }
    let words = words::json(rest).unwrap_or_else(|| rest.split_whitespace().map(str::to_owned).collect());
    let mut words = words
        .iter()
        .map(|word| stage.expand(line, word))
        .collect::<Result<Vec<_>, _>>()?;
    let target = words.pop().filter(|_| !words.is_empty()).ok_or_else(|| {
        let wrong = stage
            .source
            .wrong(line, format!("{} needs what to copy, and where to", line.keyword));
        error(&wrong)
    })?;
    Ok(Request {
        sources: words,
        target,
        change,
    })
}

/// What a source names: itself, or everything that fits its pattern.
fn matches(stage: &Stage<'_>, line: &Line, origin: Origin<'_>, source: &str) -> Result<Vec<PathBuf>, ImageError> {
    if ["http://", "https://", "git@", "git://", "ssh://"]
        .iter()
        .any(|start| source.starts_with(start))
    {
        let wrong = stage.source.wrong(
            line,
            format!("`{source}` is not fetched: what is built depends on local files only"),
        );
        return Err(error(&wrong.hint("fetch it into the context before, and COPY it")));
    }
    let path = relative(source).ok_or_else(|| {
        let wrong = stage
            .source
            .wrong(line, format!("`{source}` lies outside of the build context"));
        error(&wrong.hint("choose a folder further up as the context (`build: {context: ..}`)"))
    })?;
    let found = match pattern(&path) {
        Some(pattern) => paths(origin)?
            .into_iter()
            .filter(|path| pattern.is_match(&path.to_string_lossy()))
            .collect(),
        None if exists(origin, &path)? => vec![path],
        None => Vec::new(),
    };
    if found.is_empty() {
        return Err(error(&missing(stage, line, origin, source)?));
    }
    Ok(found)
}

fn missing(
    stage: &Stage<'_>,
    line: &Line,
    origin: Origin<'_>,
    source: &str,
) -> Result<crate::diagnostic::Diagnostic, ImageError> {
    let place = match origin {
        Origin::Context(context) => format!("the context {}", context.dir.display()),
        Origin::Tree(_) => "that image or stage".to_owned(),
    };
    let mut wrong = stage.source.wrong(line, format!("there is no `{source}` in {place}"));
    if let Origin::Context(context) = origin {
        let known = paths(origin)?;
        let known: Vec<&str> = known.iter().filter_map(|path| path.to_str()).collect();
        wrong = if relative(source).is_some_and(|path| context.dir.join(path).exists()) {
            wrong.hint("it is there, but .dockerignore leaves it out")
        } else if let Some(meant) = did_you_mean(source, known) {
            wrong.hint(format!("did you mean `{meant}`?"))
        } else {
            wrong
        };
    }
    Ok(wrong)
}

/// A source as a path from the origin's root; none if it leads out of it.
fn relative(source: &str) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for component in Path::new(source).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => path.pop().then_some(())?,
            _ => {}
        }
    }
    Some(path)
}

/// A path with `*`, `?` or `[a-z]` in it, as a regular expression.
fn pattern(path: &Path) -> Option<Regex> {
    let text = path.to_string_lossy();
    if !text.contains(['*', '?', '[']) {
        return None;
    }
    let mut regex = String::from("^");
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' => regex += "[^/]*",
            '?' => regex += "[^/]",
            '[' => {
                regex.push('[');
                for c in chars.by_ref() {
                    match c {
                        '[' | '&' | '~' => regex.extend(['\\', c]),
                        c => regex.push(c),
                    }
                    if c == ']' {
                        break;
                    }
                }
            }
            '\\' => regex += &regex::escape(&chars.next().unwrap_or('\\').to_string()),
            c => regex += &regex::escape(&c.to_string()),
        }
    }
    Regex::new(&(regex + "$")).ok()
}

fn exists(origin: Origin<'_>, path: &Path) -> Result<bool, ImageError> {
    match origin {
        Origin::Context(_) => Ok(path.as_os_str().is_empty() || paths(origin)?.contains(path)),
        Origin::Tree(root) => {
            let at = tree::resolve(root, path).map_err(|error| ImageError::io(path, &error))?;
            Ok(at.symlink_metadata().is_ok())
        }
    }
}

/// Every path of an origin, folders included.
fn paths(origin: Origin<'_>) -> Result<BTreeSet<PathBuf>, ImageError> {
    let mut paths = BTreeSet::new();
    match origin {
        Origin::Context(context) => {
            for file in &context.files {
                let all = file.ancestors().filter(|path| !path.as_os_str().is_empty());
                paths.extend(all.map(Path::to_owned));
            }
        }
        Origin::Tree(root) => {
            let mut folders = vec![PathBuf::new()];
            while let Some(folder) = folders.pop() {
                let at = root.join(&folder);
                let io = |error| ImageError::io(&at, &error);
                for entry in std::fs::read_dir(&at).map_err(io)? {
                    let entry = entry.map_err(io)?;
                    let path = folder.join(entry.file_name());
                    if entry.file_type().map_err(io)?.is_dir() {
                        folders.push(path.clone());
                    }
                    paths.insert(path);
                }
            }
        }
    }
    Ok(paths)
}

impl Job<'_> {
    fn copy(&self, path: &Path) -> Result<(), ImageError> {
        let root = match self.origin {
            Origin::Context(context) => &context.dir,
            Origin::Tree(root) => root,
        };
        // A source that is a link stands for what it points to.
        let host = tree::resolve(root, path).map_err(|error| ImageError::io(path, &error))?;
        let meta = host.metadata().map_err(|error| ImageError::io(&host, &error))?;
        let change = Change {
            owner: Some(self.change.owner.unwrap_or((0, 0))),
            ..self.change
        };
        match self.origin {
            Origin::Context(context) if meta.is_dir() => {
                let folder = host.strip_prefix(root).unwrap_or(path);
                self.context_folder(context, folder, change)
            }
            Origin::Tree(_) if meta.is_dir() => tree::copy_into(&host, &self.stage.root, &self.target, change),
            Origin::Context(_) if self.line.keyword == "ADD" && is_archive(&host)? => self.unpack(&host),
            Origin::Context(_) => {
                let mode = Some(change.mode.unwrap_or(plain_mode(&meta)));
                self.file(path, &host, Change { mode, ..change })
            }
            Origin::Tree(_) => self.file(path, &host, change),
        }
    }

    fn file(&self, path: &Path, host: &Path, change: Change) -> Result<(), ImageError> {
        let name = path.file_name().unwrap_or_default();
        let target = if self.is_into {
            self.target.join(name)
        } else {
            self.target.clone()
        };
        tree::copy(host, &self.stage.root, &target, change)
    }

    /// What of the context lies in a folder.
    fn context_folder(&self, context: &Context, folder: &Path, change: Change) -> Result<(), ImageError> {
        let files = context.files.iter();
        let files: Vec<(&PathBuf, &Path)> = files
            .filter_map(|file| Some((file, file.strip_prefix(folder).ok()?)))
            .collect();
        let folders: BTreeSet<&Path> = files.iter().flat_map(|(_, rest)| rest.ancestors().skip(1)).collect();
        for folder in folders {
            let path = self.target.join(folder);
            let is_new = !self.stage.is_folder(&path);
            let refused = |error| ImageError::io(&path, &error);
            let mode = change.mode.unwrap_or(0o755);
            let at = tree::make_folders(&self.stage.root, &path, mode).map_err(refused)?;
            if let (true, Some((user, group))) = (is_new, change.owner) {
                tree::own(&at, user, group).map_err(refused)?;
            }
        }
        for (file, rest) in files {
            let host = context.dir.join(file);
            let meta = host.symlink_metadata().map_err(|error| ImageError::io(&host, &error))?;
            let mode = Some(change.mode.unwrap_or(plain_mode(&meta)));
            tree::copy(
                &host,
                &self.stage.root,
                &self.target.join(rest),
                Change { mode, ..change },
            )?;
        }
        Ok(())
    }

    /// Unpacks an archive into the target, by way of a folder of its own: so no link of the image leads it astray.
    fn unpack(&self, archive: &Path) -> Result<(), ImageError> {
        let io = |error| ImageError::io(archive, &error);
        let folder = self.scratch.join("unpacked");
        tree::remove(&folder).map_err(io)?;
        std::fs::create_dir(&folder).map_err(io)?;
        let mut tar = tar::Archive::new(File::open(archive).map_err(io)?);
        tar.set_preserve_permissions(true);
        tar.set_preserve_ownerships(nix::unistd::geteuid().is_root());
        tar.unpack(&folder).map_err(io)?;
        tree::copy_into(&folder, &self.stage.root, &self.target, self.change)?;
        tree::remove(&folder).map_err(io)
    }
}

/// Whether this is a tar archive; one that is compressed is an error.
fn is_archive(file: &Path) -> Result<bool, ImageError> {
    const COMPRESSED: [(&[u8], &str); 4] = [
        (&[0x1f, 0x8b], "gzip"),
        (b"BZh", "bzip2"),
        (&[0xfd, b'7', b'z', b'X', b'Z'], "xz"),
        (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
    ];
    let mut start = Vec::new();
    let io = |error| ImageError::io(file, &error);
    File::open(file)
        .map_err(io)?
        .take(512)
        .read_to_end(&mut start)
        .map_err(io)?;
    if let Some((_, name)) = COMPRESSED.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Err(ImageError::new(format!(
            "ADD would unpack {}, but {name} is not supported without Docker; unpack it in the context, make it a plain \
             tar archive, or COPY it as it is",
            file.display()
        )));
    }
    Ok(start.get(257..262) == Some(b"ustar"))
}

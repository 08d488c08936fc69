//! Building a stranger's Dockerfile into the store of images, with nothing but this program.
//!
//! Its commands run within the tree by whoever calls; all else is done here. What a registry holds cannot be built on:
//! bases are images that nightmail makes itself, earlier stages, and `scratch`. There are no layers, and what is built is
//! found again as a whole, by its inputs.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::context::{self, Context};
use super::store::{Found, Making};
use super::{ImageError, Settings, Store, Stored, Within, identity, tree};
use crate::diagnostic::list;
use crate::system::compose::Build;
use copy::Origin;
use lines::{Line, Source, error};
use stage::{Scope, Stage};

mod copy;
mod lines;
mod stage;
#[cfg(test)]
mod tests;
mod words;

/// In the digest of everything built: to be raised when trees are built differently from the same inputs.
const FORMAT: &str = "nightmail tree 1";

/// A Dockerfile that was read, and the stages of it that are to be built.
#[derive(Debug)]
pub struct Dockerfile {
    build: Build,
    source: Source,
    parts: Vec<Part>,
    /// Defaults of arguments, from before the first stage.
    global: BTreeMap<String, String>,
    /// Indices of the stages that are needed, in order; the last is the one that was asked for.
    needed: Vec<usize>,
}

/// A stage as it is written.
#[derive(Debug)]
struct Part {
    name: Option<String>,
    base: Base,
    from: Line,
    lines: Vec<Line>,
}

/// What a stage builds on, or copies from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Base {
    Scratch,
    Stage(usize),
    Image(String),
}

/// A Dockerfile with everything there that it is built from.
#[derive(Debug)]
pub struct Ready<'a> {
    /// The reference of what is built: `name:hash`.
    pub reference: String,
    name: String,
    dockerfile: &'a Dockerfile,
    context: Context,
    bases: &'a BTreeMap<String, Stored>,
}

impl Dockerfile {
    /// Reads the Dockerfile of a build.
    pub fn read(build: &Build) -> Result<Self, ImageError> {
        let source = Source::read(&build.context.join(&build.dockerfile))?;
        let mut global = Scope::new(&build.args);
        let mut parts: Vec<Part> = Vec::new();
        for line in source.lines() {
            match (line.keyword.as_str(), parts.last_mut()) {
                ("FROM", _) => {
                    let part = from(&source, line, &global, &parts)?;
                    parts.push(part);
                }
                (_, Some(part)) => part.lines.push(line),
                ("ARG", None) => global
                    .declare(&line.rest, source.escape, &BTreeMap::new())
                    .map_err(|said| error(&source.wrong(&line, said)))?,
                (keyword, None) => {
                    let wrong = source.wrong(&line, format!("{keyword} stands before the first FROM"));
                    return Err(error(&wrong.allowed("ARG")));
                }
            }
        }
        if parts.is_empty() {
            let wrong = crate::diagnostic::Diagnostic::in_file(&source.path, "there is no FROM");
            return Err(error(
                &wrong.hint("a Dockerfile begins with what it builds on, such as `FROM scratch`"),
            ));
        }
        let mut dockerfile = Self {
            build: build.clone(),
            source,
            parts,
            global: global.declared,
            needed: Vec::new(),
        };
        dockerfile.needed = dockerfile.needed(dockerfile.target()?);
        Ok(dockerfile)
    }

    /// The stage that is asked for: the last, unless told otherwise.
    fn target(&self) -> Result<usize, ImageError> {
        let Some(wanted) = &self.build.target else {
            return Ok(self.parts.len() - 1);
        };
        let by_number = || wanted.parse().ok().filter(|at| *at < self.parts.len());
        named(&self.parts, wanted).or_else(by_number).ok_or_else(|| {
            let message = format!("there is no stage `{wanted}`, which `build.target` asks for");
            let names = self.parts.iter().filter_map(|part| part.name.as_deref());
            error(&crate::diagnostic::Diagnostic::in_file(&self.source.path, message).allowed(list(names)))
        })
    }

    /// A stage and everything that it builds on or copies from.
    fn needed(&self, target: usize) -> Vec<usize> {
        let mut needed = BTreeSet::new();
        let mut open = vec![target];
        while let Some(at) = open.pop() {
            if needed.insert(at) {
                let stages = self.uses(at).into_iter().filter_map(|(_, base)| match base {
                    Base::Stage(stage) => Some(stage),
                    Base::Scratch | Base::Image(_) => None,
                });
                open.extend(stages);
            }
        }
        needed.into_iter().collect()
    }

    /// What a stage builds on and copies from, and where it says so.
    fn uses(&self, at: usize) -> Vec<(&Line, Base)> {
        let part = &self.parts[at];
        let copies = part.lines.iter().filter(|line| line.keyword == "COPY");
        let copies = copies.filter_map(|line| Some((line, self.origin(at, copy::origin_name(line)?))));
        std::iter::once((&part.from, part.base.clone())).chain(copies).collect()
    }

    /// What `--from=` means within a stage.
    fn origin(&self, at: usize, name: &str) -> Base {
        let earlier = &self.parts[..at];
        let by_number = || name.parse().ok().filter(|stage| *stage < at);
        match named(earlier, name).or_else(by_number) {
            Some(stage) => Base::Stage(stage),
            None => Base::Image(name.to_owned()),
        }
    }

    /// Names of images that it builds on or copies from, once each.
    pub fn bases(&self) -> Vec<String> {
        let mut names = BTreeSet::new();
        for at in &self.needed {
            let images = self.uses(*at).into_iter().filter_map(|(_, base)| match base {
                Base::Image(name) => Some(name),
                Base::Scratch | Base::Stage(_) => None,
            });
            names.extend(images);
        }
        names.into_iter().collect()
    }

    /// Collects what it is built from. `bases` are those of its bases that nightmail has made, by name.
    pub fn ready<'a>(&'a self, name: &str, bases: &'a BTreeMap<String, Stored>) -> Result<Ready<'a>, ImageError> {
        let mut digest = Sha256::new();
        digest.update(FORMAT);
        for at in &self.needed {
            for (line, base) in self.uses(*at) {
                let Base::Image(image) = base else {
                    continue;
                };
                let stored = bases.get(&image).ok_or_else(|| self.of_a_registry(line, &image))?;
                digest.update(format!("\n{image} {}", stored.reference));
            }
        }
        let context = context::collect(&self.build, self.source.text.to_string())?;
        let (_, inputs) = context.archive(io::sink())?;
        digest.update("\n");
        digest.update(inputs);
        Ok(Ready {
            reference: identity::reference(name, &digest.finalize()),
            name: name.to_owned(),
            dockerfile: self,
            context,
            bases,
        })
    }

    fn of_a_registry(&self, line: &Line, image: &str) -> ImageError {
        let message = format!("`{image}` is an image of a registry, and only Docker can fetch it");
        let wrong = self.source.wrong(line, message);
        error(
            &wrong
                .allowed("an image of `x-nightmail.images`, an earlier stage, scratch")
                .hint(format!(
                    "say under `x-nightmail: {{images: {{{image}: ...}}}}` how it is made, or choose `--engine docker`"
                )),
        )
    }
}

impl Ready<'_> {
    /// Finds what is built in the store, or builds it; its commands are run by `within`.
    pub fn make(&self, store: &Store, within: &dyn Within) -> Result<Found, ImageError> {
        store.make_with(&self.name, &self.reference, |making| self.build(making, within))
    }

    fn build(&self, making: &Making, within: &dyn Within) -> Result<Settings, ImageError> {
        let mut built: BTreeMap<usize, Stage<'_>> = BTreeMap::new();
        let target = self.dockerfile.needed.last().copied().unwrap_or_default();
        for at in &self.dockerfile.needed {
            let root = if *at == target {
                making.root.clone()
            } else {
                making.scratch.join(format!("stage-{at}"))
            };
            let stage = self.stage(*at, root, &built, &making.scratch, within)?;
            built.insert(*at, stage);
        }
        Ok(built.remove(&target).map(|stage| stage.settings).unwrap_or_default())
    }

    fn stage<'s>(
        &'s self,
        at: usize,
        root: PathBuf,
        built: &BTreeMap<usize, Stage<'s>>,
        scratch: &Path,
        within: &dyn Within,
    ) -> Result<Stage<'s>, ImageError> {
        let dockerfile = self.dockerfile;
        let part = &dockerfile.parts[at];
        std::fs::create_dir_all(&root).map_err(|failed| ImageError::io(&root, &failed))?;
        let scope = Scope::of_stage(&dockerfile.build.args, &dockerfile.global);
        let mut stage = Stage::new(&dockerfile.source, root, scope);
        if let Some(base) = self.tree(&part.base, built) {
            tree::copy_into(base, &stage.root, Path::new("/"), tree::Change::default())?;
        }
        match &part.base {
            Base::Stage(base) => stage.inherit(&built[base]),
            Base::Image(name) => stage.settings = self.bases[name].settings.clone(),
            Base::Scratch => {}
        }
        for line in &part.lines {
            if !matches!(line.keyword.as_str(), "COPY" | "ADD") {
                stage.perform(line, within)?;
                continue;
            }
            let from = copy::origin_name(line).map(|name| dockerfile.origin(at, name));
            let origin = match from.as_ref().and_then(|base| self.tree(base, built)) {
                Some(root) => Origin::Tree(root),
                None => Origin::Context(&self.context),
            };
            copy::perform(&stage, line, origin, scratch)?;
        }
        Ok(stage)
    }

    /// The tree of a stage that is built, or of an image.
    fn tree<'s>(&'s self, base: &Base, built: &'s BTreeMap<usize, Stage<'_>>) -> Option<&'s Path> {
        match base {
            Base::Scratch => None,
            Base::Stage(stage) => built.get(stage).map(|stage| stage.root.as_path()),
            Base::Image(name) => self.bases.get(name).map(|stored| stored.root.as_path()),
        }
    }
}

/// `FROM [--platform=...] name [AS stage]`.
fn from(source: &Source, line: Line, global: &Scope, earlier: &[Part]) -> Result<Part, ImageError> {
    let words: Vec<&str> = line
        .rest
        .split_whitespace()
        .skip_while(|word| word.starts_with("--"))
        .collect();
    let (base, name) = match words.as_slice() {
        [base] => (base, None),
        [base, keyword, name] if keyword.eq_ignore_ascii_case("as") => (base, Some((*name).to_owned())),
        _ => {
            let wrong = source.wrong(&line, format!("`FROM {}` is not understood", line.rest));
            return Err(error(&wrong.allowed("FROM image, FROM image AS stage")));
        }
    };
    let lookup = |name: &str| global.value(&BTreeMap::new(), name).or_else(|| stage::platform(name));
    let base = words::expand(base, source.escape, &lookup).map_err(|said| error(&source.wrong(&line, said)))?;
    if base.is_empty() {
        let wrong = source.wrong(
            &line,
            format!("`FROM {}` names no image once its arguments are filled in", line.rest),
        );
        return Err(error(&wrong.hint(
            "give the argument a default (`ARG name=value` before it), or a value in `build.args`",
        )));
    }
    let base = match named(earlier, &base) {
        Some(stage) => Base::Stage(stage),
        None if base == "scratch" => Base::Scratch,
        None => Base::Image(base),
    };
    Ok(Part {
        name,
        base,
        from: line,
        lines: Vec::new(),
    })
}

/// The last stage of that name, whatever its case.
fn named(parts: &[Part], wanted: &str) -> Option<usize> {
    parts
        .iter()
        .rposition(|part| part.name.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(wanted)))
}

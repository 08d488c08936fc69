//! The store of images: root file systems in nightmail's cache, each with the settings that it runs under.
//!
//! An entry is a folder named by its inputs, with the tree in `root/` and what is known of it in `image.json`. It is made
//! under another name and gets its own when it is whole, so one that was cut short is never taken for an image; one that
//! was spoilt later is known by its measure.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Image, ImageError, Inside, Settings, Within, identity, tree};
use crate::system::cache;

#[cfg(test)]
mod tests;

/// What is known of an image, beside its tree.
const MANIFEST: &str = "image.json";

/// The tree.
const ROOT: &str = "root";

/// The ending of a folder that is no image: not yet, or no longer.
const PARTIAL: &str = "partial";

/// A store of images.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
    /// The lock that everyone shares who may be about to use an image of it.
    in_use: String,
}

/// An image of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// `name:hash`, or `name:tag-hash`.
    pub reference: String,
    /// Its root file system, which nobody may change.
    pub root: PathBuf,
    /// How it runs.
    pub settings: Settings,
}

/// What was found under a reference.
#[derive(Debug, Default)]
pub struct Found {
    /// The image, if it is there and whole.
    pub stored: Option<Stored>,
    /// What the reader should know: that there was one, and was spoilt.
    pub notice: Option<String>,
}

/// An image that is being made.
#[derive(Debug)]
pub struct Making {
    /// Its root file system: a folder, empty at first.
    pub root: PathBuf,
    /// A folder for whatever else is needed meanwhile; it goes when the image is made.
    pub scratch: PathBuf,
}

/// An image of the store, in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its reference.
    pub reference: String,
    /// The sizes of its files together.
    pub bytes: u64,
    /// When it was made, in seconds since 1970.
    pub made_s: i64,
    folder: PathBuf,
}

/// What a clean-up did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// References of images removed.
    pub removed: Vec<String>,
    /// Why nothing was looked at.
    pub spared: Option<String>,
    /// What could not be removed, in words.
    pub leftovers: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    name: String,
    reference: String,
    settings: Settings,
    measure: tree::Measure,
}

impl Store {
    /// The store in nightmail's cache.
    pub fn open() -> Result<Self, ImageError> {
        let dir = cache::dir("images").map_err(|error| explained(ImageError::new(error.to_string()), None))?;
        Ok(Self::at(&dir))
    }

    /// A store in this folder, which exists.
    pub fn at(dir: &Path) -> Self {
        let digest = Sha256::digest(dir.as_os_str().as_encoded_bytes());
        Self {
            dir: dir.to_owned(),
            in_use: format!("image-store-{}", cache::hex(&digest[..6])),
        }
    }

    /// Keeps every image where it is until dropped: to be held from before an image is looked for to after its last use.
    pub fn hold(&self) -> io::Result<cache::Lock> {
        cache::lock_shared(&self.in_use)
    }

    /// Looks for an image. One that is not whole counts as absent and is put out of the way.
    pub fn find(&self, reference: &str) -> Result<Found, ImageError> {
        if let Ok(stored) = self.look(reference) {
            return Ok(Found { stored, notice: None });
        }
        // Under the lock, since somebody may be making it anew this very moment.
        let _lock = making_lock(reference)?;
        self.find_locked(reference)
    }

    fn find_locked(&self, reference: &str) -> Result<Found, ImageError> {
        let spoilt = match self.look(reference) {
            Ok(stored) => {
                return Ok(Found { stored, notice: None });
            }
            Err(spoilt) => spoilt,
        };
        let entry = self.entry(reference);
        // Not removed: somebody may be running from it. What is out of the way goes when nothing is in use.
        let aside = entry.with_extension(format!("{}.{PARTIAL}", std::process::id()));
        tree::remove(&aside).map_err(|error| ImageError::io(&aside, &error))?;
        std::fs::rename(&entry, &aside).map_err(|error| ImageError::io(&entry, &error))?;
        Ok(Found {
            stored: None,
            notice: Some(format!(
                "the image {reference} in the cache was not whole ({spoilt}); it is made anew"
            )),
        })
    }

    /// The image; none if it was never made; in words what is wrong with it.
    fn look(&self, reference: &str) -> Result<Option<Stored>, String> {
        let entry = self.entry(reference);
        if entry.symlink_metadata().is_err() {
            return Ok(None);
        }
        let manifest = read_manifest(&entry)?;
        let root = entry.join(ROOT);
        let measure = tree::measure(&root).map_err(|error| format!("{}: {error}", root.display()))?;
        if measure != manifest.measure {
            return Err(format!(
                "it has {} entries and {} bytes instead of {} and {}",
                measure.entries, measure.bytes, manifest.measure.entries, manifest.measure.bytes
            ));
        }
        Ok(Some(Stored {
            reference: reference.to_owned(),
            root,
            settings: manifest.settings,
        }))
    }

    /// Finds an image, or makes it of the files of this host; the command that finishes it is run by `within`.
    pub fn make(&self, name: &str, reference: &str, image: &Image, within: &dyn Within) -> Result<Found, ImageError> {
        self.make_with(name, reference, |making| {
            no_base(image)?;
            image.rootfs.write_folder(&making.root)?;
            if let Some(words) = &image.finish {
                let command = Inside {
                    words,
                    environment: &image.settings.environment,
                    user: image.settings.user.as_deref(),
                    working_dir: image.settings.working_dir.as_deref(),
                };
                within.run(&making.root, &command)?;
            }
            Ok(image.settings.clone())
        })
    }

    /// Finds an image, or has it made by `fill`, which gives its settings. Runs at the same time do not make the same
    /// image twice.
    pub fn make_with(
        &self,
        name: &str,
        reference: &str,
        fill: impl FnOnce(&Making) -> Result<Settings, ImageError>,
    ) -> Result<Found, ImageError> {
        let _lock = making_lock(reference)?;
        let found = self.find_locked(reference)?;
        if found.stored.is_some() {
            return Ok(found);
        }
        let entry = self.entry(reference);
        let partial = entry.with_extension(PARTIAL);
        let made = self.fill(name, reference, &partial, fill).and_then(|settings| {
            std::fs::rename(&partial, &entry).map_err(|error| ImageError::io(&partial, &error))?;
            Ok(settings)
        });
        let settings = match made {
            Ok(settings) => settings,
            Err(error) => {
                // Asked before its own files are gone again.
                let free_bytes = free_bytes(&self.dir);
                let left = tree::remove(&partial);
                let mut error = explained(error, Some((&self.dir, free_bytes)));
                if let Err(left) = left {
                    error.reason += &format!("\n  and {} could not be removed: {left}", partial.display());
                }
                return Err(error);
            }
        };
        Ok(Found {
            stored: Some(Stored {
                reference: reference.to_owned(),
                root: entry.join(ROOT),
                settings,
            }),
            ..found
        })
    }

    fn fill(
        &self,
        name: &str,
        reference: &str,
        partial: &Path,
        fill: impl FnOnce(&Making) -> Result<Settings, ImageError>,
    ) -> Result<Settings, ImageError> {
        let io = |error| ImageError::io(partial, &error);
        tree::remove(partial).map_err(io)?;
        let making = Making {
            root: partial.join(ROOT),
            scratch: partial.join("scratch"),
        };
        std::fs::create_dir_all(&making.root).map_err(io)?;
        std::fs::create_dir(&making.scratch).map_err(io)?;
        let settings = fill(&making)?;
        tree::remove(&making.scratch).map_err(io)?;
        let manifest = Manifest {
            name: name.to_owned(),
            reference: reference.to_owned(),
            settings,
            measure: tree::measure(&making.root).map_err(io)?,
        };
        let text = serde_json::to_vec_pretty(&manifest).map_err(|error| io(error.into()))?;
        std::fs::write(partial.join(MANIFEST), text).map_err(io)?;
        Ok(manifest.settings)
    }

    /// Every image that is there, by reference.
    pub fn list(&self) -> Result<Vec<Listed>, ImageError> {
        let mut listed = Vec::new();
        for folder in self.folders()? {
            let made = folder.join(MANIFEST).metadata();
            if let (false, Ok(manifest), Ok(made)) = (is_partial(&folder), read_manifest(&folder), made) {
                listed.push(Listed {
                    reference: manifest.reference,
                    bytes: manifest.measure.bytes,
                    made_s: made.mtime(),
                    folder,
                });
            }
        }
        listed.sort_by(|a, b| a.reference.cmp(&b.reference));
        Ok(listed)
    }

    /// Removes images that a newer one of the same name has replaced, except those of `keep`, and what is left of images
    /// that were never whole. Nothing is removed while anybody holds the store.
    pub fn prune(&self, keep: &BTreeSet<String>) -> Result<Pruned, ImageError> {
        let mut pruned = Pruned::default();
        let lock = cache::try_lock(&self.in_use).map_err(|error| ImageError::new(error.to_string()))?;
        let Some(_lock) = lock else {
            pruned.spared = Some("a run is under way that may need them".to_owned());
            return Ok(pruned);
        };
        let listed = self.list()?;
        let replaced = identity::replaced(listed.iter().map(|image| (image.made_s, image.reference.clone())));
        let replaced: BTreeSet<String> = replaced
            .into_iter()
            .filter(|reference| !keep.contains(reference))
            .collect();
        for image in listed.iter().filter(|image| replaced.contains(&image.reference)) {
            match self.discard(&image.folder) {
                Ok(()) => pruned.removed.push(image.reference.clone()),
                Err(error) => pruned.leftovers.push(format!("image {}: {error}", image.reference)),
            }
        }
        for folder in self.folders()?.iter().filter(|folder| is_partial(folder)) {
            if let Err(error) = self.discard(folder) {
                pruned.leftovers.push(format!("{}: {error}", folder.display()));
            }
        }
        Ok(pruned)
    }

    /// Removes an entry unless somebody is making it.
    fn discard(&self, folder: &Path) -> io::Result<()> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let whole = name
            .split_once('.')
            .filter(|_| is_partial(folder))
            .map(|(whole, _)| whole);
        let Some(_lock) = cache::try_lock(&lock_name(whole.unwrap_or(&name)))? else {
            return Ok(());
        };
        if !is_partial(folder) {
            // It loses its name first, so that it is never found half removed.
            let partial = folder.with_extension(PARTIAL);
            tree::remove(&partial)?;
            std::fs::rename(folder, &partial)?;
            return tree::remove(&partial);
        }
        tree::remove(folder)
    }

    fn folders(&self) -> Result<Vec<PathBuf>, ImageError> {
        let io = |error| ImageError::io(&self.dir, &error);
        let mut folders = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(io)? {
            let entry = entry.map_err(io)?;
            if entry.file_type().map_err(io)?.is_dir() {
                folders.push(entry.path());
            }
        }
        folders.sort();
        Ok(folders)
    }

    fn entry(&self, reference: &str) -> PathBuf {
        self.dir.join(folder_name(reference))
    }
}

/// A reference as a folder's name: letters, digits and dashes, so that its ending is never the name's own, and nothing
/// within it has a meaning to `mount`.
fn folder_name(reference: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    match reference.rsplit_once([':', '-']) {
        Some((name, hash)) => format!(
            "{}-{}",
            name.replace(|c| safe(c) != c, "_"),
            hash.replace(|c| safe(c) != c, "_")
        ),
        None => reference.chars().map(safe).collect(),
    }
}

fn lock_name(folder: &str) -> String {
    format!("image-{folder}")
}

fn making_lock(reference: &str) -> Result<cache::Lock, ImageError> {
    cache::lock(&lock_name(&folder_name(reference)))
        .map_err(|error| explained(ImageError::new(error.to_string()), None))
}

fn is_partial(folder: &Path) -> bool {
    folder.extension().is_some_and(|extension| extension == PARTIAL)
}

fn read_manifest(entry: &Path) -> Result<Manifest, String> {
    let path = entry.join(MANIFEST);
    let text = std::fs::read(&path).map_err(|error| format!("{MANIFEST}: {error}"))?;
    serde_json::from_slice(&text).map_err(|error| format!("{MANIFEST}: {error}"))
}

/// An image of a registry has no files here to begin with.
fn no_base(image: &Image) -> Result<(), ImageError> {
    match (&image.base, &image.base_because) {
        (None, _) => Ok(()),
        (Some(_), Some(because)) => Err(ImageError {
            reason: format!("{}, or `--engine docker`", because.reason),
            log: because.log.clone(),
        }),
        (Some(base), None) => Err(ImageError::new(format!(
            "it builds on `{base}`, an image of a registry\n  hint: `--engine docker` can pull it"
        ))),
    }
}

/// Says of a disk that is full which one it is, and the ways out.
fn explained(mut error: ImageError, store: Option<(&Path, Option<u64>)>) -> ImageError {
    // Said by this program, or by one that was run within the image.
    const WORDS: [&str; 2] = ["No space left on device", "Disk quota exceeded"];
    let is_full = |text: &str| WORDS.iter().any(|words| text.contains(words));
    if !is_full(&error.reason) && !error.log.iter().any(|line| is_full(line)) {
        return error;
    }
    if let Some((dir, free_bytes)) = store {
        let free = free_bytes.map_or("an unknown number of".to_owned(), |bytes| (bytes >> 20).to_string());
        error.reason += &format!("\n  the cache {} has {free} MiB free", dir.display());
    }
    error.reason += &format!(
        "\n  hint: `nightmail gc --images` removes images that were replaced; {} names another folder for the cache",
        cache::VARIABLE
    );
    error
}

fn free_bytes(dir: &Path) -> Option<u64> {
    let stat = nix::sys::statvfs::statvfs(dir).ok()?;
    Some(stat.blocks_available() * stat.fragment_size())
}

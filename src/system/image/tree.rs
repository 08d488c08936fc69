//! Trees of files on disk: the root file systems of images while they are made.
//!
//! A path within a tree is followed as a process would that has the tree as its root: no link leads out of it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Component, Path, PathBuf};

use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

use super::ImageError;

/// As many links as the kernel follows for one path.
const LINKS_MAX: u32 = 40;

/// What a tree holds, by which one that was cut short is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// How many files, folders and links there are.
    pub entries: u64,
    /// The sizes of all files together.
    pub bytes: u64,
}

/// Measures a tree; links are not followed, and a folder that may not be read counts as itself alone.
pub fn measure(root: &Path) -> io::Result<Measure> {
    let mut measure = Measure::default();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let listing = match std::fs::read_dir(&folder) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && folder != root => continue,
            Err(error) => return Err(error),
        };
        for entry in listing {
            let entry = entry?;
            let meta = entry.metadata()?;
            measure.entries += 1;
            if meta.is_dir() {
                folders.push(entry.path());
            } else if meta.is_file() {
                measure.bytes += meta.len();
            }
        }
    }
    Ok(measure)
}

/// Where a path within the tree lies on the host, links followed. What does not exist is taken as it is written.
pub fn resolve(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let mut rest: VecDeque<OsString> = names(path).collect();
    let mut found = PathBuf::new();
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            found.pop();
            continue;
        }
        let at = root.join(&found).join(&name);
        let is_link = at.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
        if !is_link {
            found.push(name);
            continue;
        }
        links += 1;
        if links > LINKS_MAX {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        let target = std::fs::read_link(&at)?;
        if target.is_absolute() {
            found = PathBuf::new();
        }
        for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
            rest.push_front(name);
        }
    }
    Ok(root.join(found))
}

fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

/// Where an entry of that path is to be put: links above it are followed, itself is not, and the folders above it are
/// made.
pub fn place(root: &Path, path: &Path) -> io::Result<PathBuf> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok(make_folders(root, parent, 0o755)?.join(name)),
        _ => resolve(root, path),
    }
}

/// Makes a folder, and those above it, where they are not there; gives its place on the host.
pub fn make_folders(root: &Path, path: &Path, mode: u32) -> io::Result<PathBuf> {
    let place = resolve(root, path)?;
    let mut missing = Vec::new();
    let mut folder = place.as_path();
    while !folder.is_dir() {
        missing.push(folder);
        match folder.parent() {
            Some(parent) if folder != root => folder = parent,
            _ => break,
        }
    }
    for folder in missing.into_iter().rev() {
        std::fs::create_dir(folder)?;
        std::fs::set_permissions(folder, PermissionsExt::from_mode(mode))?;
    }
    Ok(place)
}

/// Gives an entry (a link itself) to somebody, if this process may; otherwise it stays whose it is.
pub fn own(path: &Path, user: u32, group: u32) -> io::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    match lchown(path, Some(user), Some(group)) {
        // Root of a user namespace may not, or knows no such user.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EINVAL)) => Ok(()),
        done => done,
    }
}

/// Copies the content of a file to a new one.
pub fn copy_bytes(from: &Path, to: &Path) -> Result<(), ImageError> {
    let copied = std::fs::copy(from, to);
    copied.map(drop).map_err(|error| {
        let said = format!("{} could not be copied to {}: {error}", from.display(), to.display());
        ImageError::new(said)
    })
}

/// What a copy changes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change {
    /// User and group of everything copied; without them they are kept.
    pub owner: Option<(u32, u32)>,
    /// The mode of every file and folder copied; without it they are kept.
    pub mode: Option<u32>,
}

impl Change {
    fn apply(self, to: &Path, meta: &Metadata) -> io::Result<()> {
        let (user, group) = self.owner.unwrap_or((meta.uid(), meta.gid()));
        own(to, user, group)?;
        if meta.is_symlink() {
            return Ok(());
        }
        let mode = self.mode.unwrap_or(meta.mode() & 0o7777);
        std::fs::set_permissions(to, PermissionsExt::from_mode(mode))
    }
}

/// Copies a whole tree into a folder that is there, which becomes like its root.
pub fn copy_all(from: &Path, to: &Path) -> Result<(), ImageError> {
    copy_into(from, to, Path::new("/"), Change::default())?;
    liken(from, to).map_err(|error| ImageError::io(to, &error))
}

/// Gives a folder the owner and mode of another.
pub fn liken(from: &Path, to: &Path) -> io::Result<()> {
    Change::default().apply(to, &from.metadata()?)
}

/// Copies what lies below a folder of the host into a folder of a tree; what is there already stays, or is replaced.
pub fn copy_into(from: &Path, root: &Path, path: &Path, change: Change) -> Result<(), ImageError> {
    let listing = std::fs::read_dir(from).map_err(|error| ImageError::io(from, &error))?;
    make_folders(root, path, 0o755).map_err(|error| ImageError::io(path, &error))?;
    for entry in listing {
        let entry = entry.map_err(|error| ImageError::io(from, &error))?;
        copy(&entry.path(), root, &path.join(entry.file_name()), change)?;
    }
    Ok(())
}

/// Copies a file, a link or a folder of the host to a path of a tree. A copy of a hard link is a file of its own.
pub fn copy(from: &Path, root: &Path, path: &Path, change: Change) -> Result<(), ImageError> {
    let meta = from.symlink_metadata().map_err(|error| ImageError::io(from, &error))?;
    let kind = meta.file_type();
    if kind.is_socket() {
        // Nothing without the process that listened on it.
        return Ok(());
    }
    let refused = |error: io::Error| ImageError::new(format!("{} within the image: {error}", path.display()));
    if meta.is_dir() {
        let to = make_folders(root, path, 0o700).map_err(refused)?;
        copy_into(from, root, path, change)?;
        return change.apply(&to, &meta).map_err(refused);
    }
    let to = place(root, path).map_err(refused)?;
    make_room(&to).map_err(refused)?;
    if meta.is_symlink() {
        let target = std::fs::read_link(from).map_err(|error| ImageError::io(from, &error))?;
        symlink(target, &to).map_err(refused)?;
    } else if kind.is_fifo() {
        nix::unistd::mkfifo(&to, Mode::S_IRWXU).map_err(|error| refused(error.into()))?;
    } else if meta.is_file() {
        copy_bytes(from, &to)?;
    } else {
        return Err(ImageError::new(format!(
            "{} is a device, which no image may hold",
            from.display()
        )));
    }
    change.apply(&to, &meta).map_err(refused)
}

/// Removes a file or link that another is to replace.
fn make_room(at: &Path) -> io::Result<()> {
    match at.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(meta) if meta.is_dir() => Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "a folder is there, which no file can replace",
        )),
        Ok(_) => std::fs::remove_file(at),
    }
}

/// Removes a tree, folders included that its owner may not write to. Nothing happens if it is not there.
pub fn remove(root: &Path) -> io::Result<()> {
    let removed = match std::fs::remove_dir_all(root) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open(root)?;
            std::fs::remove_dir_all(root)
        }
        removed => removed,
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Lets the owner change every folder.
fn open(folder: &Path) -> io::Result<()> {
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o700))?;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_within_the_tree_only() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir_all(root.join("usr/lib")).unwrap();
        symlink("/usr/lib", root.join("lib")).unwrap();
        symlink("../../../../etc", root.join("usr/etc")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        for (path, expected) in [
            ("/lib/x", "usr/lib/x"),
            ("/usr/etc/passwd", "etc/passwd"),
            ("/../../lib", "usr/lib"),
            ("/new/folder", "new/folder"),
        ] {
            assert_eq!(resolve(root, Path::new(path)).unwrap(), root.join(expected), "{path}");
        }
        let error = resolve(root, Path::new("/loop")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
    }

    #[test]
    fn a_copy_keeps_modes_and_links_and_measures_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir_all(from.join("a/b")).unwrap();
        std::fs::create_dir(&to).unwrap();
        std::fs::write(from.join("a/b/file"), "words").unwrap();
        symlink("/nowhere", from.join("a/link")).unwrap();
        std::fs::set_permissions(from.join("a/b"), PermissionsExt::from_mode(0o500)).unwrap();
        copy_into(&from, &to, Path::new("/"), Change::default()).unwrap();
        assert_eq!(measure(&from).unwrap(), measure(&to).unwrap());
        assert_eq!(measure(&to).unwrap(), Measure { entries: 4, bytes: 5 });
        assert_eq!(to.join("a/b").metadata().unwrap().mode() & 0o777, 0o500);
        remove(&to).unwrap();
        assert!(!to.exists());
    }
}

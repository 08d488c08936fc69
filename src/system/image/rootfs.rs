//! The files of an image, before they are anywhere.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{ImageError, tree};

/// A tree of files, by absolute path within the image.
#[derive(Debug, Clone, Default)]
pub struct RootFs {
    entries: BTreeMap<PathBuf, Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    content: Content,
    mode: u32,
    /// User and group.
    owner: u32,
}

#[derive(Debug, Clone)]
enum Content {
    Folder,
    Link(PathBuf),
    Text(String),
    Host(PathBuf),
}

impl RootFs {
    /// Adds a file with this text.
    pub fn text(&mut self, path: impl Into<PathBuf>, text: impl Into<String>, mode: u32) {
        self.insert(path.into(), Content::Text(text.into()), mode, 0);
    }

    /// Adds a file of the host, as executable as it is there.
    pub fn host_file(&mut self, path: impl Into<PathBuf>, host: &Path) -> Result<(), ImageError> {
        let metadata = std::fs::metadata(host).map_err(|error| ImageError::io(host, &error))?;
        let mode = if metadata.permissions().mode() & 0o111 == 0 {
            0o644
        } else {
            0o755
        };
        self.insert(path.into(), Content::Host(host.to_owned()), mode, 0);
        Ok(())
    }

    /// Adds every file below a folder of the host at `path`, links followed, except names that `keep` refuses.
    pub fn host_folder(&mut self, path: &Path, host: &Path, keep: &dyn Fn(&str) -> bool) -> Result<(), ImageError> {
        let listing = std::fs::read_dir(host).map_err(|error| ImageError::io(host, &error))?;
        for entry in listing {
            let entry = entry.map_err(|error| ImageError::io(host, &error))?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| keep(name)) else {
                continue;
            };
            let (path, host) = (path.join(name), entry.path());
            if host.is_dir() {
                self.host_folder(&path, &host, keep)?;
            } else if host.is_file() {
                self.host_file(path, &host)?;
            }
        }
        Ok(())
    }

    /// Adds an empty folder.
    pub fn folder(&mut self, path: impl Into<PathBuf>, mode: u32, owner: u32) {
        self.insert(path.into(), Content::Folder, mode, owner);
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: impl Into<PathBuf>, target: impl Into<PathBuf>) {
        self.insert(path.into(), Content::Link(target.into()), 0o777, 0);
    }

    fn insert(&mut self, path: PathBuf, content: Content, mode: u32, owner: u32) {
        let mut parent = path.parent();
        while let Some(folder) = parent.filter(|folder| folder.parent().is_some()) {
            self.entries.entry(folder.to_owned()).or_insert(Entry {
                content: Content::Folder,
                mode: 0o755,
                owner: 0,
            });
            parent = folder.parent();
        }
        self.entries.insert(path, Entry { content, mode, owner });
    }

    /// Whether there is an entry at this path.
    pub fn contains(&self, path: &Path) -> bool {
        self.entries.contains_key(path)
    }

    /// Writes everything as a tar archive, always the same bytes for the same files.
    pub fn write_tar(&self, out: impl Write) -> io::Result<()> {
        let mut tar = tar::Builder::new(out);
        for (path, entry) in &self.entries {
            let path = path.strip_prefix("/").unwrap_or(path);
            let mut header = tar::Header::new_gnu();
            header.set_mode(entry.mode);
            header.set_uid(u64::from(entry.owner));
            header.set_gid(u64::from(entry.owner));
            header.set_mtime(0);
            match &entry.content {
                Content::Folder => {
                    header.set_entry_type(tar::EntryType::Directory);
                    header.set_size(0);
                    tar.append_data(&mut header, path, io::empty())?;
                }
                Content::Link(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_size(0);
                    tar.append_link(&mut header, path, target)?;
                }
                Content::Text(text) => {
                    header.set_size(text.len() as u64);
                    tar.append_data(&mut header, path, text.as_bytes())?;
                }
                Content::Host(host) => {
                    let file = std::fs::File::open(host)?;
                    header.set_size(file.metadata()?.len());
                    tar.append_data(&mut header, path, file)?;
                }
            }
        }
        tar.finish()
    }

    /// Writes everything below a folder that is there and empty. Owners are kept where this process may give files away;
    /// otherwise everything belongs to whoever it runs as.
    pub fn write_folder(&self, to: &Path) -> Result<(), ImageError> {
        let mut folders = Vec::new();
        for (path, entry) in &self.entries {
            let at = tree::place(to, path).map_err(|error| ImageError::io(path, &error))?;
            let io = |error| ImageError::io(&at, &error);
            match &entry.content {
                Content::Folder => {
                    tree::make_folders(to, path, 0o755).map_err(|error| ImageError::io(path, &error))?;
                    folders.push((path, entry));
                    continue;
                }
                Content::Link(target) => std::os::unix::fs::symlink(target, &at).map_err(io)?,
                Content::Text(text) => std::fs::write(&at, text).map_err(io)?,
                Content::Host(host) => tree::copy_bytes(host, &at)?,
            }
            // A change of owner takes away what a mode says of other users' rights.
            tree::own(&at, entry.owner, entry.owner).map_err(io)?;
            if !matches!(entry.content, Content::Link(_)) {
                std::fs::set_permissions(&at, PermissionsExt::from_mode(entry.mode)).map_err(io)?;
            }
        }
        // The deepest first, and all of them last: until then everyone who writes must be able to.
        for (path, entry) in folders.into_iter().rev() {
            let at = tree::resolve(to, path).map_err(|error| ImageError::io(path, &error))?;
            let io = |error| ImageError::io(&at, &error);
            tree::own(&at, entry.owner, entry.owner).map_err(io)?;
            std::fs::set_permissions(&at, PermissionsExt::from_mode(entry.mode)).map_err(io)?;
        }
        Ok(())
    }

    /// A digest of everything that a different image would differ in. Files of the host count by identity, size and time
    /// of change, so that a hundred megabytes need not be read to find out that an image is there already.
    pub fn stamp(&self) -> Result<[u8; 32], ImageError> {
        let mut digest = Sha256::new();
        for (path, entry) in &self.entries {
            let content = match &entry.content {
                Content::Folder => "folder".to_owned(),
                Content::Link(target) => format!("link {}", target.display()),
                Content::Text(text) => format!("text {} {text}", text.len()),
                Content::Host(host) => {
                    let meta = std::fs::metadata(host).map_err(|error| ImageError::io(host, &error))?;
                    let (s, ns) = (meta.mtime(), meta.mtime_nsec());
                    format!("host {} {} {} {s}.{ns}", host.display(), meta.ino(), meta.len())
                }
            };
            digest.update(format!(
                "{} {:o} {} {content}\n",
                path.display(),
                entry.mode,
                entry.owner
            ));
        }
        Ok(digest.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(dir: &Path) -> RootFs {
        std::fs::write(dir.join("program"), "x").unwrap();
        let mut rootfs = RootFs::default();
        rootfs.host_file("/opt/bin/program", &dir.join("program")).unwrap();
        rootfs.text("/etc/passwd", "root:x:0:0\n", 0o644);
        rootfs.folder("/var/data", 0o700, 999);
        rootfs.link("/bin", "opt/bin");
        rootfs
    }

    #[test]
    fn a_tar_holds_every_entry_with_its_owner_and_mode_and_every_folder_above_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = Vec::new();
        sample(dir.path()).write_tar(&mut bytes).unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let found: Vec<(String, u32, u64)> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let path = entry.path().unwrap().display().to_string();
                (path, header.mode().unwrap(), header.uid().unwrap())
            })
            .collect();
        let names: Vec<&str> = found.iter().map(|(name, ..)| name.trim_end_matches('/')).collect();
        let expected = [
            "bin",
            "etc",
            "etc/passwd",
            "opt",
            "opt/bin",
            "opt/bin/program",
            "var",
            "var/data",
        ];
        assert_eq!(names, expected);
        assert_eq!((found[7].1, found[7].2), (0o700, 999));
    }

    #[test]
    fn a_folder_holds_every_entry_with_its_mode_even_where_nobody_may_write() {
        let dir = tempfile::tempdir().unwrap();
        let mut rootfs = sample(dir.path());
        rootfs.folder("/var/closed", 0o555, 0);
        rootfs.text("/var/closed/note", "text", 0o444);
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        rootfs.write_folder(&root).unwrap();
        let mode = |path: &str| root.join(path).symlink_metadata().unwrap().mode() & 0o7777;
        let modes = [
            "opt/bin",
            "opt/bin/program",
            "etc/passwd",
            "var/data",
            "var/closed",
            "var/closed/note",
        ]
        .map(mode);
        assert_eq!(modes, [0o755, 0o644, 0o644, 0o700, 0o555, 0o444]);
        assert_eq!(std::fs::read_link(root.join("bin")).unwrap(), Path::new("opt/bin"));
        if nix::unistd::geteuid().is_root() {
            assert_eq!(root.join("var/data").metadata().unwrap().uid(), 999);
        }
    }

    #[test]
    fn an_absolute_link_does_not_lead_out_of_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let (outside, root) = (dir.path().join("outside"), dir.path().join("root"));
        std::fs::create_dir(&outside).unwrap();
        std::fs::create_dir(&root).unwrap();
        let mut rootfs = RootFs::default();
        rootfs.link("/bin", &outside);
        rootfs.text("/bin/tool", "text", 0o755);
        rootfs.write_folder(&root).unwrap();
        assert!(!outside.join("tool").exists());
        let inside = root.join(outside.strip_prefix("/").unwrap());
        assert!(inside.join("tool").is_file());
    }

    #[test]
    fn the_stamp_follows_every_change() {
        let dir = tempfile::tempdir().unwrap();
        let before = sample(dir.path());
        let stamp = before.stamp().unwrap();
        assert_eq!(stamp, before.stamp().unwrap());
        std::fs::write(dir.path().join("program"), "xy").unwrap();
        assert_ne!(stamp, before.stamp().unwrap(), "a file of the host changed");
        let (now, mut other) = (before.stamp().unwrap(), before.clone());
        other.folder("/var/data", 0o755, 999);
        assert_ne!(now, other.stamp().unwrap(), "a mode changed");
    }
}

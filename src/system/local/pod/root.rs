//! A replica's root: the image below, its changes above, and what a container finds in its place: `/proc`, `/dev`, volumes.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, pivot_root};

use super::spec::{Mount, Root};
use super::{PodError, Tried};
use crate::system::image::tree;

const NONE: Option<&str> = None;
/// Devices that a container has.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// What of the kernel's files a container must not write.
const READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];
/// What of them it must not read.
const HIDDEN: [&str; 5] = ["kcore", "keys", "latency_stats", "timer_list", "sched_debug"];

/// Puts the root together and makes it this process's root.
pub(super) fn make(root: &Root, working_dir: Option<&str>) -> Result<(), PodError> {
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).tried(|| "making mounts private".to_owned())?;
    lay(root)?;
    let within = Within(&root.merged);
    devices(&within, root.shm_size_bytes)?;
    kernel_files(&within)?;
    for (path, options) in &root.tmpfs {
        let target = within.folder(path)?;
        tmpfs(&target, options, root.all_users)?;
    }
    for one in &root.mounts {
        place(&within, one, &root.image)?;
    }
    if let Some(dir) = working_dir {
        within.folder(dir)?;
    }
    overlay_files(root, &within)?;
    if root.read_only {
        read_only(&root.merged)?;
    }
    enter(&root.merged)
}

/// Mounts a folder at a path within a root that is being put together.
pub(super) fn mount_within(root: &Path, source: &Path, path: &str) -> Result<(), PodError> {
    bind(source, &Within(root).folder(path)?, false)
}

/// Makes a folder the root of this process's mount namespace, and leaves the old one.
pub(super) fn enter(folder: &Path) -> Result<(), PodError> {
    let entering = || format!("entering the root {}", folder.display());
    chdir(folder).tried(entering)?;
    pivot_root(".", ".").tried(entering)?;
    umount2(".", MntFlags::MNT_DETACH).tried(entering)?;
    chdir("/").tried(entering)
}

/// The image, and the changes above it.
fn lay(root: &Root) -> Result<(), PodError> {
    let merged = &root.merged;
    let Some(changes) = &root.changes else {
        return bind(&root.image, merged, false);
    };
    let (upper, copy) = (changes.join("upper"), changes.join("copy"));
    if upper.exists() {
        // A later life, which finds what an earlier one has changed, or none at all.
        return overlay(root, changes).tried(|| format!("laying changes over {}", root.image.display()));
    }
    if !copy.exists() {
        let is_laid = can_lie_above(changes) && begin_changes(root, changes).is_ok() && overlay(root, changes).is_ok();
        if is_laid {
            return Ok(());
        }
        // A kernel that lays nothing over anything for an ordinary user, or a cache on a file system that cannot lie below:
        // a copy serves as well, and takes longer.
        let _ = fs::remove_dir_all(&upper);
        fs::create_dir(&copy).tried(|| format!("making {}", copy.display()))?;
        tree::copy_all(&root.image, &copy).tried(|| format!("copying {}", root.image.display()))?;
    }
    bind(&copy, merged, false)
}

fn begin_changes(root: &Root, changes: &Path) -> io::Result<()> {
    let upper = changes.join("upper");
    fs::create_dir_all(changes.join("work"))?;
    fs::create_dir_all(&upper)?;
    tree::liken(&root.image, &upper)
}

/// Lays the changes over the image. Those of a life that has only just ended may still be held for a moment.
fn overlay(root: &Root, changes: &Path) -> Result<(), Errno> {
    const HELD_FOR_MS: u64 = 2_000;
    const PAUSE_MS: u64 = 5;
    // Where there are other users, what an ordinary one may not write says what was removed.
    let marks = if root.all_users { "" } else { ",userxattr" };
    let options = format!(
        "lowerdir={},upperdir={},workdir={}{marks}",
        escaped(&root.image),
        escaped(&changes.join("upper")),
        escaped(&changes.join("work"))
    );
    let (kind, flags) = (Some("overlay"), MsFlags::MS_NODEV);
    let mut tries_left = HELD_FOR_MS / PAUSE_MS;
    loop {
        match mount(kind, &root.merged, kind, flags, Some(options.as_str())) {
            Err(Errno::EBUSY) if tries_left > 0 => {
                tries_left -= 1;
                std::thread::sleep(Duration::from_millis(PAUSE_MS));
            }
            laid => return laid,
        }
    }
}

/// Whether a file system can keep what overlay writes beside files. Without it some changes would fail later on.
fn can_lie_above(folder: &Path) -> bool {
    let Ok(path) = CString::new(folder.as_os_str().as_bytes()) else {
        return false;
    };
    let name = c"user.overlay.nightmail";
    // SAFETY: both names end with a zero byte, and the value is as long as said.
    let set = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), b"y".as_ptr().cast(), 1, 0) };
    // SAFETY: as above.
    unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) };
    set == 0
}

/// A path within overlay's options.
fn escaped(path: &Path) -> String {
    let mut escaped = String::new();
    for c in path.display().to_string().chars() {
        if matches!(c, '\\' | ':' | ',') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// Paths within the root that is being put together. A link on the way is followed within it, never out of it.
struct Within<'a>(&'a Path);

impl Within<'_> {
    /// Where a path of the container lies.
    fn at(&self, path: &str) -> Result<PathBuf, PodError> {
        tree::resolve(self.0, Path::new(path)).tried(|| path.to_owned())
    }

    /// A folder, made if it is not there.
    fn folder(&self, path: &str) -> Result<PathBuf, PodError> {
        let at = self.at(path)?;
        fs::create_dir_all(&at).tried(|| format!("making {path}"))?;
        Ok(at)
    }

    /// A file, made empty if it is not there.
    fn file(&self, path: &str) -> Result<PathBuf, PodError> {
        let at = self.at(path)?;
        if let Some(folder) = at.parent() {
            fs::create_dir_all(folder).tried(|| format!("making {}", folder.display()))?;
        }
        if fs::symlink_metadata(&at).is_err() {
            fs::write(&at, "").tried(|| format!("making {path}"))?;
        }
        Ok(at)
    }
}

fn bind(source: &Path, target: &Path, is_read_only: bool) -> Result<(), PodError> {
    let what = || format!("mounting {} at {}", source.display(), target.display());
    mount(Some(source), target, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE).tried(what)?;
    if is_read_only {
        read_only(target)?;
    }
    Ok(())
}

/// Mounts again what is mounted, so that nobody can write there. Flags that came with it must stay, or the kernel refuses.
fn read_only(target: &Path) -> Result<(), PodError> {
    let found = nix::sys::statvfs::statvfs(target).tried(|| format!("looking at {}", target.display()))?;
    let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    for (is, flag) in [
        (nix::sys::statvfs::FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (nix::sys::statvfs::FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (nix::sys::statvfs::FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (nix::sys::statvfs::FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (nix::sys::statvfs::FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ] {
        if found.flags().contains(is) {
            flags |= flag;
        }
    }
    mount(NONE, target, NONE, flags, NONE).tried(|| format!("making {} read-only", target.display()))
}

/// Mount options of a Compose file: flags, and what the file system itself is to read.
fn tmpfs(target: &Path, options: &str, all_users: bool) -> Result<(), PodError> {
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let mut data = Vec::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "exec" => flags.remove(MsFlags::MS_NOEXEC),
            "noexec" => flags.insert(MsFlags::MS_NOEXEC),
            "suid" => flags.remove(MsFlags::MS_NOSUID),
            "nosuid" => flags.insert(MsFlags::MS_NOSUID),
            "dev" => flags.remove(MsFlags::MS_NODEV),
            "nodev" => flags.insert(MsFlags::MS_NODEV),
            "ro" => flags.insert(MsFlags::MS_RDONLY),
            "rw" => flags.remove(MsFlags::MS_RDONLY),
            // There is nobody else whom it could belong to.
            option if !all_users && (option.starts_with("uid=") || option.starts_with("gid=")) => {}
            option => data.push(option),
        }
    }
    if !data.iter().any(|option| option.starts_with("mode=")) {
        data.push("mode=1777");
    }
    let data = data.join(",");
    mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some(data.as_str()))
        .tried(|| format!("mounting a folder in memory at {}", target.display()))
}

fn devices(within: &Within<'_>, shm_size_bytes: u64) -> Result<(), PodError> {
    let dev = within.folder("/dev")?;
    let what = || "making /dev".to_owned();
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    // Its devices are mounts of their own.
    let bare = flags | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), &dev, Some("tmpfs"), bare, Some("mode=755,size=65536k")).tried(what)?;
    for name in DEVICES {
        let (host, target) = (Path::new("/dev").join(name), dev.join(name));
        fs::write(&target, "").tried(what)?;
        bind(&host, &target, false)?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        symlink(target, dev.join(name)).tried(what)?;
    }
    let pts = dev.join("pts");
    fs::create_dir(&pts).tried(what)?;
    let options = "newinstance,ptmxmode=0666,mode=0620";
    mount(Some("devpts"), &pts, Some("devpts"), flags, Some(options)).tried(|| "making /dev/pts".to_owned())?;
    let shm = dev.join("shm");
    fs::create_dir(&shm).tried(what)?;
    tmpfs(&shm, &format!("mode=1777,size={shm_size_bytes}"), false)
}

fn kernel_files(within: &Within<'_>) -> Result<(), PodError> {
    let proc = within.folder("/proc")?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), &proc, Some("proc"), flags, NONE).tried(|| "mounting /proc".to_owned())?;
    for name in READ_ONLY {
        let path = proc.join(name);
        if path.exists() {
            bind(&path, &path, true)?;
        }
    }
    for name in HIDDEN {
        let path = proc.join(name);
        if path.exists() {
            bind(Path::new("/dev/null"), &path, false)?;
        }
    }
    // Not every kernel shows an ordinary user the devices; few programs look.
    let sys = within.folder("/sys")?;
    let _ = mount(Some("sysfs"), &sys, Some("sysfs"), flags | MsFlags::MS_RDONLY, NONE);
    Ok(())
}

/// Mounts a volume, or something of the host.
fn place(within: &Within<'_>, one: &Mount, image: &Path) -> Result<(), PodError> {
    let source = &one.source;
    let meta = fs::metadata(source).tried(|| format!("mounting {}", source.display()))?;
    if one.begins_with_image {
        fill(source, &Within(image).at(&one.target)?).tried(|| format!("filling the volume at {}", one.target))?;
    }
    let target = if meta.is_dir() {
        within.folder(&one.target)?
    } else {
        within.file(&one.target)?
    };
    bind(source, &target, one.read_only)
}

/// Fills a volume with what an image has in its place, once: whoever shares it finds it filled, and nobody mounts it before.
fn fill(volume: &Path, from: &Path) -> io::Result<()> {
    let beside = |ending: &str| volume.with_added_extension(ending);
    let lock = fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(beside("lock"))?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
    let filled = beside("filled");
    if !filled.exists() {
        if from.is_dir() {
            tree::copy_all(from, volume).map_err(io::Error::other)?;
        }
        fs::write(filled, "")?;
    }
    Ok(())
}

/// Files that are the run's, such as `/etc/hosts`, over those of the image.
fn overlay_files(root: &Root, within: &Within<'_>) -> Result<(), PodError> {
    for (path, text) in &root.files {
        let kept = root
            .changes
            .as_deref()
            .unwrap_or(&root.merged)
            .join(path.trim_start_matches('/').replace('/', "-"));
        fs::write(&kept, text).tried(|| format!("writing {path}"))?;
        bind(&kept, &within.file(path)?, false)?;
    }
    Ok(())
}

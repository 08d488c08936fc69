//! nightmail's own folder on this machine: unpacked packages, and locks between runs at the same time.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use nix::fcntl::{Flock, FlockArg};

/// Overrides where the cache is.
pub const VARIABLE: &str = "NIGHTMAIL_CACHE";

/// A folder of the cache, made if it is not there.
pub fn dir(name: &str) -> io::Result<PathBuf> {
    let dir = root().join(name);
    std::fs::create_dir_all(&dir)
        .map_err(|error| io::Error::new(error.kind(), format!("the cache {}: {error}", dir.display())))?;
    Ok(dir)
}

fn root() -> PathBuf {
    let from = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    from(VARIABLE)
        .or_else(|| from("XDG_CACHE_HOME").map(|dir| dir.join("nightmail")))
        .or_else(|| from("HOME").map(|dir| dir.join(".cache/nightmail")))
        .unwrap_or_else(|| std::env::temp_dir().join(format!("nightmail-{}", nix::unistd::getuid())))
}

/// A lock between processes, held until dropped. The kernel lets go of it when its holder dies.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

/// Waits for the lock of that name.
pub fn lock(name: &str) -> io::Result<Lock> {
    take(name, FlockArg::LockExclusive)
}

/// Waits for the lock of that name, and shares it with others that share it.
pub fn lock_shared(name: &str) -> io::Result<Lock> {
    take(name, FlockArg::LockShared)
}

/// Takes the lock of that name if nobody holds it.
pub fn try_lock(name: &str) -> io::Result<Option<Lock>> {
    match take(name, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

fn take(name: &str, how: FlockArg) -> io::Result<Lock> {
    let path = lock_path(name)?;
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    Flock::lock(file, how)
        .map(|file| Lock { _file: file })
        .map_err(|(_, error)| error.into())
}

/// Removes the file of a lock that nobody will ask for again, such as a run's that has ended.
pub fn forget_lock(name: &str) {
    if let Ok(path) = lock_path(name) {
        // A file that stays is a few bytes lost, and no harm.
        let _ = std::fs::remove_file(path);
    }
}

fn lock_path(name: &str) -> io::Result<PathBuf> {
    Ok(dir("locks")?.join(name.replace(['/', ':'], "_")))
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

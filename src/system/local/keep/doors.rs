//! The folder of the cache where the sockets of kept runs are: a door each.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use crate::system::cache;

const SUFFIX: &str = ".sock";

/// The folder.
#[derive(Debug)]
pub(super) struct Doors {
    path: PathBuf,
    folder: File,
}

impl Doors {
    /// Of this user's cache, made if it is not there, and nobody else's to look into.
    pub(super) fn here() -> io::Result<Self> {
        Self::of(cache::dir("kept")?)
    }

    fn of(path: PathBuf) -> io::Result<Self> {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
        let folder = File::open(&path)?;
        Ok(Self { path, folder })
    }

    /// The address of a socket holds 107 bytes, and the path of a cache may be longer: this one never is.
    fn address(&self, name: &str) -> PathBuf {
        format!("/proc/self/fd/{}/{name}", self.folder.as_raw_fd()).into()
    }

    /// Makes the door of a run. Nobody finds it before it is open.
    pub(super) fn open(&self, run_id: &str) -> io::Result<UnixListener> {
        let unfinished = format!("{run_id}.new");
        let _ = fs::remove_file(self.path.join(&unfinished));
        let listener = UnixListener::bind(self.address(&unfinished))?;
        fs::set_permissions(self.path.join(&unfinished), fs::Permissions::from_mode(0o600))?;
        fs::rename(self.path.join(&unfinished), self.path.join(format!("{run_id}{SUFFIX}")))?;
        Ok(listener)
    }

    /// Takes it away.
    pub(super) fn close(&self, run_id: &str) {
        // One that stays leads nowhere, and goes when somebody tries it.
        let _ = fs::remove_file(self.path.join(format!("{run_id}{SUFFIX}")));
    }

    /// Connects to one; nothing if nobody is behind it.
    pub(super) fn enter(&self, run_id: &str) -> io::Result<Option<UnixStream>> {
        match UnixStream::connect(self.address(&format!("{run_id}{SUFFIX}"))) {
            Ok(socket) => Ok(Some(socket)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                self.close(run_id);
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The runs that have a door, in order.
    pub(super) fn runs(&self) -> io::Result<Vec<String>> {
        let mut runs: Vec<String> = fs::read_dir(&self.path)?
            .flatten()
            .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(SUFFIX)?.to_owned()))
            .collect();
        runs.sort();
        Ok(runs)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_door_behind_which_nobody_is_goes_and_a_long_path_is_no_hindrance() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a-cache-with-a-long-name".repeat(8));
        fs::create_dir(&path).unwrap();
        let doors = Doors::of(path.clone()).unwrap();
        let listener = doors.open("run1").unwrap();
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(path.clone()), mode(path.join("run1.sock"))), (0o700, 0o600));
        assert_eq!(doors.runs().unwrap(), ["run1"]);
        assert!(doors.enter("run1").unwrap().is_some());
        drop(listener);
        // A child that another test has just forked holds the socket too, until it executes its program.
        let gone = Instant::now() + Duration::from_secs(30);
        while doors.enter("run1").unwrap().is_some() {
            assert!(Instant::now() < gone, "somebody is behind the door still");
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(doors.runs().unwrap(), Vec::<String>::new());
        assert!(doors.enter("run1").unwrap().is_none());
    }
}

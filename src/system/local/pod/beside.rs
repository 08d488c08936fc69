//! A program beside one that runs, such as a health check.

use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};

use super::spec::{Beside, Said};
use super::{Line, PodError, Tried, clone_aside, process, user};

/// Enters the namespaces of the one that runs, and starts the program there.
pub(super) fn start(line: &Line, beside: &Beside) -> Result<(), PodError> {
    let target = open(beside.pid).tried(|| format!("opening the process {}", beside.pid))?;
    let namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    setns(target.as_fd(), namespaces).tried(|| "entering its namespaces".to_owned())?;
    if beside.process.all_users {
        // Until it runs its program, the other one's root must not look into it.
        nix::sys::prctl::set_dumpable(false).tried(|| "closing this process to others".to_owned())?;
    }
    match clone_aside().tried(|| "starting a process".to_owned())? {
        Some(pid) => {
            line.say(&Said::Cloned(pid.as_raw()));
            Ok(())
        }
        None => {
            let begun = user::find(beside.process.user.as_deref(), Path::new("/")).and_then(|ids| {
                process::confine(&beside.process, &ids)?;
                process::exec(&beside.process, &ids)
            });
            let Err(error) = begun;
            line.say(&Said::Failed(error.to_string()));
            std::process::exit(127)
        }
    }
}

/// A descriptor of a process.
pub(in crate::system::local) fn open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes two numbers and gives a descriptor, which nobody else has.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: see above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

//! What a process of a stage has of the world outside, and how it lets go of it to live on by itself.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::init;

/// The harness's ties to whoever started it.
#[derive(Debug)]
pub struct Outside {
    init: UnixStream,
    inherited: Vec<RawFd>,
}

impl Outside {
    /// Of this process, which has opened nothing yet that it hands on.
    pub(super) fn new(init: UnixStream) -> Self {
        Self {
            init,
            inherited: inherited(),
        }
    }

    /// Lets the command end with that exit code, while this process and its stage live on: nobody who reads what the command
    /// writes waits for them.
    pub fn leave(&self, exit_code: u8) -> io::Result<()> {
        let_go(&self.inherited)?;
        std::env::set_current_dir("/")?;
        writeln!(&self.init, "{}{exit_code}", init::KEPT)
    }
}

/// Descriptors beside the usual three that programs started by this one would have too: whoever started this one gave them to it.
pub(super) fn inherited() -> Vec<RawFd> {
    let Ok(listing) = fs::read_dir("/proc/self/fd") else {
        return Vec::new();
    };
    let open = listing
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    open.filter(|fd: &RawFd| *fd > 2 && is_handed_on(*fd)).collect()
}

fn is_handed_on(fd: RawFd) -> bool {
    // SAFETY: the descriptor is only looked at, within this call.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    fcntl(fd, FcntlArg::F_GETFD).is_ok_and(|flags| !FdFlag::from_bits_truncate(flags).contains(FdFlag::FD_CLOEXEC))
}

/// Puts `/dev/null` in the place of standard input, output and error, and of these.
pub(super) fn let_go(inherited: &[RawFd]) -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    for fd in [0, 1, 2].iter().chain(inherited) {
        // SAFETY: the number stays open, as another file; the standard library and whoever uses an inherited one know only
        // the number.
        nix::errno::Errno::result(unsafe { libc::dup2(null.as_raw_fd(), *fd) })?;
    }
    Ok(())
}

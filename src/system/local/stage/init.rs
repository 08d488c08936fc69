//! The first process of a stage: it makes the stage's mounts, starts the harness, and reaps what nobody else waits for.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, setsid};

use super::rights::{self, Rights};
use super::{StageError, VARIABLE, keep_at_exec, outside};

/// Begins what the init says of a stage that could not be made.
pub(super) const FAILED: &str = "failed ";
/// Begins what the init says when the harness lives on; its exit code follows. The harness tells the init by the same word.
pub(super) const KEPT: &str = "kept ";

/// What the init is to do.
pub(super) struct Plan<'a> {
    pub(super) rights: Rights,
    /// An empty folder of the host.
    pub(super) mount_point: &'a Path,
    pub(super) program: &'a OsStr,
    pub(super) words: &'a [OsString],
    /// The harness's end of its socket to the porter.
    pub(super) porter: &'a UnixStream,
    /// The harness's end of its socket to the init.
    pub(super) harness: &'a UnixStream,
    /// The init's end of it.
    pub(super) control: &'a UnixStream,
    /// The init's end of its socket to the outer process.
    pub(super) outer: &'a UnixStream,
    pub(super) signals: &'a SigSet,
    /// This program, as a path of the host.
    pub(super) nightmail: &'a Path,
    /// Descriptors that the outer process was given beside the usual three.
    pub(super) inherited: Vec<RawFd>,
}

/// Never returns in practice: the process ends with the harness.
pub(super) fn main(plan: &Plan<'_>) -> ! {
    let code = match begin(plan) {
        Ok(harness) => attend(plan, harness),
        Err(error) => {
            let _ = write!(&mut &*plan.outer, "{FAILED}{error}");
            4
        }
    };
    std::process::exit(code)
}

/// Makes the stage and starts the harness on it.
fn begin(plan: &Plan<'_>) -> Result<Pid, StageError> {
    die_with_parent(plan)?;
    let refused = |step: &'static str| move |error: Errno| StageError::Refused(rights::refused(step, error));
    if let Rights::User { uid, gid } = plan.rights {
        let write = |path: &'static str, text: String| {
            fs::write(path, text)
                .map_err(|error| refused(path)(error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw)))
        };
        write("/proc/self/setgroups", "deny".to_owned())?;
        write("/proc/self/uid_map", format!("0 {uid} 1"))?;
        write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    }
    // The keys of whoever started this are not for replicas. A kernel without keys has none to keep.
    let none: libc::c_ulong = 0;
    // SAFETY: the call takes numbers only, and gives this process a session's keyring of its own.
    unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::c_ulong::from(libc::KEYCTL_JOIN_SESSION_KEYRING),
            none,
        )
    };
    // A terminal's Ctrl-C comes by the outer process, once.
    let _ = setsid();
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(refused("making mounts private"))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, none).map_err(refused("mounting proc"))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(
        Some("nightmail"),
        plan.mount_point,
        Some("tmpfs"),
        flags,
        Some("mode=0711"),
    )
    .map_err(refused("mounting a folder in memory"))?;
    start(plan)
}

/// Whatever kills the outer process, kills this one, and with it all namespaces.
fn die_with_parent(plan: &Plan<'_>) -> Result<(), StageError> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(|error| super::io_error("asking for the parent's death signal")(error.into()))?;
    // It may have died before that was asked for; then its end of the socket is closed.
    let mut gone = [PollFd::new(plan.outer.as_fd(), PollFlags::POLLIN)];
    match poll(&mut gone, PollTimeout::ZERO) {
        Ok(1..) => std::process::exit(4),
        _ => Ok(()),
    }
}

fn start(plan: &Plan<'_>) -> Result<Pid, StageError> {
    let starting = || format!("starting {}", plan.program.display());
    for socket in [plan.porter, plan.harness] {
        keep_at_exec(socket).map_err(|error| super::io_error(starting())(error.into()))?;
    }
    let (porter, init) = (plan.porter.as_raw_fd(), plan.harness.as_raw_fd());
    let signals = *plan.signals;
    let mut harness = Command::new(plan.program);
    // SAFETY: only a call that a handler of signals may make.
    unsafe {
        // What is blocked here would be blocked there.
        harness.pre_exec(move || Ok(signals.thread_unblock()?));
    }
    let child = harness
        .args(plan.words)
        .env(VARIABLE, format!("{porter},{init},{}", plan.mount_point.display()))
        .env(super::PROGRAM, plan.nightmail)
        .spawn()
        .map_err(super::io_error(starting()))?;
    // The init itself must not keep the harness's ends open, or nobody would notice that the harness is gone.
    for socket in [plan.porter, plan.harness] {
        let _ = nix::unistd::close(socket.as_raw_fd());
    }
    Ok(Pid::from_raw(child.id() as i32))
}

/// Reaps, hands signals on, and gives the harness's exit code once it has ended.
fn attend(plan: &Plan<'_>, harness: Pid) -> i32 {
    let Ok(signals) = SignalFd::with_flags(plan.signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK) else {
        return 4;
    };
    let mut control = plan.control;
    let _ = control.set_nonblocking(true);
    let mut listens = true;
    let mut said = String::new();
    loop {
        let mut waited = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        if listens {
            waited.push(PollFd::new(plan.control.as_fd(), PollFlags::POLLIN));
        }
        let _ = poll(&mut waited, PollTimeout::NONE);
        while let Ok(Some(signal)) = signals.read_signal() {
            if let Ok(signal) = Signal::try_from(signal.ssi_signo as i32)
                && signal != Signal::SIGCHLD
            {
                let _ = kill(harness, signal);
            }
        }
        let mut word = [0; 256];
        match control.read(&mut word) {
            Ok(0) => listens = false,
            Ok(bytes) => said.push_str(&String::from_utf8_lossy(&word[..bytes])),
            Err(_) => {}
        }
        if said.starts_with(KEPT) && said.ends_with('\n') {
            // The harness lives on when the outer process has ended, which it does at that word.
            let _ = nix::sys::prctl::set_pdeathsig(None);
            let _ = outside::let_go(&plan.inherited);
            let _ = write!(&mut &*plan.outer, "{said}");
            said.clear();
        }
        if let Some(code) = reap(harness) {
            return code;
        }
    }
}

/// Collects whoever has ended, as the first process of a namespace does; the exit code of the one that matters, if it is
/// among them.
pub(in crate::system::local) fn reap(awaited: Pid) -> Option<i32> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == awaited => return Some(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == awaited => return Some(128 + signal as i32),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return None,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
}

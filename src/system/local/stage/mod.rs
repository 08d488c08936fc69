//! The stage: user, mount, network, process and host name namespaces of nightmail's own, in which a whole command runs.
//!
//! Three processes make it. The *outer* one is what was started: it clones the first process of the namespaces, hands
//! signals on to it, and ends with its exit code. The *init* is that first process: whatever kills the outer one kills it
//! (the kernel sees to that), and with it the kernel removes every process, address, rule and mount of the stage, so that
//! nothing can be left behind. The *harness* is what was to be run, as a child of the init.
//!
//! Beside the stage stands the *porter* (see [`super::porter`]), which makes images where there is a way to the world.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, SigSet, Signal, kill, killpg, signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::system::cache;

mod init;
mod outside;
mod rights;

pub(super) use init::reap;
pub use outside::Outside;
pub use rights::{Rights, all_users_exist};

/// Says, within a stage, what belongs to it.
const VARIABLE: &str = "NIGHTMAIL_STAGE";
/// Says where this program is, for what it starts of itself.
const PROGRAM: &str = "NIGHTMAIL_PROGRAM";

/// Why there is no stage.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The kernel does not let this user; with the reason and the ways out.
    #[error("{0}")]
    Refused(String),
    /// Something else broke.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> StageError {
    let what = what.into();
    move |source| StageError::Io { what, source }
}

/// What a process within a stage has of it.
#[derive(Debug)]
pub struct Inside {
    /// To the porter.
    pub porter: UnixStream,
    /// What stands around the stage.
    pub outside: Outside,
    /// A folder in memory, which nobody outside can see.
    pub dir: PathBuf,
    /// This program, as a path.
    pub nightmail: PathBuf,
}

impl Inside {
    /// Of this process, if it was started on a stage; once.
    pub fn take() -> Option<Self> {
        static TAKEN: OnceLock<()> = OnceLock::new();
        let found = std::env::var(VARIABLE).ok()?;
        TAKEN.set(()).ok()?;
        let mut words = found.splitn(3, ',');
        let porter = socket(words.next()?)?;
        let init = socket(words.next()?)?;
        Some(Self {
            porter,
            outside: Outside::new(init),
            dir: PathBuf::from(words.next()?),
            nightmail: PathBuf::from(std::env::var_os(PROGRAM)?),
        })
    }
}

/// Whether this process runs on a stage.
pub fn is_inside() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

fn socket(number: &str) -> Option<UnixStream> {
    let number: RawFd = number.parse().ok()?;
    // SAFETY: whoever set the variable left this descriptor to this process, which takes it once.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    close_at_exec(&socket).ok()?;
    let socket = UnixStream::from(socket);
    socket.local_addr().ok()?;
    Some(socket)
}

pub(super) fn close_at_exec(fd: &OwnedFd) -> nix::Result<()> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map(drop)
}

fn keep_at_exec(fd: impl AsFd) -> nix::Result<()> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).map(drop)
}

/// Signals that end a command, and are handed on.
const HANDED_ON: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// Runs a program on a stage of its own and gives its exit code. `nightmail` is this program, for the porter. Only for a
/// process that has no other thread.
pub fn run(nightmail: &Path, program: &OsStr, words: &[OsString]) -> Result<u8, StageError> {
    take_signals().map_err(|error| io_error("preparing for signals")(error.into()))?;
    let (near, far) = UnixStream::pair().map_err(io_error("making a pair of sockets"))?;
    let mut porter = Command::new(nightmail)
        .arg("porter")
        .stdin(Stdio::from(OwnedFd::from(far)))
        .spawn()
        .map_err(io_error(format!("starting {} as the porter", nightmail.display())))?;
    let ended = run_with(near, nightmail, program, words);
    // The harness has gone, or lives on and makes no more images. What the porter has started is of its process group.
    let _ = killpg(Pid::from_raw(porter.id() as i32), Signal::SIGKILL);
    let _ = porter.kill();
    let _ = porter.wait();
    ended
}

/// A shell starts what runs in its background with SIGINT ignored, and some programs leave SIGCHLD so: then neither would ever
/// come. SIGHUP stays as it is, since `nohup` means it.
fn take_signals() -> nix::Result<()> {
    for taken in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGCHLD] {
        // SAFETY: no handler of ours runs.
        unsafe { signal(taken, SigHandler::SigDfl) }?;
    }
    Ok(())
}

/// As [`run`], for what needs no images.
pub fn run_without_porter(nightmail: &Path, program: &OsStr, words: &[OsString]) -> Result<u8, StageError> {
    let (near, _far) = UnixStream::pair().map_err(io_error("making a pair of sockets"))?;
    run_with(near, nightmail, program, words)
}

fn run_with(porter: UnixStream, nightmail: &Path, program: &OsStr, words: &[OsString]) -> Result<u8, StageError> {
    let rights = Rights::here();
    let mount_point = cache::dir("stage").map_err(io_error("preparing the cache folder"))?;
    let pair = || UnixStream::pair().map_err(io_error("making a pair of sockets"));
    let (init_near, init_far) = pair()?;
    let (outer, outer_far) = pair()?;
    let handled: SigSet = HANDED_ON.into_iter().chain([Signal::SIGCHLD]).collect();
    handled
        .thread_block()
        .map_err(|error| io_error("blocking signals")(error.into()))?;
    let plan = init::Plan {
        rights,
        mount_point: &mount_point,
        program,
        words,
        porter: &porter,
        harness: &init_near,
        control: &init_far,
        outer: &outer_far,
        signals: &handled,
        nightmail,
        inherited: outside::inherited(),
    };
    let ended = match clone(rights) {
        Ok(Some(init)) => {
            // Ends that are open here would hide that those who hold the others are gone.
            drop((porter, init_near, init_far, outer_far));
            watch(init, outer, &handled)
        }
        Ok(None) => {
            drop(outer);
            init::main(&plan)
        }
        Err(error) => Err(StageError::Refused(rights::refused("clone", error))),
    };
    let _ = handled.thread_unblock();
    ended
}

/// Clones this process into new namespaces. `None` in the child.
fn clone(rights: Rights) -> Result<Option<Pid>, Errno> {
    let mut flags =
        libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if let Rights::User { .. } = rights {
        flags |= libc::CLONE_NEWUSER;
    }
    clone_with(flags)
}

/// As fork(2), with flags.
pub(super) fn clone_with(flags: libc::c_int) -> Result<Option<Pid>, Errno> {
    let none: libc::c_ulong = 0;
    // SAFETY: without CLONE_VM and with no stack this is fork(2). The process has one thread, so that the child finds no
    // lock held by a thread that is not there.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone,
            libc::c_ulong::try_from(flags | libc::SIGCHLD).unwrap_or_default(),
            none,
            none,
            none,
            none,
        )
    };
    Errno::result(pid).map(|pid| (pid != 0).then(|| Pid::from_raw(pid as i32)))
}

/// Waits for the init's end, and hands signals on. If the init says that the harness lives on, that is the end too.
fn watch(init: Pid, mut outer: UnixStream, handled: &SigSet) -> Result<u8, StageError> {
    let signals = SignalFd::with_flags(handled, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|error| io_error("waiting for signals")(error.into()))?;
    let mut said = String::new();
    let mut talks = true;
    loop {
        await_either(&signals, talks.then_some(&outer))
            .map_err(|error| io_error("waiting for the harness")(error.into()))?;
        while let Ok(Some(signal)) = signals.read_signal() {
            let signal = Signal::try_from(signal.ssi_signo as i32);
            if let Ok(signal) = signal
                && signal != Signal::SIGCHLD
            {
                let _ = kill(init, signal);
            }
        }
        let mut word = [0; 512];
        outer.set_nonblocking(true).map_err(io_error("listening to the init"))?;
        while let Ok(bytes) = outer.read(&mut word) {
            if bytes == 0 {
                // The init has ended: its signal comes once the kernel has cleared the stage.
                talks = false;
                break;
            }
            said.push_str(&String::from_utf8_lossy(&word[..bytes]));
        }
        if let Some(code) = said.strip_prefix(init::KEPT).and_then(|rest| rest.trim().parse().ok()) {
            return Ok(code);
        }
        match waitpid(init, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => {}
            Ok(WaitStatus::Exited(_, code)) => return ended(code, &said),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(128_u8.saturating_add(signal as u8)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(io_error("waiting for the harness")(error.into())),
        }
    }
}

fn await_either(signals: &SignalFd, outer: Option<&UnixStream>) -> Result<(), Errno> {
    let mut waited = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    waited.extend(outer.map(|outer| PollFd::new(outer.as_fd(), PollFlags::POLLIN)));
    match poll(&mut waited, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What the init's exit code means, and what it said before.
fn ended(code: i32, said: &str) -> Result<u8, StageError> {
    match said.strip_prefix(init::FAILED) {
        Some(reason) => Err(StageError::Refused(reason.trim_end().to_owned())),
        None => Ok(u8::try_from(code).unwrap_or(u8::MAX)),
    }
}

/// Opens a namespace of this process.
pub(super) fn namespace(kind: &str) -> io::Result<File> {
    File::open(format!("/proc/self/ns/{kind}"))
}

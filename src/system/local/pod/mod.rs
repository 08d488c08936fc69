//! Launchers: short-lived processes (`nightmail pod`) that make the namespaces of one replica and put a program into them.
//!
//! A process of its own, since namespaces belong to threads and only a process with a single one may enter them all. What it
//! starts is a child of whoever started the launcher (`CLONE_PARENT`), so that no process stays in between.
//!
//! A replica's program runs in mount, process, host name and interprocess namespaces of its own, in the network namespace
//! of its pod, and, where there is only one user, in a user namespace that shows this one user as the image's. It has Docker's usual
//! capabilities at most, and those over nothing but its own processes; an agent has `NET_ADMIN` if it filters packets, and a root
//! that is empty but for the disks.
//!
//! Direct system calls rather than a container runtime as a library (such as youki's `libcontainer`): what is needed of one are some
//! twenty calls, and it would bring control groups, seccomp and the OCI bundle, which are not.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, dup};

mod beside;
mod enter;
mod hold;
mod process;
mod program;
mod root;
pub(in crate::system::local) mod spec;
mod user;

pub(in crate::system::local) use beside::open as open_process;
pub use enter::{Entry, hosts_entry, image_has};
pub(in crate::system::local) use enter::{enter_network, pid_of};
use spec::{Said, Spec};

/// Why something could not be done, in words; what was tried comes first.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PodError(String);

impl PodError {
    fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// Says what was tried beside what the system said.
trait Tried<T> {
    fn tried(self, what: impl FnOnce() -> String) -> Result<T, PodError>;
}

impl<T, E: std::fmt::Display> Tried<T> for Result<T, E> {
    fn tried(self, what: impl FnOnce() -> String) -> Result<T, PodError> {
        self.map_err(|error| PodError(format!("{}: {error}", what())))
    }
}

/// The engine's end of the line.
pub(in crate::system::local) struct Line(UnixStream);

impl Line {
    /// Takes over standard input, which must be a socket; what is started finds `/dev/null` in its place.
    fn of_stdin() -> Result<Self, PodError> {
        let socket = dup(std::io::stdin().as_fd()).tried(|| "taking over the socket".to_owned())?;
        super::stage::close_at_exec(&socket).tried(|| "taking over the socket".to_owned())?;
        Ok(Self(UnixStream::from(socket)))
    }

    fn spec(&self) -> Result<Spec, PodError> {
        let mut line = String::new();
        BufReader::new(&self.0)
            .read_line(&mut line)
            .tried(|| "reading what to start".to_owned())?;
        serde_json::from_str(&line).tried(|| "reading what to start".to_owned())
    }

    fn say(&self, said: &Said) {
        let mut line = serde_json::to_vec(said).unwrap_or_default();
        line.push(b'\n');
        // Whoever has gone need not be told.
        let _ = (&self.0).write_all(&line);
    }

    /// Waits until the engine has heard and says so, or has gone.
    fn wait(&self) {
        let _ = BufReader::new(&self.0).read_line(&mut String::new());
    }
}

/// Runs a launcher.
pub fn main() -> ExitCode {
    // It was started by a descriptor's name, which says nothing to whoever lists processes.
    let _ = nix::sys::prctl::set_name(c"nightmail");
    // What whoever started nightmail gave it is not for replicas and agents, who may outlive the command.
    // SAFETY: this process has opened nothing yet.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    // Whatever whoever started nightmail keeps to themselves, replicas must be able to read what is theirs.
    umask(Mode::from_bits_truncate(0o022));
    let Ok(line) = Line::of_stdin() else {
        return ExitCode::from(2);
    };
    let done = line.spec().and_then(|spec| match spec {
        Spec::Hold(hold) => hold::start(&line, &hold),
        Spec::Program(program) => program::start(&line, &program),
        Spec::Beside(beside) => beside::start(&line, &beside),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            line.say(&Said::Failed(error.to_string()));
            ExitCode::from(4)
        }
    }
}

/// Clones this process: the child is a child of this process's own parent. `None` in the child.
fn clone_aside() -> Result<Option<Pid>, Errno> {
    super::stage::clone_with(libc::CLONE_PARENT)
}

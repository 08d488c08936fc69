//! A way for people into a replica that runs: a shell or a command in it, or one of the host's in its network.
//!
//! Unlike what launchers start, what is started here is a child of this very process, and has its terminal.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use super::spec::{PATH, Process};
use super::{PodError, Tried, process, user};
use crate::system::cache;
use crate::system::engine::EngineError;

/// The shell that images have, if they have one.
const SHELL: &str = "/bin/sh";
/// Where a program looks for names.
const NAMES: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];
const NONE: Option<&str> = None;

/// A way in that was found.
#[derive(Debug)]
pub struct Entry {
    /// For messages.
    replica: String,
    /// The first process of the stage, if there is one around the replica.
    stage: Option<OwnedFd>,
    /// The replica's first process.
    target: OwnedFd,
    program: Program,
}

/// What is to run.
#[derive(Debug)]
enum Program {
    /// Of the image, as everything of the replica is.
    Image(Box<Process>),
    /// Of the host, in the replica's network and process namespaces.
    Host {
        words: Vec<OsString>,
        /// Files of the replica's by which names are found, and their texts.
        names: Vec<(&'static str, String)>,
    },
}

fn refused(replica: &str) -> impl FnOnce(PodError) -> EngineError {
    let action = format!("entering {replica}");
    |error| EngineError::Refused {
        action,
        reason: error.to_string(),
    }
}

impl Entry {
    /// Finds one for a command, or for a shell if it is empty: of the image if the image has it, otherwise of the host.
    pub(in crate::system::local) fn find(
        replica: &str,
        stage: OwnedFd,
        target: OwnedFd,
        process: Process,
        command: &[OsString],
    ) -> Result<Self, EngineError> {
        let program = Root::of(&target).and_then(|root| program(&root, process, command));
        Ok(Self {
            replica: replica.to_owned(),
            stage: Some(stage),
            program: program.map_err(refused(replica))?,
            target,
        })
    }

    /// A line for the reader if it is not the image's program that runs.
    pub fn note(&self) -> Option<String> {
        let Program::Host { words, .. } = &self.program else {
            return None;
        };
        let program = words.first().map(|word| word.display().to_string()).unwrap_or_default();
        Some(format!(
            "not of the image: this is {program} of the host, in the network and among the processes of {}",
            self.replica
        ))
    }

    /// Runs it with this process's terminal and gives its exit code. Only for a process that has no other thread.
    pub fn run(self) -> Result<u8, EngineError> {
        let replica = self.replica.clone();
        self.enter().map_err(refused(&replica))
    }

    fn enter(self) -> Result<u8, PodError> {
        if let Some(stage) = &self.stage {
            join_user_namespace(stage)?;
        }
        let namespaces = match &self.program {
            Program::Image(_) => {
                CloneFlags::CLONE_NEWNS
                    | CloneFlags::CLONE_NEWPID
                    | CloneFlags::CLONE_NEWNET
                    | CloneFlags::CLONE_NEWIPC
                    | CloneFlags::CLONE_NEWUTS
            }
            Program::Host { .. } => CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNET,
        };
        setns(self.target.as_fd(), namespaces).tried(|| "entering its namespaces".to_owned())?;
        if let Program::Host { .. } = &self.program {
            unshare(CloneFlags::CLONE_NEWNS).tried(|| "making a mount namespace".to_owned())?;
        }
        let (near, far) = UnixStream::pair().tried(|| "making a pair of sockets".to_owned())?;
        let waited: SigSet = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        waited.thread_block().tried(|| "blocking signals".to_owned())?;
        // SAFETY: this process has one thread.
        match unsafe { fork() }.tried(|| "starting a process".to_owned())? {
            ForkResult::Child => {
                drop(near);
                let Err(error) = self.program.run(&self.target);
                let _ = write!(&far, "{error}");
                std::process::exit(127)
            }
            ForkResult::Parent { child } => {
                drop(far);
                let ended = wait(child, &waited, near);
                let _ = waited.thread_unblock();
                ended
            }
        }
    }
}

/// A shell of the host, in the network and among the processes of one that runs outside of any stage, such as a container's.
/// That takes root.
pub fn hosts_entry(replica: &str, pid: i32, command: &[OsString]) -> Result<Entry, EngineError> {
    let opened = super::open_process(pid).tried(|| format!("opening the process {pid}"));
    let found = opened.and_then(|target| Ok((hosts(&Root::of(&target)?, command), target)));
    let (program, target) = found.map_err(refused(replica))?;
    Ok(Entry {
        replica: replica.to_owned(),
        stage: None,
        target,
        program,
    })
}

/// Whether the root of a process has a command, or any shell, with which it is told that there is no such command. That takes
/// root where the process is another user's.
pub fn image_has(replica: &str, pid: i32, command: &[OsString]) -> Result<bool, EngineError> {
    let root = super::open_process(pid)
        .tried(|| format!("opening the process {pid}"))
        .and_then(|target| Root::of(&target))
        .map_err(refused(replica))?;
    let first = command.first().and_then(|word| word.to_str());
    Ok(root.has(SHELL) || first.is_some_and(|first| root.has_program(first, PATH)))
}

/// Enters the network of a stage, by its first process.
pub(in crate::system::local) fn enter_network(stage: &OwnedFd) -> Result<(), EngineError> {
    join_user_namespace(stage)
        .and_then(|()| {
            let network = CloneFlags::CLONE_NEWNET;
            setns(stage.as_fd(), network).tried(|| "joining its network namespace".to_owned())
        })
        .map_err(refused("the stage"))
}

/// Whoever made a user namespace may enter it, and is root there; where there is none, all is as it should be already.
fn join_user_namespace(of: &OwnedFd) -> Result<(), PodError> {
    let namespace = |pid: &str| fs::read_link(Path::new("/proc").join(pid).join("ns/user"));
    let pid = pid_of(of)?.to_string();
    let theirs = namespace(&pid).tried(|| format!("looking at the process {pid}"))?;
    if namespace("self").is_ok_and(|own| own == theirs) {
        return Ok(());
    }
    setns(of.as_fd(), CloneFlags::CLONE_NEWUSER).tried(|| "entering its user namespace".to_owned())
}

/// The id of a process in this one's own process namespace.
pub(in crate::system::local) fn pid_of(process: &OwnedFd) -> Result<i32, PodError> {
    let path = format!("/proc/self/fdinfo/{}", process.as_raw_fd());
    let text = fs::read_to_string(&path).tried(|| format!("reading {path}"))?;
    let pid = text
        .lines()
        .find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    pid.filter(|pid| *pid > 0)
        .ok_or_else(|| PodError::new("its process has ended, or is not to be seen from here"))
}

/// The root of a process, looked into without being entered.
struct Root {
    folder: OwnedFd,
    names: Vec<(&'static str, String)>,
}

impl Root {
    fn of(process: &OwnedFd) -> Result<Self, PodError> {
        let path = format!("/proc/{}/root", pid_of(process)?);
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let folder = open(path.as_str(), flags, Mode::empty()).tried(|| format!("opening {path}"))?;
        let read = |file| Some((file, fs::read_to_string(format!("{path}{file}")).ok()?));
        let names = NAMES.into_iter().filter_map(read).collect();
        Ok(Self { folder, names })
    }

    /// Links lead nowhere but within it.
    fn has(&self, path: &str) -> bool {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT);
        openat2(&self.folder, path, how).is_ok()
    }

    fn has_program(&self, program: &str, path: &str) -> bool {
        match program.contains('/') {
            true => self.has(program),
            false => path.split(':').any(|folder| self.has(&format!("{folder}/{program}"))),
        }
    }
}

fn program(root: &Root, process: Process, command: &[OsString]) -> Result<Program, PodError> {
    let path = process.environment.get("PATH").map_or(PATH, String::as_str);
    let text = |word: &OsString| {
        let word = word.to_str().map(str::to_owned);
        word.ok_or_else(|| PodError::new("the command is not UTF-8"))
    };
    let words = command.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    let has_shell = root.has(SHELL);
    let words = match words.first() {
        None if has_shell => vec![SHELL.to_owned()],
        Some(first) if root.has_program(first, path) => words,
        Some(first) if has_shell => {
            return Err(PodError::new(format!("`{first}` is not in the image (PATH is {path})")));
        }
        _ => return Ok(hosts(root, command)),
    };
    let mut process = Process { words, ..process };
    if let Ok(terminal) = std::env::var("TERM") {
        process.environment.entry("TERM".to_owned()).or_insert(terminal);
    }
    Ok(Program::Image(Box::new(process)))
}

fn hosts(root: &Root, command: &[OsString]) -> Program {
    let shell = || std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
    let words = match command {
        [] => vec![shell().unwrap_or_else(|| SHELL.into())],
        words => words.to_vec(),
    };
    Program::Host {
        words,
        names: root.names.clone(),
    }
}

impl Program {
    fn run(&self, target: &OwnedFd) -> Result<std::convert::Infallible, PodError> {
        match self {
            Self::Image(process) => {
                let ids = user::find(process.user.as_deref(), Path::new("/"))?;
                if !process.all_users {
                    // The replica's own, so that its processes can be looked into. A small init has none of its own.
                    match setns(target.as_fd(), CloneFlags::CLONE_NEWUSER) {
                        Err(Errno::EINVAL) => process::alone_as(&ids)?,
                        joined => joined.tried(|| "entering its user namespace".to_owned())?,
                    }
                }
                process::restrict(process, &ids)?;
                process::exec(process, &ids)
            }
            Self::Host { words, names } => {
                show_replicas(names)?;
                process::signals_as_usual();
                let [first, rest @ ..] = words.as_slice() else {
                    return Err(PodError::new("there is nothing to run"));
                };
                let error = Command::new(first).args(rest).exec();
                Err(PodError::new(format!("starting {}: {error}", first.display())))
            }
        }
    }
}

/// Shows the host's programs the replica's processes, and the names that it knows.
fn show_replicas(names: &[(&str, String)]) -> Result<(), PodError> {
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).tried(|| "making mounts private".to_owned())?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // Where either is not allowed, the host's own is seen, which is no hindrance to most.
    let _ = mount(Some("proc"), "/proc", Some("proc"), flags, NONE);
    let Ok(folder) = cache::dir("stage") else {
        return Ok(());
    };
    if mount(Some("nightmail"), &folder, Some("tmpfs"), flags, NONE).is_ok() {
        for (file, text) in names {
            let kept = folder.join(file.trim_start_matches('/').replace('/', "-"));
            if fs::write(&kept, text).is_ok() {
                let _ = mount(Some(&kept), *file, NONE, MsFlags::MS_BIND, NONE);
            }
        }
    }
    Ok(())
}

/// Waits for a child's end, and hands signals on that are not the terminal's. What it says before its program runs is why it
/// does not.
fn wait(child: Pid, waited: &SigSet, mut said: UnixStream) -> Result<u8, PodError> {
    // The terminal sends these to both; they are the child's business.
    for signal in [Signal::SIGINT, Signal::SIGQUIT] {
        // SAFETY: ignoring runs no code.
        let _ = unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigIgn) };
    }
    let mut problem = String::new();
    let _ = said.read_to_string(&mut problem);
    let code = loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => break u8::try_from(code).unwrap_or(u8::MAX),
            Ok(WaitStatus::Signaled(_, signal, _)) => break 128_u8.saturating_add(signal as u8),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(PodError::new(format!("waiting for its end: {error}"))),
        }
        match waited.wait() {
            Ok(Signal::SIGCHLD) | Err(_) => {}
            Ok(signal) => {
                let _ = kill(child, signal);
            }
        }
    };
    match problem.is_empty() {
        true => Ok(code),
        false => Err(PodError::new(problem)),
    }
}

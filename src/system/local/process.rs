//! Processes of a stage, seen from the harness: launchers, and what they start.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::process::Command;
use tokio::sync::watch;

use super::pod::spec::{Said, Spec};
use crate::system::process_stat::Stat;

/// Starts launchers.
#[derive(Debug, Clone)]
pub(super) struct Launcher {
    /// nightmail itself.
    held: Arc<OwnedFd>,
}

/// A network namespace, kept by this descriptor, and its agent.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) network: OwnedFd,
    pub(super) agent: Option<Child>,
}

/// Something that was launched.
pub(super) trait Launches: Send + 'static {
    /// Its process, if one stays.
    fn child(&self) -> Option<&Child>;
}

impl Launches for Held {
    fn child(&self) -> Option<&Child> {
        self.agent.as_ref()
    }
}

impl Launches for Child {
    fn child(&self) -> Option<&Child> {
        Some(self)
    }
}

impl Launcher {
    /// Of that program, even if another has taken its place by the time.
    pub(super) fn new(executable: &Path) -> io::Result<Self> {
        let held = Arc::new(OwnedFd::from(std::fs::File::open(executable)?));
        Ok(Self { held })
    }

    fn executable(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.held.as_raw_fd()).into()
    }

    /// Makes a network namespace. `output` takes the agent's words.
    pub(super) async fn hold(&self, spec: Spec, output: OwnedFd) -> Result<Held, String> {
        let has_agent = matches!(&spec, Spec::Hold(hold) if hold.agent.is_some());
        let mut launched = self.launch(&spec, output).await?;
        let pid = match launched.next().await? {
            Some(Said::Holds(pid)) => pid,
            other => return Err(launched.unexpected(other).await),
        };
        let path = format!("/proc/{pid}/ns/net");
        let network = std::fs::File::open(&path).map_err(|error| format!("opening {path}: {error}"))?;
        let agent = match has_agent {
            true => Some(Child::adopt(pid).map_err(|error| format!("watching the agent: {error}"))?),
            false => None,
        };
        launched.end().await;
        Ok(Held {
            network: network.into(),
            agent,
        })
    }

    /// Starts a program; both its outputs go to `output`.
    pub(super) async fn program(&self, spec: Spec, output: OwnedFd) -> Result<Child, String> {
        let mut launched = self.launch(&spec, output).await?;
        let child = match launched.next().await? {
            Some(Said::Cloned(pid)) => Child::adopt(pid).map_err(|error| format!("watching the process: {error}"))?,
            other => return Err(launched.unexpected(other).await),
        };
        match launched.next().await? {
            None => {}
            other => {
                child.ended().await;
                return Err(launched.unexpected(other).await);
            }
        }
        launched.end().await;
        Ok(child)
    }

    async fn launch(&self, spec: &Spec, output: OwnedFd) -> Result<Launched, String> {
        let failed = |error: io::Error| format!("starting a launcher: {error}");
        let (near, far) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
        near.set_nonblocking(true).map_err(failed)?;
        let errors = output.try_clone().map_err(failed)?;
        let process = Command::new(self.executable())
            .arg0("nightmail")
            .arg("pod")
            // What is in it is nobody's business but nightmail's own.
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(far)))
            .stdout(Stdio::from(output))
            .stderr(Stdio::from(errors))
            .current_dir("/")
            .spawn()
            .map_err(failed)?;
        let (reader, mut writer) = UnixStream::from_std(near).map_err(failed)?.into_split();
        let mut line = serde_json::to_vec(spec).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        // One that has died already is found out by what it says, which is nothing.
        let _ = writer.write_all(&line).await;
        Ok(Launched {
            process,
            said: BufReader::new(reader).lines(),
            writer: Some(writer),
        })
    }
}

/// A launcher at work.
struct Launched {
    process: tokio::process::Child,
    said: Lines<BufReader<OwnedReadHalf>>,
    writer: Option<tokio::net::unix::OwnedWriteHalf>,
}

impl Launched {
    /// What it says next; nothing once every process that has its end of the line is gone, or runs another program.
    async fn next(&mut self) -> Result<Option<Said>, String> {
        let failed = |error: io::Error| format!("listening to a launcher: {error}");
        match self.said.next_line().await.map_err(failed)? {
            Some(line) => Ok(Some(serde_json::from_str(&line).map_err(|error| failed(error.into()))?)),
            None => Ok(None),
        }
    }

    async fn unexpected(mut self, said: Option<Said>) -> String {
        self.writer = None;
        let status = self.process.wait().await;
        match (said, status) {
            (Some(Said::Failed(reason)), _) => reason,
            (Some(said), _) => format!("a launcher said {said:?} out of turn"),
            (None, Ok(status)) => format!("a launcher ended without a word ({status})"),
            (None, Err(error)) => format!("a launcher ended without a word: {error}"),
        }
    }

    /// Lets it go.
    async fn end(mut self) {
        self.writer = None;
        let _ = self.process.wait().await;
    }
}

/// How a process has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself, with this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Ended {
    /// As shells and Docker count.
    pub(super) fn code(self) -> i64 {
        match self {
            Self::Code(code) => code.into(),
            Self::Signal(signal) => i64::from(signal) + 128,
        }
    }
}

/// A child of this process that a launcher started.
#[derive(Debug, Clone)]
pub(super) struct Child {
    pub(super) pid: i32,
    fd: Arc<OwnedFd>,
    ended: watch::Receiver<Option<Ended>>,
    /// Counts how often it was told to go on: a freeze that is under way then gives up.
    thaws: Arc<AtomicU32>,
}

/// How long it may take until all processes of a replica stand.
const STANDS_WITHIN: Duration = Duration::from_secs(2);

impl Child {
    /// Takes over a child, and waits for its end.
    fn adopt(pid: i32) -> io::Result<Self> {
        let fd = Arc::new(super::pod::open_process(pid)?);
        let (sender, ended) = watch::channel(None);
        // SAFETY: the descriptor stays open, and the same, as long as this share of it.
        let readable = unsafe { AsyncFd::register(fd.clone()) }?;
        tokio::spawn(async move {
            // A descriptor of a process can be read from when the process has ended.
            let _ = readable.readable().await;
            let how = waitid(Id::PIDFd(readable.get_ref().as_fd()), WaitPidFlag::WEXITED);
            sender.send_replace(Some(match how {
                Ok(WaitStatus::Exited(_, code)) => Ended::Code(code),
                Ok(WaitStatus::Signaled(_, signal, _)) => Ended::Signal(signal as i32),
                // Somebody else has collected it: that it is gone is all that is known.
                _ => Ended::Signal(libc::SIGKILL),
            }));
        });
        Ok(Self {
            pid,
            fd,
            ended,
            thaws: Arc::default(),
        })
    }

    /// Whether that is the same process.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.fd, &other.fd)
    }

    /// Sends a signal. Nothing happens to one that has ended.
    pub(super) fn signal(&self, signal: libc::c_int) -> io::Result<()> {
        let none: *const libc::siginfo_t = std::ptr::null();
        // SAFETY: the descriptor is open, and no further information goes with the signal.
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, self.fd.as_raw_fd(), signal, none, 0) };
        match Errno::result(sent) {
            Ok(_) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends SIGKILL: it ends every process of the replica, of which this is the first.
    pub(super) fn kill(&self) -> io::Result<()> {
        self.signal(Signal::SIGKILL as libc::c_int)
    }

    /// How it ended, if it has.
    pub(super) fn has_ended(&self) -> Option<Ended> {
        *self.ended.borrow()
    }

    /// Whether it runs no more, measured now: it may not have been collected yet.
    pub(super) fn is_gone(&self) -> bool {
        self.has_ended().is_some() || Stat::read(self.pid as u32).is_none_or(|stat| stat.is_gone())
    }

    /// Waits for its end.
    pub(super) async fn ended(&self) -> Ended {
        let mut ended = self.ended.clone();
        let found = ended.wait_for(Option::is_some).await.ok().and_then(|ended| *ended);
        found.unwrap_or(Ended::Signal(libc::SIGKILL))
    }

    /// The process itself and all that it has started, as far as they live.
    fn processes(&self) -> Vec<u32> {
        let Some(namespace) = namespace_of(self.pid as u32) else {
            return Vec::new();
        };
        let Ok(listing) = std::fs::read_dir("/proc") else {
            return Vec::new();
        };
        listing
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| namespace_of(*pid).as_ref() == Some(&namespace))
            .collect()
    }

    /// Stops every process of the replica. New ones may be born while this goes on: it goes on until all stand.
    pub(super) async fn freeze(&self) -> io::Result<()> {
        let (began, thaws) = (Instant::now(), self.thaws.load(Ordering::Acquire));
        // Its first process starts no others any more.
        self.signal(Signal::SIGSTOP as libc::c_int)?;
        while !self.is_gone() {
            let all = self.processes();
            if all.is_empty() {
                return Err(io::Error::other("its processes cannot be seen"));
            }
            let moving: Vec<u32> = all.into_iter().filter(|pid| !is_stopped(*pid)).collect();
            if moving.is_empty() {
                return Ok(());
            }
            if began.elapsed() > STANDS_WITHIN {
                self.thaw()?;
                return Err(io::Error::other(format!("the processes {moving:?} do not stand still")));
            }
            for pid in moving {
                send(pid, Signal::SIGSTOP)?;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            if self.thaws.load(Ordering::Acquire) != thaws {
                self.thaw()?;
                return Err(io::Error::other("it was told to go on meanwhile"));
            }
        }
        Ok(())
    }

    /// Lets all of them go on.
    pub(super) fn thaw(&self) -> io::Result<()> {
        self.thaws.fetch_add(1, Ordering::AcqRel);
        if self.is_gone() {
            return Ok(());
        }
        for pid in self.processes() {
            send(pid, Signal::SIGCONT)?;
        }
        Ok(())
    }

    /// Whether its first process stands.
    pub(super) fn is_frozen(&self) -> bool {
        !self.is_gone() && is_stopped(self.pid as u32)
    }
}

fn namespace_of(pid: u32) -> Option<PathBuf> {
    std::fs::read_link(Path::new("/proc").join(pid.to_string()).join("ns/pid")).ok()
}

fn is_stopped(pid: u32) -> bool {
    Stat::read(pid).is_none_or(|stat| stat.is_gone() || stat.is_stopped())
}

fn send(pid: u32, signal: Signal) -> io::Result<()> {
    match nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

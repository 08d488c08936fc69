//! A replica: its program, its restart policy, its log, over all its lives.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::unistd::pipe2;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use super::ground::Ground;
use super::pod::spec::{Program, Spec};
use super::process::{Child, Ended, Held, Launcher};
use crate::system::compose::{Healthcheck, Restart};
use crate::system::definition::Ready;
use crate::system::engine::{EngineError, ProcessState, Release, Replica, Running};
use crate::system::process_stat::{self, Stat};
use crate::system::start::{Launched, LogSink, Look, Member, ready};

mod health;

/// What a replica is made from, as long as it runs one release.
pub(super) struct Plan {
    pub(super) release: Release,
    pub(super) program: Program,
    pub(super) restart: Restart,
    pub(super) stop_signal: libc::c_int,
    pub(super) stop_grace: Duration,
    pub(super) ready: Option<Ready>,
    pub(super) healthcheck: Option<Healthcheck>,
}

/// A replica that was started.
pub(super) struct Pod {
    pub(super) body: Arc<Body>,
    supervisor: JoinHandle<()>,
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

/// All there is of it.
pub(super) struct Body {
    /// As the Compose file has it.
    pub(super) member: Member,
    pub(super) replica: Replica,
    plan: std::sync::Mutex<Arc<Plan>>,
    /// How often it was given another release.
    deployments: AtomicU32,
    /// The namespace lives as long as this.
    held: Held,
    agent_words: Arc<std::sync::Mutex<Vec<String>>>,
    launcher: Launcher,
    ground: Arc<Ground>,
    log: Arc<LogSink>,
    life: watch::Sender<Life>,
    /// A fault keeps it down: its restart policy is out of the way.
    kept_down: AtomicBool,
    /// SIGKILL is on its way: it lives no more, though it may still look so.
    is_doomed: AtomicBool,
    /// Counts its lives, so that the words of an earlier one do not make it ready.
    lives: AtomicU32,
    /// One starts it at a time.
    turn: Mutex<()>,
    /// Held while it is being stopped, which may take as long as its grace.
    stopping: Mutex<()>,
    health: std::sync::Mutex<Option<(Instant, Result<(), String>)>>,
    /// Passes on what its life now writes.
    listening: std::sync::Mutex<Option<JoinHandle<()>>>,
}

/// Where a replica is in its life.
#[derive(Debug, Clone, Default)]
struct Life {
    child: Option<Child>,
    /// How often its restart policy has brought it back.
    restarts: u32,
    /// Its restart policy is about to bring it back.
    comes_back: bool,
}

impl Pod {
    /// Starts it for the first time.
    pub(super) async fn launch(
        member: &Member,
        plan: Plan,
        held: Held,
        agent_words: Arc<std::sync::Mutex<Vec<String>>>,
        launcher: Launcher,
        ground: Arc<Ground>,
        log: Arc<LogSink>,
    ) -> Result<Self, EngineError> {
        let id = member.id.to_string();
        log.open().await.map_err(|error| EngineError::Refused {
            action: format!("making the log of {id}"),
            reason: error.to_string(),
        })?;
        let body = Arc::new(Body {
            member: member.clone(),
            replica: member.replica(),
            plan: std::sync::Mutex::new(Arc::new(plan)),
            deployments: AtomicU32::new(0),
            held,
            agent_words,
            launcher,
            ground,
            log,
            life: watch::Sender::default(),
            kept_down: AtomicBool::new(false),
            is_doomed: AtomicBool::new(false),
            lives: AtomicU32::new(0),
            turn: Mutex::default(),
            stopping: Mutex::default(),
            health: std::sync::Mutex::default(),
            listening: std::sync::Mutex::default(),
        });
        body.begin().await.map_err(|reason| EngineError::Refused {
            action: format!("starting {id}"),
            reason,
        })?;
        let supervisor = tokio::spawn(body.clone().supervise());
        Ok(Self { body, supervisor })
    }
}

impl Body {
    /// What it is made from now.
    pub(super) fn plan(&self) -> Arc<Plan> {
        self.plan.lock().expect("no holder panics").clone()
    }

    fn child(&self) -> Option<Child> {
        self.life.borrow().child.clone()
    }

    /// The process of its life now, for whoever wants to look at it.
    pub(super) fn pid(&self) -> Option<i32> {
        self.child().filter(|child| !child.is_gone()).map(|child| child.pid)
    }

    /// Begins a life, unless it lives.
    async fn begin(self: &Arc<Self>) -> Result<(), String> {
        let _turn = self.turn.lock().await;
        self.begin_in_turn().await
    }

    /// The same for its restart policy, unless a fault came in the meantime.
    async fn come_back(self: &Arc<Self>) {
        let _turn = self.turn.lock().await;
        let lived = self.lives.load(Ordering::Acquire);
        if !self.kept_down.load(Ordering::Acquire)
            && let Err(reason) = self.begin_in_turn().await
        {
            self.log
                .line(&format!("nightmail: it could not be started again: {reason}"), false)
                .await;
        }
        // Somebody else may have been quicker.
        let is_back = self.lives.load(Ordering::Acquire) != lived && self.pid().is_some();
        self.life.send_modify(|life| {
            life.comes_back = false;
            life.restarts += u32::from(is_back);
        });
    }

    async fn begin_in_turn(self: &Arc<Self>) -> Result<(), String> {
        if let Some(child) = self.child().filter(|child| !child.is_gone()) {
            if !self.is_doomed.load(Ordering::Acquire) {
                return Ok(());
            }
            dead(&child).await?;
        }
        self.is_doomed.store(false, Ordering::Release);
        let life = self.lives.fetch_add(1, Ordering::AcqRel) + 1;
        self.log.forget_ready();
        *self.health.lock().expect("no holder panics") = None;
        let (reader, writer) = words()?;
        let listening = tokio::spawn(self.clone().listen(reader, life));
        self.listening.lock().expect("no holder panics").replace(listening);
        let mut program = self.plan().program.clone();
        // The harness's own descriptor: it is the namespace, whoever else has left it.
        program.network = Some(format!("/proc/{}/fd/{}", std::process::id(), self.held.network.as_raw_fd()).into());
        let launcher = self.launcher.clone();
        let program = async move { launcher.program(Spec::Program(Box::new(program)), writer).await };
        let child = self.ground.launch(program).await?;
        self.life.send_modify(|life| {
            life.child = Some(child);
            life.comes_back = false;
        });
        Ok(())
    }

    /// Passes on what it writes, until all who could write are gone.
    async fn listen(self: Arc<Self>, reader: Receiver, life: u32) {
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        while let Ok(1..) = reader.read_until(b'\n', &mut line).await {
            let is_of_now = self.lives.load(Ordering::Acquire) == life;
            let text = String::from_utf8_lossy(&line);
            self.log.line(text.trim_end_matches(['\n', '\r']), is_of_now).await;
            line.clear();
            if reader.buffer().is_empty() {
                // A log that cannot be written does not end a run.
                let _ = self.log.flush().await;
            }
        }
        let _ = self.log.flush().await;
    }

    /// Waits a little for its last words, once its processes are gone.
    pub(super) async fn hear_out(&self) {
        const WITHIN: Duration = Duration::from_secs(1);
        let listening = self.listening.lock().expect("no holder panics").take();
        if let Some(listening) = listening {
            let _ = tokio::time::timeout(WITHIN, listening).await;
        }
    }

    /// Brings it back as its restart policy says.
    async fn supervise(self: Arc<Self>) {
        let mut delay = RESTART_DELAY;
        loop {
            let Some(child) = self.child() else { return };
            let began = Instant::now();
            let ended = child.ended().await;
            if began.elapsed() >= RESTART_DELAY_FORGOTTEN {
                delay = RESTART_DELAY;
            }
            if self.comes_back(ended) {
                self.life.send_modify(|life| life.comes_back = true);
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(RESTART_DELAY_MAX);
                self.come_back().await;
            }
            // Whether by this or by somebody else: the next life begins.
            let mut lives = self.life.subscribe();
            let same = |life: &Life| life.child.as_ref().is_some_and(|now| now.is(&child));
            if lives.wait_for(|life| !same(life)).await.is_err() {
                return;
            }
        }
    }

    fn comes_back(&self, ended: Ended) -> bool {
        if self.kept_down.load(Ordering::Acquire) {
            return false;
        }
        match self.plan().restart {
            Restart::No => false,
            Restart::Always | Restart::UnlessStopped => true,
            Restart::OnFailure(times) => ended != Ended::Code(0) && (times == 0 || self.life.borrow().restarts < times),
        }
    }

    /// What its first process does, measured now.
    pub(super) fn state(&self) -> ProcessState {
        match self.child() {
            Some(child) if child.is_frozen() => ProcessState::Paused,
            Some(child) if !child.is_gone() => ProcessState::Running,
            _ => ProcessState::Exited,
        }
    }

    /// SIGKILL. It stays down until started.
    pub(super) async fn kill(&self) -> io::Result<()> {
        match self.keep_down().await {
            Some(child) => self.doom(&child),
            None => Ok(()),
        }
    }

    fn doom(&self, child: &Child) -> io::Result<()> {
        self.is_doomed.store(true, Ordering::Release);
        child.kill()
    }

    /// Puts its restart policy out of the way. Gives the process that lives, one that was being born at that moment too.
    async fn keep_down(&self) -> Option<Child> {
        self.kept_down.store(true, Ordering::Release);
        let _turn = self.turn.lock().await;
        self.child().filter(|child| !child.is_gone())
    }

    /// Its stop signal, then SIGKILL. It stays down until started.
    pub(super) async fn stop(&self) -> io::Result<()> {
        let _stopping = self.stopping.lock().await;
        let Some(child) = self.keep_down().await else {
            return Ok(());
        };
        child.thaw()?;
        let plan = self.plan();
        child.signal(plan.stop_signal)?;
        match tokio::time::timeout(plan.stop_grace, child.ended()).await {
            Ok(_) => Ok(()),
            Err(_) => {
                self.doom(&child)?;
                dead(&child).await.map_err(io::Error::other)
            }
        }
    }

    /// Starts it again, and gives it back its restart policy. One that is being stopped is stopped first, or it would be
    /// killed when its grace is over, though it was told to live.
    pub(super) async fn start(self: &Arc<Self>) -> Result<(), String> {
        let _stopping = self.stopping.lock().await;
        self.kept_down.store(false, Ordering::Release);
        self.life.send_modify(|life| life.restarts = 0);
        self.begin().await
    }

    /// Stops it, and starts it as `plan_of` says for its next deployment. Its log goes on.
    pub(super) async fn redeploy(
        self: &Arc<Self>,
        plan_of: impl FnOnce(u32) -> Result<Plan, EngineError>,
    ) -> Result<(), EngineError> {
        let refused = |action: &str| format!("{action} {}", self.replica.id);
        // Each try has files of its own: an earlier one may have got as far as making them.
        let plan = plan_of(self.deployments.fetch_add(1, Ordering::AcqRel) + 1)?;
        self.stop().await.map_err(|error| EngineError::Refused {
            action: refused("stopping"),
            reason: error.to_string(),
        })?;
        self.hear_out().await;
        *self.plan.lock().expect("no holder panics") = Arc::new(plan);
        self.start().await.map_err(|reason| EngineError::Refused {
            action: refused("starting"),
            reason,
        })
    }

    /// What runs there.
    pub(super) fn running(&self) -> Option<Running> {
        let pid = u32::try_from(self.pid()?).ok()?;
        let since = Stat::read(pid)?.started;
        Some(Running {
            process: format!("process {pid} since tick {since}"),
            release: self.plan().release.clone(),
            environment: process_stat::environment(pid),
        })
    }

    pub(super) async fn pause(&self) -> io::Result<()> {
        match self.child().filter(|child| !child.is_gone()) {
            Some(child) => child.freeze().await,
            None => Err(io::Error::other("it does not run")),
        }
    }

    pub(super) fn unpause(&self) -> io::Result<()> {
        self.child().map_or(Ok(()), |child| child.thaw())
    }

    /// One try of its readiness; if it is not ready, the reason.
    pub(super) async fn try_ready(&self) -> Result<(), String> {
        let plan = self.plan();
        match (&plan.ready, &plan.healthcheck) {
            (Some(Ready::Log { .. }), _) if self.log.has_seen_ready() => Ok(()),
            (Some(ready), _) => ready::try_once(ready, self.replica.address).await,
            (None, Some(check)) => self.try_health(check).await,
            (None, None) if self.state() == ProcessState::Exited => Err("its process does not run".to_owned()),
            (None, None) => Ok(()),
        }
    }
}

/// Waits until a process that was killed is dead, which a kernel may take its time for.
async fn dead(child: &Child) -> Result<(), String> {
    const DEAD_WITHIN: Duration = Duration::from_secs(10);
    let ended = tokio::time::timeout(DEAD_WITHIN, child.ended()).await;
    ended
        .map(drop)
        .map_err(|_| "its process lives after SIGKILL".to_owned())
}

/// As Docker does: at first, at most, and after so long a life at first again.
const RESTART_DELAY: Duration = Duration::from_millis(100);
const RESTART_DELAY_MAX: Duration = Duration::from_secs(60);
const RESTART_DELAY_FORGOTTEN: Duration = Duration::from_secs(10);
/// A pipe for what a process writes.
pub(super) fn words() -> Result<(Receiver, OwnedFd), String> {
    let failed = |error: io::Error| format!("making a pipe: {error}");
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).map_err(|error| failed(error.into()))?;
    let reader = Receiver::from_owned_fd(reader).map_err(failed)?;
    Ok((reader, writer))
}

/// The number of a signal by its name, with or without `SIG`, or the number itself.
pub(super) fn signal(name: &str) -> Option<libc::c_int> {
    let full = format!("SIG{}", name.to_uppercase().trim_start_matches("SIG"));
    let named = full.parse::<Signal>().ok().map(|signal| signal as libc::c_int);
    named.or_else(|| name.parse().ok())
}

#[async_trait]
impl Launched for Pod {
    fn runs_for_certain(&self) -> bool {
        self.body.child().is_some_and(|child| !child.is_gone())
    }

    async fn look(&self) -> Result<Look, EngineError> {
        let life = self.body.life.borrow().clone();
        let ended = life.child.as_ref().and_then(Child::has_ended);
        Ok(match ended {
            Some(ended) if !life.comes_back && !self.body.comes_back(ended) => Look::Ended { code: ended.code() },
            _ => Look::Runs {
                restarts: life.restarts.into(),
            },
        })
    }

    async fn try_ready(&self) -> Result<Result<(), String>, EngineError> {
        Ok(self.body.try_ready().await)
    }

    async fn check_agent(&self) -> Result<(), EngineError> {
        check_agent(&self.body.replica, &self.body.held, &self.body.agent_words)
    }

    async fn tail(&self) -> Vec<String> {
        self.body.log.tail()
    }
}

/// An agent that has ended never answers: its last words say why.
pub(super) fn check_agent(
    replica: &Replica,
    held: &Held,
    words: &std::sync::Mutex<Vec<String>>,
) -> Result<(), EngineError> {
    let Some(ended) = held.agent.as_ref().and_then(Child::has_ended) else {
        return Ok(());
    };
    Err(EngineError::NotReady {
        replica: format!("the agent of {}", replica.id),
        reason: format!("ended with exit code {} before it was ready", ended.code()),
        log: words.lock().expect("no holder panics").clone(),
    })
}

/// Keeps an agent's words, of which there are few.
pub(super) async fn keep_words(reader: Receiver, words: Arc<std::sync::Mutex<Vec<String>>>) {
    const LINES_MAX: usize = 50;
    let mut lines = BufReader::new(reader).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut words = words.lock().expect("no holder panics");
        if words.len() == LINES_MAX {
            words.remove(0);
        }
        words.push(line);
    }
}

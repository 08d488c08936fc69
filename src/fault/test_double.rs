//! A system whose processes obey, or do not, so that receipts can be seen to be refused.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tokio::sync::broadcast;

use super::{FaultContext, Patience};
use crate::plan::{ReplicaId, Target};
use crate::system::definition::{Roles, SystemDefinition};
use crate::system::engine::{Call, EngineError, LogLine, ProcessState, Release, Replica, Running, RunningSystem, Undo};
use crate::system::postgres::scratch::Postgres;

/// What a replica of the double does wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Disobedience {
    /// It is told to halt, the engine says that it did, and it goes on.
    pub goes_on: bool,
    /// It is set going again and stays as it is.
    pub stays_down: bool,
    /// Frozen, it answers all the same.
    pub answers_frozen: bool,
    /// It runs again and is never ready.
    pub never_ready: bool,
    /// The engine refuses to halt it.
    pub refuses: bool,
}

/// What comes of giving a replica another release.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Redeployed {
    /// It runs it.
    #[default]
    Obeys,
    /// The engine says that it did, and the old process goes on.
    KeepsOld,
    /// Another process runs, with the environment of the old.
    WithOldEnvironment,
    /// Another process runs, whose environment nobody can see.
    Unseen,
    /// The engine ends it, and fails.
    Fails,
}

/// Where the double's replicas would answer for their role.
pub(super) const POSTGRES_PORT: u16 = 15_432;

/// Where they would let their clocks be shifted.
pub(super) const CLOCK_PORT: u16 = 15_433;

/// Addresses on loopback for two replicas without agents, which no other test has.
pub(super) fn addresses() -> [(Ipv4Addr, Option<SocketAddr>); 2] {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let net = NEXT.fetch_add(1, Ordering::Relaxed);
    [1, 2].map(|host| (Ipv4Addr::new(127, 253, net, host), None))
}

/// The double.
pub(super) struct FakeSystem {
    replicas: Vec<Replica>,
    definition: SystemDefinition,
    state: Mutex<State>,
    logs: broadcast::Sender<LogLine>,
    disobedience: Disobedience,
}

#[derive(Default)]
struct State {
    processes: BTreeMap<ReplicaId, ProcessState>,
    was_halted: bool,
    /// What has been put in the place of what it ran at first.
    running: BTreeMap<ReplicaId, Running>,
    redeployed: BTreeMap<ReplicaId, Redeployed>,
    processes_begun: u32,
    is_busy: bool,
    /// What was asked, in order: `kill api-1`, `arm 7 Start api-1`.
    asked: Vec<String>,
}

pub(super) fn id(index: u32) -> ReplicaId {
    ReplicaId {
        service: "api".to_owned(),
        index,
    }
}

pub(super) fn targets(indices: &[u32]) -> Vec<Target> {
    vec![Target::Replicas(indices.iter().map(|index| id(*index)).collect())]
}

impl FakeSystem {
    /// Two replicas of `api` that answer HTTP, at these addresses and with these agents.
    pub(super) fn new(disobedience: Disobedience, agents: [(Ipv4Addr, Option<SocketAddr>); 2]) -> Arc<Self> {
        Self::with_database(disobedience, agents, POSTGRES_PORT)
    }

    /// One whose first replica is that server.
    pub(super) fn of_server(server: &Postgres) -> Arc<Self> {
        let beside = Ipv4Addr::from_bits(server.address.to_bits() + 1);
        Self::with_database(
            Disobedience::default(),
            [(server.address, None), (beside, None)],
            server.port,
        )
    }

    fn with_database(
        disobedience: Disobedience,
        agents: [(Ipv4Addr, Option<SocketAddr>); 2],
        database_port: u16,
    ) -> Arc<Self> {
        let definition = json!({
            "name": "double", "title": "Test double", "operations": {},
            "groups": {"database": {"services": ["api"], "roles": {"postgres": {
                "port": database_port, "user": "postgres", "password": null, "database": "postgres",
            }}}},
            "services": {"api": {
                "ready": {"http": {"port": 80, "path": "/"}},
                "clock": {"port": CLOCK_PORT, "path": "/clock"},
            }},
        });
        let replica = |(index, (address, agent)): (u32, _)| Replica {
            id: id(index),
            address,
            agent,
        };
        let replicas: Vec<Replica> = (1..).zip(agents).map(replica).collect();
        let processes = replicas
            .iter()
            .map(|replica| (replica.id.clone(), ProcessState::Running))
            .collect();
        Arc::new(Self {
            replicas,
            definition: serde_json::from_value(definition).expect("the double's definition is well-formed"),
            state: Mutex::new(State {
                processes,
                ..State::default()
            }),
            logs: broadcast::channel(16).0,
            disobedience,
        })
    }

    /// Two servers that are asked as these roles say.
    pub(super) fn databases(roles: &Roles, addresses: [Ipv4Addr; 2]) -> Arc<Self> {
        let mut system = Self::new(Disobedience::default(), addresses.map(|address| (address, None)));
        let double = Arc::get_mut(&mut system).expect("nobody else has it yet");
        for group in double.definition.groups.values_mut() {
            group.roles = Some(roles.clone());
        }
        system
    }

    pub(super) fn without_agents(disobedience: Disobedience) -> Arc<Self> {
        Self::new(
            disobedience,
            [(Ipv4Addr::new(10, 0, 0, 1), None), (Ipv4Addr::new(10, 0, 0, 2), None)],
        )
    }

    /// A context for fault 7 that does not wait long.
    pub(super) fn context(self: &Arc<Self>) -> FaultContext {
        let short = Duration::from_millis(100);
        let patience = Patience {
            halted: short,
            stopped: short,
            ready: short,
            promoted: short,
            granted: short,
            cut: short,
            open: short,
        };
        let context = FaultContext::new(self.clone(), 7, Duration::from_secs(60), 1);
        FaultContext { patience, ..context }
    }

    pub(super) fn asked(&self) -> Vec<String> {
        self.state.lock().unwrap().asked.clone()
    }

    /// A line of a replica's log.
    pub(super) fn says(&self, id: &ReplicaId, line: &str) {
        let (replica, line) = (id.clone(), line.into());
        // Nobody need listen.
        let _ = self.logs.send(LogLine { replica, line });
    }

    pub(super) fn set(&self, id: &ReplicaId, process: ProcessState) {
        self.state.lock().unwrap().processes.insert(id.clone(), process);
    }

    /// What will come of giving a replica another release.
    pub(super) fn redeployed(&self, id: &ReplicaId, redeployed: Redeployed) {
        self.state.lock().unwrap().redeployed.insert(id.clone(), redeployed);
    }

    /// No replica is ready from now on.
    pub(super) fn busy(&self) {
        self.state.lock().unwrap().is_busy = true;
    }

    /// What it runs, if it does.
    pub(super) fn release(&self, id: &ReplicaId) -> Option<Release> {
        let state = self.state.lock().unwrap();
        let runs = state.processes[id] == ProcessState::Running;
        runs.then(|| state.running(id).release)
    }

    fn halt(&self, word: &str, id: &ReplicaId, process: ProcessState) -> Result<(), EngineError> {
        let mut state = self.state.lock().unwrap();
        state.asked.push(format!("{word} {id}"));
        state.was_halted = true;
        if self.disobedience.refuses {
            return Err(EngineError::Refused {
                action: format!("{word} {id}"),
                reason: "no".to_owned(),
            });
        }
        if !self.disobedience.goes_on {
            state.processes.insert(id.clone(), process);
        }
        Ok(())
    }

    fn revert(&self, word: &str, id: &ReplicaId) -> Result<(), EngineError> {
        let mut state = self.state.lock().unwrap();
        state.asked.push(format!("{word} {id}"));
        if !self.disobedience.stays_down {
            state.processes.insert(id.clone(), ProcessState::Running);
        }
        Ok(())
    }
}

impl State {
    fn running(&self, id: &ReplicaId) -> Running {
        let first = || Running {
            process: format!("the first process of {id}"),
            release: Release::default(),
            environment: Some(BTreeMap::new()),
        };
        self.running.get(id).cloned().unwrap_or_else(first)
    }
}

#[async_trait]
impl RunningSystem for FakeSystem {
    fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    fn definition(&self) -> &SystemDefinition {
        &self.definition
    }

    async fn kill(&self, id: &ReplicaId) -> Result<(), EngineError> {
        self.halt("kill", id, ProcessState::Exited)
    }

    async fn stop(&self, id: &ReplicaId) -> Result<(), EngineError> {
        self.halt("stop", id, ProcessState::Exited)
    }

    async fn start(&self, id: &ReplicaId) -> Result<(), EngineError> {
        self.revert("start", id)
    }

    async fn redeploy(&self, id: &ReplicaId, release: &Release) -> Result<(), EngineError> {
        let mut state = self.state.lock().unwrap();
        let variables = release
            .environment
            .iter()
            .map(|(name, value)| format!(" {name}={value}"));
        let asked = format!("redeploy {id}{}", variables.collect::<String>());
        state.asked.push(asked.clone());
        state.was_halted = true;
        let redeployed = state.redeployed.get(id).copied().unwrap_or_default();
        let process = match redeployed {
            Redeployed::KeepsOld => return Ok(()),
            Redeployed::Fails => ProcessState::Exited,
            _ => ProcessState::Running,
        };
        state.processes.insert(id.clone(), process);
        if process == ProcessState::Exited {
            return Err(EngineError::Refused {
                action: asked,
                reason: "no".to_owned(),
            });
        }
        state.processes_begun += 1;
        let environment = match redeployed {
            Redeployed::Unseen => None,
            Redeployed::WithOldEnvironment => state.running(id).environment,
            _ => Some(release.environment.clone()),
        };
        let running = Running {
            process: format!("process {}", state.processes_begun),
            release: release.clone(),
            environment,
        };
        state.running.insert(id.clone(), running);
        Ok(())
    }

    async fn running(&self, id: &ReplicaId) -> Result<Option<Running>, EngineError> {
        self.replica(id)?;
        let state = self.state.lock().unwrap();
        let runs = state.processes[id] == ProcessState::Running;
        Ok(runs.then(|| state.running(id)))
    }

    async fn pause(&self, id: &ReplicaId) -> Result<(), EngineError> {
        self.halt("pause", id, ProcessState::Paused)
    }

    async fn unpause(&self, id: &ReplicaId) -> Result<(), EngineError> {
        self.revert("unpause", id)
    }

    async fn state(&self, id: &ReplicaId) -> Result<ProcessState, EngineError> {
        self.replica(id)?;
        Ok(self.state.lock().unwrap().processes[id])
    }

    async fn is_ready(&self, id: &ReplicaId) -> Result<bool, EngineError> {
        let (process, was_halted) = {
            let state = self.state.lock().unwrap();
            if state.is_busy {
                return Ok(false);
            }
            (state.processes[id], state.was_halted)
        };
        match process {
            ProcessState::Running => Ok(!(was_halted && self.disobedience.never_ready)),
            ProcessState::Paused if self.disobedience.answers_frozen => Ok(true),
            // As a connection to a frozen process: made by the kernel, and never answered.
            ProcessState::Paused => std::future::pending().await,
            ProcessState::Exited => Ok(false),
        }
    }

    async fn arm_deadline(&self, fault: u32, undo: Undo, id: &ReplicaId, ttl: Duration) -> Result<(), EngineError> {
        let asked = format!("arm {fault} {undo:?} {id} {}s", ttl.as_secs());
        self.state.lock().unwrap().asked.push(asked);
        Ok(())
    }

    async fn arm_call(&self, fault: u32, call: &Call, ttl: Duration) -> Result<(), EngineError> {
        let asked = format!("call {fault} {} {} {}s", call.method, call.path, ttl.as_secs());
        self.state.lock().unwrap().asked.push(asked);
        Ok(())
    }

    async fn disarm_deadline(&self, fault: u32) -> Result<(), EngineError> {
        self.state.lock().unwrap().asked.push(format!("disarm {fault}"));
        Ok(())
    }

    fn log_lines(&self) -> broadcast::Receiver<LogLine> {
        self.logs.subscribe()
    }

    async fn down(&self) -> Vec<String> {
        Vec::new()
    }

    async fn keep(&self) -> Vec<String> {
        Vec::new()
    }
}

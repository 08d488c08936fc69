//! A run: from a plan to a history on disk, and whatever happens, everything undone.
//!
//! This file is the story; `stages` tells it in order. `folder` knows the files of a run, `method` drives the faults,
//! `interrupt` turns signals into something that every wait can be raced against, `machine` watches how hard the machine is
//! pressed meanwhile.
//!
//! Architecture invariant: nothing here judges. The gate is the one number looked at while a run lasts, and it is read
//! from the saved history by the code that judges saved runs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;

use crate::check;
use crate::event::{Entry, Event, Events, Host, Phase};
use crate::fault::Fault;
use crate::history::load::History;
use crate::history::record::Recorder;
use crate::plan::{Plan, ReplicaId, Target};
use crate::system::engine::{Disk, Engine, EngineError, RunningSystem, SystemRequest};
use crate::verdict::{Assertion, AssertionKind, Judgement, Verdict};
use crate::workload::heartbeat::{self, Heartbeats};
use crate::workload::{self, Load, LoadRequest};

pub mod folder;
pub mod interrupt;
pub mod machine;
mod method;
pub mod seal;

use folder::RunFolder;
use interrupt::{Interrupt, Interrupted};
use machine::{Loads, Watch};

/// How a run is to be made, beyond its plan.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Leave the system up afterwards.
    pub keep: bool,
    /// Why it is this engine, in a few words; empty if there was no choice.
    pub engine_because: String,
    /// What is under test, as whoever started the run named it; empty if nobody did.
    pub release: String,
    /// Shared by runs at the same time.
    pub loads: Loads,
}

/// Why a run ended before its end.
#[derive(Debug)]
enum Stop {
    /// The harness or its set-up broke.
    Broken(String),
    /// A signal.
    Interrupted(Interrupted),
}

impl From<Interrupted> for Stop {
    fn from(signal: Interrupted) -> Self {
        Self::Interrupted(signal)
    }
}

/// Anything the stages meet that is not a signal is a broken set-up: the message is what the reader gets.
fn broken(error: impl std::fmt::Display) -> Stop {
    Stop::Broken(error.to_string())
}

/// Runs a plan and judges it. `verdict.json` exists afterwards whatever happened, unless the disk refuses it.
pub async fn run(
    plan: &Plan,
    engine: &dyn Engine,
    folder: &RunFolder,
    events: &Events,
    interrupt: &Interrupt,
    options: &RunOptions,
) -> Verdict {
    let mut scene = Scene {
        plan,
        engine,
        folder,
        events,
        interrupt,
        loads: &options.loads,
        system: None,
    };
    let _ = events.emit(Event::Started {
        run_id: folder.run_id().to_owned(),
        experiment: plan.experiment.name.clone(),
        title: plan.experiment.title.clone(),
        seed: plan.seed,
        engine: engine.name().to_owned(),
        because: options.engine_because.clone(),
        nightmail: env!("CARGO_PKG_VERSION").to_owned(),
        release: options.release.clone(),
        host: Some(Host::here()),
    });
    let ended = match AssertUnwindSafe(stages(&mut scene)).catch_unwind().await {
        Ok(ended) => ended,
        Err(panic) => Err(Stop::Broken(format!(
            "nightmail has a defect: {}",
            panic_text(panic.as_ref())
        ))),
    };
    if let Err(Stop::Interrupted(signal)) = &ended {
        let _ = events.emit(Event::Interrupted {
            signal: signal.name().to_owned(),
        });
    }
    let keep = options.keep && ended.is_ok() && scene.system.is_some();
    let leftovers = take_down(&scene, keep).await;
    let _ = events.emit(Event::Down { leftovers, kept: keep });
    judge(folder, events, ended)
}

/// What the stages share.
struct Scene<'a> {
    plan: &'a Plan,
    engine: &'a dyn Engine,
    folder: &'a RunFolder,
    events: &'a Events,
    interrupt: &'a Interrupt,
    loads: &'a Loads,
    system: Option<Arc<dyn RunningSystem>>,
}

impl Scene<'_> {
    fn phase(&self, phase: Phase, budget_ms: Option<u64>) -> Result<(), Stop> {
        self.events.emit(Event::Phase { phase, budget_ms }).map_err(broken)
    }
}

/// System up, gate, method, recovery, drain, final reads.
async fn stages(scene: &mut Scene<'_>) -> Result<(), Stop> {
    let definition = &scene.plan.system;
    let recorder = Recorder::create(&scene.folder.history())
        .map_err(broken)?
        .redacting(scene.plan.redactor());
    let system = bring_up(scene).await?;
    let addresses = addresses(system.as_ref());
    set_up(scene, &addresses).await?;
    let epoch = Instant::now();
    scene.events.set_epoch(epoch);
    let load = start_load(scene, &addresses, epoch, &recorder)?;
    let watch = Watch::start(scene.loads).map_err(broken)?;
    let run_id = scene.folder.run_id();
    let heartbeats = Heartbeats::start(definition, &addresses, run_id, epoch, &recorder).map_err(broken)?;
    let driven = drive(scene, &load, &recorder, &system).await;
    // From here on the load must be ended and recorded, even if a signal or a failure cut it short.
    let grace = if driven.is_ok() { GRACE } else { Duration::ZERO };
    let stop_heartbeats = async {
        // Those of a run that is given up are given up with it.
        if driven.is_ok() {
            heartbeats.stop().await;
        }
    };
    let (finished, ()) = tokio::join!(load.finish(grace), stop_heartbeats);
    let mut summary = finished.map_err(broken)?;
    summary.machine = Some(watch.end());
    scene.events.emit(Event::LoadEnded(summary)).map_err(broken)?;
    driven?;
    scene.phase(Phase::Drain, None)?;
    let drain = workload::drain::run(definition, &addresses, epoch, &recorder, scene.events);
    scene.interrupt.race(drain).await?.map_err(broken)?;
    load.stop_gauges().await;
    scene.phase(Phase::Reads, None)?;
    let reads = workload::reads::run(definition, &addresses, epoch, &recorder, READ_PATIENCE);
    scene.interrupt.race(reads).await?.map_err(broken)?;
    let beaten = heartbeat::read(definition, &addresses, run_id, epoch, &recorder, READ_PATIENCE);
    scene.interrupt.race(beaten).await?.map_err(broken)?;
    recorder.flush().await.map_err(broken)?;
    recorder.problem().map_or(Ok(()), |problem| {
        Err(broken(format!("the history could not be written: {problem}")))
    })
}

/// How long operations in flight may take to end after the last arrival; their own time-outs and retries end sooner.
const GRACE: Duration = Duration::from_secs(30);

/// How long a final read may take in all; a page that fails is asked for again.
const READ_PATIENCE: Duration = Duration::from_secs(10);

async fn bring_up(scene: &mut Scene<'_>) -> Result<Arc<dyn RunningSystem>, Stop> {
    let request = SystemRequest {
        run_id: scene.folder.run_id().to_owned(),
        definition: scene.plan.system.clone(),
        dir: scene.plan.system_dir.clone(),
        environment: scene.plan.environment.clone(),
        agents: agents(scene.plan),
        disks: disks(scene.plan),
        images: images(scene.plan),
        links: links(scene.plan),
        seed: scene.plan.seed,
        redactor: scene.plan.redactor(),
        logs_dir: scene.folder.logs(),
    };
    scene.phase(Phase::Images, None)?;
    scene
        .interrupt
        .race(scene.engine.prepare(&request, scene.events))
        .await?
        .map_err(broken)?;
    scene.phase(Phase::Up, None)?;
    let mut up = pin!(scene.engine.up(&request, scene.events));
    let system = match scene.interrupt.race(up.as_mut()).await {
        Ok(brought) => brought.map_err(broken)?,
        Err(signal) => {
            scene.system = give_up(scene, up).await;
            return Err(signal.into());
        }
    };
    scene.system = Some(system.clone());
    Ok(system)
}

/// How long a start that is given up may take to notice.
const GIVE_UP_WITHIN: Duration = Duration::from_secs(15);

/// Ends a start that is under way. What the engine has been asked for cannot be called back, so what there is already is
/// taken away until the start fails, and nothing can appear behind the last sweep's back.
async fn give_up(
    scene: &Scene<'_>,
    mut up: impl Future<Output = Result<Arc<dyn RunningSystem>, EngineError>> + Unpin,
) -> Option<Arc<dyn RunningSystem>> {
    let deadline = Instant::now() + GIVE_UP_WITHIN;
    while Instant::now() < deadline {
        let sweep = async {
            scene.engine.clean(scene.folder.run_id()).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        tokio::select! {
            brought = &mut up => return brought.ok(),
            () = sweep => {}
        }
    }
    None
}

/// Replicas that a network fault touches: beside each an agent must stand from the start.
fn agents(plan: &Plan) -> Vec<ReplicaId> {
    let touched = faults_by_agents(plan).flat_map(|fault| fault.targets());
    among(touched).into_iter().collect()
}

/// The file systems of their own that replicas get, so that faults can fill them.
fn disks(plan: &Plan) -> BTreeMap<ReplicaId, Vec<Disk>> {
    let mut disks: BTreeMap<ReplicaId, Vec<Disk>> = BTreeMap::new();
    for behaviour in plan.faults.iter().map(|fault| fault.fault.behaviour()) {
        let Some(disk) = behaviour.disk() else { continue };
        for id in among(behaviour.targets()) {
            let known = disks.entry(id).or_default();
            if !known.contains(&disk) {
                known.push(disk.clone());
            }
        }
    }
    disks
}

/// Images that faults give to replicas.
fn images(plan: &Plan) -> Vec<String> {
    let images: BTreeSet<String> = plan.releases().filter_map(|release| release.image).collect();
    images.into_iter().collect()
}

/// Whose connections must go through links to whom from the start: those made earlier than a link are out of its reach.
fn links(plan: &Plan) -> BTreeMap<ReplicaId, Vec<ReplicaId>> {
    let mut links: BTreeMap<ReplicaId, BTreeSet<ReplicaId>> = BTreeMap::new();
    for (from, to) in faults_by_agents(plan).filter_map(|fault| fault.links()) {
        let to = among(to);
        for opener in among(from) {
            let others = to.iter().filter(|peer| **peer != opener).cloned();
            links.entry(opener.clone()).or_default().extend(others);
        }
    }
    links
        .into_iter()
        .map(|(opener, peers)| (opener, peers.into_iter().collect()))
        .collect()
}

/// The faults that agents put in force.
fn faults_by_agents(plan: &Plan) -> impl Iterator<Item = &dyn Fault> {
    let faults = plan.faults.iter().map(|fault| fault.fault.behaviour());
    faults.filter(|fault| fault.needs_agent() && !(plan.toxiproxy.is_some() && fault.links().is_some()))
}

/// Every replica that targets may mean.
fn among<'a>(targets: impl IntoIterator<Item = &'a Target>) -> BTreeSet<ReplicaId> {
    let ids = targets.into_iter().flat_map(|target| match target {
        Target::Replicas(ids) | Target::Role { members: ids, .. } => ids,
    });
    ids.cloned().collect()
}

/// The addresses of each service's replicas, in the order of their numbers.
fn addresses(system: &dyn RunningSystem) -> workload::Addresses {
    let replicas = system.replicas().iter().map(|replica| (&replica.id, replica.address));
    let in_order: BTreeMap<&ReplicaId, Ipv4Addr> = replicas.collect();
    let mut addresses: workload::Addresses = BTreeMap::new();
    for (id, address) in in_order {
        addresses.entry(id.service.clone()).or_default().push(address);
    }
    addresses
}

async fn set_up(scene: &Scene<'_>, addresses: &workload::Addresses) -> Result<(), Stop> {
    let requests = workload::setup::run(&scene.plan.system, addresses);
    scene.interrupt.race(requests).await?.map_err(broken)?;
    let table = heartbeat::set_up(&scene.plan.system, addresses);
    scene.interrupt.race(table).await?.map_err(broken)
}

fn start_load(
    scene: &Scene<'_>,
    addresses: &workload::Addresses,
    epoch: Instant,
    recorder: &Recorder,
) -> Result<Load, Stop> {
    let gate = &scene.plan.gate;
    scene.phase(Phase::Gate, Some(gate.warm_up_ms + gate.window_ms))?;
    Load::start(&LoadRequest {
        system: &scene.plan.system,
        workload: &scene.plan.workload,
        seed: scene.plan.seed,
        addresses,
        epoch,
        run_part: scene.folder.run_id(),
        recorder,
        events: scene.events,
    })
    .map_err(broken)
}

/// Everything that happens under load.
async fn drive(
    scene: &Scene<'_>,
    load: &Load,
    recorder: &Recorder,
    system: &Arc<dyn RunningSystem>,
) -> Result<(), Stop> {
    let plan = scene.plan;
    let Some(gate_passed) = gate(scene, recorder).await? else {
        return Ok(());
    };
    scene.phase(Phase::Method, Some(plan.schedule.method_ms))?;
    let method_ends = gate_passed + Duration::from_millis(plan.schedule.method_ms);
    if plan.faults.is_empty() {
        scene
            .interrupt
            .race(tokio::time::sleep_until(method_ends.into()))
            .await?;
    } else {
        method::run(plan, system, load, scene.events, scene.interrupt, gate_passed).await?;
    }
    scene.phase(Phase::Recovery, Some(plan.schedule.recovery_ms))?;
    let recovery = tokio::time::sleep(Duration::from_millis(plan.schedule.recovery_ms));
    Ok(scene.interrupt.race(recovery).await?)
}

/// Waits for the gate's window and judges it. The instant the gate passed, or `None` if it did not.
async fn gate(scene: &Scene<'_>, recorder: &Recorder) -> Result<Option<Instant>, Stop> {
    let gate = &scene.plan.gate;
    scene
        .interrupt
        .race(tokio::time::sleep(Duration::from_millis(
            gate.warm_up_ms + gate.window_ms,
        )))
        .await?;
    let ended = Instant::now();
    let ended_us = scene.events.since_epoch_us(ended).max(0) as u64;
    recorder.flush().await.map_err(broken)?;
    let text = std::fs::read(scene.folder.history()).map_err(broken)?;
    let history = History::parse(&text).map_err(broken)?;
    let window_us = ended_us.saturating_sub(gate.window_ms * 1_000)..ended_us;
    let assertions: Vec<Assertion> = gate
        .probes
        .iter()
        .map(|probe| Assertion {
            name: probe.name.clone(),
            kind: AssertionKind::Gate,
            finding: check::probe::evaluate(probe, &history, window_us.clone()),
        })
        .collect();
    let passed = assertions
        .iter()
        .all(|assertion| assertion.finding.verdict == Judgement::Pass);
    scene.events.emit(Event::Gate { passed, assertions }).map_err(broken)?;
    Ok(passed.then_some(ended))
}

async fn take_down(scene: &Scene<'_>, keep: bool) -> Vec<String> {
    if !keep {
        let _ = scene.phase(Phase::Down, None);
    }
    let Some(system) = &scene.system else {
        // Whatever was under way when it was cut short.
        return scene.engine.clean(scene.folder.run_id()).await;
    };
    if keep {
        for line in system.keep().await {
            scene.events.notice(line);
        }
        return Vec::new();
    }
    system.down().await
}

/// Judges from what is on disk, so that `nightmail check` cannot come to another verdict.
fn judge(folder: &RunFolder, events: &Events, ended: Result<(), Stop>) -> Verdict {
    let _ = events.emit(Event::Phase {
        phase: Phase::Judge,
        budget_ms: None,
    });
    if let Err(Stop::Broken(problem)) = &ended {
        let _ = events.emit(Event::Broken {
            problem: problem.clone(),
        });
    }
    let verdict = match check::judge_folder(folder.path()) {
        Ok(verdict) => verdict,
        Err(error) => Verdict::aborted(folder.plan(), folder.run_id(), &error.to_string()),
    };
    let judged = Event::Judged {
        verdict: verdict.verdict.to_string(),
        exit_code: verdict.exit_code,
    };
    let _ = events.emit(judged);
    if let Err(error) = write_reports(folder.path(), folder.plan(), &verdict) {
        events.notice(format!("a report could not be written: {error}"));
    }
    // Last: whatever is written later would not be what is vouched for.
    let _ = seal::seal(folder.path());
    verdict
}

/// Writes every report of a run from what is on disk.
pub fn write_reports(dir: &Path, plan: &Plan, verdict: &Verdict) -> std::io::Result<()> {
    let text = std::fs::read(dir.join(crate::history::FILE)).unwrap_or_default();
    let history = History::parse(&text).unwrap_or_default();
    let events: Vec<Entry> = folder::read_events(dir).unwrap_or_default();
    crate::report::write_all(dir, plan, verdict, &history, &events)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

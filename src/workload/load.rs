//! The load: arrivals at their intended instants, operations in flight, a record of each.
//!
//! Two threads. `arrivals` sleeps until the next arrival is due and hands it over; `load` runs everything else on a
//! runtime of its own. An arrival waits for nothing: not for answers, not for the disk, not for the rest of the harness.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::runtime::{self, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::client::{Addresses, Client};
use super::gauge::{self, Gauge};
use super::operation::{Course, Operation};
use super::progress::{PARTS, Tally};
use super::schedule::{Arrival, Schedule};
use super::trigger::{Completion, Completions};
use super::values::Draws;
use super::{Problem, WorkloadError, limits};
use crate::event::{Event, Events, LoadSummary};
use crate::history::record::Recorder;
use crate::history::{Op, Outcome, Record};
use crate::plan::WorkloadPlan;
use crate::system::definition::SystemDefinition;

/// An arrival that was this late for the generator's own reasons, and found the cap full, is the generator's failure.
const LATE_US: u64 = 100_000;

/// The runtime looks for new arrivals after this many other steps: few, so that a burst of answers does not delay them.
const STEPS_BETWEEN_ARRIVALS: u32 = 8;

/// What a load needs.
#[derive(Clone)]
pub struct LoadRequest<'a> {
    /// The system.
    pub system: &'a SystemDefinition,
    /// The load.
    pub workload: &'a WorkloadPlan,
    /// Fixes the schedule and every value drawn.
    pub seed: u64,
    /// Where the replicas are.
    pub addresses: &'a Addresses,
    /// The instant from which all times count; arrivals begin here. May lie in the future.
    pub epoch: Instant,
    /// Part of every idempotency key that sets this run apart from others against the same data.
    pub run_part: &'a str,
    /// The history.
    pub recorder: &'a Recorder,
    /// Where [`Event::Progress`] goes.
    pub events: &'a Events,
}

/// A running load. Dropping it gives up what is in flight, as [`Load::finish`] without grace does.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    arrivals: Thread,
    stage: watch::Sender<Stage>,
    ended: watch::Receiver<bool>,
}

/// How far a load is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Run,
    /// Operations in flight are given up.
    Abort,
    /// Gauges end too.
    Stop,
}

struct Shared {
    epoch: Instant,
    end_us: AtomicU64,
    in_flight: AtomicUsize,
    in_flight_max: usize,
    key_part: String,
    client: Client,
    operations: Vec<Operation>,
    tally: Mutex<Tally>,
    completions: Completions,
    recorder: Recorder,
    events: Events,
    render_failed: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

impl Load {
    /// Compiles the definition and starts the load and the gauges.
    pub fn start(request: &LoadRequest<'_>) -> Result<Self, WorkloadError> {
        limits::allow_connections(request.workload.in_flight_max)?;
        let client = Client::new(request.addresses);
        let (operations, draws) = compile(request, &client)?;
        let gauges = gauge::compile(request.system)?;
        for gauge in &gauges {
            client.require(gauge.service())?;
        }
        let shared = Arc::new(Shared {
            epoch: request.epoch,
            end_us: AtomicU64::new(u64::MAX),
            in_flight: AtomicUsize::new(0),
            in_flight_max: request.workload.in_flight_max,
            key_part: format!("{}-{:x}", request.run_part, request.seed),
            client,
            tally: Mutex::new(Tally::new(operations.iter().map(|operation| operation.name.clone()))),
            operations,
            completions: Completions::default(),
            recorder: request.recorder.clone(),
            events: request.events.clone(),
            render_failed: AtomicBool::new(false),
        });
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .event_interval(STEPS_BETWEEN_ARRIVALS)
            .build()?;
        let (stage, stage_seen) = watch::channel(Stage::Run);
        let (ended_tx, ended) = watch::channel(false);
        let (due_tx, due) = mpsc::unbounded_channel();
        let generator = Generator {
            shared: shared.clone(),
            draws,
            due,
            stage: stage_seen,
            operations: JoinSet::new(),
        };
        thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || generator.run(&runtime, gauges, &ended_tx))?;
        let schedule = Schedule::new(request.workload.arrivals, &request.workload.rates, request.seed);
        let waiting = shared.clone();
        let arrivals = thread::Builder::new()
            .name("arrivals".to_owned())
            .spawn(move || wait_for_each(schedule, &waiting, &due_tx))?;
        Ok(Self {
            shared,
            arrivals: arrivals.thread().clone(),
            stage,
            ended,
        })
    }

    /// Waits for completions. Outlives borrowing of the load.
    pub fn completions(&self) -> Completions {
        self.shared.completions.clone()
    }

    /// See [`Completions::nth`].
    pub fn nth(
        &self,
        operation: &str,
        outcome: Outcome,
        nth_from_now: u64,
    ) -> impl Future<Output = Option<Completion>> + Send + use<> {
        self.shared.completions.nth(operation, outcome, nth_from_now)
    }

    /// What the generator says of itself so far.
    pub fn summary(&self) -> LoadSummary {
        self.shared.tally.lock().expect("no holder panics").summary()
    }

    /// No customer arrives from now on; gives that instant in microseconds since the epoch. Who was due before still
    /// arrives. Later calls change nothing.
    pub fn end_arrivals(&self) -> u64 {
        let now_us = self.shared.now_us();
        let before_us = self.shared.end_us.fetch_min(now_us, Ordering::SeqCst);
        self.arrivals.unpark();
        before_us.min(now_us)
    }

    /// Ends the arrivals and waits for the operations in flight, which their own time-outs and retries bound. Those
    /// that last longer than `grace` are given up and recorded as `info`, [`Op::ABORTED`]; zero gives up all at once.
    /// Every operation is in the recorder's hands when this returns. Gauges go on.
    pub async fn finish(&self, grace: Duration) -> Result<LoadSummary, WorkloadError> {
        self.end_arrivals();
        let mut ended = self.ended.clone();
        if tokio::time::timeout(grace, ended.wait_for(|ended| *ended))
            .await
            .is_err()
        {
            self.stage.send_if_modified(|stage| raise(stage, Stage::Abort));
        }
        match ended.wait_for(|ended| *ended).await {
            Ok(_) => Ok(self.summary()),
            Err(_) => Err(WorkloadError::Ended),
        }
    }

    /// Ends the gauges and the threads.
    pub async fn stop_gauges(self) {
        let mut ended = self.ended.clone();
        drop(self);
        // The thread's end is the end of the channel.
        while ended.changed().await.is_ok() {}
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end_arrivals();
        self.stage.send_if_modified(|stage| raise(stage, Stage::Stop));
    }
}

fn raise(stage: &mut Stage, to: Stage) -> bool {
    let raised = *stage < to;
    *stage = to.max(*stage);
    raised
}

fn compile(request: &LoadRequest<'_>, client: &Client) -> Result<(Vec<Operation>, Vec<Draws>), WorkloadError> {
    let (mut operations, mut draws) = (Vec::new(), Vec::new());
    for (name, rate) in &request.workload.rates {
        if !(rate.is_finite() && *rate > 0.0) {
            let problem = Problem::new(format!("workload.{name}"), format!("{rate} is no rate"));
            return Err(WorkloadError::Definition(problem));
        }
        let Some(definition) = request.system.operations.get(name) else {
            return Err(WorkloadError::UnknownOperation(name.clone()));
        };
        let operation = Operation::compile(name, definition).map_err(WorkloadError::Definition)?;
        client.require(operation.service())?;
        operations.push(operation);
        let values = Draws::compile(name, &definition.values, &request.system.pools, request.seed);
        draws.push(values.map_err(WorkloadError::Definition)?);
    }
    Ok((operations, draws))
}

/// Hands over each arrival when it is due, until the end of arrivals.
fn wait_for_each(schedule: Schedule, shared: &Shared, due: &mpsc::UnboundedSender<Arrival>) {
    for arrival in schedule {
        let instant = shared.epoch + Duration::from_micros(arrival.intended_us);
        loop {
            if arrival.intended_us > shared.end_us.load(Ordering::SeqCst) {
                return;
            }
            let remaining = instant.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                break;
            }
            // Woken early at the end of arrivals.
            thread::park_timeout(remaining);
        }
        if due.send(arrival).is_err() {
            return;
        }
    }
}

/// What the thread `load` runs.
struct Generator {
    shared: Arc<Shared>,
    draws: Vec<Draws>,
    due: mpsc::UnboundedReceiver<Arrival>,
    stage: watch::Receiver<Stage>,
    operations: JoinSet<()>,
}

impl Generator {
    fn run(mut self, runtime: &Runtime, gauges: Vec<Gauge>, ended: &watch::Sender<bool>) {
        runtime.block_on(async {
            let mut background = JoinSet::new();
            for gauge in gauges {
                let shared = self.shared.clone();
                background.spawn(async move {
                    gauge
                        .sample_forever(&shared.client, shared.epoch, &shared.recorder)
                        .await;
                });
            }
            let progress = background.spawn(report_progress(self.shared.clone()));
            self.drive().await;
            progress.abort();
            self.shared.completions.end();
            self.shared.report();
            ended.send_replace(true);
            // The load itself may be gone already.
            let _ = self.stage.wait_for(|stage| *stage == Stage::Stop).await;
            background.shutdown().await;
        });
    }

    /// Until every arrival has been made and has ended, or the load is given up.
    async fn drive(&mut self) {
        let mut stage = self.stage.clone();
        let given_up = async move {
            // Without a sender there is nobody left to wait for.
            let _ = stage.wait_for(|stage| *stage >= Stage::Abort).await;
        };
        tokio::select! {
            biased;
            () = self.attend() => {}
            () = given_up => {}
        }
        // Operations that are given up record themselves as they are dropped; so do arrivals nobody attended to.
        self.operations.shutdown().await;
        while let Some(arrival) = self.due.recv().await {
            self.arrive(arrival).not_sent(Op::ABORTED);
        }
    }

    /// Lets every operation begin when it is due, and waits for the last of them to end.
    async fn attend(&mut self) {
        while let Some(arrival) = self.due.recv().await {
            self.fire(arrival);
            while self.operations.try_join_next().is_some() {}
        }
        while self.operations.join_next().await.is_some() {}
    }

    fn arrive(&mut self, arrival: Arrival) -> InFlight {
        self.shared.in_flight.fetch_add(1, Ordering::Relaxed);
        self.shared.tally.lock().expect("no holder panics").arrived();
        let name = &self.shared.operations[arrival.operation].name;
        InFlight {
            key: format!("{name}-{}-{}", self.shared.key_part, arrival.number),
            values: self.draws[arrival.operation].draw(),
            arrival,
            sent_us: None,
            course: Course::default(),
            outcome: None,
            shared: self.shared.clone(),
        }
    }

    fn fire(&mut self, arrival: Arrival) {
        let full = self.shared.in_flight.load(Ordering::Relaxed) >= self.shared.in_flight_max;
        let operation = self.arrive(arrival);
        if full {
            let lag_us = operation.reached();
            operation.not_sent(if lag_us > LATE_US { Op::LATE } else { Op::DROPPED });
        } else {
            self.operations.spawn(operation.perform());
        }
    }
}

async fn report_progress(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / PARTS as u32);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        shared.report();
    }
}

impl Shared {
    fn now_us(&self) -> u64 {
        self.epoch.elapsed().as_micros() as u64
    }

    fn report(&self) {
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        let progress = self.tally.lock().expect("no holder panics").progress(in_flight);
        // Progress is not written to disk, so there is no error to report.
        let _ = self.events.emit(Event::Progress(progress));
    }
}

/// An operation from its arrival on. It records itself when it is dropped, which happens however it ends.
struct InFlight {
    shared: Arc<Shared>,
    arrival: Arrival,
    key: String,
    values: Vec<serde_json::Value>,
    sent_us: Option<u64>,
    course: Course,
    outcome: Option<Outcome>,
}

impl InFlight {
    async fn perform(mut self) {
        let shared = self.shared.clone();
        let operation = &shared.operations[self.arrival.operation];
        let rendered = operation.render(&self.key, &self.values);
        let lag_us = self.reached();
        let rendered = match rendered {
            Ok(rendered) => rendered,
            Err(message) => {
                if !shared.render_failed.swap(true, Ordering::Relaxed) {
                    shared.events.notice(format!(
                        "the operation `{}` has a request that cannot be made: {message}",
                        operation.name
                    ));
                }
                return self.not_sent(Op::LATE);
            }
        };
        self.sent_us = Some(self.arrival.intended_us + lag_us);
        let outcome = operation.perform(&shared.client, &rendered, &mut self.course).await;
        self.outcome = Some(outcome);
    }

    /// The generator is done with the arrival, however it goes on; gives how late that is, and notes it.
    fn reached(&self) -> u64 {
        let lag_us = self.shared.now_us().saturating_sub(self.arrival.intended_us);
        self.shared.tally.lock().expect("no holder panics").lagged(lag_us);
        lag_us
    }

    /// Ends an operation for which no attempt was made: it certainly had no effect.
    fn not_sent(mut self, error: &'static str) {
        if error == Op::DROPPED {
            self.shared.tally.lock().expect("no holder panics").dropped();
        }
        self.course.error = Some(error.into());
        self.outcome = Some(Outcome::Fail);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let done_us = self.shared.now_us();
        let outcome = self.outcome.unwrap_or_else(|| {
            self.course.error = Some(Op::ABORTED.into());
            match self.course.attempts {
                0 => Outcome::Fail,
                _ => Outcome::Info,
            }
        });
        self.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        let operation = &self.shared.operations[self.arrival.operation];
        self.shared.completions.completed(&Completion {
            kind: operation.name.clone(),
            key: self.key.clone(),
            outcome,
            done_us,
        });
        self.shared.recorder.record(&Record::Op(Op {
            kind: Cow::Borrowed(&operation.name),
            key: Cow::Borrowed(&self.key),
            intended_us: self.arrival.intended_us,
            sent_us: self.sent_us,
            done_us,
            outcome,
            attempts: self.course.attempts,
            status: self.course.status,
            error: self.course.error.as_deref().map(Cow::Borrowed),
            values: operation.recorded(&self.values),
        }));
        let latency_us = done_us.saturating_sub(self.arrival.intended_us);
        if let Ok(mut tally) = self.shared.tally.lock() {
            tally.ended(self.arrival.operation, outcome, latency_us);
        }
    }
}

//! The load: arrivals at their intended instants, operations in flight, a record of each.
//!
//! Two threads. `arrivals` sleeps until the next arrival is due and hands it over; `load` runs everything else on a
//! runtime of its own. An arrival waits for nothing: not for answers, not for the disk, not for the rest of the harness.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::client::{Addresses, Client, replica_counts};
use super::gauge;
use super::generator::{Generator, Shared, Stage};
use super::operation::Operation;
use super::progress::Tally;
use super::schedule::{Arrival, Schedule};
use super::trigger::{Completion, Completions};
use super::values::Draws;
use super::{Problem, WorkloadError, limits};
use crate::event::{Events, LoadSummary};
use crate::history::Outcome;
use crate::history::record::Recorder;
use crate::plan::WorkloadPlan;
use crate::system::definition::SystemDefinition;

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
    /// Where [`Progress`](crate::event::Event::Progress) goes.
    pub events: &'a Events,
}

/// A running load. Dropping it gives up what is in flight, as [`Load::finish`] without grace does.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    arrivals: Thread,
    stage: watch::Sender<Stage>,
    ended: watch::Receiver<bool>,
    _connections: limits::Allowed,
}

impl Load {
    /// Compiles the definition and starts the load and the gauges.
    pub fn start(request: &LoadRequest<'_>) -> Result<Self, WorkloadError> {
        let connections = limits::allow_connections(request.workload.in_flight_max)?;
        let client = Client::new(request.addresses);
        let (operations, draws) = compile(request, &client)?;
        let gauges = gauge::compile(request.system)?;
        for gauge in &gauges {
            gauge.require(&client)?;
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
            _connections: connections,
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
    /// that last longer than `grace` are given up and recorded as `info`, [`Op::ABORTED`](crate::history::Op::ABORTED); zero gives up all at once.
    /// Every operation is in the recorder's hands when this returns. Gauges go on.
    pub async fn finish(&self, grace: Duration) -> Result<LoadSummary, WorkloadError> {
        self.end_arrivals();
        let mut ended = self.ended.clone();
        if tokio::time::timeout(grace, ended.wait_for(|ended| *ended))
            .await
            .is_err()
        {
            self.stage.send_if_modified(|stage| Stage::raise(stage, Stage::Abort));
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
        self.stage.send_if_modified(|stage| Stage::raise(stage, Stage::Stop));
    }
}

fn compile(request: &LoadRequest<'_>, client: &Client) -> Result<(Vec<Operation>, Vec<Draws>), WorkloadError> {
    let (mut operations, mut draws) = (Vec::new(), Vec::new());
    let replicas = replica_counts(request.addresses);
    for (name, rate) in &request.workload.rates {
        if let Some(problem) = rate.problem() {
            let problem = Problem::new(format!("workload.{name}"), problem);
            return Err(WorkloadError::Definition(problem));
        }
        let Some(definition) = request.system.operations.get(name) else {
            return Err(WorkloadError::UnknownOperation(name.clone()));
        };
        let operation = Operation::compile(name, definition).map_err(WorkloadError::Definition)?;
        client.require(operation.service())?;
        operations.push(operation);
        let values = Draws::compile(name, &definition.values, &request.system.pools, &replicas, request.seed);
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
    // A load whose rates have fallen to zero still lasts: whoever waits for it must not be told that it has ended.
    while shared.end_us.load(Ordering::SeqCst) == u64::MAX {
        thread::park();
    }
}

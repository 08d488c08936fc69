//! What the thread of a load runs: operations from their arrival to their record.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::client::Client;
use super::gauge::Gauge;
use super::operation::{Course, Operation};
use super::progress::{PARTS, Tally};
use super::schedule::Arrival;
use super::trigger::{Completion, Completions};
use super::values::Draws;
use crate::event::{Event, Events};
use crate::history::record::Recorder;
use crate::history::{Op, Outcome, Record};

/// An arrival that was this late for the generator's own reasons, and found the cap full, is the generator's failure.
const LATE_US: u64 = 100_000;

/// How far a load is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Arrivals are made, operations end, gauges are read.
    Run,
    /// Operations in flight are given up.
    Abort,
    /// Gauges end too.
    Stop,
}

/// What the load and its threads share.
pub(super) struct Shared {
    pub(super) epoch: Instant,
    pub(super) end_us: AtomicU64,
    pub(super) in_flight: AtomicUsize,
    pub(super) in_flight_max: usize,
    pub(super) key_part: String,
    pub(super) client: Client,
    pub(super) operations: Vec<Operation>,
    pub(super) tally: Mutex<Tally>,
    pub(super) completions: Completions,
    pub(super) recorder: Recorder,
    pub(super) events: Events,
    pub(super) render_failed: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

/// What the thread `load` runs.
pub(super) struct Generator {
    pub(super) shared: Arc<Shared>,
    pub(super) draws: Vec<Draws>,
    pub(super) due: mpsc::UnboundedReceiver<Arrival>,
    pub(super) stage: watch::Receiver<Stage>,
    pub(super) operations: JoinSet<()>,
}

impl Stage {
    /// Goes on to `stage`, never back.
    pub(super) fn raise(current: &mut Self, stage: Self) -> bool {
        let raised = *current < stage;
        *current = stage.max(*current);
        raised
    }
}

impl Generator {
    /// Until [`Stage::Stop`].
    pub(super) fn run(mut self, runtime: &Runtime, gauges: Vec<Gauge>, ended: &watch::Sender<bool>) {
        runtime.block_on(async {
            let mut background = JoinSet::new();
            for gauge in gauges {
                let shared = self.shared.clone();
                background.spawn(async move {
                    gauge
                        .sample_forever(&shared.client, shared.epoch, &shared.recorder, &shared.events)
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
    pub(super) fn now_us(&self) -> u64 {
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
        let made = rendered.and_then(|request| Ok((operation.turn(&shared.client, &request)?, request)));
        let lag_us = self.reached();
        let (turn, request) = match made {
            Ok(made) => made,
            Err(message) => {
                if !shared.render_failed.swap(true, Ordering::Relaxed) {
                    shared.events.notice(format!(
                        "the operation `{}` has a request that cannot be made: {message}",
                        operation.name
                    ));
                }
                return self.not_sent(Op::NOT_MADE);
            }
        };
        self.sent_us = Some(self.arrival.intended_us + lag_us);
        let outcome = operation
            .perform(&shared.client, &turn, &request, &mut self.course)
            .await;
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
            forbidden: self.course.forbidden.as_deref().map(Cow::Borrowed),
        }));
        let latency_us = done_us.saturating_sub(self.arrival.intended_us);
        if let Ok(mut tally) = self.shared.tally.lock() {
            tally.ended(self.arrival.operation, outcome, latency_us);
        }
    }
}

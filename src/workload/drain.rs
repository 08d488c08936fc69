//! Draining: once the load has ended, work that piled up must reach zero in its time.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::client::{Addresses, Client};
use super::gauge::Gauge;
use super::{Problem, WorkloadError};
use crate::event::{Event, Events};
use crate::history::record::Recorder;
use crate::system::definition::{Backlog, SystemDefinition};

/// Between two readings: finer than the gauges under load, since here a moment is awaited.
const POLL: Duration = Duration::from_millis(50);

/// How a backlog ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Drained {
    /// The gauge.
    pub metric: String,
    /// Whether it reached zero in its time.
    pub drained: bool,
    /// The last reading that could be had.
    pub last: Option<f64>,
    /// How long it took.
    pub took: Duration,
}

/// Polls every backlog until it is zero, or its time is up. Records each reading and emits [`Event::Drained`] for each
/// backlog as it ends. A backlog that could not be read has not drained.
pub async fn run(
    system: &SystemDefinition,
    addresses: &Addresses,
    epoch: Instant,
    recorder: &Recorder,
    events: &Events,
) -> Result<Vec<Drained>, WorkloadError> {
    let client = Client::new(addresses);
    let mut gauges = Vec::with_capacity(system.backlogs.len());
    for position in 0..system.backlogs.len() {
        let gauge = compile(system, position).map_err(WorkloadError::Definition)?;
        gauge.require(&client)?;
        gauges.push(gauge);
    }
    let drains = gauges.iter().zip(&system.backlogs).map(|(gauge, backlog)| {
        let client = &client;
        async move {
            let drained = drain(gauge, backlog, client, (epoch, recorder, events)).await;
            events.emit(Event::Drained {
                metric: drained.metric.clone(),
                drained: drained.drained,
                last: drained.last,
                took_ms: drained.took.as_millis() as u64,
            })?;
            Ok(drained)
        }
    });
    join_all(drains).await.into_iter().collect()
}

/// The gauge of the backlog at `position`.
pub(super) fn compile(system: &SystemDefinition, position: usize) -> Result<Gauge, Problem> {
    let name = &system.backlogs[position].metric;
    match system.metrics.get(name) {
        Some(definition) => Gauge::compile(name, definition, system),
        None => {
            let known: Vec<_> = system.metrics.keys().map(|known| format!("`{known}`")).collect();
            Err(Problem::new(
                format!("backlogs[{position}].metric"),
                format!("unknown metric `{name}`; known are {}", known.join(", ")),
            ))
        }
    }
}

async fn drain(
    gauge: &Gauge,
    backlog: &Backlog,
    client: &Client,
    (epoch, recorder, events): (Instant, &Recorder, &Events),
) -> Drained {
    let started = Instant::now();
    let within = backlog.within.as_duration();
    let mut last = None;
    loop {
        let remaining = within.saturating_sub(started.elapsed());
        let sample = gauge.sample(client, epoch, recorder, events);
        let reading = tokio::time::timeout(remaining, sample).await.unwrap_or_default();
        let took = started.elapsed();
        last = reading.or(last);
        let drained = reading.is_some_and(|value| value <= 0.0);
        if drained || took + POLL > within {
            return Drained {
                metric: gauge.name.clone(),
                drained,
                last,
                took,
            };
        }
        tokio::time::sleep(POLL).await;
    }
}

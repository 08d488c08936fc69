//! Gauges: numbers read from the system at an interval. A reading that fails is a gap, not a zero.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::MissedTickBehavior;

use super::client::Client;
use super::expression::Expression;
use super::template::{Rendered, Request, Variables};
use super::{Problem, WorkloadError};
use crate::history::record::Recorder;
use crate::history::{Record, Sample};
use crate::system::definition::{MetricDefinition, OverReplicas, SystemDefinition};

/// A gauge, compiled.
#[derive(Debug)]
pub struct Gauge {
    /// Its name, a key of `metrics`.
    pub name: String,
    request: Request,
    value: Expression,
    over_replicas: Option<OverReplicas>,
    every: Duration,
}

/// Every gauge of a system.
pub fn compile(system: &SystemDefinition) -> Result<Vec<Gauge>, WorkloadError> {
    let gauges = system
        .metrics
        .iter()
        .map(|(name, definition)| Gauge::compile(name, definition));
    gauges.collect::<Result<_, _>>().map_err(WorkloadError::Definition)
}

impl Gauge {
    /// Compiles the definition of the gauge `name`.
    pub fn compile(name: &str, definition: &MetricDefinition) -> Result<Self, Problem> {
        let at = format!("metrics.{name}");
        let value = Expression::compile(&definition.value);
        Ok(Self {
            name: name.to_owned(),
            request: Request::compile(&definition.request, &format!("{at}.request"), &[])?,
            value: value.map_err(|mistake| Problem::new(format!("{at}.value"), mistake.message))?,
            over_replicas: definition.over_replicas,
            // An interval of nothing would be a load of its own.
            every: definition.every.as_duration().max(Duration::from_millis(10)),
        })
    }

    /// The service it asks.
    pub fn service(&self) -> &str {
        &self.request.service
    }

    /// Reads the gauge once and records the reading, or the gap.
    pub async fn sample(&self, client: &Client, epoch: Instant, recorder: &Recorder) -> Option<f64> {
        let at_us = epoch.elapsed().as_micros() as u64;
        let value = self.read(client).await;
        recorder.record(&Record::Sample(Sample {
            metric: Cow::Borrowed(&self.name),
            at_us,
            value,
        }));
        value
    }

    /// Samples at the gauge's interval, for ever.
    pub async fn sample_forever(&self, client: &Client, epoch: Instant, recorder: &Recorder) {
        let mut ticks = tokio::time::interval_at(epoch.into(), self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            self.sample(client, epoch, recorder).await;
        }
    }

    async fn read(&self, client: &Client) -> Option<f64> {
        let request = self.request.render(Variables::new()).ok()?;
        let Some(over_replicas) = self.over_replicas else {
            return self.read_at(client, &request, request.replica).await;
        };
        let numbers = client.numbers(self.service());
        let readings = numbers.map(|number| self.read_at(client, &request, Some(number)));
        // What one of them says is nothing without the others.
        let readings: Option<Vec<f64>> = join_all(readings).await.into_iter().collect();
        aggregate(over_replicas, &readings?)
    }

    /// What that replica says, or the next whose turn it is.
    async fn read_at(&self, client: &Client, request: &Rendered, replica: Option<u32>) -> Option<f64> {
        let turn = client.turn(self.service(), self.request.port, replica).ok()?;
        let answer = client.attempt(turn.address(0), request, self.request.timeout).await;
        self.value.number(&answer.ok()?).ok()
    }
}

/// One reading from those of all replicas; of none there is none.
fn aggregate(over_replicas: OverReplicas, readings: &[f64]) -> Option<f64> {
    let all = readings.iter().copied();
    all.reduce(match over_replicas {
        OverReplicas::Sum => |one, other| one + other,
        OverReplicas::Max => f64::max,
        OverReplicas::Min => f64::min,
    })
}

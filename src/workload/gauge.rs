//! Gauges: numbers read from the system at an interval. A reading that fails is a gap, not a zero.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::MissedTickBehavior;

use super::client::Client;
use super::expression::Expression;
use super::sql::Query;
use super::template::{Rendered, Request, Variables};
use super::{Problem, WorkloadError};
use crate::event::Events;
use crate::history::record::Recorder;
use crate::history::{Record, Sample};
use crate::system::definition::{MetricDefinition, OverReplicas, RequestTemplate, SystemDefinition};

/// A gauge, compiled.
#[derive(Debug)]
pub struct Gauge {
    /// Its name, a key of `metrics`.
    pub name: String,
    source: Source,
    every: Duration,
    /// Why it could not be read, as far as that was told.
    told: Mutex<HashSet<String>>,
}

/// Where a gauge is read.
#[derive(Debug)]
enum Source {
    Request(Box<Asked>),
    Sql(Query),
}

/// What is asked of a service.
#[derive(Debug)]
struct Asked {
    request: Request,
    value: Expression,
    over_replicas: Option<OverReplicas>,
}

/// Every gauge of a system.
pub fn compile(system: &SystemDefinition) -> Result<Vec<Gauge>, WorkloadError> {
    let gauges = system
        .metrics
        .iter()
        .map(|(name, definition)| Gauge::compile(name, definition, system));
    gauges.collect::<Result<_, _>>().map_err(WorkloadError::Definition)
}

impl Gauge {
    /// Compiles the definition of the gauge `name`.
    pub fn compile(name: &str, definition: &MetricDefinition, system: &SystemDefinition) -> Result<Self, Problem> {
        let at = format!("metrics.{name}");
        let source = match (&definition.request, &definition.sql) {
            (Some(request), None) => Source::Request(Box::new(Asked::compile(request, definition, &at)?)),
            (None, Some(sql)) => Source::Sql(Query::compile(sql, &format!("{at}.sql"), system)?),
            _ => return Err(Problem::new(at, "a metric has either `request` or `sql`".to_owned())),
        };
        Ok(Self {
            name: name.to_owned(),
            source,
            // An interval of nothing would be a load of its own.
            every: definition.every.as_duration().max(Duration::from_millis(10)),
            told: Mutex::default(),
        })
    }

    /// Whether it is known where to read it.
    pub fn require(&self, client: &Client) -> Result<(), WorkloadError> {
        match &self.source {
            Source::Request(asked) => client.require(&asked.request.service),
            Source::Sql(query) => query.services().try_for_each(|service| client.require(service)),
        }
    }

    /// Reads the gauge once and records the reading, or the gap.
    pub async fn sample(&self, client: &Client, epoch: Instant, recorder: &Recorder, events: &Events) -> Option<f64> {
        let at_us = epoch.elapsed().as_micros() as u64;
        let value = self.read(client, events).await;
        recorder.record(&Record::Sample(Sample {
            metric: Cow::Borrowed(&self.name),
            at_us,
            value,
        }));
        value
    }

    /// Samples at the gauge's interval, for ever.
    pub async fn sample_forever(&self, client: &Client, epoch: Instant, recorder: &Recorder, events: &Events) {
        let mut ticks = tokio::time::interval_at(epoch.into(), self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            self.sample(client, epoch, recorder, events).await;
        }
    }

    async fn read(&self, client: &Client, events: &Events) -> Option<f64> {
        match &self.source {
            Source::Request(asked) => asked.read(client).await,
            Source::Sql(query) => match query.number(|service| client.addresses(service)).await {
                Ok(number) => Some(number),
                Err(reason) => {
                    self.tell(reason, events);
                    None
                }
            },
        }
    }

    /// A query that is wrong would leave nothing but gaps, so the first few reasons are told, each once.
    fn tell(&self, reason: String, events: &Events) {
        const TOLD_MAX: usize = 3;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < TOLD_MAX && !told.contains(&reason) {
            events.notice(format!("the metric `{}` could not be read: {reason}", self.name));
            told.insert(reason);
        }
    }
}

impl Asked {
    fn compile(request: &RequestTemplate, definition: &MetricDefinition, at: &str) -> Result<Self, Problem> {
        let at_value = || format!("{at}.value");
        let value = definition.value.as_deref();
        let value = value.ok_or_else(|| Problem::new(at_value(), "a request needs a `value`".to_owned()))?;
        let value = Expression::compile(value);
        Ok(Self {
            request: Request::compile(request, &format!("{at}.request"), &[])?,
            value: value.map_err(|mistake| Problem::new(at_value(), mistake.message))?,
            over_replicas: definition.over_replicas,
        })
    }

    async fn read(&self, client: &Client) -> Option<f64> {
        let request = self.request.render(Variables::new()).ok()?;
        let Some(over_replicas) = self.over_replicas else {
            return self.read_at(client, &request, request.replica).await;
        };
        let numbers = client.numbers(&self.request.service);
        let readings = numbers.map(|number| self.read_at(client, &request, Some(number)));
        // What one of them says is nothing without the others.
        let readings: Option<Vec<f64>> = join_all(readings).await.into_iter().collect();
        aggregate(over_replicas, &readings?)
    }

    /// What that replica says, or the next whose turn it is.
    async fn read_at(&self, client: &Client, request: &Rendered, replica: Option<u32>) -> Option<f64> {
        let turn = client.turn(&self.request.service, self.request.port, replica).ok()?;
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

//! `clock`: a replica's programs take it to be earlier or later than it is.
//!
//! No kernel shifts the clock of one replica alone, so the service does it by itself: where `system.yaml` says that it can, it
//! is told the offset and for how long, and answers what time it takes it to be. That answer against the harness's own clock
//! is the measurement, within [`TOLERANCE`] and the time that asking took. The service drops the offset when its time is
//! over; the reaper takes it away as well, should the harness be gone by then.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use futures_util::future::join_all;
use hyper::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::measured::{Measured, ms, nothing_to_heal, receipt};
use super::process::TARGETS;
use super::{Fault, FaultContext, FaultError, Hold, Problem, Receipt, target};
use crate::control::client::{Client, ClientError};
use crate::duration::OffsetMs;
use crate::plan::{ReplicaId, Target};
use crate::system::compose::ComposeFile;
use crate::system::definition::{ClockHint, SystemDefinition};
use crate::system::engine::Call;

/// How far a clock may be from where it should be, beyond the time that asking took.
const TOLERANCE: Duration = Duration::from_millis(250);
/// The least shift that cannot be taken for none.
const LEAST_MS: u64 = 1_000;
/// How long an answer may take.
const ASK_WITHIN: Duration = Duration::from_secs(2);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Parameters of `clock`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Clock<T> {
    /// The replicas, of services that say in `system.yaml` how their clock is shifted.
    pub targets: Vec<T>,
    /// How far ahead, or with a minus behind: `2h`, `-10m`.
    pub by: OffsetMs,
}

impl<T> Clock<T> {
    pub(super) fn map_targets<U, E>(&self, map: &mut dyn FnMut(&str, &T) -> Result<U, E>) -> Result<Clock<U>, E> {
        Ok(Clock {
            targets: super::map_list(TARGETS, &self.targets, map)?,
            by: self.by,
        })
    }
}

#[async_trait]
impl Fault for Clock<Target> {
    fn targets(&self) -> Vec<&Target> {
        self.targets.iter().collect()
    }

    fn needs_agent(&self) -> bool {
        false
    }

    fn holds(&self) -> Option<Hold> {
        Some(Hold::Clock)
    }

    fn describe(&self) -> String {
        format!("shift the clock of {} by {}", target::names(&self.targets), self.by)
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = target::empty_list(TARGETS, &self.targets).into_iter().collect();
        if self.by.0.unsigned_abs() < LEAST_MS {
            problems.push(Problem {
                path: "by".to_owned(),
                message: format!("must be 1s or more either way, is {}", self.by),
                hint: "a smaller shift cannot be told from the time that asking for it takes".to_owned(),
            });
        }
        problems
    }

    fn problems_in(&self, definition: &SystemDefinition, _compose: &ComposeFile) -> Vec<Problem> {
        let problem = |(index, target): (usize, &Target)| {
            let (Target::Replicas(ids) | Target::Role { members: ids, .. }) = target;
            let service = &ids.iter().find(|id| hint_of(definition, id).is_none())?.service;
            Some(Problem {
                path: format!("{TARGETS}[{index}]"),
                message: format!("means `{service}`, of which system.yaml does not say how its clock is shifted"),
                hint: format!(
                    "declare it: `services: {{{service}: {{clock: {{port: 8080, path: /clock}}}}}}`; fixtures/README.md says \
                     what is asked there"
                ),
            })
        };
        self.targets.iter().enumerate().filter_map(problem).collect()
    }

    async fn inject(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        let start = Instant::now();
        let replicas = target::resolve(&*context.system, &self.targets).await?;
        let dials = Dial::of_all(context, &replicas)?;
        context.acted.remember(TARGETS, &replicas);
        let shifted = join_all(dials.iter().map(|dial| dial.shift(context, self.by, start))).await;
        Ok(receipt(&replicas, shifted.into_iter().collect::<Result<_, _>>()?))
    }

    async fn heal(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        let replicas = context.acted.list(TARGETS);
        if replicas.is_empty() {
            return Ok(nothing_to_heal());
        }
        let dials = Dial::of_all(context, &replicas)?;
        let healed = join_all(dials.iter().map(|dial| dial.set_right(context, self.by))).await;
        let lapsed = healed.iter().any(|(lapsed, _)| *lapsed);
        let mut receipt = receipt(&replicas, healed.into_iter().map(|(_, measured)| measured).collect());
        receipt.lapsed = lapsed;
        // Where a clock could not be set right, whoever keeps the deadline tries again.
        if receipt.confirmed
            && let Err(error) = context.system.disarm_deadline(context.id).await
        {
            receipt.evidence.push(format!(
                "the deadline stays armed, and will find nothing to do: {error}"
            ));
        }
        Ok(receipt)
    }
}

fn hint_of<'a>(definition: &'a SystemDefinition, id: &ReplicaId) -> Option<&'a ClockHint> {
    definition.services.get(&id.service)?.clock.as_ref()
}

/// Where a replica's clock is shifted.
struct Dial<'a> {
    id: &'a ReplicaId,
    address: SocketAddr,
    path: &'a str,
}

/// What `PUT` is sent.
#[derive(Debug, Clone, Copy, Serialize)]
struct Setting {
    offset_ms: i64,
    /// After so long the service drops it by itself.
    ttl_ms: u64,
}

/// Not shifted at all.
const RIGHT: Setting = Setting {
    offset_ms: 0,
    ttl_ms: 1,
};

/// What `GET` is answered.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Answer {
    /// Milliseconds since the Unix epoch, by the service's shifted clock.
    now_ms: i64,
    /// By how much it is shifted.
    offset_ms: i64,
}

/// A clock beside the harness's own.
#[derive(Debug, Clone, Copy)]
struct Reading {
    /// How far the service's is ahead, in milliseconds.
    ahead_ms: i64,
    /// By how much the service says that it is shifted.
    offset_ms: i64,
    /// How long asking took.
    round_trip: Duration,
}

impl Reading {
    /// Whether it is as far ahead as it should be, and says so.
    fn is(&self, offset: OffsetMs) -> bool {
        let within = TOLERANCE + self.round_trip;
        let off_by = self.ahead_ms.abs_diff(offset.0);
        self.offset_ms == offset.0 && u128::from(off_by) <= within.as_millis()
    }

    /// `7200.003 s off (asking took 0.4 ms), said to be shifted by 7200 s`.
    fn words(&self) -> String {
        format!(
            "{} s off (asking took {}), said to be shifted by {} s",
            self.ahead_ms as f64 / 1_000.0,
            ms(self.round_trip),
            self.offset_ms as f64 / 1_000.0
        )
    }
}

impl<'a> Dial<'a> {
    fn of_all(context: &'a FaultContext, replicas: &'a [ReplicaId]) -> Result<Vec<Self>, FaultError> {
        let definition = context.system.definition();
        let dial = |id: &'a ReplicaId| {
            let hint = hint_of(definition, id).ok_or_else(|| FaultError::Unfit {
                replica: id.to_string(),
                reason: "system.yaml does not say how its clock is shifted".to_owned(),
            })?;
            let address = SocketAddr::from((context.system.replica(id)?.address, hint.port));
            let path = &hint.path;
            Ok(Self { id, address, path })
        };
        replicas.iter().map(dial).collect()
    }

    /// Shifts it, and looks until it is.
    async fn shift(&self, context: &FaultContext, by: OffsetMs, start: Instant) -> Result<Measured, FaultError> {
        let id = self.id;
        let before = match self.read().await {
            Ok(before) if before.is(OffsetMs(0)) => before,
            Ok(before) => {
                let line = format!("{id}: its clock was {} before, nothing was done to it", before.words());
                return Ok(Measured::new(None, line));
            }
            Err(error) => return Ok(Measured::new(None, format!("{id}: before: {error}"))),
        };
        let setting = Setting {
            offset_ms: by.0,
            ttl_ms: context.ttl.as_millis().try_into().unwrap_or(u64::MAX),
        };
        // The end is arranged before the beginning: the harness may be gone a moment later.
        let undoing = self.undoing();
        context.system.arm_call(context.id, &undoing, context.ttl).await?;
        let mut measured = match self.set(setting).await {
            Ok(()) => self.until(by, start, context.patience.halted).await,
            Err(error) => Measured::new(None, format!("{id}: would not shift its clock: {error}")),
        };
        measured
            .evidence
            .push(format!("{id}: before, its clock was {}", before.words()));
        Ok(measured)
    }

    /// Sets it right, and looks until it is; whether it was right before the time.
    async fn set_right(&self, context: &FaultContext, by: OffsetMs) -> (bool, Measured) {
        let (id, start, limit) = (self.id, Instant::now(), context.patience.ready);
        // Looked at before anything is undone: what is right already was not shifted for as long as planned.
        let ended = self.read().await.ok().filter(|reading| !reading.is(by));
        let mut measured = loop {
            match self.set(RIGHT).await {
                Ok(()) => break self.until(OffsetMs(0), start, limit).await,
                Err(error) if start.elapsed() >= limit => {
                    break Measured::new(None, format!("{id}: its clock could not be set right: {error}"));
                }
                Err(_) => sleep(PAUSE).await,
            }
        };
        if let Some(reading) = &ended {
            let line = format!(
                "{id}: its clock was {} before the heal: its time-to-live had passed, or somebody set it",
                reading.words()
            );
            measured.evidence.insert(0, line);
        }
        (ended.is_some(), measured)
    }

    /// Looks until its clock is as far ahead as it should be.
    async fn until(&self, offset: OffsetMs, start: Instant, limit: Duration) -> Measured {
        let told = Instant::now();
        loop {
            let read = self.read().await;
            let shows = read.as_ref().is_ok_and(|reading| reading.is(offset));
            if shows || told.elapsed() >= limit {
                let onset = shows.then(|| start.elapsed());
                let is = match &read {
                    Ok(reading) => format!("its clock is {}", reading.words()),
                    Err(error) => format!("its clock cannot be read: {error}"),
                };
                let should = if shows { "as it should be" } else { "and should be" };
                let line = format!("{}: {is}, {should} within {} of {offset}", self.id, ms(TOLERANCE));
                return Measured::new(onset, line);
            }
            sleep(PAUSE).await;
        }
    }

    /// What sets it right, for whoever keeps the deadline.
    fn undoing(&self) -> Call {
        Call {
            address: self.address,
            method: "PUT",
            path: self.path.to_owned(),
            body: serde_json::to_string(&RIGHT).unwrap_or_default(),
        }
    }

    async fn read(&self) -> Result<Reading, ClientError> {
        let (asked, began) = (SystemTime::now(), Instant::now());
        let answer: Answer = self.ask(Method::GET, None).await?;
        let round_trip = began.elapsed();
        let ours = asked.duration_since(UNIX_EPOCH).unwrap_or_default() + round_trip / 2;
        let ours_ms = i64::try_from(ours.as_millis()).unwrap_or(i64::MAX);
        Ok(Reading {
            ahead_ms: answer.now_ms.saturating_sub(ours_ms),
            offset_ms: answer.offset_ms,
            round_trip,
        })
    }

    async fn set(&self, setting: Setting) -> Result<(), ClientError> {
        match self.ask::<Value>(Method::PUT, Some(&setting)).await {
            // Whatever it says: that it did is what is measured.
            Ok(_) | Err(ClientError::Answer(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Asks on a connection of its own: one that was kept may have closed with the process that had it.
    async fn ask<A: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        setting: Option<&Setting>,
    ) -> Result<A, ClientError> {
        Client::new(self.address)
            .ask(ASK_WITHIN, method, self.path, setting)
            .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use hyper::StatusCode;
    use serde_json::json;
    use tokio::net::TcpListener;

    use super::*;
    use crate::control::{self, Asked};
    use crate::fault::test_double::{self, CLOCK_PORT, Disobedience, FakeSystem, targets};

    const BY: OffsetMs = OffsetMs(-600_000);

    /// A service's clock, and what is wrong with it.
    #[derive(Debug, Default)]
    struct Service {
        offset_ms: i64,
        /// It says that it is shifted, and goes on as before.
        only_says_so: bool,
        /// What it is told it passes over.
        is_deaf: bool,
        puts: Vec<String>,
    }

    fn answer(service: &mut Service, asked: &Asked) -> control::Answer {
        if asked.method == Method::PUT {
            let body: Value = serde_json::from_slice(asked.body.as_ref().unwrap()).unwrap();
            service.puts.push(body.to_string());
            if !service.is_deaf {
                service.offset_ms = body["offset_ms"].as_i64().unwrap();
            }
        }
        let real_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let shifted_by = if service.only_says_so { 0 } else { service.offset_ms };
        let body = json!({"now_ms": real_ms as i64 + shifted_by, "offset_ms": service.offset_ms});
        control::Answer {
            status: StatusCode::OK,
            content_type: control::JSON,
            body: body.to_string().into(),
        }
    }

    /// A system whose first replica has this clock.
    async fn first(service: Service) -> (Arc<Mutex<Service>>, Arc<FakeSystem>) {
        let addresses = test_double::addresses();
        let listener = TcpListener::bind((addresses[0].0, CLOCK_PORT)).await.unwrap();
        let service = Arc::new(Mutex::new(service));
        let shared = service.clone();
        tokio::spawn(async move {
            let answer = move |asked: Asked| {
                let service = shared.clone();
                async move { answer(&mut service.lock().unwrap(), &asked) }
            };
            control::serve(&listener, answer).await;
        });
        (service, FakeSystem::new(Disobedience::default(), addresses))
    }

    fn clock(by: OffsetMs) -> Clock<Target> {
        let targets = targets(&[1]);
        Clock { targets, by }
    }

    #[tokio::test]
    async fn a_clock_that_is_shifted_and_set_right_is_confirmed_on_and_off() {
        let (service, system) = first(Service::default()).await;
        let context = system.context();
        let on = clock(BY).inject(&context).await.unwrap();
        assert!(on.confirmed && on.onset_us.is_some(), "{on:?}");
        assert_eq!(service.lock().unwrap().offset_ms, BY.0);
        let off = clock(BY).heal(&context).await.unwrap();
        assert!(off.confirmed && !off.lapsed, "{off:?}");
        assert_eq!(
            service.lock().unwrap().puts,
            [
                r#"{"offset_ms":-600000,"ttl_ms":60000}"#,
                r#"{"offset_ms":0,"ttl_ms":1}"#
            ]
        );
        // Whoever keeps the deadline is told before the clock is.
        assert_eq!(system.asked(), ["call 7 PUT /clock 60s", "disarm 7"]);
    }

    #[tokio::test]
    async fn a_clock_that_only_says_so_or_does_nothing_is_not_confirmed() {
        let only_says_so = Service {
            only_says_so: true,
            ..Service::default()
        };
        let is_deaf = Service {
            is_deaf: true,
            ..Service::default()
        };
        for service in [only_says_so, is_deaf] {
            let (_service, system) = first(service).await;
            let on = clock(BY).inject(&system.context()).await.unwrap();
            assert!(!on.confirmed && on.onset_us.is_none(), "{on:?}");
            assert!(on.evidence[0].contains("should be within 250.0 ms of -10m"), "{on:?}");
        }
    }

    #[tokio::test]
    async fn a_clock_that_was_off_before_proves_nothing() {
        let (service, system) = first(Service {
            offset_ms: 5_000,
            ..Service::default()
        })
        .await;
        let on = clock(BY).inject(&system.context()).await.unwrap();
        assert!(
            !on.confirmed && on.evidence[0].contains("before, nothing was done"),
            "{on:?}"
        );
        assert_eq!(service.lock().unwrap().offset_ms, 5_000);
        assert!(system.asked().is_empty());
    }

    #[tokio::test]
    async fn an_offset_that_is_gone_before_the_heal_has_lapsed() {
        let (service, system) = first(Service::default()).await;
        let context = system.context();
        clock(BY).inject(&context).await.unwrap();
        service.lock().unwrap().offset_ms = 0;
        let off = clock(BY).heal(&context).await.unwrap();
        assert!(off.confirmed && off.lapsed, "{off:?}");
        assert!(off.evidence[0].contains("before the heal"), "{off:?}");
    }

    #[tokio::test]
    async fn a_clock_that_stays_off_is_not_confirmed_and_its_deadline_stays_armed() {
        let (service, system) = first(Service::default()).await;
        let context = system.context();
        clock(BY).inject(&context).await.unwrap();
        service.lock().unwrap().is_deaf = true;
        let off = clock(BY).heal(&context).await.unwrap();
        assert!(!off.confirmed && !off.lapsed, "{off:?}");
        assert_eq!(system.asked(), ["call 7 PUT /clock 60s"]);
    }

    #[tokio::test]
    async fn a_service_that_does_not_answer_is_not_confirmed() {
        let (_service, system) = first(Service::default()).await;
        let second = Clock {
            targets: targets(&[2]),
            by: BY,
        };
        let on = second.inject(&system.context()).await.unwrap();
        assert!(!on.confirmed && on.evidence[0].starts_with("api-2: before: "), "{on:?}");
    }

    #[test]
    fn a_shift_that_could_be_chance_is_a_problem() {
        for by in [OffsetMs(0), OffsetMs(-999)] {
            assert_eq!(clock(by).problems()[0].path, "by");
        }
        assert_eq!(clock(OffsetMs(1_000)).problems(), []);
    }
}

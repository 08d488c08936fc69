//! Where a replica's clock is read and shifted, over HTTP.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::control::client::{Client, ClientError};
use crate::duration::OffsetMs;
use crate::fault::measured::{Measured, ms};
use crate::fault::{FaultContext, FaultError};
use crate::plan::ReplicaId;
use crate::system::definition::{ClockHint, SystemDefinition};
use crate::system::engine::Call;

/// How far a clock may be from where it should be, beyond the time that asking took.
const TOLERANCE: Duration = Duration::from_millis(250);
/// How long an answer may take.
const ASK_WITHIN: Duration = Duration::from_secs(2);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// What the definition says of a replica's clock.
pub(super) fn hint_of<'a>(definition: &'a SystemDefinition, id: &ReplicaId) -> Option<&'a ClockHint> {
    definition.services.get(&id.service)?.clock.as_ref()
}

/// Where a replica's clock is shifted.
pub(super) struct Dial<'a> {
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
        let off_by = self.ahead_ms.abs_diff(offset.0);
        self.offset_ms == offset.0 && u128::from(off_by) <= self.within().as_millis()
    }

    /// Whether asking was quick enough to tell a clock that is shifted by that from one that is not.
    fn is_sharp(&self, by: OffsetMs) -> bool {
        self.within().as_millis() * 2 < u128::from(by.0.unsigned_abs())
    }

    fn within(&self) -> Duration {
        TOLERANCE + self.round_trip
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
    pub(super) fn of_all(context: &'a FaultContext, replicas: &'a [ReplicaId]) -> Result<Vec<Self>, FaultError> {
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
    pub(super) async fn shift(
        &self,
        context: &FaultContext,
        by: OffsetMs,
        start: Instant,
    ) -> Result<Measured, FaultError> {
        let id = self.id;
        let before = match self.read().await {
            Ok(before) => before,
            Err(error) => return Ok(Measured::new(None, format!("{id}: before: {error}"))),
        };
        if !before.is(OffsetMs(0)) {
            let line = format!("{id}: its clock was {} before, nothing was done to it", before.words());
            return Ok(Measured::new(None, line));
        }
        let setting = Setting {
            offset_ms: by.0,
            ttl_ms: context.ttl.as_millis().try_into().unwrap_or(u64::MAX),
        };
        // The end is arranged before the beginning: the harness may be gone a moment later.
        let undoing = self.undoing();
        context.system.arm_call(context.id, &undoing, context.ttl).await?;
        let mut measured = match self.set(setting).await {
            Ok(()) => self.until(by, by, start, context.patience.halted).await,
            Err(error) => Measured::new(None, format!("{id}: would not shift its clock: {error}")),
        };
        measured
            .evidence
            .push(format!("{id}: before, its clock was {}", before.words()));
        Ok(measured)
    }

    /// Sets it right, and looks until it is; whether it was right before the time.
    pub(super) async fn set_right(&self, context: &FaultContext, by: OffsetMs) -> (bool, Measured) {
        let (id, start, limit) = (self.id, Instant::now(), context.patience.ready);
        // Looked at before anything is undone: what is right already was not shifted for as long as planned.
        let ended = self.read().await.ok().filter(|reading| !reading.is(by));
        let mut measured = loop {
            match self.set(RIGHT).await {
                Ok(()) => break self.until(OffsetMs(0), by, start, limit).await,
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

    /// Looks until its clock is seen to be as far ahead as it should be, where it was to be shifted by that much.
    async fn until(&self, offset: OffsetMs, by: OffsetMs, start: Instant, limit: Duration) -> Measured {
        let told = Instant::now();
        loop {
            let read = self.read().await;
            let shows = read
                .as_ref()
                .is_ok_and(|reading| reading.is(offset) && reading.is_sharp(by));
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
    async fn ask<A: DeserializeOwned>(&self, method: Method, setting: Option<&Setting>) -> Result<A, ClientError> {
        Client::new(self.address)
            .ask(ASK_WITHIN, method, self.path, setting)
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(ahead_ms: i64, round_trip_ms: u64) -> Reading {
        Reading {
            ahead_ms,
            offset_ms: 1_000,
            round_trip: Duration::from_millis(round_trip_ms),
        }
    }

    #[test]
    fn a_clock_is_right_within_a_quarter_of_a_second_and_the_time_that_asking_took() {
        let by = OffsetMs(1_000);
        for (ahead_ms, round_trip_ms, is) in [(750, 0, true), (749, 0, false), (1_251, 0, false), (1_260, 10, true)] {
            assert_eq!(
                reading(ahead_ms, round_trip_ms).is(by),
                is,
                "{ahead_ms} {round_trip_ms}"
            );
        }
        assert!(
            !Reading {
                offset_ms: 0,
                ..reading(1_000, 0)
            }
            .is(by),
            "it says otherwise"
        );
    }

    #[test]
    fn an_answer_that_took_long_tells_nothing_of_a_small_shift() {
        assert!(reading(1_000, 249).is_sharp(OffsetMs(-1_000)));
        assert!(!reading(1_000, 250).is_sharp(OffsetMs(-1_000)));
        assert!(reading(1_000, 250).is_sharp(OffsetMs(60_000)));
    }
}

//! `clock` on real replicas, whose program keeps to the protocol, or does not.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nightmail::duration::OffsetMs;
use nightmail::fault::clock::Clock;
use nightmail::fault::{Fault, FaultContext};
use nightmail::plan::Target;
use nightmail::system::definition::ClockHint;
use nightmail::system::engine::{RunningSystem, SystemRequest};
use serde_json::Value;

use crate::faults::{WITHIN, confirmed, context, down, impatient, lapsed, of, unconfirmed};
use crate::support::{Under, address, ask, events, eventually, request};

on_both_engines!(
    a_clock_is_shifted_until_the_heal,
    a_clock_that_is_not_shifted_is_not_confirmed,
    a_shift_ends_with_its_time_whoever_keeps_it,
);

const CLOCKS: &str = "
services:
  branch: {image: probe, command: serve}
  deaf: {image: probe, command: serve, environment: {CLOCK: deaf}}
  stubborn: {image: probe, command: serve, environment: {CLOCK: stubborn}}
";
const SERVICES: [&str; 3] = ["branch", "deaf", "stubborn"];

async fn clocks(engine: &Under, name: &str) -> (SystemRequest, Arc<dyn RunningSystem>) {
    let mut request = request(name, CLOCKS, &SERVICES);
    for hints in request.definition.services.values_mut() {
        let (port, path) = (8080, "/clock".to_owned());
        hints.clock = Some(ClockHint { port, path });
    }
    let system = engine.up(&request, &events()).await.unwrap();
    (request, system)
}

fn shift(service: &str, by_ms: i64) -> Clock<Target> {
    Clock {
        targets: of(service),
        by: OffsetMs(by_ms),
    }
}

/// How far a replica's clock is ahead, in seconds, asked past the code under test.
fn ahead_s(system: &Arc<dyn RunningSystem>, service: &str) -> i64 {
    let answer: Value = serde_json::from_str(&ask(address(&**system, service), "/clock").unwrap()).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let ahead_ms = answer["now_ms"].as_i64().unwrap() - i64::try_from(now.as_millis()).unwrap();
    (ahead_ms as f64 / 1_000.0).round() as i64
}

async fn a_clock_is_shifted_until_the_heal(engine: Under) {
    let (request, system) = clocks(&engine, "clock").await;
    for (number, by_ms) in (0..).zip([7_200_000, -600_000]) {
        let (shift, context) = (shift("branch", by_ms), context(&system, number));
        confirmed(&shift.inject(&context).await.unwrap(), &["branch-1"]);
        assert_eq!(ahead_s(&system, "branch"), by_ms / 1_000);
        assert_eq!(ahead_s(&system, "stubborn"), 0, "nobody else's");
        let healed = shift.heal(&context).await.unwrap();
        confirmed(&healed, &["branch-1"]);
        assert!(!healed.lapsed, "{healed:#?}");
        assert_eq!(ahead_s(&system, "branch"), 0);
    }
    down(&engine, &system, &request.run_id).await;
}

async fn a_clock_that_is_not_shifted_is_not_confirmed(engine: Under) {
    let (request, system) = clocks(&engine, "clock-not").await;
    let deaf = shift("deaf", 60_000);
    unconfirmed(&deaf.inject(&impatient(&system, 0)).await.unwrap(), "and should be");

    // What somebody else has shifted already proves nothing.
    let (first, second) = (shift("branch", 60_000), shift("branch", 120_000));
    let context = context(&system, 1);
    confirmed(&first.inject(&context).await.unwrap(), &["branch-1"]);
    unconfirmed(
        &second.inject(&impatient(&system, 2)).await.unwrap(),
        "before, nothing was done to it",
    );
    confirmed(&first.heal(&context).await.unwrap(), &["branch-1"]);
    down(&engine, &system, &request.run_id).await;
}

async fn a_shift_ends_with_its_time_whoever_keeps_it(engine: Under) {
    let (request, system) = clocks(&engine, "clock-ttl").await;
    for (number, service) in (0..).zip(["branch", "stubborn"]) {
        let shift = shift(service, 60_000);
        let context = FaultContext {
            ttl: Duration::from_millis(1_500),
            ..context(&system, number)
        };
        confirmed(&shift.inject(&context).await.unwrap(), &[&format!("{service}-1")]);
        if service == "branch" {
            // It keeps the time by itself, with nobody else to do so.
            system.disarm_deadline(number).await.unwrap();
        }
        eventually("its time is over", WITHIN, || ahead_s(&system, service) == 0).await;
        let healed = shift.heal(&context).await.unwrap();
        lapsed(&healed, &[&format!("{service}-1")], "before the heal");
    }
    down(&engine, &system, &request.run_id).await;
}

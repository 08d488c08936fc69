//! The open loop.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::stub::{Bench, PATIENCE, Reply, Stub, buy, replicas, system};
use crate::event::{Event, Events};
use crate::history::record::Recorder;
use crate::history::{Fields, Op, Outcome, Record};
use crate::plan::rate::changing;
use crate::plan::{Arrivals, WorkloadPlan};
use crate::workload::{Load, LoadRequest, Schedule, WorkloadError};

fn ops(history: &str) -> Vec<Op<'_>> {
    let records = history.lines().map(|line| serde_json::from_str(line).unwrap());
    records
        .filter_map(|record| match record {
            Record::Op(op) => Some(op),
            _ => None,
        })
        .collect()
}

fn ok() -> Reply {
    Reply::Answer(200, "{}".to_owned())
}

/// The intended times that the schedule has until `end_us`.
fn scheduled(rate: f64, seed: u64, end_us: u64) -> Vec<u64> {
    Schedule::new(
        Arrivals::Poisson,
        &BTreeMap::from([("buy".to_owned(), rate.into())]),
        seed,
    )
    .map(|arrival| arrival.intended_us)
    .take_while(|intended_us| *intended_us <= end_us)
    .collect()
}

fn intended(ops: &[Op<'_>]) -> Vec<u64> {
    let mut times: Vec<_> = ops.iter().map(|op| op.intended_us).collect();
    times.sort_unstable();
    times
}

#[tokio::test]
async fn every_arrival_is_recorded_once_at_its_intended_time() {
    let stub = Stub::start(|_, _| ok()).await;
    let bench = Bench::new();
    let load = bench.load(&system(stub.port, buy(json!({}))), 400.0, 1_000, 7);
    stub.until(|seen| seen.len() >= 200).await;
    let end_us = load.end_arrivals();
    let summary = load.finish(PATIENCE).await.unwrap();
    let history = bench.history().await;
    let ops = ops(&history);
    assert_eq!(intended(&ops), scheduled(400.0, 7, end_us));
    assert_eq!(summary.arrivals, ops.len() as u64);
    assert_eq!(summary.dropped, 0);
    let keys: HashSet<_> = ops.iter().map(|op| &*op.key).collect();
    assert_eq!(keys.len(), ops.len());
    for op in &ops {
        assert_eq!(
            (op.outcome, op.attempts, op.status),
            (Outcome::Ok, 1, Some(200)),
            "{op:?}"
        );
        assert!(op.key.starts_with("buy-t1-7-"), "{}", op.key);
        let sent_us = op.sent_us.unwrap();
        assert!(op.intended_us <= sent_us && sent_us <= op.done_us, "{op:?}");
        assert!(op.values.get("account").is_some() && op.values.get("amount").is_some());
    }
    assert_eq!(stub.seen().len(), ops.len());
    load.stop_gauges().await;
}

#[tokio::test]
async fn a_load_whose_rate_has_fallen_to_zero_goes_on_until_it_is_ended() {
    let stub = Stub::start(|_, _| ok()).await;
    let (told, mut entries) = mpsc::unbounded_channel();
    let mut bench = Bench::new();
    bench.events = Events::unsaved(Some(told));
    // 20 arrivals in a tenth of a second, give or take, and then none.
    let rate = changing(&[(0, 400.0), (100, 0.0)]);
    let load = bench.load(&system(stub.port, buy(json!({}))), rate.clone(), 1_000, 7);
    let all: Vec<u64> = Schedule::new(Arrivals::Poisson, &BTreeMap::from([("buy".to_owned(), rate)]), 7)
        .map(|arrival| arrival.intended_us)
        .collect();
    stub.until(|seen| seen.len() == all.len()).await;
    let beyond = load.nth("buy", Outcome::Ok, 10_000);
    let mut beyond = std::pin::pin!(beyond);
    // Progress is told as long as the load lasts: twice more, and nobody who waits has been told that it ended.
    while entries.try_recv().is_ok() {}
    for _ in 0..2 {
        let told = timeout(PATIENCE, entries.recv());
        tokio::select! {
            ended = &mut beyond => panic!("{ended:?}: the load ended by itself"),
            told = told => assert!(matches!(told.unwrap().unwrap().event, Event::Progress(_))),
        }
    }
    let summary = load.finish(PATIENCE).await.unwrap();
    assert_eq!(beyond.await, None);
    assert_eq!(summary.arrivals, all.len() as u64);
    let history = bench.history().await;
    assert_eq!(intended(&ops(&history)), all);
}

#[tokio::test]
async fn the_seed_fixes_times_and_values_whatever_the_system_answers() {
    let run = async |seed, reply: Reply| {
        let stub = Stub::start(move |_, _| reply.clone()).await;
        let bench = Bench::new();
        let load = bench.load(&system(stub.port, buy(json!({}))), 400.0, 1_000, seed);
        stub.until(|seen| seen.len() >= 100).await;
        load.finish(Duration::ZERO).await.unwrap();
        let history = bench.history().await;
        let drawn: HashMap<String, (u64, Fields<'static>)> = ops(&history)
            .into_iter()
            .map(|op| {
                let fields: serde_json::Value = serde_json::to_value(&op.values).unwrap();
                let text = Box::leak(fields.to_string().into_boxed_str());
                (
                    op.key.into_owned(),
                    (op.intended_us, serde_json::from_str(text).unwrap()),
                )
            })
            .collect();
        (1..=100)
            .map(|number| drawn[&format!("buy-t1-{seed:x}-{number}")].clone())
            .collect::<Vec<_>>()
    };
    let answered = run(11, ok()).await;
    assert_eq!(answered, run(11, Reply::Never).await);
    assert_eq!(answered, run(11, Reply::Answer(500, String::new())).await);
    assert_ne!(answered, run(12, ok()).await);
}

#[tokio::test]
async fn arrivals_wait_for_no_answer_and_what_is_given_up_is_recorded() {
    let stub = Stub::start(|_, _| Reply::Never).await;
    let bench = Bench::new();
    let load = bench.load(&system(stub.port, buy(json!({}))), 400.0, 1_000, 7);
    stub.until(|seen| seen.len() >= 150).await;
    let end_us = load.end_arrivals();
    load.finish(Duration::ZERO).await.unwrap();
    let history = bench.history().await;
    let ops = ops(&history);
    assert_eq!(intended(&ops), scheduled(400.0, 7, end_us));
    let in_flight = ops.iter().filter(|op| op.attempts == 1).count();
    assert!(in_flight >= 150);
    for op in &ops {
        assert_eq!(op.error.as_deref(), Some(Op::ABORTED));
        let expected = if op.attempts == 0 { Outcome::Fail } else { Outcome::Info };
        assert_eq!(op.outcome, expected, "{op:?}");
    }
}

#[tokio::test]
async fn an_arrival_that_finds_the_cap_full_is_dropped() {
    const CAP: usize = 5;
    let stub = Stub::start(|_, _| Reply::Never).await;
    let bench = Bench::new();
    let load = bench.load(&system(stub.port, buy(json!({}))), 400.0, CAP, 7);
    let dropped = load.nth("buy", Outcome::Fail, 20);
    timeout(PATIENCE, dropped).await.unwrap().unwrap();
    let summary = load.finish(Duration::ZERO).await.unwrap();
    let history = bench.history().await;
    let (dropped, sent): (Vec<_>, Vec<_>) = ops(&history).into_iter().partition(|op| op.outcome == Outcome::Fail);
    assert_eq!(sent.len(), CAP);
    assert!(dropped.len() >= 20);
    let mut counted = 0;
    for op in &dropped {
        assert_eq!((op.attempts, op.sent_us, op.status), (0, None, None), "{op:?}");
        assert!(op.values.get("amount").is_some());
        // A machine that stops for a tenth of a second makes the generator late, and says so.
        match op.error.as_deref() {
            Some(Op::DROPPED) => counted += 1,
            other => assert!(matches!(other, Some(Op::LATE | Op::ABORTED)), "{op:?}"),
        }
    }
    assert_eq!(summary.dropped, counted);
}

#[tokio::test]
async fn a_trigger_fires_at_exactly_the_nth() {
    // Every third answer is an acknowledgement.
    let stub = Stub::start(|_, before| Reply::Answer(if before % 3 == 2 { 200 } else { 422 }, String::new())).await;
    let bench = Bench::new();
    let load = bench.load(&system(stub.port, buy(json!({}))), 400.0, 1_000, 7);
    let seventh = load.nth("buy", Outcome::Ok, 7);
    let never = load.nth("buy", Outcome::Info, 1);
    let completion = timeout(PATIENCE, seventh).await.unwrap().unwrap();
    load.finish(PATIENCE).await.unwrap();
    assert_eq!(never.await, None, "the load has ended");
    let history = bench.history().await;
    let seventh = ops(&history)
        .into_iter()
        .filter(|op| op.outcome == Outcome::Ok)
        .nth(6)
        .unwrap();
    assert_eq!(
        (completion.key, completion.done_us),
        (seventh.key.into_owned(), seventh.done_us)
    );
}

#[tokio::test]
async fn gauges_outlast_the_load_and_a_failed_reading_is_a_gap() {
    let stub = Stub::start(|_, before| match before % 3 {
        0 => Reply::json(200, &json!({"depth": before})),
        1 => Reply::Answer(200, "{}".to_owned()),
        _ => Reply::Close,
    })
    .await;
    let bench = Bench::new();
    let metrics = json!({"metrics": {
        "queue": {"request": {"path": "/queue"}, "value": "status == 200 ? body.depth : -1", "every": "10ms"}
    }});
    let load = bench.load(&system(stub.port, metrics), 1.0, 10, 7);
    load.finish(PATIENCE).await.unwrap();
    stub.until(|seen| seen.len() >= 10).await;
    load.stop_gauges().await;
    let history = bench.history().await;
    let samples: Vec<_> = history
        .lines()
        .map(|line| match serde_json::from_str(line).unwrap() {
            Record::Sample(sample) => (sample.metric.into_owned(), sample.value),
            other => panic!("{other:?} was never recorded"),
        })
        .collect();
    assert!(samples.len() >= 9);
    for (number, (metric, value)) in samples.iter().enumerate() {
        let expected = (number % 3 == 0).then_some(number as f64);
        assert_eq!((metric.as_str(), *value), ("queue", expected), "sample {number}");
    }
}

#[tokio::test]
async fn progress_is_told_and_its_totals_are_the_history() {
    let (told, mut entries) = mpsc::unbounded_channel();
    let stub = Stub::start(|_, _| ok()).await;
    let mut bench = Bench::new();
    bench.events = Events::unsaved(Some(told));
    let load = bench.load(&system(stub.port, buy(json!({}))), 400.0, 1_000, 7);
    let mut running = false;
    while let Some(entry) = timeout(PATIENCE, entries.recv()).await.unwrap() {
        let Event::Progress(progress) = entry.event else {
            continue;
        };
        let buying = &progress.operations[0];
        if buying.ok_percent == Some(100.0) && buying.p50_ms.is_some() {
            running = true;
            break;
        }
    }
    assert!(running);
    let summary = load.finish(PATIENCE).await.unwrap();
    load.stop_gauges().await;
    drop(bench.events);
    let mut last = None;
    while let Ok(entry) = entries.try_recv() {
        if let Event::Progress(progress) = entry.event {
            last = Some(progress);
        }
    }
    let last = last.unwrap();
    assert_eq!((last.operations[0].ok, last.in_flight), (summary.arrivals, 0));
}

#[tokio::test]
async fn a_disk_that_is_full_ends_no_load_but_is_known() {
    let stub = Stub::start(|_, _| ok()).await;
    let mut bench = Bench::new();
    bench.recorder = Recorder::writing(File::options().write(true).open("/dev/full").unwrap()).unwrap();
    let load = bench.load(&system(stub.port, buy(json!({}))), 400.0, 1_000, 7);
    let problem = timeout(PATIENCE, bench.recorder.failed()).await.unwrap();
    assert!(problem.contains("No space left"), "{problem}");
    load.finish(PATIENCE).await.unwrap();
    assert!(bench.recorder.flush().await.is_err());
}

#[tokio::test]
async fn a_request_that_cannot_be_made_is_no_failure_of_the_system() {
    let stub = Stub::start(|_, _| ok()).await;
    let (told, mut entries) = mpsc::unbounded_channel();
    let mut bench = Bench::new();
    bench.events = Events::unsaved(Some(told));
    let mut definition = buy(json!({}));
    definition["operations"]["buy"]["request"]["path"] = json!("/not a path/{{ account }}");
    let load = bench.load(&system(stub.port, definition), 400.0, 1_000, 7);
    let first = load.nth("buy", Outcome::Fail, 3);
    timeout(PATIENCE, first).await.unwrap().unwrap();
    load.finish(PATIENCE).await.unwrap();
    let history = bench.history().await;
    for op in ops(&history) {
        assert_eq!(
            (op.outcome, op.attempts, op.error.as_deref()),
            (Outcome::Fail, 0, Some(Op::NOT_MADE))
        );
    }
    let mut notices = 0;
    while let Ok(entry) = entries.try_recv() {
        if let Event::Notice { text } = entry.event {
            assert!(text.contains("`buy`") && text.contains("no path"), "{text}");
            notices += 1;
        }
    }
    assert_eq!(notices, 1, "once, not for every arrival");
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let bench = Bench::new();
    let system = system(9, buy(json!({})));
    let start = |operation: &str, rate: f64, in_flight_max: usize, service: &str| {
        let mut addresses = replicas(&[1]);
        let known = addresses.remove("api").unwrap();
        addresses.insert(service.to_owned(), known);
        Load::start(&LoadRequest {
            system: &system,
            workload: &WorkloadPlan {
                arrivals: Arrivals::Constant,
                rates: BTreeMap::from([(operation.to_owned(), rate.into())]),
                in_flight_max,
            },
            seed: 1,
            addresses: &addresses,
            epoch: bench.epoch,
            run_part: "t1",
            recorder: &bench.recorder,
            events: &bench.events,
        })
        .unwrap_err()
    };
    assert!(matches!(start("sell", 1.0, 1, "api"), WorkloadError::UnknownOperation(name) if name == "sell"));
    assert!(matches!(start("buy", 0.0, 1, "api"), WorkloadError::Definition(_)));
    assert!(matches!(start("buy", 1.0, 1, "web"), WorkloadError::NoAddress { service } if service == "api"));
    assert!(matches!(
        start("buy", 1.0, 1 << 40, "api"),
        WorkloadError::OpenFiles { .. }
    ));
}

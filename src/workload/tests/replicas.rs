//! Requests for one replica, and readings of all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::stub::{Bench, PATIENCE, Reply, Seen, Stub, buy, replicas, system};
use crate::event::{Event, Events};
use crate::history::{Op, Outcome, Record};
use crate::workload::client::replica_counts;
use crate::workload::reads::{self, ReadOutcome};
use crate::workload::{WorkloadError, problems, setup};

const ALL: [u8; 3] = [1, 2, 3];

fn records(history: &str) -> impl Iterator<Item = Record<'_>> {
    history.lines().map(|line| serde_json::from_str(line).unwrap())
}

/// The operation `buy`, which draws `branch` so and sends it to that replica.
fn buy_at(branch: &Value) -> Value {
    let mut definition = buy(json!({
        "values": {"branch": branch},
        "record": ["branch"],
        "retry": {"attempts": 3, "backoff": "1ms"}
    }));
    let request = &mut definition["operations"]["buy"]["request"];
    request["json"] = json!({"branch": "{{ branch }}"});
    request["replica"] = json!("{{ branch }}");
    definition
}

fn branch_of(seen: &Seen) -> u64 {
    serde_json::from_str::<Value>(&seen.body).unwrap()["branch"]
        .as_u64()
        .unwrap()
}

#[tokio::test]
async fn every_attempt_goes_to_the_replica_that_its_operation_drew() {
    let stub = Stub::start_replicas(3, |seen, _| match seen.replica {
        2 => Reply::Answer(503, String::new()),
        _ => Reply::Answer(200, "{}".to_owned()),
    })
    .await;
    let definition = system(stub.port, buy_at(&json!({"replica-of": "api"})));
    assert_eq!(problems(&definition, &replica_counts(&replicas(&ALL))), []);
    let bench = Bench::new();
    let load = bench.load_at(&ALL, &definition, 400.0, 1_000, 7);
    stub.until(|seen| seen.len() >= 200).await;
    load.finish(PATIENCE).await.unwrap();
    let seen = stub.seen();
    assert!(seen.iter().all(|seen| u64::from(seen.replica) == branch_of(seen)));
    let asked: BTreeSet<u8> = seen.iter().map(|seen| seen.replica).collect();
    assert_eq!(asked, ALL.into());
    let history = bench.history().await;
    for record in records(&history) {
        let Record::Op(op) = record else { continue };
        let expected = match op.values.get("branch").and_then(|branch| branch.as_int()) {
            Some(2) => (Outcome::Info, 3),
            Some(1 | 3) => (Outcome::Ok, 1),
            other => panic!("{other:?} is no replica"),
        };
        assert_eq!((op.outcome, op.attempts), expected, "{op:?}");
    }
}

#[tokio::test]
async fn a_replica_that_is_down_has_nobody_stand_in_for_it() {
    let stub = Stub::start(|_, _| Reply::Answer(200, "{}".to_owned())).await;
    let bench = Bench::new();
    let load = bench.load_at(
        &[1, 2],
        &system(stub.port, buy_at(&json!({"constant": 2}))),
        400.0,
        1_000,
        7,
    );
    let refused = load.nth("buy", Outcome::Fail, 20);
    tokio::time::timeout(PATIENCE, refused).await.unwrap().unwrap();
    load.finish(PATIENCE).await.unwrap();
    assert_eq!(stub.seen(), []);
    let history = bench.history().await;
    for record in records(&history) {
        let Record::Op(op) = record else { continue };
        assert_eq!((op.attempts, op.error.as_deref()), (3, Some("refused")));
    }
}

#[tokio::test]
async fn an_operation_for_a_replica_that_there_is_not_is_not_made_and_says_so() {
    let stub = Stub::start_replicas(3, |_, _| Reply::Answer(200, "{}".to_owned())).await;
    let (told, mut entries) = mpsc::unbounded_channel();
    let mut bench = Bench::new();
    bench.events = Events::unsaved(Some(told));
    let load = bench.load_at(
        &ALL,
        &system(stub.port, buy_at(&json!({"range": {"min": 3, "max": 4}}))),
        400.0,
        1_000,
        7,
    );
    let beyond = load.nth("buy", Outcome::Fail, 10);
    tokio::time::timeout(PATIENCE, beyond).await.unwrap().unwrap();
    load.finish(PATIENCE).await.unwrap();
    assert!(stub.seen().iter().all(|seen| (seen.replica, branch_of(seen)) == (3, 3)));
    let history = bench.history().await;
    for record in records(&history) {
        let Record::Op(op) = record else { continue };
        let expected = match op.values.get("branch").and_then(|branch| branch.as_int()) {
            Some(4) => (Outcome::Fail, 0, Some(Op::NOT_MADE)),
            _ => (Outcome::Ok, 1, None),
        };
        assert_eq!((op.outcome, op.attempts, op.error.as_deref()), expected);
    }
    let mut notices = Vec::new();
    while let Ok(entry) = entries.try_recv() {
        if let Event::Notice { text } = entry.event {
            notices.push(text);
        }
    }
    assert_eq!(
        notices,
        ["the operation `buy` has a request that cannot be made: `api` has no replica 4, but 1 to 3"]
    );
}

#[tokio::test]
async fn a_gauge_over_replicas_is_what_they_say_together_and_a_gap_if_one_is_silent() {
    // The last replica answers twice to each gauge, and never again.
    let stub = Stub::start_replicas(3, |seen, before| match seen.replica {
        3 if before >= 18 => Reply::Close,
        number => Reply::json(200, &json!({"depth": 10 * u64::from(number)})),
    })
    .await;
    let gauge = |over: &str| json!({"request": {"path": format!("/{over}")}, "value": "body.depth", "every": "20ms", "over-replicas": over});
    let metrics = json!({"metrics": {"sum": gauge("sum"), "max": gauge("max"), "min": gauge("min")}});
    let bench = Bench::new();
    let load = bench.load_at(&ALL, &system(stub.port, metrics), 1.0, 10, 7);
    stub.until(|seen| seen.len() >= 60).await;
    load.stop_gauges().await;
    let history = bench.history().await;
    let mut readings: BTreeMap<String, Vec<Option<f64>>> = BTreeMap::new();
    for record in records(&history) {
        let Record::Sample(sample) = record else { continue };
        readings
            .entry(sample.metric.into_owned())
            .or_default()
            .push(sample.value);
    }
    for (metric, expected) in [("sum", 60.0), ("max", 30.0), ("min", 10.0)] {
        let readings = &readings[metric];
        assert_eq!(readings[0], Some(expected), "{metric}");
        assert_eq!(readings.last(), Some(&None), "{metric}: {readings:?}");
        assert!(
            readings.iter().flatten().all(|value| *value == expected),
            "{readings:?}"
        );
    }
    // Every replica is asked for each reading.
    let asked = |number| stub.seen().iter().filter(|seen| seen.replica == number).count();
    assert!(asked(1).abs_diff(asked(3)) <= 3, "{} and {}", asked(1), asked(3));
}

/// Makes the final read `entries` of each of these replicas; gives element and fields of each item, sorted.
async fn read_each(stub: &Stub, numbers: &[u8], patience: Duration) -> (Vec<(String, Value)>, ReadOutcome) {
    let definition = json!({"final-reads": {"entries": {
        "request": {"path": "/entries?after={{ cursor }}"},
        "items": {"json": {"at": "/items", "element": "key", "fields": ["amount"], "next": "/next"}},
        "every-replica": true
    }}});
    let system = system(stub.port, definition);
    assert_eq!(problems(&system, &replica_counts(&replicas(numbers))), []);
    let bench = Bench::new();
    let outcomes = reads::run(&system, &replicas(numbers), bench.epoch, &bench.recorder, patience).await;
    let outcome = outcomes.unwrap().remove(0);
    let history = bench.history().await;
    let mut items = Vec::new();
    for record in records(&history) {
        match record {
            Record::Item(item) => items.push((item.element.into_owned(), serde_json::to_value(&item.fields).unwrap())),
            Record::Read(read) => assert_eq!(read.error.as_deref(), outcome.error.as_deref()),
            other => panic!("{other:?} was never recorded"),
        }
    }
    items.sort_by_key(|(element, _)| element.clone());
    assert_eq!(items.len() as u64, outcome.items);
    (items, outcome)
}

/// Each replica has two pages: `N-a` and `N-b`.
fn pages(seen: &Seen) -> Reply {
    let (last, next) = match seen.path.as_str() {
        "/entries?after=" => ("a", json!(format!("{}-a", seen.replica))),
        path => {
            let own = format!("/entries?after={}-a", seen.replica);
            assert_eq!(path, own, "the cursor of another replica");
            ("b", Value::Null)
        }
    };
    let item = json!({"key": format!("{}-{last}", seen.replica), "amount": 85});
    Reply::json(200, &json!({"items": [item], "next": next}))
}

#[tokio::test]
async fn a_read_of_every_replica_goes_to_each_ones_end_and_says_whose_the_items_are() {
    // A page that fails is asked for again, of the same replica.
    let stub = Stub::start_replicas(3, |seen, before| match before {
        0 => Reply::Answer(503, String::new()),
        _ => pages(seen),
    })
    .await;
    let (items, outcome) = read_each(&stub, &ALL, PATIENCE).await;
    assert_eq!((outcome.items, outcome.error), (6, None));
    let expected: Vec<(String, Value)> = ALL
        .iter()
        .flat_map(|number| {
            ["a", "b"].map(|page| (format!("{number}-{page}"), json!({"amount": 85, "replica": number})))
        })
        .collect();
    assert_eq!(items, expected);
    assert_eq!(stub.seen().len(), 7);
}

#[tokio::test]
async fn a_read_that_one_replica_does_not_answer_is_incomplete() {
    let stub = Stub::start_replicas(3, |seen, _| match seen.replica {
        2 => Reply::Answer(500, "broken".to_owned()),
        _ => pages(seen),
    })
    .await;
    let (items, outcome) = read_each(&stub, &ALL, Duration::from_millis(300)).await;
    assert_eq!(items.len(), 4, "what the others gave is kept");
    let error = outcome.error.unwrap();
    assert!(
        error.starts_with("replica 2: after ") && error.ends_with("status 500: broken"),
        "{error}"
    );
}

#[tokio::test]
async fn set_up_goes_to_every_replica_or_to_the_one_it_names() {
    let stub = Stub::start_replicas(3, |_, _| Reply::Answer(200, String::new())).await;
    let definition = json!({
        "pools": {"tills": {"list": ["x", "y"]}, "branches": {"sequence": {"prefix": "", "count": 3}}},
        "setup": [
            {"name": "open tills", "for-each": "tills", "every-replica": true, "request": {"path": "/tills/{{ tills }}"}},
            {"name": "clear", "every-replica": true, "request": {"path": "/clear"}},
            {"name": "name", "for-each": "branches",
             "request": {"path": "/name/{{ branches }}", "replica": "{{ branches }}"}},
            {"name": "lead", "request": {"path": "/lead", "replica": "2"}}
        ]
    });
    let system = system(stub.port, definition);
    assert_eq!(problems(&system, &replica_counts(&replicas(&ALL))), []);
    setup::run(&system, &replicas(&ALL)).await.unwrap();
    let mut seen: Vec<(String, u8)> = stub.seen().into_iter().map(|seen| (seen.path, seen.replica)).collect();
    seen.sort_unstable();
    let mut expected = vec![("/lead".to_owned(), 2)];
    for number in ALL {
        expected.extend(["/tills/x", "/tills/y", "/clear"].map(|path| (path.to_owned(), number)));
        expected.push((format!("/name/{number}"), number));
    }
    expected.sort_unstable();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_set_up_that_fails_says_at_which_replica() {
    let stub = Stub::start_replicas(3, |seen, _| {
        Reply::Answer(if seen.replica == 3 { 409 } else { 200 }, String::new())
    })
    .await;
    let failure = async |step: Value| {
        let system = system(stub.port, json!({"pools": {"tills": {"list": ["4"]}}, "setup": [step]}));
        let failed = setup::run_patiently(&system, &replicas(&ALL), Duration::from_millis(150)).await;
        match failed.unwrap_err() {
            WorkloadError::Setup { step, attempts, reason } => (step, attempts, reason),
            other => panic!("{other}"),
        }
    };
    let (step, attempts, _) =
        failure(json!({"name": "open", "for-each": "tills", "every-replica": true, "request": {"path": "/"}})).await;
    assert_eq!(step, "open (4, replica 3)");
    assert!(attempts >= 2);
    // What no replica is goes nowhere.
    let before = stub.seen().len();
    let (step, attempts, reason) =
        failure(json!({"name": "open", "for-each": "tills", "request": {"path": "/", "replica": "{{ tills }}"}})).await;
    assert_eq!((step.as_str(), attempts), ("open (4)", 0));
    assert_eq!(reason, "`api` has no replica 4, but 1 to 3");
    assert_eq!(stub.seen().len(), before);
}

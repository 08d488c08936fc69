//! Set-up, backlogs and final reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::stub::{Bench, PATIENCE, Reply, Seen, Stub, replicas, system};
use crate::event::{Event, Events};
use crate::history::{Item, Read, Record};
use crate::workload::client::{ReplicaCounts, replica_counts};
use crate::workload::reads::{self, ReadOutcome};
use crate::workload::{WorkloadError, drain, problems, setup};

fn items_and_ends(history: &str) -> (Vec<Item<'_>>, Vec<Read<'_>>) {
    let (mut items, mut ends) = (Vec::new(), Vec::new());
    for line in history.lines() {
        match serde_json::from_str(line).unwrap() {
            Record::Item(item) => items.push(item),
            Record::Read(read) => ends.push(read),
            other => panic!("{other:?} was never recorded"),
        }
    }
    (items, ends)
}

fn counts() -> ReplicaCounts {
    replica_counts(&replicas(&[1, 2]))
}

/// Makes the final read `orders`, and checks that what is recorded of its end is what is told.
async fn read(stub: &Stub, addresses: &[u8], items: Value, patience: Duration) -> (Value, ReadOutcome) {
    let definition = json!({"final-reads": {"orders": {
        "request": {"path": "/orders?after={{ cursor | urlencode }}"}, "items": items
    }}});
    let bench = Bench::new();
    let system = system(stub.port, definition);
    assert_eq!(problems(&system, &counts()), []);
    let outcomes = reads::run(&system, &replicas(addresses), bench.epoch, &bench.recorder, patience).await;
    let outcome = outcomes.unwrap().remove(0);
    let history = bench.history().await;
    let (items, ends) = items_and_ends(&history);
    assert_eq!(ends.len(), 1);
    assert_eq!((&*ends[0].read, ends[0].items), ("orders", items.len() as u64));
    assert_eq!(ends[0].error.as_deref(), outcome.error.as_deref());
    assert_eq!(outcome.items, items.len() as u64);
    let list: Vec<_> = items.iter().map(|item| json!([item.element, item.fields])).collect();
    (list.into(), outcome)
}

fn json_items() -> Value {
    json!({"json": {"at": "/page/items", "element": "key", "fields": ["amount", "paid"], "next": "/page/next"}})
}

fn page(keys: &[&str], next: Option<&str>) -> Reply {
    let items: Vec<_> = keys
        .iter()
        .map(|key| json!({"key": key, "amount": 85, "paid": true, "other": {}}))
        .collect();
    Reply::json(200, &json!({"page": {"items": items, "next": next}}))
}

#[tokio::test]
async fn pages_are_read_to_the_last_and_a_page_that_fails_is_asked_for_again() {
    let stub = Stub::start(|seen: &Seen, before| match (before, seen.path.as_str()) {
        (0, _) => Reply::Answer(503, "starting".to_owned()),
        (2, _) => Reply::Close,
        (_, "/orders?after=") => page(&["a", "b"], Some("2+/=")),
        (_, "/orders?after=2%2B%2F%3D") => page(&["c"], Some("3")),
        (_, "/orders?after=3") => page(&[], None),
        (_, other) => panic!("{other} was never given"),
    })
    .await;
    let (items, outcome) = read(&stub, &[1], json_items(), PATIENCE).await;
    let fields = json!({"amount": 85, "paid": true});
    assert_eq!(items, json!([["a", fields], ["b", fields], ["c", fields]]));
    assert_eq!((outcome.items, outcome.error), (3, None));
    assert_eq!(stub.seen().len(), 5, "three pages, two of them asked for twice");
}

#[tokio::test]
async fn any_replica_that_answers_will_do() {
    let stub = Stub::start(|_, _| page(&["a"], None)).await;
    let (_, outcome) = read(&stub, &[2, 1], json_items(), PATIENCE).await;
    assert_eq!((outcome.items, outcome.error), (1, None));
}

#[tokio::test]
async fn a_read_that_stops_midway_is_recorded_as_incomplete() {
    let stub = Stub::start(|_, before| match before {
        0 => page(&["a", "b"], Some("2")),
        _ => Reply::Answer(500, "database\nis gone".to_owned()),
    })
    .await;
    let (_, outcome) = read(&stub, &[1], json_items(), Duration::from_millis(300)).await;
    assert_eq!(outcome.items, 2);
    assert!(outcome.error.unwrap().ends_with("status 500: database is gone"));
}

#[tokio::test]
async fn answers_that_are_no_evidence_are_errors() {
    for (reply, message) in [
        (Reply::Answer(200, "<html>".to_owned()), "no JSON"),
        (Reply::json(200, &json!({"items": []})), "no list at `/page/items`"),
        (page(&["a"], Some("1")), "the cursor `1` came twice"),
        (
            Reply::json(200, &json!({"page": {"items": [{"amount": 1}]}})),
            "no text or number `key`",
        ),
        (
            Reply::json(200, &json!({"page": {"items": [{"key": 1, "amount": [1]}]}})),
            "`amount` of an item is no plain value",
        ),
    ] {
        let stub = Stub::start(move |_, _| reply.clone()).await;
        let (_, outcome) = read(&stub, &[1], json_items(), PATIENCE).await;
        let error = outcome.error.unwrap();
        assert!(error.contains(message), "{error}");
    }
}

#[tokio::test]
async fn lines_are_items_and_their_groups_are_fields() {
    let journal = "printed k-1 copies=2 at=007\n\nprinted k-2 copies=1 at=noon\r\n";
    let stub = Stub::start(move |_, _| Reply::Answer(200, journal.to_owned())).await;
    let matches = r"^printed (?P<element>\S+) copies=(?<copies>\d+) at=(?<at>\w+)$";
    let (items, outcome) = read(&stub, &[1], json!({"lines": {"matches": matches}}), PATIENCE).await;
    assert_eq!(
        items,
        json!([["k-1", {"copies": 2, "at": "007"}], ["k-2", {"copies": 1, "at": "noon"}]])
    );
    assert_eq!(outcome.error, None);
    let strict = json!({"lines": {"matches": r"^printed (?P<element>\S+) copies=2.*$"}});
    let (_, outcome) = read(&stub, &[1], strict, PATIENCE).await;
    assert!(outcome.error.unwrap().contains("does not match: printed k-2"));
}

#[tokio::test]
async fn set_up_runs_in_order_over_pools_with_bounded_haste() {
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (running_now, most_now) = (running.clone(), most.clone());
    let stub = Stub::start_async(move |seen, before| {
        let (running, most, opening) = (running_now.clone(), most_now.clone(), seen.path == "/accounts");
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            // The first two answers are hiccups of a system that has just started.
            let hiccup = before < 2;
            Reply::Answer(if hiccup { 503 } else { 201 + u16::from(opening) }, String::new())
        }
        .boxed()
    })
    .await;
    let definition = json!({
        "pools": {"prepaid-accounts": {"sequence": {"prefix": "acct-", "count": 60}}},
        "setup": [
            {"name": "open accounts", "for-each": "prepaid-accounts", "expect": "status == 202",
             "request": {"method": "PUT", "path": "/accounts", "json": {"id": "{{ prepaid_accounts }}"}}},
            {"name": "open for business", "request": {"method": "POST", "path": "/open"}}
        ]
    });
    let system = system(stub.port, definition);
    assert_eq!(problems(&system, &counts()), []);
    setup::run(&system, &replicas(&[1])).await.unwrap();
    let seen = stub.seen();
    assert_eq!(seen.len(), 63);
    let (last, accounts) = seen.split_last().unwrap();
    assert_eq!((last.method.as_str(), last.path.as_str()), ("POST", "/open"));
    let mut bodies: Vec<_> = accounts.iter().map(|seen| seen.body.as_str()).collect();
    bodies.sort_unstable();
    bodies.dedup();
    assert_eq!(bodies.len(), 60);
    assert!(bodies.contains(&r#"{"id":"acct-60"}"#));
    let most = most.load(Ordering::SeqCst);
    assert!((2..=16).contains(&most), "{most} at once");
}

#[tokio::test]
async fn a_set_up_that_fails_names_the_step_and_the_answer() {
    let stub = Stub::start(|_, _| Reply::Answer(409, format!("taken {}", "x".repeat(400)))).await;
    let definition = json!({
        "pools": {"accounts": {"list": ["acct-1"]}},
        "setup": [{"name": "open accounts", "for-each": "accounts", "request": {"path": "/accounts"}}]
    });
    let system = system(stub.port, definition);
    let patience = Duration::from_millis(250);
    let err = setup::run_patiently(&system, &replicas(&[1]), patience)
        .await
        .unwrap_err();
    let WorkloadError::Setup { step, attempts, reason } = err else {
        panic!("{err}")
    };
    assert_eq!(step, "open accounts (acct-1)");
    assert_eq!(attempts as usize, stub.seen().len());
    assert!(attempts >= 2, "it was tried again");
    assert!(reason.starts_with("status 409: taken xxx"), "{reason}");
    assert!(reason.chars().count() < 330, "only the beginning of the body");
    let err = setup::run_patiently(&system, &replicas(&[2]), patience)
        .await
        .unwrap_err();
    assert!(err.to_string().contains("refused at 127.0.0.2"), "{err}");
}

/// Drains the one backlog `queue` of a stub; gives how it ended, and its recorded readings.
async fn drain_queue(stub: &Stub, within: &str) -> (drain::Drained, Vec<Option<f64>>) {
    let definition = json!({
        "metrics": {"queue": {"request": {"path": "/queue"}, "value": "body.depth"}},
        "backlogs": [{"metric": "queue", "drained": 5.0, "within": within}]
    });
    let (told, mut entries) = mpsc::unbounded_channel();
    let mut bench = Bench::new();
    bench.events = Events::unsaved(Some(told));
    let system = system(stub.port, definition);
    let drained = drain::run(&system, &replicas(&[1]), bench.epoch, &bench.recorder, &bench.events).await;
    let drained = drained.unwrap().remove(0);
    let Event::Drained {
        metric,
        drained: zero,
        last,
        ..
    } = entries.try_recv().unwrap().event
    else {
        panic!("no other event is emitted")
    };
    assert_eq!(
        (metric, zero, last),
        (drained.metric.clone(), drained.drained, drained.last)
    );
    let history = bench.history().await;
    let samples = history.lines().map(|line| match serde_json::from_str(line).unwrap() {
        Record::Sample(sample) => sample.value,
        other => panic!("{other:?} was never recorded"),
    });
    (drained, samples.collect())
}

#[tokio::test]
async fn a_backlog_is_awaited_until_it_is_zero() {
    let stub = Stub::start(|_, before| match before {
        1 => Reply::Close,
        before => Reply::json(200, &json!({"depth": 3 - before})),
    })
    .await;
    let (drained, samples) = drain_queue(&stub, "1m").await;
    assert_eq!((drained.drained, drained.last), (true, Some(0.0)));
    assert_eq!(samples, [Some(3.0), None, Some(1.0), Some(0.0)]);
}

#[tokio::test]
async fn a_backlog_that_stays_or_cannot_be_read_has_not_drained() {
    let stub = Stub::start(|_, _| Reply::json(200, &json!({"depth": 1}))).await;
    let (drained, _) = drain_queue(&stub, "200ms").await;
    assert_eq!((drained.drained, drained.last), (false, Some(1.0)));
    let stub = Stub::start(|_, _| Reply::Never).await;
    let (drained, _) = drain_queue(&stub, "200ms").await;
    assert_eq!((drained.drained, drained.last), (false, None));
}

#[test]
fn every_part_of_a_definition_is_checked_before_a_run() {
    let definition = json!({
        "setup": [{"name": "s", "for-each": "nobody", "request": {"path": "/"}}],
        "operations": {
            "buy": {"request": {"path": "/{{ id }}"}, "outcome": {"ok": "status == 200"}},
            "pay": {"request": {"path": "/"}, "outcome": {"ok": "status = 200"}},
            "ask": {"request": {"path": "/"}, "outcome": {"ok": "true"}, "record": ["amount"]},
            "top-up": {"request": {"path": "/"}, "outcome": {"ok": "true"}, "values": {"a": {"cycle": "nobody"}}}
        },
        "metrics": {"queue": {"request": {"path": "/"}, "value": "depth"}},
        "backlogs": [{"metric": "outbox", "drained": 0.0}],
        "final-reads": {
            "orders": {"request": {"path": "/"}, "items": {"json": {"at": "items", "element": "key"}}},
            "labels": {"request": {"path": "/"}, "items": {"lines": {"matches": "(?P<key>.*)"}}}
        }
    });
    let found = problems(&system(1, definition), &counts());
    let places: Vec<_> = found.iter().map(|problem| problem.at.as_str()).collect();
    assert_eq!(
        places,
        [
            "setup[0].for-each",
            "operations.ask.record[0]",
            "operations.buy.request.path",
            "operations.pay.outcome.ok",
            "operations.top-up.values.a",
            "metrics.queue.value",
            "backlogs[0].metric",
            "final-reads.labels.items",
            "final-reads.orders.items"
        ]
    );
}

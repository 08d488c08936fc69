//! Whole runs by their method: what sets a fault off, what a stop and a loss do, and what becomes of a fault that bites
//! nobody.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Run, assert_nothing_left, docker, in_phase, injected};

/// An experiment with the guestbook, but for its method and what is asked of it.
const VISITORS: &str = "
workload:
  arrivals: constant
  operations:
    sign: {rate: 6/s}
    opening-hours: {rate: 6/s}
gate: {warm-up: 1s, window: 2s}
steady-state-hypothesis:
  title: Visitors can sign
  probes:
    - {name: signing succeeds, metric: success-rate, operation: sign, tolerance: '>= 99%'}
recovery: {within: 8s, stable-for: 2s}
invariants: [every-visitor-stands-in-the-book-once]
";

/// The experiment as a file in a folder of its own.
fn experiment(title: &str, rest: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("experiment.yaml");
    let guestbook = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/guestbook");
    let text = format!("title: {title}\nsystem: {}\n{VISITORS}{rest}", guestbook.display());
    std::fs::write(&file, text).unwrap();
    (folder, file)
}

/// When an event happened, in microseconds since the epoch.
fn at_us(run: &Run, is: impl Fn(&Value) -> bool) -> i64 {
    let entries = run.entries("events.jsonl");
    let entry = entries.iter().find(|entry| is(&entry["event"])).expect("the event");
    entry["at_us"].as_i64().unwrap()
}

/// Visitors who had signed, from the gate to the moment that the fault was decided on.
fn signed_before(run: &Run, fault: u32) -> usize {
    let gate = at_us(run, |event| event.get("gate").is_some());
    let intent = at_us(run, |event| event["fault_intent"]["fault"] == fault);
    let history = run.entries("history.jsonl");
    let signed = history.iter().map(|record| &record["op"]).filter(|op| {
        let done_us = op["done_us"].as_i64().unwrap_or_default();
        op["kind"] == "sign" && op["outcome"] == "ok" && (gate..=intent).contains(&done_us)
    });
    signed.count()
}

fn assertion<'a>(verdict: &'a Value, kind: &str, name: &str) -> &'a Value {
    let assertions = verdict["assertions"].as_array().unwrap();
    let found = assertions
        .iter()
        .find(|assertion| assertion["kind"] == kind && assertion["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name} in {verdict:#}"))
}

#[test]
fn a_stop_and_a_loss_come_when_what_they_wait_for_has_happened() {
    let (_folder, file) = experiment(
        "Visitors sign once though the book closes and letters to it are lost",
        "
method:
  - name: the book closes
    on: {operation: sign, outcome: ok, nth: 5, by: 20s}
    for: 1s
    inject: {stop: {targets: [book]}}
  - name: letters to the book are lost
    on: {log: book, matches: '^signed ', nth: 30, by: 30s}
    for: 2s
    inject: {loss: {from: [door], to: [book], both-ways: false, percent: 30}}
during:
  - {name: the door still answers, operation: opening-hours, success-rate: '>= 95%'}
",
    );
    let mut run = Run::start(&[file.to_str().unwrap()]);
    run.wait_for("the end of the load", |event| event.get("load_ended").is_some());
    assert_eq!(run.exit_code(), Some(0), "{}", run.output());
    let verdict = run.verdict();
    assert_eq!(verdict["verdict"], "pass");
    let faults = verdict["faults"].as_array().unwrap();
    let expected = [("stop", vec!["book-1"]), ("loss", vec!["book-1", "door-1"])];
    assert_eq!(faults.len(), expected.len());
    for (fault, (kind, replicas)) in faults.iter().zip(expected) {
        assert_eq!(fault["kind"], kind);
        for receipt in [&fault["injected"], &fault["healed"]] {
            assert_eq!(receipt["confirmed"], true, "{fault:#}");
            assert_eq!(receipt["replicas"], serde_json::json!(replicas));
        }
    }
    // A guestbook that had to be killed would have taken its ten seconds.
    let onset_us = faults[0]["injected"]["onset_us"].as_u64().unwrap();
    assert!(Duration::from_micros(onset_us) < Duration::from_secs(5), "{verdict:#}");

    // No time was planned; what each waited for had just happened. Six visitors, those of a second, are leeway: the fault is
    // decided on a moment later, and the book writes its line before the visitor knows.
    for (fault, signed_then) in [(0, 5..=11), (1, 24..=36)] {
        let intents = run.events();
        let intent = intents.iter().find(|event| event["fault_intent"]["fault"] == fault);
        assert_eq!(intent.unwrap()["fault_intent"]["planned_ms"], Value::Null);
        let signed = signed_before(&run, fault);
        assert!(
            signed_then.contains(&signed),
            "fault {fault} came after {signed} visitors"
        );
    }
    assert_nothing_left(&run.run_id(), Duration::ZERO);
}

/// The book's container, whether it runs or not.
fn book_of(run_id: &str) -> String {
    let of_run = format!("label=nightmail.run={run_id}");
    let (of_book, part) = ("label=nightmail.replica=book-1", "label=nightmail.part=replica");
    docker(&["ps", "-aq", "--filter", &of_run, "--filter", of_book, "--filter", part])
}

#[test]
fn a_fault_that_somebody_undoes_is_inconclusive() {
    let (_folder, file) = experiment(
        "Visitors sign once though the book is gone for a while",
        "
method:
  - name: the book is killed
    at: 1s
    for: 4s
    inject: {kill: {targets: [book]}}
",
    );
    let mut run = Run::start(&[file.to_str().unwrap()]);
    run.wait_for("an injected fault", injected);
    let run_id = run.run_id();
    let book = book_of(&run_id);
    // Docker takes a moment to notice the kill, and starts nothing before.
    let began = Instant::now();
    while docker(&["inspect", "-f", "{{.State.Running}}", &book]) == "true" {
        assert!(
            began.elapsed() < Duration::from_secs(3),
            "Docker did not notice the kill"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    docker(&["start", &book]);
    run.wait_for("the end of the load", |event| event.get("load_ended").is_some());
    assert_eq!(run.exit_code(), Some(3), "{}", run.output());
    let verdict = run.verdict();
    let receipt = assertion(&verdict, "receipt", "the book is killed");
    assert_eq!(receipt["verdict"], "inconclusive", "{receipt:#}");
    assert_eq!(receipt["detail"], "it had ended before its heal");
    assert_eq!(verdict["faults"][0]["healed"]["lapsed"], true, "{verdict:#}");
    assert_nothing_left(&run_id, Duration::ZERO);
}

#[test]
fn a_fault_that_bites_nobody_is_inconclusive_and_says_which() {
    let (_folder, file) = experiment(
        "Visitors sign once though the book freezes",
        "
method:
  - name: the book freezes
    at: 3s
    for: 1s
    inject: {pause: {targets: [book]}}
  - name: the door freezes
    at: 5s
    for: 1s
    inject: {pause: {targets: [door]}}
",
    );
    let mut run = Run::start(&[file.to_str().unwrap()]);
    run.wait_for("the method", in_phase("method"));
    let run_id = run.run_id();
    // Somebody freezes the book before its turn: what its visitors meet is not the fault's doing.
    docker(&["pause", &book_of(&run_id)]);
    run.wait_for("the end of the load", |event| event.get("load_ended").is_some());
    assert_eq!(run.exit_code(), Some(3), "{}", run.output());
    assert_nothing_left(&run_id, Duration::ZERO);

    let verdict = run.verdict();
    assert_eq!(verdict["verdict"], "inconclusive");
    assert_eq!(verdict["status"], "completed");
    let bitten = |index: usize| &verdict["faults"][index]["injected"];
    assert_eq!(bitten(0)["confirmed"], false, "{verdict:#}");
    assert_eq!(
        bitten(0)["evidence"][0],
        "book-1: was frozen before, nothing was done to it"
    );
    assert_eq!(bitten(1)["confirmed"], true, "the other one bit: {verdict:#}");
    let receipt = assertion(&verdict, "receipt", "the book freezes");
    assert_eq!(receipt["verdict"], "inconclusive", "{receipt:#}");
    assert_eq!(assertion(&verdict, "receipt", "the door freezes")["verdict"], "pass");
    let invariant = assertion(&verdict, "invariant", "every-visitor-stands-in-the-book-once");
    assert_eq!(invariant["verdict"], "pass", "{invariant:#}");
}

#[test]
fn a_disk_that_the_method_fills_is_there_from_the_start() {
    let (_folder, file) = experiment(
        "Visitors can sign while the door has no room for its papers",
        "
method:
  - name: the papers pile up
    at: 1s
    for: 1s
    inject: {disk-full: {targets: [door], path: /papers, size: 1MB}}
",
    );
    let mut run = Run::start(&[file.to_str().unwrap()]);
    run.wait_for("the method", in_phase("method"));
    let run_id = run.run_id();
    let volumes = docker(&[
        "volume",
        "ls",
        "-q",
        "--filter",
        &format!("label=nightmail.run={run_id}"),
    ]);
    assert!(volumes.contains("door-1-disk-0"), "{volumes}");
    assert_eq!(run.exit_code(), Some(0), "{}", run.output());
    assert_nothing_left(&run_id, Duration::ZERO);
    let fault = &run.verdict()["faults"][0];
    let seen = [&fault["injected"], &fault["healed"]];
    assert!(seen.iter().all(|receipt| receipt["confirmed"] == true), "{fault:#}");
    let full = seen[0]["evidence"][0].as_str().unwrap();
    assert!(full.starts_with("door-1:/papers: 0 of "), "{full}");
}

//! A saved run: judged the same again, and what is said of a damaged one.

use super::{good, load, of, plan, verdict};
use crate::check::tests::build::{self, Saved};
use crate::check::{differences, judge_folder, same_verdict};
use crate::event::Entry;
use crate::plan::Plan;
use crate::verdict::{AssertionKind, Status, Verdict};

/// A run's folder as `run` leaves it.
fn folder(plan: &Plan, saved: &Saved, events: &[Entry]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let lines: String = events
        .iter()
        .map(|entry| serde_json::to_string(entry).unwrap() + "\n")
        .collect();
    std::fs::write(
        dir.path().join(crate::plan::FILE),
        serde_json::to_vec_pretty(plan).unwrap(),
    )
    .unwrap();
    std::fs::write(dir.path().join(crate::event::FILE), lines).unwrap();
    std::fs::write(dir.path().join(crate::history::FILE), saved.text()).unwrap();
    dir
}

#[test]
fn a_saved_run_is_judged_the_same_again() {
    for saved in [good(), load(10_000..22_333), load(0..40_000)] {
        let judged = verdict(&plan(), &saved, &build::events());
        let dir = folder(&plan(), &saved, &build::events());
        let again = judge_folder(dir.path()).unwrap();
        assert_eq!(differences(&judged, &again), [""; 0]);
        let text = serde_json::to_string(&judged).unwrap();
        let read: Verdict = serde_json::from_str(&text).unwrap();
        assert!(same_verdict(&read, &again));
        let mut other = again.clone();
        other.recovery.data_loss_operations = Some(1);
        other.assertions[0].finding.detail.push('!');
        let found = differences(&read, &other);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[1].starts_with("/recovery/data_loss_operations: ") && found[1].contains("was saved, 1"),
            "{found:?}"
        );
        assert!(!same_verdict(&read, &other));
    }
}

#[test]
fn damage_to_a_saved_run_is_named() {
    let dir = folder(&plan(), &good(), &build::events());
    let path = |name: &str| dir.path().join(name);
    let error = |name: &str, content: &[u8]| {
        let before = std::fs::read(path(name)).unwrap();
        std::fs::write(path(name), content).unwrap();
        let error = judge_folder(dir.path()).unwrap_err().to_string();
        std::fs::write(path(name), before).unwrap();
        error
    };
    assert!(error("plan.json", b"{}").contains("it has no version, and this is version 1"));
    assert!(error("plan.json", b"{\"schema_version\": 2}").contains("it has version 2"));
    assert!(error("history.jsonl", b"{}\n{}\n").contains("history.jsonl, line 1"));
    assert!(error("events.jsonl", b"{}\n").contains("line 1"));
    std::fs::remove_file(path("events.jsonl")).unwrap();
    assert!(
        judge_folder(dir.path())
            .unwrap_err()
            .to_string()
            .contains("events.jsonl")
    );
}

#[test]
fn what_a_killed_harness_left_is_judged() {
    let mut events = build::events();
    events.truncate(9);
    let dir = folder(&plan(), &good(), &events);
    let append = |name: &str, text: &str| {
        let path = dir.path().join(name);
        let before = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, before + text).unwrap();
    };
    append("events.jsonl", "{\"at_us\":1,\"un");
    append("history.jsonl", "{\"op\":{\"kind\":\"bu");
    let verdict = judge_folder(dir.path()).unwrap();
    assert_eq!((verdict.status, verdict.exit_code), (Status::Aborted, 4));
    assert!(
        of(&verdict, AssertionKind::NonVacuous)
            .finding
            .detail
            .contains("cut off in line")
    );
    std::fs::remove_file(dir.path().join("history.jsonl")).unwrap();
    assert_eq!(
        judge_folder(dir.path()).unwrap().exit_code,
        4,
        "a run that broke before its load has no history"
    );
}

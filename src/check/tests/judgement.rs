//! The verdict as a whole: what wins, what is supported, and that a saved run is judged the same again.

use super::build::{self, SECOND, Saved, op};
use crate::check::{differences, judge, judge_folder, same_verdict};
use crate::event::{Entry, Event, LoadSummary};
use crate::history::{Op, Outcome};
use crate::plan::Plan;
use crate::verdict::{Assertion, AssertionKind, Judgement, Status, Verdict};

/// 40/s to 35 s under one key each, nothing succeeds in `outage_ms`; every acknowledged order is there.
fn load(outage_ms: std::ops::Range<u64>) -> Saved {
    let mut saved = Saved::default();
    let mut kept = Vec::new();
    for number in 0..35 * 40 {
        let (at_us, key) = (number * 25_000, format!("key-{number}"));
        let out = outage_ms.contains(&(at_us / 1_000));
        saved.push(op("buy", &key, at_us, if out { Outcome::Info } else { Outcome::Ok }));
        if !out {
            kept.push(key);
        }
    }
    for key in kept {
        saved.item("orders", &key, &[]);
    }
    saved
}

fn good() -> Saved {
    let mut saved = load(10_000..21_000);
    saved.end("orders");
    saved
}

fn plan() -> Plan {
    let during = build::success("some buying goes on", ">=", 0.0);
    Plan {
        during: vec![during],
        ..build::plan_with_fault()
    }
}

fn verdict(plan: &Plan, saved: &Saved, events: &[Entry]) -> Verdict {
    saved.read(|history| judge(plan, history, events))
}

fn of(verdict: &Verdict, kind: AssertionKind) -> &Assertion {
    verdict
        .assertions
        .iter()
        .find(|assertion| assertion.kind == kind)
        .expect("it is judged")
}

fn without(kind: fn(&Event) -> bool) -> Vec<Entry> {
    let mut events = build::events();
    events.retain(|entry| !kind(&entry.event));
    events
}

#[test]
fn a_run_in_which_all_held_passes() {
    let verdict = verdict(&plan(), &good(), &build::events());
    assert_eq!(
        (verdict.verdict, verdict.exit_code, verdict.status),
        (Judgement::Pass, 0, Status::Completed),
        "{verdict:#?}"
    );
    use AssertionKind::*;
    let kinds: Vec<AssertionKind> = verdict.assertions.iter().map(|assertion| assertion.kind).collect();
    assert_eq!(
        kinds,
        [
            Gate,
            Receipt,
            During,
            Recovery,
            SteadyStateAfter,
            Invariant,
            NonVacuous,
            Generator
        ]
    );
    assert_eq!(verdict.recovery.recovery_time_ms, Some(1_000.0));
    assert_eq!((verdict.run_id.as_str(), verdict.seed), ("run-1", 7));
    assert_eq!(
        verdict.again,
        "nightmail run experiments/shop-survives.yaml --seed 7 --var cut=10s"
    );
    let fault = &verdict.faults[0];
    assert_eq!(
        (fault.kind.as_str(), fault.describe.as_str()),
        ("kill", "SIGKILL to api-1")
    );
    assert_eq!(
        (fault.planned_ms, fault.effective_ms, fault.healed_ms),
        (Some(5_000), Some(10_000.0), Some(20_000.0))
    );
}

#[test]
fn a_fault_free_run_has_nothing_to_recover_from() {
    let plan = build::plan();
    let quiet = without(|event| {
        use Event::*;
        matches!(
            event,
            FaultIntent { .. } | FaultInjected { .. } | HealIntent { .. } | FaultHealed { .. }
        )
    });
    let mut saved = load(0..0);
    let verdict = verdict(&plan, saved.end("orders"), &quiet);
    assert_eq!(
        (verdict.verdict, verdict.exit_code),
        (Judgement::Pass, 0),
        "{verdict:#?}"
    );
    assert_eq!(verdict.recovery.recovery_time_ms, None);
    assert!(
        verdict
            .assertions
            .iter()
            .all(|assertion| assertion.kind != AssertionKind::Recovery)
    );
}

/// A violation of safety stands whatever else is in doubt.
#[test]
fn a_violated_invariant_always_fails() {
    let mut lossy = load(10_000..21_000);
    lossy.push(op("buy", "gone", 34 * SECOND, Outcome::Ok)).end("orders");
    let mut gate_failed = build::events();
    let event = build::event_mut(&mut gate_failed, |event| matches!(event, Event::Gate { .. }));
    let Event::Gate { passed, .. } = event else {
        unreachable!()
    };
    *passed = false;
    let unproven = without(|event| matches!(event, Event::FaultInjected { .. }));
    for events in [build::events(), gate_failed, unproven] {
        let verdict = verdict(&plan(), &lossy, &events);
        assert_eq!((verdict.verdict, verdict.exit_code), (Judgement::Fail, 1));
        let failed: Vec<&str> = verdict
            .assertions
            .iter()
            .filter(|assertion| assertion.finding.verdict == Judgement::Fail)
            .map(|assertion| assertion.name.as_str())
            .collect();
        assert_eq!(failed, ["orders-are-kept"]);
        assert_eq!(verdict.recovery.data_loss_operations, 1);
    }
}

#[test]
fn without_a_steady_state_the_rest_is_inconclusive() {
    let mut events = build::events();
    let passed = build::event_mut(&mut events, |event| matches!(event, Event::Gate { .. }));
    *passed = build::gate(0, false).event;
    let verdict = verdict(&plan(), &load(0..40_000), &events);
    assert_eq!((verdict.verdict, verdict.exit_code), (Judgement::Inconclusive, 3));
    assert!(
        verdict
            .assertions
            .iter()
            .all(|assertion| assertion.finding.verdict != Judgement::Fail),
        "{verdict:#?}"
    );
    let gate = of(&verdict, AssertionKind::Gate);
    assert!(
        gate.finding.detail.starts_with("not steady before the method"),
        "{}",
        gate.finding.detail
    );
    let never = without(|event| matches!(event, Event::Gate { .. }));
    let verdict = self::verdict(&plan(), &good(), &never);
    assert_eq!(
        of(&verdict, AssertionKind::Gate).finding.verdict,
        Judgement::Inconclusive
    );
    assert_eq!(verdict.exit_code, 3);
}

#[test]
fn where_nothing_succeeded_nothing_is_said() {
    let verdict = verdict(&plan(), load(0..40_000).end("orders"), &build::events());
    assert_eq!(
        (verdict.verdict, verdict.exit_code),
        (Judgement::Inconclusive, 3),
        "{verdict:#?}"
    );
    let vacuous = of(&verdict, AssertionKind::NonVacuous);
    assert_eq!(vacuous.finding.detail, "no `buy` succeeded");
}

#[test]
fn an_operation_that_never_succeeded_is_a_doubt() {
    let mut plan = plan();
    plan.workload.rates.insert("top-up".into(), 1.0);
    let verdict = verdict(&plan, &good(), &build::events());
    assert_eq!((verdict.verdict, verdict.exit_code), (Judgement::Inconclusive, 3));
    assert_eq!(
        of(&verdict, AssertionKind::NonVacuous).finding.evidence,
        ["no `top-up` succeeded"]
    );
}

#[test]
fn a_fault_that_is_not_proven_is_a_doubt() {
    let missed = || {
        let mut events = without(|event| matches!(event, Event::FaultInjected { .. } | Event::FaultHealed { .. }));
        let reason = "its trigger never came".to_owned();
        events.push(build::entry(15 * SECOND, Event::FaultMissed { fault: 0, reason }));
        events
    };
    let unhealed = without(|event| matches!(event, Event::FaultHealed { .. }));
    for (events, why) in [(missed(), "its trigger never came"), (unhealed, "it was not healed")] {
        let verdict = verdict(&plan(), &good(), &events);
        assert_eq!(verdict.exit_code, 3, "{verdict:#?}");
        let receipt = of(&verdict, AssertionKind::Receipt);
        assert_eq!(receipt.finding.detail, why);
        for kind in [
            AssertionKind::During,
            AssertionKind::Recovery,
            AssertionKind::SteadyStateAfter,
        ] {
            assert_eq!(of(&verdict, kind).finding.verdict, Judgement::Inconclusive, "{kind:?}");
        }
    }
}

#[test]
fn during_is_judged_while_the_fault_lasted_and_only_then() {
    let mut plan = plan();
    plan.during = vec![build::success("buying goes on", ">=", 99.5)];
    let judged = |outage| {
        let verdict = verdict(&plan, load(outage).end("orders"), &build::events());
        (of(&verdict, AssertionKind::During).finding.clone(), verdict.exit_code)
    };
    let (outside, code) = judged(20_000..21_000);
    assert_eq!((outside.verdict, outside.samples, code), (Judgement::Pass, 400, 0));
    let (within, code) = judged(19_000..20_000);
    assert_eq!(
        (within.verdict, code),
        (Judgement::Fail, 1),
        "a breach that heals is a breach"
    );
}

#[test]
fn normal_again_is_asked_of_the_end() {
    // Recovered for 5 s, then bad again at the end of the load.
    let mut saved = load(10_000..20_000);
    for number in 0..40 {
        saved.push(op(
            "buy",
            &format!("again-{number}"),
            34 * SECOND + number * 10_000,
            Outcome::Fail,
        ));
    }
    let verdict = verdict(&plan(), saved.end("orders"), &build::events());
    assert_eq!(of(&verdict, AssertionKind::Recovery).finding.verdict, Judgement::Pass);
    let after = of(&verdict, AssertionKind::SteadyStateAfter);
    assert_eq!(after.finding.verdict, Judgement::Fail, "{after:?}");
    assert_eq!(verdict.exit_code, 1);
}

#[test]
fn a_generator_that_was_late_leaves_rates_in_doubt() {
    let mut saved = load(10_000..40_000);
    let mut late = op("buy", "late", 3 * SECOND, Outcome::Fail);
    (late.error, late.sent_us) = (Some(Op::LATE.into()), None);
    saved.push(late).end("orders");
    let mut told = build::events();
    let summary = LoadSummary {
        lag_p99_us: 120_000,
        ..LoadSummary::default()
    };
    *build::event_mut(&mut told, |event| matches!(event, Event::LoadEnded(_))) = Event::LoadEnded(summary);
    let mut never_recovered = load(10_000..40_000);
    let runs = [(saved, build::events()), (never_recovered.end("orders").clone(), told)];
    for (saved, events) in runs {
        let verdict = verdict(&plan(), &saved, &events);
        assert_eq!(
            (verdict.verdict, verdict.exit_code),
            (Judgement::Inconclusive, 3),
            "{verdict:#?}"
        );
        assert_eq!(
            of(&verdict, AssertionKind::Generator).finding.verdict,
            Judgement::Inconclusive
        );
        assert_eq!(
            of(&verdict, AssertionKind::Recovery).finding.verdict,
            Judgement::Inconclusive
        );
        assert_eq!(of(&verdict, AssertionKind::Invariant).finding.verdict, Judgement::Pass);
    }
}

#[test]
fn drops_are_told_and_are_no_doubt() {
    let mut saved = good();
    let mut dropped = op("buy", "dropped", 15 * SECOND, Outcome::Fail);
    (dropped.error, dropped.sent_us) = (Some(Op::DROPPED.into()), None);
    saved.push(dropped);
    let verdict = verdict(&plan(), &saved, &build::events());
    let generator = of(&verdict, AssertionKind::Generator);
    assert_eq!(generator.finding.verdict, Judgement::Pass);
    assert!(
        generator.finding.detail.contains("1 arrivals found all 100 in flight"),
        "{}",
        generator.finding.detail
    );
}

#[test]
fn a_backlog_must_drain() {
    let mut plan = plan();
    let backlog = serde_json::json!({"metric": "queue", "drained": 5.0, "within": "10s"});
    plan.system.backlogs = vec![serde_json::from_value(backlog).unwrap()];
    let mut saved = good();
    (0..140).for_each(|number| {
        saved.sample("queue", number * 250_000, Some(0.0));
    });
    let judged = |drained: bool, last: Option<f64>| {
        let mut events = build::events();
        let metric = "queue".to_owned();
        let took_ms = 1_200;
        let drained = Event::Drained {
            metric,
            drained,
            last,
            took_ms,
        };
        events.push(build::entry(36 * SECOND, drained));
        let verdict = verdict(&plan, &saved, &events);
        let finding = &of(&verdict, AssertionKind::Backlog).finding;
        (finding.verdict, verdict.exit_code, finding.detail.clone())
    };
    assert_eq!(
        judged(true, Some(0.0)),
        (
            Judgement::Pass,
            0,
            "`queue` was zero 1200 ms after the load ended".into()
        )
    );
    let (left, code, detail) = judged(false, Some(3.0));
    assert_eq!((left, code), (Judgement::Fail, 1));
    assert_eq!(detail, "`queue` was still 3 when 10s had passed after the load");
    assert_eq!(judged(false, None).0, Judgement::Inconclusive);
    let unseen = verdict(&plan, &saved, &build::events());
    assert_eq!(
        of(&unseen, AssertionKind::Backlog).finding.verdict,
        Judgement::Inconclusive
    );
}

#[test]
fn tolerated_loss_is_honoured_and_said() {
    let lossy = |at_us: u64| {
        let mut saved = load(10_000..21_000);
        saved.push(op("buy", "gone", at_us, Outcome::Ok)).end("orders");
        saved
    };
    let mut plan = plan();
    let judged = |plan: &Plan, saved: &Saved| {
        let verdict = verdict(plan, saved, &build::events());
        (
            verdict.exit_code,
            of(&verdict, AssertionKind::Invariant).finding.detail.clone(),
            verdict.recovery,
        )
    };
    assert_eq!(
        judged(&plan, &lossy(9_500_000)).0,
        1,
        "nothing is tolerated unless stated"
    );
    plan.tolerate.data_loss_operations = 1;
    assert_eq!(judged(&plan, &lossy(9_500_000)).0, 1, "it is 500 ms too old");
    plan.tolerate.data_loss_time_ms = 500;
    let (code, detail, recovery) = judged(&plan, &lossy(9_500_000));
    assert_eq!(code, 0);
    assert!(
        detail.contains("1 lost (tolerated: at most 1 operations, the oldest at most 500ms"),
        "{detail}"
    );
    assert_eq!(
        (recovery.data_loss_operations, recovery.data_loss_time_ms),
        (1, Some(500.0))
    );
    assert_eq!(judged(&plan, &lossy(9_499_000)).0, 1, "1 ms too old");
    let mut two = lossy(9_900_000);
    two.push(op("buy", "gone too", 9_950_000, Outcome::Ok));
    assert_eq!(judged(&plan, &two).0, 1, "two are more than one");
    let mut foreign = load(10_000..21_000);
    foreign
        .push(op("buy", "gone", 9_900_000, Outcome::Ok))
        .item("orders", "nobody", &[])
        .end("orders");
    assert_eq!(judged(&plan, &foreign).0, 1, "only loss is tolerated");
}

#[test]
fn leftovers_turn_a_pass_into_5_and_nothing_else() {
    let mut events = build::events();
    let leftovers = vec!["network nightmail-1".to_owned()];
    *build::event_mut(&mut events, |event| matches!(event, Event::Down { .. })) = Event::Down { leftovers };
    let passed = verdict(&plan(), &good(), &events);
    assert_eq!((passed.verdict, passed.exit_code), (Judgement::Pass, 5));
    assert_eq!(passed.leftovers, ["network nightmail-1"]);
    let doubtful = verdict(&plan(), &load(10_000..21_000), &events);
    assert_eq!(doubtful.exit_code, 3);
}

#[test]
fn an_interrupted_run_is_judged_as_far_as_it_got() {
    for (signal, code) in [("SIGINT", 130), ("SIGTERM", 143)] {
        let mut events = build::events();
        let signal = signal.to_owned();
        events.push(build::entry(30 * SECOND, Event::Interrupted { signal }));
        let verdict = verdict(&plan(), &load(10_000..40_000), &events);
        assert_eq!((verdict.status, verdict.exit_code), (Status::Interrupted, code));
        assert_eq!(
            verdict.verdict,
            Judgement::Inconclusive,
            "its time was cut short: {verdict:#?}"
        );
        let mut violated = load(10_000..40_000);
        violated.item("orders", "nobody", &[]).end("orders");
        let verdict = self::verdict(&plan(), &violated, &events);
        assert_eq!((verdict.verdict, verdict.exit_code), (Judgement::Fail, code));
    }
    let mut at_the_end = build::events();
    at_the_end.push(build::entry(
        37 * SECOND,
        Event::Interrupted {
            signal: "SIGINT".into(),
        },
    ));
    let plan = Plan {
        during: Vec::new(),
        ..build::plan()
    };
    assert_ne!(verdict(&plan, &good(), &at_the_end).verdict, Judgement::Pass);
}

#[test]
fn a_run_that_broke_or_died_is_aborted() {
    let mut broken = build::events();
    let problem = "api-1 was not ready".to_owned();
    broken.push(build::entry(SECOND, Event::Broken { problem }));
    let aborted = verdict(&plan(), &good(), &broken);
    assert_eq!((aborted.status, aborted.exit_code), (Status::Aborted, 4));
    assert_eq!(aborted.problem.as_deref(), Some("api-1 was not ready"));
    assert_eq!(aborted.verdict, Judgement::Inconclusive);

    let mut died = build::events();
    died.truncate(9);
    let aborted = verdict(&plan(), &good(), &died);
    assert_eq!((aborted.status, aborted.exit_code), (Status::Aborted, 4));
    assert!(
        aborted
            .problem
            .unwrap()
            .contains("the harness ended before the run did")
    );
}

#[test]
fn an_invariant_that_nobody_defined_is_a_doubt() {
    let mut plan = plan();
    plan.invariants.push("no-such".into());
    let verdict = verdict(&plan, &good(), &build::events());
    assert_eq!(verdict.exit_code, 3);
    assert_eq!(
        verdict.assertions[6].finding.detail,
        "the system has no invariant `no-such`"
    );
}

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
        other.recovery.data_loss_operations += 1;
        other.assertions[0].finding.detail.push('!');
        let found = differences(&read, &other);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[1].starts_with("/recovery/data_loss_operations: 0 was saved, 1"),
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

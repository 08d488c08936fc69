//! The verdict as a whole, on runs made by hand: what passes, what fails and what wins.

use super::build::{self, SECOND, Saved, op};
use crate::check::judge;
use crate::event::{Entry, Event};
use crate::history::Outcome;
use crate::plan::{Plan, WindowedProbe};
use crate::verdict::{Assertion, AssertionKind, Judgement, Status, Verdict};

mod doubts;
mod ends;
mod impact;
mod saved;
mod windows;

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
        during: vec![WindowedProbe::whole(during)],
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
        assert_eq!(verdict.recovery.data_loss_operations, Some(1));
    }
}

#[test]
fn during_is_judged_while_the_fault_lasted_and_only_then() {
    let mut plan = plan();
    plan.during = vec![WindowedProbe::whole(build::success("buying goes on", ">=", 99.5))];
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
        (Some(1), Some(500.0))
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
fn loss_is_tolerated_before_one_fault_and_not_after_it() {
    let mut plan = plan();
    plan.tolerate.data_loss_operations = 1;
    plan.tolerate.data_loss_time_ms = 500;
    let judged = |plan: &Plan, at_us: u64| {
        let mut saved = load(10_000..21_000);
        saved.push(op("buy", "gone", at_us, Outcome::Ok)).end("orders");
        let verdict = verdict(plan, &saved, &build::events());
        of(&verdict, AssertionKind::Invariant).finding.clone()
    };
    let after_the_effect_us = 10_400_000;
    assert_eq!(
        judged(&plan, after_the_effect_us).verdict,
        Judgement::Pass,
        "no fault is named"
    );
    plan.tolerate.data_loss_fault = Some(0);
    assert_eq!(
        judged(&plan, after_the_effect_us).verdict,
        Judgement::Fail,
        "its customer came later"
    );
    let before = judged(&plan, 9_600_000);
    assert_eq!(before.verdict, Judgement::Pass, "{before:?}");
    assert!(before.detail.contains(" before `"), "{}", before.detail);
    plan.tolerate.data_loss_fault = Some(7);
    assert_eq!(
        judged(&plan, 9_600_000).verdict,
        Judgement::Fail,
        "that fault was never seen"
    );
}

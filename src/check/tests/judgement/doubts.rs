//! What a run does not support a judgement of: inconclusive, neither a pass nor a fail.

use super::{good, load, of, plan, verdict, without};
use crate::check::tests::build::{self, SECOND, op};
use crate::event::{Event, LoadSummary, MachineSeconds};
use crate::history::{Op, Outcome};
use crate::verdict::{AssertionKind, Judgement};

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
    plan.workload.rates.insert("top-up".into(), 1.0.into());
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
    let mut lapsed = without(|_| false);
    for entry in &mut lapsed {
        if let Event::FaultHealed { receipt, .. } = &mut entry.event {
            receipt.lapsed = true;
        }
    }
    for (events, why) in [
        (missed(), "its trigger never came"),
        (unhealed, "it was not healed"),
        (lapsed, "it had ended before its heal"),
    ] {
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
fn on_a_machine_that_was_overloaded_failures_in_time_are_doubts_and_those_of_safety_are_failures() {
    let overloaded = MachineSeconds {
        late_max_us: vec![3_000; 35],
        waiting_percent: vec![99.0; 35],
        stolen_percent: vec![0.0; 35],
        beside: vec![2; 35],
    };
    let told = |machine| {
        let mut told = build::events();
        let summary = LoadSummary {
            machine,
            ..LoadSummary::default()
        };
        *build::event_mut(&mut told, |event| matches!(event, Event::LoadEnded(_))) = Event::LoadEnded(summary);
        told
    };
    let mut never_recovered = load(10_000..40_000);
    never_recovered.end("orders");
    let alone = verdict(&plan(), &never_recovered, &told(None));
    assert_eq!(of(&alone, AssertionKind::Recovery).finding.verdict, Judgement::Fail);
    let beside = verdict(&plan(), &never_recovered, &told(Some(overloaded.clone())));
    let recovery = &of(&beside, AssertionKind::Recovery).finding;
    assert_eq!(recovery.verdict, Judgement::Inconclusive);
    assert!(
        recovery
            .detail
            .starts_with("the machine was overloaded before anything was broken"),
        "{}",
        recovery.detail
    );
    assert_eq!(
        (beside.verdict, beside.exit_code),
        (Judgement::Inconclusive, 3),
        "{beside:#?}"
    );
    // The load itself kept its schedule, and what held in spite of it held.
    assert_eq!(of(&beside, AssertionKind::Generator).finding.verdict, Judgement::Pass);
    let held = verdict(&plan(), &good(), &told(Some(overloaded.clone())));
    assert_eq!(held.verdict, Judgement::Pass, "{held:#?}");
    let mut lost = load(0..0);
    lost.op("buy", "acknowledged-and-gone", Outcome::Ok).end("orders");
    let lost = verdict(&plan(), &lost, &told(Some(overloaded)));
    assert_eq!(of(&lost, AssertionKind::Invariant).finding.verdict, Judgement::Fail);
    assert_eq!(lost.exit_code, 1);
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

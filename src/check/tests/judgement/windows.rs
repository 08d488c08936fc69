//! `during` and `afterwards` over parts of the time: a breach just inside counts, and one just outside does not.

use std::ops::Range;

use super::{load, of, verdict, without};
use crate::check::tests::build::{self, SECOND, Saved, gauge, success};
use crate::event::{Entry, Event};
use crate::plan::{Plan, PlannedFault, WindowedProbe};
use crate::verdict::{AssertionKind, Finding, Judgement};

/// At least three, by the gauge `queue`.
fn three() -> WindowedProbe {
    WindowedProbe::whole(gauge(0, ">=", 3.0))
}

fn after(after_ms: u64) -> WindowedProbe {
    WindowedProbe { after_ms, ..three() }
}

fn during(asked: WindowedProbe) -> Plan {
    Plan {
        during: vec![asked],
        ..build::plan_with_fault()
    }
}

fn afterwards(asked: WindowedProbe) -> Plan {
    Plan {
        afterwards: vec![asked],
        ..build::plan_with_fault()
    }
}

/// A load without failures, and a gauge read every 250 ms up to 37 s that is 3 but for `low_ms`, where it is 2.
fn low(low_ms: &[Range<u64>]) -> Saved {
    let mut saved = load(0..0);
    for at_ms in (0..37_000).step_by(250) {
        let is_low = low_ms.iter().any(|low| low.contains(&at_ms));
        saved.sample("queue", at_ms * 1_000, Some(if is_low { 2.0 } else { 3.0 }));
    }
    saved.end("orders");
    saved
}

fn judged_on(plan: &Plan, saved: &Saved, events: &[Entry]) -> Finding {
    let kind = match plan.during.is_empty() {
        true => AssertionKind::Afterwards,
        false => AssertionKind::During,
    };
    of(&verdict(plan, saved, events), kind).finding.clone()
}

/// In effect from 10 s to 20 s, load to 35 s.
fn judged(plan: &Plan, low_ms: Range<u64>) -> Judgement {
    judged_on(plan, &low(&[low_ms]), &build::events()).verdict
}

#[test]
fn a_gauge_that_is_low_once_is_low() {
    assert_eq!(judged(&during(three()), 10_000..10_001), Judgement::Fail);
    assert_eq!(judged(&during(three()), 0..0), Judgement::Pass);
    assert_eq!(judged(&during(three()), 9_750..9_751), Judgement::Pass);
}

#[test]
fn the_first_part_of_a_faults_time_is_not_judged() {
    let plan = during(after(3_000));
    assert_eq!(judged(&plan, 10_000..13_000), Judgement::Pass, "just before");
    assert_eq!(judged(&plan, 10_000..13_001), Judgement::Fail, "just after");
    assert_eq!(judged(&plan, 19_750..19_751), Judgement::Fail, "just before the heal");
    assert_eq!(judged(&plan, 20_000..37_000), Judgement::Pass, "from the heal on");
    let held = judged_on(&plan, &low(&[]), &build::events());
    assert_eq!(
        held.detail,
        "min of 28 readings of `queue` is 3, bound >= 3; judged from 3s after each fault's effect"
    );
}

#[test]
fn operations_count_by_their_intended_time() {
    let buying = WindowedProbe {
        after_ms: 3_000,
        ..WindowedProbe::whole(success("buying goes on", ">=", 100.0))
    };
    let of_outage = |outage_ms| {
        let finding = judged_on(&during(buying.clone()), load(outage_ms).end("orders"), &build::events());
        (finding.verdict, finding.samples)
    };
    assert_eq!(of_outage(10_000..13_000), (Judgement::Pass, 280));
    assert_eq!(of_outage(10_000..13_001), (Judgement::Fail, 280));
    assert_eq!(of_outage(19_975..19_976), (Judgement::Fail, 280));
    assert_eq!(of_outage(20_000..21_000), (Judgement::Pass, 280));
}

#[test]
fn afterwards_begins_with_the_last_heal_and_ends_with_the_load() {
    assert_eq!(judged(&afterwards(three()), 19_750..20_000), Judgement::Pass);
    assert_eq!(judged(&afterwards(three()), 19_750..20_001), Judgement::Fail);
    let plan = afterwards(after(5_000));
    assert_eq!(judged(&plan, 10_000..25_000), Judgement::Pass, "just before");
    assert_eq!(judged(&plan, 10_000..25_001), Judgement::Fail, "just after");
    assert_eq!(
        judged(&plan, 34_750..34_751),
        Judgement::Fail,
        "the last reading under load"
    );
    assert_eq!(judged(&plan, 35_000..37_000), Judgement::Pass, "the load has ended");
    let held = judged_on(&plan, &low(&[]), &build::events());
    assert_eq!(
        held.detail,
        "min of 40 readings of `queue` is 3, bound >= 3; judged from 5s after the last heal"
    );
    let verdict = verdict(&plan, &low(&[34_750..34_751]), &build::events());
    assert_eq!(verdict.exit_code, 1, "{verdict:#?}");
}

/// A second fault, in effect for those seconds.
fn second_fault(mut plan: Plan, effect_s: Range<u64>) -> (Plan, Vec<Entry>) {
    let second = PlannedFault {
        id: 1,
        name: "lose another".into(),
        ..plan.faults[0].clone()
    };
    plan.faults.push(second);
    let mut events = build::events();
    let recovery = events
        .iter()
        .position(|entry| matches!(entry.event, Event::HealIntent { .. }))
        .unwrap();
    let (effective_us, healed_us) = (effect_s.start * SECOND, effect_s.end * SECOND);
    let injected = Event::FaultInjected {
        fault: 1,
        receipt: build::receipt(true),
        effective_us: Some(effective_us as i64),
    };
    let healed = Event::FaultHealed {
        fault: 1,
        receipt: build::receipt(true),
        healed_us: Some(healed_us as i64),
    };
    let told = [build::entry(effective_us, injected), build::entry(healed_us, healed)];
    events.splice(recovery..recovery, told);
    (plan, events)
}

#[test]
fn the_time_of_one_fault_alone_can_be_asked_for() {
    let of_second = WindowedProbe {
        fault: Some(1),
        ..after(1_000)
    };
    let (plan, events) = second_fault(during(of_second), 15..18);
    let judged = |low_ms| judged_on(&plan, &low(&[low_ms]), &events);
    assert_eq!(judged(10_000..16_000).verdict, Judgement::Pass);
    assert_eq!(judged(16_000..16_001).verdict, Judgement::Fail);
    assert_eq!(judged(17_750..17_751).verdict, Judgement::Fail);
    assert_eq!(judged(18_000..20_000).verdict, Judgement::Pass);
    let part = "judged while `lose another` lasts, from 1s after its effect";
    assert!(judged(0..0).detail.ends_with(part), "{}", judged(0..0).detail);
}

#[test]
fn the_first_part_of_each_faults_time_is_not_judged_even_under_another_fault() {
    let (plan, events) = second_fault(during(after(1_000)), 15..22);
    let judged = |low_ms: &[Range<u64>]| judged_on(&plan, &low(low_ms), &events).verdict;
    assert_eq!(
        judged(&[10_000..11_000, 15_000..16_000, 22_000..37_000]),
        Judgement::Pass
    );
    for low_ms in [11_000..11_001, 14_750..14_751, 16_000..16_001, 21_750..21_751] {
        assert_eq!(judged(std::slice::from_ref(&low_ms)), Judgement::Fail, "{low_ms:?}");
    }
    let (plan, events) = second_fault(afterwards(three()), 15..22);
    let judged = |low_ms| judged_on(&plan, &low(&[low_ms]), &events).verdict;
    assert_eq!(judged(10_000..22_000), Judgement::Pass, "the last heal counts");
    assert_eq!(judged(22_000..22_001), Judgement::Fail);
}

#[test]
fn where_nothing_is_left_to_judge_there_is_doubt() {
    let finding = judged_on(&during(after(10_000)), &low(&[10_000..20_000]), &build::events());
    assert_eq!(finding.verdict, Judgement::Inconclusive);
    assert_eq!(
        finding.detail,
        "`lose the api` lasted 10.000 s, of which the first 10s are not judged"
    );
    let finding = judged_on(&afterwards(after(15_000)), &low(&[20_000..37_000]), &build::events());
    assert_eq!(finding.verdict, Judgement::Inconclusive);
    assert_eq!(
        finding.detail,
        "the load went on for 15.000 s after the last heal, of which the first 15s are not judged"
    );
    let unhealed = without(|event| matches!(event, Event::FaultHealed { .. }));
    let finding = judged_on(&afterwards(three()), &low(&[]), &unhealed);
    assert_eq!(finding.verdict, Judgement::Inconclusive);
    assert!(finding.detail.contains("no last heal was seen"), "{}", finding.detail);
    let missed = without(|event| matches!(event, Event::FaultInjected { .. } | Event::FaultHealed { .. }));
    for (fault, none) in [(None, "no fault was"), (Some(0), "`lose the api` was not")] {
        let asked = WindowedProbe { fault, ..three() };
        let finding = judged_on(&during(asked), &low(&[0..37_000]), &missed);
        assert_eq!(finding.verdict, Judgement::Inconclusive);
        let said = format!("{none} seen in effect, so there is no time to judge");
        assert!(finding.detail.contains(&said), "{}", finding.detail);
    }
    let unknown = WindowedProbe {
        fault: Some(7),
        ..three()
    };
    assert_eq!(judged(&during(unknown), 0..37_000), Judgement::Inconclusive);
}

#[test]
fn one_fault_that_was_too_short_leaves_a_pass_in_doubt_and_no_failure() {
    let (plan, events) = second_fault(during(after(3_000)), 22..24);
    let held = judged_on(&plan, &low(&[]), &events);
    assert_eq!(held.verdict, Judgement::Inconclusive);
    assert!(
        held.detail
            .starts_with("`lose another` lasted 2.000 s, of which the first 3s are not judged; min of 28 "),
        "{}",
        held.detail
    );
    let broken = judged_on(&plan, &low(&[15_000..15_001]), &events);
    assert_eq!(broken.verdict, Judgement::Fail, "{broken:?}");
}

#[test]
fn too_few_readings_leave_doubt() {
    let mut sparse = load(0..0);
    for at_ms in (20_000..35_000_u64).step_by(250) {
        let is_read = at_ms.is_multiple_of(1_000);
        sparse.sample("queue", at_ms * 1_000, is_read.then_some(2.0));
    }
    sparse.end("orders");
    let finding = judged_on(&afterwards(three()), &sparse, &build::events());
    assert_eq!(finding.verdict, Judgement::Inconclusive);
    assert!(finding.detail.contains("too many gaps to tell"), "{}", finding.detail);
    let none = judged_on(&afterwards(three()), load(0..0).end("orders"), &build::events());
    assert_eq!((none.verdict, none.samples), (Judgement::Inconclusive, 0));
}

#[test]
fn a_plan_from_before_there_were_parts_is_read_as_it_was() {
    let plan = during(three());
    let mut written = serde_json::to_value(&plan).unwrap();
    assert!(written.get("afterwards").is_none(), "{written:#}");
    let members = written["during"][0].as_object().unwrap();
    assert_eq!(members.keys().collect::<Vec<_>>(), ["name", "measure", "tolerance"]);
    written["during"][0] = serde_json::to_value(&plan.during[0].probe).unwrap();
    let read: Plan = serde_json::from_value(written.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), written);
    let parts = during(WindowedProbe {
        fault: Some(0),
        ..after(2_000)
    });
    let written = serde_json::to_value(&parts).unwrap();
    let read: Plan = serde_json::from_value(written).unwrap();
    assert_eq!((read.during[0].after_ms, read.during[0].fault), (2_000, Some(0)));
}

//! Recovery on timelines made by hand, with answers known beforehand.
//!
//! By [`build::events`] the gate passes at 5 s, the fault bites at 10 s and is healed at 20 s, and the load ends at 35 s.

use super::build::{self, SECOND, Saved, op};
use crate::check::bins::BIN_US;
use crate::check::judge;
use crate::event::{Entry, Event};
use crate::history::Outcome;
use crate::plan::Plan;
use crate::plan::rate::changing;
use crate::verdict::{AssertionKind, Finding, Judgement, Recovery};

mod definition;

/// Arrivals at a steady rate to 35 s; `fate` gives each its latency, or none if it does not end ok.
fn timeline(rate: u64, fate: impl Fn(u64) -> Option<u64>) -> Saved {
    let mut saved = Saved::default();
    for number in 0..35 * rate {
        let at_us = number * SECOND / rate;
        let mut op = op("buy", &number.to_string(), at_us, Outcome::Info);
        if let Some(latency_us) = fate(at_us) {
            op.outcome = Outcome::Ok;
            op.done_us = at_us + latency_us;
        }
        saved.push(op);
    }
    saved
}

/// Nothing succeeds in these times, given in milliseconds.
pub(super) fn outages(rate: u64, times_ms: &[(u64, u64)]) -> Saved {
    let out = |at_us: u64| {
        times_ms
            .iter()
            .any(|(from, to)| (*from..*to).contains(&(at_us / 1_000)))
    };
    timeline(rate, |at_us| (!out(at_us)).then_some(5_000))
}

fn plan() -> Plan {
    Plan {
        invariants: Vec::new(),
        ..build::plan_with_fault()
    }
}

fn judged(plan: &Plan, saved: &Saved, events: &[Entry]) -> (Recovery, Finding) {
    let verdict = saved.read(|history| judge(plan, history, events));
    let mut found = verdict
        .assertions
        .into_iter()
        .filter(|assertion| assertion.kind == AssertionKind::Recovery);
    let assertion = found.next().expect("recovery is judged");
    assert_eq!(assertion.name, "recovery");
    (verdict.recovery, assertion.finding)
}

fn recovery(saved: &Saved) -> (Recovery, Finding) {
    judged(&plan(), saved, &build::events())
}

fn times(recovery: &Recovery) -> (Option<f64>, Option<f64>) {
    (recovery.recovery_time_ms, recovery.disruption_ms)
}

#[test]
fn an_outage_that_ends_with_the_heal_takes_no_time_to_recover() {
    let (recovery, finding) = recovery(&outages(40, &[(10_000, 20_000)]));
    assert_eq!(finding.verdict, Judgement::Pass, "{finding:?}");
    assert_eq!(times(&recovery), (Some(0.0), Some(10_000.0)));
    let degraded = &recovery.degraded[..];
    assert_eq!(degraded.len(), 1);
    assert_eq!((degraded[0].from_ms, degraded[0].to_ms), (10_000.0, 20_000.0));
    assert_eq!(finding.samples, 25 * 40);
    assert!(!recovery.censored && !recovery.metastable);
}

#[test]
fn a_disruption_that_lasts_longer_than_allowed_has_failed_though_recovery_was_in_time() {
    let mut plan = plan();
    let mut judged_at_most = |most_ms| {
        plan.recovery.as_mut().unwrap().disrupted_for_ms = Some(most_ms);
        judged(&plan, &outages(40, &[(10_000, 20_000)]), &build::events()).1
    };
    assert_eq!(judged_at_most(10_000).verdict, Judgement::Pass);
    let finding = judged_at_most(9_999);
    assert_eq!(finding.verdict, Judgement::Fail);
    assert!(
        finding
            .detail
            .starts_with("service was disrupted for 10.000 s, of 9.999 s at most; recovered 0.000 s after"),
        "{}",
        finding.detail
    );
}

#[test]
fn a_step_outage_is_measured_to_the_bin() {
    let (recovery, finding) = recovery(&outages(40, &[(10_000, 23_100)]));
    assert_eq!(finding.verdict, Judgement::Pass, "{finding:?}");
    assert_eq!(times(&recovery), (Some(3_250.0), Some(13_250.0)));
    assert!(
        finding
            .detail
            .starts_with("recovered 3.250 s after the heal (within 10.000 s) and stable for 5.000 s"),
        "{}",
        finding.detail
    );
}

#[test]
fn recovery_before_the_heal_is_no_recovery_time() {
    let (recovery, finding) = recovery(&outages(40, &[(10_000, 12_000)]));
    assert_eq!(finding.verdict, Judgement::Pass);
    assert_eq!(
        times(&recovery),
        (Some(0.0), Some(2_000.0)),
        "a fail-over ended the disruption"
    );
}

#[test]
fn recovery_that_comes_too_late_fails_with_its_time() {
    let mut plan = plan();
    plan.recovery.as_mut().unwrap().within_ms = 3_000;
    let (recovery, finding) = judged(&plan, &outages(40, &[(10_000, 23_500)]), &build::events());
    assert_eq!(finding.verdict, Judgement::Fail);
    assert_eq!(times(&recovery), (Some(3_500.0), Some(13_500.0)));
    assert!(!recovery.censored);
    let just_in_time = judged(&plan, &outages(40, &[(10_000, 23_000)]), &build::events());
    assert_eq!(just_in_time.1.verdict, Judgement::Pass, "{:?}", just_in_time.1);
}

#[test]
fn good_time_that_does_not_last_is_no_recovery() {
    let (recovery, finding) = recovery(&outages(40, &[(10_000, 22_000), (26_000, 27_000)]));
    assert_eq!(finding.verdict, Judgement::Pass, "{finding:?}");
    assert_eq!(times(&recovery).0, Some(7_000.0), "4 s of good time are not 5");
    let (recovery, _) = judged(
        &plan(),
        &outages(40, &[(10_000, 21_000), (26_000, 27_000)]),
        &build::events(),
    );
    assert_eq!(times(&recovery).0, Some(1_000.0), "5 s are");
}

#[test]
fn what_is_not_recovered_by_the_end_is_censored_and_failed() {
    let (recovery, finding) = recovery(&outages(40, &[(10_000, 31_000)]));
    assert_eq!(finding.verdict, Judgement::Fail, "{finding:?}");
    assert_eq!(times(&recovery), (None, Some(25_000.0)));
    assert!(
        recovery.censored && !recovery.metastable,
        "it was good at the end, too late"
    );
    assert!(finding.detail.contains("recovery > 15.000 s"), "{}", finding.detail);
}

#[test]
fn degraded_to_the_end_at_unchanged_load_is_metastable() {
    let (recovery, finding) = recovery(&outages(40, &[(10_000, 40_000)]));
    assert_eq!(finding.verdict, Judgement::Fail);
    assert!(recovery.censored && recovery.metastable, "{finding:?}");
    assert!(finding.detail.contains("metastable"), "{}", finding.detail);
}

/// The verdict on a service that stays down from the fault at 10 s to the end of the load at 35 s, at a rate through these
/// points.
fn down_to_the_end(points: &[(u64, f64)]) -> (Recovery, Finding) {
    let mut plan = plan();
    plan.workload.rates.insert("buy".to_owned(), changing(points));
    judged(&plan, &outages(40, &[(10_000, 40_000)]), &build::events())
}

#[test]
fn degraded_to_the_end_under_a_load_that_rose_is_not_called_metastable() {
    let (recovery, finding) = down_to_the_end(&[(0, 10.0), (30_000, 40.0)]);
    assert_eq!(finding.verdict, Judgement::Fail, "it has not recovered all the same");
    assert!(recovery.censored && !recovery.metastable, "{finding:?}");
    assert!(finding.detail.ends_with("under a load that rose"), "{}", finding.detail);
}

#[test]
fn a_load_that_rose_and_fell_back_leaves_what_is_metastable() {
    for (points, told) in [
        (
            &[(0, 10.0), (10_000, 40.0), (30_000, 10.0)][..],
            "though the load fell: metastable",
        ),
        (
            &[(10_000, 10.0), (20_000, 40.0), (30_000, 10.0)],
            "at unchanged load: metastable",
        ),
    ] {
        let (recovery, finding) = down_to_the_end(points);
        assert!(recovery.censored && recovery.metastable, "{finding:?}");
        assert!(finding.detail.ends_with(told), "{}", finding.detail);
    }
}

#[test]
fn flapping_is_not_recovery() {
    let flaps: Vec<_> = (10..35)
        .step_by(2)
        .map(|second| (second * 1_000, (second + 1) * 1_000))
        .collect();
    let (recovery, finding) = recovery(&outages(40, &flaps));
    assert_eq!(finding.verdict, Judgement::Fail, "{finding:?}");
    assert!(recovery.censored && recovery.metastable);
}

#[test]
fn a_slow_decline_is_found_where_it_crosses_the_tolerance() {
    // From the fault on 10 ms more each second, back at twice that pace: above 50 ms from 14.5 s to 25.5 s.
    let latency_us = |at_us: u64| match at_us / 1_000 {
        ms @ 10_000..20_000 => 5_000 + (ms - 10_000) * 10,
        ms @ 20_000..25_000 => 105_000 - (ms - 20_000) * 10,
        ms @ 25_000..30_000 => 55_000 - (ms - 25_000) * 10,
        _ => 5_000,
    };
    let mut plan = plan();
    plan.gate.probes = vec![build::latency(500, "<=", 50.0)];
    let (recovery, finding) = judged(&plan, &timeline(40, |at_us| Some(latency_us(at_us))), &build::events());
    assert_eq!(finding.verdict, Judgement::Pass, "{finding:?}");
    let (recovery_ms, disruption_ms) = times(&recovery);
    // A median over a second lies half a second behind at either edge.
    assert!((5_000.0..=5_750.0).contains(&recovery_ms.unwrap()), "{recovery_ms:?}");
    assert_eq!(disruption_ms, recovery_ms.map(|ms| ms + 10_000.0));
    let from_ms = recovery.degraded[0].from_ms;
    assert!((14_500.0..=15_000.0).contains(&from_ms), "{from_ms}");
}

#[test]
fn at_a_low_rate_the_window_widens_and_the_edges_stay_sharp() {
    let (recovery, finding) = recovery(&outages(5, &[(10_000, 22_000)]));
    assert_eq!(finding.verdict, Judgement::Pass, "{finding:?}");
    assert_eq!(times(&recovery), (Some(2_000.0), Some(12_000.0)));
}

#[test]
fn too_few_operations_are_a_doubt() {
    let mut few = Saved::default();
    for number in 0..12 {
        few.push(op("buy", &number.to_string(), number * 3 * SECOND, Outcome::Ok));
    }
    let (_, finding) = recovery(&few);
    assert_eq!(finding.verdict, Judgement::Inconclusive, "{finding:?}");
    assert!(
        finding.evidence.iter().any(|line| line.contains("too little")),
        "{finding:?}"
    );
}

#[test]
fn a_stray_failure_is_no_degradation() {
    let (quiet, finding) = recovery(&outages(40, &[]));
    assert_eq!(finding.verdict, Judgement::Pass);
    assert_eq!(times(&quiet), (Some(0.0), Some(0.0)));
    assert!(
        finding.detail.starts_with("service was not seen degraded"),
        "{}",
        finding.detail
    );
    // Three within 75 ms: one bad bin, and no two in a row.
    let (stray, finding) = recovery(&outages(40, &[(12_000, 12_075)]));
    assert_eq!(finding.verdict, Judgement::Pass);
    assert!(stray.degraded.is_empty(), "{stray:?}");
    // Two bins' worth is one.
    let (short, _) = recovery(&outages(40, &[(12_000, 12_500)]));
    assert_eq!(times(&short), (Some(0.0), Some(2_500.0)));
    assert_eq!(
        (short.degraded[0].from_ms, short.degraded[0].to_ms),
        (12_000.0, 12_500.0)
    );
}

#[test]
fn a_bad_bin_breaks_the_run_of_good_ones() {
    let (recovery, finding) = recovery(&outages(40, &[(10_000, 20_000), (22_000, 22_100)]));
    assert_eq!(finding.verdict, Judgement::Pass);
    assert_eq!(times(&recovery).0, Some(2_250.0), "{:?}", recovery.degraded);
}

fn with_backlog(mut plan: Plan) -> Plan {
    let backlog = serde_json::json!({"metric": "queue", "drained": 5.0});
    plan.system.backlogs = vec![serde_json::from_value(backlog).unwrap()];
    plan
}

/// Readings every 250 ms to 35 s.
fn readings(saved: &mut Saved, value: impl Fn(u64) -> Option<f64>) {
    for number in 0..140 {
        saved.sample("queue", number * BIN_US, value(number * BIN_US));
    }
}

#[test]
fn recovery_waits_for_the_backlog() {
    let mut saved = outages(40, &[(10_000, 20_000)]);
    readings(&mut saved, |at_us| {
        Some(if (10 * SECOND..26 * SECOND).contains(&at_us) {
            80.0
        } else {
            3.0
        })
    });
    let (recovery, finding) = judged(&with_backlog(plan()), &saved, &build::events());
    assert_eq!(finding.verdict, Judgement::Pass, "{finding:?}");
    assert_eq!(times(&recovery), (Some(6_000.0), Some(16_000.0)));
    assert_eq!(recovery.backlog_drained_ms, Some(6_000.0));
    assert!(recovery.degraded.iter().any(|stretch| stretch.operation == "queue"));
}

#[test]
fn a_spike_is_no_backlog() {
    let mut saved = outages(40, &[(10_000, 20_000)]);
    readings(&mut saved, |at_us| Some(if at_us == 22 * SECOND { 80.0 } else { 3.0 }));
    let (recovery, finding) = judged(&with_backlog(plan()), &saved, &build::events());
    assert_eq!(finding.verdict, Judgement::Pass, "{finding:?}");
    assert_eq!(
        (times(&recovery).0, recovery.backlog_drained_ms),
        (Some(0.0), Some(0.0))
    );
}

#[test]
fn a_backlog_that_nobody_can_read_is_a_doubt() {
    let mut saved = outages(40, &[(10_000, 20_000)]);
    readings(&mut saved, |at_us| (at_us < 10 * SECOND).then_some(3.0));
    let (_, finding) = judged(&with_backlog(plan()), &saved, &build::events());
    assert_eq!(finding.verdict, Judgement::Inconclusive, "{finding:?}");
}

#[test]
fn without_proof_of_the_fault_recovery_is_not_judged() {
    let saved = outages(40, &[(10_000, 40_000)]);
    let mut unconfirmed = build::events();
    let injected = build::event_mut(&mut unconfirmed, |event| matches!(event, Event::FaultInjected { .. }));
    let Event::FaultInjected { receipt, .. } = injected else {
        unreachable!()
    };
    receipt.confirmed = false;
    let (_, finding) = judged(&plan(), &saved, &unconfirmed);
    assert_eq!(finding.verdict, Judgement::Inconclusive);
    assert!(finding.detail.contains("it was not seen to bite"), "{}", finding.detail);

    let mut unhealed = build::events();
    unhealed.retain(|entry| !matches!(entry.event, Event::FaultHealed { .. }));
    let (recovery, finding) = judged(&plan(), &saved, &unhealed);
    assert_eq!(finding.verdict, Judgement::Inconclusive);
    assert_eq!(times(&recovery), (None, None));
}

#[test]
fn final_reads_belong_to_recovery() {
    let mut plan = plan();
    let read = serde_json::json!({
        "request": {"service": "api", "port": 80, "path": "/orders"},
        "items": {"json": {"at": "", "element": "id"}},
    });
    plan.system
        .final_reads
        .insert("orders".into(), serde_json::from_value(read).unwrap());
    let verdict = |saved: &Saved| judged(&plan, saved, &build::events()).1.verdict;
    let saved = outages(40, &[(10_000, 20_000)]);
    assert_eq!(verdict(&saved), Judgement::Inconclusive, "it was never made");
    assert_eq!(verdict(saved.clone().end("orders")), Judgement::Pass);
    assert_eq!(
        verdict(saved.clone().end_with("orders", 0, Some("status 503"))),
        Judgement::Fail
    );
}
